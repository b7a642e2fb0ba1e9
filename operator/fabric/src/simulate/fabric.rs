//! The fabric that is simulated: hosts, RNICs, switches and cables by number and by name, and the way that
//! each packet takes.
//!
//! Names and addresses are those of the real fabric in `e2e` (a test there compares them), so one scenario
//! file means the same in both.

use std::net::{IpAddr, Ipv4Addr};

use crate::names::{NodeName, RnicName};

/// Size of a leaf–spine fabric. There are `leaves` × `hosts_per_leaf` hosts and `leaves` × `rails` leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Size {
    /// Leaf switches per rail.
    pub leaves: u16,
    /// Spine switches; each has a cable to every leaf.
    pub spines: u16,
    /// Hosts on each leaf of a rail.
    pub hosts_per_leaf: u16,
    /// RNICs of each host, each on a leaf of its own rail.
    #[serde(default = "one")]
    pub rails: u16,
}

fn one() -> u16 {
    1
}

/// A fabric that the address plan cannot number.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("fabric.{field} is {value}: write a number from 1 to {most}")]
pub struct SizeError {
    field: &'static str,
    value: u32,
    most: u32,
}

impl Size {
    /// Hosts in all.
    #[must_use]
    pub const fn hosts(self) -> u32 {
        self.leaves as u32 * self.hosts_per_leaf as u32
    }

    /// RNICs in all.
    #[must_use]
    pub const fn rnics(self) -> u32 {
        self.hosts() * self.rails as u32
    }

    /// Leaves of all rails.
    #[must_use]
    pub const fn all_leaves(self) -> u32 {
        self.leaves as u32 * self.rails as u32
    }

    /// Checks that the fabric can be numbered.
    ///
    /// # Errors
    /// Names the field that is out of its range, and the range.
    pub fn validate(self) -> Result<(), SizeError> {
        let fields = [
            ("leaves", u32::from(self.leaves), 250),
            ("spines", u32::from(self.spines), 64),
            ("hostsPerLeaf", u32::from(self.hosts_per_leaf), 64),
            ("rails", u32::from(self.rails), 16),
            ("leaves × rails", self.all_leaves(), 250),
        ];
        for (field, value, most) in fields {
            if value == 0 || value > most {
                return Err(SizeError { field, value, most });
            }
        }
        Ok(())
    }
}

/// `8×4×8`, with the rails behind it where there are several.
impl std::fmt::Display for Size {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}×{}×{}", self.leaves, self.spines, self.hosts_per_leaf)?;
        if self.rails > 1 {
            write!(f, "×{} rails", self.rails)?;
        }
        Ok(())
    }
}

/// A host, from 0.
pub(super) type HostId = u32;
/// An RNIC: host × rails + rail, from 0.
pub(super) type RnicId = u32;
/// A switch: the leaves from 0, then the spines.
pub(super) type SwitchId = u32;
/// A cable: the cables of the RNICs from 0, then leaf × spines + spine.
pub(super) type LinkId = u32;

/// One direction of a cable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Lane {
    pub link: LinkId,
    /// Away from the hosts.
    pub up: bool,
}

impl Lane {
    pub const fn index(self) -> usize {
        self.link as usize * 2 + self.up as usize
    }
}

/// The way of one flow's packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Way {
    pub from: RnicId,
    pub to: RnicId,
    /// The spine crossed, from 0; none below one leaf.
    pub spine: Option<u16>,
}

/// A fabric of a given size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fabric {
    size: Size,
    /// Seed of the switches' hashes.
    hash: u64,
}

impl Fabric {
    /// A fabric whose switches spread flows by `hash`.
    ///
    /// # Errors
    /// When the address plan cannot number it.
    pub fn new(size: Size, hash: u64) -> Result<Self, SizeError> {
        size.validate()?;
        Ok(Self { size, hash })
    }

    /// Its size.
    #[must_use]
    pub const fn size(&self) -> Size {
        self.size
    }

    pub(super) const fn rails(&self) -> u32 {
        self.size.rails as u32
    }

    pub(super) const fn links(&self) -> u32 {
        self.size.rnics() + self.size.all_leaves() * self.size.spines as u32
    }

    pub(super) const fn switches(&self) -> u32 {
        self.size.all_leaves() + self.size.spines as u32
    }

    pub(super) const fn host_of(&self, rnic: RnicId) -> HostId {
        rnic / self.rails()
    }

    pub(super) const fn rail_of(&self, rnic: RnicId) -> u32 {
        rnic % self.rails()
    }

    pub(super) const fn leaf_of(&self, rnic: RnicId) -> SwitchId {
        let group = self.host_of(rnic) / self.size.hosts_per_leaf as u32;
        self.rail_of(rnic) * self.size.leaves as u32 + group
    }

    pub(super) const fn spine(&self, spine: u16) -> SwitchId {
        self.size.all_leaves() + spine as u32
    }

    pub(super) const fn rnic_link(&self, rnic: RnicId) -> LinkId {
        rnic
    }

    pub(super) const fn spine_link(&self, leaf: SwitchId, spine: u16) -> LinkId {
        self.size.rnics() + leaf * self.size.spines as u32 + spine as u32
    }

    /// The switches at the ends of a cable: the leaf, and the spine of a spine cable.
    pub(super) const fn link_switches(&self, link: LinkId) -> (SwitchId, Option<SwitchId>) {
        match self.spine_link_parts(link) {
            Some((leaf, spine)) => (leaf, Some(self.spine(spine))),
            None => (self.leaf_of(link), None),
        }
    }

    pub(super) const fn spine_link_parts(&self, link: LinkId) -> Option<(SwitchId, u16)> {
        let rnics = self.size.rnics();
        if link < rnics {
            return None;
        }
        let spines = self.size.spines as u32;
        Some(((link - rnics) / spines, ((link - rnics) % spines) as u16))
    }

    /// The way of a packet with this UDP source port: the leaf spreads by a hash of the five-tuple.
    pub(super) fn way(&self, from: RnicId, to: RnicId, source_port: u16) -> Way {
        let spine = (self.leaf_of(from) != self.leaf_of(to)).then(|| {
            let mut tuple = [0; 12];
            tuple[..4].copy_from_slice(&self.rnic_address(from).octets());
            tuple[4..8].copy_from_slice(&self.rnic_address(to).octets());
            tuple[8..10].copy_from_slice(&source_port.to_be_bytes());
            tuple[10..].copy_from_slice(&4791u16.to_be_bytes());
            let seed = self.hash ^ u64::from(self.leaf_of(from)).rotate_left(40);
            let hash = xxhash_rust::xxh3::xxh3_64_with_seed(&tuple, seed);
            (hash % u64::from(self.size.spines)) as u16
        });
        Way { from, to, spine }
    }

    /// The lanes that a way leads over, in order.
    pub(super) fn lanes(&self, way: Way) -> impl Iterator<Item = Lane> + use<> {
        let up = |link| Lane { link, up: true };
        let down = |link| Lane { link, up: false };
        let middle = way.spine.map(|spine| {
            [
                up(self.spine_link(self.leaf_of(way.from), spine)),
                down(self.spine_link(self.leaf_of(way.to), spine)),
            ]
        });
        std::iter::once(up(self.rnic_link(way.from)))
            .chain(middle.into_iter().flatten())
            .chain(std::iter::once(down(self.rnic_link(way.to))))
    }

    /// The switches that a way leads through, in order.
    pub(super) fn switches_on(&self, way: Way) -> impl Iterator<Item = SwitchId> + use<> {
        let rest = way
            .spine
            .map(|spine| [self.spine(spine), self.leaf_of(way.to)]);
        std::iter::once(self.leaf_of(way.from)).chain(rest.into_iter().flatten())
    }

    /// The addresses that answer a trace of a way: each switch by its interface that the packet came in by.
    pub(super) fn hops(&self, way: Way) -> impl Iterator<Item = IpAddr> + use<> {
        let (rnics, spines) = (self.rnic_gateway(way.from), way.spine);
        let rest = spines.map(|spine| {
            [
                spine_cable(self.leaf_of(way.from), spine).0,
                spine_cable(self.leaf_of(way.to), spine).1,
            ]
        });
        std::iter::once(rnics)
            .chain(rest.into_iter().flatten())
            .map(IpAddr::V4)
    }

    /// Address of an RNIC.
    pub(super) fn rnic_address(&self, rnic: RnicId) -> Ipv4Addr {
        self.rnic_cable(rnic).1
    }

    fn rnic_gateway(&self, rnic: RnicId) -> Ipv4Addr {
        self.rnic_cable(rnic).0
    }

    fn rnic_cable(&self, rnic: RnicId) -> (Ipv4Addr, Ipv4Addr) {
        let place = self.host_of(rnic) % u32::from(self.size.hosts_per_leaf);
        block(10, self.leaf_of(rnic) + 1, place)
    }

    /// Address of a host on the management network.
    pub(super) fn management(&self, host: HostId) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 12, 0, 1)) + host + 1)
    }

    /// Every switch with all its addresses, as `topology.switches` names them.
    pub fn switch_names(&self) -> Vec<(String, Vec<IpAddr>)> {
        let mut named: Vec<(String, Vec<IpAddr>)> = (0..self.switches())
            .map(|switch| (self.switch_name(switch), Vec::new()))
            .collect();
        for rnic in 0..self.size.rnics() {
            named[self.leaf_of(rnic) as usize]
                .1
                .push(self.rnic_gateway(rnic).into());
        }
        for leaf in 0..self.size.all_leaves() {
            for spine in 0..self.size.spines {
                let (upper, lower) = spine_cable(leaf, spine);
                named[leaf as usize].1.push(lower.into());
                named[self.spine(spine) as usize].1.push(upper.into());
            }
        }
        named
    }

    pub(super) fn host_name(&self, host: HostId) -> NodeName {
        NodeName::from(format!("host{}", host + 1))
    }

    pub(super) fn rnic_name(&self, rnic: RnicId) -> RnicName {
        let host = self.host_of(rnic);
        let device = on_rail(&format!("rxe{}", host + 1), self.rail_of(rnic));
        RnicName::new(self.host_name(host), device, 1)
    }

    /// The group label of a host: the leaf of its first rail.
    pub(super) fn rack(&self, host: HostId) -> String {
        self.switch_name(self.leaf_of(host * self.rails()))
    }

    /// Name of a switch.
    pub(super) fn switch_name(&self, switch: SwitchId) -> String {
        match switch.checked_sub(self.size.all_leaves()) {
            None => format!("leaf{}", switch + 1),
            Some(spine) => format!("spine{}", spine + 1),
        }
    }

    /// Name of a cable, from the end nearer to the hosts.
    pub(super) fn link_name(&self, link: LinkId) -> String {
        if let Some((leaf, spine)) = self.spine_link_parts(link) {
            return format!("leaf{}-spine{}", leaf + 1, spine + 1);
        }
        let host = format!("host{}", self.host_of(link) + 1);
        let leaf = self.switch_name(self.leaf_of(link));
        format!("{}-{leaf}", on_rail(&host, self.rail_of(link)))
    }

    /// The cable of this name, from either end.
    #[must_use]
    pub(super) fn find_link(&self, name: &str) -> Option<LinkId> {
        let (a, b) = name.split_once('-')?;
        let number = |text: &str, kind: &str, most: u32| {
            let number: u32 = text.strip_prefix(kind)?.parse().ok()?;
            (1..=most).contains(&number).then(|| number - 1)
        };
        let size = self.size;
        let find = |a: &str, b: &str| {
            let leaf = number(b, "leaf", size.all_leaves());
            if let (Some(spine), Some(leaf)) = (number(a, "spine", size.spines.into()), leaf) {
                return Some(self.spine_link(leaf, spine as u16));
            }
            let (host, rail) = a.split_once('.').unwrap_or((a, "1"));
            let host = number(host, "host", size.hosts())?;
            let rail = number(rail, "", self.rails())?;
            let rnic = host * self.rails() + rail;
            (leaf? == self.leaf_of(rnic)).then(|| self.rnic_link(rnic))
        };
        find(a, b).or_else(|| find(b, a))
    }

    pub(super) fn find_switch(&self, name: &str) -> Option<SwitchId> {
        (0..self.switches()).find(|switch| self.switch_name(*switch) == name)
    }

    pub(super) fn find_host(&self, name: &str) -> Option<HostId> {
        let number: u32 = name.strip_prefix("host")?.parse().ok()?;
        (1..=self.size.hosts())
            .contains(&number)
            .then(|| number - 1)
    }

    pub(super) fn find_rnic(&self, host: &str, rail: u16) -> Option<RnicId> {
        let rail = u32::from(rail).checked_sub(1)?;
        (rail < self.rails()).then_some(self.find_host(host)? * self.rails() + rail)
    }
}

/// `host1` on the first rail, `host1.2` on the second.
fn on_rail(name: &str, rail: u32) -> String {
    if rail == 0 {
        name.to_owned()
    } else {
        format!("{name}.{}", rail + 1)
    }
}

/// The two ends of cable `index` of `third`: the one nearer to the spines first.
fn block(second: u8, third: u32, index: u32) -> (Ipv4Addr, Ipv4Addr) {
    let base = u32::from(Ipv4Addr::new(10, second, 0, 0)) + (third << 8) + index * 4;
    (Ipv4Addr::from(base + 1), Ipv4Addr::from(base + 2))
}

/// Ends of a cable between switches: the spine's, the leaf's.
fn spine_cable(leaf: SwitchId, spine: u16) -> (Ipv4Addr, Ipv4Addr) {
    block(11, leaf + 1, u32::from(spine))
}
