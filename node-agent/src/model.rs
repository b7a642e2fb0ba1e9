//! What passes between the data path ([`crate::dataplane`]) and the rest of the agent: the probe
//! plan one way, reports, port health and counters the other way. Types only: no I/O, no clock.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

pub use histogram::RttHistogram;
pub use rdmamesh_fabric::plan::ProbeClass;
pub use rdmamesh_fabric::report::{
    FlowWindow, LocalPort, RttSummary, Tally, TargetKey, TimestampMode, rnic_name,
};

mod histogram;

/// The full desired state of the prober: level-triggered, every plan replaces the one before.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProbePlan {
    /// One entry per local port that sends probes. Ports without an entry still answer probes.
    pub ports: Vec<PortPlan>,
}

/// What one local port has to probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortPlan {
    /// The local port.
    pub local: LocalPort,
    /// Which entry of the port's GID table to send from.
    pub gid_index: GidIndex,
    /// Whom to probe and how.
    pub targets: Vec<Arc<Target>>,
}

/// Which entry of the GID table a port uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum GidIndex {
    /// `RoCEv2` over IPv4 first, then `RoCEv2` over a routable IPv6 address, then whatever `RoCEv2` there is;
    /// on InfiniBand the first entry.
    #[default]
    Auto,
    /// This entry and no other.
    Fixed(u16),
}

/// One peer port to probe, in one class of one mesh, with one traffic class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Name of the mesh that wants this.
    pub mesh: Arc<str>,
    /// Number of the mesh on the wire; results of two meshes never mix.
    pub mesh_id: u32,
    /// Why the peer is probed.
    pub class: ProbeClass,
    /// Group (rack, or rack and rail) of the local port.
    pub local_group: Arc<str>,
    /// The port to probe.
    pub peer: Peer,
    /// How the fabric shall treat the probes, both ways.
    pub traffic_class: TrafficClass,
    /// Distinct paths (UDP source ports) wanted; the report says how many there are.
    pub flows: u16,
    /// Chooses the flows: the same seed gives the same flows again.
    pub seed: u64,
    /// Between two probes of *one* flow.
    pub interval: Duration,
    /// An answer that comes later is late.
    pub timeout: Duration,
    /// Length of the sliding window of the reports; whole seconds, at least one.
    pub window: Duration,
}

impl Target {
    /// What makes two targets the same one across two plans.
    pub fn key(&self) -> TargetKey {
        TargetKey {
            mesh: Arc::clone(&self.mesh),
            class: self.class,
            traffic_class: Arc::clone(&self.traffic_class.name),
            peer_node: Arc::clone(&self.peer.node),
            peer_device: Arc::clone(&self.peer.device),
            peer_port: self.peer.port,
        }
    }
}

/// The port at the other end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Node name.
    pub node: Arc<str>,
    /// Device name on that node.
    pub device: Arc<str>,
    /// Port number on that device, from 1.
    pub port: u8,
    /// Group (rack, or rack and rail) of the peer.
    pub group: Arc<str>,
    /// Where the fabric reaches it.
    pub address: FabricAddress,
    /// Where its agent answers over plain IP. Without it the peer cannot be resolved.
    pub control: Option<SocketAddr>,
}

impl Peer {
    /// The name a person reads.
    pub fn rnic_name(&self) -> String {
        rnic_name(&self.node, &self.device, self.port)
    }
}

/// How the fabric reaches a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FabricAddress {
    /// A GID; over `RoCEv2` this is the IP address (IPv4 as `::ffff:a.b.c.d`).
    Gid(Ipv6Addr),
    /// InfiniBand local identifier.
    Lid(u16),
}

impl fmt::Display for FabricAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gid(gid) => write!(f, "{gid}"),
            Self::Lid(lid) => write!(f, "lid {lid:#06x}"),
        }
    }
}

/// `RdmaMesh.spec.trafficClasses[]`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TrafficClass {
    /// Name in the API and in metric attributes.
    pub name: Arc<str>,
    /// Differentiated services code point, 0 to 63.
    pub dscp: u8,
    /// InfiniBand service level, 0 to 15.
    pub service_level: u8,
}

/// State of all windows at one tick (once per second).
#[derive(Debug, Clone)]
pub struct TickReport {
    /// When the report was made.
    pub at: SystemTime,
    /// One per target of the plan.
    pub targets: Vec<TargetWindow>,
    /// True when every target has a full window of settled seconds behind it.
    pub settled: bool,
}

/// One target's sliding window: its newest settled seconds.
#[derive(Debug, Clone)]
pub struct TargetWindow {
    /// The local port that probes.
    pub local: LocalPort,
    /// The target as planned.
    pub target: Arc<Target>,
    /// End of the newest settled second.
    pub end: SystemTime,
    /// How much of the target's `window` is settled; less than `window` only after a start or a change of the target.
    pub covered: Duration,
    /// Whether the stamps behind the round-trip times come from the device.
    pub timestamps: TimestampMode,
    /// Per flow, in flow order. There may be fewer than wanted.
    pub flows: Vec<FlowWindow>,
    /// Sum over the flows.
    pub tally: Tally,
    /// Round-trip times of all flows.
    pub rtt: RttHistogram,
}

/// A probe that has just been found lost, ahead of the report that counts it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostProbe {
    /// The local port that sent it.
    pub local: LocalPort,
    /// Whom it was for.
    pub target: Arc<Target>,
    /// Index of the flow in its target.
    pub flow: u16,
    /// On which way it was lost.
    pub way: Way,
}

/// On which way a probe was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Way {
    /// There: the peer has not seen it.
    Forward,
    /// Back: the peer has seen it and has answered.
    Return,
    /// The peer could not tell.
    Unknown,
}

/// What makes the flows of a port different from one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FlowSource {
    /// The queue pair number (soft-RoCE).
    QpNumber,
    /// The flow label of the address handle (mlx5, hns and others).
    FlowLabel,
    /// The path bits of the LID (InfiniBand).
    LidPath,
}

/// A local port as the data path sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortHealth {
    /// The port.
    pub local: LocalPort,
    /// What it is doing.
    pub state: PortActivity,
    /// Set while the port is open.
    pub open: Option<OpenPort>,
    /// True when the plan names the port as a source of probes.
    pub planned: bool,
}

/// What a port is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PortActivity {
    /// Open: answers probes, and sends them if the plan says so.
    Probing,
    /// Open but not sending, or not open yet; the reason says what it waits for.
    Waiting {
        /// One sentence for a person.
        reason: String,
    },
    /// The device is gone or broken and has been let go of.
    Released {
        /// One sentence for a person.
        reason: String,
    },
}

/// Facts of an open port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenPort {
    /// GID in use (none on a LID-only port).
    pub gid: Option<Ipv6Addr>,
    /// Its index in the GID table.
    pub gid_index: u16,
    /// What distinguishes flows here.
    pub flow_source: FlowSource,
    /// Distinct flows a target can get at most; `None` if only the target's own wish limits it.
    pub distinct_flows: Option<u16>,
    /// Numbers of the queue pairs.
    pub qpns: Vec<u32>,
    /// Where stamps come from.
    pub timestamps: TimestampMode,
    /// Random number of this opening of the port; changes whenever the queue pairs do.
    pub generation: u32,
}

/// What the cumulative numbers are kept by: bounded by groups, never by peers.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SeriesKey {
    /// Mesh name.
    pub mesh: Arc<str>,
    /// Probe class.
    pub class: ProbeClass,
    /// Local port.
    pub local: LocalPort,
    /// Group of the local port.
    pub local_group: Arc<str>,
    /// Group of the peer.
    pub peer_group: Arc<str>,
    /// Where the stamps come from.
    pub timestamps: TimestampMode,
}

/// Cumulative numbers of one series since the series first appeared.
#[derive(Debug, Clone, Default)]
pub struct Series {
    /// Outcomes; only settled seconds are in here, so the outcomes always add up.
    pub tally: Tally,
    /// Network round-trip times: (T5 − T2) − (T4 − T3).
    pub rtt: RttHistogram,
    /// Prober delays: (T6 − T1) − (T5 − T2).
    pub prober_delay: RttHistogram,
    /// Responder delays: T4 − T3.
    pub responder_delay: RttHistogram,
}

/// Cumulative numbers of all series in the plan.
pub type SeriesTable = BTreeMap<SeriesKey, Series>;
