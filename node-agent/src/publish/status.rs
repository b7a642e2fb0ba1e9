//! The status of an assignment, built of plan, report, findings and port health.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::SystemTime;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use rdmamesh_api::RdmaProbeAssignmentStatus;
use rdmamesh_api::assignment::{
    Anomaly, AnomalyKind, LinkTally, LossyPath, MAX_STATUS_BYTES, MAX_UNANSWERED, MeshReport,
    RnicReport, Timestamps, UnansweredPeer,
};
use rdmamesh_api::condition::PROBING;
use rdmamesh_fabric::NodeName;
use rdmamesh_fabric::diagnose::{self, Hop, RnicTally};
use rdmamesh_fabric::report::{self, Content, Paths, Quantiles, Unanswered};

use super::condition::{condition, kube_time};
use super::fit;
use super::settled::{Idle, Settled};
use crate::anomaly::{Finding, windows};
use crate::model::{LocalPort, ProbeClass, RttHistogram, TargetWindow, TickReport, TimestampMode};
use crate::passive::PortErrors;
use crate::plan::{AgentPlan, MeshPlan};

/// Hops of a path that the API takes at most.
const MAX_HOPS: usize = 16;

/// Everything that a status is made of.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// This node.
    pub node: &'a NodeName,
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
    /// Where flows go, as far as they are traced.
    pub paths: &'a (dyn Paths + Send + Sync),
    /// Error counters of the local ports.
    pub errors: &'a PortErrors,
    /// Planned ports that do not probe.
    pub idle: &'a Idle,
    /// Peers whose agents do not answer.
    pub unanswered: &'a Unanswered,
    /// The status before this one, for transition times.
    pub before: Option<&'a RdmaProbeAssignmentStatus>,
    /// The wall clock.
    pub now: SystemTime,
}

/// Builds the status; it is never larger than [`rdmamesh_api::assignment::MAX_STATUS_BYTES`] of JSON.
pub fn assignment_status(view: &View<'_>) -> RdmaProbeAssignmentStatus {
    let windows = windows(view.report);
    let meshes = &view.plan.meshes;
    let mut contents: Vec<Content> = meshes
        .iter()
        .map(|mesh| {
            Content::of(
                &windows,
                (view.node, &mesh.name),
                &mesh.ports,
                view.findings,
                (view.paths, &|port| quantiles(view.report, mesh, port)),
            )
        })
        .collect();
    for rnic in contents.iter_mut().flat_map(|content| &mut content.rnics) {
        let local = LocalPort::new(rnic.device.as_str(), rnic.port);
        if let Some(grown) = view.errors.grown.get(&local) {
            rnic.errors.clone_from(grown);
        }
    }
    let mut status = RdmaProbeAssignmentStatus {
        reported_at: Some(kube_time(view.now)),
        epoch: Some(view.epoch.to_owned()),
        meshes: meshes.iter().map(|mesh| frame(view, mesh)).collect(),
    };
    let room = MAX_STATUS_BYTES.saturating_sub(fit::size_of_json(&status));
    report::fit(&mut contents, room);
    for ((report, mesh), content) in status.meshes.iter_mut().zip(meshes).zip(contents) {
        fill(report, view.report, mesh, content);
    }
    fit::to_limit(&mut status);
    status
}

/// A mesh's report without the lists that can grow.
fn frame(view: &View<'_>, mesh: &MeshPlan) -> MeshReport {
    let settled = view.settled.contains(&mesh.name, &mesh.plan_hash);
    let of_mesh = |window: &&TargetWindow| window.target.mesh == mesh.name;
    let windows = view.report.targets.iter().filter(of_mesh);
    let end = windows.map(|window| window.end).max();
    MeshReport {
        name: mesh.name.to_string(),
        plan_hash: mesh.plan_hash.clone(),
        conditions: vec![mesh_condition(view, mesh, settled)],
        window_end: end.filter(|_| settled).map(kube_time),
        unanswered: unanswered(view, mesh),
        ..MeshReport::default()
    }
}

/// All meshes together tell of as many peers as one alone may: names can be long.
fn unanswered(view: &View<'_>, mesh: &MeshPlan) -> Vec<UnansweredPeer> {
    let share = MAX_UNANSWERED / view.plan.meshes.len().max(1);
    let peers = view.unanswered.of(&mesh.name).take(share.max(1));
    peers
        .map(|(node, since)| UnansweredPeer {
            node: node.to_string(),
            since: kube_time(since),
        })
        .collect()
}

fn fill(report: &mut MeshReport, ticked: &TickReport, mesh: &MeshPlan, content: Content) {
    let rnics = content.rnics.into_iter();
    report.rnics = rnics.map(|tally| rnic(ticked, mesh, tally)).collect();
    report.anomalies = content.anomalies.into_iter().map(anomaly).collect();
    report.anomalies_omitted = content.anomalies_omitted;
    report.links = content.links.links.iter().map(link).collect();
    report.lossy_paths = content
        .links
        .lossy_paths
        .into_iter()
        .map(lossy_path)
        .collect();
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

/// Round-trip times of one local port over all its targets in the mesh.
fn quantiles(report: &TickReport, mesh: &MeshPlan, port: &LocalPort) -> Quantiles {
    let mut rtt = RttHistogram::default();
    of_port(report, mesh, port).for_each(|window| rtt.merge(&window.rtt));
    (rtt.quantile(0.5), rtt.quantile(0.99))
}

/// The windows of one local port in a mesh; plain-IP control probes stay out.
fn of_port<'a>(
    report: &'a TickReport,
    mesh: &'a MeshPlan,
    port: &'a LocalPort,
) -> impl Iterator<Item = &'a TargetWindow> {
    report.targets.iter().filter(move |window| {
        window.local == *port
            && window.target.mesh == mesh.name
            && window.target.class != ProbeClass::Control
    })
}

fn rnic(report: &TickReport, mesh: &MeshPlan, tally: RnicTally) -> RnicReport {
    let port = LocalPort::new(tally.device.as_str(), tally.port);
    let (mut timestamps, mut sources) = (Timestamps::Software, BTreeSet::new());
    for window in of_port(report, mesh, &port) {
        timestamps = api_timestamps(window.timestamps);
        sources.extend(window.flows.iter().filter_map(|flow| flow.source_port));
    }
    RnicReport {
        device: tally.device.to_string(),
        port: tally.port,
        sent: tally.sent,
        ok: tally.ok,
        lost: tally.lost,
        late: tally.late,
        host_delayed: tally.host_delayed,
        unresolved: tally.unresolved,
        p50: tally.p50.map(Into::into),
        p99: tally.p99.map(Into::into),
        timestamps,
        flow_sources: u16::try_from(sources.len()).unwrap_or(u16::MAX),
        errors: tally
            .errors
            .into_iter()
            .map(|(counter, by)| (counter.to_string(), by))
            .collect(),
    }
}

/// The API's name for a stamp source.
pub(crate) const fn api_timestamps(mode: TimestampMode) -> Timestamps {
    match mode {
        TimestampMode::Hardware => Timestamps::Hardware,
        TimestampMode::Software => Timestamps::Software,
    }
}

fn anomaly(anomaly: diagnose::Anomaly) -> Anomaly {
    let hop = |hop: Option<IpAddr>| hop.map_or_else(String::new, |address| address.to_string());
    Anomaly {
        kind: match anomaly.kind {
            diagnose::AnomalyKind::Loss => AnomalyKind::Loss,
            diagnose::AnomalyKind::Latency => AnomalyKind::Latency,
        },
        device: anomaly.device.to_string(),
        port: anomaly.port,
        class: anomaly.class.into(),
        target: anomaly.target.to_string(),
        flow: anomaly.flow,
        sent: anomaly.sent,
        lost: anomaly.lost,
        lost_forward: anomaly.lost_forward,
        lost_return: anomaly.lost_return,
        p50: anomaly.p50.map(Into::into),
        p99: anomaly.p99.map(Into::into),
        baseline: anomaly.baseline.map(Into::into),
        ip_reachable: anomaly.ip_reachable,
        path: anomaly.path.into_iter().take(MAX_HOPS).map(hop).collect(),
        since: kube_time(anomaly.since.into()),
    }
}

fn link(link: &diagnose::LinkTally) -> LinkTally {
    let hop = |hop: &Hop| match hop {
        Hop::Router(address) => address.to_string(),
        Hop::Unknown => String::new(),
        Hop::Rnic(rnic) => rnic.to_string(),
    };
    LinkTally {
        from: hop(&link.from),
        to: hop(&link.to),
        crossed: link.crossed,
        lossy: link.lossy,
        slow: link.slow,
        sent: link.sent,
        lost: link.lost,
        hop_sent: link.hop_sent,
        hop_answered: link.hop_answered,
        hop_rtt: link.hop_rtt.map(Into::into),
    }
}

fn lossy_path(path: diagnose::LossyPath) -> LossyPath {
    LossyPath {
        links: path.links.into_iter().take(MAX_HOPS).collect(),
        flows: path.flows,
        sent: path.sent,
        lost: path.lost,
    }
}

#[cfg(test)]
mod tests;
