//! The status of an assignment, built of plan, report, findings and port health.

use std::collections::BTreeMap;
use std::time::SystemTime;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use rdmamesh_api::RdmaProbeAssignmentStatus;
use rdmamesh_api::assignment::{Anomaly, AnomalyKind, MeshReport, RnicReport, Timestamps};
use rdmamesh_api::condition::PROBING;

use super::condition::{condition, kube_time};
use super::fit;
use super::settled::{Idle, Settled};
use crate::anomaly::{Finding, Kind};
use crate::model::{LocalPort, ProbeClass, RttHistogram, Tally, TickReport, TimestampMode};
use crate::plan::target::api_class;
use crate::plan::{AgentPlan, MeshPlan};

/// Everything that a status is made of.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// Identifies this process.
    pub epoch: &'a str,
    /// The plan in force.
    pub plan: &'a AgentPlan,
    /// Which meshes have settled.
    pub settled: &'a Settled,
    /// The newest report.
    pub report: &'a TickReport,
    /// What is ill, worst first.
    pub findings: &'a [Finding],
    /// Planned ports that do not probe.
    pub idle: &'a Idle,
    /// The status before this one, for transition times.
    pub before: Option<&'a RdmaProbeAssignmentStatus>,
    /// The wall clock.
    pub now: SystemTime,
}

/// Builds the status; it is never larger than [`rdmamesh_api::assignment::MAX_STATUS_BYTES`] of JSON.
pub fn assignment_status(view: &View<'_>) -> RdmaProbeAssignmentStatus {
    let mut status = RdmaProbeAssignmentStatus {
        reported_at: Some(kube_time(view.now)),
        epoch: Some(view.epoch.to_owned()),
        meshes: view
            .plan
            .meshes
            .iter()
            .map(|mesh| report(view, mesh))
            .collect(),
    };
    fit::to_limit(&mut status);
    status
}

fn report(view: &View<'_>, mesh: &MeshPlan) -> MeshReport {
    let settled = view.settled.contains(&mesh.name, &mesh.plan_hash);
    let windows = || {
        let of_mesh = |window: &&crate::model::TargetWindow| window.target.mesh == mesh.name;
        view.report.targets.iter().filter(of_mesh)
    };
    let end = windows().map(|window| window.end).max();
    MeshReport {
        name: mesh.name.to_string(),
        plan_hash: mesh.plan_hash.clone(),
        conditions: vec![mesh_condition(view, mesh, settled)],
        window_end: end.filter(|_| settled).map(kube_time),
        rnics: mesh
            .ports
            .iter()
            .map(|port| rnic(view.report, mesh, port))
            .collect(),
        anomalies: view
            .findings
            .iter()
            .filter(|finding| finding.key.target.mesh == mesh.name)
            .map(anomaly)
            .collect(),
        ..MeshReport::default()
    }
}

/// Whether the mesh's plan is carried out. The message holds nothing that changes from second to second.
pub(super) fn mesh_condition(view: &View<'_>, mesh: &MeshPlan, settled: bool) -> Condition {
    let idle: Vec<String> = mesh
        .ports
        .iter()
        .filter(|port| view.idle.contains(port))
        .map(ToString::to_string)
        .collect();
    let skipped = &mesh.skipped;
    let skips = || {
        let all = mesh.targets + skipped.count;
        format!(
            "{} of {all} targets are left out: {}",
            skipped.count,
            skipped.reasons.join("; ")
        )
    };
    let (status, reason, message) = if mesh.targets == 0 && skipped.count > 0 {
        ("False", "TargetsInvalid", skips())
    } else if mesh.targets == 0 {
        (
            "Unknown",
            "NoTargets",
            "the assignment has no targets".to_owned(),
        )
    } else if !idle.is_empty() {
        let ports = idle.join(", ");
        (
            "False",
            "PortNotProbing",
            format!("{ports} cannot probe: the RdmaNode says why"),
        )
    } else if !settled {
        (
            "Unknown",
            "Settling",
            "no full window of results yet".to_owned(),
        )
    } else if skipped.count > 0 {
        ("True", "TargetsSkipped", skips())
    } else {
        let message = format!(
            "probing {} targets from {} ports",
            mesh.targets,
            mesh.ports.len()
        );
        ("True", "Probing", message)
    };
    let before = view
        .before
        .and_then(|status| {
            status
                .meshes
                .iter()
                .find(|report| *report.name == *mesh.name)
        })
        .map_or(&[][..], |report| &report.conditions);
    let kind = (PROBING, status);
    condition(
        kind,
        (reason, message),
        view.plan.generation,
        view.now,
        before,
    )
}

/// The sums of one local port over all its targets in the mesh; plain-IP control probes stay out.
fn rnic(report: &TickReport, mesh: &MeshPlan, port: &LocalPort) -> RnicReport {
    let (mut tally, mut rtt) = (Tally::default(), RttHistogram::default());
    let (mut timestamps, mut sources) = (Timestamps::Software, std::collections::BTreeSet::new());
    let windows = report.targets.iter().filter(|window| {
        window.local == *port
            && window.target.mesh == mesh.name
            && window.target.class != ProbeClass::Control
    });
    for window in windows {
        tally += window.tally;
        rtt.merge(&window.rtt);
        timestamps = api_timestamps(window.timestamps);
        sources.extend(window.flows.iter().filter_map(|flow| flow.source_port));
    }
    RnicReport {
        device: port.device.to_string(),
        port: port.port,
        // What the local device refused never left; what was answered with impossible stamps was answered.
        sent: tally.sent.saturating_sub(tally.send_error),
        ok: tally.ok + tally.invalid,
        lost: tally.lost,
        late: tally.late,
        host_delayed: tally.host_delayed,
        unresolved: tally.unresolved,
        p50: rtt.quantile(0.5).map(Into::into),
        p99: rtt.quantile(0.99).map(Into::into),
        timestamps,
        flow_sources: u16::try_from(sources.len()).unwrap_or(u16::MAX),
        errors: BTreeMap::new(),
    }
}

/// The API's name for a stamp source.
pub(crate) const fn api_timestamps(mode: TimestampMode) -> Timestamps {
    match mode {
        TimestampMode::Hardware => Timestamps::Hardware,
        TimestampMode::Software => Timestamps::Software,
    }
}

fn anomaly(finding: &Finding) -> Anomaly {
    let key = &finding.key;
    let target = &key.target;
    Anomaly {
        kind: match key.kind {
            Kind::Loss => AnomalyKind::Loss,
            Kind::Latency => AnomalyKind::Latency,
        },
        device: key.local.device.to_string(),
        port: key.local.port,
        class: api_class(target.class),
        target: crate::model::rnic_name(&target.peer_node, &target.peer_device, target.peer_port),
        // Where no source port is known (InfiniBand), the flow's index tells flows apart.
        flow: key.flow.map(|index| finding.source_port.unwrap_or(index)),
        sent: finding.sent,
        lost: finding.lost,
        lost_forward: 0,
        lost_return: 0,
        p50: None,
        p99: finding.p99.map(Into::into),
        baseline: None,
        // A probe counts as lost only if its peer answered over plain IP afterwards.
        ip_reachable: (finding.lost > 0).then_some(true),
        path: Vec::new(),
        since: kube_time(finding.since),
    }
}

#[cfg(test)]
mod tests;
