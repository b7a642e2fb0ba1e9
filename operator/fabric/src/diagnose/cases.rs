//! Cases move on: they open when an illness has lasted, end when the evidence has been clean for long
//! enough, and stay as they are while nothing is known.

use std::collections::BTreeMap;
use std::time::Duration;

use super::evidence::Evidence;
use super::facts::{Finding, Standing};
use super::state::{Case, CaseKey, State};
use super::verdict::Transition;
use crate::names::RnicName;
use crate::time::Timestamp;

/// What the evidence says about a case now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Observation {
    /// It is ill.
    Ill,
    /// It is known to be well.
    Clean,
    /// Nothing is known.
    NoEvidence,
    /// It is no part of the mesh any more.
    Left,
}

/// How long an illness must last to be named, and health to be believed.
pub(super) struct Timing {
    raise: Duration,
    clear: Duration,
}

impl Timing {
    pub fn of(evidence: &Evidence) -> Self {
        let window = evidence.thresholds.window;
        let tolerance = &evidence.tolerance;
        Self {
            raise: window.saturating_mul(tolerance.raise_after.saturating_sub(1)),
            clear: window.saturating_mul(tolerance.clear_after),
        }
    }
}

/// What an RNIC's standing says about its case.
pub(super) const fn observe_rnic(standing: Standing<'_>) -> Observation {
    match standing {
        Standing::Active => Observation::Clean,
        Standing::Down { .. } | Standing::Gone => Observation::Ill,
        Standing::Unknown => Observation::NoEvidence,
        Standing::Left => Observation::Left,
    }
}

/// Cases after a judgement.
#[derive(Default)]
pub(super) struct Outcome {
    pub cases: BTreeMap<CaseKey, Case>,
    pub transitions: Vec<Transition>,
    pub next_check: Option<Timestamp>,
}

/// Moves all cases on to `now`. `ill` holds the ill RNICs and the ill paths; `observe` tells how an existing
/// case stands.
pub(super) fn advance(
    state: &State,
    timing: &Timing,
    now: Timestamp,
    (ill_rnics, ill_pairs): (&BTreeMap<CaseKey, Finding>, &BTreeMap<CaseKey, Finding>),
    observe: impl Fn(&CaseKey, &Case) -> Observation,
) -> Outcome {
    let mut outcome = Outcome::default();
    let (rnics, pairs): (Vec<_>, Vec<_>) = state
        .cases
        .iter()
        .partition(|(key, _)| matches!(key, CaseKey::Rnic(_)));
    for (key, case) in rnics {
        outcome.advance_case(
            key,
            case,
            ill_rnics.get(key),
            observe(key, case),
            (timing, now),
        );
    }
    for (key, finding) in ill_rnics {
        outcome.begin_case(state, key, finding, (timing, now));
    }
    // RNICs come first, because they explain their paths.
    let explained: BTreeMap<RnicName, bool> = outcome
        .cases
        .iter()
        .filter_map(|(key, case)| match key {
            CaseKey::Rnic(rnic) => Some((rnic.clone(), case.open)),
            _ => None,
        })
        .collect();
    for (key, case) in pairs {
        match explanation(key, &explained) {
            Some((by, true)) => outcome.explain(key, case, by),
            // Its RNIC may be about to be named instead; until then the path stays as it is.
            Some((_, false)) => {
                outcome.cases.insert(key.clone(), case.clone());
            }
            None => {
                let observation = observe(key, case);
                outcome.advance_case(key, case, ill_pairs.get(key), observation, (timing, now));
            }
        }
    }
    for (key, finding) in ill_pairs {
        if explanation(key, &explained).is_none() {
            outcome.begin_case(state, key, finding, (timing, now));
        }
    }
    outcome.transitions.sort_by_cached_key(order);
    outcome
}

/// The RNIC whose own case explains a path, and whether that case is open.
fn explanation<'a>(
    key: &CaseKey,
    explained: &'a BTreeMap<RnicName, bool>,
) -> Option<(&'a RnicName, bool)> {
    let CaseKey::Pair(a, b) = key else {
        return None;
    };
    let found = [a, b]
        .into_iter()
        .filter_map(|rnic| explained.get_key_value(rnic))
        .map(|(rnic, open)| (rnic, *open));
    found.max_by_key(|(_, open)| *open)
}

impl Outcome {
    fn begin_case(
        &mut self,
        state: &State,
        key: &CaseKey,
        finding: &Finding,
        at: (&Timing, Timestamp),
    ) {
        if state.cases.contains_key(key) {
            return;
        }
        let (_, now) = at;
        let case = Case {
            open: false,
            since: now,
            last_seen: now,
            clean_since: None,
            confidence: finding.confidence,
            evidence: finding.evidence.clone(),
        };
        self.advance_case(key, &case, Some(finding), Observation::Ill, at);
    }

    fn advance_case(
        &mut self,
        key: &CaseKey,
        case: &Case,
        finding: Option<&Finding>,
        observation: Observation,
        (timing, now): (&Timing, Timestamp),
    ) {
        let mut case = case.clone();
        match observation {
            Observation::Ill => {
                case.last_seen = now;
                case.clean_since = None;
                if let Some(finding) = finding {
                    case.confidence = finding.confidence;
                    case.evidence.clone_from(&finding.evidence);
                }
                if !case.open && now.since(case.since) >= timing.raise {
                    case.open = true;
                    self.transitions.push(Transition::Opened(case.suspect(key)));
                }
                if !case.open {
                    self.check_at(case.since.after(timing.raise));
                }
            }
            // What was never named has nothing to be cleared of; its streak is over.
            Observation::Clean | Observation::NoEvidence if !case.open => return,
            Observation::Clean => {
                let clean_since = *case.clean_since.get_or_insert(now);
                if now.since(clean_since) >= timing.clear {
                    self.transitions.push(Transition::Cleared(key.clone()));
                    return;
                }
                self.check_at(clean_since.after(timing.clear));
            }
            Observation::NoEvidence => case.clean_since = None,
            Observation::Left => {
                if case.open {
                    self.transitions.push(Transition::Withdrawn(key.clone()));
                }
                return;
            }
        }
        self.cases.insert(key.clone(), case);
    }

    fn explain(&mut self, key: &CaseKey, case: &Case, by: &RnicName) {
        if case.open {
            self.transitions.push(Transition::Explained {
                case: key.clone(),
                by: CaseKey::Rnic(by.clone()),
            });
        }
    }

    fn check_at(&mut self, time: Timestamp) {
        self.next_check = Some(self.next_check.map_or(time, |next| next.min(time)));
    }
}

/// A stable order of transitions: what opens first, then what ends.
fn order(transition: &Transition) -> (u8, CaseKey) {
    match transition {
        Transition::Opened(suspect) => (0, suspect.key.clone()),
        Transition::Explained { case, .. } => (1, case.clone()),
        Transition::Cleared(key) => (2, key.clone()),
        Transition::Withdrawn(key) => (3, key.clone()),
    }
}
