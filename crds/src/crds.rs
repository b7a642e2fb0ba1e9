//! The three CustomResourceDefinitions as they are installed: derived schema, cleaned of what an API
//! server warns about.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::Value;

use crate::{RdmaMesh, RdmaNode, RdmaProbeAssignment};

/// Every CustomResourceDefinition of the group, with the file name (below `crds/yaml`) it is kept in.
#[must_use]
pub fn all() -> Vec<(&'static str, CustomResourceDefinition)> {
    vec![
        ("rdmamesh.io_rdmameshes.yaml", clean(&RdmaMesh::crd())),
        (
            "rdmamesh.io_rdmaprobeassignments.yaml",
            clean(&RdmaProbeAssignment::crd()),
        ),
        ("rdmamesh.io_rdmanodes.yaml", clean(&RdmaNode::crd())),
    ]
}

/// One definition as YAML text with a trailing newline.
#[must_use]
pub fn yaml(crd: &CustomResourceDefinition) -> String {
    let mut text = serde_saphyr::to_string(crd).expect("a definition is plain data");
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text
}

fn clean(crd: &CustomResourceDefinition) -> CustomResourceDefinition {
    let mut value = serde_json::to_value(crd).expect("a definition is plain data");
    drop_foreign_formats(&mut value);
    serde_json::from_value(value).expect("removing formats keeps it a definition")
}

/// Kubernetes knows no unsigned formats and warns at every install; `minimum: 0` says the same.
fn drop_foreign_formats(value: &mut Value) {
    match value {
        Value::Object(map) => {
            let foreign = map
                .get("format")
                .and_then(Value::as_str)
                .is_some_and(|format| format.starts_with("uint"));
            if foreign {
                map.remove("format");
            }
            map.values_mut().for_each(drop_foreign_formats);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_foreign_formats),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
