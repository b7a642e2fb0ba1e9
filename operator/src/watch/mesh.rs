//! What is kept of a `RdmaMesh`.

use k8s_openapi::jiff::Timestamp;
use kube::Resource;
use kube::core::DeserializeGuard;
use rdmamesh_api::{RdmaMesh, RdmaMeshSpec, RdmaMeshStatus};

use super::{Triggers, View};

/// A mesh as the API server shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct MeshView {
    /// Name.
    pub name: String,
    /// Changes when the mesh is deleted and created again.
    pub uid: String,
    /// Changes with the spec.
    pub generation: i64,
    /// Deletion was asked for.
    pub deleting: bool,
    /// The spec, or why it cannot be read (written under an older or newer schema).
    pub spec: Result<RdmaMeshSpec, String>,
    /// The status as last written.
    pub status: Option<RdmaMeshStatus>,
}

impl View for MeshView {
    type Object = DeserializeGuard<RdmaMesh>;

    fn of(object: Self::Object, _now: Timestamp) -> Self {
        let meta = object.meta().clone();
        let (spec, status) = match object.0 {
            Ok(mesh) => (Ok(mesh.spec), mesh.status),
            Err(invalid) => (Err(invalid.error), None),
        };
        Self {
            name: meta.name.unwrap_or_default(),
            uid: meta.uid.unwrap_or_default(),
            generation: meta.generation.unwrap_or_default(),
            deleting: meta.deletion_timestamp.is_some(),
            spec,
            status,
        }
    }

    fn name(&self) -> &str {
        &self.name
    }

    /// Status-only changes are our own and change nothing.
    fn triggers(old: Option<&Self>, new: Option<&Self>) -> Triggers {
        let key = |view: &Self| (view.uid.clone(), view.generation, view.deleting);
        let changed = old.map(key) != new.map(key);
        Triggers {
            plan: changed,
            judge: changed,
            act: changed,
            ..Triggers::default()
        }
    }
}

/// The name under which a mesh's Events and statuses are written.
impl From<&MeshView> for k8s_openapi::api::core::v1::ObjectReference {
    fn from(view: &MeshView) -> Self {
        Self {
            api_version: Some(RdmaMesh::api_version(&()).into_owned()),
            kind: Some(RdmaMesh::kind(&()).into_owned()),
            name: Some(view.name.clone()),
            uid: Some(view.uid.clone()),
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use kube::api::ObjectMeta;

    use super::*;

    fn mesh(generation: i64) -> DeserializeGuard<RdmaMesh> {
        let mut mesh = RdmaMesh::new("m", RdmaMeshSpec::default());
        mesh.metadata = ObjectMeta {
            generation: Some(generation),
            uid: Some("u".to_owned()),
            ..mesh.metadata
        };
        DeserializeGuard(Ok(mesh))
    }

    #[test]
    fn only_a_new_generation_or_identity_asks_for_a_plan() {
        let old = MeshView::of(mesh(1), Timestamp::UNIX_EPOCH);
        let mut status_only = old.clone();
        status_only.status = Some(RdmaMeshStatus::default());
        assert_eq!(
            MeshView::triggers(Some(&old), Some(&status_only)),
            Triggers::default()
        );
        let edited = MeshView::of(mesh(2), Timestamp::UNIX_EPOCH);
        assert!(MeshView::triggers(Some(&old), Some(&edited)).plan);
        assert!(MeshView::triggers(None, Some(&old)).plan);
        assert!(MeshView::triggers(Some(&old), None).plan);
    }

    #[test]
    fn a_mesh_that_cannot_be_read_is_still_seen() {
        let broken = serde_json::from_value(serde_json::json!({
            "apiVersion": "rdmamesh.io/v1alpha1",
            "kind": "RdmaMesh",
            "metadata": {"name": "m"},
            "spec": {"suspend": "perhaps"},
        }))
        .expect("the guard catches what is below metadata");
        let view = MeshView::of(broken, Timestamp::UNIX_EPOCH);
        assert_eq!(view.name(), "m");
        assert!(view.spec.is_err());
    }
}
