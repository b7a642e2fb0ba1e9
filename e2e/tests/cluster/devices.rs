//! RDMA devices under kubelet's device plugin protocol.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rdmamesh_e2e::cluster::release::Tools;
use rdmamesh_e2e::control_plane::credentials::NAMESPACE;
use rdmamesh_e2e::rig::Rig;

use crate::watch::during;
use crate::{play, until};

const MINUTES: Duration = Duration::from_secs(240);
const RESOURCE: &str = r"jsonpath={.status.allocatable.rdmamesh\.io/rdma}";

/// How often a node's device plugin has registered with its kubelet, as it logs.
async fn registrations(tools: &Tools, host: &str) -> Result<usize> {
    let node = format!("--field-selector=spec.nodeName={host}");
    let pod = tools
        .kubectl(&[
            "-n",
            NAMESPACE,
            "get",
            "pods",
            "-l",
            "app.kubernetes.io/component=device-plugin",
            &node,
            "-o",
            "name",
        ])
        .await?;
    let logs = tools
        .kubectl(&["-n", NAMESPACE, "logs", pod.trim()])
        .await?;
    Ok(logs.matches("registered with the kubelet").count())
}

/// Kubelet forgets every device when it starts; the plugin tells it again.
pub async fn a_restarted_kubelet_keeps_agents_and_devices(rig: &mut Rig) -> Result<()> {
    let tools = rig.tools();
    let before = rig.agent_pid("host2").await?.context("an agent runs")?;
    let registered = registrations(&tools, "host2").await?;
    let guest = rig.guest();
    let folder = rig.folder().to_path_buf();
    let restart = async {
        let node = rdmamesh_e2e::cluster::node::Node::of(&guest, &folder, "host2");
        node.stop_kubelet().await?;
        node.start_kubelet().await?;
        // The node's own numbers may be from before the restart.
        until("the device plugin registers again", MINUTES, async || {
            let now = registrations(&tools, "host2").await?;
            ensure!(now > registered, "{now} registrations, {registered} before");
            let allocatable = tools
                .kubectl(&["get", "node", "host2", "-o", RESOURCE])
                .await?;
            ensure!(
                !matches!(allocatable.trim(), "" | "0"),
                "allocatable: {allocatable:?}"
            );
            let ready = tools
                .kubectl(&[
                    "wait",
                    "node/host2",
                    "--for=condition=Ready",
                    "--timeout=5s",
                ])
                .await?;
            ensure!(ready.contains("condition met"), "{ready}");
            Ok(())
        })
        .await
    };
    let ((), seen) = during(rig, restart).await?;
    ensure!(
        rig.agent_pid("host2").await? == Some(before),
        "the agent was restarted"
    );
    seen.quiet()
}

/// The prober lets go of the device and takes it up again, in the same process.
pub async fn an_rdma_device_that_goes_and_comes_back_needs_no_new_pod(rig: &mut Rig) -> Result<()> {
    let before = rig.agent_pid("host2").await?;
    play(
        rig,
        "
mesh: {}
steps:
  - fault: {id: gone, kind: rdmaRemove, host: host2}
  - expect: {condition: FabricHealthy, status: \"False\", within: 90s, suspects: [{kind: Rnic, name: host2/rxe2}]}
  - clear: {id: gone}
  - expect: {condition: FabricHealthy, status: \"True\", suspects: [], within: 180s}
",
    )
    .await?;
    ensure!(
        rig.agent_pid("host2").await? == before,
        "the agent was restarted"
    );
    Ok(())
}

/// The pod starts where there is no device, and the inventory says what is missing.
pub async fn a_node_without_rdma_is_told_of_and_its_agent_is_not_pending(
    rig: &mut Rig,
) -> Result<()> {
    let tools = rig.tools();
    let gone = serde_json::from_value(serde_json::json!({"kind": "rdmaRemove", "host": "host4"}))?;
    rig.apply_fault("no-rdma", gone).await?;
    let before = rig.agent_pid("host4").await?;
    tools
        .kubectl(&[
            "-n",
            NAMESPACE,
            "delete",
            "pod",
            "--field-selector=spec.nodeName=host4",
            "-l",
            "app.kubernetes.io/component=agent",
            "--wait=false",
        ])
        .await?;
    rig.with_node("host4", async |node| node.wait_agent(before).await)
        .await
        .context("the agent of a node without RDMA is started")?;
    let told = until("the inventory tells it", MINUTES, async || {
        let ports = tools
            .kubectl(&["get", "rdmanode", "host4", "-o", "jsonpath={.status.ports}"])
            .await?;
        ensure!(matches!(ports.trim(), "" | "[]"), "ports: {ports}");
        let conditions = tools
            .kubectl(&[
                "get",
                "rdmanode",
                "host4",
                "-o",
                "jsonpath={.status.conditions}",
            ])
            .await?;
        ensure!(conditions.contains("\"status\":\"False\""), "{conditions}");
        Ok(conditions)
    })
    .await;
    rig.clear_fault("no-rdma").await?;
    told.map(drop)
}
