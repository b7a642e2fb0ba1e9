//! Events on meshes and nodes: what changed, said once, where `kubectl describe` shows it.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use rdmamesh_api::RdmaMeshStatus;
use rdmamesh_api::condition::{ACTIONS_APPLIED, ASSIGNMENTS_READY, Condition, FABRIC_HEALTHY};
use rdmamesh_api::mesh::FABRIC_SUSPECT_TAINT;
use rdmamesh_fabric::diagnose::{CaseKey, Transition};
use tracing::debug;

use crate::FIELD_MANAGER;
use crate::actions::WOULD_TAINT_NONE;
use crate::metrics::Metrics;

/// Suspects named one by one per judgement; beyond that one Event says how many more there are. The API
/// server drops the Events of who writes more than about 25 at once on one object.
const SUSPECTS: usize = 8;
/// Version of the objects that an Event about a link or a switch refers to.
const API_VERSION: &str = "rdmamesh.io/v1alpha1";
/// API servers refuse longer notes.
const LONGEST_NOTE: usize = 1024;

/// Something that happened, ready to be published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Happening {
    /// Something is not as it should be.
    pub warning: bool,
    /// What, in one CamelCase word.
    pub reason: &'static str,
    /// What, for a person.
    pub note: String,
    /// The RNIC or pair that it is about; keeps Events about different ones apart.
    pub about: Option<About>,
    /// A node that is told as well: it, or an RNIC of it, is what this is about.
    pub on_node: Option<String>,
}

impl Happening {
    /// The taint of `node` was set or removed.
    #[must_use]
    pub fn tainted(node: &str, tainted: bool) -> Self {
        let (reason, note) = if tainted {
            (
                "NodeTainted",
                format!("{node} is suspected: tainted with {FABRIC_SUSPECT_TAINT}:NoSchedule"),
            )
        } else {
            (
                "NodeUntainted",
                format!("the taint {FABRIC_SUSPECT_TAINT}:NoSchedule was removed from {node}"),
            )
        };
        Self {
            warning: tainted,
            reason,
            note,
            about: Some(About {
                node: Some(node.to_owned()),
                suspect: node.to_owned(),
            }),
            on_node: None,
        }
    }
}

/// The name under which Events on a node are written.
#[must_use]
pub fn node_reference(name: &str, uid: &str) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Node".to_owned()),
        name: Some(name.to_owned()),
        uid: Some(uid.to_owned()),
        ..ObjectReference::default()
    }
}

/// What an Event is about besides the mesh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// Node of the (first) RNIC, or the host; `None` for links and switches.
    pub node: Option<String>,
    /// The element.
    pub suspect: String,
}

/// What happened between two statuses, given the judge's transitions.
#[must_use]
pub fn happenings(
    before: &RdmaMeshStatus,
    after: &RdmaMeshStatus,
    transitions: &[Transition],
) -> Vec<Happening> {
    let mut all = Vec::new();
    all.extend(verdict(before, after));
    all.extend(plan(before, after));
    all.extend(actions(before, after));
    let suspects: Vec<_> = transitions.iter().map(suspect).collect();
    let more = suspects.len().saturating_sub(SUSPECTS);
    all.extend(suspects.into_iter().take(SUSPECTS));
    if more > 0 {
        all.push(Happening {
            warning: true,
            reason: "MoreSuspects",
            note: format!("{more} more suspects were raised or cleared; status.suspects has those that are open"),
            about: None,
            on_node: None,
        });
    }
    all
}

fn condition<'a>(status: &'a RdmaMeshStatus, type_: &str) -> Option<&'a Condition> {
    status
        .conditions
        .iter()
        .find(|condition| condition.type_ == type_)
}

/// The verdict turned. The first "Unknown" of a new mesh is nothing that happened.
fn verdict(before: &RdmaMeshStatus, after: &RdmaMeshStatus) -> Option<Happening> {
    let now = condition(after, FABRIC_HEALTHY)?;
    let was = condition(before, FABRIC_HEALTHY).map_or("Unknown", |was| was.status.as_str());
    if was == now.status {
        return None;
    }
    let (warning, reason) = match now.status.as_str() {
        "True" => (false, "FabricHealthy"),
        "False" => (true, "FabricUnhealthy"),
        _ => (true, "FabricUnknown"),
    };
    // Events that are about the same become one that keeps the first note: another suspect is another Event.
    let suspect = after.suspects.first().filter(|_| now.status != "True");
    Some(Happening {
        warning,
        reason,
        note: now.message.clone(),
        about: suspect.map(|suspect| About {
            node: None,
            suspect: suspect.name.clone(),
        }),
        on_node: None,
    })
}

/// The plan became impossible, or possible again.
fn plan(before: &RdmaMeshStatus, after: &RdmaMeshStatus) -> Option<Happening> {
    let now = condition(after, ASSIGNMENTS_READY)?;
    let was = condition(before, ASSIGNMENTS_READY);
    let failing = |condition: &Condition| condition.status == "False";
    let before = was
        .filter(|was| failing(was))
        .map(|was| was.reason.as_str());
    match (before, failing(now)) {
        (before, true) if before != Some(now.reason.as_str()) => Some(Happening {
            warning: now.reason != "Suspended",
            reason: "NotPlanned",
            note: format!("{}: {}", now.reason, now.message),
            about: None,
            on_node: None,
        }),
        (Some(_), false) if now.status == "True" => Some(Happening {
            warning: false,
            reason: "Planned",
            note: now.message.clone(),
            about: None,
            on_node: None,
        }),
        _ => None,
    }
}

/// Consequences that were only thought through, held back or failed. Taints that are set tell of themselves.
fn actions(before: &RdmaMeshStatus, after: &RdmaMeshStatus) -> Option<Happening> {
    let now = condition(after, ACTIONS_APPLIED)?;
    let was = condition(before, ACTIONS_APPLIED);
    let same = |was: &Condition| was.reason == now.reason && was.message == now.message;
    if was.is_some_and(same) {
        return None;
    }
    let (warning, reason) = match now.reason.as_str() {
        "BreakerOpen" => (true, "TaintBreakerOpen"),
        "WriteFailed" => (true, "ActionsFailed"),
        // That nobody would be tainted is news only where somebody would have been before.
        "DryRun" if was.is_some() || !now.message.starts_with(WOULD_TAINT_NONE) => {
            (false, "TaintDryRun")
        }
        _ => return None,
    };
    Some(Happening {
        warning,
        reason,
        note: now.message.clone(),
        about: None,
        on_node: None,
    })
}

fn suspect(transition: &Transition) -> Happening {
    match transition {
        Transition::Opened(suspect) => {
            let about = about(&suspect.key);
            let on_node = node_of(&suspect.key);
            Happening {
                warning: true,
                reason: "SuspectRaised",
                note: format!(
                    "{} is suspected (confidence {} %): {}",
                    about.suspect, suspect.confidence, suspect.evidence
                ),
                about: Some(about),
                on_node,
            }
        }
        Transition::Cleared(key) => {
            let about = about(key);
            let on_node = node_of(key);
            Happening {
                warning: false,
                reason: "SuspectCleared",
                note: format!(
                    "{} is no longer suspected: the evidence has been clean",
                    about.suspect
                ),
                about: Some(about),
                on_node,
            }
        }
        Transition::Withdrawn(key) => {
            let about = about(key);
            let on_node = node_of(key);
            Happening {
                warning: false,
                reason: "SuspectWithdrawn",
                note: format!("{} is no longer judged: it left the mesh", about.suspect),
                about: Some(about),
                on_node,
            }
        }
        Transition::Explained { case, by } => {
            let about = about(case);
            let on_node = node_of(case);
            Happening {
                warning: false,
                reason: "SuspectExplained",
                note: format!(
                    "{} is no longer suspected by itself: {by} explains it",
                    about.suspect
                ),
                about: Some(about),
                on_node,
            }
        }
    }
}

/// The node that a case is about; a path between two RNICs is about neither of their nodes.
fn node_of(key: &CaseKey) -> Option<String> {
    key.node().map(ToString::to_string)
}

fn about(key: &CaseKey) -> About {
    let node = match key {
        CaseKey::Pair(rnic, _) => Some(&rnic.node),
        key => key.node(),
    };
    About {
        node: node.map(ToString::to_string),
        suspect: key.to_string(),
    }
}

/// Publishes what happened.
#[derive(Clone)]
pub struct Publisher {
    recorder: Recorder,
    metrics: Metrics,
}

impl Publisher {
    /// Publishes as replica `identity`.
    #[must_use]
    pub fn new(client: Client, identity: &str, metrics: Metrics) -> Self {
        let reporter = Reporter {
            controller: FIELD_MANAGER.to_owned(),
            instance: Some(identity.to_owned()),
        };
        Self {
            recorder: Recorder::new(client, reporter),
            metrics,
        }
    }

    /// Publishes `happening` on `mesh`. Events are a courtesy: a failure is counted, not retried.
    pub async fn publish(&self, mesh: &ObjectReference, happening: Happening) {
        let event = event(happening);
        let outcome = self.recorder.publish(&event, mesh).await;
        self.metrics.event(outcome.is_ok());
        if let Err(error) = outcome {
            debug!(
                reason = event.reason,
                error = crate::chain(&error),
                "event not published"
            );
        }
    }
}

fn event(happening: Happening) -> Event {
    let mut note = happening.note;
    if note.len() > LONGEST_NOTE {
        let end = (0..=LONGEST_NOTE)
            .rev()
            .find(|end| note.is_char_boundary(*end));
        note.truncate(end.unwrap_or(0));
    }
    Event {
        type_: if happening.warning {
            EventType::Warning
        } else {
            EventType::Normal
        },
        reason: happening.reason.to_owned(),
        note: Some(note),
        action: "Diagnose".to_owned(),
        secondary: happening.about.map(|about| ObjectReference {
            api_version: Some(about.node.as_ref().map_or(API_VERSION, |_| "v1").to_owned()),
            kind: Some(
                about
                    .node
                    .as_ref()
                    .map_or("RdmaMesh", |_| "Node")
                    .to_owned(),
            ),
            name: about.node,
            field_path: Some(about.suspect),
            ..ObjectReference::default()
        }),
    }
}

#[cfg(test)]
mod tests;
