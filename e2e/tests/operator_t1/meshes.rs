//! From mesh to assignments: one, two, edited, deleted, suspended, impossible.

use anyhow::{Context, Result, ensure};
use kube::api::{Patch, PatchParams};
use rdmamesh_api::{RdmaMesh, RdmaProbeAssignment};
use serde_json::json;

use crate::agents::{inventory, join_all, port};
use crate::cluster::{Cluster, SOON, until};

const HOSTS: [&str; 4] = ["host1", "host2", "host3", "host4"];

pub async fn a_mesh_becomes_assignments_and_five_conditions(cluster: &mut Cluster) -> Result<()> {
    join_all(cluster, 4).await?;
    cluster.operator("one").await?;
    cluster
        .mesh("m", json!({"topology": {"parallelPaths": 2}}))
        .await?;
    cluster
        .entries_become(&HOSTS.map(|host| (host, &["m"][..])))
        .await?;

    let message = cluster.condition("m", "AssignmentsReady", "True").await?;
    ensure!(message.contains("4 nodes with 4 RNICs"), "{message}");
    let status = cluster
        .api::<RdmaMesh>()
        .get("m")
        .await?
        .status
        .context("there is a status")?;
    let mut types: Vec<_> = status.conditions.iter().map(|c| c.type_.as_str()).collect();
    types.sort_unstable();
    let all = [
        "AgentsReporting",
        "AssignmentsReady",
        "CoverageMet",
        "FabricHealthy",
        "Ready",
    ];
    ensure!(types == all, "{types:?}");
    ensure!(status.observed_generation == Some(1), "{status:?}");
    ensure!(
        status.pairs > 0 && status.flows >= status.pairs,
        "{status:?}"
    );

    let host1 = cluster.api::<RdmaProbeAssignment>().get("host1").await?;
    let mesh = cluster.api::<RdmaMesh>().get("m").await?;
    let owners = host1.metadata.owner_references.unwrap_or_default();
    ensure!(
        owners.len() == 1 && Some(&owners[0].uid) == mesh.metadata.uid.as_ref(),
        "{owners:?}"
    );
    let targets = &host1.spec.meshes[0].rnics[0].targets;
    let neighbour = targets
        .iter()
        .find(|target| target.node == "host2")
        .context("host2 is a target")?;
    ensure!(
        neighbour.gid.as_deref() == Some("::ffff:10.1.0.2"),
        "{neighbour:?}"
    );
    ensure!(
        neighbour.control_address == "10.12.0.2:7475",
        "{neighbour:?}"
    );
    Ok(())
}

pub async fn two_meshes_share_the_assignments_of_their_nodes(cluster: &mut Cluster) -> Result<()> {
    join_all(cluster, 4).await?;
    let of_rack = |rack: &str| json!({"nodeSelector": {"matchLabels": {"topology.kubernetes.io/rack": rack}}});
    cluster.mesh("all", json!({})).await?;
    cluster.mesh("left", of_rack("leaf1")).await?;
    cluster.operator("one").await?;
    let both: &[&str] = &["all", "left"];
    cluster
        .entries_become(&[
            ("host1", both),
            ("host2", both),
            ("host3", &["all"]),
            ("host4", &["all"]),
        ])
        .await?;
    let host1 = cluster.api::<RdmaProbeAssignment>().get("host1").await?;
    ensure!(
        host1.metadata.owner_references.unwrap_or_default().len() == 2,
        "both meshes own it"
    );

    // One mesh goes: the other's entries stay as they are.
    let hash = |object: &RdmaProbeAssignment| {
        let mut entries = object.spec.meshes.iter();
        entries
            .find(|entry| entry.name == "all")
            .map(|entry| entry.plan_hash.clone())
    };
    let before = cluster.api::<RdmaProbeAssignment>().get("host3").await?;
    cluster.delete_mesh("left").await?;
    cluster
        .entries_become(&HOSTS.map(|host| (host, &["all"][..])))
        .await?;
    let after = cluster.api::<RdmaProbeAssignment>().get("host3").await?;
    ensure!(
        hash(&before) == hash(&after),
        "host3 was never part of the other mesh"
    );
    Ok(())
}

pub async fn an_edited_mesh_replaces_what_it_wanted_before(cluster: &mut Cluster) -> Result<()> {
    join_all(cluster, 4).await?;
    cluster.operator("one").await?;
    cluster
        .mesh("m", json!({"probes": {"torMesh": {"interval": "100ms"}}}))
        .await?;
    cluster
        .entries_become(&HOSTS.map(|host| (host, &["m"][..])))
        .await?;
    cluster
        .mesh(
            "m",
            json!({"probes": {"torMesh": {"interval": "250ms"}, "interTor": {"enabled": false}}}),
        )
        .await?;
    let api = cluster.api::<RdmaProbeAssignment>();
    until(
        "every entry probes torMesh every 250 ms and nothing else",
        SOON,
        async || {
            for host in HOSTS {
                let entry = &api.get(host).await?.spec.meshes[0];
                let targets = entry.rnics.iter().flat_map(|rnic| &rnic.targets);
                let mut other = targets.filter(|target| {
                    target.class.as_str() != "torMesh" || target.interval.to_string() != "250ms"
                });
                if let Some(other) = other.next() {
                    return Ok(Err(format!("{host}: {other:?}")));
                }
            }
            Ok(Ok(()))
        },
    )
    .await?;
    until("the status is about the new spec", SOON, async || {
        let status = cluster
            .api::<RdmaMesh>()
            .get("m")
            .await?
            .status
            .unwrap_or_default();
        let all = status
            .conditions
            .iter()
            .all(|c| c.observed_generation == Some(2));
        Ok(if all && status.observed_generation == Some(2) {
            Ok(())
        } else {
            Err(format!("{status:?}"))
        })
    })
    .await?;
    // Selecting fewer nodes withdraws the others.
    cluster
        .mesh(
            "m",
            json!({"nodeSelector": {"matchLabels": {"topology.kubernetes.io/rack": "leaf2"}}}),
        )
        .await?;
    cluster
        .entries_become(&[("host3", &["m"]), ("host4", &["m"])])
        .await
}

pub async fn a_deleted_mesh_leaves_nothing_over(cluster: &mut Cluster) -> Result<()> {
    join_all(cluster, 2).await?;
    cluster.operator("one").await?;
    cluster.mesh("m", json!({})).await?;
    cluster
        .entries_become(&[("host1", &["m"]), ("host2", &["m"])])
        .await?;
    cluster.delete_mesh("m").await?;
    cluster.entries_become(&[]).await?;
    // The name can be used again at once.
    cluster.mesh("m", json!({})).await?;
    cluster
        .entries_become(&[("host1", &["m"]), ("host2", &["m"])])
        .await?;
    cluster
        .condition("m", "AssignmentsReady", "True")
        .await
        .map(drop)
}

pub async fn a_suspended_mesh_withdraws_and_comes_back(cluster: &mut Cluster) -> Result<()> {
    join_all(cluster, 2).await?;
    cluster.operator("one").await?;
    cluster.mesh("m", json!({})).await?;
    cluster
        .entries_become(&[("host1", &["m"]), ("host2", &["m"])])
        .await?;
    cluster.mesh("m", json!({"suspend": true})).await?;
    cluster.entries_become(&[]).await?;
    let message = cluster.condition("m", "Ready", "False").await?;
    ensure!(message.contains("suspend"), "{message}");
    cluster.condition("m", "FabricHealthy", "Unknown").await?;
    cluster.mesh("m", json!({"suspend": false})).await?;
    cluster
        .entries_become(&[("host1", &["m"]), ("host2", &["m"])])
        .await
}

pub async fn a_mesh_that_selects_nothing_says_so(cluster: &mut Cluster) -> Result<()> {
    join_all(cluster, 2).await?;
    cluster.operator("one").await?;
    cluster
        .mesh(
            "nobody",
            json!({"nodeSelector": {"matchLabels": {"no": "such"}}}),
        )
        .await?;
    let message = cluster.condition("nobody", "Ready", "False").await?;
    ensure!(message.starts_with("NoNodesSelected"), "{message}");

    cluster
        .mesh("no-device", json!({"devices": {"include": ["mlx5_*"]}}))
        .await?;
    let message = cluster.condition("no-device", "Ready", "False").await?;
    ensure!(message.starts_with("NoUsableRnics"), "{message}");
    ensure!(
        message.contains("host1") && message.contains("host2"),
        "{message}"
    );
    ensure!(cluster.entries().await?.is_empty(), "nothing is assigned");
    Ok(())
}

pub async fn a_gid_index_that_does_not_exist_is_named(cluster: &mut Cluster) -> Result<()> {
    join_all(cluster, 3).await?;
    let mut longer = port("rxe0", 3, "Active");
    longer["gids"] = json!([{"index": 5, "gid": "::ffff:10.1.0.3", "type": "RoCEv2"}]);
    inventory(cluster, 3, &[longer]).await?;
    cluster.operator("one").await?;
    cluster.mesh("m", json!({"gid": {"index": 1}})).await?;
    cluster
        .entries_become(&[("host1", &["m"]), ("host2", &["m"])])
        .await?;
    let message = cluster.condition("m", "AssignmentsReady", "True").await?;
    for part in ["host3/rxe0", "index 1", "there are 5"] {
        ensure!(message.contains(part), "{part} is missing: {message}");
    }
    Ok(())
}

pub async fn what_others_write_into_an_assignment_is_mended(cluster: &mut Cluster) -> Result<()> {
    join_all(cluster, 2).await?;
    cluster.operator("one").await?;
    cluster.mesh("m", json!({})).await?;
    cluster
        .entries_become(&[("host1", &["m"]), ("host2", &["m"])])
        .await?;
    let api = cluster.api::<RdmaProbeAssignment>();
    let before = api.get("host1").await?;

    let mut edited = before.spec.clone();
    edited.meshes[0].rnics.clear();
    edited
        .meshes
        .push(rdmamesh_api::assignment::MeshAssignment {
            name: "made-up".to_owned(),
            ..edited.meshes[0].clone()
        });
    let patch = json!({"spec": edited});
    api.patch("host1", &PatchParams::default(), &Patch::Merge(&patch))
        .await?;
    until("the assignment is what it was", SOON, async || {
        let spec = api.get("host1").await?.spec;
        Ok(if spec == before.spec {
            Ok(())
        } else {
            Err(format!("{spec:?}"))
        })
    })
    .await?;

    api.delete("host2", &kube::api::DeleteParams::default())
        .await?;
    cluster
        .entries_become(&[("host1", &["m"]), ("host2", &["m"])])
        .await
}
