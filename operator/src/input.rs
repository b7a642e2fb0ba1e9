//! The build step: valid meshes, nodes and inventories become the planner's input. Pure.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use kube::core::SelectorExt;
use rdmamesh_api::node::{PORT_ACTIVE, PortStatus};
use rdmamesh_fabric::plan::{Availability, Member, MeshInput, NodeState, PlanInput, Rnic};

use crate::select::Picked;
use crate::validate::ValidMesh;
use crate::watch::{AssignmentView, EntryView, InventoryView, NodeView, Views};

/// Decides the planner's arbitrary choices; another number would reshuffle every cluster's plan.
const SEED: u64 = 0x7264_6d61_6d65_7368;

/// What the planner is told about `meshes` at `now`. Suspended ones are left out: they have no plan.
#[must_use]
pub fn plan_input<'a>(
    meshes: impl IntoIterator<Item = &'a ValidMesh>,
    nodes: &Views<NodeView>,
    inventories: &Views<InventoryView>,
    assignments: &Views<AssignmentView>,
    now: Timestamp,
) -> PlanInput {
    let planned = meshes.into_iter().filter(|mesh| !mesh.suspended);
    PlanInput {
        seed: SEED,
        meshes: planned
            .map(|mesh| MeshInput {
                name: mesh.name.as_str().into(),
                policy: mesh.policy.clone(),
                members: members(mesh, nodes, inventories, assignments, now),
            })
            .collect(),
    }
}

fn members(
    mesh: &ValidMesh,
    nodes: &Views<NodeView>,
    inventories: &Views<InventoryView>,
    assignments: &Views<AssignmentView>,
    now: Timestamp,
) -> Vec<Member> {
    nodes
        .values()
        .filter(|node| mesh.selector.matches(&node.labels))
        .map(|node| {
            let inventory = inventories.get(&node.name).map(AsRef::as_ref);
            let assignment = assignments.get(&node.name);
            let entry = assignment.and_then(|assignment| assignment.entries.get(&mesh.name));
            member(mesh, node, inventory, entry, now)
        })
        .collect()
}

fn member(
    mesh: &ValidMesh,
    node: &NodeView,
    inventory: Option<&InventoryView>,
    entry: Option<&EntryView>,
    now: Timestamp,
) -> Member {
    let status = inventory.and_then(|inventory| inventory.status.as_ref());
    let state = match (node.state, status) {
        (NodeState::Ready, None) => NodeState::NoInventory,
        (state, _) => state,
    };
    Member {
        node: node.name.as_str().into(),
        state,
        group: node
            .labels
            .get(&mesh.group_label)
            .map(|group| Arc::from(group.as_str())),
        control_address: status
            .and_then(|status| status.control_address.parse::<SocketAddr>().ok()),
        rnics: inventory
            .into_iter()
            .flat_map(|inventory| inventory.ports().iter().map(move |port| (inventory, port)))
            .filter_map(|(inventory, port)| {
                rnic(mesh, port, (entry, inventory.flaps.hold_at(port, now)))
            })
            .collect(),
    }
}

/// The RNIC at `port`, where the mesh picks it; `entry` is the node's part in the plan so far, `hold` how long
/// it is kept out of it although it may be up.
fn rnic(
    mesh: &ValidMesh,
    port: &PortStatus,
    (entry, hold): (Option<&EntryView>, Option<Duration>),
) -> Option<Rnic> {
    if mesh.devices.picks(port) == Picked::No {
        return None;
    }
    let assigned = entry.is_some_and(|entry| {
        let mut rnics = entry.rnics.iter();
        rnics.any(|rnic| rnic.device.as_str() == port.device && rnic.port == port.port)
    });
    let available = match hold {
        Some(hold) => Err(format!(
            "its port goes down again and again; it takes part when it has stayed up for {hold:?}"
        )),
        None => availability(mesh, port, assigned),
    };
    let (gid_index, availability) = match available {
        Ok((index, address)) => (Some(index), Availability::Usable(address)),
        Err(reason) => (None, Availability::Unusable(reason.into())),
    };
    Some(Rnic {
        device: port.device.as_str().into(),
        port: port.port,
        rail: None,
        gid_index,
        availability,
    })
}

/// GID index and address, or one clause that says why the RNIC cannot take part.
///
/// An RNIC that its agent cannot open although its port is up does not enter the plan, but stays in it once
/// `assigned`: an agent opens what is in its plan, so taking it out would only make it look usable again.
fn availability(
    mesh: &ValidMesh,
    port: &PortStatus,
    assigned: bool,
) -> Result<(u16, rdmamesh_fabric::plan::Address), String> {
    if port.state != PORT_ACTIVE {
        return Err(match port.physical_state.as_str() {
            "" => format!("its port is {}", port.state),
            physical => format!("its port is {} ({physical})", port.state),
        });
    }
    if !port.usable && !assigned {
        let why = port
            .reason
            .as_deref()
            .unwrap_or("its agent does not say why");
        return Err(format!("it cannot be used: {why}"));
    }
    mesh.gid.of(port, mesh.devices.via_route())
}

#[cfg(test)]
mod tests;
