//! Nodes and their agents, imitated by plain API writes.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use rdmamesh_api::assignment::MeshAssignment;
use rdmamesh_api::{RdmaNode, RdmaProbeAssignment};
use rdmamesh_e2e::control_plane::nodes::{self, NodeFacts};
use serde_json::{Value, json};

use crate::cluster::Cluster;

/// Field manager of an agent.
const AGENT: &str = "rdmamesh-agent";

/// `host<n>` with one RNIC `rxe0`, under `rack`.
pub async fn join(cluster: &Cluster, number: u8, rack: &str) -> Result<()> {
    let facts = NodeFacts {
        name: format!("host{number}"),
        rack: rack.to_owned(),
        address: [10, 12, 0, number].into(),
        ready: true,
    };
    nodes::apply(&cluster.client, &facts).await?;
    inventory(cluster, number, &[port("rxe0", number, "Active")]).await
}

/// Hosts 1 to `count`, two to a rack.
pub async fn join_all(cluster: &Cluster, count: u8) -> Result<()> {
    for number in 1..=count {
        join(cluster, number, &format!("leaf{}", number.div_ceil(2))).await?;
    }
    Ok(())
}

/// A port of `host<number>` in the state.
pub fn port(device: &str, number: u8, state: &str) -> Value {
    let up = state == "Active";
    let physical = if up { "LinkUp" } else { "Disabled" };
    json!({
        "device": device, "port": 1, "linkLayer": "Ethernet", "state": state, "physicalState": physical,
        "netdev": "eth1", "usable": up, "reason": (!up).then(|| format!("the port is {state}")),
        "gids": [
            {"index": 0, "gid": "fe80::1", "type": "RoCEv1"},
            {"index": 1, "gid": format!("::ffff:10.1.0.{number}"), "type": "RoCEv2"},
        ],
    })
}

/// Writes the inventory of `host<number>`.
pub async fn inventory(cluster: &Cluster, number: u8, ports: &[Value]) -> Result<()> {
    let name = format!("host{number}");
    let api = cluster.api::<RdmaNode>();
    let params = PatchParams::apply(AGENT).force();
    let head = json!({"apiVersion": "rdmamesh.io/v1alpha1", "kind": "RdmaNode", "metadata": {"name": name}});
    let mut object = head.clone();
    object["spec"] = json!({});
    api.patch(&name, &params, &Patch::Apply(&object)).await?;
    let mut object = head;
    object["status"] = json!({
        "reportedAt": now(), "agentVersion": "0", "epoch": "1", "conditions": [], "doctor": [],
        "controlAddress": format!("10.12.0.{number}:7475"), "ports": ports,
    });
    let written = api
        .patch_status(&name, &params, &Patch::Apply(&object))
        .await;
    written
        .map(drop)
        .with_context(|| format!("write the inventory of {name}"))
}

/// Removes a node with its inventory.
pub async fn leave(cluster: &Cluster, number: u8) -> Result<()> {
    let name = format!("host{number}");
    cluster
        .api::<Node>()
        .delete(&name, &DeleteParams::default())
        .await?;
    cluster
        .api::<RdmaNode>()
        .delete(&name, &DeleteParams::default())
        .await?;
    Ok(())
}

/// Changes a node as `kubectl patch` would.
pub async fn patch_node(cluster: &Cluster, number: u8, patch: &Value) -> Result<()> {
    let name = format!("host{number}");
    let api = cluster.api::<Node>();
    let params = PatchParams::default();
    api.patch(&name, &params, &Patch::Merge(patch))
        .await
        .map(drop)
        .with_context(|| format!("patch {name}"))
}

/// Every agent reports a window of its plan. Targets between the two hosts of a `lossy` pair lost a
/// quarter of their probes.
pub async fn report(cluster: &Cluster, lossy: &[(&str, &str)]) -> Result<()> {
    report_from(cluster, lossy, &BTreeSet::new(), false).await
}

/// The `silent` hosts' agents are gone, and all others tell of it.
pub async fn report_missing(cluster: &Cluster, silent: &[&str]) -> Result<()> {
    report_from(cluster, &[], &silent.iter().copied().collect(), true).await
}

/// Like [`report`], but for the `silent` hosts, which write nothing and are `missed` by the others, or not yet.
async fn report_from(
    cluster: &Cluster,
    lossy: &[(&str, &str)],
    silent: &BTreeSet<&str>,
    missed: bool,
) -> Result<()> {
    let api = cluster.api::<RdmaProbeAssignment>();
    for assignment in api.list(&ListParams::default()).await?.items {
        let node = assignment.name_any();
        if silent.contains(node.as_str()) {
            continue;
        }
        let meshes: Vec<_> = assignment
            .spec
            .meshes
            .iter()
            .map(|mesh| {
                let mut report = of_mesh(&node, mesh, lossy);
                let peer = |node: &&str| json!({"node": node, "since": now()});
                if missed {
                    report["unanswered"] = silent.iter().map(peer).collect();
                }
                report
            })
            .collect();
        let object = json!({
            "apiVersion": "rdmamesh.io/v1alpha1", "kind": "RdmaProbeAssignment", "metadata": {"name": node},
            "status": {"reportedAt": now(), "epoch": "1", "meshes": meshes},
        });
        let params = PatchParams::apply(AGENT).force();
        api.patch_status(&node, &params, &Patch::Apply(&object))
            .await
            .with_context(|| format!("report as {node}"))?;
    }
    Ok(())
}

fn of_mesh(node: &str, mesh: &MeshAssignment, lossy: &[(&str, &str)]) -> Value {
    let is_lossy = |peer: &str| {
        lossy
            .iter()
            .any(|(a, b)| [(*a, *b), (*b, *a)].contains(&(node, peer)))
    };
    let mut anomalies = Vec::new();
    let mut rnics = Vec::new();
    for rnic in &mesh.rnics {
        let (mut sent, mut lost) = (0, 0);
        for target in &rnic.targets {
            sent += 40;
            if is_lossy(&target.node) {
                lost += 10;
                anomalies.push(json!({
                    "kind": "Loss", "device": rnic.device, "port": 1, "class": target.class, "sent": 40,
                    "target": format!("{}/{}", target.node, target.device), "lost": 10,
                    "ipReachable": true, "since": now(),
                }));
            }
        }
        rnics.push(json!({
            "device": rnic.device, "port": 1, "sent": sent, "ok": sent - lost, "lost": lost, "late": 0,
            "hostDelayed": 0, "unresolved": 0, "p50": "100us", "p99": "200us",
            "timestamps": "Software", "flowSources": 4,
        }));
    }
    anomalies.truncate(32);
    json!({
        "name": mesh.name, "planHash": mesh.plan_hash, "windowEnd": now(), "rnics": rnics, "anomalies": anomalies,
        "conditions": [{"type": "Probing", "status": "True", "reason": "Probing", "message": "",
            "lastTransitionTime": now()}],
    })
}

fn now() -> String {
    humantime::format_rfc3339_seconds(std::time::SystemTime::now()).to_string()
}
