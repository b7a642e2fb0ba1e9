//! The status step: outcome, verdict and reporting become a `RdmaMesh.status`. Pure.

mod text;

use k8s_openapi::jiff::Timestamp;
use rdmamesh_api::condition::{
    AGENTS_REPORTING, ASSIGNMENTS_READY, COVERAGE_MET, FABRIC_HEALTHY, READY,
};
use rdmamesh_api::mesh::{
    Coverage, Impact, MAX_SUSPECT_WORKLOADS, PairSummary, RdmaMeshStatus, Summary, Suspect,
    SuspectKind, WorkloadRef,
};
use rdmamesh_fabric::diagnose::{self, Status, Verdict};
use rdmamesh_fabric::plan::MeshPlan;

use crate::conditions::{Statement, merge};
use crate::evidence::api_time;
use crate::planning::MeshOutcome;

pub use text::{assignments_ready, coverage_met, loss};

/// What is known about a mesh when its status is written.
#[derive(Clone, Debug)]
pub struct Known<'a> {
    /// What the planner made of it; `None` while it has not run.
    pub outcome: Option<&'a MeshOutcome>,
    /// The verdict, where there is a plan to judge.
    pub verdict: Option<&'a Verdict>,
    /// The condition `AgentsReporting`, where there is a plan.
    pub reporting: Option<Statement>,
    /// The condition `ActionsApplied`, where there is something to say.
    pub actions: Option<Statement>,
}

/// The status at `now`; `before` is the one that it replaces.
#[must_use]
pub fn status(known: &Known<'_>, before: &RdmaMeshStatus, now: Timestamp) -> RdmaMeshStatus {
    let generation = known.outcome.map(|outcome| outcome.generation);
    let statements = statements(known);
    let mut status = RdmaMeshStatus {
        observed_generation: generation,
        conditions: merge(&before.conditions, statements, generation, now),
        ..RdmaMeshStatus::default()
    };
    if let Some(in_force) = known
        .outcome
        .and_then(|outcome| outcome.in_force.as_deref())
    {
        figures(&mut status, &in_force.plan);
    }
    if let Some(verdict) = known.verdict {
        judged(&mut status, verdict);
    }
    status
}

/// Five conditions, always: who waits for one must not wait for its first appearance. The sixth is there where
/// actions have something to say.
fn statements(known: &Known<'_>) -> Vec<Statement> {
    let Some(outcome) = known.outcome else {
        let pending =
            |type_| Statement::unknown(type_, "Pending", "the mesh has not been planned yet");
        return [
            READY,
            ASSIGNMENTS_READY,
            AGENTS_REPORTING,
            FABRIC_HEALTHY,
            COVERAGE_MET,
        ]
        .map(pending)
        .into();
    };
    let suspended = outcome.mesh.as_ref().is_ok_and(|mesh| mesh.suspended);
    let unplanned = |type_| match (&outcome.mesh, suspended) {
        (_, true) => Statement::unknown(type_, "Suspended", "the mesh is suspended (spec.suspend)"),
        (Err(error), _) => Statement::unknown(type_, "InvalidSpec", error.clone()),
        (Ok(_), false) => Statement::unknown(type_, "Pending", "the mesh has not been planned yet"),
    };
    let assignments = assignments_ready(outcome);
    let reporting = known
        .reporting
        .clone()
        .unwrap_or_else(|| unplanned(AGENTS_REPORTING));
    let health = known.verdict.map_or_else(
        || unplanned(FABRIC_HEALTHY),
        |verdict| {
            let health = &verdict.health;
            Statement::new(
                FABRIC_HEALTHY,
                health.status,
                health.reason,
                health.message.clone(),
            )
        },
    );
    let coverage = outcome.in_force.as_deref().map_or_else(
        || unplanned(COVERAGE_MET),
        |in_force| coverage_met(&in_force.plan),
    );
    let mut all = vec![
        ready(&assignments, &reporting),
        assignments,
        reporting,
        health,
        coverage,
    ];
    all.extend(known.actions.clone());
    all
}

/// The summary: is the mesh doing what it was asked to? The verdict on the fabric is no part of it.
fn ready(assignments: &Statement, reporting: &Statement) -> Statement {
    let parts = [assignments, reporting];
    let first = |status| parts.into_iter().find(|part| part.status == status);
    match first(Status::False).or_else(|| first(Status::Unknown)) {
        Some(part) => Statement::new(READY, part.status, part.reason, part.message.clone()),
        None => Statement::new(READY, Status::True, "Probing", reporting.message.clone()),
    }
}

fn figures(status: &mut RdmaMeshStatus, plan: &MeshPlan) {
    let counts = plan.counts;
    let narrow = |wide: u64| u32::try_from(wide).unwrap_or(u32::MAX);
    status.nodes = counts.nodes;
    status.rnics = counts.rnics;
    status.pairs = narrow(counts.pairs);
    status.flows = narrow(counts.flows);
    status.probes_per_second = narrow(plan.rate.ceil());
    let coverage = &plan.coverage;
    // Where nothing is probed, no probability can be told.
    if coverage.flows_wanted > 0 && counts.rnics > 0 {
        let met = coverage_met(plan);
        status.coverage = Some(Coverage {
            wanted: coverage.wanted,
            achieved: rounded(coverage.achieved),
            flows_wanted_per_pair: coverage.flows_wanted,
            flows_per_pair: coverage.flows,
            shortfall: (coverage.short > 0).then_some(met.message),
        });
    }
}

fn readable(time: std::time::Duration) -> rdmamesh_api::GoDuration {
    rdmamesh_api::GoDuration(time).rounded()
}

fn judged(status: &mut RdmaMeshStatus, verdict: &Verdict) {
    let figures = &verdict.summary;
    let narrow = |wide: usize| u32::try_from(wide).unwrap_or(u32::MAX);
    status.summary = Some(Summary {
        loss: figures.loss_ratio.map(loss).unwrap_or_default(),
        loss_ratio: rounded(figures.loss_ratio.unwrap_or_default()),
        p50: figures.p50.map(readable),
        p99: figures.p99.map(readable),
        suspect: first_suspect(verdict),
        agents_reporting: narrow(figures.agents_reporting),
        window_end: figures.window_end.map(api_time),
    });
    status.worst_pairs = verdict
        .worst_pairs
        .iter()
        .map(|pair| PairSummary {
            source: pair.source.to_string(),
            target: pair.target.to_string(),
            sent: pair.sent,
            lost: pair.lost,
            p99: pair.p99.map(readable),
        })
        .collect();
    status.suspects = verdict.suspects.iter().map(suspect).collect();
}

fn suspect(suspect: &diagnose::Suspect) -> Suspect {
    Suspect {
        kind: api_kind(suspect.key.kind()),
        name: suspect.key.name(),
        peer: suspect.key.peer(),
        confidence: suspect.confidence,
        impact: match suspect.impact {
            diagnose::Impact::P0 => Impact::P0,
            diagnose::Impact::P1 => Impact::P1,
            diagnose::Impact::P2 => Impact::P2,
        },
        workloads: suspect
            .workloads
            .iter()
            .take(MAX_SUSPECT_WORKLOADS)
            .map(|workload| WorkloadRef {
                namespace: workload.namespace.to_string(),
                name: workload.name.to_string(),
            })
            .collect(),
        since: api_time(suspect.since),
        last_seen: api_time(suspect.last_seen),
        evidence: suspect.evidence.clone(),
    }
}

/// The API's name of a kind of element.
const fn api_kind(kind: diagnose::SuspectKind) -> SuspectKind {
    match kind {
        diagnose::SuspectKind::Rnic => SuspectKind::Rnic,
        diagnose::SuspectKind::Link => SuspectKind::Link,
        diagnose::SuspectKind::Switch => SuspectKind::Switch,
        diagnose::SuspectKind::Host => SuspectKind::Host,
    }
}

/// The judge's name of a kind of element.
#[must_use]
pub const fn judged_kind(kind: SuspectKind) -> diagnose::SuspectKind {
    match kind {
        SuspectKind::Rnic => diagnose::SuspectKind::Rnic,
        SuspectKind::Link => diagnose::SuspectKind::Link,
        SuspectKind::Switch => diagnose::SuspectKind::Switch,
        SuspectKind::Host => diagnose::SuspectKind::Host,
    }
}

/// The first suspect and how many more there are, for a printer column.
fn first_suspect(verdict: &Verdict) -> Option<String> {
    let first = verdict.suspects.first()?;
    let name = first.key.to_string();
    let more = verdict.suspects.len() - 1 + verdict.suspects_omitted;
    Some(if more == 0 {
        name
    } else {
        format!("{name} (+{more})")
    })
}

/// Six decimals: more would make a status differ that reads the same.
fn rounded(ratio: f64) -> f64 {
    (ratio * 1e6).round() / 1e6
}

/// Whether two statuses say the same to a reader; times that move every second are left out.
#[must_use]
pub fn says_the_same(a: &RdmaMeshStatus, b: &RdmaMeshStatus) -> bool {
    still(a) == still(b)
}

fn still(status: &RdmaMeshStatus) -> RdmaMeshStatus {
    let mut status = status.clone();
    if let Some(summary) = &mut status.summary {
        summary.window_end = None;
    }
    for suspect in &mut status.suspects {
        suspect.last_seen = suspect.since.clone();
    }
    status
}

#[cfg(test)]
mod tests;
