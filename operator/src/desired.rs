//! The plan in the API's words: what every assignment is to hold. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Resource;
use rdmamesh_api::RdmaMesh;
use rdmamesh_api::assignment::{AssignedClass, AssignedRnic, MeshAssignment, Target};
use rdmamesh_api::mesh::TrafficClass;
use rdmamesh_fabric::NodeName;
use rdmamesh_fabric::plan::{Address, AssignedTarget, LocalRnic, MeshPlan, NodeAssignment};

/// What all assignments together are to hold.
#[derive(Clone, Debug, Default)]
pub struct Desired {
    /// Entries by mesh.
    pub meshes: BTreeMap<String, DesiredMesh>,
    /// Meshes whose entries stay as they are, because nobody knows what they should be: an edit that
    /// cannot be understood does not switch off the probing that was in force before it.
    pub kept: BTreeSet<String>,
}

/// One mesh's entries.
#[derive(Clone, Debug)]
pub struct DesiredMesh {
    /// Identity of the mesh, which owns the assignments that it is part of.
    pub uid: String,
    /// Who probes whom.
    pub plan: Arc<MeshPlan>,
}

impl DesiredMesh {
    /// The entry of `node` for the mesh called `name`; `None` where the node takes no part.
    #[must_use]
    pub fn entry(&self, name: &str, node: &NodeName) -> Option<MeshAssignment> {
        self.plan
            .assignment(node)
            .map(|assignment| entry(name, &assignment))
    }
}

/// How an assignment refers to the mesh that owns it.
#[must_use]
pub fn owner(name: &str, uid: &str) -> OwnerReference {
    OwnerReference {
        api_version: RdmaMesh::api_version(&()).into_owned(),
        kind: RdmaMesh::kind(&()).into_owned(),
        name: name.to_owned(),
        uid: uid.to_owned(),
        block_owner_deletion: None,
        controller: None,
    }
}

fn entry(mesh: &str, assignment: &NodeAssignment) -> MeshAssignment {
    let classes = assignment
        .classes
        .iter()
        .map(|(class, probing)| AssignedClass {
            class: (*class).into(),
            interval: probing.interval.into(),
            timeout: probing.timeout.into(),
        });
    let traffic_classes = assignment.traffic_classes.iter().map(|class| TrafficClass {
        name: class.name.to_string(),
        dscp: class.dscp.into(),
        service_level: class.service_level.into(),
    });
    MeshAssignment {
        name: mesh.to_owned(),
        plan_hash: assignment.plan_hash.to_string(),
        group: assignment.group.to_string(),
        window: assignment.thresholds.window.into(),
        loss_ratio: assignment.thresholds.loss_ratio,
        p99: assignment.thresholds.p99.into(),
        classes: classes.collect(),
        traffic_classes: traffic_classes.collect(),
        rnics: assignment.rnics.iter().map(rnic).collect(),
    }
}

fn rnic(rnic: &LocalRnic) -> AssignedRnic {
    AssignedRnic {
        device: rnic.device.to_string(),
        port: rnic.port,
        gid_index: rnic.gid_index,
        group: rnic.group.to_string(),
        rail: rnic.rail,
        targets: rnic.targets.iter().map(target).collect(),
    }
}

fn target(target: &AssignedTarget) -> Target {
    let (gid, lid) = match target.address {
        Address::Roce(gid) => (Some(gid), None),
        Address::InfiniBand { lid, gid } => (gid, Some(lid)),
    };
    Target {
        class: target.class.into(),
        node: target.peer.node.to_string(),
        device: target.peer.device.to_string(),
        port: target.peer.port,
        group: target.group.to_string(),
        gid: gid.map(|gid| gid.to_string()),
        lid,
        control_address: target.control_address.to_string(),
        traffic_class: target.traffic_class.to_string(),
        flows: target.flows,
        seed: target.seed,
        interval: target.interval.into(),
    }
}

#[cfg(test)]
mod tests;
