//! The part of an assignment status whose change is news.

use std::collections::BTreeMap;
use std::sync::Arc;

use rdmamesh_api::RdmaProbeAssignmentStatus;

use super::pacer::Change;
use super::settled::Settled;
use crate::anomaly::{Finding, FindingKey};
use crate::plan::AgentPlan;

/// A loss ratio that moves by more than this factor is drift.
const RATIO_FACTOR: f64 = 2.0;

/// Anomalies, conditions and plans, without the figures that change every second.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Essence {
    meshes: BTreeMap<Arc<str>, Mesh>,
    anomalies: BTreeMap<FindingKey, f64>,
}

#[derive(Debug, Clone, PartialEq)]
struct Mesh {
    plan_hash: String,
    settled: bool,
    /// (type, status, reason, message)
    conditions: Vec<(String, String, String, String)>,
}

impl Essence {
    /// The essence of `status`, which was built of the rest.
    pub fn new(
        plan: &AgentPlan,
        settled: &Settled,
        findings: &[Finding],
        status: &RdmaProbeAssignmentStatus,
    ) -> Self {
        let conditions = |name: &str| {
            let report = status.meshes.iter().find(|report| report.name == name);
            let conditions = report.map(|report| report.conditions.as_slice());
            conditions
                .unwrap_or_default()
                .iter()
                .map(|c| {
                    (
                        c.type_.clone(),
                        c.status.clone(),
                        c.reason.clone(),
                        c.message.clone(),
                    )
                })
                .collect()
        };
        Self {
            meshes: plan
                .meshes
                .iter()
                .map(|mesh| {
                    let essence = Mesh {
                        plan_hash: mesh.plan_hash.clone(),
                        settled: settled.contains(&mesh.name, &mesh.plan_hash),
                        conditions: conditions(&mesh.name),
                    };
                    (Arc::clone(&mesh.name), essence)
                })
                .collect(),
            anomalies: findings
                .iter()
                .map(|finding| (finding.key.clone(), finding.loss_ratio))
                .collect(),
        }
    }

    /// How this differs from what was written before.
    pub fn change_since(&self, written: Option<&Self>) -> Change {
        let Some(written) = written else {
            let something = self.meshes.is_empty()
                || !self.anomalies.is_empty()
                || self.meshes.values().any(|mesh| mesh.settled);
            return if something {
                Change::News
            } else {
                Change::Silent
            };
        };
        let same_anomalies = self.anomalies.keys().eq(written.anomalies.keys());
        if !same_anomalies || self.meshes_are_news(written) {
            return Change::News;
        }
        let moved = self
            .anomalies
            .values()
            .zip(written.anomalies.values())
            .any(|(now, then)| *now > then * RATIO_FACTOR || *then > now * RATIO_FACTOR);
        if moved { Change::Drift } else { Change::Same }
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
