//! The verdict on the fabric: who is suspected, on what evidence, since when.
//!
//! [`diagnose`] is a pure function of what agents report, of the open cases and of the time. The
//! operator calls it whenever a report or an inventory changes and at [`Verdict::next_check`], and writes
//! the verdict into the mesh's status, from which [`State::recover`] rebuilds the open cases after a
//! restart.

mod evidence;
mod planned;
mod state;
mod verdict;

pub use evidence::{
    AgentState, Anomaly, AnomalyKind, Evidence, LinkTally, NodeEvidence, PortFact, PortState,
    Report, RnicTally, Tolerance,
};
pub use planned::Planned;
pub use state::{Case, CaseKey, State};
pub use verdict::{
    Health, PairFigures, Status, Summary, Suspect, SuspectKind, Transition, Verdict,
};

use crate::time::Timestamp;

/// Judges `evidence` on top of `state` at the time `now`.
///
/// Deterministic and idempotent: judging the same evidence again at the same time changes nothing.
/// No evidence neither opens nor closes a case.
#[must_use]
pub fn diagnose(_evidence: &Evidence, state: &State, _now: Timestamp) -> (Verdict, State) {
    (Verdict::default(), state.clone())
}
