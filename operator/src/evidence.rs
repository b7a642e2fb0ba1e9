//! The evidence step: what is known about a mesh, in the judge's words. Pure.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp as Instant;
use rdmamesh_api::GoDuration;
use rdmamesh_api::assignment::{self, MeshReport, RnicReport};
use rdmamesh_api::node::{PORT_ABSENT, PORT_ACTIVE, PortStatus, TRACING_ACTIVE};
use rdmamesh_fabric::diagnose::{
    AgentState, Anomaly, AnomalyKind, Evidence, Hop, LinkTally, LossyPath, NodeEvidence, PortFact,
    PortState, Report, RnicTally,
};
use rdmamesh_fabric::plan::NodeState;
use rdmamesh_fabric::{NodeName, RnicName, Timestamp};

use crate::planning::InForce;
use crate::select::Picked;
use crate::unanswered::Unanswered;
use crate::validate::ValidMesh;
use crate::watch::{AssignmentView, InventoryView, Views};

/// An agent writes at least every 5 minutes ± 10 %; one write may get lost, two may not.
pub const SILENT_AFTER: Duration = Duration::from_secs(11 * 60);

/// What is known about the mesh of `in_force` at `now`. `expected` are the RNICs that the judge would miss.
#[must_use]
pub fn evidence(
    in_force: &InForce,
    assignments: &Views<AssignmentView>,
    inventories: &Views<InventoryView>,
    expected: &BTreeSet<RnicName>,
    now: Instant,
) -> Evidence {
    let mesh = &in_force.mesh;
    let unanswered = Unanswered::find(in_force, assignments, now);
    let nodes = in_force.members.iter().map(|(node, state)| {
        let assignment = assignments.get(node.as_str()).map(AsRef::as_ref);
        let inventory = inventories.get(node.as_str()).map(AsRef::as_ref);
        NodeEvidence {
            node: node.clone(),
            agent: if *state == NodeState::Ready && unanswered.is_gone(node.as_str()) {
                AgentState::Silent
            } else {
                agent(*state, assignment, inventory, now)
            },
            report: assignment.and_then(|assignment| {
                let written = assignment.report(&mesh.name)?;
                Some(report(written, assignment.reported_at.unwrap_or(now)))
            }),
            ports: inventory
                .and_then(|inventory| inventory.status.as_ref())
                .map(|status| ports(mesh, node, &status.ports, expected)),
            traces: inventory
                .and_then(|inventory| inventory.status.as_ref()?.path_tracing.as_ref())
                .is_some_and(|tracing| tracing.state == TRACING_ACTIVE),
        }
    });
    Evidence {
        thresholds: mesh.policy.thresholds,
        tolerance: mesh.tolerance,
        rnic_timeout_ratio: mesh.rnic_timeout_ratio,
        planned: Arc::clone(&in_force.planned),
        switches: Arc::clone(&mesh.switches),
        nodes: nodes.collect(),
    }
}

/// A node that can take part is heard of by its reports or, where all its ports are down and it has no
/// part in the plan, by its inventory.
fn agent(
    state: NodeState,
    assignment: Option<&AssignmentView>,
    inventory: Option<&InventoryView>,
    now: Instant,
) -> AgentState {
    let heard = [
        assignment.and_then(|assignment| assignment.reported_at),
        inventory.and_then(|inventory| inventory.reported_at),
    ];
    if state != NodeState::Ready {
        AgentState::Excluded
    } else if heard.into_iter().flatten().any(|at| is_fresh(at, now)) {
        AgentState::Reporting
    } else {
        AgentState::Silent
    }
}

/// Whether what was written `at` still says something about `now`.
#[must_use]
pub fn is_fresh(at: Instant, now: Instant) -> bool {
    // A negative age is a clock that was set back; the report is then as new as can be.
    Duration::try_from(now.duration_since(at)).map_or(true, |age| age <= SILENT_AFTER)
}

fn report(report: &MeshReport, seen: Instant) -> Report {
    Report {
        seen: instant(seen),
        window_end: report.window_end.as_ref().map(time),
        rnics: report.rnics.iter().map(tally).collect(),
        anomalies: report.anomalies.iter().filter_map(anomaly).collect(),
        anomalies_omitted: report.anomalies_omitted,
        links: report.links.iter().map(link).collect(),
        lossy_paths: report.lossy_paths.iter().map(lossy_path).collect(),
    }
}

fn link(link: &assignment::LinkTally) -> LinkTally {
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
        hop_rtt: link.hop_rtt.map(GoDuration::get),
    }
}

/// What is neither an address nor an RNIC's name is nobody that could be accused.
fn hop(text: &str) -> Hop {
    if let Ok(address) = text.parse::<IpAddr>() {
        Hop::Router(address.to_canonical())
    } else {
        text.parse().map_or(Hop::Unknown, Hop::Rnic)
    }
}

fn lossy_path(path: &assignment::LossyPath) -> LossyPath {
    LossyPath {
        links: path.links.clone(),
        flows: path.flows,
        sent: path.sent,
        lost: path.lost,
    }
}

fn tally(rnic: &RnicReport) -> RnicTally {
    RnicTally {
        device: rnic.device.as_str().into(),
        port: rnic.port,
        sent: rnic.sent,
        ok: rnic.ok,
        lost: rnic.lost,
        late: rnic.late,
        host_delayed: rnic.host_delayed,
        unresolved: rnic.unresolved,
        p50: rnic.p50.map(GoDuration::get),
        p99: rnic.p99.map(GoDuration::get),
        errors: rnic
            .errors
            .iter()
            .map(|(counter, by)| (Arc::from(counter.as_str()), *by))
            .collect(),
    }
}

/// An anomaly whose target is no RNIC name accuses nobody.
fn anomaly(anomaly: &assignment::Anomaly) -> Option<Anomaly> {
    let target = anomaly
        .target
        .parse()
        .inspect_err(|error| tracing::debug!(%error, "an anomaly names no RNIC"))
        .ok()?;
    Some(Anomaly {
        kind: match anomaly.kind {
            assignment::AnomalyKind::Loss => AnomalyKind::Loss,
            assignment::AnomalyKind::Latency => AnomalyKind::Latency,
        },
        device: anomaly.device.as_str().into(),
        port: anomaly.port,
        class: anomaly.class.into(),
        target,
        flow: anomaly.flow,
        sent: anomaly.sent,
        lost: anomaly.lost,
        lost_forward: anomaly.lost_forward,
        lost_return: anomaly.lost_return,
        p50: anomaly.p50.map(GoDuration::get),
        p99: anomaly.p99.map(GoDuration::get),
        baseline: anomaly.baseline.map(GoDuration::get),
        ip_reachable: anomaly.ip_reachable,
        path: anomaly
            .path
            .iter()
            .map(|hop| hop.parse::<IpAddr>().ok().map(|hop| hop.to_canonical()))
            .collect(),
        since: time(&anomaly.since),
    })
}

/// The ports that the agent lists, and those of the `expected` ones that it does not list and that the mesh
/// does not want any more: whoever takes a removed device out of the mesh has dealt with it.
fn ports(
    mesh: &ValidMesh,
    node: &NodeName,
    listed: &[PortStatus],
    expected: &BTreeSet<RnicName>,
) -> Vec<PortFact> {
    let mut facts: Vec<_> = listed.iter().map(|listed| port(mesh, listed)).collect();
    let first = RnicName::new(node.clone(), "", 0);
    for rnic in expected
        .range(first..)
        .take_while(|rnic| rnic.node == *node)
    {
        let is_listed = facts
            .iter()
            .any(|fact| fact.device == rnic.device && fact.port == rnic.port);
        let gone = PortStatus {
            device: rnic.device.to_string(),
            port: rnic.port,
            state: PORT_ABSENT.to_owned(),
            ..PortStatus::default()
        };
        if !is_listed && mesh.devices.picks(&gone) == Picked::No {
            facts.push(port(mesh, &gone));
        }
    }
    facts
}

fn port(mesh: &ValidMesh, port: &PortStatus) -> PortFact {
    PortFact {
        device: port.device.as_str().into(),
        port: port.port,
        selected: mesh.devices.picks(port) != Picked::No,
        state: match port.state.as_str() {
            PORT_ACTIVE => PortState::Active,
            PORT_ABSENT => PortState::Absent,
            state => PortState::Down {
                state: Arc::from(state),
                physical: Arc::from(port.physical_state.as_str()),
            },
        },
    }
}

/// A time of the API in the judge's words; times before 1970 become 1970.
#[must_use]
pub fn time(time: &Time) -> Timestamp {
    instant(time.0)
}

/// `at` in the judge's words.
#[must_use]
pub fn instant(at: Instant) -> Timestamp {
    let nanos = u128::try_from(at.as_nanosecond()).unwrap_or_default();
    Timestamp(Duration::from_nanos_u128(nanos))
}

/// A time of the judge in the API's words: whole seconds.
#[must_use]
pub fn api_time(at: Timestamp) -> Time {
    let seconds = i64::try_from(at.0.as_secs()).unwrap_or(i64::MAX);
    Time(Instant::from_second(seconds).unwrap_or(Instant::MAX))
}

#[cfg(test)]
mod tests;
