//! What is kept of a `Node`: labels, whether it can take part, and what the operator itself left on it.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Node, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use rdmamesh_api::condition::RDMA_FABRIC_READY;
use rdmamesh_api::mesh::FABRIC_SUSPECT_TAINT;
use rdmamesh_fabric::plan::NodeState;

use super::{Triggers, View};

/// Taints that say that a node is going away or cannot be reached, and what they make of it.
const TAINTS: [(&str, NodeState); 4] = [
    ("ToBeDeletedByClusterAutoscaler", NodeState::Deleting),
    ("node.kubernetes.io/out-of-service", NodeState::Deleting),
    ("node.kubernetes.io/unreachable", NodeState::NotReady),
    ("node.kubernetes.io/not-ready", NodeState::NotReady),
];

/// A node as far as planning goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeView {
    /// Name.
    pub name: String,
    /// Labels, for selectors and groups.
    pub labels: BTreeMap<String, String>,
    /// Whether it can take part, by its own account. Never `Rolling` or `NoInventory`: those are the
    /// agent's affair.
    pub state: NodeState,
    /// Identity of the object.
    pub uid: String,
    /// Version of the object; 0 where it cannot be read. It grows with every write.
    pub version: u64,
    /// What suspicions left on it.
    pub marks: Marks,
}

/// What suspicions leave on a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// The condition [`RDMA_FABRIC_READY`].
    pub condition: Option<ConditionView>,
    /// Whether the node has the taint [`FABRIC_SUSPECT_TAINT`].
    pub tainted: bool,
}

/// A condition of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConditionView {
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// Why, in one CamelCase word.
    pub reason: String,
    /// Why, for a person.
    pub message: String,
    /// When the status became what it is.
    pub since: Timestamp,
    /// When it was last written.
    pub written: Timestamp,
}

impl Marks {
    /// What `node` carries.
    #[must_use]
    pub fn of(node: &Node) -> Self {
        let conditions = node.status.as_ref().and_then(|s| s.conditions.as_ref());
        let condition = conditions
            .into_iter()
            .flatten()
            .find(|condition| condition.type_ == RDMA_FABRIC_READY);
        let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_ref());
        let time = |time: &Option<Time>| time.as_ref().map_or(Timestamp::UNIX_EPOCH, |t| t.0);
        Self {
            condition: condition.map(|condition| ConditionView {
                status: condition.status.clone(),
                reason: condition.reason.clone().unwrap_or_default(),
                message: condition.message.clone().unwrap_or_default(),
                since: time(&condition.last_transition_time),
                written: time(&condition.last_heartbeat_time),
            }),
            tainted: taints.into_iter().flatten().any(is_ours),
        }
    }
}

/// Whether the operator set this taint. The same key with another effect is somebody else's.
#[must_use]
pub fn is_ours(taint: &Taint) -> bool {
    taint.key == FABRIC_SUSPECT_TAINT && taint.effect == NO_SCHEDULE
}

/// Effect of the taint.
pub const NO_SCHEDULE: &str = "NoSchedule";

impl View for NodeView {
    type Object = Node;

    fn of(node: Node, _now: Timestamp) -> Self {
        let state = state(&node);
        let version = node.metadata.resource_version.as_deref();
        Self {
            version: version
                .and_then(|version| version.parse().ok())
                .unwrap_or_default(),
            marks: Marks::of(&node),
            uid: node.metadata.uid.unwrap_or_default(),
            name: node.metadata.name.unwrap_or_default(),
            labels: node.metadata.labels.unwrap_or_default(),
            state,
        }
    }

    fn name(&self) -> &str {
        &self.name
    }

    /// Heartbeats and images change nothing that is kept.
    fn triggers(old: Option<&Self>, new: Option<&Self>) -> Triggers {
        let planned = |view: Option<&Self>| view.map(|v| (v.labels.clone(), v.state));
        let marked = |view: Option<&Self>| view.map(|v| (v.uid.clone(), v.marks.clone()));
        Triggers {
            plan: planned(old) != planned(new),
            act: marked(old) != marked(new),
            ..Triggers::default()
        }
    }
}

fn state(node: &Node) -> NodeState {
    if node.metadata.deletion_timestamp.is_some() {
        return NodeState::Deleting;
    }
    let spec = node.spec.clone().unwrap_or_default();
    let taints = spec.taints.unwrap_or_default();
    let tainted = |state| {
        TAINTS
            .iter()
            .filter(|(_, meaning)| *meaning == state)
            .any(|(key, _)| taints.iter().any(|taint| taint.key == *key))
    };
    if tainted(NodeState::Deleting) {
        NodeState::Deleting
    } else if !is_ready(node) || tainted(NodeState::NotReady) {
        NodeState::NotReady
    } else if spec.unschedulable == Some(true) {
        NodeState::Cordoned
    } else {
        NodeState::Ready
    }
}

/// A node whose kubelet has not said anything yet is not held to be ill: without an inventory it stays
/// out of the plan anyway, and with one somebody is alive there.
fn is_ready(node: &Node) -> bool {
    node.status
        .as_ref()
        .and_then(|status| status.conditions.as_ref())
        .and_then(|conditions| conditions.iter().find(|c| c.type_ == "Ready"))
        .is_none_or(|ready| ready.status == "True")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn state_of(node: serde_json::Value) -> NodeState {
        let node: Node = serde_json::from_value(node).expect("a minimal node");
        NodeView::of(node, Timestamp::UNIX_EPOCH).state
    }

    #[test]
    fn a_node_takes_part_when_its_kubelet_says_ready_or_nothing() {
        assert_eq!(
            state_of(json!({"metadata": {"name": "n"}})),
            NodeState::Ready
        );
        let ready = json!({"metadata": {"name": "n"},
            "status": {"conditions": [{"type": "Ready", "status": "True"}]}});
        assert_eq!(state_of(ready), NodeState::Ready);
    }

    #[test]
    fn a_node_that_is_not_ready_or_unreachable_is_left_out() {
        for status in ["False", "Unknown"] {
            let node = json!({"metadata": {"name": "n"},
                "status": {"conditions": [{"type": "Ready", "status": status}]}});
            assert_eq!(state_of(node), NodeState::NotReady);
        }
        let unreachable = json!({"metadata": {"name": "n"},
            "spec": {"taints": [{"key": "node.kubernetes.io/unreachable", "effect": "NoExecute"}]}});
        assert_eq!(state_of(unreachable), NodeState::NotReady);
    }

    #[test]
    fn a_cordoned_node_is_left_out() {
        let node = json!({"metadata": {"name": "n"}, "spec": {"unschedulable": true}});
        assert_eq!(state_of(node), NodeState::Cordoned);
    }

    #[test]
    fn a_node_that_goes_away_is_left_out_whatever_else_holds() {
        let scaled_down = json!({"metadata": {"name": "n"}, "spec": {"unschedulable": true,
            "taints": [{"key": "ToBeDeletedByClusterAutoscaler", "effect": "NoSchedule"}]}});
        assert_eq!(state_of(scaled_down), NodeState::Deleting);
        let deleted =
            json!({"metadata": {"name": "n", "deletionTimestamp": "2026-01-01T00:00:00Z"}});
        assert_eq!(state_of(deleted), NodeState::Deleting);
    }

    #[test]
    fn heartbeats_do_not_ask_for_a_plan() {
        let view = |beat: &str| {
            let node = json!({"metadata": {"name": "n", "resourceVersion": beat}, "status": {
                "conditions": [{"type": "Ready", "status": "True", "lastHeartbeatTime": beat}]}});
            let node: Node = serde_json::from_value(node).expect("a minimal node");
            NodeView::of(node, Timestamp::UNIX_EPOCH)
        };
        let (old, new) = (view("2026-01-01T00:00:00Z"), view("2026-01-01T00:05:00Z"));
        assert_eq!(
            NodeView::triggers(Some(&old), Some(&new)),
            Triggers::default()
        );
    }
}
