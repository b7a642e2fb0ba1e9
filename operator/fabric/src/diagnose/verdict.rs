//! What the judge says.

use std::sync::Arc;
use std::time::Duration;

use super::state::CaseKey;
use crate::names::RnicName;
use crate::time::Timestamp;

/// The verdict on a mesh.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Verdict {
    /// Content of the condition `FabricHealthy`.
    pub health: Health,
    /// Open cases, most certain first, at most [`Verdict::MAX_SUSPECTS`], in a stable order.
    pub suspects: Vec<Suspect>,
    /// Open cases that did not fit.
    pub suspects_omitted: usize,
    /// The pairs that lose most, worst first, at most [`Verdict::MAX_WORST_PAIRS`].
    pub worst_pairs: Vec<PairFigures>,
    /// Figures over the mesh.
    pub summary: Summary,
    /// Cases that opened or ended with this judgement, for Events.
    pub transitions: Vec<Transition>,
    /// When to judge again although nothing new was reported: a case is about to open or to end.
    pub next_check: Option<Timestamp>,
}

impl Verdict {
    /// Suspects named at most.
    pub const MAX_SUSPECTS: usize = 20;
    /// Pairs listed at most.
    pub const MAX_WORST_PAIRS: usize = 10;
}

/// Content of a condition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Status.
    pub status: Status,
    /// Reason in CamelCase.
    pub reason: &'static str,
    /// One or two sentences for a person.
    pub message: String,
}

/// Status of a condition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Status {
    /// It holds.
    True,
    /// It does not.
    False,
    /// Not enough evidence to tell.
    #[default]
    Unknown,
}

impl Status {
    /// As the API writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

/// What kind of element is suspected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SuspectKind {
    /// An RNIC; with a peer, the path between two RNICs.
    Rnic,
    /// A cable; with a peer, some link between two groups.
    Link,
    /// A switch.
    Switch,
    /// A host: all its RNICs.
    Host,
}

/// How much a suspect hurts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Impact {
    /// A traced workload uses it and suffers.
    P0,
    /// A traced workload uses it.
    P1,
    /// No traced workload is known to use it.
    #[default]
    P2,
}

/// A workload that a suspect touches.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Workload {
    /// Namespace of the pod.
    pub namespace: Arc<str>,
    /// Name of the pod.
    pub name: Arc<str>,
}

/// An element that the evidence points at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suspect {
    /// The element, and the case that it is of.
    pub key: CaseKey,
    /// How sure the verdict is, in percent, below 100.
    pub confidence: u8,
    /// How much it hurts.
    pub impact: Impact,
    /// Workloads that use it; empty until queue pairs are traced.
    pub workloads: Vec<Workload>,
    /// When it was first seen ill; kept while the case is open.
    pub since: Timestamp,
    /// When it was last seen ill.
    pub last_seen: Timestamp,
    /// One sentence with numbers.
    pub evidence: String,
}

/// What was measured between two RNICs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PairFigures {
    /// RNIC that probes.
    pub source: RnicName,
    /// RNIC that is probed.
    pub target: RnicName,
    /// Probes of the window.
    pub sent: u64,
    /// Probes of the window that were lost.
    pub lost: u64,
    /// 99th percentile of network round-trip time.
    pub p99: Option<Duration>,
}

/// Figures over the mesh, of the agents that report.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Summary {
    /// RNICs of the plan.
    pub rnics: usize,
    /// Ordered pairs of the plan.
    pub pairs: usize,
    /// Agents of the plan.
    pub agents: usize,
    /// Those of them whose report counts: settled, with judged probes, not silent.
    pub agents_reporting: usize,
    /// Lost share of judged probes (0 to 1); `None` without judged probes.
    pub loss_ratio: Option<f64>,
    /// Median over the RNICs of their median network round-trip time.
    pub p50: Option<Duration>,
    /// The worst RNIC's 99th percentile of network round-trip time.
    pub p99: Option<Duration>,
    /// End of the newest window that is part of this.
    pub window_end: Option<Timestamp>,
}

/// A case that opened or ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transition {
    /// A suspect is named from now on.
    Opened(Suspect),
    /// A suspect is no longer named: the evidence has been clean for long enough.
    Cleared(CaseKey),
    /// A suspect is no longer named: it left the mesh.
    Withdrawn(CaseKey),
    /// A suspect is no longer named besides the one that explains it.
    Explained {
        /// What was named.
        case: CaseKey,
        /// What explains it.
        by: CaseKey,
    },
}
