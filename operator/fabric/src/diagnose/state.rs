//! What the judge remembers between two judgements: open and pending cases.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use super::verdict::{Impact, Suspect, SuspectKind};
use crate::names::{GroupName, NodeName, RnicName};
use crate::time::Timestamp;

/// Open and pending cases, and the RNICs that are known to have taken part.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Cases by what they are about.
    pub cases: BTreeMap<CaseKey, Case>,
    /// Cases that ended lately; an operator that restarts has forgotten them.
    pub ended: BTreeMap<CaseKey, Ended>,
    /// What agents lately reported to be down as a whole, and when they last did: its losses are in their windows for a while.
    pub down: BTreeMap<CaseKey, Timestamp>,
    /// RNICs that a plan has ever held: only those can be missed when their port goes down. A port that
    /// never was up is nobody's loss.
    pub expected: Arc<BTreeSet<RnicName>>,
    /// Groups that those RNICs were last planned in.
    pub groups: Arc<BTreeMap<RnicName, GroupName>>,
    /// Switches that traces have shown next to RNICs.
    pub leaves: Arc<BTreeMap<RnicName, Arc<str>>>,
}

/// What a case is about. A smaller key explains the larger ones that it is part of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CaseKey {
    /// A host: all its RNICs.
    Host(NodeName),
    /// A switch, by name or address.
    Switch(Arc<str>),
    /// An RNIC.
    Rnic(RnicName),
    /// A link, `<a>-<b>`.
    Link(Arc<str>),
    /// Some link between two groups, the smaller name first: which one is not known.
    Groups(GroupName, GroupName),
    /// The path between two RNICs, the smaller name first: which element of it is not known.
    Pair(RnicName, RnicName),
}

impl CaseKey {
    /// The path between `a` and `b`, whichever of them probed.
    #[must_use]
    pub fn pair(a: RnicName, b: RnicName) -> Self {
        if a <= b {
            Self::Pair(a, b)
        } else {
            Self::Pair(b, a)
        }
    }

    /// Some link between two groups.
    #[must_use]
    pub fn groups(a: GroupName, b: GroupName) -> Self {
        if a <= b {
            Self::Groups(a, b)
        } else {
            Self::Groups(b, a)
        }
    }

    /// What a suspect of a status is about; `None` where its names cannot be read.
    #[must_use]
    pub fn read(kind: SuspectKind, name: &str, peer: Option<&str>) -> Option<Self> {
        let rnic = |text: &str| text.parse::<RnicName>().ok();
        Some(match (kind, peer) {
            (SuspectKind::Host, None) => Self::Host(name.into()),
            (SuspectKind::Switch, None) => Self::Switch(name.into()),
            (SuspectKind::Rnic, None) => Self::Rnic(rnic(name)?),
            (SuspectKind::Rnic, Some(peer)) => Self::pair(rnic(name)?, rnic(peer)?),
            (SuspectKind::Link, None) => Self::Link(name.into()),
            (SuspectKind::Link, Some(peer)) => Self::groups(name.into(), peer.into()),
            (SuspectKind::Host | SuspectKind::Switch, Some(_)) => return None,
        })
    }

    /// What kind of element it is.
    #[must_use]
    pub const fn kind(&self) -> SuspectKind {
        match self {
            Self::Host(_) => SuspectKind::Host,
            Self::Switch(_) => SuspectKind::Switch,
            Self::Rnic(_) | Self::Pair(..) => SuspectKind::Rnic,
            Self::Link(_) | Self::Groups(..) => SuspectKind::Link,
        }
    }

    /// Its name, or that of its first end.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Host(node) => node.to_string(),
            Self::Switch(name) | Self::Link(name) => name.to_string(),
            Self::Rnic(rnic) | Self::Pair(rnic, _) => rnic.to_string(),
            Self::Groups(group, _) => group.to_string(),
        }
    }

    /// The name of its other end, where only its ends are known.
    #[must_use]
    pub fn peer(&self) -> Option<String> {
        match self {
            Self::Pair(_, peer) => Some(peer.to_string()),
            Self::Groups(_, peer) => Some(peer.to_string()),
            Self::Host(_) | Self::Switch(_) | Self::Rnic(_) | Self::Link(_) => None,
        }
    }

    /// The one node that it is about; `None` for what joins several.
    #[must_use]
    pub const fn node(&self) -> Option<&NodeName> {
        match self {
            Self::Host(node) => Some(node),
            Self::Rnic(rnic) => Some(&rnic.node),
            Self::Switch(_) | Self::Link(_) | Self::Groups(..) | Self::Pair(..) => None,
        }
    }
}

/// As a person reads it: `leaf1-spine2`, `host1/rxe1 ↔ host3/rxe3`.
impl fmt::Display for CaseKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(node) => node.fmt(f),
            Self::Switch(name) | Self::Link(name) => f.write_str(name),
            Self::Rnic(rnic) => rnic.fmt(f),
            Self::Groups(a, b) => write!(f, "{a} ↔ {b}"),
            Self::Pair(a, b) => write!(f, "{a} ↔ {b}"),
        }
    }
}

/// A case, open or about to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// Whether it is named in the verdict; else it has not lasted long enough yet.
    pub open: bool,
    /// When it was first seen; kept while the case lives.
    pub since: Timestamp,
    /// When it was last seen ill.
    pub last_seen: Timestamp,
    /// Since when the evidence has been clean without a break.
    pub clean_since: Option<Timestamp>,
    /// That there were cases of the same element before, where it came back soon.
    pub earlier: Option<Ended>,
    /// How sure it is, in percent, below 100.
    pub confidence: u8,
    /// One sentence with numbers.
    pub evidence: String,
}

/// Cases of one element that ended, each soon after the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// How many.
    pub times: u32,
    /// When the first one began.
    pub first: Timestamp,
    /// When the last one ended.
    pub last: Timestamp,
}

impl Ended {
    /// After `case` ended, too.
    pub(super) fn of(case: &Case, now: Timestamp) -> Self {
        let (times, first) = case
            .earlier
            .map_or((0, case.since), |earlier| (earlier.times, earlier.first));
        Self {
            times: times.saturating_add(1),
            first,
            last: now,
        }
    }
}

impl Case {
    /// The case as a verdict names it.
    pub(super) fn suspect(&self, key: &CaseKey) -> Suspect {
        Suspect {
            key: key.clone(),
            confidence: self.confidence,
            impact: Impact::P2,
            workloads: Vec::new(),
            since: self.since,
            last_seen: self.last_seen,
            evidence: self.evidence.clone(),
        }
    }
}

impl State {
    /// Rebuilds the open cases from the suspects of a mesh's status, and what takes part from the
    /// assignments that exist, after the operator restarted.
    pub fn recover(
        suspects: impl IntoIterator<Item = Suspect>,
        assigned: impl IntoIterator<Item = RnicName>,
    ) -> Self {
        let cases = suspects.into_iter().map(|suspect| {
            let key = suspect.key;
            let case = Case {
                open: true,
                since: suspect.since,
                last_seen: suspect.last_seen,
                clean_since: None,
                earlier: None,
                confidence: suspect.confidence,
                evidence: suspect.evidence,
            };
            (key, case)
        });
        Self {
            cases: cases.collect(),
            expected: Arc::new(assigned.into_iter().collect()),
            ..Self::default()
        }
    }
}
