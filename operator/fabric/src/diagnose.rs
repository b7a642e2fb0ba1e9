//! The verdict on the fabric: who is suspected, on what evidence, since when.
//!
//! [`diagnose`] is a pure function of what agents report, of the open cases and of the time. The
//! operator calls it whenever a report or an inventory changes and at [`Verdict::next_check`], and writes
//! the verdict into the mesh's status, from which [`State::recover`] rebuilds the open cases after a
//! restart.
//!
//! # Steps
//! 1. `facts`: whose word holds, who takes part. Nobody accuses a node that is left out, rolled or gone.
//! 2. `ports`: RNICs whose own agent says that they are down or gone; a host or a switch all of whose are.
//! 3. `blame`: who loses or delays probes. `wiring` gives traced hops their names, `network` puts lossy flows as
//!    agents report them before [`crate::localise`], `silence` adds what nobody lists and was therefore well,
//!    `hops` chooses by hop probes among links that all flows cross alike. What is the host's fault is dropped
//!    first. Where paths are not traced, the elements are RNICs, the switch of a group and "some link between
//!    two groups".
//! 4. `pairs`: paths between two RNICs that are ill and that nothing above explains.
//! 5. `explain`: a switch explains its links, a host its RNICs, every element the pairs that cross it.
//! 6. `cases`: what has lasted opens, what has been clean for long enough ends, silence does neither.
//!    Suspects that are not sure yet wait: a second where much is lost, else until the losses that made them
//!    suspects have left the window.
//! 7. `health`, `sentence`: in words.
//!
//! # Why a likelihood and not votes
//! R-Pingmesh calls an RNIC ill when a tenth of its probes within the group time out and lets lossy paths vote for links;
//! 007 gives each link of a lossy flow an equal part of a vote; NetBouncer estimates every link's success
//! probability by regularised least squares; Flock searches the set of links of greatest likelihood. They were compared
//! on the same cases (`cargo run --release -p rdmamesh-fabric --example localise_compare -- SEED CASES`
//! prints the tables). Votes and fixed shares need a threshold for every size of fabric, and with two RNICs below a switch
//! both look ill; a likelihood needs neither, takes several faults and one direction of a link as it takes one fault, and
//! its posterior is the confidence that a verdict is published with. `localise` is of Flock's kind, with rates integrated
//! out and groups for switches and hosts. How right the verdicts are in the end is what
//! `rig score` (or `--example score`) prints.

mod blame;
mod cases;
mod evidence;
mod explain;
mod facts;
mod health;
mod hops;
mod network;
mod pairs;
mod planned;
mod ports;
mod seen;
mod sentence;
mod silence;
mod state;
mod trip;
mod verdict;
mod wiring;

pub use evidence::{
    AgentState, Anomaly, AnomalyKind, Evidence, Hop, LinkTally, LossyPath, NodeEvidence, PortFact,
    PortState, Report, RnicTally, SwitchNames, Tolerance,
};
pub use planned::{Place, Planned};
pub use state::{Case, CaseKey, Ended, State};
pub use verdict::{
    Health, Impact, PairFigures, Status, Summary, Suspect, SuspectKind, Transition, Verdict,
    Workload,
};

use crate::time::Timestamp;
use cases::Observation;
use facts::{Facts, Standing};
use wiring::Wiring;

/// Judges `evidence` on top of `state` at the time `now`.
///
/// Deterministic, independent of the order of nodes, reports and anomalies, and idempotent: judging the
/// same evidence again at the same time changes nothing. No evidence neither opens nor closes a case.
#[must_use]
pub fn diagnose(evidence: &Evidence, state: &State, now: Timestamp) -> (Verdict, State) {
    let facts = Facts::read(evidence, state);
    let reports = facts.reports().map(|(_, report)| report);
    let wiring = Wiring::read((&evidence.switches, &evidence.planned), state, reports);
    let seen = seen::Seen::read(&facts, &wiring);
    let mut ill = ports::ill(&facts, &wiring);
    let down = ports::down_lately(evidence, state, ill.keys(), now);
    let blamed = blame::blamed(&facts, &wiring, &seen, (state, &down), now);
    let ill_pairs = pairs::ill(&facts);
    for (key, blamed) in &blamed {
        let finding = blamed.finding.clone();
        ill.entry(key.clone()).or_insert(finding);
    }
    ill.extend(ill_pairs.clone());
    let summary = facts.summary();
    let explain = explain::Explain::new(&facts, &wiring, &seen, &blamed);
    let observe = |key: &CaseKey, case: &Case| match key {
        CaseKey::Pair(a, b) => pairs::observe(&facts, &ill_pairs, (a, b), case.last_seen),
        key => observe_element(&facts, &summary, key),
    };
    let timing = cases::Timing::of(evidence);
    let outcome = cases::advance(state, &timing, now, &ill, observe, |by, key| {
        explain.covers(by, key)
    });
    let suspects = health::suspects(&outcome.cases);
    let verdict = Verdict {
        health: health::health(evidence, &summary, &suspects, now),
        suspects_omitted: suspects.len().saturating_sub(Verdict::MAX_SUSPECTS),
        suspects: suspects.into_iter().take(Verdict::MAX_SUSPECTS).collect(),
        worst_pairs: pairs::worst(&facts),
        summary,
        transitions: outcome.transitions,
        next_check: outcome.next_check,
    };
    let (expected, groups) = facts.into_memory();
    let state = State {
        cases: outcome.cases,
        ended: outcome.ended,
        down,
        leaves: wiring.into_leaves(&expected),
        expected,
        groups,
    };
    (verdict, state)
}

/// What the evidence says about an element that nothing accuses now.
fn observe_element(facts: &Facts<'_>, summary: &Summary, key: &CaseKey) -> Observation {
    let heard = |enough: bool| {
        if enough {
            Observation::Clean
        } else {
            Observation::NoEvidence
        }
    };
    match key {
        CaseKey::Rnic(rnic) => match facts.standing(rnic) {
            Standing::Left => Observation::Left,
            Standing::Active => heard(facts.tally(rnic).is_some()),
            Standing::Down { .. } | Standing::Gone | Standing::Unknown => Observation::NoEvidence,
        },
        CaseKey::Host(node) => {
            let planned = &facts.evidence.planned;
            let mut own = planned.rnics().iter().filter(|rnic| rnic.node == *node);
            if facts.agent(node).is_none() {
                Observation::Left
            } else {
                heard(own.any(|rnic| facts.tally(rnic).is_some()))
            }
        }
        // Whoever crosses it would have told: at least half of all agents must be heard.
        _ => heard(summary.agents_reporting > 0 && summary.agents_reporting * 2 >= summary.agents),
    }
}
