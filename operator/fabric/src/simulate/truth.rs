//! How what a verdict names stands to what is really broken.
//!
//! Some things look the same to probes and count as right either way:
//! * an RNIC and its only cable;
//! * a switch and its only cable in use; a switch of which every cable in use is named;
//! * a leaf that is off, and the RNICs and hosts that cannot be reached without it.

use std::collections::BTreeSet;

use super::fabric::{Fabric, LinkId, RnicId, SwitchId};
use super::fault::{Fault, Harm, Place};
use crate::names::RnicName;

/// What a verdict names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Named {
    /// An element of the fabric, or a host.
    Place(Place),
    /// The path between two RNICs.
    Pair(RnicId, RnicId),
    /// Some cable between the leaves of two groups.
    Groups(SwitchId, SwitchId),
    /// Something that this fabric does not have.
    Nobody,
}

/// What kind of suspect a verdict calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NamedKind {
    /// An RNIC, or with a peer the path between two.
    Rnic,
    /// A cable.
    Link,
    /// A switch.
    Switch,
    /// A host.
    Host,
}

/// How a name stands to a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Relation {
    /// It has nothing to do with it.
    Unrelated,
    /// It is next to it, or a path that crosses it.
    Touching,
    /// It is it, or cannot be told from it.
    Right,
}

impl Named {
    /// What the words of a verdict mean in this fabric.
    #[must_use]
    pub fn read(fabric: &Fabric, kind: NamedKind, name: &str, peer: Option<&str>) -> Self {
        let rnic = |text: &str| {
            let name: RnicName = text.parse().ok()?;
            let host = fabric.find_host(name.node.as_str())?;
            let rails = fabric.rails();
            (host * rails..(host + 1) * rails).find(|rnic| fabric.rnic_name(*rnic) == name)
        };
        let place = match (kind, peer) {
            (NamedKind::Rnic, None) => rnic(name).map(Place::Rnic),
            (NamedKind::Rnic, Some(peer)) => {
                return match (rnic(name), rnic(peer)) {
                    (Some(a), Some(b)) => Self::Pair(a.min(b), a.max(b)),
                    _ => Self::Nobody,
                };
            }
            (NamedKind::Link, None) => link(fabric, name, rnic),
            (NamedKind::Link, Some(peer)) => {
                return match (leaf_of_group(fabric, name), leaf_of_group(fabric, peer)) {
                    (Some(a), Some(b)) => Self::Groups(a, b),
                    _ => Self::Nobody,
                };
            }
            (NamedKind::Switch, _) => fabric.find_switch(name).map(Place::Switch),
            (NamedKind::Host, _) => fabric.find_host(name).map(Place::Host),
        };
        place.map_or(Self::Nobody, Self::Place)
    }
}

/// A cable by its own name, or by the names of its ends where one of them is an RNIC.
fn link(fabric: &Fabric, name: &str, rnic: impl Fn(&str) -> Option<RnicId>) -> Option<Place> {
    if let Some(link) = fabric.find_link(name) {
        return Some(Place::Link(link));
    }
    let (a, b) = name.split_once('-')?;
    let find = |end: &str, switch: &str| {
        let (rnic, switch) = (rnic(end)?, fabric.find_switch(switch)?);
        (fabric.leaf_of(rnic) == switch).then(|| Place::Link(fabric.rnic_link(rnic)))
    };
    find(a, b).or_else(|| find(b, a))
}

/// The leaf of a group: `leaf3`, or `leaf3/rail1` for the same group's leaf on the second rail.
fn leaf_of_group(fabric: &Fabric, group: &str) -> Option<SwitchId> {
    let (label, rail) = group.split_once("/rail").unwrap_or((group, "0"));
    let rail: u32 = rail.parse().ok()?;
    let leaf = fabric.find_switch(label)? + rail * u32::from(fabric.size().leaves);
    (leaf < fabric.size().all_leaves()).then_some(leaf)
}

/// How `named` stands to `fault`; `also` is everything that is named besides.
#[must_use]
pub fn relation(fabric: &Fabric, fault: &Fault, named: Named, also: &BTreeSet<Named>) -> Relation {
    if is_right(fabric, fault, named, also) {
        Relation::Right
    } else if touches(fabric, fault.place, named) {
        Relation::Touching
    } else {
        Relation::Unrelated
    }
}

fn is_right(fabric: &Fabric, fault: &Fault, named: Named, also: &BTreeSet<Named>) -> bool {
    let Named::Place(place) = named else {
        return false;
    };
    match fault.harm {
        // Right is to leave the fabric alone; a host that is off may be called that.
        Harm::Off => return place == fault.place,
        Harm::AgentDead | Harm::AgentStopped | Harm::Hogged => return false,
        _ => {}
    }
    if place == fault.place {
        return true;
    }
    match (fault.place, place) {
        (Place::Rnic(rnic), Place::Link(link)) | (Place::Link(link), Place::Rnic(rnic)) => {
            fabric.rnic_link(rnic) == link
        }
        (Place::Link(link), Place::Switch(switch)) => used_links(fabric, switch) == [link],
        (Place::Switch(switch), Place::Link(_)) => {
            let links = used_links(fabric, switch);
            let is_named = |link: &LinkId| {
                let link = Place::Link(*link);
                link == place || also.contains(&Named::Place(link))
            };
            links.iter().all(is_named) || is_unreachable(fabric, fault, switch, place)
        }
        (Place::Switch(switch), _) => is_unreachable(fabric, fault, switch, place),
        _ => false,
    }
}

/// Whether nothing of `place` can be reached while the leaf `switch` is off.
fn is_unreachable(fabric: &Fabric, fault: &Fault, switch: SwitchId, place: Place) -> bool {
    let rails = fabric.rails();
    fault.harm == Harm::Down
        && match place {
            Place::Rnic(rnic) => fabric.leaf_of(rnic) == switch,
            Place::Link(link) => {
                fabric.spine_link_parts(link).is_none() && fabric.leaf_of(link) == switch
            }
            Place::Host(host) => {
                (host * rails..(host + 1) * rails).all(|rnic| fabric.leaf_of(rnic) == switch)
            }
            Place::Switch(_) | Place::Control => false,
        }
}

/// The cables of a switch that carry anything.
fn used_links(fabric: &Fabric, switch: SwitchId) -> Vec<LinkId> {
    let lonely = fabric.size().all_leaves() < 2;
    (0..fabric.links())
        .filter(|link| {
            let (leaf, spine) = fabric.link_switches(*link);
            (leaf == switch || spine == Some(switch)) && !(lonely && spine.is_some())
        })
        .collect()
}

/// Whether `named` is next to `place`, or a path that may cross it.
fn touches(fabric: &Fabric, place: Place, named: Named) -> bool {
    match named {
        Named::Nobody => false,
        Named::Place(named) => are_adjacent(fabric, place, named),
        Named::Groups(a, b) => match place {
            Place::Switch(switch) => [a, b].contains(&switch) || switch >= fabric.spine(0),
            Place::Link(link) => fabric
                .spine_link_parts(link)
                .is_some_and(|(leaf, _)| [a, b].contains(&leaf)),
            Place::Rnic(_) | Place::Host(_) | Place::Control => false,
        },
        Named::Pair(a, b) => {
            let crosses = fabric.leaf_of(a) != fabric.leaf_of(b);
            [a, b].into_iter().any(|rnic| match place {
                Place::Rnic(other) => other == rnic,
                Place::Host(host) => fabric.host_of(rnic) == host,
                Place::Switch(switch) => {
                    fabric.leaf_of(rnic) == switch || crosses && switch >= fabric.spine(0)
                }
                Place::Link(link) => match fabric.spine_link_parts(link) {
                    None => fabric.rnic_link(rnic) == link,
                    Some((leaf, _)) => crosses && fabric.leaf_of(rnic) == leaf,
                },
                Place::Control => false,
            })
        }
    }
}

fn are_adjacent(fabric: &Fabric, a: Place, b: Place) -> bool {
    if a == b {
        return true;
    }
    match (a, b) {
        (Place::Switch(switch), Place::Link(link)) | (Place::Link(link), Place::Switch(switch)) => {
            let (leaf, spine) = fabric.link_switches(link);
            leaf == switch || spine == Some(switch)
        }
        (Place::Switch(switch), Place::Rnic(rnic)) | (Place::Rnic(rnic), Place::Switch(switch)) => {
            fabric.leaf_of(rnic) == switch
        }
        (Place::Link(link), Place::Rnic(rnic)) | (Place::Rnic(rnic), Place::Link(link)) => {
            fabric.rnic_link(rnic) == link
        }
        (Place::Host(host), Place::Rnic(rnic)) | (Place::Rnic(rnic), Place::Host(host)) => {
            fabric.host_of(rnic) == host
        }
        (Place::Host(host), Place::Link(link)) | (Place::Link(link), Place::Host(host)) => {
            fabric.spine_link_parts(link).is_none() && fabric.host_of(link) == host
        }
        (Place::Host(host), Place::Switch(switch)) | (Place::Switch(switch), Place::Host(host)) => {
            let rails = fabric.rails();
            (host * rails..(host + 1) * rails).any(|rnic| fabric.leaf_of(rnic) == switch)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::fabric::Size;
    use super::super::fault::Direction;
    use super::*;

    fn fabric(leaves: u16, spines: u16, hosts_per_leaf: u16, rails: u16) -> Fabric {
        let size = Size {
            leaves,
            spines,
            hosts_per_leaf,
            rails,
        };
        Fabric::new(size, 1).expect("it can be numbered")
    }

    fn read(fabric: &Fabric, text: &str) -> Named {
        let (kind, rest) = text.split_once(' ').expect("kind and name");
        let kind = match kind {
            "Rnic" => NamedKind::Rnic,
            "Link" => NamedKind::Link,
            "Switch" => NamedKind::Switch,
            _ => NamedKind::Host,
        };
        let (name, peer) = rest
            .split_once(' ')
            .map_or((rest, None), |(a, b)| (a, Some(b)));
        Named::read(fabric, kind, name, peer)
    }

    fn judge(fabric: &Fabric, place: &str, harm: Harm, named: &str) -> Relation {
        let Named::Place(place) = read(fabric, place) else {
            unreachable!("faults are in places")
        };
        relation(
            fabric,
            &Fault { place, harm },
            read(fabric, named),
            &BTreeSet::new(),
        )
    }

    const LOSS: Harm = Harm::Loss(0.5, Direction::Both);

    #[test]
    fn the_broken_element_is_right_and_its_neighbours_only_touch_it() {
        let fabric = fabric(4, 2, 2, 1);
        let judge = |named| judge(&fabric, "Link leaf1-spine2", LOSS, named);
        assert_eq!(judge("Link leaf1-spine2"), Relation::Right);
        assert_eq!(judge("Link spine2-leaf1"), Relation::Right);
        assert_eq!(judge("Switch leaf1"), Relation::Touching);
        assert_eq!(judge("Switch spine2"), Relation::Touching);
        assert_eq!(judge("Rnic host1/rxe1 host3/rxe3"), Relation::Touching);
        assert_eq!(judge("Rnic host1/rxe1 host2/rxe2"), Relation::Unrelated);
        assert_eq!(judge("Link leaf2-spine2"), Relation::Unrelated);
        assert_eq!(judge("Rnic host1/rxe1"), Relation::Unrelated);
        assert_eq!(judge("Host host99"), Relation::Unrelated);
    }

    #[test]
    fn an_rnic_and_its_cable_cannot_be_told_apart() {
        let fabric = fabric(2, 2, 2, 2);
        for (broken, named) in [
            ("Rnic host1/rxe1", "Link host1-leaf1"),
            ("Link host1.2-leaf3", "Rnic host1/rxe1.2"),
            ("Link host1.2-leaf3", "Link host1/rxe1.2-leaf3"),
        ] {
            assert_eq!(
                judge(&fabric, broken, LOSS, named),
                Relation::Right,
                "{broken}"
            );
        }
        let other_rail = judge(&fabric, "Rnic host1/rxe1", LOSS, "Rnic host1/rxe1.2");
        assert_eq!(other_rail, Relation::Unrelated);
        let host = judge(&fabric, "Rnic host1/rxe1", LOSS, "Host host1");
        assert_eq!(host, Relation::Touching);
    }

    #[test]
    fn a_leaf_that_is_off_takes_its_rnics_with_it_but_one_that_loses_does_not() {
        let fabric = fabric(2, 2, 2, 1);
        for named in ["Rnic host3/rxe3", "Host host4", "Link host4-leaf2"] {
            assert_eq!(
                judge(&fabric, "Switch leaf2", Harm::Down, named),
                Relation::Right
            );
            assert_eq!(
                judge(&fabric, "Switch leaf2", LOSS, named),
                Relation::Touching
            );
        }
        assert_eq!(
            judge(&fabric, "Switch leaf2", Harm::Down, "Rnic host1/rxe1"),
            Relation::Unrelated
        );
    }

    #[test]
    fn all_cables_of_a_switch_are_as_good_as_the_switch() {
        let fabric = fabric(2, 2, 2, 1);
        let spine = Fault {
            place: Place::switch(&fabric, "spine1").expect("it exists"),
            harm: Harm::Down,
        };
        let (one, two) = (
            read(&fabric, "Link leaf1-spine1"),
            read(&fabric, "Link leaf2-spine1"),
        );
        let both = BTreeSet::from([one, two]);
        assert_eq!(relation(&fabric, &spine, one, &both), Relation::Right);
        assert_eq!(
            relation(&fabric, &spine, one, &BTreeSet::from([one])),
            Relation::Touching
        );
    }

    #[test]
    fn who_accuses_the_fabric_of_what_a_host_does_is_wrong() {
        let fabric = fabric(2, 2, 2, 1);
        let judge = |harm, named| judge(&fabric, "Host host1", harm, named);
        assert_eq!(judge(Harm::Off, "Host host1"), Relation::Right);
        assert_eq!(judge(Harm::Off, "Rnic host1/rxe1"), Relation::Touching);
        assert_eq!(judge(Harm::Hogged, "Host host1"), Relation::Touching);
        assert_eq!(
            judge(Harm::AgentDead, "Link host1-leaf1"),
            Relation::Touching
        );
    }
}
