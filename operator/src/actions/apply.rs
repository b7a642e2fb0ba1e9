//! The apply step: the requests that make nodes what they should be.
//!
//! Nodes have many writers. The condition is written as a strategic merge patch of that one element, which
//! leaves all others alone. Taints are an atomic list: it is read afresh and written back under the version
//! that was read, so that somebody else's taint can never get lost.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Taint};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use rdmamesh_api::condition::RDMA_FABRIC_READY;
use rdmamesh_api::mesh::FABRIC_SUSPECT_TAINT;
use serde_json::json;

use super::condition::ConditionChange;
use super::plan::NodeChange;
use crate::FIELD_MANAGER;
use crate::apply::ApplyError;
use crate::lease::campaign::Leadership;
use crate::metrics::{Metrics, NodeWrite};
use crate::watch::{NO_SCHEDULE, NodeView, View, is_ours};

/// An API server that has not answered by then is treated like one that is not there.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Times that the taints of a node are read again because somebody else wrote it meanwhile.
const ATTEMPTS: usize = 4;

/// Writes conditions and taints of nodes.
#[derive(Clone)]
pub struct NodeWriter {
    api: Api<Node>,
    leadership: Leadership,
    metrics: Metrics,
}

impl NodeWriter {
    /// Writes through `client` while `leadership` lasts.
    #[must_use]
    pub fn new(client: Client, leadership: Leadership, metrics: Metrics) -> Self {
        Self {
            api: Api::all(client),
            leadership,
            metrics,
        }
    }

    /// Carries out `change` of the node `name`: the node as it is then, `None` where it is gone.
    ///
    /// # Errors
    /// When a request failed; what was done before that is done.
    pub async fn apply(
        &self,
        name: &str,
        change: &NodeChange,
        now: Timestamp,
    ) -> Result<Option<NodeView>, ApplyError> {
        let mut node = None;
        if let Some(condition) = &change.condition {
            let written = self.condition(name, &change.uid, condition).await;
            self.metrics
                .node_written(NodeWrite::Condition, written.is_ok());
            node = written?;
        }
        if let Some(tainted) = change.taint {
            let written = self.taint(name, &change.uid, tainted).await;
            self.metrics.node_written(NodeWrite::Taint, written.is_ok());
            node = written?;
        }
        Ok(node.map(|node| NodeView::of(node, now)))
    }

    async fn condition(
        &self,
        name: &str,
        uid: &str,
        change: &ConditionChange,
    ) -> Result<Option<Node>, ApplyError> {
        let condition = match change {
            ConditionChange::Set(condition) => json!({
                "type": RDMA_FABRIC_READY,
                "status": condition.status,
                "reason": condition.reason,
                "message": condition.message,
                "lastTransitionTime": seconds(condition.since),
                "lastHeartbeatTime": seconds(condition.written),
            }),
            ConditionChange::Remove => json!({ "type": RDMA_FABRIC_READY, "$patch": "delete" }),
        };
        let body = json!({ "metadata": { "uid": uid }, "status": { "conditions": [condition] } });
        let (params, patch) = (params(), Patch::Strategic(body));
        self.bounded(self.api.patch_status(name, &params, &patch))
            .await
    }

    async fn taint(
        &self,
        name: &str,
        uid: &str,
        tainted: bool,
    ) -> Result<Option<Node>, ApplyError> {
        for _ in 0..ATTEMPTS {
            let Some(node) = self.bounded(self.api.get(name)).await? else {
                return Ok(None);
            };
            if node.metadata.uid.as_deref() != Some(uid) {
                return Err(ApplyError::Conflict);
            }
            let before = node.spec.as_ref().and_then(|spec| spec.taints.clone());
            let Some(after) = taints(before.unwrap_or_default(), tainted) else {
                return Ok(Some(node));
            };
            let body = json!({
                "metadata": { "uid": uid, "resourceVersion": node.metadata.resource_version },
                "spec": { "taints": after },
            });
            let (params, patch) = (params(), Patch::Merge(body));
            match self.bounded(self.api.patch(name, &params, &patch)).await {
                Err(ApplyError::Conflict) => {}
                outcome => return outcome,
            }
        }
        Err(ApplyError::Conflict)
    }

    /// The answer; `None` where there is no such node.
    async fn bounded(
        &self,
        request: impl Future<Output = Result<Node, kube::Error>>,
    ) -> Result<Option<Node>, ApplyError> {
        if !self.leadership.is_leader() {
            return Err(ApplyError::NotLeading);
        }
        match tokio::time::timeout(TIMEOUT, request).await {
            Ok(Ok(node)) => Ok(Some(node)),
            Ok(Err(kube::Error::Api(status))) if status.code == 404 => Ok(None),
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err(ApplyError::Timeout),
        }
    }
}

fn params() -> PatchParams {
    PatchParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    }
}

/// As the API server keeps times.
fn seconds(at: Timestamp) -> String {
    crate::conditions::whole_seconds(at).to_string()
}

/// The taints with or without ours; `None` where that changes nothing. Those of others stay as they are.
fn taints(mut taints: Vec<Taint>, tainted: bool) -> Option<Vec<Taint>> {
    if taints.iter().any(is_ours) == tainted {
        return None;
    }
    if tainted {
        taints.push(Taint {
            key: FABRIC_SUSPECT_TAINT.to_owned(),
            effect: NO_SCHEDULE.to_owned(),
            ..Taint::default()
        });
    } else {
        taints.retain(|taint| !is_ours(taint));
    }
    Some(taints)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taint(key: &str, effect: &str) -> Taint {
        Taint {
            key: key.to_owned(),
            effect: effect.to_owned(),
            ..Taint::default()
        }
    }

    #[test]
    fn taints_of_others_stay_as_they_are() {
        let others = vec![
            taint("node.kubernetes.io/unschedulable", NO_SCHEDULE),
            taint(FABRIC_SUSPECT_TAINT, "NoExecute"),
        ];
        let with = taints(others.clone(), true).expect("ours is missing");
        assert_eq!(with[..2], others[..]);
        assert!(is_ours(&with[2]));
        assert_eq!(taints(with.clone(), true), None, "it is there already");
        assert_eq!(taints(with, false), Some(others.clone()));
        assert_eq!(taints(others, false), None, "there is nothing of ours");
    }
}
