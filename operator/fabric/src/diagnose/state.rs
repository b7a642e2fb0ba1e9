//! What the judge remembers between two judgements: open and pending cases.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::verdict::{Suspect, SuspectKind};
use crate::names::RnicName;
use crate::time::Timestamp;

/// Open and pending cases, and the RNICs that are known to have taken part.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Cases by what they are about.
    pub cases: BTreeMap<CaseKey, Case>,
    /// RNICs that a plan has ever held: only those can be missed when their port goes down. A port that
    /// never was up is nobody's loss.
    pub expected: Arc<BTreeSet<RnicName>>,
}

/// What a case is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CaseKey {
    /// An RNIC whose own agent reports its port not active, or gone.
    Rnic(RnicName),
    /// The path between two RNICs, the smaller name first.
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
    /// How sure it is, in percent, below 100.
    pub confidence: u8,
    /// One sentence with numbers.
    pub evidence: String,
}

impl Case {
    /// The case as a verdict names it.
    pub(super) fn suspect(&self, key: &CaseKey) -> Suspect {
        let (name, peer) = match key {
            CaseKey::Rnic(rnic) => (rnic.clone(), None),
            CaseKey::Pair(a, b) => (a.clone(), Some(b.clone())),
        };
        Suspect {
            kind: SuspectKind::Rnic,
            name,
            peer,
            confidence: self.confidence,
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
            let key = suspect.key();
            let case = Case {
                open: true,
                since: suspect.since,
                last_seen: suspect.last_seen,
                clean_since: None,
                confidence: suspect.confidence,
                evidence: suspect.evidence,
            };
            (key, case)
        });
        Self {
            cases: cases.collect(),
            expected: Arc::new(assigned.into_iter().collect()),
        }
    }
}
