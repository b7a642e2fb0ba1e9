//! T1: the rig's control plane by itself: access rules, node identity, restart, nothing left behind.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Namespace, Node};
use kube::api::{Api, DynamicObject, ListParams, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use rdmamesh_e2e::control_plane::credentials::{self, Credential};
use rdmamesh_e2e::control_plane::{ControlPlane, nodes};
use rdmamesh_e2e::layout::Layout;
use serde_json::json;

/// A client as an agent of this node has it.
async fn agent(plane: &ControlPlane, node: &str) -> kube::Client {
    let admin = plane.client().await.expect("administrator's client");
    let token = credentials::agent_token(&admin, node).await.expect("token");
    let folder = tempfile::tempdir().expect("temporary folder");
    let path = folder.path().join("kubeconfig");
    let server = format!("https://127.0.0.1:{}", plane.api_port());
    let authority = plane.authority_certificate().expect("certificate");
    credentials::write_kubeconfig(&path, &server, &authority, &Credential::Token(token))
        .expect("kubeconfig");
    credentials::client(&path).await.expect("agent's client")
}

async fn write_inventory(client: &kube::Client, node: &str) -> Result<(), kube::Error> {
    let kind = GroupVersionKind::gvk("rdmamesh.io", "v1alpha1", "RdmaNode");
    let api: Api<DynamicObject> = Api::all_with(
        client.clone(),
        &ApiResource::from_gvk_with_plural(&kind, "rdmanodes"),
    );
    let object = json!({"apiVersion": "rdmamesh.io/v1alpha1", "kind": "RdmaNode", "metadata": {"name": node}, "spec": {}});
    let params = PatchParams::apply("rdmamesh-agent");
    api.patch(node, &params, &Patch::Apply(&object))
        .await
        .map(|_| ())
}

#[tokio::test]
#[ignore = "T1: needs a real kube-apiserver and etcd"]
async fn an_agent_may_write_its_own_nodes_objects_only() {
    let plane = ControlPlane::start().await.expect("control plane");
    let admin = plane.client().await.expect("administrator's client");
    for (name, last) in [("host1", 2), ("host2", 3)] {
        let facts = nodes::NodeFacts {
            name: name.into(),
            rack: "leaf1".into(),
            address: [10, 12, 0, last].into(),
            ready: true,
        };
        nodes::apply(&admin, &facts).await.expect("node");
    }
    let client = agent(&plane, "host1").await;
    // The policy takes effect a moment after it was created: wait for the refusal, which must come.
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    let refusal = loop {
        match write_inventory(&client, "host2").await {
            Err(error) => break error.to_string(),
            Ok(()) => assert!(
                tokio::time::Instant::now() < deadline,
                "the policy never refused"
            ),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert!(refusal.contains("own node's objects only"), "{refusal}");
    assert!(refusal.contains("host1"), "{refusal}");
    write_inventory(&client, "host1")
        .await
        .expect("its own node's object");
    let all: Api<Namespace> = Api::all(client);
    all.list(&ListParams::default())
        .await
        .expect_err("agents have no business with namespaces");
}

#[tokio::test]
#[ignore = "T1: needs a real kube-apiserver and etcd"]
async fn objects_survive_an_api_server_restart_and_nothing_outlives_the_control_plane() {
    let layout = Layout::of_workspace().expect("work tree");
    let mut plane = ControlPlane::start().await.expect("control plane");
    let client = plane.client().await.expect("administrator's client");
    let facts = nodes::NodeFacts {
        name: "host1".into(),
        rack: "leaf1".into(),
        address: [10, 12, 0, 2].into(),
        ready: true,
    };
    nodes::apply(&client, &facts).await.expect("node");
    plane.stop_api_server().await.expect("it ends");
    assert_eq!(plane.ended(), ["kube-apiserver"]);
    let api: Api<Node> = Api::all(client);
    api.get("host1").await.expect_err("nobody answers");
    plane.start_api_server(&layout).await.expect("it is back");
    let node = api.get("host1").await.expect("the node is still there");
    assert_eq!(
        node.metadata.labels.expect("labels")[nodes::RACK_LABEL],
        "leaf1"
    );
    let folder = plane.admin_kubeconfig();
    let port = plane.api_port();
    plane.stop().await.expect("it ends");
    drop(plane);
    assert!(!folder.exists(), "files are removed");
    std::net::TcpListener::bind(("127.0.0.1", port)).expect("the port is free again");
}
