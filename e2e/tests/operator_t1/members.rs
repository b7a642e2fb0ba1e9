//! Nodes that join, leave, are cordoned, relabelled, or do nothing at all.

use std::time::Duration;

use anyhow::{Result, ensure};
use futures::StreamExt;
use kube::api::ListParams;
use rdmamesh_api::RdmaProbeAssignment;
use serde_json::json;

use crate::agents::{inventory, join, join_all, leave, patch_node, port, report};
use crate::cluster::{Cluster, SOON, until};

const M: &[&str] = &["m"];

/// Three hosts under one switch, one mesh over them, planned.
async fn planned(cluster: &mut Cluster) -> Result<()> {
    for number in 1..=3 {
        join(cluster, number, "leaf1").await?;
    }
    cluster.operator("one").await?;
    cluster.mesh("m", json!({})).await?;
    cluster
        .entries_become(&[("host1", M), ("host2", M), ("host3", M)])
        .await
}

/// Waits until `of` probes exactly these hosts.
async fn probes(cluster: &Cluster, of: &str, wanted: &[&str]) -> Result<()> {
    let api = cluster.api::<RdmaProbeAssignment>();
    until(&format!("{of} probes {wanted:?}"), SOON, async || {
        let spec = api.get(of).await?.spec;
        let targets = spec
            .meshes
            .iter()
            .flat_map(|mesh| &mesh.rnics)
            .flat_map(|rnic| &rnic.targets);
        let mut nodes: Vec<_> = targets.map(|target| target.node.clone()).collect();
        nodes.sort_unstable();
        nodes.dedup();
        Ok(if nodes == wanted {
            Ok(())
        } else {
            Err(format!("{nodes:?}"))
        })
    })
    .await
}

pub async fn a_node_that_joins_is_probed_by_its_peers(cluster: &mut Cluster) -> Result<()> {
    planned(cluster).await?;
    join(cluster, 4, "leaf1").await?;
    cluster
        .entries_become(&[("host1", M), ("host2", M), ("host3", M), ("host4", M)])
        .await?;
    probes(cluster, "host1", &["host2", "host3", "host4"]).await
}

pub async fn a_node_that_is_removed_leaves_no_assignment(cluster: &mut Cluster) -> Result<()> {
    planned(cluster).await?;
    leave(cluster, 3).await?;
    cluster
        .entries_become(&[("host1", M), ("host2", M)])
        .await?;
    probes(cluster, "host1", &["host2"]).await
}

pub async fn a_cordoned_node_is_left_out_and_comes_back(cluster: &mut Cluster) -> Result<()> {
    planned(cluster).await?;
    patch_node(cluster, 2, &json!({"spec": {"unschedulable": true}})).await?;
    cluster
        .entries_become(&[("host1", M), ("host3", M)])
        .await?;
    probes(cluster, "host1", &["host3"]).await?;
    until("the node that is left out is named", SOON, async || {
        let message = cluster.condition("m", "AssignmentsReady", "True").await?;
        Ok(if message.contains("host2") {
            Ok(())
        } else {
            Err(message)
        })
    })
    .await?;
    patch_node(cluster, 2, &json!({"spec": {"unschedulable": false}})).await?;
    cluster
        .entries_become(&[("host1", M), ("host2", M), ("host3", M)])
        .await?;
    probes(cluster, "host1", &["host2", "host3"]).await
}

pub async fn a_node_that_is_not_ready_is_left_out(cluster: &mut Cluster) -> Result<()> {
    planned(cluster).await?;
    let taint = json!({"spec": {"taints": [{"key": "node.kubernetes.io/unreachable", "effect": "NoSchedule"}]}});
    patch_node(cluster, 3, &taint).await?;
    cluster
        .entries_become(&[("host1", M), ("host2", M)])
        .await?;
    patch_node(cluster, 3, &json!({"spec": {"taints": null}})).await?;
    cluster
        .entries_become(&[("host1", M), ("host2", M), ("host3", M)])
        .await
}

pub async fn a_relabelled_node_moves_between_meshes(cluster: &mut Cluster) -> Result<()> {
    join_all(cluster, 4).await?;
    for (mesh, rack) in [("left", "leaf1"), ("right", "leaf2")] {
        let selector = json!({"matchLabels": {"topology.kubernetes.io/rack": rack}});
        cluster
            .mesh(mesh, json!({"nodeSelector": selector}))
            .await?;
    }
    cluster.operator("one").await?;
    let (left, right): (&[&str], &[&str]) = (&["left"], &["right"]);
    cluster
        .entries_become(&[
            ("host1", left),
            ("host2", left),
            ("host3", right),
            ("host4", right),
        ])
        .await?;
    patch_node(
        cluster,
        2,
        &json!({"metadata": {"labels": {"topology.kubernetes.io/rack": "leaf2"}}}),
    )
    .await?;
    cluster
        .entries_become(&[
            ("host1", left),
            ("host2", right),
            ("host3", right),
            ("host4", right),
        ])
        .await?;
    probes(cluster, "host2", &["host3", "host4"]).await
}

/// Reports that say the same, heartbeats of nodes and agents that restart cause no write of the operator.
pub async fn a_port_that_flaps_is_held_out_of_the_plan(cluster: &mut Cluster) -> Result<()> {
    join_all(cluster, 3).await?;
    cluster.operator("one").await?;
    cluster.mesh("m", json!({})).await?;
    let all = [("host1", M), ("host2", M), ("host3", M)];
    cluster.entries_become(&all).await?;
    // Once is no flapping: it takes part again at once.
    inventory(cluster, 3, &[port("rxe0", 3, "Down")]).await?;
    cluster.entries_become(&all[..2]).await?;
    inventory(cluster, 3, &[port("rxe0", 3, "Active")]).await?;
    cluster.entries_become(&all).await?;
    inventory(cluster, 3, &[port("rxe0", 3, "Down")]).await?;
    cluster.entries_become(&all[..2]).await?;
    probes(cluster, "host1", &["host2"]).await?;
    probes(cluster, "host2", &["host1"]).await?;
    let before = generations(cluster).await?;
    for state in ["Active", "Down", "Active"] {
        inventory(cluster, 3, &[port("rxe0", 3, state)]).await?;
        // Longer than a change waits for others to come with it.
        tokio::time::sleep(Duration::from_secs(3)).await;
    }
    ensure!(
        generations(cluster).await? == before,
        "assignments were written for a port that does not stay up"
    );
    let message = cluster.condition("m", "AssignmentsReady", "True").await?;
    ensure!(
        message.contains("host3") && message.contains("again and again"),
        "{message}"
    );
    Ok(())
}

pub async fn a_quiet_cluster_is_not_written_to(cluster: &mut Cluster) -> Result<()> {
    planned(cluster).await?;
    report(cluster, &[]).await?;
    cluster.condition("m", "Ready", "True").await?;
    cluster.condition("m", "FabricHealthy", "True").await?;
    let specs = generations(cluster).await?;
    let statuses = status_writes(cluster).await?;
    let heartbeat = json!({"metadata": {"annotations": {"beat": "1"}}});
    for number in 1..=3 {
        patch_node(cluster, number, &heartbeat).await?;
        join(cluster, number, "leaf1").await?;
    }
    // A change that does matter passes through the same watches: once it is through, so is the noise.
    join(cluster, 9, "leaf9").await?;
    cluster
        .entries_become(&[("host1", M), ("host2", M), ("host3", M), ("host9", M)])
        .await?;
    let quiet = async || {
        Ok::<_, anyhow::Error>((generations(cluster).await?, status_writes(cluster).await?))
    };
    let (later, _) = quiet().await?;
    ensure!(specs.len() == 3 && later.len() == 4, "{specs:?} {later:?}");
    leave(cluster, 9).await?;
    cluster
        .entries_become(&[("host1", M), ("host2", M), ("host3", M)])
        .await?;
    let settled = until(
        "two looks a second apart are the same",
        Duration::from_secs(30),
        async || {
            let first = quiet().await?;
            tokio::time::sleep(Duration::from_secs(1)).await;
            let second = quiet().await?;
            Ok(if first == second {
                Ok(second)
            } else {
                Err("still writing".to_owned())
            })
        },
    )
    .await?;
    ensure!(settled.1 >= statuses, "versions only grow");
    for _ in 0..3 {
        report(cluster, &[]).await?;
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    let after = quiet().await?;
    ensure!(
        after.0 == settled.0,
        "specs were written: {settled:?} {after:?}"
    );
    ensure!(
        after.1 == settled.1,
        "the status was written although it says the same: {settled:?} {after:?}"
    );
    Ok(())
}

/// 200 hosts, ten to a switch: one that is cordoned is taken from those that probed it, and nobody else.
pub async fn one_node_of_many_touches_only_its_peers(cluster: &mut Cluster) -> Result<()> {
    let hosts: Vec<u8> = (1..=200).collect();
    let joins = hosts
        .iter()
        .map(|number| join(cluster, *number, RACKS[usize::from(number % 20)]));
    let joined: Vec<Result<()>> = futures::stream::iter(joins)
        .buffer_unordered(16)
        .collect()
        .await;
    joined.into_iter().collect::<Result<()>>()?;
    cluster.operator("one").await?;
    cluster
        .mesh("m", json!({"probes": {"interTor": {"enabled": false}}}))
        .await?;
    until(
        "every host is assigned",
        Duration::from_secs(60),
        async || {
            let entries = cluster.entries().await?.len();
            Ok(if entries == hosts.len() {
                Ok(())
            } else {
                Err(format!("{entries} are"))
            })
        },
    )
    .await?;
    cluster.condition("m", "AssignmentsReady", "True").await?;
    let before = generations(cluster).await?;
    patch_node(cluster, 7, &json!({"spec": {"unschedulable": true}})).await?;
    until("host7 has no assignment", SOON, async || {
        let gone = !cluster.entries().await?.contains_key("host7");
        Ok(if gone {
            Ok(())
        } else {
            Err("it has".to_owned())
        })
    })
    .await?;
    until(
        "the status counts and names who is left out",
        SOON,
        async || {
            let message = cluster.condition("m", "AssignmentsReady", "True").await?;
            let told = message.contains("199 nodes") && message.contains("host7");
            Ok(if told { Ok(()) } else { Err(message) })
        },
    )
    .await?;
    let after = generations(cluster).await?;
    let touched: Vec<_> = after.iter().filter(|one| !before.contains(one)).collect();
    ensure!(
        (1..=9).contains(&touched.len()),
        "its nine neighbours at most: {touched:?}"
    );
    Ok(())
}

/// Names of switches.
const RACKS: [&str; 20] = [
    "leaf0", "leaf1", "leaf2", "leaf3", "leaf4", "leaf5", "leaf6", "leaf7", "leaf8", "leaf9",
    "leaf10", "leaf11", "leaf12", "leaf13", "leaf14", "leaf15", "leaf16", "leaf17", "leaf18",
    "leaf19",
];

/// Generation of every assignment: grows with every write that changes a spec.
async fn generations(cluster: &Cluster) -> Result<Vec<(Option<String>, Option<i64>)>> {
    let list = cluster
        .api::<RdmaProbeAssignment>()
        .list(&ListParams::default())
        .await?;
    Ok(list
        .items
        .into_iter()
        .map(|item| (item.metadata.name, item.metadata.generation))
        .collect())
}

/// Version of the mesh: grows with every write of its status.
async fn status_writes(cluster: &Cluster) -> Result<u64> {
    let mesh = cluster.api::<rdmamesh_api::RdmaMesh>().get("m").await?;
    Ok(mesh.metadata.resource_version.unwrap_or_default().parse()?)
}
