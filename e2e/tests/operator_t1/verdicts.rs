//! From reports to verdicts.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::events::v1::Event;
use kube::Api;
use kube::api::ListParams;
use rdmamesh_api::RdmaMesh;
use rdmamesh_api::mesh::Suspect;
use serde_json::json;

use crate::agents::{inventory, join, port, report, report_missing};
use crate::cluster::{Cluster, SOON, until};

const M: &[&str] = &["m"];
/// One second, so that hysteresis takes two.
const SPEC: &str = r#"{"thresholds": {"window": "1s"}}"#;

/// Four hosts under one switch, planned, every agent reports a clean window.
async fn healthy(cluster: &mut Cluster) -> Result<()> {
    for number in 1..=4 {
        join(cluster, number, "leaf1").await?;
    }
    cluster.operator("one").await?;
    cluster.mesh("m", serde_json::from_str(SPEC)?).await?;
    cluster
        .entries_become(&[("host1", M), ("host2", M), ("host3", M), ("host4", M)])
        .await?;
    report(cluster, &[]).await?;
    cluster.condition("m", "FabricHealthy", "True").await?;
    cluster.condition("m", "Ready", "True").await.map(drop)
}

async fn suspects(cluster: &Cluster) -> Result<Vec<Suspect>> {
    let mesh = cluster.api::<RdmaMesh>().get("m").await?;
    Ok(mesh.status.unwrap_or_default().suspects)
}

/// Waits until exactly these are suspected: (name, peer).
async fn suspects_become(
    cluster: &Cluster,
    wanted: &[(&str, Option<&str>)],
) -> Result<Vec<Suspect>> {
    until(&format!("the suspects are {wanted:?}"), SOON, async || {
        let suspects = suspects(cluster).await?;
        let named: Vec<_> = suspects
            .iter()
            .map(|s| (s.name.as_str(), s.peer.as_deref()))
            .collect();
        Ok(if named == wanted {
            Ok(suspects)
        } else {
            Err(format!("{suspects:?}"))
        })
    })
    .await
}

/// Waits until an Event of this reason is on the mesh.
async fn event(cluster: &Cluster, reason: &str) -> Result<String> {
    let api: Api<Event> = Api::namespaced(cluster.client.clone(), "default");
    until(&format!("there is an Event {reason}"), SOON, async || {
        let list = api.list(&ListParams::default()).await?;
        let found = list
            .items
            .into_iter()
            .find(|event| event.reason.as_deref() == Some(reason));
        Ok(found
            .and_then(|event| event.note)
            .ok_or_else(|| "none".to_owned()))
    })
    .await
}

pub async fn no_report_is_neither_health_nor_illness(cluster: &mut Cluster) -> Result<()> {
    for number in 1..=2 {
        join(cluster, number, "leaf1").await?;
    }
    cluster.operator("one").await?;
    cluster.mesh("m", json!({})).await?;
    cluster.condition("m", "AssignmentsReady", "True").await?;
    cluster.condition("m", "FabricHealthy", "Unknown").await?;
    let message = cluster.condition("m", "AgentsReporting", "Unknown").await?;
    ensure!(
        message.contains("host1") && message.contains("host2"),
        "{message}"
    );
    cluster.condition("m", "Ready", "Unknown").await.map(drop)
}

pub async fn a_lossy_pair_is_named_and_cleared(cluster: &mut Cluster) -> Result<()> {
    healthy(cluster).await?;
    report(cluster, &[("host1", "host3")]).await?;
    let within = Duration::from_secs(3);
    let message = cluster
        .condition_within("m", "FabricHealthy", "False", within)
        .await?;
    ensure!(
        message.contains("host1/rxe0") && message.contains("host3/rxe0"),
        "{message}"
    );
    let named = suspects_become(cluster, &[("host1/rxe0", Some("host3/rxe0"))]).await?;
    ensure!(
        named[0].confidence < 100 && named[0].evidence.contains("lost"),
        "{named:?}"
    );
    event(cluster, "FabricUnhealthy").await?;
    event(cluster, "SuspectRaised").await?;

    // Nobody reports anything new: the case stays open.
    tokio::time::sleep(Duration::from_secs(4)).await;
    suspects_become(cluster, &[("host1/rxe0", Some("host3/rxe0"))]).await?;
    report(cluster, &[]).await?;
    // Clean for two windows of one second: without another report.
    cluster
        .condition_within("m", "FabricHealthy", "True", Duration::from_secs(8))
        .await?;
    suspects_become(cluster, &[]).await?;
    event(cluster, "SuspectCleared").await.map(drop)
}

pub async fn an_open_case_survives_a_restart_of_the_operator(cluster: &mut Cluster) -> Result<()> {
    healthy(cluster).await?;
    report(cluster, &[("host2", "host4")]).await?;
    let before = suspects_become(cluster, &[("host2/rxe0", Some("host4/rxe0"))]).await?;
    cluster.kill_operators().await?;
    let version = async |cluster: &Cluster| {
        let mesh = cluster.api::<RdmaMesh>().get("m").await?;
        mesh.metadata
            .resource_version
            .context("objects have versions")
    };
    let untouched = version(cluster).await?;
    cluster.operator("one").await?;
    cluster.leader_becomes("one", SOON).await?;
    // Somebody else's case opens: the first one keeps its time.
    report(cluster, &[("host2", "host4"), ("host1", "host3")]).await?;
    let wanted = [
        ("host1/rxe0", Some("host3/rxe0")),
        ("host2/rxe0", Some("host4/rxe0")),
    ];
    let after = until("both pairs are named", SOON, async || {
        let suspects = suspects(cluster).await?;
        let mut named: Vec<_> = suspects
            .iter()
            .map(|s| (s.name.as_str(), s.peer.as_deref()))
            .collect();
        named.sort_unstable();
        Ok(if named == wanted {
            Ok(suspects)
        } else {
            Err(format!("{suspects:?}"))
        })
    })
    .await?;
    ensure!(
        version(cluster).await? != untouched,
        "the new operator wrote"
    );
    let kept = after
        .iter()
        .find(|suspect| suspect.name == "host2/rxe0")
        .context("it was just seen")?;
    ensure!(kept.since == before[0].since, "{kept:?} was {before:?}");
    Ok(())
}

pub async fn an_agent_that_does_not_answer_its_peers_is_named_at_once(
    cluster: &mut Cluster,
) -> Result<()> {
    healthy(cluster).await?;
    report_missing(cluster, &["host3"]).await?;
    let within = Duration::from_secs(5);
    let message = cluster
        .condition_within("m", "AgentsReporting", "False", within)
        .await?;
    ensure!(
        message.contains("host3 (does not answer its peers since")
            && message.contains("3 of 3 say so"),
        "{message}"
    );
    // Nobody is accused for it, and when it is back all is well.
    cluster.condition("m", "FabricHealthy", "True").await?;
    suspects_become(cluster, &[]).await?;
    report(cluster, &[]).await?;
    cluster
        .condition("m", "AgentsReporting", "True")
        .await
        .map(drop)
}

pub async fn a_port_that_goes_down_is_named_by_its_own_agent(cluster: &mut Cluster) -> Result<()> {
    healthy(cluster).await?;
    inventory(cluster, 3, &[port("rxe0", 3, "Down")]).await?;
    let message = cluster.condition("m", "FabricHealthy", "False").await?;
    ensure!(message.contains("host3/rxe0"), "{message}");
    suspects_become(cluster, &[("host3/rxe0", None)]).await?;
    inventory(cluster, 3, &[port("rxe0", 3, "Active")]).await?;
    cluster
        .entries_become(&[("host1", M), ("host2", M), ("host3", M), ("host4", M)])
        .await?;
    report(cluster, &[]).await?;
    cluster.condition("m", "FabricHealthy", "True").await?;
    suspects_become(cluster, &[]).await.map(drop)
}
