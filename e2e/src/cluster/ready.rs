//! Waiting for what only the API server knows.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, ListParams, Patch, PatchParams};
use serde_json::json;

use super::node::Node as Kubelet;
use crate::channel::Guest;
use crate::control_plane::nodes::RACK_LABEL;
use crate::fabric::Fabric;

const READY_WITHIN: Duration = Duration::from_secs(240);

/// Labels every node with its rack, which a kubelet may not do itself, and waits until all are Ready.
///
/// # Errors
/// When one is not Ready in time (the message has its conditions) or its kubelet has ended.
pub async fn label_and_wait(
    client: &kube::Client,
    guest: &Guest,
    environment: &Path,
    fabric: &Fabric,
) -> Result<()> {
    let api: Api<Node> = Api::all(client.clone());
    let deadline = tokio::time::Instant::now() + READY_WITHIN;
    loop {
        let nodes = api
            .list(&ListParams::default())
            .await
            .context("list nodes")?;
        let mut waiting = Vec::new();
        for host in fabric.hosts() {
            let found = nodes
                .iter()
                .find(|node| node.metadata.name.as_deref() == Some(&host.name));
            let Some(node) = found else {
                waiting.push(format!("{} is not registered", host.name));
                continue;
            };
            let labels = node.metadata.labels.as_ref();
            if labels.and_then(|labels| labels.get(RACK_LABEL)) != Some(&host.rack) {
                let patch = json!({"metadata": {"labels": {RACK_LABEL: host.rack}}});
                api.patch(&host.name, &PatchParams::default(), &Patch::Merge(&patch))
                    .await
                    .with_context(|| format!("label node {}", host.name))?;
            }
            if let Some(why) = not_ready(node) {
                waiting.push(format!("{}: {why}", host.name));
            }
        }
        if waiting.is_empty() {
            return Ok(());
        }
        if tokio::time::Instant::now() >= deadline {
            bail!("nodes are not Ready: {}", waiting.join("; "));
        }
        for host in fabric.hosts() {
            Kubelet::of(guest, environment, &host.name)
                .check_runs()
                .await?;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// Why a node is not Ready; none when it is.
fn not_ready(node: &Node) -> Option<String> {
    let conditions = node
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_ref());
    let ready = conditions.and_then(|all| all.iter().find(|one| one.type_ == "Ready"));
    let Some(ready) = ready else {
        return Some("no condition Ready".to_owned());
    };
    let tainted = node
        .spec
        .as_ref()
        .and_then(|spec| spec.taints.as_ref())
        .is_some_and(|taints| {
            taints
                .iter()
                .any(|taint| taint.key == "node.kubernetes.io/not-ready")
        });
    if ready.status == "True" && !tainted {
        return None;
    }
    Some(ready.message.clone().unwrap_or_default())
}
