//! Server-side apply of the agent's objects.

use std::sync::Arc;

use kube::api::{Api, Patch, PatchParams};
use kube::{Client, Resource};
use rdmamesh_api::{RdmaNode, RdmaNodeStatus, RdmaProbeAssignment, RdmaProbeAssignmentStatus};
use serde::Serialize;
use serde_json::{Value, json};

use super::host::HostNode;
use super::{AssignmentSink, FIELD_MANAGER, REQUEST_TIMEOUT, WriteError};

/// Writes to the two objects of one node.
#[derive(Clone)]
pub struct StatusApi {
    node: Arc<str>,
    assignments: Api<RdmaProbeAssignment>,
    nodes: Api<RdmaNode>,
}

impl std::fmt::Debug for StatusApi {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StatusApi")
            .field("node", &self.node)
            .finish_non_exhaustive()
    }
}

impl StatusApi {
    /// Writes to the objects named `node`.
    pub fn new(client: Client, node: Arc<str>) -> Self {
        Self {
            assignments: Api::all(client.clone()),
            nodes: Api::all(client),
            node,
        }
    }

    /// Creates the `RdmaNode`, or repairs its owner.
    pub(super) async fn ensure_node(&self, owner: &HostNode) -> Result<(), WriteError> {
        let owner =
            json!({"apiVersion": "v1", "kind": "Node", "name": &*self.node, "uid": &*owner.uid});
        let object = json!({
            "apiVersion": RdmaNode::api_version(&()),
            "kind": RdmaNode::kind(&()),
            "metadata": {"name": &*self.node, "ownerReferences": [owner]},
            "spec": {},
        });
        bounded(
            self.nodes
                .patch(&self.node, &params(), &Patch::Apply(object)),
        )
        .await
    }

    /// Replaces the status of the `RdmaNode`.
    pub(super) async fn write_node(&self, status: &RdmaNodeStatus) -> Result<(), WriteError> {
        let patch = Patch::Apply(status_of::<RdmaNode>(&self.node, status));
        bounded(self.nodes.patch_status(&self.node, &params(), &patch)).await
    }
}

impl AssignmentSink for StatusApi {
    async fn write(&self, status: RdmaProbeAssignmentStatus) -> Result<(), WriteError> {
        let patch = Patch::Apply(status_of::<RdmaProbeAssignment>(&self.node, &status));
        bounded(self.assignments.patch_status(&self.node, &params(), &patch)).await
    }
}

/// The agent is the only writer of these fields; whoever else set one loses it.
fn params() -> PatchParams {
    PatchParams::apply(FIELD_MANAGER).force()
}

fn status_of<K: Resource<DynamicType = ()>>(name: &str, status: &impl Serialize) -> Value {
    json!({
        "apiVersion": K::api_version(&()),
        "kind": K::kind(&()),
        "metadata": {"name": name},
        "status": status,
    })
}

async fn bounded<T>(
    request: impl Future<Output = Result<T, kube::Error>>,
) -> Result<(), WriteError> {
    let answer = tokio::time::timeout(REQUEST_TIMEOUT, request).await;
    answer.map_err(|_| WriteError::Timeout)??;
    Ok(())
}
