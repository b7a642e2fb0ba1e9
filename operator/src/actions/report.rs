//! The condition `ActionsApplied` of a mesh: what was done to suspect nodes, and what was not. Pure.

use rdmamesh_api::condition::ACTIONS_APPLIED;
use rdmamesh_fabric::diagnose::Status;

use super::taints::Taints;
use crate::conditions::{FirstFive, Statement};

/// What a dry run says that would taint nobody.
pub const WOULD_TAINT_NONE: &str = "would taint no node";

/// What a mesh is told; `None` where it asked for nothing that needs telling. `failed` are the nodes that
/// could not be written, and why the first one could not.
#[must_use]
pub fn statement(
    taints: Option<&Taints>,
    failed: Option<&(FirstFive, String)>,
) -> Option<Statement> {
    let say =
        |status, reason, message| Some(Statement::new(ACTIONS_APPLIED, status, reason, message));
    if let Some((nodes, error)) = failed {
        let message = format!("what is due on {nodes} could not be written: {error}; trying again");
        return say(Status::False, "WriteFailed", message);
    }
    let taints = taints?;
    let done = done(taints);
    if taints.refused.is_empty() {
        let reason = if taints.dry_run { "DryRun" } else { "Enforced" };
        return say(Status::True, reason, done);
    }
    let refused: FirstFive = taints.refused.iter().cloned().collect();
    let verb = if taints.dry_run {
        "would not be"
    } else {
        "not"
    };
    let message = format!(
        "{verb} tainted: {refused}, to keep within maxTaintedPercent; {done}{}",
        hint(taints)
    );
    say(Status::False, "BreakerOpen", message)
}

/// `tainted: host3; 1 of 20 nodes has the taint, at most 2 may`.
fn done(taints: &Taints) -> String {
    let Taints {
        limit,
        count,
        nodes,
        ..
    } = taints;
    let tainted: FirstFive = taints.tainted.iter().cloned().collect();
    let who = match (tainted.count(), taints.dry_run) {
        (0, true) => WOULD_TAINT_NONE.to_owned(),
        (0, false) => "no suspect node is tainted".to_owned(),
        (_, true) => format!("would taint {tainted}"),
        (_, false) => format!("tainted: {tainted}"),
    };
    let have = if taints.dry_run { "would have" } else { "have" };
    format!("{who}; {count} of {nodes} nodes {have} the taint, at most {limit} may")
}

/// What to write where the limit lets nobody be tainted at all.
fn hint(taints: &Taints) -> String {
    if taints.limit > 0 || taints.nodes == 0 {
        return String::new();
    }
    let least = 100_usize.div_ceil(taints.nodes);
    format!(" (with so few nodes, it takes actions.maxTaintedPercent {least} for one)")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taints(tainted: &[&str], refused: &[&str], limit: usize) -> Taints {
        Taints {
            dry_run: false,
            tainted: tainted.iter().map(|name| (*name).to_owned()).collect(),
            refused: refused.iter().map(|name| (*name).to_owned()).collect(),
            limit,
            count: tainted.len(),
            nodes: 20,
        }
    }

    fn said(taints: &Taints) -> (Status, &'static str, String) {
        let said = statement(Some(taints), None).expect("taints are told about");
        (said.status, said.reason, said.message)
    }

    #[test]
    fn who_is_tainted_and_how_many_more_may_be_is_said() {
        let (status, reason, message) = said(&taints(&["host3"], &[], 2));
        assert_eq!((status, reason), (Status::True, "Enforced"));
        assert_eq!(
            message,
            "tainted: host3; 1 of 20 nodes have the taint, at most 2 may"
        );
    }

    #[test]
    fn a_breaker_that_holds_names_whom_it_kept() {
        let (status, reason, message) = said(&taints(&["host3", "host4"], &["host9"], 2));
        assert_eq!((status, reason), (Status::False, "BreakerOpen"));
        assert!(message.contains("not tainted: host9"), "{message}");
        assert!(message.contains("tainted: host3, host4"), "{message}");
    }

    #[test]
    fn a_limit_that_lets_nobody_through_says_what_to_write() {
        let (_, _, message) = said(&taints(&[], &["host9"], 0));
        assert!(message.contains("maxTaintedPercent 5 for one"), "{message}");
    }

    #[test]
    fn a_dry_run_says_would() {
        let dry = Taints {
            dry_run: true,
            ..taints(&["host3"], &[], 2)
        };
        let (status, reason, message) = said(&dry);
        assert_eq!((status, reason), (Status::True, "DryRun"));
        assert!(message.starts_with("would taint host3"), "{message}");
    }

    #[test]
    fn a_mesh_that_asks_for_no_taints_hears_of_failures_only() {
        assert_eq!(statement(None, None), None);
        let failed = (
            ["host1"].into_iter().collect(),
            "the API server refused".to_owned(),
        );
        let said = statement(None, Some(&failed)).expect("a failure is told");
        assert_eq!((said.status, said.reason), (Status::False, "WriteFailed"));
    }
}
