//! What a data path measured in one window: the material of every finding. Types only.
//!
//! The agent's data path fills these in from real probes, the simulator from simulated ones.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::plan::ProbeClass;

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

    /// Probes that say something about the fabric.
    #[must_use]
    pub const fn judged(&self) -> u64 {
        self.ok + self.late + self.lost
    }

    /// Lost on the way to the peer, or nobody knows on which way.
    #[must_use]
    pub const fn lost_on_the_way(&self) -> u64 {
        self.lost.saturating_sub(self.lost_return)
    }

    /// Lost out of the probes that say something about the fabric; `None` when none does.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "counts of probes of one window")]
    pub fn loss_ratio(&self) -> Option<f64> {
        let judged = self.judged();
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

/// One flow's part of a [`Window`].
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

/// Where time stamps come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TimestampMode {
    /// The device stamps completions.
    Hardware,
    /// The agent stamps: host scheduling is part of the figure.
    Software,
}

/// Round-trip times of all flows of a target, however they are kept.
pub trait Rtts {
    /// Number of round trips.
    fn count(&self) -> u64;
    /// The round-trip time at quantile `q` (0 to 1); `None` when there are none.
    fn quantile(&self, q: f64) -> Option<Duration>;
}

/// One target's sliding window: its newest settled seconds.
#[derive(Clone)]
pub struct Window<'a> {
    /// The local port that probes.
    pub local: &'a LocalPort,
    /// Mesh, class, traffic class and peer.
    pub target: TargetKey,
    /// End of the newest settled second.
    pub end: SystemTime,
    /// Length of the window.
    pub length: Duration,
    /// Whether the stamps behind the round-trip times come from the device.
    pub timestamps: TimestampMode,
    /// Per flow, in flow order.
    pub flows: &'a [FlowWindow],
    /// Sum over the flows.
    pub tally: Tally,
    /// Round-trip times of all flows.
    pub rtt: &'a dyn Rtts,
}
