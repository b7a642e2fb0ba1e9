//! What the judging loop hands over to the acting loop.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Resource;
use rdmamesh_api::RdmaMesh;
use rdmamesh_fabric::diagnose::State;

use super::plan::{Accused, Mesh};
use crate::planning::InForce;

/// The newest judgement of every mesh.
pub type Judgements = BTreeMap<String, Judgement>;

/// The judgement of a mesh as far as consequences go.
#[derive(Clone, Debug)]
pub struct Judgement {
    /// Name of the mesh.
    pub name: String,
    /// Identity of the mesh.
    pub uid: String,
    /// What was judged; `None` where nothing is in force (suspended, never valid): nothing is wanted then.
    pub in_force: Option<Arc<InForce>>,
    /// Nodes that are suspected, themselves or an RNIC of theirs.
    pub accused: Vec<Accused>,
}

impl Judgement {
    /// What the acting step plans with.
    #[must_use]
    pub fn mesh(&self) -> Option<Mesh<'_>> {
        let in_force = self.in_force.as_deref()?;
        Some(Mesh {
            name: &self.name,
            actions: in_force.mesh.actions,
            members: &in_force.members,
            accused: &self.accused,
        })
    }

    /// Whether the mesh wants Events.
    #[must_use]
    pub fn events(&self) -> bool {
        self.in_force
            .as_ref()
            .is_some_and(|in_force| in_force.mesh.events)
    }

    /// The mesh, for Events.
    #[must_use]
    pub fn reference(&self) -> ObjectReference {
        ObjectReference {
            api_version: Some(RdmaMesh::api_version(&()).into_owned()),
            kind: Some(RdmaMesh::kind(&()).into_owned()),
            name: Some(self.name.clone()),
            uid: Some(self.uid.clone()),
            ..ObjectReference::default()
        }
    }

    /// Whether acting on `other` comes to the same.
    #[must_use]
    pub fn is_like(&self, other: &Self) -> bool {
        let same_force = match (&self.in_force, &other.in_force) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            (None, None) => true,
            _ => false,
        };
        same_force && self.uid == other.uid && self.accused == other.accused
    }
}

/// The nodes that open cases of `state` accuse. A path, a link or a switch is nothing that a node could help.
#[must_use]
pub fn accused(state: &State) -> Vec<Accused> {
    let open = state.cases.iter().filter(|(_, case)| case.open);
    open.filter_map(|(key, case)| {
        Some(Accused {
            node: key.node()?.to_string(),
            element: key.to_string(),
            confidence: case.confidence,
            since: case.since,
            evidence: case.evidence.clone(),
        })
    })
    .collect()
}
