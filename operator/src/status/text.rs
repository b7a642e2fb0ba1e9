//! The sentences of `AssignmentsReady` and `CoverageMet`: what is wrong, where, and what to do.

use rdmamesh_api::condition::{ASSIGNMENTS_READY, COVERAGE_MET};
use rdmamesh_fabric::diagnose::Status;
use rdmamesh_fabric::plan::{Finding, MeshPlan};

use crate::conditions::{FirstFive, Statement};
use crate::planning::{Applied, InForce, MeshOutcome};

/// The condition `AssignmentsReady`.
#[must_use]
pub fn assignments_ready(outcome: &MeshOutcome) -> Statement {
    let say = |status, reason, message| Statement::new(ASSIGNMENTS_READY, status, reason, message);
    let mesh = match &outcome.mesh {
        Ok(mesh) => mesh,
        Err(error) => {
            let still = if outcome.in_force.is_some() {
                "; what was planned before stays in force"
            } else {
                ""
            };
            return say(Status::False, "InvalidSpec", format!("{error}{still}"));
        }
    };
    let Some(in_force) = outcome.in_force.as_deref().filter(|_| !mesh.suspended) else {
        let message =
            "the mesh is suspended (spec.suspend): its assignments are withdrawn".to_owned();
        return say(Status::False, "Suspended", message);
    };
    let notes = notes(&in_force.plan, is_about_members);
    match &outcome.applied {
        Applied::Failed { nodes, error } => {
            let nodes: FirstFive = nodes.iter().cloned().collect();
            let message = format!(
                "{} of the nodes' assignments could not be written ({nodes}): {error}; trying again",
                nodes.count()
            );
            say(Status::False, "WriteFailed", message)
        }
        _ if in_force.plan.counts.rnics == 0 => nobody(in_force, &notes),
        Applied::Pending(nodes) => {
            let message = format!("writing the assignments of {} nodes", nodes.len());
            say(Status::Unknown, "Writing", message)
        }
        Applied::Done => {
            let counts = in_force.plan.counts;
            let message = format!(
                "{} nodes with {} RNICs have their assignments{}",
                counts.nodes,
                counts.rnics,
                appended(&notes)
            );
            let reason = if notes.is_empty() {
                "AllAssigned"
            } else {
                "AssignedWithNotes"
            };
            say(Status::True, reason, message)
        }
    }
}

/// Nothing can be probed: why?
fn nobody(in_force: &InForce, notes: &[String]) -> Statement {
    let (reason, message) = if in_force.members.is_empty() {
        let message =
            "spec.nodeSelector matches no node; compare it with `kubectl get nodes --show-labels`";
        ("NoNodesSelected", message.to_owned())
    } else {
        let nodes: FirstFive = in_force
            .members
            .iter()
            .map(|(node, _)| node.as_str())
            .collect();
        let message = format!(
            "none of the {} selected nodes ({nodes}) has an RNIC that can be probed{}",
            nodes.count(),
            appended(notes)
        );
        ("NoUsableRnics", message)
    };
    Statement::new(ASSIGNMENTS_READY, Status::False, reason, message)
}

/// The condition `CoverageMet`.
#[must_use]
pub fn coverage_met(plan: &MeshPlan) -> Statement {
    let coverage = &plan.coverage;
    let notes = notes(plan, |finding| !is_about_members(finding));
    let say = |status, reason, message| Statement::new(COVERAGE_MET, status, reason, message);
    if plan.counts.rnics == 0 {
        let message = "there is nothing to probe".to_owned();
        say(Status::Unknown, "NoUsableRnics", message)
    } else if coverage.short > 0 || plan.findings.iter().any(is_shortfall) {
        say(Status::False, "Shortfall", notes.join("; "))
    } else if coverage.flows_wanted == 0 {
        let message = format!(
            "no paths between groups are to be covered{}",
            appended(&notes)
        );
        say(Status::True, "NotAskedFor", message)
    } else if coverage.group_pairs == 0 {
        let message = format!(
            "there is one group only, so no paths between groups{}",
            appended(&notes)
        );
        say(Status::True, "OneGroup", message)
    } else {
        let message = format!(
            "{} flows per group pair cover all parallel paths with probability {:.4} ({} wanted){}",
            coverage.flows,
            coverage.achieved,
            coverage.wanted,
            appended(&notes)
        );
        say(Status::True, "Covered", message)
    }
}

/// Findings about who takes part belong to `AssignmentsReady`, the others to `CoverageMet`.
const fn is_about_members(finding: &Finding) -> bool {
    matches!(
        finding,
        Finding::Unlabelled { .. }
            | Finding::Excluded { .. }
            | Finding::NoControlAddress { .. }
            | Finding::NoUsableRnic { .. }
            | Finding::UnusableRnics { .. }
    )
}

/// Findings that leave out something that was asked for.
const fn is_shortfall(finding: &Finding) -> bool {
    matches!(
        finding,
        Finding::CoverageShort { .. } | Finding::NotProbing { .. }
    )
}

fn notes(plan: &MeshPlan, wanted: impl Fn(&Finding) -> bool) -> Vec<String> {
    let findings = plan.findings.iter().filter(|finding| wanted(finding));
    findings.map(ToString::to_string).collect()
}

fn appended(notes: &[String]) -> String {
    if notes.is_empty() {
        String::new()
    } else {
        format!("; {}", notes.join("; "))
    }
}

/// A share as people read it, for example `0.3%`: two significant digits below one percent, so that a loss
/// that is there never reads as none.
#[must_use]
pub fn loss(ratio: f64) -> String {
    let percent = ratio * 100.0;
    if percent <= 0.0 {
        "0%".to_owned()
    } else if percent < 0.001 {
        "<0.001%".to_owned()
    } else if percent < 1.0 {
        let text = format!("{percent:.3}");
        format!("{}%", text.trim_end_matches('0'))
    } else if percent < 10.0 {
        format!("{percent:.1}%")
    } else {
        format!("{percent:.0}%")
    }
}
