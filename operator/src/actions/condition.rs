//! The condition `rdmamesh.io/RdmaFabricReady` of a node: what it is to say. Pure.
//!
//! It is False while a mesh suspects an RNIC of the node or the node itself, True from when that ends, and
//! removed once no mesh that writes it selects the node. Nodes that were never suspected do not have it.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use super::plan::{Accusers, Mesh};
use crate::conditions::FirstFive;
use crate::watch::{ConditionView, NodeView};

/// Figures of the evidence move with every window; every watcher of nodes pays for a write, so they are
/// refreshed no more often than a kubelet refreshes its own.
const REFRESH: Duration = Duration::from_secs(300);
/// Suspicions whose evidence is quoted.
const QUOTED: usize = 3;

/// What is to happen to the condition of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConditionChange {
    /// It is to say this.
    Set(ConditionView),
    /// It is to go.
    Remove,
}

/// What is to happen to the condition of `node`, which `accusers` suspect.
pub(super) fn change(
    meshes: &[Mesh<'_>],
    accusers: &Accusers<'_>,
    node: &NodeView,
    now: Timestamp,
) -> Option<ConditionChange> {
    let is = node.marks.condition.as_ref();
    let accusers: Vec<_> = accusers
        .iter()
        .filter(|(mesh, accused)| mesh.actions.condition && mesh.selects(&accused.node))
        .copied()
        .collect();
    if !accusers.is_empty() {
        let head = head(&accusers);
        let message = format!("{head}{}", quoted(&accusers));
        let stands = is.is_some_and(|is| {
            let fresh =
                Duration::try_from(now.duration_since(is.written)).is_ok_and(|age| age < REFRESH);
            is.status == "False"
                && is.message.starts_with(&head)
                && (fresh || is.message == message)
        });
        return (!stands).then(|| set(is, "False", "Suspected", message, now));
    }
    let is = is?;
    let covering: FirstFive = meshes
        .iter()
        .filter(|mesh| mesh.actions.condition && mesh.selects(&node.name))
        .map(|mesh| mesh.name)
        .collect();
    if covering.count() == 0 {
        return Some(ConditionChange::Remove);
    }
    let message =
        format!("neither this node nor an RNIC of it is suspected any more (mesh {covering})");
    (is.status != "True").then(|| set(Some(is), "True", "NoSuspects", message, now))
}

fn set(
    before: Option<&ConditionView>,
    status: &str,
    reason: &str,
    message: String,
    now: Timestamp,
) -> ConditionChange {
    let since = before
        .filter(|before| before.status == status)
        .map_or(now, |before| before.since);
    ConditionChange::Set(ConditionView {
        status: status.to_owned(),
        reason: reason.to_owned(),
        message,
        since,
        written: now,
    })
}

/// Who suspects what, without anything that moves: as long as a message begins so, it is still true.
fn head(accusers: &[(&Mesh<'_>, &super::plan::Accused)]) -> String {
    let named: FirstFive = accusers
        .iter()
        .map(|(mesh, accused)| format!("{} (mesh {})", accused.element, mesh.name))
        .collect();
    format!("suspected: {named}. ")
}

/// The evidence of the first few.
fn quoted(accusers: &[(&Mesh<'_>, &super::plan::Accused)]) -> String {
    let quotes: Vec<_> = accusers
        .iter()
        .take(QUOTED)
        .map(|(_, accused)| accused.evidence.as_str())
        .collect();
    quotes.join("; ")
}
