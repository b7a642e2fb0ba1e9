//! Whether the agents of a mesh report results of its plan, and which do not. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use rdmamesh_api::condition::{AGENTS_REPORTING, PROBING};
use rdmamesh_fabric::NodeName;
use rdmamesh_fabric::diagnose::Status;

use crate::conditions::{FirstFive, Statement};
use crate::evidence::is_fresh;
use crate::planning::InForce;
use crate::unanswered::{Silence, Unanswered};
use crate::watch::{AssignmentView, Views};

/// How long an agent may take to carry out a plan before anybody is told: the write of its assignment,
/// opening devices, one window and the write of its report, several times over.
const GRACE: Duration = Duration::from_secs(30);

/// What is remembered of the agents between two looks.
#[derive(Clone, Debug, Default)]
pub struct Reporting(BTreeMap<NodeName, Seen>);

#[derive(Clone, Debug)]
struct Seen {
    /// It has reported for this mesh before.
    before: bool,
    /// Since when it does not report; `None` while it does.
    since: Option<Timestamp>,
}

impl Reporting {
    /// The condition `AgentsReporting` at `now`, and when to look again although nothing was reported.
    pub fn judge(
        &mut self,
        in_force: &InForce,
        assignments: &Views<AssignmentView>,
        now: Timestamp,
    ) -> (Statement, Option<Timestamp>) {
        let mut agents = Agents::default();
        let unanswered = Unanswered::find(in_force, assignments, now);
        let mut seen = BTreeMap::new();
        for (node, hash) in in_force.plan.nodes() {
            let view = assignments.get(node.as_str()).map(AsRef::as_ref);
            let silence = unanswered.get(node.as_str());
            let trouble = silence
                .map(Silence::sentence)
                .or_else(|| trouble(view, &in_force.mesh.name, &hash.to_string(), now));
            let was = self.0.remove(node);
            let since = trouble
                .as_ref()
                .map(|_| was.as_ref().and_then(|was| was.since).unwrap_or(now));
            // After a restart of the operator any earlier report stands for having reported.
            let reported = view
                .and_then(|view| view.report(&in_force.mesh.name))
                .is_some();
            let before = trouble.is_none() || was.map_or(reported, |was| was.before);
            // Its peers have waited before they said so.
            let grace = match silence {
                Some(_) => Duration::ZERO,
                None => GRACE + in_force.mesh.policy.thresholds.window,
            };
            let due = since.map(|since| since.saturating_add(grace).unwrap_or(Timestamp::MAX));
            agents.count(node, trouble, due, before, now);
            seen.insert(node.clone(), Seen { before, since });
        }
        self.0 = seen;
        (agents.statement(), agents.next)
    }
}

#[derive(Default)]
struct Agents {
    total: usize,
    late: FirstFive,
    starting: FirstFive,
    next: Option<Timestamp>,
}

impl Agents {
    fn count(
        &mut self,
        node: &NodeName,
        trouble: Option<String>,
        due: Option<Timestamp>,
        before: bool,
        now: Timestamp,
    ) {
        self.total += 1;
        let (Some(trouble), Some(due)) = (trouble, due) else {
            return;
        };
        if now >= due {
            self.late.push(format!("{node} ({trouble})"));
            return;
        }
        self.next = Some(self.next.map_or(due, |next| next.min(due)));
        if !before {
            self.starting.push(node.as_str());
        }
    }

    fn statement(&self) -> Statement {
        let (total, late, starting) = (self.total, self.late.count(), self.starting.count());
        let say =
            |status, reason, message| Statement::new(AGENTS_REPORTING, status, reason, message);
        if total == 0 {
            let message = "no agent has anything to probe for this mesh".to_owned();
            say(Status::Unknown, "NoAgents", message)
        } else if late > 0 {
            let message = format!(
                "{late} of {total} agents do not report: {}; see `kubectl get rdmanode` and the agents' logs",
                self.late
            );
            say(Status::False, "AgentsMissing", message)
        } else if starting > 0 {
            let message = format!(
                "waiting for the first results of {starting} of {total} agents: {}",
                self.starting
            );
            say(Status::Unknown, "AgentsStarting", message)
        } else {
            say(
                Status::True,
                "AllReporting",
                format!("{total} of {total} agents report"),
            )
        }
    }
}

/// Why the agent does not count as reporting; `None` when it does.
fn trouble(
    view: Option<&AssignmentView>,
    mesh: &str,
    plan_hash: &str,
    now: Timestamp,
) -> Option<String> {
    let Some(view) = view else {
        return Some("its assignment is not written yet".to_owned());
    };
    let Some(report) = view.report(mesh) else {
        return Some("no report; is the rdmamesh-agent running there?".to_owned());
    };
    if !view.reported_at.is_some_and(|at| is_fresh(at, now)) {
        return Some("its last report is too old; is the rdmamesh-agent running there?".to_owned());
    }
    if report.plan_hash != plan_hash {
        return Some("still reports an older plan".to_owned());
    }
    let probing = report
        .conditions
        .iter()
        .find(|condition| condition.type_ == PROBING);
    if let Some(probing) = probing.filter(|probing| probing.status == "False") {
        return Some(probing.message.clone());
    }
    // An RNIC that only answers has no window of its own.
    let idle = probing.is_some_and(|probing| probing.reason == "NoTargets");
    (report.window_end.is_none() && !idle).then(|| "no full window of results yet".to_owned())
}

#[cfg(test)]
mod tests;
