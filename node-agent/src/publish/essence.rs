//! The part of an assignment status whose change is news.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Change;
use rdmamesh_fabric::report::News;

use super::status::{View, mesh_condition};
use crate::anomaly::windows;
use crate::plan::MeshPlan;

/// Anomalies, silent peers, conditions and plans, without the figures that change every second.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Essence {
    /// The object that it is written to.
    uid: Option<Arc<str>>,
    meshes: BTreeMap<Arc<str>, Mesh>,
    news: News,
}

#[derive(Debug, Clone, PartialEq)]
struct Mesh {
    plan_hash: String,
    settled: bool,
    status: String,
    reason: String,
    message: String,
    unanswered: Vec<Arc<str>>,
}

impl Essence {
    /// The essence of the status that `view` would make, at a fraction of its cost.
    pub fn new(view: &View<'_>) -> Self {
        let essence = |mesh: &MeshPlan| {
            let settled = view.settled.contains(&mesh.name, &mesh.plan_hash);
            let condition = mesh_condition(view, mesh, settled);
            Mesh {
                plan_hash: mesh.plan_hash.clone(),
                settled,
                status: condition.status,
                reason: condition.reason,
                message: condition.message,
                unanswered: view
                    .unanswered
                    .of(&mesh.name)
                    .map(|(node, _)| Arc::clone(node))
                    .collect(),
            }
        };
        let meshes = view.plan.meshes.iter();
        Self {
            uid: view.plan.uid.clone(),
            meshes: meshes
                .map(|mesh| (Arc::clone(&mesh.name), essence(mesh)))
                .collect(),
            news: News::new(&windows(view.report), view.findings),
        }
    }

    /// How this differs from what was written before.
    pub fn change_since(&self, written: Option<&Self>) -> Change {
        let Some(written) = written else {
            let something = self.meshes.is_empty()
                || self.news.has_anomalies()
                || self.meshes.values().any(|mesh| mesh.settled);
            return if something {
                Change::News
            } else {
                Change::Silent
            };
        };
        if self.uid != written.uid || self.meshes_are_news(written) {
            return Change::News;
        }
        self.news.change_since(&written.news)
    }

    /// A mesh whose new plan has not settled has no results to tell of yet.
    fn meshes_are_news(&self, written: &Self) -> bool {
        let gone = written
            .meshes
            .keys()
            .any(|name| !self.meshes.contains_key(name));
        let changed = |(name, mesh): (&Arc<str>, &Mesh)| {
            mesh.settled && written.meshes.get(name) != Some(mesh)
        };
        gone || self.meshes.iter().any(changed)
    }
}
