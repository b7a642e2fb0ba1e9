//! One node's part of a mesh's plan: the content of its assignment's entry, and the hash that changes
//! exactly when that content does.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::index::number;
use super::input::{Address, Probing, Thresholds, TrafficClass};
use super::output::{MeshPlan, ProbeClass};
use super::targets::Target;
use crate::hash;
use crate::names::{DeviceName, GroupName, NodeName, RnicName};
use crate::rate::ProbeRate;

/// Identifies the content of one node's entry of one mesh: equal exactly when the content is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PlanHash(pub u128);

/// Thirty-two hexadecimal digits.
impl fmt::Display for PlanHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// What one node does for one mesh: the content of its assignment's entry.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeAssignment {
    /// The node.
    pub node: NodeName,
    /// Identifies all that follows, `rate` aside.
    pub plan_hash: PlanHash,
    /// Group of the node: its label's value, or `(unlabelled)`.
    pub group: GroupName,
    /// What counts as ill.
    pub thresholds: Thresholds,
    /// Classes in force on this node, in order; intervals are stretched where the budget asks for it.
    pub classes: Vec<(ProbeClass, Probing)>,
    /// Traffic classes in force, in the mesh's order; never empty.
    pub traffic_classes: Vec<TrafficClass>,
    /// Probes per second that the node sends for this mesh, `control` exchanges included.
    pub rate: ProbeRate,
    /// What each local RNIC probes, by device and port. RNICs without targets are listed too: they answer.
    pub rnics: Vec<LocalRnic>,
}

/// What one local RNIC probes.
#[derive(Clone, Debug, PartialEq)]
pub struct LocalRnic {
    /// RDMA device.
    pub device: DeviceName,
    /// Port, from 1.
    pub port: u8,
    /// Index of the local GID to probe from.
    pub gid_index: Option<u16>,
    /// Rail, from 0.
    pub rail: u16,
    /// Group of the RNIC: with the rail in a rail-optimised fabric.
    pub group: GroupName,
    /// Whom it probes, by class, peer and traffic class.
    pub targets: Vec<AssignedTarget>,
}

/// A peer RNIC to probe.
#[derive(Clone, Debug, PartialEq)]
pub struct AssignedTarget {
    /// Why it is probed.
    pub class: ProbeClass,
    /// The peer.
    pub peer: RnicName,
    /// Group of the peer RNIC.
    pub group: GroupName,
    /// Address of the peer RNIC.
    pub address: Address,
    /// Where the peer's agent answers over plain IP.
    pub control_address: SocketAddr,
    /// Name of the traffic class.
    pub traffic_class: Arc<str>,
    /// Distinct flows (UDP source ports), at least 1.
    pub flows: u16,
    /// Seed of the flows' source ports and start times.
    pub seed: u32,
    /// Between two probes of one flow; longer than the mesh asks for where the budget stretches it.
    pub interval: Duration,
    /// How long an answer may take.
    pub timeout: Duration,
}

impl MeshPlan {
    /// The entry of `node`; `None` where it takes no part. Built on demand: the plan itself is compact.
    #[must_use]
    pub fn assignment(&self, node: &NodeName) -> Option<NodeAssignment> {
        let at = self.host(node)?;
        let host = &self.index.hosts[at];
        let classes = self.classes(at);
        let traffic_classes = self.traffic_classes();
        let rnics = host.rnics.clone().map(|rnic| {
            let port = &self.index.rnics[rnic as usize];
            let targets = self.targets.of(rnic).iter().flat_map(|target| {
                traffic_classes
                    .iter()
                    .zip(0..)
                    .filter_map(|(class, nth)| self.target(rnic, *target, &classes, (class, nth)))
                    .collect::<Vec<_>>()
            });
            LocalRnic {
                device: port.device.clone(),
                port: port.port,
                gid_index: port.gid_index,
                rail: port.rail,
                group: self.index.cells[port.cell as usize].group.clone(),
                targets: targets.collect(),
            }
        });
        Some(NodeAssignment {
            node: host.name.clone(),
            plan_hash: self.hashes[at],
            group: host.group.clone(),
            thresholds: self.policy.thresholds,
            rate: self.rates[at],
            rnics: rnics.collect(),
            classes,
            traffic_classes,
        })
    }

    fn target(
        &self,
        local: u32,
        target: Target,
        classes: &[(ProbeClass, Probing)],
        (traffic_class, nth): (&TrafficClass, u64),
    ) -> Option<AssignedTarget> {
        let port = &self.index.rnics[target.peer as usize];
        let (_, probing) = classes.iter().find(|(class, _)| *class == target.class)?;
        Some(AssignedTarget {
            class: target.class,
            peer: self.index.name(target.peer),
            group: self.index.cells[port.cell as usize].group.clone(),
            address: port.address,
            control_address: self.index.hosts[port.host as usize].control,
            traffic_class: traffic_class.name.clone(),
            flows: target.flows,
            seed: self.seed(local, target, nth),
            interval: probing.interval,
            timeout: probing.timeout,
        })
    }

    /// Depends on the names of both RNICs, the class and the traffic class only, so that flows keep their
    /// source ports when the plan around them changes.
    fn seed(&self, local: u32, target: Target, traffic_class: u64) -> u32 {
        let (from, to) = (
            &self.index.rnics[local as usize],
            &self.index.rnics[target.peer as usize],
        );
        let salt = (traffic_class << 8) | target.class as u64;
        (hash::pair(salt, from.hash, to.hash) >> 32) as u32
    }

    fn classes(&self, host: usize) -> Vec<(ProbeClass, Probing)> {
        let stretch = self.stretch[host];
        let classes = self.policy.classes.iter().map(|(class, probing)| {
            let interval = probing.interval.saturating_mul(stretch);
            (
                *class,
                Probing {
                    interval,
                    ..*probing
                },
            )
        });
        classes.collect()
    }

    fn traffic_classes(&self) -> Vec<TrafficClass> {
        if self.policy.traffic_classes.is_empty() {
            vec![TrafficClass {
                name: Arc::from("default"),
                dscp: 0,
                service_level: 0,
            }]
        } else {
            self.policy.traffic_classes.clone()
        }
    }

    /// The hash of every host's entry.
    pub(super) fn hash_all(&self) -> Vec<PlanHash> {
        let rnics: Vec<u128> = (0..number(self.index.rnics.len()))
            .map(|rnic| self.hash_rnic(rnic))
            .collect();
        (0..self.index.hosts.len())
            .map(|host| self.hash_host(host, &rnics))
            .collect()
    }

    /// What a peer's entry says about an RNIC.
    fn hash_rnic(&self, rnic: u32) -> u128 {
        let port = &self.index.rnics[rnic as usize];
        let mut record = Record::default();
        record.text(self.index.hosts[port.host as usize].name.as_str());
        record.text(port.device.as_str());
        record.number(u64::from(port.port));
        record.text(self.index.cells[port.cell as usize].group.as_str());
        record.address(port.address);
        record.socket(self.index.hosts[port.host as usize].control);
        record.hash()
    }

    fn hash_host(&self, at: usize, rnics: &[u128]) -> PlanHash {
        let host = &self.index.hosts[at];
        let mut record = Record::default();
        record.text(host.group.as_str());
        record.duration(self.policy.thresholds.window);
        record.number(self.policy.thresholds.loss_ratio.to_bits());
        record.duration(self.policy.thresholds.p99);
        for (class, probing) in self.classes(at) {
            record.number(class as u64);
            record.duration(probing.interval);
            record.duration(probing.timeout);
        }
        for class in self.traffic_classes() {
            record.text(&class.name);
            record.number(u64::from(class.dscp));
            record.number(u64::from(class.service_level));
        }
        for rnic in host.rnics.clone() {
            let port = &self.index.rnics[rnic as usize];
            let targets = self.targets.of(rnic);
            record.wide(rnics[rnic as usize]);
            record.number(port.gid_index.map_or(u64::MAX, u64::from));
            record.number(u64::from(port.rail));
            record.number(targets.len() as u64);
            for target in targets {
                record.wide(rnics[target.peer as usize]);
                record.number(u64::from(target.flows) << 32 | target.class as u64);
                // Stands for the seeds of all traffic classes: they follow from the same hashes.
                record.number(u64::from(self.seed(rnic, *target, 0)));
            }
        }
        PlanHash(record.hash())
    }
}

/// Bytes that stand for content, without ambiguity: texts carry their length.
#[derive(Default)]
struct Record(Vec<u8>);

impl Record {
    fn text(&mut self, text: &str) {
        self.number(text.len() as u64);
        self.0.extend_from_slice(text.as_bytes());
    }

    fn number(&mut self, number: u64) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    fn wide(&mut self, number: u128) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    fn duration(&mut self, duration: Duration) {
        self.wide(duration.as_nanos());
    }

    fn address(&mut self, address: Address) {
        match address {
            Address::Roce(gid) => {
                self.number(0);
                self.wide(gid.to_bits());
            }
            Address::InfiniBand { lid, gid } => {
                self.number(1 + u64::from(gid.is_some()));
                self.number(u64::from(lid));
                self.wide(gid.map_or(0, std::net::Ipv6Addr::to_bits));
            }
        }
    }

    fn socket(&mut self, socket: SocketAddr) {
        match socket.ip() {
            IpAddr::V4(ip) => self.number(u64::from(ip.to_bits())),
            IpAddr::V6(ip) => self.wide(ip.to_bits()),
        }
        self.number(u64::from(socket.port()) << 8 | u64::from(socket.is_ipv6()));
    }

    fn hash(&self) -> u128 {
        hash::content(&self.0)
    }
}
