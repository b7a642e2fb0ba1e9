//! What came of a planning pass, for the judging loop and the statuses.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rdmamesh_fabric::NodeName;
use rdmamesh_fabric::diagnose::Planned;
use rdmamesh_fabric::plan::{MeshPlan, NodeState};

use crate::apply::{ApplyError, Failure, Failures};
use crate::diff::NodeChange;
use crate::validate::ValidMesh;

/// What came of a planning pass.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// By mesh; every mesh that exists is in it.
    pub meshes: BTreeMap<String, Arc<MeshOutcome>>,
}

/// What came of it for one mesh.
#[derive(Clone, Debug)]
pub struct MeshOutcome {
    /// Identity of the mesh.
    pub uid: String,
    /// Generation of the spec that was planned.
    pub generation: i64,
    /// The checked spec, or why it is invalid.
    pub mesh: Result<Arc<ValidMesh>, String>,
    /// What is probed; `None` for a suspended mesh, and for an invalid one that nothing was in force of.
    pub in_force: Option<Arc<InForce>>,
    /// Whether the assignments say so.
    pub applied: Applied,
}

/// A plan and what it was made from.
#[derive(Clone, Debug)]
pub struct InForce {
    /// The spec.
    pub mesh: Arc<ValidMesh>,
    /// The plan.
    pub plan: Arc<MeshPlan>,
    /// Who probes whom.
    pub planned: Arc<Planned>,
    /// The nodes that the mesh selects.
    pub members: Vec<(NodeName, NodeState)>,
}

/// Whether the assignments are what the plan wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Applied {
    /// They are being written on these nodes.
    Pending(BTreeSet<String>),
    /// They are.
    Done,
    /// On these nodes they could not be written; the error is the first one's.
    Failed {
        /// The nodes.
        nodes: BTreeSet<String>,
        /// Why.
        error: String,
    },
}

impl Outcome {
    /// The outcome while `changes` are being written.
    #[must_use]
    pub fn pending(&self, changes: &BTreeMap<String, NodeChange>) -> Self {
        self.with(|mesh| {
            let nodes = changes.iter().filter(|(_, change)| {
                change
                    .write
                    .iter()
                    .chain(&change.withdraw)
                    .any(|name| name == mesh)
            });
            let nodes: BTreeSet<_> = nodes.map(|(node, _)| node.clone()).collect();
            if nodes.is_empty() {
                Applied::Done
            } else {
                Applied::Pending(nodes)
            }
        })
    }

    /// The outcome after writing, with what could not be written.
    #[must_use]
    pub fn applied(&self, failures: &Failures) -> Self {
        self.with(|mesh| {
            let failed = failures
                .iter()
                .filter(|(_, failure)| failure.meshes.contains(mesh));
            let nodes: BTreeSet<_> = failed.clone().map(|(node, _)| node.clone()).collect();
            let tried = |failure: &&Failure| !matches!(failure.error, ApplyError::NotTried);
            let errors = failed.map(|(_, failure)| failure);
            match errors.clone().find(tried).or_else(|| errors.clone().next()) {
                None => Applied::Done,
                Some(first) => Applied::Failed {
                    nodes,
                    error: crate::chain(&first.error),
                },
            }
        })
    }

    fn with(&self, applied: impl Fn(&str) -> Applied) -> Self {
        let meshes = self.meshes.iter().map(|(name, mesh)| {
            let mesh = MeshOutcome {
                applied: applied(name),
                ..MeshOutcome::clone(mesh)
            };
            (name.clone(), Arc::new(mesh))
        });
        Self {
            meshes: meshes.collect(),
        }
    }
}
