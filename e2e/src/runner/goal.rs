//! Whether a goal is reached, and what to tell a person about it.

use std::collections::BTreeMap;

use tokio::time::Instant;

use super::counters::Outcomes;
use super::view::{MeshView, SuspectView, View};
use crate::scenario::{CounterBounds, Goal, Status, SuspectPattern, WriteBound};

/// What a goal is judged by.
pub struct Evidence<'a> {
    /// Conditions, suspects and writes.
    pub view: &'a View,
    /// Outcomes since the start of the scenario.
    pub counted: &'a Outcomes,
    /// Outcomes counted and moment when each fault was put in force.
    pub faults: &'a BTreeMap<String, Mark>,
    /// What is counted from where a goal names no fault.
    pub begin: &'a Mark,
}

/// State of the counters at a moment.
#[derive(Clone, Debug)]
pub struct Mark {
    /// The moment.
    pub at: Instant,
    /// Outcomes by then.
    pub counted: Outcomes,
}

/// Judgement of a goal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// Whether it is reached.
    pub reached: bool,
    /// What was found, for a person.
    pub found: String,
}

/// Judges a goal by the evidence.
pub fn judge(goal: &Goal, evidence: &Evidence<'_>) -> Judgement {
    match goal {
        Goal::Condition {
            condition,
            status,
            suspects,
        } => judge_condition(evidence.view, condition, *status, suspects.as_deref()),
        Goal::Counters { bounds, since } => {
            let mark = evidence.mark(since.as_ref());
            judge_counters(
                bounds,
                &super::counters::since(evidence.counted, &mark.counted),
            )
        }
        Goal::ApiWrites { bound, since } => {
            judge_writes(bound, evidence.view, evidence.mark(since.as_ref()).at)
        }
        Goal::Named { suspects, since } => {
            judge_named(suspects, evidence.view, evidence.mark(since.as_ref()).at)
        }
    }
}

impl Evidence<'_> {
    fn mark(&self, since: Option<&String>) -> &Mark {
        since
            .and_then(|id| self.faults.get(id))
            .unwrap_or(self.begin)
    }
}

fn judge_condition(
    view: &View,
    wanted: &str,
    status: Status,
    suspects: Option<&[SuspectPattern]>,
) -> Judgement {
    let not_yet = |found: String| Judgement {
        reached: false,
        found,
    };
    let Some(mesh) = &view.mesh else {
        return not_yet("the mesh has not been seen".to_owned());
    };
    let Some(condition) = mesh.condition(wanted) else {
        return not_yet(format!(
            "the mesh has no condition {wanted} for its current spec yet"
        ));
    };
    let found = format!(
        "{wanted} is {} ({}: {}), {}",
        condition.status,
        condition.reason,
        condition.message,
        mesh.suspect_list()
    );
    let right_status = condition.status == status.to_string();
    let right_suspects = suspects.is_none_or(|patterns| are_exactly(mesh, patterns));
    Judgement {
        reached: right_status && right_suspects,
        found,
    }
}

/// Each pattern meets one suspect and each suspect one pattern.
fn are_exactly(mesh: &MeshView, patterns: &[SuspectPattern]) -> bool {
    mesh.suspects.len() == patterns.len()
        && patterns.iter().all(|pattern| {
            mesh.suspects
                .iter()
                .filter(|suspect| meets(pattern, suspect))
                .count()
                == 1
        })
}

fn meets(pattern: &SuspectPattern, suspect: &SuspectView) -> bool {
    pattern.is(suspect.kind, &suspect.name, suspect.peer.as_deref())
}

fn judge_counters(bounds: &CounterBounds, counted: &Outcomes) -> Judgement {
    let mut found = Vec::new();
    let mut reached = true;
    for (outcome, bound) in &bounds.0 {
        // An outcome that no agent reports is no zero: nothing was read yet.
        match counted.get(outcome) {
            Some(number) => {
                reached &= bound.holds(*number);
                found.push(format!("{outcome} {number}"));
            }
            None => {
                reached = false;
                found.push(format!("{outcome} not reported by any agent"));
            }
        }
    }
    Judgement {
        reached,
        found: found.join(", "),
    }
}

/// However shortly: whoever came to be suspected since `from` counts.
fn judge_named(patterns: &[SuspectPattern], view: &View, from: Instant) -> Judgement {
    let named: Vec<_> = view.named.iter().filter(|it| it.at >= from).collect();
    let nobody_else = named
        .iter()
        .all(|it| patterns.iter().any(|pattern| meets(pattern, &it.suspect)));
    let all = patterns
        .iter()
        .all(|pattern| named.iter().any(|it| meets(pattern, &it.suspect)));
    let found: Vec<String> = named
        .iter()
        .map(|it| {
            let after = it.at.saturating_duration_since(from);
            format!("{} after {:.1} s", it.suspect.label(), after.as_secs_f64())
        })
        .collect();
    Judgement {
        reached: nobody_else && all,
        found: match found.as_slice() {
            [] => "nobody was named".to_owned(),
            some => format!("named: {}", some.join(", ")),
        },
    }
}

fn judge_writes(bound: &WriteBound, view: &View, from: Instant) -> Judgement {
    let writes: Vec<String> = view
        .writes
        .iter()
        .filter(|write| write.at >= from && write.by == bound.by)
        .filter(|write| !bound.except_hosts.contains(&write.node))
        .map(|write| {
            let after = write.at.saturating_duration_since(from);
            format!("{} after {:.1} s", write.object, after.as_secs_f64())
        })
        .collect();
    let number = writes.len();
    let shown = writes
        .iter()
        .take(8)
        .cloned()
        .collect::<Vec<_>>()
        .join(", ");
    Judgement {
        reached: u64::try_from(number).unwrap_or(u64::MAX) <= bound.max,
        found: match number {
            0 => "no writes".to_owned(),
            _ => format!("{number} writes: {shown}"),
        },
    }
}
