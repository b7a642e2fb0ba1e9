//! A release of the chart in a real API server: no pod runs there, every object is real.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{Namespace, Secret};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DynamicObject, ListParams, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::discovery::oneshot;
use rdmamesh_api::RdmaMesh;
use rdmamesh_e2e::chart::{Chart, schemas};
use rdmamesh_e2e::child::{Lifetime, free_port};
use rdmamesh_e2e::control_plane::credentials::NAMESPACE;
use rdmamesh_e2e::control_plane::{ControlPlane, Nodes, manifests};
use rdmamesh_e2e::suite::SharedPlane;
use serde_json::{Value, json};

const KEYS: &str = "rdmamesh-probe-keys";
const MESHES: &str = "rdmameshes.rdmamesh.io";
/// Every kind that the chart installs and that goes with it.
const KINDS: &[(&str, &str, &str)] = &[
    ("", "v1", "ServiceAccount"),
    ("", "v1", "Secret"),
    ("", "v1", "Service"),
    ("apps", "v1", "Deployment"),
    ("apps", "v1", "DaemonSet"),
    ("policy", "v1", "PodDisruptionBudget"),
    ("networking.k8s.io", "v1", "NetworkPolicy"),
    ("rbac.authorization.k8s.io", "v1", "ClusterRole"),
    ("rbac.authorization.k8s.io", "v1", "ClusterRoleBinding"),
    ("rbac.authorization.k8s.io", "v1", "Role"),
    ("rbac.authorization.k8s.io", "v1", "RoleBinding"),
    (
        "admissionregistration.k8s.io",
        "v1",
        "ValidatingAdmissionPolicy",
    ),
    (
        "admissionregistration.k8s.io",
        "v1",
        "ValidatingAdmissionPolicyBinding",
    ),
    ("monitoring.coreos.com", "v1", "ServiceMonitor"),
    ("monitoring.coreos.com", "v1", "PodMonitor"),
    ("monitoring.coreos.com", "v1", "PrometheusRule"),
];
const MONITORING: &str = "monitoring: {serviceMonitor: {enabled: true}, podMonitor: {enabled: true}, prometheusRule: {enabled: true}}";

/// Installed from a chart with an older CRD, upgraded to this one, its keys rotated, and removed.
pub fn a_release_lives(shared: &SharedPlane) -> Result<()> {
    let chart = shared.chart()?;
    let folder = shared.layout.run(&format!(
        "api-release-{}-{}",
        std::process::id(),
        free_port()?
    ));
    shared.wait(async {
        // Bare: what the rig's processes need would belong to nobody's release.
        let start =
            ControlPlane::start_in(&shared.layout, folder.clone(), Lifetime::Tied, &Nodes::None);
        let plane = start.await?;
        let client = plane.client().await?;
        let chart = chart.in_cluster(&plane.admin_kubeconfig());
        let outcome = live(shared, &chart, &client).await;
        plane.stop().await?;
        outcome?;
        std::fs::remove_dir_all(&folder).context("remove the control plane's files")
    })
}

async fn live(shared: &SharedPlane, chart: &Chart, client: &kube::Client) -> Result<()> {
    let monitoring = "github.com/prometheus-operator/prometheus-operator";
    let monitoring = schemas::module(&shared.layout, "prometheus-operator", monitoring).await?;
    let crds = monitoring.join("example/prometheus-operator-crd");
    manifests::apply_crds(client, &crds).await?;

    let older = tempfile::tempdir()?;
    make_older(chart.folder(), older.path())?;
    chart
        .in_folder(older.path())
        .upgrade("{}", &[])
        .await?
        .succeeded()
        .context("install")?;
    ensure!(
        !columns(client).await?.contains(&"Age".to_owned()),
        "the older CRD is not older"
    );
    let first = keys(client).await?;
    ensure!(
        first.keys().eq(["1", "active"]) && first["active"] == "1",
        "{:?}",
        first.keys()
    );
    ensure!(
        first["1"].len() == 44,
        "32 bytes in base64 are 44 characters"
    );

    chart
        .upgrade(MONITORING, &[])
        .await?
        .succeeded()
        .context("upgrade")?;
    ensure!(
        columns(client).await?.contains(&"Age".to_owned()),
        "CRDs are not upgraded"
    );
    ensure!(
        keys(client).await? == first,
        "an upgrade changed the probe key"
    );
    for (group, version, kind) in KINDS {
        let found = of_release(client, group, version, kind).await?;
        ensure!(!found.is_empty(), "the chart installs no {kind}");
    }
    rotate(chart, client, &first).await?;

    let mesh =
        "{apiVersion: rdmamesh.io/v1alpha1, kind: RdmaMesh, metadata: {name: fabric}, spec: {}}";
    manifests::apply_text(client, mesh).await?;
    chart.uninstall().await?.succeeded().context("uninstall")?;
    for (group, version, kind) in KINDS {
        let left = of_release(client, group, version, kind).await?;
        ensure!(left.is_empty(), "uninstall leaves {kind} {left:?}");
    }
    let meshes: Api<RdmaMesh> = Api::all(client.clone());
    meshes
        .get("fabric")
        .await
        .context("uninstall took the user's mesh")?;
    chart
        .upgrade("{}", &[])
        .await?
        .succeeded()
        .context("install again over the CRDs that were kept")?;
    Ok(())
}

/// Two keys, then the new one signs, then it is alone; each step refuses what would cost probes.
async fn rotate(
    chart: &Chart,
    client: &kube::Client,
    first: &BTreeMap<String, String>,
) -> Result<()> {
    let said = chart
        .upgrade("probeKeys: {ids: [1, 2], active: 2}", &[])
        .await?
        .refused()?;
    ensure!(
        said.contains("key 2 is new and no agent has it yet"),
        "{said}"
    );
    chart
        .upgrade("probeKeys: {ids: [1, 2]}", &[])
        .await?
        .succeeded()?;
    let both = keys(client).await?;
    ensure!(
        both["1"] == first["1"] && both["active"] == "1" && both["2"] != both["1"],
        "{:?}",
        both.keys()
    );
    chart
        .upgrade("probeKeys: {active: 2}", &[])
        .await?
        .succeeded()?;
    let signs = keys(client).await?;
    ensure!(
        signs["active"] == "2" && signs["1"] == both["1"] && signs["2"] == both["2"],
        "{:?}",
        signs.keys()
    );
    chart
        .upgrade("probeKeys: {ids: [2]}", &[])
        .await?
        .succeeded()?;
    let last = keys(client).await?;
    ensure!(
        last.keys().eq(["2", "active"]) && last["2"] == both["2"],
        "{:?}",
        last.keys()
    );
    // Who forgets the values of the rotation later loses nothing.
    chart.upgrade("{}", &[]).await?.succeeded()?;
    ensure!(
        keys(client).await? == last,
        "values without probeKeys changed the keys"
    );
    Ok(())
}

async fn keys(client: &kube::Client) -> Result<BTreeMap<String, String>> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), NAMESPACE);
    let data = secrets
        .get(KEYS)
        .await?
        .data
        .context("the Secret has keys")?;
    data.into_iter()
        .map(|(name, ByteString(bytes))| Ok((name, String::from_utf8(bytes)?)))
        .collect()
}

async fn columns(client: &kube::Client) -> Result<Vec<String>> {
    let crds: Api<CustomResourceDefinition> = Api::all(client.clone());
    let versions = crds.get(MESHES).await?.spec.versions;
    let columns = versions
        .into_iter()
        .flat_map(|version| version.additional_printer_columns);
    Ok(columns.flatten().map(|column| column.name).collect())
}

/// Names of the release's objects of a kind. Helm's own record of a release is not one of them.
async fn of_release(
    client: &kube::Client,
    group: &str,
    version: &str,
    kind: &str,
) -> Result<Vec<String>> {
    let kind = GroupVersionKind::gvk(group, version, kind);
    let (resource, _) = oneshot::pinned_kind(client, &kind).await?;
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
    let ours = ListParams::default().labels("app.kubernetes.io/name=rdmamesh");
    Ok(api
        .list(&ours)
        .await?
        .into_iter()
        .filter_map(|object| object.metadata.name)
        .collect())
}

/// A copy of the chart, whose RdmaMesh CRD lacks its last printer column.
fn make_older(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from).with_context(|| format!("list {}", from.display()))? {
        let (path, name) = entry.map(|entry| (entry.path(), entry.file_name()))?;
        if path.is_dir() {
            make_older(&path, &to.join(name))?;
        } else if name == "rdmamesh.io_rdmameshes.yaml" {
            let mut crd: Value = serde_saphyr::from_str(&std::fs::read_to_string(&path)?)?;
            let Some(columns) =
                crd["spec"]["versions"][0]["additionalPrinterColumns"].as_array_mut()
            else {
                bail!("the CRD has no printer columns");
            };
            columns.retain(|column| column["name"] != "Age");
            std::fs::write(to.join(name), crd.to_string())?;
        } else {
            std::fs::copy(&path, to.join(name))?;
        }
    }
    Ok(())
}

/// What only the cluster can tell: said by `helm install`, before anything is made.
pub fn what_cannot_work_is_refused(shared: &SharedPlane) -> Result<()> {
    let plane = shared.plane()?;
    let chart = shared.chart()?.in_cluster(&plane.admin_kubeconfig());
    shared.wait(async {
        let namespaces: Api<Namespace> = Api::all(plane.client().await?);
        let folder = chart.folder().display().to_string();
        let install = |namespace: &'static str| {
            vec!["install".to_owned(), "trial".into(), folder.clone(), "-n".into(), namespace.into(), "--values".into(), "-".into()]
        };
        for (namespace, labels, values, wanted) in [
            (
                "strict",
                json!({"pod-security.kubernetes.io/enforce": "baseline"}),
                "{}",
                "namespace strict enforces the Pod Security level baseline, which forbids the host's network that agents probe from: run `kubectl label namespace strict pod-security.kubernetes.io/enforce=privileged --overwrite`",
            ),
            (
                "keyless",
                json!({}),
                "probeKeys: {existingSecret: mine}",
                "there is no Secret mine in namespace keyless: make it with `kubectl -n keyless create secret generic mine",
            ),
        ] {
            let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": labels}});
            let params = PatchParams::apply("test").force();
            namespaces.patch(namespace, &params, &Patch::Apply(object)).await?;
            let arguments = install(namespace);
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            let said = chart.helm(&arguments, values).await?.refused()?;
            ensure!(said.contains(wanted), "{said}");
        }
        Ok(())
    })
}
