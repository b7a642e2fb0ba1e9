//! What is kept of a `RdmaNode`: the status, which is all there is.

use k8s_openapi::jiff::Timestamp;
use kube::Resource;
use kube::core::DeserializeGuard;
use rdmamesh_api::node::PortStatus;
use rdmamesh_api::{RdmaNode, RdmaNodeStatus};

use super::{Flaps, Triggers, View};

/// Reason of an agent's condition `Probing` when it could not survey its machine.
const INVENTORY_FAILED: &str = "InventoryFailed";

/// The inventory of a node.
#[derive(Clone, Debug, PartialEq)]
pub struct InventoryView {
    /// Name of the node.
    pub name: String,
    /// What the agent wrote last when it could survey its machine: a survey that failed shows no ports, and
    /// must not make them look gone. `None` while there was none, or where it cannot be read.
    pub status: Option<RdmaNodeStatus>,
    /// When the status was first seen as it is, by this host's clock; where that was before this process
    /// started, when the agent says that it wrote it.
    pub reported_at: Option<Timestamp>,
    /// Ports that went down lately.
    pub flaps: Flaps,
    /// When this was read.
    pub seen: Timestamp,
}

impl View for InventoryView {
    type Object = DeserializeGuard<RdmaNode>;

    fn of(object: Self::Object, now: Timestamp) -> Self {
        let name = object.meta().name.clone().unwrap_or_default();
        let status = match object.0 {
            Ok(node) => node.status.filter(|status| {
                let mut conditions = status.conditions.iter();
                !conditions.any(|condition| condition.reason == INVENTORY_FAILED)
            }),
            Err(invalid) => {
                tracing::warn!(
                    node = name,
                    error = invalid.error,
                    "an inventory cannot be read"
                );
                None
            }
        };
        let written = status
            .as_ref()
            .and_then(|status| status.reported_at.as_ref());
        Self {
            reported_at: written.map(|written| written.0.min(now)),
            name,
            status,
            flaps: Flaps::default(),
            seen: now,
        }
    }

    fn following(mut self, previous: &Self, now: Timestamp) -> Self {
        if self.status.is_none() {
            self.status.clone_from(&previous.status);
        }
        if self.status == previous.status {
            self.reported_at = previous.reported_at;
        } else if self.reported_at.is_some() {
            self.reported_at = Some(now);
        }
        self.flaps = previous
            .flaps
            .following(previous.ports(), self.ports(), now);
        self
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn triggers(old: Option<&Self>, new: Option<&Self>) -> Triggers {
        Triggers {
            // A held port that comes up changes no plan yet, but the planner has to know when it will.
            plan: planned(old) != planned(new)
                || (release(new).is_some() && release(new) != release(old)),
            judge: judged(old) != judged(new),
            ..Triggers::default()
        }
    }
}

impl InventoryView {
    /// The ports that the agent lists.
    #[must_use]
    pub fn ports(&self) -> &[PortStatus] {
        self.status.as_ref().map_or(&[], |status| &status.ports)
    }
}

/// The part of an inventory that plans follow from: that of verdicts, but a port that is held out of the plan
/// looks the same up and down.
fn planned(view: Option<&InventoryView>) -> Option<(&str, Vec<PortStatus>)> {
    let (address, mut ports) = judged(view)?;
    let view = view?;
    for port in &mut ports {
        if view.flaps.is_held(port, view.seen) {
            *port = PortStatus {
                device: std::mem::take(&mut port.device),
                port: port.port,
                ..PortStatus::default()
            };
        }
    }
    Some((address, ports))
}

/// When the next of the node's ports that are held out of the plan takes part again.
fn release(view: Option<&InventoryView>) -> Option<Timestamp> {
    let view = view?;
    view.flaps.next_release(view.seen)
}

/// The part of an inventory that verdicts follow from: where the agent answers and what its ports are.
/// Firmware, doctor results, queue pair numbers and the agent's epoch are not part of it, so an agent that
/// restarts changes no plan.
fn judged(view: Option<&InventoryView>) -> Option<(&str, Vec<PortStatus>)> {
    let status = view?.status.as_ref()?;
    let ports = status.ports.iter().map(|port| PortStatus {
        device: port.device.clone(),
        port: port.port,
        link_layer: port.link_layer.clone(),
        state: port.state.clone(),
        physical_state: port.physical_state.clone(),
        netdev: port.netdev.clone(),
        lid: port.lid,
        gids: port.gids.clone(),
        usable: port.usable,
        reason: port.reason.clone(),
        ..PortStatus::default()
    });
    Some((&status.control_address, ports.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(edit: impl FnOnce(&mut RdmaNodeStatus)) -> InventoryView {
        let mut status = RdmaNodeStatus {
            control_address: "10.0.0.1:7475".to_owned(),
            ports: vec![PortStatus {
                device: "rxe0".to_owned(),
                state: "Active".to_owned(),
                ..PortStatus::default()
            }],
            ..RdmaNodeStatus::default()
        };
        edit(&mut status);
        InventoryView {
            name: "n".to_owned(),
            status: Some(status),
            reported_at: None,
            flaps: Flaps::default(),
            seen: Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn an_agent_that_restarts_changes_no_plan() {
        let old = view(|_| {});
        let new = view(|status| {
            status.epoch = "other".to_owned();
            status.ports[0].qpns = vec![17, 18];
        });
        assert_eq!(
            InventoryView::triggers(Some(&old), Some(&new)),
            Triggers::default()
        );
    }

    #[test]
    fn a_port_that_goes_down_asks_for_a_plan_and_a_verdict() {
        let old = view(|_| {});
        let new = view(|status| status.ports[0].state = "Down".to_owned());
        let triggers = InventoryView::triggers(Some(&old), Some(&new));
        assert!(triggers.plan && triggers.judge);
    }

    #[test]
    fn a_port_that_flaps_asks_for_a_verdict_each_time_and_for_a_plan_at_first_and_when_it_is_up_again()
     {
        let second = |second| Timestamp::from_second(second).expect("a small number is a time");
        let port = |up: bool| {
            view(|status| status.ports[0].state = if up { "Active" } else { "Down" }.to_owned())
        };
        let mut known = port(true);
        let plans: Vec<_> = (1..=8)
            .map(|turn| {
                let mut next = port(turn % 2 == 0);
                next.seen = second(turn * 5);
                let next = next.following(&known, second(turn * 5));
                let triggers = InventoryView::triggers(Some(&known), Some(&next));
                known = next;
                assert!(triggers.judge, "turn {turn}");
                triggers.plan
            })
            .collect();
        assert_eq!(plans, [true, true, true, true, false, true, false, true]);
    }

    #[test]
    fn a_survey_that_failed_does_not_make_ports_look_gone() {
        let failed: DeserializeGuard<RdmaNode> = serde_json::from_value(serde_json::json!({
            "apiVersion": "rdmamesh.io/v1alpha1", "kind": "RdmaNode", "metadata": {"name": "n"}, "spec": {},
            "status": {"ports": [], "conditions": [{"type": "Probing", "status": "Unknown",
                "reason": "InventoryFailed", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}]},
        }))
        .expect("an inventory");
        let failed = InventoryView::of(failed, Timestamp::UNIX_EPOCH);
        assert_eq!(failed.status, None, "nothing is known at first sight");
        let known = view(|_| {});
        let after = failed.following(&known, Timestamp::UNIX_EPOCH);
        assert_eq!(after.status, known.status);
        assert_eq!(
            InventoryView::triggers(Some(&known), Some(&after)),
            Triggers::default()
        );
    }

    #[test]
    fn an_agent_that_moves_asks_for_a_plan() {
        let old = view(|_| {});
        let new = view(|status| status.control_address = "10.0.0.2:7475".to_owned());
        assert!(InventoryView::triggers(Some(&old), Some(&new)).plan);
    }
}
