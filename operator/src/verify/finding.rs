//! What follows from what was seen. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::jiff::Timestamp;
use rdmamesh_api::RdmaNode;
use rdmamesh_api::node::DoctorOutcome;

use super::Seen;
use crate::conditions::FirstFive;

/// A Lease lasts 15 s; one that nobody has renewed for twice that has no holder any more.
const LEASE_FRESH_SECONDS: i64 = 30;

/// How good it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// In place.
    Ok,
    /// Works, but not everywhere.
    Warn,
    /// Does not work.
    Fail,
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How good it is.
    pub level: Level,
    /// What was looked at.
    pub about: &'static str,
    /// What was found, and what to do.
    pub text: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = match self.level {
            Level::Ok => "ok",
            Level::Warn => "warn",
            Level::Fail => "FAIL",
        };
        write!(f, "{level:<5} {}: {}", self.about, self.text)
    }
}

fn finding(level: Level, about: &'static str, text: impl Into<String>) -> Finding {
    Finding {
        level,
        about,
        text: text.into(),
    }
}

/// Everything worth a line, at time `now`; `resource` is what the agents ask for.
#[must_use]
pub fn findings(seen: &Seen, resource: Option<&str>, now: Timestamp) -> Vec<Finding> {
    let mut lines = vec![api(seen), operator(seen, now)];
    if let Some(resource) = resource {
        lines.push(devices(&seen.nodes, resource));
    }
    lines.push(agents(seen));
    lines.extend(coverage(seen));
    lines
}

fn api(seen: &Seen) -> Finding {
    match &seen.api_missing {
        None => finding(Level::Ok, "api", "RdmaMesh is served"),
        Some(why) => finding(
            Level::Fail,
            "api",
            format!("RdmaMesh is not served ({why}): install the chart with crds.install=true"),
        ),
    }
}

fn operator(seen: &Seen, now: Timestamp) -> Finding {
    let spec = seen.lease.as_ref().and_then(|lease| lease.spec.as_ref());
    let holder = spec.and_then(|spec| {
        let renewed = spec.renew_time.as_ref()?.0;
        let fresh = now.as_second() - renewed.as_second() <= LEASE_FRESH_SECONDS;
        let holder = spec.holder_identity.as_deref()?;
        (fresh && !holder.is_empty()).then_some(holder)
    });
    match holder {
        Some(holder) => finding(Level::Ok, "operator", format!("{holder} leads")),
        None => finding(
            Level::Fail,
            "operator",
            "no replica leads, so nothing is planned: see `kubectl logs deployment/rdmamesh-operator` in its namespace",
        ),
    }
}

/// Nodes that advertise the resource; where none does, what they advertise instead.
fn devices(nodes: &[Node], resource: &str) -> Finding {
    let allocatable = |node: &Node| {
        let status = node.status.as_ref();
        status.and_then(|status| status.allocatable.clone())
    };
    let some = |quantity: &str| quantity.trim() != "0";
    let with = nodes
        .iter()
        .filter(|node| {
            let has = allocatable(node).and_then(|all| all.get(resource).cloned());
            has.is_some_and(|quantity| some(&quantity.0))
        })
        .count();
    if with > 0 {
        let text = format!("{with} of {} nodes advertise {resource}", nodes.len());
        return finding(Level::Ok, "devices", text);
    }
    let others: BTreeSet<String> = nodes
        .iter()
        .filter_map(allocatable)
        .flatten()
        .filter(|(name, quantity)| name.contains('/') && some(&quantity.0))
        .map(|(name, _)| name)
        .collect();
    let instead = if others.is_empty() {
        "they advertise no such resource at all: is the device plugin running?".to_owned()
    } else {
        let others: FirstFive = others.into_iter().collect();
        format!("they advertise {others}: set deviceAccess.external.resourceName to the right one")
    };
    let text = format!("no node advertises {resource}, which the agents ask for; {instead}");
    finding(Level::Fail, "devices", text)
}

fn agents(seen: &Seen) -> Finding {
    let agents = pods_of(seen, "agent");
    if agents.is_empty() {
        return finding(
            Level::Fail,
            "agents",
            "there is no agent pod: agent.nodeSelector or deviceAccess.external.nodeSelector selects no node, or see \
             `kubectl describe daemonset rdmamesh-agent`",
        );
    }
    let total = agents.len();
    let others = pods_of(seen, "device-plugin");
    let ill: Vec<&Pod> = others
        .into_iter()
        .chain(agents)
        .filter(|pod| !is_ready(pod))
        .collect();
    let Some(first) = ill.first() else {
        return finding(Level::Ok, "agents", format!("{total} are ready"));
    };
    let name = first.metadata.name.as_deref().unwrap_or_default();
    let why = why_not_ready(first, seen);
    let more = match ill.len() - 1 {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
    finding(
        Level::Fail,
        "agents",
        format!("{name}{} is not ready: {why}{more}", place(first)),
    )
}

fn pods_of<'a>(seen: &'a Seen, component: &str) -> Vec<&'a Pod> {
    let is_it = |pod: &&Pod| {
        let labels = pod.metadata.labels.as_ref();
        labels
            .and_then(|labels| labels.get("app.kubernetes.io/component"))
            .is_some_and(|label| label == component)
    };
    let there = |pod: &&Pod| pod.metadata.deletion_timestamp.is_none();
    seen.pods.iter().filter(is_it).filter(there).collect()
}

fn place(pod: &Pod) -> String {
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
    node.map_or_else(String::new, |node| format!(" on {node}"))
}

fn is_ready(pod: &Pod) -> bool {
    condition(pod, "Ready").is_some_and(|(status, _)| status == "True")
}

fn condition<'a>(pod: &'a Pod, type_: &str) -> Option<(&'a str, Option<&'a str>)> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let found = conditions
        .iter()
        .find(|condition| condition.type_ == type_)?;
    Some((&found.status, found.message.as_deref()))
}

/// The nearest cause: not scheduled, a container that waits or ended, else the newest warning about the pod.
fn why_not_ready(pod: &Pod, seen: &Seen) -> String {
    if let Some(("False", Some(message))) = condition(pod, "PodScheduled") {
        return message.to_owned();
    }
    let containers = pod
        .status
        .as_ref()
        .and_then(|status| status.container_statuses.as_ref());
    for state in containers.into_iter().flatten() {
        let last = state
            .last_state
            .as_ref()
            .and_then(|last| last.terminated.as_ref());
        let waiting = state.state.as_ref().and_then(|now| now.waiting.as_ref());
        let reason = waiting.and_then(|waiting| waiting.reason.as_deref());
        let message = waiting.and_then(|waiting| waiting.message.as_deref());
        match (reason, message, last) {
            (Some(_), _, Some(last)) => {
                let logs = format!(
                    "`kubectl logs {} -c {} --previous`",
                    pod.metadata.name.as_deref().unwrap_or_default(),
                    state.name
                );
                return format!(
                    "{} ended with code {}, see {logs}",
                    state.name, last.exit_code
                );
            }
            (Some("ContainerCreating" | "PodInitializing"), None, None) | (None, _, _) => {}
            (Some(reason), message, None) => {
                return format!("{}: {reason} {}", state.name, message.unwrap_or_default())
                    .trim()
                    .to_owned();
            }
        }
    }
    newest_warning(pod, seen).unwrap_or_else(|| "it is starting".to_owned())
}

fn newest_warning(pod: &Pod, seen: &Seen) -> Option<String> {
    let uid = pod.metadata.uid.as_ref()?;
    let about = seen.events.iter().filter(|event| {
        event.involved_object.uid.as_ref() == Some(uid) && event.type_.as_deref() == Some("Warning")
    });
    let newest = about.max_by_key(|event| {
        let time = event.last_timestamp.as_ref().map(|time| time.0);
        time.or(event.event_time.as_ref().map(|time| time.0))
    })?;
    newest.message.clone()
}

/// Nodes with an agent: how many can probe, and why the others cannot.
fn coverage(seen: &Seen) -> Vec<Finding> {
    if seen.inventories.is_empty() {
        let text = "no agent has published a RdmaNode yet: see the agents' logs";
        return vec![finding(Level::Fail, "rdma", text)];
    }
    let usable: usize = seen.inventories.iter().map(usable_ports).sum();
    let covered = seen
        .inventories
        .iter()
        .filter(|node| usable_ports(node) > 0)
        .count();
    let total = seen.inventories.len();
    let level = if covered == 0 { Level::Fail } else { Level::Ok };
    let text = format!("{covered} of {total} nodes have usable RNICs, {usable} in all");
    let mut lines = vec![finding(level, "rdma", text)];
    // Nodes with the same trouble share a line.
    let mut causes: BTreeMap<String, FirstFive> = BTreeMap::new();
    for node in seen
        .inventories
        .iter()
        .filter(|node| usable_ports(node) == 0)
    {
        let name = node.metadata.name.clone().unwrap_or_default();
        causes.entry(why_not_covered(node)).or_default().push(name);
    }
    lines.extend(causes.into_iter().map(|(cause, nodes)| {
        finding(
            Level::Warn,
            "rdma",
            format!("not covered: {nodes}: {cause}"),
        )
    }));
    lines
}

fn usable_ports(node: &RdmaNode) -> usize {
    let ports = node.status.iter().flat_map(|status| &status.ports);
    ports.filter(|port| port.usable).count()
}

fn why_not_covered(node: &RdmaNode) -> String {
    let Some(status) = &node.status else {
        return "its agent has not reported yet".to_owned();
    };
    let failed = status
        .doctor
        .iter()
        .find(|check| check.outcome == DoctorOutcome::Fail);
    if let Some(check) = failed {
        return match &check.remedy {
            Some(remedy) => format!("{}; do: {remedy}", check.message),
            None => check.message.clone(),
        };
    }
    let reason = status.ports.iter().find_map(|port| port.reason.clone());
    reason.unwrap_or_else(|| "it has no RDMA port".to_owned())
}

#[cfg(test)]
mod tests;
