//! Putting YAML into the API server, as `kubectl apply --server-side` does.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::discovery::{Scope, oneshot};

/// The rig's name as owner of fields.
pub const FIELD_MANAGER: &str = "rdmamesh-rig";
const CRDS_ESTABLISHED_WITHIN: Duration = Duration::from_secs(30);

/// Applies every document of a YAML text, in order.
///
/// # Errors
/// When a document cannot be parsed or the API server refuses it; the message names the object.
pub async fn apply_text(client: &kube::Client, text: &str) -> Result<()> {
    let objects: Vec<DynamicObject> =
        serde_saphyr::from_multiple(text).context("parse the manifests")?;
    for object in objects {
        apply(client, &object).await?;
    }
    Ok(())
}

/// Applies one object of any kind.
///
/// # Errors
/// When its kind is not served or the API server refuses it.
pub async fn apply(client: &kube::Client, object: &DynamicObject) -> Result<()> {
    let types = object
        .types
        .as_ref()
        .context("a manifest has apiVersion and kind")?;
    let name = object
        .metadata
        .name
        .as_deref()
        .context("a manifest has a name")?;
    let kind = GroupVersionKind::try_from(types).context("a manifest has a valid apiVersion")?;
    let (resource, capabilities) = oneshot::pinned_kind(client, &kind)
        .await
        .with_context(|| format!("look up {} {}", types.api_version, types.kind))?;
    let api: Api<DynamicObject> = match (capabilities.scope, &object.metadata.namespace) {
        (Scope::Namespaced, Some(namespace)) => {
            Api::namespaced_with(client.clone(), namespace, &resource)
        }
        (Scope::Namespaced, None) => bail!("{} {name} needs a namespace", types.kind),
        (Scope::Cluster, _) => Api::all_with(client.clone(), &resource),
    };
    let params = PatchParams::apply(FIELD_MANAGER).force();
    api.patch(name, &params, &Patch::Apply(object))
        .await
        .with_context(|| format!("apply {} {name}", types.kind))?;
    Ok(())
}

/// Applies the CRDs of a folder and waits until the API server serves them.
///
/// # Errors
/// When the folder holds none, one is refused or is not served in time.
pub async fn apply_crds(client: &kube::Client, folder: &Path) -> Result<()> {
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .with_context(|| format!("list {}", folder.display()))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "yaml")
        })
        .collect();
    files.sort();
    let mut names = Vec::new();
    for file in files {
        let text =
            std::fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
        let objects: Vec<DynamicObject> = serde_saphyr::from_multiple(&text)
            .with_context(|| format!("parse {}", file.display()))?;
        for object in objects {
            apply(client, &object).await?;
            names.extend(object.metadata.name);
        }
    }
    if names.is_empty() {
        bail!("{} holds no CRD", folder.display());
    }
    for name in names {
        wait_established(client, &name).await?;
    }
    Ok(())
}

async fn wait_established(client: &kube::Client, name: &str) -> Result<()> {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    let deadline = tokio::time::Instant::now() + CRDS_ESTABLISHED_WITHIN;
    loop {
        let crd = api
            .get(name)
            .await
            .with_context(|| format!("read the CRD {name}"))?;
        let conditions = crd
            .status
            .and_then(|status| status.conditions)
            .unwrap_or_default();
        let is = |kind: &str, status: &str| {
            conditions
                .iter()
                .any(|condition| condition.type_ == kind && condition.status == status)
        };
        if is("Established", "True") && is("NonStructuralSchema", "True") {
            bail!(
                "the CRD {name} has a schema that the API server does not enforce: {conditions:?}"
            );
        }
        if is("Established", "True") {
            return Ok(());
        }
        if tokio::time::Instant::now() >= deadline {
            bail!("the CRD {name} is not established: {conditions:?}");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
