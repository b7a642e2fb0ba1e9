//! JSON schemas for kubeconform, made from what is pinned anyway instead of downloaded: Kubernetes' own API description,
//! the Prometheus operator's CRDs and ours. Strict: a field that the API does not have is an error.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value, json};
use tokio::process::Command;

use crate::layout::Layout;

/// Where kubeconform finds the schema of a kind below the folder of [`write()`].
pub const LOCATION: &str = "{{.ResourceKind}}-{{.Group}}-{{.ResourceAPIVersion}}.json";
const REFERENCE: &str = "#/definitions/";

/// Writes the schemas of all kinds in `manifests` to `folder`.
///
/// # Errors
/// When a pinned module cannot be fetched, or a kind is of none of the three.
pub async fn write(layout: &Layout, manifests: &str, folder: &Path) -> Result<()> {
    let objects: Vec<Value> = serde_saphyr::from_multiple(manifests).context("parse manifests")?;
    let kubernetes = module(layout, "kubernetes", "k8s.io/kubernetes").await?;
    let api = read(&kubernetes.join("api/openapi-spec/swagger.json"))?;
    let api: Value = serde_json::from_str(&api).context("parse Kubernetes' API description")?;
    let monitoring = "github.com/prometheus-operator/prometheus-operator";
    let monitoring = module(layout, "prometheus-operator", monitoring).await?;
    let definitions = [
        monitoring.join("example/prometheus-operator-crd"),
        layout.workspace().join("crds/yaml"),
    ];
    std::fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    let kinds: BTreeSet<(String, String)> = objects
        .iter()
        .filter(|object| !object.is_null())
        .map(|object| (text(&object["apiVersion"]), text(&object["kind"])))
        .collect();
    for (api_version, kind) in kinds {
        let schema = match of_kubernetes(&api, &api_version, &kind) {
            Some(schema) => schema,
            None => of_crds(&definitions, &api_version, &kind)?,
        };
        // kubeconform's name of the core group.
        let (group, version) = api_version
            .split_once('/')
            .unwrap_or((&api_version, &api_version));
        let name = format!("{}-{group}-{version}.json", kind.to_lowercase());
        let path = folder.join(name);
        std::fs::write(&path, schema.to_string())
            .with_context(|| format!("write {}", path.display()))?;
    }
    Ok(())
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))
}

/// Folder of a Go module that `e2e/tools/<family>` pins.
///
/// # Errors
/// When Go cannot fetch it.
pub async fn module(layout: &Layout, family: &str, path: &str) -> Result<PathBuf> {
    let output = Command::new("go")
        .args(["mod", "download", "-json", path])
        .current_dir(layout.tool_module(family))
        .output()
        .await
        .context("run `go`: install Go 1.26 or later")?;
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    match answer["Dir"].as_str() {
        Some(folder) => Ok(folder.into()),
        None => bail!("`go mod download {path}` failed: {answer}"),
    }
}

fn of_kubernetes(api: &Value, api_version: &str, kind: &str) -> Option<Value> {
    let definitions = api["definitions"].as_object()?;
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let is_it = |definition: &Value| {
        let kinds = definition["x-kubernetes-group-version-kind"].as_array();
        kinds.into_iter().flatten().any(|known| {
            known["group"] == group && known["version"] == version && known["kind"] == kind
        })
    };
    let root = definitions
        .iter()
        .find(|(_, definition)| is_it(definition))?
        .0;
    let mut taken = Map::new();
    take(definitions, root, &mut taken);
    Some(json!({"$ref": format!("{REFERENCE}{root}"), "definitions": taken}))
}

/// Takes a definition and all that it refers to, made strict.
fn take(all: &Map<String, Value>, name: &str, taken: &mut Map<String, Value>) {
    if taken.contains_key(name) {
        return;
    }
    let Some(definition) = all.get(name) else {
        return;
    };
    let mut definition = match name.rsplit('.').next() {
        Some("IntOrString") => json!({"type": ["integer", "string"]}),
        Some("Quantity") => json!({"type": ["number", "string"]}),
        _ => definition.clone(),
    };
    make_strict(&mut definition);
    let references = references(&definition);
    taken.insert(name.to_owned(), definition);
    for reference in references {
        take(all, &reference, taken);
    }
}

fn references(value: &Value) -> Vec<String> {
    match value {
        Value::Object(fields) => {
            let own = fields
                .get("$ref")
                .and_then(Value::as_str)
                .and_then(|reference| reference.strip_prefix(REFERENCE));
            let deeper = fields.values().flat_map(references);
            own.map(str::to_owned).into_iter().chain(deeper).collect()
        }
        Value::Array(items) => items.iter().flat_map(references).collect(),
        _ => Vec::new(),
    }
}

/// Forbids fields that are not listed, and turns Kubernetes' own words into JSON Schema's.
fn make_strict(schema: &mut Value) {
    let Some(fields) = schema.as_object_mut() else {
        return;
    };
    let open = fields.remove("x-kubernetes-preserve-unknown-fields") == Some(json!(true));
    if fields.remove("x-kubernetes-int-or-string") == Some(json!(true)) {
        fields.remove("anyOf");
        fields.insert("type".to_owned(), json!(["integer", "string"]));
    }
    // The kinds of numbers are told by the type.
    fields.remove("format");
    if fields.contains_key("properties") && !fields.contains_key("additionalProperties") && !open {
        fields.insert("additionalProperties".to_owned(), json!(false));
    }
    let named = fields.get_mut("properties").and_then(Value::as_object_mut);
    named
        .into_iter()
        .flat_map(Map::values_mut)
        .for_each(make_strict);
    for deeper in ["items", "additionalProperties"] {
        if let Some(schema) = fields.get_mut(deeper) {
            make_strict(schema);
        }
    }
}

fn of_crds(folders: &[PathBuf], api_version: &str, kind: &str) -> Result<Value> {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    for folder in folders {
        let files = std::fs::read_dir(folder)
            .with_context(|| format!("list {}", folder.display()))?
            .filter_map(|entry| Some(entry.ok()?.path()));
        for file in files {
            let crd: Value = serde_saphyr::from_str(&read(&file)?)
                .with_context(|| format!("parse {}", file.display()))?;
            if crd["spec"]["group"] != group || crd["spec"]["names"]["kind"] != kind {
                continue;
            }
            let mut versions = crd["spec"]["versions"].as_array().into_iter().flatten();
            let served = versions
                .find(|served| served["name"] == version)
                .with_context(|| format!("the CRD of {kind} has no version {version}"))?;
            let mut schema = served["schema"]["openAPIV3Schema"].clone();
            for standard in ["apiVersion", "kind", "metadata"] {
                schema["properties"][standard] = json!({});
            }
            make_strict(&mut schema);
            return Ok(schema);
        }
    }
    bail!("nobody knows the kind {kind} of {api_version}")
}
