//! What an agent's own token can be made to do, and what `kubectl auth can-i` says.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::core::v1::{Node, Secret};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use rdmamesh_api::{RdmaMesh, RdmaNode, RdmaProbeAssignment};
use rdmamesh_e2e::control_plane::credentials::{self, Credential, NAMESPACE};
use rdmamesh_e2e::control_plane::{ControlPlane, manifests, nodes};
use rdmamesh_e2e::progress::Progress;
use rdmamesh_e2e::suite::SharedPlane;
use rdmamesh_e2e::tools::{Tool, go};
use serde_json::{Value, json};
use tokio::time::Instant;

/// A client as the agent of this node has it.
async fn agent_of(plane: &ControlPlane, node: &str) -> Result<kube::Client> {
    let token = credentials::agent_token(&plane.client().await?, node).await?;
    with_token(plane, token).await
}

async fn with_token(plane: &ControlPlane, token: String) -> Result<kube::Client> {
    let folder = tempfile::tempdir()?;
    let path = kubeconfig(plane, token, folder.path())?;
    credentials::client(&path).await
}

fn kubeconfig(
    plane: &ControlPlane,
    token: String,
    folder: &std::path::Path,
) -> Result<std::path::PathBuf> {
    let path = folder.join("kubeconfig");
    let server = format!("https://127.0.0.1:{}", plane.api_port());
    let authority = plane.authority_certificate()?;
    credentials::write_kubeconfig(&path, &server, &authority, &Credential::Token(token))?;
    Ok(path)
}

fn refusal<T>(answer: Result<T, kube::Error>, what: &str) -> Result<String> {
    match answer {
        Ok(_) => bail!("an agent could {what}"),
        Err(kube::Error::Api(status)) if status.code == 403 => Ok(status.message),
        Err(error) => Err(error).with_context(|| format!("it tried to {what}")),
    }
}

const OBJECTS: &str = "
{apiVersion: rdmamesh.io/v1alpha1, kind: RdmaMesh, metadata: {name: fabric}, spec: {}}
---
{apiVersion: rdmamesh.io/v1alpha1, kind: RdmaNode, metadata: {name: victim}, spec: {}}
---
{apiVersion: rdmamesh.io/v1alpha1, kind: RdmaProbeAssignment, metadata: {name: victim}, spec: {meshes: []}}
---
{apiVersion: rdmamesh.io/v1alpha1, kind: RdmaProbeAssignment, metadata: {name: thief}, spec: {meshes: []}}
---
{apiVersion: v1, kind: Secret, metadata: {name: rdmamesh-probe-keys, namespace: rdmamesh-system}}
";

async fn prepare(client: &kube::Client) -> Result<()> {
    for (name, last) in [("thief", 12), ("victim", 13)] {
        let facts = nodes::NodeFacts {
            name: name.into(),
            rack: "leaf1".into(),
            address: [10, 12, 0, last].into(),
            ready: true,
        };
        nodes::apply(client, &facts).await?;
    }
    manifests::apply_text(client, OBJECTS).await
}

/// A server-side apply to an object of cluster scope, as the agent writes.
fn apply(kind: &str, name: &str, part: &str, value: &Value) -> Value {
    json!({"apiVersion": "rdmamesh.io/v1alpha1", "kind": kind, "metadata": {"name": name}, part: value})
}

/// With the token of the agent of node `thief`.
pub fn an_agent_is_held_to_its_node(shared: &SharedPlane) -> Result<()> {
    let plane = shared.plane()?;
    shared.wait(async {
        let admin = plane.client().await?;
        prepare(&admin).await?;
        let client = agent_of(plane, "thief").await?;
        let params = PatchParams::apply("thief").force();
        let nodes: Api<RdmaNode> = Api::all(client.clone());
        let assignments: Api<RdmaProbeAssignment> = Api::all(client.clone());
        let inventory = Patch::Apply(apply("RdmaNode", "victim", "spec", &json!({})));
        wait_for_the_policy(&nodes, &inventory).await?;

        let policy = "an agent may write its own node's objects only: the token is of node \"thief\", the object is \"victim\"";
        let said = refusal(nodes.patch("victim", &params, &inventory).await, "write another's RdmaNode")?;
        ensure!(said.contains(policy), "{said}");
        let lie = Patch::Apply(apply("RdmaNode", "victim", "status", &json!({"agentVersion": "lie"})));
        let said = refusal(nodes.patch_status("victim", &params, &lie).await, "write another's readiness")?;
        ensure!(said.contains(policy), "{said}");
        let lie = Patch::Apply(apply("RdmaProbeAssignment", "victim", "status", &json!({"epoch": "lie"})));
        let said = refusal(assignments.patch_status("victim", &params, &lie).await, "report for another")?;
        ensure!(said.contains(policy), "{said}");
        let new = serde_json::from_value(apply("RdmaNode", "made-up", "spec", &json!({})))?;
        let said = refusal(nodes.create(&PostParams::default(), &new).await, "make a RdmaNode of no node")?;
        ensure!(said.contains("the object is \"made-up\""), "{said}");

        let own = Patch::Apply(apply("RdmaNode", "thief", "spec", &json!({})));
        nodes.patch("thief", &params, &own).await.context("its own RdmaNode")?;
        let own = Patch::Apply(apply("RdmaProbeAssignment", "thief", "status", &json!({"epoch": "e"})));
        assignments.patch_status("thief", &params, &own).await.context("its own report")?;
        beyond_its_role(&client, &params).await?;
        unbound(plane, &inventory).await
    })
}

/// What RBAC refuses, whatever the name.
async fn beyond_its_role(client: &kube::Client, params: &PatchParams) -> Result<()> {
    let assignments: Api<RdmaProbeAssignment> = Api::all(client.clone());
    let plan = Patch::Apply(apply(
        "RdmaProbeAssignment",
        "thief",
        "spec",
        &json!({"meshes": []}),
    ));
    refusal(
        assignments.patch("thief", params, &plan).await,
        "plan for itself",
    )?;
    let delete = DeleteParams::default();
    refusal(
        assignments.delete("thief", &delete).await,
        "delete its assignment",
    )?;
    let meshes: Api<RdmaMesh> = Api::all(client.clone());
    let edit = Patch::Merge(json!({"spec": {"suspend": true}}));
    let said = refusal(
        meshes.patch("fabric", &PatchParams::default(), &edit).await,
        "edit a mesh",
    )?;
    ensure!(
        said.contains("cannot patch resource \"rdmameshes\""),
        "{said}"
    );
    let secrets: Api<Secret> = Api::namespaced(client.clone(), NAMESPACE);
    let said = refusal(
        secrets.get("rdmamesh-probe-keys").await,
        "read the probe keys",
    )?;
    ensure!(said.contains("cannot get resource \"secrets\""), "{said}");
    let cluster: Api<Node> = Api::all(client.clone());
    let taint = Patch::Merge(json!({"spec": {"unschedulable": true}}));
    refusal(
        cluster
            .patch("thief", &PatchParams::default(), &taint)
            .await,
        "cordon its node",
    )?;
    Ok(())
}

/// A token that is bound to no node is nobody's.
async fn unbound(plane: &ControlPlane, inventory: &Patch<Value>) -> Result<()> {
    let accounts: Api<k8s_openapi::api::core::v1::ServiceAccount> =
        Api::namespaced(plane.client().await?, NAMESPACE);
    let request = k8s_openapi::api::authentication::v1::TokenRequest::default();
    let answer = accounts
        .create_token_request("rdmamesh-agent", &PostParams::default(), &request)
        .await?;
    let token = answer.status.context("a token")?.token;
    let nodes: Api<RdmaNode> = Api::all(with_token(plane, token).await?);
    let params = PatchParams::apply("thief").force();
    let said = refusal(
        nodes.patch("victim", &params, inventory).await,
        "write without a node",
    )?;
    ensure!(said.contains("the token is of node \"\""), "{said}");
    Ok(())
}

/// A policy takes effect a moment after it was created.
async fn wait_for_the_policy(nodes: &Api<RdmaNode>, forbidden: &Patch<Value>) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(60);
    while nodes
        .patch("victim", &PatchParams::apply("thief").force(), forbidden)
        .await
        .is_ok()
    {
        ensure!(Instant::now() < deadline, "the policy never refused");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

/// Prints `kubectl auth can-i --list` of both service accounts, and looks that it shows their roles.
#[expect(
    clippy::print_stdout,
    reason = "the lists are what the test is asked to show"
)]
pub fn kubectl_lists_the_rights(shared: &SharedPlane) -> Result<()> {
    shared.wait(go::ensure(
        &shared.layout,
        &Progress::new(),
        &[Tool::Kubectl],
    ))?;
    let plane = shared.plane()?;
    for (account, wanted) in [
        ("rdmamesh-operator", "rdmameshes.rdmamesh.io/status"),
        ("rdmamesh-agent", "rdmanodes.rdmamesh.io/status"),
    ] {
        let user = format!("system:serviceaccount:{NAMESPACE}:{account}");
        let output = std::process::Command::new(Tool::Kubectl.path(&shared.layout))
            .args([
                "auth",
                "can-i",
                "--list",
                "--namespace",
                NAMESPACE,
                "--as",
                &user,
            ])
            .args([
                "--as-group",
                "system:serviceaccounts",
                "--as-group",
                "system:authenticated",
            ])
            .env("KUBECONFIG", plane.admin_kubeconfig())
            .output()
            .context("run kubectl")?;
        let list = String::from_utf8_lossy(&output.stdout);
        println!("$ kubectl auth can-i --list -n {NAMESPACE} --as {user}\n{list}");
        ensure!(list.contains(wanted), "{account}: {list}");
        ensure!(
            !list.contains("secrets") && !list.contains("*.*"),
            "{account}: {list}"
        );
    }
    Ok(())
}
