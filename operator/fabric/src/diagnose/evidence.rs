//! What is known about a mesh when it is judged.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::planned::Planned;
use crate::names::{DeviceName, NodeName, RnicName};
use crate::plan::{ProbeClass, Thresholds};
use crate::time::Timestamp;

/// Everything a verdict follows from, besides the open cases and the time.
#[derive(Clone, Debug, PartialEq)]
pub struct Evidence {
    /// What counts as ill, and the window that agents count over.
    pub thresholds: Thresholds,
    /// How much illness is accepted, and how long it must last.
    pub tolerance: Tolerance,
    /// Share (0 to 1) of the probes over an RNIC that time out from which on the RNIC is named as soon as it is the most
    /// likely culprit; one that loses less is named only where nobody else can be meant.
    pub rnic_timeout_ratio: f64,
    /// Who probes whom according to the plan in force, and where each RNIC is.
    pub planned: Arc<Planned>,
    /// Names of the addresses that traced hops answer from.
    pub switches: Arc<SwitchNames>,
    /// One entry per node that the mesh selects, also nodes that are left out of the plan. Unique by
    /// node (the last one wins). A node that is missing here has left the mesh: its cases end.
    pub nodes: Vec<NodeEvidence>,
}

/// Names of switches by the addresses that they answer from; a hop without a name is called by its address.
pub type SwitchNames = BTreeMap<IpAddr, Arc<str>>;

/// How much illness is accepted, and how long it must last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tolerance {
    /// Percentage of RNICs that may be in open cases before the fabric counts as unhealthy.
    pub max_unhealthy_percent: u8,
    /// Windows for which an illness must be seen before it is named; 1 names it at once.
    pub raise_after: u32,
    /// Windows for which the evidence must be clean before a case ends.
    pub clear_after: u32,
}

/// What is known about one node.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeEvidence {
    /// The node.
    pub node: NodeName,
    /// Whether its agent's word holds now.
    pub agent: AgentState,
    /// The agent's latest report for this mesh, if there is one.
    pub report: Option<Report>,
    /// The agent's inventory: **every** port that it lists, each marked whether the mesh's device
    /// selection picks it. `None` where there is no inventory.
    pub ports: Option<Vec<PortFact>>,
    /// Whether it traces the paths of its flows.
    pub traces: bool,
}

/// Whether an agent's word holds now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AgentState {
    /// It reports: what it last wrote holds until it writes otherwise.
    Reporting,
    /// It has not been heard of for too long; what it last wrote says nothing about now.
    Silent,
    /// The node is left out of the plan (cordoned, not ready, being deleted, rolling).
    Excluded,
}

/// What an agent wrote into its assignment's status for this mesh.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// When it was first seen as it is, by the clock of whoever judges: the age of its figures.
    pub seen: Timestamp,
    /// End of the newest settled window; `None` while there was none.
    pub window_end: Option<Timestamp>,
    /// Figures of that window per local RNIC.
    pub rnics: Vec<RnicTally>,
    /// Paths that are ill.
    pub anomalies: Vec<Anomaly>,
    /// Anomalies that did not fit; while there are some, a missing one proves nothing.
    pub anomalies_omitted: u32,
    /// Links on the paths of lossy or slow flows, worst first; empty where paths are not traced.
    pub links: Vec<LinkTally>,
    /// Distinct paths of flows that lost probes on their way to the target, worst first.
    pub lossy_paths: Vec<LossyPath>,
}

/// Probes of one window of one local RNIC, by outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RnicTally {
    /// Local RDMA device.
    pub device: DeviceName,
    /// Local port.
    pub port: u8,
    /// Probes sent.
    pub sent: u64,
    /// Answered in time.
    pub ok: u64,
    /// Not answered although the peer's agent was alive.
    pub lost: u64,
    /// Answered after the timeout.
    pub late: u64,
    /// Not judged: a host was starved.
    pub host_delayed: u64,
    /// Not judged: the peer could not be resolved.
    pub unresolved: u64,
    /// Median network round-trip time.
    pub p50: Option<Duration>,
    /// 99th percentile of network round-trip time.
    pub p99: Option<Duration>,
    /// Error counters of the port that grew lately, by the kernel's names, and by how much.
    pub errors: BTreeMap<Arc<str>, u64>,
}

impl RnicTally {
    /// Probes that say something about the fabric.
    #[must_use]
    pub const fn judged(&self) -> u64 {
        self.ok.saturating_add(self.late).saturating_add(self.lost)
    }
}

/// What is wrong with a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AnomalyKind {
    /// Probes are lost.
    Loss,
    /// Round trips take too long.
    Latency,
}

/// A path that an agent finds ill.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anomaly {
    /// Loss or latency.
    pub kind: AnomalyKind,
    /// Local RDMA device.
    pub device: DeviceName,
    /// Local port.
    pub port: u8,
    /// Class of the probes.
    pub class: ProbeClass,
    /// The peer RNIC.
    pub target: RnicName,
    /// UDP source port of the one flow that is ill; `None` when the target as a whole is.
    pub flow: Option<u16>,
    /// Probes sent in the window.
    pub sent: u64,
    /// Probes of the window that were lost.
    pub lost: u64,
    /// Those of them that never reached the target.
    pub lost_forward: u64,
    /// Those of them that the target has seen: their answer was lost.
    pub lost_return: u64,
    /// Median network round-trip time; latency only.
    pub p50: Option<Duration>,
    /// 99th percentile of network round-trip time.
    pub p99: Option<Duration>,
    /// The round-trip time that it was compared with; latency only.
    pub baseline: Option<Duration>,
    /// Whether the peer answered over plain IP meanwhile.
    pub ip_reachable: Option<bool>,
    /// Hops of the flow's last good path, nearest first, without the target; `None` is a hop that does not
    /// answer. Empty where it is not traced.
    pub path: Vec<Option<IpAddr>>,
    /// When the agent first saw it, by the agent's clock.
    pub since: Timestamp,
}

/// One end of a link as an agent's tracer knows it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hop {
    /// A router, by the address that it answers from.
    Router(IpAddr),
    /// A router that does not answer.
    Unknown,
    /// The RNIC that probes or the one that is probed.
    Rnic(RnicName),
}

/// What a node's flows over one link met, in one direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkTally {
    /// Where probes come from.
    pub from: Hop,
    /// Where they go.
    pub to: Hop,
    /// Flows whose last good path crosses the link.
    pub crossed: u32,
    /// Those of them that lost a probe on their way to the target, or nobody knows on which way.
    pub lossy: u32,
    /// Those of them whose round trips take too long.
    pub slow: u32,
    /// Probes of those flows in the window.
    pub sent: u64,
    /// Those of them that were lost on their way to the target, or nobody knows on which way.
    pub lost: u64,
    /// Hop probes of the window that ended at `to`.
    pub hop_sent: u32,
    /// Those of them that `to` answered.
    pub hop_answered: u32,
    /// Fastest round trip of those hop probes.
    pub hop_rtt: Option<Duration>,
}

/// A path and what the lossy flows on it lost; flows with one and the same path are one entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LossyPath {
    /// Its links, in order, as positions in [`Report::links`]; links that did not fit there are left out.
    pub links: Vec<u8>,
    /// Lossy flows on this path.
    pub flows: u32,
    /// Probes of the lossy flows in the window.
    pub sent: u64,
    /// Those of them that were lost on their way to the target, or nobody knows on which way.
    pub lost: u64,
}

/// One port of a node's inventory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortFact {
    /// RDMA device.
    pub device: DeviceName,
    /// Port, from 1.
    pub port: u8,
    /// Whether the mesh's device selection picks it. Where that cannot be told (a port that is down has
    /// lost the address that `viaRoute` asks for), say `true`.
    pub selected: bool,
    /// State of the port.
    pub state: PortState,
}

/// State of a port as its own agent reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortState {
    /// Up.
    Active,
    /// Not there: the kernel shows no such port to the agent that should probe with it.
    Absent,
    /// Not up.
    Down {
        /// Logical state as the kernel names it: `Down`, `Init`, `Armed`, …
        state: Arc<str>,
        /// Physical state as the kernel names it: `Disabled`, `Polling`, …; empty where it does not say.
        physical: Arc<str>,
    },
}
