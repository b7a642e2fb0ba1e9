//! Cases move on: they open when an illness has lasted, end when the evidence has been clean for long
//! enough, and stay as they are while nothing is known. What comes back soon comes and goes: it says so, and from the second
//! return on has to be clean for longer each time, so that a loose cable makes one case of a morning and not fifty.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::evidence::Evidence;
use super::facts::Finding;
use super::sentence;
use super::state::{Case, CaseKey, Ended, State};
use super::verdict::Transition;
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

/// A case that comes back after longer than this is a new one.
const COMES_BACK_WITHIN: Duration = Duration::from_secs(900);

/// What came back must be clean for as many times as long as it did, but not for more than this many. Once may be a
/// second fault of the same element.
const PATIENCE: u32 = 6;

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

    fn clear(&self, case: &Case) -> Duration {
        let returns = case.earlier.map_or(0, |earlier| earlier.times);
        self.clear.saturating_mul(returns.clamp(1, PATIENCE))
    }
}

/// Cases after a judgement.
#[derive(Default)]
pub(super) struct Outcome {
    pub cases: BTreeMap<CaseKey, Case>,
    pub ended: BTreeMap<CaseKey, Ended>,
    pub transitions: Vec<Transition>,
    pub next_check: Option<Timestamp>,
}

/// Moves all cases on to `now`. `ill` is what is ill now; `observe` tells how an existing case stands that is
/// not; `covers` tells whether the first one explains the second.
pub(super) fn advance(
    state: &State,
    timing: &Timing,
    now: Timestamp,
    ill: &BTreeMap<CaseKey, Finding>,
    observe: impl Fn(&CaseKey, &Case) -> Observation,
    covers: impl Fn(&CaseKey, &CaseKey) -> bool,
) -> Outcome {
    let lately = |ended: &&Ended| now.since(ended.last) < COMES_BACK_WITHIN;
    let ended = state.ended.iter().filter(|(_, ended)| lately(ended));
    let mut outcome = Outcome {
        ended: ended.map(|(key, ended)| (key.clone(), *ended)).collect(),
        ..Outcome::default()
    };
    let keys: BTreeSet<&CaseKey> = state.cases.keys().chain(ill.keys()).collect();
    // Large elements come first, because they explain the smaller ones.
    for key in keys {
        let by = outcome.explanation(key, &covers);
        let (case, finding) = (state.cases.get(key), ill.get(key));
        match (case, by) {
            (Some(case), Some((by, true))) => outcome.explain(key, case, &by),
            // What explains it may be about to be named instead; until then it stays as it is.
            (Some(case), Some((_, false))) => {
                outcome.cases.insert(key.clone(), case.clone());
            }
            (None, Some(_)) => {}
            (Some(case), None) => {
                let observation = match finding {
                    Some(_) => Observation::Ill,
                    None => observe(key, case),
                };
                outcome.advance_case(key, case, finding, observation, (timing, now));
            }
            (None, None) => {
                if let Some(finding) = finding {
                    outcome.begin_case(key, finding, (timing, now));
                }
            }
        }
    }
    outcome.transitions.sort_by_cached_key(order);
    outcome
}

impl Outcome {
    /// The case that explains `key`, and whether that is open.
    fn explanation(
        &self,
        key: &CaseKey,
        covers: impl Fn(&CaseKey, &CaseKey) -> bool,
    ) -> Option<(CaseKey, bool)> {
        let found = self.cases.iter().filter(|(by, _)| covers(by, key));
        let found = found.map(|(by, case)| (by.clone(), case.open));
        found.max_by_key(|(_, open)| *open)
    }

    fn begin_case(&mut self, key: &CaseKey, finding: &Finding, at: (&Timing, Timestamp)) {
        let (_, now) = at;
        let case = Case {
            open: false,
            since: now,
            last_seen: now,
            clean_since: None,
            earlier: self.ended.get(key).copied(),
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
                    case.evidence = match &case.earlier {
                        Some(earlier) => {
                            sentence::came_back(&finding.evidence, earlier, case.since)
                        }
                        None => finding.evidence.clone(),
                    };
                }
                let settle = finding.map_or(Duration::ZERO, |finding| finding.settle);
                let raise = timing.raise.max(settle);
                if !case.open && now.since(case.since) >= raise {
                    case.open = true;
                    self.transitions.push(Transition::Opened(case.suspect(key)));
                }
                if !case.open {
                    self.check_at(case.since.after(raise));
                }
            }
            // What was never named has nothing to be cleared of; its streak is over.
            Observation::Clean | Observation::NoEvidence if !case.open => return,
            Observation::Clean => {
                let clean_since = *case.clean_since.get_or_insert(now);
                let clear = timing.clear(&case);
                if now.since(clean_since) >= clear {
                    self.ended.insert(key.clone(), Ended::of(&case, now));
                    self.transitions.push(Transition::Cleared(key.clone()));
                    return;
                }
                self.check_at(clean_since.after(clear));
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

    fn explain(&mut self, key: &CaseKey, case: &Case, by: &CaseKey) {
        if case.open {
            self.transitions.push(Transition::Explained {
                case: key.clone(),
                by: by.clone(),
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
