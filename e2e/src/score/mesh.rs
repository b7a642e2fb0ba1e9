//! A mesh for the simulator from the spec of a RdmaMesh, by the operator's own validation.

use rdmamesh_api::RdmaMeshSpec;
use rdmamesh_fabric::simulate::Mesh;
use rdmamesh_operator::validate::{InvalidMesh, validate};
use rdmamesh_operator::watch::MeshView;
use serde_json::Value;

/// Why a spec makes no mesh.
#[derive(Debug, thiserror::Error)]
pub enum MeshError {
    /// It is no spec of a RdmaMesh.
    #[error("{0}")]
    Unreadable(#[from] serde_json::Error),
    /// It has keys that a RdmaMesh does not have.
    #[error("a RdmaMesh has no spec.{}; `kubectl explain rdmamesh.spec` lists what it has", .0.join(", spec."))]
    Unknown(Vec<String>),
    /// The operator would not plan it.
    #[error(transparent)]
    Invalid(#[from] InvalidMesh),
}

/// The mesh of a spec; what is left out has the API's defaults.
///
/// # Errors
/// When the spec has unknown keys or can never work.
pub fn mesh_of(spec: &Value) -> Result<Mesh, MeshError> {
    let mut unknown = Vec::new();
    let spec: RdmaMeshSpec = if spec.is_null() {
        RdmaMeshSpec::default()
    } else {
        serde_ignored::deserialize(spec, |path| unknown.push(path.to_string()))?
    };
    if !unknown.is_empty() {
        return Err(MeshError::Unknown(unknown));
    }
    let timeout_ratio = spec.thresholds.rnic_timeout_ratio;
    let valid = validate(&MeshView {
        name: "sim".to_owned(),
        uid: String::new(),
        generation: 1,
        deleting: false,
        spec: Ok(spec),
        status: None,
    })?;
    Ok(Mesh {
        policy: valid.policy,
        tolerance: valid.tolerance,
        rnic_timeout_ratio: timeout_ratio,
    })
}
