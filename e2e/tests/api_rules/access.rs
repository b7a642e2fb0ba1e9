//! Who may write what, and a control plane that comes back and leaves nothing behind.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::core::v1::{Namespace, Node};
use kube::api::{Api, ListParams, Patch, PatchParams};
use rdmamesh_api::RdmaNode;
use rdmamesh_e2e::control_plane::credentials::{self, Credential};
use rdmamesh_e2e::control_plane::{ControlPlane, nodes};
use rdmamesh_e2e::suite::SharedPlane;
use serde_json::json;

/// A client as an agent of this node has it.
async fn agent(plane: &ControlPlane, node: &str) -> Result<kube::Client> {
    let token = credentials::agent_token(&plane.client().await?, node).await?;
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("kubeconfig");
    let server = format!("https://127.0.0.1:{}", plane.api_port());
    let authority = plane.authority_certificate()?;
    credentials::write_kubeconfig(&path, &server, &authority, &Credential::Token(token))?;
    credentials::client(&path).await
}

async fn write_inventory(client: &kube::Client, node: &str) -> Result<(), kube::Error> {
    let api: Api<RdmaNode> = Api::all(client.clone());
    let object = json!({
        "apiVersion": "rdmamesh.io/v1alpha1", "kind": "RdmaNode", "metadata": {"name": node}, "spec": {},
    });
    let params = PatchParams::apply("rdmamesh-agent");
    api.patch(node, &params, &Patch::Apply(&object))
        .await
        .map(drop)
}

async fn make_node(client: &kube::Client, name: &str, last: u8) -> Result<()> {
    let facts = nodes::NodeFacts {
        name: name.into(),
        rack: "leaf1".into(),
        address: [10, 12, 0, last].into(),
        ready: true,
    };
    nodes::apply(client, &facts).await
}

/// An agent's token is bound to its Node, and the admission policy holds it to that.
pub fn an_agent_writes_only_its_own_node(shared: &SharedPlane) -> Result<()> {
    let plane = shared.plane()?;
    shared.wait(async {
        let admin = plane.client().await?;
        for (name, last) in [("host1", 2), ("host2", 3)] {
            make_node(&admin, name, last).await?;
        }
        let client = agent(plane, "host1").await?;
        // The policy takes effect a moment after it was created: wait for the refusal, which must come.
        let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
        let refusal = loop {
            match write_inventory(&client, "host2").await {
                Err(error) => break error.to_string(),
                Ok(()) if tokio::time::Instant::now() > deadline => {
                    bail!("the policy never refused")
                }
                Ok(()) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        };
        ensure!(
            refusal.contains("own node's objects only") && refusal.contains("host1"),
            "{refusal}"
        );
        write_inventory(&client, "host1")
            .await
            .context("its own node's object")?;
        let namespaces: Api<Namespace> = Api::all(client);
        let listed = namespaces.list(&ListParams::default()).await;
        ensure!(listed.is_err(), "agents have no business with namespaces");
        Ok(())
    })
}

/// What the scenarios' `apiServerDown` relies on, with a control plane of its own.
pub fn objects_survive_an_api_server_restart(shared: &SharedPlane) -> Result<()> {
    shared.wait(async {
        let mut plane = ControlPlane::start().await?;
        let client = plane.client().await?;
        make_node(&client, "host1", 2).await?;
        plane.stop_api_server().await?;
        ensure!(
            plane.ended() == ["kube-apiserver"],
            "ended: {:?}",
            plane.ended()
        );
        let api: Api<Node> = Api::all(client);
        ensure!(
            api.get("host1").await.is_err(),
            "somebody answers for a dead API server"
        );
        plane.start_api_server(&shared.layout).await?;
        let labels = api.get("host1").await?.metadata.labels.unwrap_or_default();
        ensure!(
            labels
                .get(nodes::RACK_LABEL)
                .is_some_and(|rack| rack == "leaf1"),
            "{labels:?}"
        );
        let (folder, port) = (plane.admin_kubeconfig(), plane.api_port());
        plane.stop().await?;
        drop(plane);
        ensure!(!folder.exists(), "its files are left behind");
        std::net::TcpListener::bind(("127.0.0.1", port)).context("the port is free again")?;
        Ok(())
    })
}
