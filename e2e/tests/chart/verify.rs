//! What `helm test` runs, against a real API server, with the rights that the chart gives it: the one sentence that a
//! newcomer gets for each mistake.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::{Api, DynamicObject, PostParams};
use rdmamesh_e2e::control_plane::credentials::{self, Credential, NAMESPACE};
use rdmamesh_e2e::control_plane::{ControlPlane, manifests};
use rdmamesh_e2e::suite::SharedPlane;
use serde_json::json;

/// A node whose device plugin is another one, an agent that waits for a resource that nobody has, and a node without
/// RDMA whose agent says so.
const CLUSTER: &str = "
apiVersion: v1
kind: Node
metadata: {name: gpu1}
---
apiVersion: v1
kind: Pod
metadata:
  name: rdmamesh-agent-x
  namespace: rdmamesh-system
  labels: {app.kubernetes.io/name: rdmamesh, app.kubernetes.io/component: agent}
spec:
  serviceAccountName: rdmamesh-agent
  containers: [{name: prober, image: none}]
---
apiVersion: rdmamesh.io/v1alpha1
kind: RdmaNode
metadata: {name: bare}
spec: {}
";

/// Run as the service account of the test's pod.
pub fn helm_test_says_what_is_missing(shared: &SharedPlane) -> Result<()> {
    let plane = shared.plane()?;
    let rights = shared
        .wait(
            shared
                .chart()?
                .template("{}", &["--show-only=templates/tests/verify.yaml"]),
        )?
        .succeeded()?;
    let folder = tempfile::tempdir()?;
    let kubeconfig = shared.wait(prepare(plane, &rights, folder.path()))?;
    let (well, said) = verify(shared, &kubeconfig, "rdma/typo")?;
    ensure!(!well, "it succeeded: {said}");
    for line in [
        "ok    api: RdmaMesh is served",
        "FAIL  operator: no replica leads, so nothing is planned: see `kubectl logs deployment/rdmamesh-operator`",
        "FAIL  devices: no node advertises rdma/typo, which the agents ask for; they advertise rdma/hca_shared_devices_a: \
         set deviceAccess.external.resourceName to the right one",
        "FAIL  agents: rdmamesh-agent-x is not ready: 0/1 nodes are available: 1 Insufficient rdma/typo.",
        "FAIL  rdma: 0 of ",
        "not covered: bare: no RDMA port here; do: load the driver of the RNIC",
    ] {
        ensure!(said.contains(line), "{line:?} is not in:\n{said}");
    }
    let (_, said) = verify(shared, &kubeconfig, "rdma/hca_shared_devices_a")?;
    ensure!(
        said.contains("nodes advertise rdma/hca_shared_devices_a\n"),
        "{said}"
    );
    Ok(())
}

fn verify(shared: &SharedPlane, kubeconfig: &Path, resource: &str) -> Result<(bool, String)> {
    let output = Command::new(shared.layout.product("rdmamesh-operator")?)
        .args(["verify", "--timeout-seconds=0", "--resource-name", resource])
        .env("KUBECONFIG", kubeconfig)
        .output()
        .context("run rdmamesh-operator")?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    Ok((output.status.success(), said))
}

/// Makes the cluster above, and the roles of `helm test`; a kubeconfig of its service account.
async fn prepare(plane: &ControlPlane, rights: &str, folder: &Path) -> Result<std::path::PathBuf> {
    let client = plane.client().await?;
    let objects: Vec<DynamicObject> = serde_saphyr::from_multiple(rights)?;
    let is_pod = |object: &DynamicObject| object.types.as_ref().is_some_and(|of| of.kind == "Pod");
    for object in objects.iter().filter(|object| !is_pod(object)) {
        manifests::apply(&client, object).await?;
    }
    manifests::apply_text(&client, CLUSTER).await?;
    for (kind, name, status) in [
        (
            "nodes",
            "gpu1",
            json!({"allocatable": {"rdma/hca_shared_devices_a": "63"}}),
        ),
        (
            "namespaces/rdmamesh-system/pods",
            "rdmamesh-agent-x",
            json!({"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
                "message": "0/1 nodes are available: 1 Insufficient rdma/typo."}]}),
        ),
        (
            "rdmanodes",
            "bare",
            json!({"doctor": [{"check": "RdmaDevice", "outcome": "Fail", "message": "no RDMA port here",
                "remedy": "load the driver of the RNIC"}]}),
        ),
    ] {
        let group = if kind == "rdmanodes" {
            "/apis/rdmamesh.io/v1alpha1"
        } else {
            "/api/v1"
        };
        let request = axum::http::Request::patch(format!("{group}/{kind}/{name}/status"))
            .header("content-type", "application/merge-patch+json")
            .body(json!({"status": status}).to_string().into_bytes())?;
        client
            .request_text(request)
            .await
            .with_context(|| format!("write the status of {name}"))?;
    }
    let accounts: Api<ServiceAccount> = Api::namespaced(client, NAMESPACE);
    let answer = accounts
        .create_token_request(
            "rdmamesh-verify",
            &PostParams::default(),
            &TokenRequest::default(),
        )
        .await?;
    let token = Credential::Token(answer.status.context("a token")?.token);
    let path = folder.join("kubeconfig");
    let server = format!("https://127.0.0.1:{}", plane.api_port());
    let authority = plane.authority_certificate()?;
    credentials::write_kubeconfig(&path, &server, &authority, &token)?;
    Ok(path)
}
