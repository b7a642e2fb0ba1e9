//! What happens to nodes.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rdmamesh_e2e::cluster::{node::Node, ready};
use rdmamesh_e2e::rig::Rig;

use crate::watch::during;
use crate::{play, until};

const MINUTES: Duration = Duration::from_secs(240);

/// The same verdict as from processes: the pods' probes cross the same fabric.
pub async fn a_lossy_link_is_told_of_by_the_pods(rig: &mut Rig) -> Result<()> {
    play(
        rig,
        "
mesh: {}
steps:
  - fault: {id: f1, kind: loss, link: leaf1-spine2, percent: 30, direction: both}
  - expect: {condition: FabricHealthy, status: \"False\", within: 60s, suspects: [{kind: Link, name: leaf1-spine2}]}
  - clear: {id: f1}
  - expect: {condition: FabricHealthy, status: \"True\", suspects: [], within: 180s}
",
    )
    .await
}

/// Cordon, drain, and back: agents stay where DaemonSets stay, and nobody is accused.
pub async fn a_drained_node_accuses_nobody(rig: &mut Rig) -> Result<()> {
    let tools = rig.tools();
    let drain = tools.kubectl(&[
        "drain",
        "host4",
        "--ignore-daemonsets",
        "--delete-emptydir-data",
        "--timeout=240s",
    ]);
    let (_, seen) = during(rig, drain).await?;
    tools.kubectl(&["uncordon", "host4"]).await?;
    ensure!(seen.suspects.is_empty(), "suspected: {:?}", seen.suspects);
    Ok(())
}

/// Power goes and comes back; while it is away nobody else is accused.
pub async fn a_rebooted_node_comes_back_by_itself(rig: &mut Rig) -> Result<()> {
    let before = rig.agent_pid("host3").await?;
    let reboot =
        serde_json::from_value(serde_json::json!({"kind": "nodeReboot", "host": "host3"}))?;
    rig.apply_fault("reboot", reboot).await?;
    let ((), seen) = during(rig, async { Ok(()) }).await?;
    rig.clear_fault("reboot").await?;
    let others: Vec<&String> = seen
        .suspects
        .iter()
        .filter(|suspect| !suspect.contains("host3"))
        .collect();
    ensure!(others.is_empty(), "accused of the reboot: {others:?}");
    ensure!(
        rig.agent_pid("host3").await? != before,
        "the agent outlived its node"
    );
    play(rig, crate::HEALTHY).await
}

/// Its objects go with it, its peers probe it no more, and it may come back.
pub async fn a_removed_node_is_forgotten(rig: &mut Rig) -> Result<()> {
    let tools = rig.tools();
    let guest = rig.guest();
    let folder = rig.folder().to_path_buf();
    let node = Node::of(&guest, &folder, "host4");
    node.power_off().await?;
    tools
        .kubectl(&["delete", "node", "host4", "--timeout=60s"])
        .await?;
    let forgotten = until("its objects go", MINUTES, async || {
        let left = tools
            .kubectl(&["get", "rdmanodes,rdmaprobeassignments", "-o", "name"])
            .await?;
        ensure!(!left.contains("host4"), "left: {left}");
        let others = tools
            .kubectl(&[
                "get",
                "rdmaprobeassignments",
                "-o",
                "jsonpath={.items[*].spec}",
            ])
            .await?;
        ensure!(!others.contains("host4"), "still probed");
        Ok(())
    })
    .await;
    let healthy = play(rig, crate::HEALTHY).await;
    node.power_on().await?;
    let client = rig.client();
    ready::label_and_wait(&client, &guest, &folder, rig.fabric()).await?;
    node.wait_agent(None).await.context("its agent is back")?;
    forgotten?;
    healthy
}
