//! The input of one mesh, sorted and numbered: hosts, RNICs and the cells that can probe among
//! themselves. Everything after this works on numbers; names come back when an assignment is read.

use std::collections::BTreeMap;
use std::net::{Ipv6Addr, SocketAddr};
use std::ops::Range;
use std::sync::Arc;

use super::findings::{Finding, Names};
use super::input::{Address, Availability, Member, MeshInput, NodeState, Rnic};
use crate::hash;
use crate::names::{DeviceName, GroupName, NodeName, RnicName};

/// Name of the group of nodes that lack the label.
const UNLABELLED: &str = "(unlabelled)";

/// Hosts, RNICs and cells that take part.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Index {
    /// Seed of this mesh's choices.
    pub seed: u64,
    /// By name.
    pub hosts: Vec<Host>,
    /// By host, device, port.
    pub rnics: Vec<Port>,
    /// By group and fabric.
    pub cells: Vec<Cell>,
    /// Distinct groups of RNICs.
    pub groups: u32,
}

/// A node that takes part: it has a usable RNIC.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Host {
    pub name: NodeName,
    pub group: GroupName,
    pub control: SocketAddr,
    pub hash: u64,
    pub rnics: Range<u32>,
}

/// A usable RNIC.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Port {
    pub host: u32,
    pub cell: u32,
    pub device: DeviceName,
    pub port: u8,
    pub rail: u16,
    pub gid_index: Option<u16>,
    pub address: Address,
    pub hash: u64,
}

/// RNICs of one group on one fabric: they can probe each other.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Cell {
    pub group: GroupName,
    pub fabric: Fabric,
    pub hash: u64,
    /// Hosts with their part of `rnics`.
    pub hosts: Vec<(u32, Range<u32>)>,
    /// In the order of the mesh's RNICs, so that each host's stand together.
    pub rnics: Vec<u32>,
}

/// RNICs of different fabrics cannot reach each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fabric {
    RoceV4,
    RoceV6,
    /// Subnet prefix, where known.
    InfiniBand(Option<u64>),
}

impl Fabric {
    fn of(address: Address) -> Self {
        let prefix = |gid: Ipv6Addr| (gid.to_bits() >> 64) as u64;
        match address {
            Address::Roce(gid) if gid.to_ipv4_mapped().is_some() => Self::RoceV4,
            Address::Roce(_) => Self::RoceV6,
            Address::InfiniBand { gid, .. } => Self::InfiniBand(gid.map(prefix)),
        }
    }

    const fn salt(self) -> u64 {
        match self {
            Self::RoceV4 => 4,
            Self::RoceV6 => 6,
            Self::InfiniBand(None) => 1,
            Self::InfiniBand(Some(prefix)) => prefix,
        }
    }
}

impl Index {
    /// Sorts and numbers the members of `mesh` that take part, and tells who does not and why.
    pub fn build(seed: u64, mesh: &MeshInput) -> (Self, Vec<Finding>) {
        let members: BTreeMap<&NodeName, &Member> =
            mesh.members.iter().map(|m| (&m.node, m)).collect();
        let mut index = Self {
            seed: hash::text(seed, mesh.name.as_str()),
            ..Self::default()
        };
        let mut left_out = LeftOut::default();
        let mut cells = BTreeMap::new();
        for member in members.into_values() {
            if let Some(control) = left_out.admit(member) {
                index.add_host(
                    member,
                    control,
                    mesh.policy.topology.rail_optimized,
                    &mut left_out,
                    &mut cells,
                );
            }
        }
        index.number_cells(cells);
        (index, left_out.into_findings())
    }

    fn add_host(
        &mut self,
        member: &Member,
        control: SocketAddr,
        rail_optimized: bool,
        left_out: &mut LeftOut,
        cells: &mut BTreeMap<(GroupName, Fabric), Vec<u32>>,
    ) {
        let host = number(self.hosts.len());
        let first = number(self.rnics.len());
        let label = label_of(member);
        for (rnic, rail) in with_rails(&member.rnics) {
            let name = RnicName::new(member.node.clone(), rnic.device.clone(), rnic.port);
            let address = match &rnic.availability {
                Availability::Usable(address) => *address,
                Availability::Unusable(reason) => {
                    left_out.unusable(reason, &name);
                    continue;
                }
            };
            let group = if rail_optimized {
                GroupName::from(format!("{label}/rail{rail}"))
            } else {
                label.clone()
            };
            let members = cells.entry((group, Fabric::of(address))).or_default();
            members.push(number(self.rnics.len()));
            self.rnics.push(Port {
                host,
                cell: 0,
                device: rnic.device.clone(),
                port: rnic.port,
                rail,
                gid_index: rnic.gid_index,
                address,
                hash: hash::text(self.seed, &name.to_string()),
            });
        }
        let rnics = first..number(self.rnics.len());
        if rnics.is_empty() {
            left_out.without_rnic.push(&member.node);
            return;
        }
        if label.as_str() == UNLABELLED {
            left_out.unlabelled.push(&member.node);
        }
        self.hosts.push(Host {
            name: member.node.clone(),
            group: label,
            control,
            hash: hash::text(self.seed, member.node.as_str()),
            rnics,
        });
    }

    fn number_cells(&mut self, cells: BTreeMap<(GroupName, Fabric), Vec<u32>>) {
        let mut last_group = None;
        for ((group, fabric), rnics) in cells {
            let cell = number(self.cells.len());
            let mut hosts: Vec<(u32, Range<u32>)> = Vec::new();
            for (position, &rnic) in (0..).zip(&rnics) {
                self.rnics[rnic as usize].cell = cell;
                let host = self.rnics[rnic as usize].host;
                match hosts.last_mut() {
                    Some((last, range)) if *last == host => range.end = position + 1,
                    _ => hosts.push((host, position..position + 1)),
                }
            }
            if last_group.as_ref() != Some(&group) {
                self.groups += 1;
                last_group = Some(group.clone());
            }
            self.cells.push(Cell {
                hash: hash::pair(
                    self.seed,
                    hash::text(self.seed, group.as_str()),
                    fabric.salt(),
                ),
                group,
                fabric,
                hosts,
                rnics,
            });
        }
    }

    /// Name of RNIC number `rnic`.
    pub fn name(&self, rnic: u32) -> RnicName {
        let port = &self.rnics[rnic as usize];
        RnicName {
            node: self.hosts[port.host as usize].name.clone(),
            device: port.device.clone(),
            port: port.port,
        }
    }

    /// RNICs of the same cell on other hosts.
    pub fn others_in_cell(&self, rnic: u32) -> usize {
        let port = &self.rnics[rnic as usize];
        let own = self.hosts[port.host as usize]
            .rnics
            .clone()
            .filter(|&other| self.rnics[other as usize].cell == port.cell)
            .count();
        self.cells[port.cell as usize].rnics.len() - own
    }
}

fn label_of(member: &Member) -> GroupName {
    match &member.group {
        Some(label) if !label.is_empty() => GroupName::from(label.clone()),
        _ => GroupName::from(UNLABELLED),
    }
}

/// Positions fit 32 bits: an API server holds a few hundred thousand RNICs at the very most.
pub(super) fn number(position: usize) -> u32 {
    u32::try_from(position).unwrap_or(u32::MAX)
}

/// The RNICs by device and port, each with its rail: as told, else counted over all of them.
fn with_rails(rnics: &[Rnic]) -> Vec<(&Rnic, u16)> {
    let unique: BTreeMap<_, _> = rnics
        .iter()
        .map(|rnic| ((&rnic.device, rnic.port), rnic))
        .collect();
    let mut natural: Vec<_> = unique.keys().copied().collect();
    natural.sort_by_cached_key(|(device, port)| (natural_key(device.as_str()), *port));
    let counted: BTreeMap<_, u16> = natural.into_iter().zip(0..).collect();
    unique
        .iter()
        .map(|(key, rnic)| (*rnic, rnic.rail.unwrap_or_else(|| counted[key])))
        .collect()
}

/// Splits a name into text and numbers, so that `mlx5_2` sorts before `mlx5_10`.
fn natural_key(name: &str) -> Vec<(String, u64)> {
    let mut key = Vec::new();
    let mut rest = name;
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(rest.len());
        let (text, tail) = rest.split_at(digits);
        let end = tail
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(tail.len());
        let (digits, tail) = tail.split_at(end);
        key.push((text.to_owned(), digits.parse().unwrap_or(u64::MAX)));
        rest = tail;
    }
    key
}

/// Who does not take part, by reason.
#[derive(Default)]
struct LeftOut {
    by_state: BTreeMap<NodeState, Names>,
    without_control: Names,
    without_rnic: Names,
    unlabelled: Names,
    unusable: BTreeMap<Arc<str>, Names>,
}

impl LeftOut {
    /// The control address of a member that takes part; notes the others.
    fn admit(&mut self, member: &Member) -> Option<SocketAddr> {
        if member.state != NodeState::Ready {
            self.by_state
                .entry(member.state)
                .or_default()
                .push(&member.node);
            return None;
        }
        if member.control_address.is_none() {
            self.without_control.push(&member.node);
        }
        member.control_address
    }

    fn unusable(&mut self, reason: &Arc<str>, rnic: &RnicName) {
        self.unusable.entry(reason.clone()).or_default().push(rnic);
    }

    fn into_findings(self) -> Vec<Finding> {
        let mut findings: Vec<Finding> = self
            .by_state
            .into_iter()
            .map(|(state, nodes)| Finding::Excluded { state, nodes })
            .collect();
        let mut add = |names: Names, finding: fn(Names) -> Finding| {
            if !names.is_empty() {
                findings.push(finding(names));
            }
        };
        add(self.without_control, |nodes| Finding::NoControlAddress {
            nodes,
        });
        add(self.without_rnic, |nodes| Finding::NoUsableRnic { nodes });
        add(self.unlabelled, |nodes| Finding::Unlabelled { nodes });
        findings.extend(
            self.unusable
                .into_iter()
                .map(|(reason, rnics)| Finding::UnusableRnics {
                    reason: reason.to_string(),
                    rnics,
                }),
        );
        findings
    }
}
