//! The verdict on the fabric: who is suspected, on what evidence, since when.
//!
//! [`diagnose`] is a pure function of what agents report, of the open cases and of the time. The
//! operator calls it whenever a report or an inventory changes and at [`Verdict::next_check`], and writes
//! the verdict into the mesh's status, from which [`State::recover`] rebuilds the open cases after a
//! restart.
//!
//! Steps: read the facts (`facts`), see which paths are ill and which are known to be well (`pairs`),
//! move the cases on (`cases`), put it into words (`health`, `sentence`). The vote on RNICs, links
//! and switches belongs between the second and the third; evidence carries flows, paths and link tallies
//! for it already.

mod cases;
mod evidence;
mod facts;
mod health;
mod pairs;
mod planned;
mod sentence;
mod state;
mod verdict;

pub use evidence::{
    AgentState, Anomaly, AnomalyKind, Evidence, Hop, LinkTally, LossyPath, NodeEvidence, PortFact,
    PortState, Report, RnicTally, SwitchNames, Tolerance,
};
pub use planned::{Place, Planned};
pub use state::{Case, CaseKey, State};
pub use verdict::{
    Health, Impact, PairFigures, Status, Summary, Suspect, SuspectKind, Transition, Verdict,
    Workload,
};

use crate::time::Timestamp;
use cases::Observation;
use facts::Facts;

/// Judges `evidence` on top of `state` at the time `now`.
///
/// Deterministic, independent of the order of nodes, reports and anomalies, and idempotent: judging the
/// same evidence again at the same time changes nothing. No evidence neither opens nor closes a case.
#[must_use]
pub fn diagnose(evidence: &Evidence, state: &State, now: Timestamp) -> (Verdict, State) {
    let facts = Facts::read(evidence, state);
    let ill_rnics = facts.ill_rnics();
    let ill_pairs = pairs::ill(&facts);
    let observe = |key: &CaseKey, case: &Case| match key {
        CaseKey::Rnic(rnic) => cases::observe_rnic(facts.standing(rnic)),
        CaseKey::Pair(a, b) => match ill_pairs.get(key) {
            Some(_) => Observation::Ill,
            None => pairs::observe(&facts, &ill_pairs, (a, b), case.last_seen),
        },
        _ => Observation::NoEvidence,
    };
    let outcome = cases::advance(
        state,
        &cases::Timing::of(evidence),
        now,
        (&ill_rnics, &ill_pairs),
        observe,
    );
    let suspects = health::suspects(&outcome.cases);
    let summary = facts.summary();
    let verdict = Verdict {
        health: health::health(evidence, &summary, &suspects),
        suspects_omitted: suspects.len().saturating_sub(Verdict::MAX_SUSPECTS),
        suspects: suspects.into_iter().take(Verdict::MAX_SUSPECTS).collect(),
        worst_pairs: pairs::worst(&facts),
        summary,
        transitions: outcome.transitions,
        next_check: outcome.next_check,
    };
    let state = State {
        cases: outcome.cases,
        expected: facts.into_expected(),
    };
    (verdict, state)
}
