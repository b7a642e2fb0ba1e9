//! The operator's own life: crashes, standbys, an API server that is away, SIGTERM.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::json;
use tokio::time::Instant;

use crate::agents::{join, join_all, leave, patch_node};
use crate::cluster::Cluster;

pub async fn what_happened_while_it_was_down_is_mended(cluster: &mut Cluster) -> Result<()> {
    join_all(cluster, 4).await?;
    cluster.mesh("gone", json!({})).await?;
    cluster.mesh("kept", json!({})).await?;
    cluster.operator("one").await?;
    let both: &[&str] = &["gone", "kept"];
    let hosts = ["host1", "host2", "host3", "host4"];
    cluster
        .entries_become(&hosts.map(|host| (host, both)))
        .await?;

    cluster.kill_operators().await?;
    cluster.delete_mesh("gone").await?;
    cluster
        .mesh(
            "new",
            json!({"nodeSelector": {"matchLabels": {"topology.kubernetes.io/rack": "leaf1"}}}),
        )
        .await?;
    leave(cluster, 4).await?;
    patch_node(cluster, 3, &json!({"spec": {"unschedulable": true}})).await?;
    join(cluster, 5, "leaf2").await?;

    cluster.operator("one").await?;
    let new: &[&str] = &["kept", "new"];
    cluster
        .entries_become(&[("host1", new), ("host2", new), ("host5", &["kept"])])
        .await
}

pub async fn a_standby_takes_over_from_a_leader_that_ends(cluster: &mut Cluster) -> Result<()> {
    join_all(cluster, 2).await?;
    cluster.operator("first").await?;
    cluster
        .leader_becomes("first", Duration::from_secs(10))
        .await?;
    cluster.operator("second").await?;
    let m: &[&str] = &["m"];
    cluster.mesh("m", json!({})).await?;
    cluster
        .entries_become(&[("host1", m), ("host2", m)])
        .await?;
    ensure!(
        cluster.leader().await?.as_deref() == Some("first"),
        "a standby does not take over by itself"
    );

    let first = cluster.take_operator(0)?;
    first.process.signal(Signal::SIGTERM)?;
    ensure!(
        first.process.wait_end(Duration::from_secs(5)).await,
        "it ends within 5 s of SIGTERM"
    );
    cluster
        .leader_becomes("second", Duration::from_secs(6))
        .await?;
    join(cluster, 3, "leaf1").await?;
    cluster
        .entries_become(&[("host1", m), ("host2", m), ("host3", m)])
        .await?;

    // A leader that is killed frees nothing: its lease runs out.
    cluster.operator("third").await?;
    let second = cluster.take_operator(0)?;
    second.process.kill().await?;
    cluster
        .leader_becomes("third", Duration::from_secs(25))
        .await?;
    leave(cluster, 3).await?;
    cluster.entries_become(&[("host1", m), ("host2", m)]).await
}

pub async fn it_survives_an_api_server_that_is_down(cluster: &mut Cluster) -> Result<()> {
    join_all(cluster, 4).await?;
    cluster.operator("one").await?;
    let m: &[&str] = &["m"];
    cluster.mesh("m", json!({})).await?;
    let hosts = ["host1", "host2", "host3", "host4"];
    cluster.entries_become(&hosts.map(|host| (host, m))).await?;

    cluster.plane.stop_api_server().await?;
    tokio::time::sleep(Duration::from_secs(20)).await;
    let layout = cluster.layout.clone();
    cluster.plane.start_api_server(&layout).await?;
    leave(cluster, 4).await?;
    cluster.mesh("late", json!({})).await?;
    let both: &[&str] = &["late", "m"];
    cluster
        .entries_become(&[("host1", both), ("host2", both), ("host3", both)])
        .await?;
    cluster
        .condition("late", "AssignmentsReady", "True")
        .await?;
    // It stays in the cluster's care: one that is left over would go on writing through the tests to come.
    let operator = cluster.operators.first().context("it was just started")?;
    ensure!(operator.process.is_alive(), "it is still the same process");
    Ok(())
}

pub async fn it_ends_within_five_seconds_and_frees_the_lease(cluster: &mut Cluster) -> Result<()> {
    cluster.operator("one").await?;
    cluster
        .leader_becomes("one", Duration::from_secs(10))
        .await?;
    let operator = cluster.take_operator(0)?;
    let started = Instant::now();
    operator.process.signal(Signal::SIGTERM)?;
    ensure!(
        operator.process.wait_end(Duration::from_secs(5)).await,
        "it ends within 5 s"
    );
    let leader = cluster.leader().await?;
    ensure!(
        leader.is_none(),
        "the lease is free after {:?}, not held by {leader:?}",
        started.elapsed()
    );
    Ok(())
}

impl Cluster {
    /// Takes one of the operators out of the cluster's care.
    fn take_operator(&mut self, position: usize) -> Result<crate::cluster::Operator> {
        let running = position < self.operators.len();
        running
            .then(|| self.operators.remove(position))
            .context("there is no such operator")
    }
}
