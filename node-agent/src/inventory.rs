//! The node's RDMA inventory and readiness, as published in `RdmaNode.status`.
//!
//! [`survey`] reads the machine (blocking); [`node_status`] is pure and joins what was read with what the
//! data path says of its ports. [`run`] does both whenever a port changes, and every few seconds for
//! what changes without an event.

use std::time::SystemTime;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use rdmamesh_api::RdmaNodeStatus;
use rdmamesh_api::condition::PROBING;
use rdmamesh_api::node::{TRACING_ACTIVE, Tracing};
use rdmamesh_verbs::DeviceInfo;

use crate::doctor::{self, Subject, verdict};
use crate::model::{LocalPort, PortActivity, PortHealth};
use crate::publish::{condition, kube_time};
use crate::trace::client::TracingState;

pub use survey::{Survey, survey};
pub use watch::{Sources, run, same_but_time};

mod port;
mod survey;
mod watch;

/// Longest list of ports that the API takes.
const MAX_PORTS: usize = 64;

/// Everything that a node status is made of.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// What the machine shows.
    pub survey: &'a Survey,
    /// What the data path says of its ports.
    pub health: &'a [PortHealth],
    /// Ports that the plan wants to probe from.
    pub planned: &'a [LocalPort],
    /// DSCP values that the plan's probes carry.
    pub dscps: &'a [u8],
    /// Whether queue pairs of workloads are to be traced here.
    pub trace_workloads: bool,
    /// Identifies this process.
    pub epoch: &'a str,
    /// Where peers resolve this agent, `address:port`; empty while not known.
    pub control_address: &'a str,
    /// Whether paths are traced.
    pub tracing: &'a TracingState,
    /// The status before this one, for transition times.
    pub before: Option<&'a RdmaNodeStatus>,
    /// The wall clock.
    pub now: SystemTime,
}

impl Facts<'_> {
    fn before_conditions(&self) -> &[Condition] {
        self.before.map_or(&[][..], |status| &status.conditions)
    }

    fn health(&self, local: &LocalPort) -> Option<&PortHealth> {
        self.health.iter().find(|health| health.local == *local)
    }
}

/// Builds the status.
pub fn node_status(facts: &Facts<'_>) -> RdmaNodeStatus {
    let mut ports: Vec<_> = facts
        .survey
        .devices
        .iter()
        .flat_map(|device| device.ports.iter().map(move |port| (device, port)))
        .filter(|(_, port)| belongs_here(port))
        .map(|(device, port)| port::status(facts, device, port))
        .collect();
    let missing: Vec<_> = facts
        .planned
        .iter()
        .filter(|local| !ports.iter().any(|port| port::is(port, local)))
        .map(|local| port::absent(facts, local))
        .collect();
    ports.extend(missing);
    ports.truncate(MAX_PORTS);
    let doctor = doctor::examine(&Subject {
        survey: facts.survey,
        ports: &ports,
        elsewhere: elsewhere(&facts.survey.devices),
        dscps: facts.dscps,
        tracing: facts.trace_workloads,
    });
    RdmaNodeStatus {
        conditions: vec![
            probing(facts),
            verdict::condition_of(&doctor, facts.now, facts.before_conditions()),
        ],
        reported_at: Some(kube_time(facts.now)),
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        epoch: facts.epoch.to_owned(),
        control_address: facts.control_address.to_owned(),
        doctor,
        ports,
        path_tracing: Some(match facts.tracing {
            TracingState::Active => Tracing {
                state: TRACING_ACTIVE.to_owned(),
                reason: None,
            },
            TracingState::Unavailable(reason) => Tracing {
                state: "Unavailable".to_owned(),
                reason: Some(reason.clone()),
            },
        }),
        tracing: None,
        workloads: Vec::new(),
    }
}

/// An Ethernet port whose netdev lives in another network namespace is another node's (or pod's) port:
/// soft-RoCE devices are visible in every namespace.
fn belongs_here(port: &rdmamesh_verbs::PortInfo) -> bool {
    port.netdev_here || port.link_layer != rdmamesh_verbs::LinkLayer::Ethernet
}

/// How many ports are left out of the inventory for that reason.
fn elsewhere(devices: &[DeviceInfo]) -> usize {
    let ports = devices.iter().flat_map(|device| &device.ports);
    ports.filter(|port| !belongs_here(port)).count()
}

/// Whether every wanted port probes.
fn probing(facts: &Facts<'_>) -> Condition {
    let idle: Vec<String> = facts
        .planned
        .iter()
        .filter_map(|local| {
            let reason = match &facts.health(local)?.state {
                PortActivity::Probing => return None,
                PortActivity::Waiting { reason } | PortActivity::Released { reason } => reason,
            };
            Some(format!("{local}: {reason}"))
        })
        .collect();
    let unknown = facts
        .planned
        .iter()
        .find(|local| facts.health(local).is_none());
    let (status, reason, message) = if let Some(error) = &facts.survey.error {
        ("Unknown", "InventoryFailed", error.clone())
    } else if let Some(gap) = &facts.survey.provider_gap {
        ("False", "ProviderMissing", gap.clone())
    } else if facts.planned.is_empty() {
        let message = "no mesh wants this node to probe".to_owned();
        ("Unknown", "NotAssigned", message)
    } else if !idle.is_empty() {
        ("False", "PortNotProbing", idle.join("; "))
    } else if let Some(local) = unknown {
        (
            "False",
            "PortNotProbing",
            format!("{local}: there is no such port"),
        )
    } else {
        let message = format!("{} ports probe", facts.planned.len());
        ("True", "Probing", message)
    };
    condition(
        (PROBING, status),
        (reason, message),
        None,
        facts.now,
        facts.before_conditions(),
    )
}

#[cfg(test)]
mod tests;
