//! What verdicts leave on nodes: conditions, taints, Events, and that nothing is left over.

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::{Node, NodeCondition};
use k8s_openapi::api::events::v1::Event;
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, Resource, ResourceExt};
use rdmamesh_api::RdmaMesh;
use rdmamesh_api::condition::RDMA_FABRIC_READY;
use rdmamesh_api::mesh::FABRIC_SUSPECT_TAINT;
use serde_json::{Value, json};

use crate::agents::{inventory, join, patch_node, port, report};
use crate::cluster::{Cluster, SOON, until};

const HOSTS: u8 = 4;
/// Another writer's condition and taint.
const FOREIGN: &str = "example.com/Other";

/// Four hosts under one switch, planned as `m`, every agent reports a clean window.
async fn healthy(cluster: &mut Cluster, actions: Value) -> Result<()> {
    for number in 1..=HOSTS {
        join(cluster, number, "leaf1").await?;
    }
    cluster.operator("one").await?;
    mesh(cluster, "m", actions).await?;
    cluster.condition("m", "AssignmentsReady", "True").await?;
    report(cluster, &[]).await?;
    cluster
        .condition("m", "FabricHealthy", "True")
        .await
        .map(drop)
}

async fn mesh(cluster: &Cluster, name: &str, actions: Value) -> Result<()> {
    let spec = json!({"thresholds": {"window": "1s"}, "actions": actions});
    cluster.mesh(name, spec).await
}

async fn down(cluster: &Cluster, number: u8) -> Result<()> {
    inventory(cluster, number, &[port("rxe0", number, "Down")]).await
}

/// The port is up again, planned again, and the probes go through.
async fn up(cluster: &Cluster, number: u8) -> Result<()> {
    inventory(cluster, number, &[port("rxe0", number, "Active")]).await?;
    let host = format!("host{number}");
    until(&format!("{host} is planned again"), SOON, async || {
        let entries = cluster.entries().await?;
        Ok(if entries.contains_key(&host) {
            Ok(())
        } else {
            Err(format!("{entries:?}"))
        })
    })
    .await?;
    report(cluster, &[]).await
}

async fn node(cluster: &Cluster, number: u8) -> Result<Node> {
    Ok(cluster.api::<Node>().get(&format!("host{number}")).await?)
}

fn condition(node: &Node, type_: &str) -> Option<NodeCondition> {
    let conditions = node.status.as_ref()?.conditions.as_ref()?;
    conditions
        .iter()
        .find(|condition| condition.type_ == type_)
        .cloned()
}

/// Waits until the condition of a node has this status (`None`: is not there); its message.
async fn condition_becomes(
    cluster: &Cluster,
    number: u8,
    status: Option<&str>,
    says: &str,
) -> Result<String> {
    let what = format!("host{number} has the condition {status:?} that says \"{says}\"");
    until(&what, SOON, async || {
        let is = condition(&node(cluster, number).await?, RDMA_FABRIC_READY);
        let message = is.as_ref().and_then(|is| is.message.clone());
        let message = message.unwrap_or_default();
        let same = is.as_ref().map(|is| is.status.as_str()) == status && message.contains(says);
        Ok(if same {
            Ok(message)
        } else {
            Err(format!("{is:?}"))
        })
    })
    .await
}

fn tainted(node: &Node) -> bool {
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_ref());
    let ours = |key: &str, effect: &str| key == FABRIC_SUSPECT_TAINT && effect == "NoSchedule";
    taints
        .into_iter()
        .flatten()
        .any(|taint| ours(&taint.key, &taint.effect))
}

/// Waits until exactly these hosts have the taint.
async fn tainted_become(cluster: &Cluster, wanted: &[&str]) -> Result<()> {
    until(&format!("{wanted:?} are tainted"), SOON, async || {
        let nodes = cluster.api::<Node>().list(&ListParams::default()).await?;
        let tainted: Vec<_> = nodes
            .items
            .iter()
            .filter(|node| tainted(node))
            .map(ResourceExt::name_any)
            .collect();
        Ok(if tainted == wanted {
            Ok(())
        } else {
            Err(format!("{tainted:?}"))
        })
    })
    .await
}

/// Somebody else has a condition and a taint on the node.
async fn mark_as_somebody_else(cluster: &Cluster, number: u8) -> Result<()> {
    let name = format!("host{number}");
    let api = cluster.api::<Node>();
    let status = json!({"status": {"conditions": [
        {"type": FOREIGN, "status": "True", "reason": "Because", "message": "of them"}]}});
    let params = PatchParams::default();
    api.patch_status(&name, &params, &Patch::Strategic(&status))
        .await?;
    let taints = json!({"spec": {"taints": [
        {"key": FOREIGN, "effect": "NoSchedule"},
        {"key": FABRIC_SUSPECT_TAINT, "effect": "NoExecute", "value": "not-the-operators"}]}});
    patch_node(cluster, number, &taints).await
}

async fn is_still_marked_by_somebody_else(cluster: &Cluster, number: u8) -> Result<()> {
    let node = node(cluster, number).await?;
    let other = condition(&node, FOREIGN).context("somebody else's condition is lost")?;
    ensure!(other.message.as_deref() == Some("of them"), "{other:?}");
    let taints = node.spec.and_then(|spec| spec.taints).unwrap_or_default();
    let has = |key: &str, effect: &str| {
        let mut taints = taints.iter();
        taints.any(|taint| taint.key == key && taint.effect == effect)
    };
    ensure!(
        has(FOREIGN, "NoSchedule") && has(FABRIC_SUSPECT_TAINT, "NoExecute"),
        "somebody else's taint is lost: {taints:?}"
    );
    Ok(())
}

/// How often an Event of this reason was published on exactly this object.
async fn published<K>(cluster: &Cluster, object: &K, reason: &str) -> Result<(i32, String)>
where
    K: Resource,
{
    let uid = object.meta().uid.clone();
    let api: Api<Event> = Api::namespaced(cluster.client.clone(), "default");
    let events = api.list(&ListParams::default()).await?.items;
    let mut found = (0, String::new());
    for event in events {
        let regards = event.regarding.and_then(|regarding| regarding.uid) == uid;
        if regards && event.reason.as_deref() == Some(reason) {
            found.0 += event.series.map_or(1, |series| series.count);
            found.1 = event.note.unwrap_or_default();
        }
    }
    Ok(found)
}

/// Waits until an Event of this reason is on exactly this object; its note.
async fn event<K>(cluster: &Cluster, object: &K, reason: &str) -> Result<String>
where
    K: Resource,
{
    until(&format!("there is an Event {reason}"), SOON, async || {
        let (count, note) = published(cluster, object, reason).await?;
        Ok(if count > 0 {
            Ok(note)
        } else {
            Err("none".to_owned())
        })
    })
    .await
}

pub async fn a_suspect_node_gets_a_condition_and_loses_it(cluster: &mut Cluster) -> Result<()> {
    healthy(cluster, json!({})).await?;
    mark_as_somebody_else(cluster, 3).await?;
    down(cluster, 3).await?;
    let message = condition_becomes(cluster, 3, Some("False"), "mesh m").await?;
    ensure!(message.contains("host3/rxe0"), "{message}");
    let suspect = node(cluster, 3).await?;
    let note = event(cluster, &suspect, "SuspectRaised").await?;
    ensure!(note.starts_with("mesh m: host3/rxe0"), "{note}");
    let m = cluster.api::<RdmaMesh>().get("m").await?;
    event(cluster, &m, "SuspectRaised").await?;

    up(cluster, 3).await?;
    condition_becomes(cluster, 3, Some("True"), "suspected any more").await?;
    event(cluster, &suspect, "SuspectCleared").await?;
    for number in [1, 2, 4] {
        let bystander = condition(&node(cluster, number).await?, RDMA_FABRIC_READY);
        ensure!(bystander.is_none(), "{bystander:?}");
    }
    cluster.delete_mesh("m").await?;
    condition_becomes(cluster, 3, None, "").await?;
    tainted_become(cluster, &[]).await?;
    is_still_marked_by_somebody_else(cluster, 3).await
}

pub async fn a_lossy_path_is_no_ground_for_marking_nodes(cluster: &mut Cluster) -> Result<()> {
    healthy(
        cluster,
        json!({"taint": "Enforce", "maxTaintedPercent": 100}),
    )
    .await?;
    report(cluster, &[("host1", "host2")]).await?;
    cluster.condition("m", "FabricHealthy", "False").await?;
    // A node that is to blame is marked after the path was named, so nothing is still on its way.
    down(cluster, 4).await?;
    condition_becomes(cluster, 4, Some("False"), "host4/rxe0").await?;
    tainted_become(cluster, &["host4"]).await?;
    for number in [1, 2, 3] {
        let innocent = condition(&node(cluster, number).await?, RDMA_FABRIC_READY);
        ensure!(innocent.is_none(), "host{number}: {innocent:?}");
    }
    Ok(())
}

pub async fn several_meshes_share_the_condition_of_a_node(cluster: &mut Cluster) -> Result<()> {
    healthy(cluster, json!({})).await?;
    mesh(cluster, "n", json!({})).await?;
    cluster.condition("n", "AssignmentsReady", "True").await?;
    report(cluster, &[]).await?;
    cluster.condition("n", "FabricHealthy", "True").await?;
    down(cluster, 2).await?;
    condition_becomes(
        cluster,
        2,
        Some("False"),
        "host2/rxe0 (mesh m), host2/rxe0 (mesh n)",
    )
    .await?;
    mesh(cluster, "m", json!({"nodeCondition": false})).await?;
    condition_becomes(
        cluster,
        2,
        Some("False"),
        "suspected: host2/rxe0 (mesh n). ",
    )
    .await?;
    cluster
        .mesh(
            "n",
            json!({"thresholds": {"window": "1s"}, "suspend": true}),
        )
        .await?;
    condition_becomes(cluster, 2, None, "").await?;
    mesh(cluster, "m", json!({"nodeCondition": true})).await?;
    condition_becomes(
        cluster,
        2,
        Some("False"),
        "suspected: host2/rxe0 (mesh m). ",
    )
    .await?;
    // The node leaves the mesh.
    let selector = json!({"matchExpressions": [{"key": "out", "operator": "DoesNotExist"}]});
    cluster
        .mesh(
            "m",
            json!({"thresholds": {"window": "1s"}, "nodeSelector": selector}),
        )
        .await?;
    patch_node(cluster, 2, &json!({"metadata": {"labels": {"out": "yes"}}})).await?;
    condition_becomes(cluster, 2, None, "").await.map(drop)
}

pub async fn taints_keep_within_the_breaker_and_go_with_the_case(
    cluster: &mut Cluster,
) -> Result<()> {
    healthy(
        cluster,
        json!({"taint": "Enforce", "maxTaintedPercent": 50}),
    )
    .await?;
    mark_as_somebody_else(cluster, 1).await?;
    down(cluster, 1).await?;
    tainted_become(cluster, &["host1"]).await?;
    down(cluster, 2).await?;
    tainted_become(cluster, &["host1", "host2"]).await?;
    let message = cluster.condition("m", "ActionsApplied", "True").await?;
    ensure!(message.starts_with("Enforced"), "{message}");
    down(cluster, 3).await?;
    let message = cluster.condition("m", "ActionsApplied", "False").await?;
    ensure!(
        message.starts_with("BreakerOpen: not tainted: host3")
            && message.contains("2 of 4 nodes have the taint, at most 2 may"),
        "{message}"
    );
    tainted_become(cluster, &["host1", "host2"]).await?;
    condition_becomes(cluster, 3, Some("False"), "host3/rxe0").await?;
    let m = cluster.api::<RdmaMesh>().get("m").await?;
    event(cluster, &m, "TaintBreakerOpen").await?;
    event(cluster, &node(cluster, 1).await?, "NodeTainted").await?;

    // The place of one that recovers goes to the one that waited.
    up(cluster, 1).await?;
    tainted_become(cluster, &["host2", "host3"]).await?;
    event(cluster, &node(cluster, 1).await?, "NodeUntainted").await?;
    is_still_marked_by_somebody_else(cluster, 1).await?;
    mesh(cluster, "m", json!({"taint": "Off"})).await?;
    tainted_become(cluster, &[]).await
}

pub async fn a_dry_run_says_what_it_would_taint(cluster: &mut Cluster) -> Result<()> {
    healthy(cluster, json!({"taint": "DryRun", "maxTaintedPercent": 25})).await?;
    down(cluster, 2).await?;
    let m = cluster.api::<RdmaMesh>().get("m").await?;
    let note = event(cluster, &m, "TaintDryRun").await?;
    ensure!(note.starts_with("would taint host2"), "{note}");
    down(cluster, 3).await?;
    let message = cluster.condition("m", "ActionsApplied", "False").await?;
    ensure!(message.contains("would not be tainted: host3"), "{message}");
    tainted_become(cluster, &[]).await
}

pub async fn nothing_is_left_of_a_mesh_that_went_while_the_operator_was_down(
    cluster: &mut Cluster,
) -> Result<()> {
    healthy(
        cluster,
        json!({"taint": "Enforce", "maxTaintedPercent": 50}),
    )
    .await?;
    mesh(cluster, "kept", json!({})).await?;
    cluster
        .condition("kept", "AssignmentsReady", "True")
        .await?;
    report(cluster, &[]).await?;
    cluster.condition("kept", "FabricHealthy", "True").await?;
    down(cluster, 2).await?;
    condition_becomes(cluster, 2, Some("False"), "(mesh m)").await?;
    condition_becomes(cluster, 2, Some("False"), "(mesh kept)").await?;
    tainted_become(cluster, &["host2"]).await?;
    let suspect = node(cluster, 2).await?;
    event(cluster, &suspect, "SuspectRaised").await?;
    let raised = published(cluster, &suspect, "SuspectRaised").await?.0;

    cluster.kill_operators().await?;
    cluster.delete_mesh("m").await?;
    cluster.operator("one").await?;
    condition_becomes(
        cluster,
        2,
        Some("False"),
        "suspected: host2/rxe0 (mesh kept). ",
    )
    .await?;
    tainted_become(cluster, &[]).await?;
    let again = published(cluster, &suspect, "SuspectRaised").await?.0;
    ensure!(
        again == raised,
        "an Event was repeated: {raised}, then {again}"
    );
    cluster.kill_operators().await?;
    cluster.delete_mesh("kept").await?;
    cluster.operator("one").await?;
    condition_becomes(cluster, 2, None, "").await.map(drop)
}

pub async fn tolerance_keeps_the_fabric_healthy_but_hides_nobody(
    cluster: &mut Cluster,
) -> Result<()> {
    healthy(cluster, json!({"events": false})).await?;
    let spec = json!({"thresholds": {"window": "1s"}, "tolerance": {"maxUnhealthyPercent": 25},
        "actions": {"events": false}});
    cluster.mesh("m", spec).await?;
    down(cluster, 2).await?;
    let named = async |cluster: &Cluster| {
        until("host2/rxe0 is suspected", SOON, async || {
            let status = cluster.api::<RdmaMesh>().get("m").await?.status;
            let suspects = status.unwrap_or_default().suspects;
            let named: Vec<_> = suspects.iter().map(|s| s.name.as_str()).collect();
            Ok(if named.contains(&"host2/rxe0") {
                Ok(())
            } else {
                Err(format!("{named:?}"))
            })
        })
        .await
    };
    named(cluster).await?;
    let message = cluster.condition("m", "FabricHealthy", "True").await?;
    ensure!(
        message.starts_with("WithinTolerance") && message.contains("host2/rxe0"),
        "{message}"
    );
    condition_becomes(cluster, 2, Some("False"), "host2/rxe0").await?;
    down(cluster, 3).await?;
    cluster.condition("m", "FabricHealthy", "False").await?;
    let m = cluster.api::<RdmaMesh>().get("m").await?;
    for (count, _) in [
        published(cluster, &m, "SuspectRaised").await?,
        published(cluster, &node(cluster, 2).await?, "SuspectRaised").await?,
    ] {
        ensure!(count == 0, "Events although the mesh wants none");
    }
    Ok(())
}
