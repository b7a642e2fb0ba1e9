//! Node objects, as kubelets would make them: the product reads labels, readiness and address.

use std::net::Ipv4Addr;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;

use super::manifests::FIELD_MANAGER;

/// The label that groups nodes by their ToR unless a mesh says otherwise.
pub const RACK_LABEL: &str = "topology.kubernetes.io/rack";

/// What a Node object says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeFacts {
    /// Name of node and host.
    pub name: String,
    /// Value of the rack label.
    pub rack: String,
    /// Its address on the management network.
    pub address: Ipv4Addr,
    /// Whether it is Ready.
    pub ready: bool,
}

/// Creates or updates a Node with its status.
///
/// # Errors
/// When the API server refuses.
pub async fn apply(client: &kube::Client, facts: &NodeFacts) -> Result<()> {
    let api: Api<Node> = Api::all(client.clone());
    let params = PatchParams::apply(FIELD_MANAGER).force();
    let labels = json!({
        "kubernetes.io/hostname": facts.name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": "amd64",
        RACK_LABEL: facts.rack,
    });
    let node = json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": facts.name, "labels": labels},
    });
    api.patch(&facts.name, &params, &Patch::Apply(&node))
        .await
        .with_context(|| format!("create node {}", facts.name))?;
    set_status(&api, facts, &params).await?;
    if facts.ready {
        lift_not_ready_taint(&api, &facts.name).await?;
    }
    Ok(())
}

/// Admission taints every new Node, and a node lifecycle controller takes the taint off once it is Ready; the rig has
/// no such controller because it has no kubelets that would renew their leases.
async fn lift_not_ready_taint(api: &Api<Node>, name: &str) -> Result<()> {
    let node = api
        .get(name)
        .await
        .with_context(|| format!("read node {name}"))?;
    let mut taints = node.spec.and_then(|spec| spec.taints).unwrap_or_default();
    taints.retain(|taint| taint.key != "node.kubernetes.io/not-ready");
    let patch = json!({"spec": {"taints": taints}});
    api.patch(name, &PatchParams::default(), &Patch::Merge(&patch))
        .await
        .with_context(|| format!("lift the taint of node {name}"))?;
    Ok(())
}

async fn set_status(api: &Api<Node>, facts: &NodeFacts, params: &PatchParams) -> Result<()> {
    let now = rfc3339_now();
    let (status, reason) = if facts.ready {
        ("True", "KubeletReady")
    } else {
        ("False", "KubeletNotReady")
    };
    let body = json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": facts.name},
        "status": {
            "addresses": [
                {"type": "InternalIP", "address": facts.address.to_string()},
                {"type": "Hostname", "address": facts.name},
            ],
            "capacity": {"cpu": "2", "memory": "2Gi", "pods": "110"},
            "conditions": [{
                "type": "Ready", "status": status, "reason": reason,
                "message": "set by the rig in a kubelet's place",
                "lastHeartbeatTime": now, "lastTransitionTime": now,
            }],
        },
    });
    api.patch_status(&facts.name, params, &Patch::Apply(&body))
        .await
        .with_context(|| format!("set the status of node {}", facts.name))?;
    Ok(())
}

fn rfc3339_now() -> String {
    humantime::format_rfc3339_seconds(std::time::SystemTime::now()).to_string()
}
