//! The part of an assignment status whose change is news.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Change;
use super::status::{View, mesh_condition};
use crate::anomaly::FindingKey;
use crate::model::{LocalPort, ProbeClass, Tally, TickReport};
use crate::plan::MeshPlan;

/// A loss ratio that moves by more than this factor is drift.
const RATIO_FACTOR: f64 = 2.0;

/// Anomalies, conditions and plans, without the figures that change every second.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Essence {
    /// The object that it is written to.
    uid: Option<Arc<str>>,
    meshes: BTreeMap<Arc<str>, Mesh>,
    anomalies: BTreeMap<FindingKey, f64>,
    /// So many probes were not judged that the figures prove little.
    doubtful: bool,
}

#[derive(Debug, Clone, PartialEq)]
struct Mesh {
    plan_hash: String,
    settled: bool,
    status: String,
    reason: String,
    message: String,
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
            }
        };
        let meshes = view.plan.meshes.iter();
        let findings = view.findings.iter();
        Self {
            uid: view.plan.uid.clone(),
            meshes: meshes
                .map(|mesh| (Arc::clone(&mesh.name), essence(mesh)))
                .collect(),
            anomalies: findings
                .map(|finding| (finding.key.clone(), finding.loss_ratio))
                .collect(),
            doubtful: doubtful(view.report),
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
        // Figures that prove nothing must not stand until the next refresh once there are better ones.
        let better = written.doubtful && !self.doubtful;
        let other = self.uid != written.uid || better || !same_anomalies;
        if other || self.meshes_are_news(written) {
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

/// Whether on some RNIC the unresolved probes could be all those to one of its targets, or more than a
/// quarter of the probes were not judged at all.
fn doubtful(report: &TickReport) -> bool {
    let mut sums: BTreeMap<(&str, &LocalPort), (Tally, u64)> = BTreeMap::new();
    for window in &report.targets {
        if window.target.class != ProbeClass::Control {
            let sum = sums
                .entry((&window.target.mesh, &window.local))
                .or_default();
            sum.0 += window.tally;
            sum.1 += 1;
        }
    }
    sums.values().any(|(tally, targets)| {
        let a_target_lacks = tally.unresolved > 0 && tally.unresolved * targets * 2 >= tally.sent;
        a_target_lacks || (tally.unresolved + tally.host_delayed) * 4 > tally.sent
    })
}
