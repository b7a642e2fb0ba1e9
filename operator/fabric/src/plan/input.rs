//! What the planner is told: meshes, their members, the members' RNICs.

use std::collections::BTreeMap;
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::output::ProbeClass;
use crate::names::{DeviceName, MeshName, NodeName};

/// Everything a plan follows from.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PlanInput {
    /// Decides all choices that could as well fall otherwise. Keep it: another seed is another plan.
    pub seed: u64,
    /// The meshes; names are unique (the last one of a name wins).
    pub meshes: Vec<MeshInput>,
}

/// One mesh and the nodes that its selector picks.
#[derive(Clone, Debug, PartialEq)]
pub struct MeshInput {
    /// Name of the mesh.
    pub name: MeshName,
    /// How to probe.
    pub policy: MeshPolicy,
    /// The selected nodes, also those that cannot take part now; names are unique (the last one wins).
    pub members: Vec<Member>,
}

/// How a mesh wants its RNICs probed: the effective spec, defaults filled in by the API server.
#[derive(Clone, Debug, PartialEq)]
pub struct MeshPolicy {
    /// Enabled classes; a class that is missing is off. `Service` is no matter of the plan.
    pub classes: Classes,
    /// Probability, above 0 and below 1, that all parallel paths between two groups are probed.
    pub coverage: f64,
    /// How RNICs are grouped, and how many paths join the groups.
    pub topology: Topology,
    /// Upper bounds.
    pub budget: Budget,
    /// Every target is probed once per traffic class. Names are unique; empty means one default class.
    pub traffic_classes: Vec<TrafficClass>,
    /// Part of every node's entry, and so of its hash.
    pub thresholds: Thresholds,
}

/// Enabled probe classes and their timing.
pub type Classes = BTreeMap<ProbeClass, Probing>;

/// Timing of a probe class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probing {
    /// Between two probes of one flow; not zero.
    pub interval: Duration,
    /// How long an answer may take.
    pub timeout: Duration,
}

/// How RNICs are grouped under switches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Topology {
    /// RNIC n of every host hangs under a switch of its own: a group is label times rail.
    pub rail_optimized: bool,
    /// Parallel paths between two groups, 1 to 256.
    pub parallel_paths: u16,
}

/// Upper bounds on what probing costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Probes per second that one node may send over all its RNICs and all meshes, `control` exchanges
    /// included. Where meshes differ, the strictest one holds for the nodes that they share.
    pub max_probes_per_second: u32,
    /// Peers that one RNIC may probe in one class.
    pub max_peers_per_rnic: u16,
}

/// A class of traffic as the fabric sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrafficClass {
    /// Name in results.
    pub name: Arc<str>,
    /// DSCP, 0 to 63.
    pub dscp: u8,
    /// InfiniBand service level or RoCE priority, 0 to 15.
    pub service_level: u8,
}

/// What agents count as ill. The planner only carries it along.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Thresholds {
    /// Time over which probes are counted.
    pub window: Duration,
    /// Lost share (0 to 1) above which a path is an anomaly.
    pub loss_ratio: f64,
    /// Network round-trip time above which a path is an anomaly.
    pub p99: Duration,
}

/// A node that the mesh selects.
#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    /// Name of the node.
    pub node: NodeName,
    /// Whether it can take part.
    pub state: NodeState,
    /// Value of the mesh's group label; `None` where the node lacks it.
    pub group: Option<Arc<str>>,
    /// Where its agent answers over plain IP; `None` leaves the node out, for peers cannot resolve it.
    pub control_address: Option<SocketAddr>,
    /// The RNICs that the mesh's device selection picks, usable or not. Unusable ones matter: they keep
    /// the rails of their neighbours in place. Unique by device and port (the last one wins).
    pub rnics: Vec<Rnic>,
}

/// Whether a node takes part, and why not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NodeState {
    /// It does.
    #[default]
    Ready,
    /// The node is not Ready.
    NotReady,
    /// The node is cordoned (`spec.unschedulable`).
    Cordoned,
    /// The node is being deleted.
    Deleting,
    /// The node's agent is being rolled out or restarted.
    Rolling,
    /// The node's agent has not reported an inventory.
    NoInventory,
}

impl NodeState {
    /// A few words for a sentence.
    #[must_use]
    pub const fn describe(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::NotReady => "not ready",
            Self::Cordoned => "cordoned",
            Self::Deleting => "being deleted",
            Self::Rolling => "agent being restarted",
            Self::NoInventory => "no inventory from the agent",
        }
    }
}

/// One port of an RDMA device, as the mesh sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rnic {
    /// RDMA device.
    pub device: DeviceName,
    /// Port, from 1.
    pub port: u8,
    /// Rail: position among the mesh's selected RNICs of its node, from 0. `None` lets the planner count
    /// (device names in natural order: `mlx5_2` before `mlx5_10`).
    pub rail: Option<u16>,
    /// Index of the local GID to probe from; handed through to the agent.
    pub gid_index: Option<u16>,
    /// Whether it can probe and be probed.
    pub availability: Availability,
}

/// Whether an RNIC can probe and be probed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Availability {
    /// It can, at this address.
    Usable(Address),
    /// It cannot; one sentence says why (port down, no GID of the wanted type, …).
    Unusable(Arc<str>),
}

/// Address of an RNIC on its fabric. RNICs of different fabrics are never paired: RoCE not with
/// InfiniBand, IPv4 GIDs not with IPv6 GIDs, InfiniBand subnets not with each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// RoCEv2; an IPv4 GID is the IPv4-mapped address.
    Roce(Ipv6Addr),
    /// InfiniBand.
    InfiniBand {
        /// Local identifier of the port.
        lid: u16,
        /// GID, whose upper half is the subnet prefix.
        gid: Option<Ipv6Addr>,
    },
}
