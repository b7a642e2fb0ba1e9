//! A simulated mesh's status as a scenario sees it.

use rdmamesh_api::condition;
use rdmamesh_api::mesh::SuspectKind;
use rdmamesh_fabric::diagnose::{self, Status};
use rdmamesh_fabric::simulate::Cluster;

use crate::runner::view::{ConditionView, MeshView, SuspectView};

/// Conditions and suspects now; `before` keeps the times of conditions that did not change.
pub(super) fn mesh(cluster: &Cluster, before: Option<&MeshView>) -> MeshView {
    let verdict = cluster.verdict();
    let planned = cluster.planned();
    let reporting =
        verdict.summary.agents > 0 && verdict.summary.agents_reporting == verdict.summary.agents;
    let met = planned.is_some_and(|coverage| coverage.achieved >= coverage.wanted);
    let truth = |is: bool| if is { Status::True } else { Status::False };
    let states = [
        (condition::READY, truth(planned.is_some() && reporting)),
        (condition::ASSIGNMENTS_READY, truth(planned.is_some())),
        (condition::AGENTS_REPORTING, truth(reporting)),
        (condition::COVERAGE_MET, truth(met)),
        (condition::FABRIC_HEALTHY, verdict.health.status),
    ];
    let conditions = states.map(|(kind, status)| {
        let same = before
            .and_then(|before| before.condition(kind))
            .filter(|condition| condition.status == status.as_str());
        let is_verdict = kind == condition::FABRIC_HEALTHY;
        ConditionView {
            kind: kind.to_owned(),
            status: status.as_str().to_owned(),
            reason: if is_verdict {
                verdict.health.reason.to_owned()
            } else {
                "Simulated".to_owned()
            },
            message: if is_verdict {
                verdict.health.message.clone()
            } else {
                String::new()
            },
            transition: same.map_or_else(
                || format!("{:?}", cluster.now()),
                |condition| condition.transition.clone(),
            ),
        }
    });
    MeshView {
        conditions: conditions.to_vec(),
        suspects: verdict.suspects.iter().map(suspect).collect(),
    }
}

fn suspect(suspect: &diagnose::Suspect) -> SuspectView {
    SuspectView {
        kind: match suspect.key.kind() {
            diagnose::SuspectKind::Rnic => SuspectKind::Rnic,
            diagnose::SuspectKind::Link => SuspectKind::Link,
            diagnose::SuspectKind::Switch => SuspectKind::Switch,
            diagnose::SuspectKind::Host => SuspectKind::Host,
        },
        name: suspect.key.name(),
        peer: suspect.key.peer(),
        evidence: suspect.evidence.clone(),
    }
}
