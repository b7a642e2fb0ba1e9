//! What passes between the data path ([`crate::dataplane`]) and the rest of the agent: the probe
//! plan one way, reports, port health and counters the other way. Types only: no I/O, no clock.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

pub use histogram::RttHistogram;

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

/// A port of a local RNIC.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LocalPort {
    /// Device name as in `/sys/class/infiniband`, e.g. `mlx5_0`.
    pub device: Arc<str>,
    /// Port number, from 1.
    pub port: u8,
}

impl LocalPort {
    /// The port `port` of `device`.
    pub fn new(device: impl Into<Arc<str>>, port: u8) -> Self {
        Self {
            device: device.into(),
            port,
        }
    }

    /// The name a person reads: `<node>/<device>`, with `:<port>` for any port but the first.
    pub fn rnic_name(&self, node: &str) -> String {
        rnic_name(node, &self.device, self.port)
    }
}

impl fmt::Display for LocalPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.port == 1 {
            f.write_str(&self.device)
        } else {
            write!(f, "{}:{}", self.device, self.port)
        }
    }
}

/// `<node>/<device>`, with `:<port>` for any port but the first.
pub fn rnic_name(node: &str, device: &str, port: u8) -> String {
    if port == 1 {
        format!("{node}/{device}")
    } else {
        format!("{node}/{device}:{port}")
    }
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

/// Identity of a target on one local port.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TargetKey {
    /// Mesh name.
    pub mesh: Arc<str>,
    /// Probe class.
    pub class: ProbeClass,
    /// Traffic class name.
    pub traffic_class: Arc<str>,
    /// Peer node name.
    pub peer_node: Arc<str>,
    /// Peer device name.
    pub peer_device: Arc<str>,
    /// Peer port number.
    pub peer_port: u8,
}

/// Why a peer is probed (`RdmaMesh.spec.probes`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ProbeClass {
    /// Everyone in the same group.
    TorMesh,
    /// Sampled peers of the other groups, enough flows to cover the parallel paths.
    InterTor,
    /// Same rail.
    Rail,
    /// Other RNICs of the same host.
    HostMesh,
    /// Peers of traced workloads.
    Service,
    /// Plain IP, no RDMA: the baseline.
    Control,
}

impl ProbeClass {
    /// The name in the API and in metric attributes.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TorMesh => "torMesh",
            Self::InterTor => "interTor",
            Self::Rail => "rail",
            Self::HostMesh => "hostMesh",
            Self::Service => "service",
            Self::Control => "control",
        }
    }
}

impl fmt::Display for ProbeClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
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

/// Outcomes of probes, booked to the second in which the probe was sent.
///
/// Once a window has settled the outcomes add up to `sent`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Probes that fell due and were attempted.
    pub sent: u64,
    /// Both answers came in time.
    pub ok: u64,
    /// No answer, and the peer has an alibi: it was there and not starved.
    pub lost: u64,
    /// Part of `lost`: the peer has not seen the probe, it was lost on the way there.
    pub lost_forward: u64,
    /// Part of `lost`: the peer has seen the probe, the answer was lost.
    pub lost_return: u64,
    /// The answer came after the timeout.
    pub late: u64,
    /// No timely answer, but this host or the peer was starved of CPU: says nothing about the fabric.
    pub host_delayed: u64,
    /// The peer could not be resolved, or it restarted meanwhile: says nothing about the fabric.
    pub unresolved: u64,
    /// Answered, but the time stamps make no sense (negative or out of bounds).
    pub invalid: u64,
    /// The local device refused or failed the send.
    pub send_error: u64,
}

impl Tally {
    /// Sum of all outcomes: equals `sent` once settled.
    pub const fn outcomes(&self) -> u64 {
        self.ok
            + self.lost
            + self.late
            + self.host_delayed
            + self.unresolved
            + self.invalid
            + self.send_error
    }

    /// Lost out of the probes that say something about the fabric; `None` when none does.
    pub fn loss_ratio(&self) -> Option<f64> {
        let judged = self.ok + self.late + self.lost;
        (judged > 0).then(|| self.lost as f64 / judged as f64)
    }
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.sent += other.sent;
        self.ok += other.ok;
        self.lost += other.lost;
        self.lost_forward += other.lost_forward;
        self.lost_return += other.lost_return;
        self.late += other.late;
        self.host_delayed += other.host_delayed;
        self.unresolved += other.unresolved;
        self.invalid += other.invalid;
        self.send_error += other.send_error;
    }
}

/// Network round-trip times of one flow in one window.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RttSummary {
    /// Number of round trips behind the figures; 0 makes all the others zero.
    pub count: u64,
    /// Smallest.
    pub min: Duration,
    /// Median.
    pub p50: Duration,
    /// 99th percentile (nearest rank).
    pub p99: Duration,
    /// Largest.
    pub max: Duration,
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

/// One flow's part of a [`TargetWindow`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlowWindow {
    /// Index of the flow in its target.
    pub flow: u16,
    /// UDP source port of the flow, where the driver's rule is known.
    pub source_port: Option<u16>,
    /// Routers on the way there, by the hop limit that the newest answered probe arrived with.
    pub routers: Option<u8>,
    /// Outcomes.
    pub tally: Tally,
    /// Network round-trip times.
    pub rtt: RttSummary,
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

/// Where time stamps come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TimestampMode {
    /// The device stamps completions.
    Hardware,
    /// The agent stamps: host scheduling is part of the figure.
    Software,
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
