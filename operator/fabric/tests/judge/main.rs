//! Rules of judging other people's flow records, and how often it is right on generated ones.

use rdmamesh_fabric::judge::{Fabric, FabricError, FlowError, Judge, Ruling};
use rdmamesh_fabric::localise::Kind;

mod generated;

const LEAVES: usize = 4;
const SPINES: usize = 2;

/// Four leaves with two hosts each, two spines.
fn fabric() -> Fabric {
    let mut fabric = Fabric::default();
    for leaf in 1..=LEAVES {
        for spine in 1..=SPINES {
            fabric
                .links
                .push((format!("leaf{leaf}"), format!("spine{spine}")));
        }
        for host in [2 * leaf - 1, 2 * leaf] {
            fabric
                .links
                .push((format!("h{host}"), format!("leaf{leaf}")));
            fabric.hosts.push(format!("h{host}"));
        }
        fabric.switches.push(format!("leaf{leaf}"));
    }
    fabric
        .switches
        .extend((1..=SPINES).map(|spine| format!("spine{spine}")));
    fabric
}

/// All pairs of hosts over all spines, 1,000 packets each; `lost` of those that cross both `a` and `b`.
fn records(judge: &mut Judge, crossing: &[(&str, &str)], lost: u64) {
    for from in 1..=2 * LEAVES {
        for to in (1..=2 * LEAVES).filter(|to| *to != from) {
            for spine in 1..=SPINES {
                let (a, b) = (from.div_ceil(2), to.div_ceil(2));
                let mut path = vec![format!("h{from}"), format!("leaf{a}")];
                if a != b {
                    path.extend([format!("spine{spine}"), format!("leaf{b}")]);
                }
                path.push(format!("h{to}"));
                let hit = path.windows(2).any(|hop| {
                    let is = |x: &str, y: &str| hop[0] == x && hop[1] == y;
                    crossing.iter().any(|(x, y)| is(x, y) || is(y, x))
                });
                judge
                    .flow(
                        &path[0],
                        &path[path.len() - 1],
                        &path,
                        1_000,
                        u64::from(hit) * lost,
                    )
                    .expect("sound flows");
            }
        }
    }
}

fn ruling(fabric: &Fabric, crossing: &[(&str, &str)], lost: u64) -> Ruling {
    let mut judge = Judge::new(fabric).expect("a sound fabric");
    records(&mut judge, crossing, lost);
    judge.rule()
}

fn named(ruling: &Ruling) -> Vec<(Kind, String)> {
    let verdicts = ruling.verdicts.iter();
    verdicts
        .map(|verdict| (verdict.element.kind, verdict.element.nodes.join("-")))
        .collect()
}

#[test]
fn a_lossy_link_is_named_by_its_ends_as_the_fabric_lists_them() {
    let ruling = ruling(&fabric(), &[("spine2", "leaf3")], 20);
    assert_eq!(named(&ruling), [(Kind::Link, "leaf3-spine2".to_owned())]);
    let evidence = &ruling.verdicts[0].evidence;
    assert!(
        evidence.contains("24 of 24 flows with loss cross it"),
        "{evidence}"
    );
}

#[test]
fn the_only_access_link_of_a_host_is_a_link() {
    let ruling = ruling(&fabric(), &[("h5", "leaf3")], 10);
    assert_eq!(named(&ruling), [(Kind::Link, "h5-leaf3".to_owned())]);
}

#[test]
fn a_host_that_loses_on_all_its_links_is_a_host() {
    let mut fabric = fabric();
    fabric.links.push(("h1".to_owned(), "leaf2".to_owned()));
    let mut judge = Judge::new(&fabric).expect("a sound fabric");
    records(&mut judge, &[("h1", "leaf1")], 30);
    for to in 3..=8_usize {
        let leaf = format!("leaf{}", to.div_ceil(2));
        let path = if leaf == "leaf2" {
            vec![leaf]
        } else {
            vec!["leaf2".to_owned(), "spine1".to_owned(), leaf]
        };
        judge
            .flow("h1", &format!("h{to}"), &path, 1_000, 30)
            .expect("a sound flow");
    }
    assert_eq!(named(&judge.rule()), [(Kind::Host, "h1".to_owned())]);
}

#[test]
fn a_switch_that_loses_on_three_of_its_four_links_is_the_switch() {
    let links = [
        ("spine1", "leaf1"),
        ("spine1", "leaf2"),
        ("spine1", "leaf4"),
    ];
    let ruling = ruling(&fabric(), &links, 20);
    assert_eq!(named(&ruling), [(Kind::Switch, "spine1".to_owned())]);
}

#[test]
fn two_links_far_apart_are_two_links() {
    let ruling = ruling(&fabric(), &[("spine1", "leaf1"), ("h8", "leaf4")], 20);
    let mut named = named(&ruling);
    named.sort();
    let link = |name: &str| (Kind::Link, name.to_owned());
    assert_eq!(named, [link("h8-leaf4"), link("leaf1-spine1")]);
}

#[test]
fn without_loss_nobody_is_named() {
    assert_eq!(named(&ruling(&fabric(), &[], 0)), []);
}

#[test]
fn what_contradicts_the_fabric_is_refused() {
    let mut judge = Judge::new(&fabric()).expect("a sound fabric");
    let flow = |judge: &mut Judge, path: &[&str]| judge.flow("h1", "h3", path, 10, 0);
    let unknown = flow(&mut judge, &["leaf1", "spine9", "leaf2"]);
    assert_eq!(unknown, Err(FlowError::UnknownNode("spine9".to_owned())));
    let jump = flow(&mut judge, &["leaf1", "leaf2"]);
    let ends = ("leaf1".to_owned(), "leaf2".to_owned());
    assert_eq!(jump, Err(FlowError::NoLink(ends.0, ends.1)));
    assert_eq!(judge.flows(), 0);
}

#[test]
fn a_fabric_that_contradicts_itself_is_refused() {
    let mut both = fabric();
    both.hosts.push("spine1".to_owned());
    let refused = Judge::new(&both).err();
    assert_eq!(
        refused,
        Some(FabricError::HostAndSwitch("spine1".to_owned()))
    );
    let mut unlisted = fabric();
    unlisted
        .links
        .push(("leaf1".to_owned(), "spine3".to_owned()));
    let refused = Judge::new(&unlisted).err();
    assert_eq!(refused, Some(FabricError::Unlisted("spine3".to_owned())));
}
