//! From the assignment that the operator wrote to the plan that the data path carries out. Pure, and
//! it never fails: an entry that cannot be carried out is left out and counted with a reason, which
//! ends up in the mesh's condition.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use rdmamesh_api::assignment::{AssignedRnic, MeshAssignment, RdmaProbeAssignmentSpec};

use crate::model::{GidIndex, LocalPort, PortPlan, ProbePlan, Target};

mod target;

/// Reasons kept per mesh; further ones are only counted.
const REASONS_KEPT: usize = 3;

/// What an assignment means to this agent.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AgentPlan {
    /// What the data path shall do.
    pub probes: ProbePlan,
    /// What the results are judged by and reported as, in order of the mesh names.
    pub meshes: Vec<MeshPlan>,
    /// `metadata.generation` of the assignment.
    pub generation: Option<i64>,
    /// `metadata.uid` of the assignment: another object knows nothing of what was written before.
    pub uid: Option<Arc<str>>,
}

/// The part of one mesh.
#[derive(Debug, Clone, PartialEq)]
pub struct MeshPlan {
    /// Name of the RdmaMesh.
    pub name: Arc<str>,
    /// Hash of the mesh's part of the assignment, reported back with the results.
    pub plan_hash: String,
    /// What counts as ill.
    pub thresholds: Thresholds,
    /// Local ports that probe for this mesh.
    pub ports: Vec<LocalPort>,
    /// RDMA targets in force; the plain-IP baseline that comes with each peer is not counted.
    pub targets: usize,
    /// Targets left out.
    pub skipped: Skipped,
}

pub use rdmamesh_fabric::report::Limit as Thresholds;

/// Targets that cannot be probed as the assignment has them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Skipped {
    /// How many.
    pub count: usize,
    /// Why: the first few different reasons.
    pub reasons: Vec<String>,
}

impl Skipped {
    fn add(&mut self, count: usize, reason: String) {
        if count == 0 {
            return;
        }
        self.count += count;
        if self.reasons.len() < REASONS_KEPT && !self.reasons.contains(&reason) {
            self.reasons.push(reason);
        }
    }
}

/// Translates the assignment of the node called `node`.
pub fn translate(node: &str, spec: &RdmaProbeAssignmentSpec, generation: Option<i64>) -> AgentPlan {
    let mut meshes: Vec<&MeshAssignment> = spec.meshes.iter().collect();
    meshes.sort_by(|a, b| a.name.cmp(&b.name));
    meshes.dedup_by(|a, b| a.name == b.name);
    let mut ports = Ports::default();
    let meshes: Vec<MeshPlan> = meshes
        .into_iter()
        .map(|mesh| translate_mesh(node, mesh, &mut ports))
        .collect();
    AgentPlan {
        probes: ProbePlan {
            ports: ports.0.into_values().collect(),
        },
        meshes,
        generation,
        uid: None,
    }
}

/// Port plans so far. A port has one GID index, whoever asks for it.
#[derive(Default)]
struct Ports(BTreeMap<LocalPort, PortPlan>);

impl Ports {
    /// The plan of `local`, or the GID index that stands in the way.
    fn claim(&mut self, local: &LocalPort, gid: GidIndex) -> Result<&mut PortPlan, u16> {
        let plan = self.0.entry(local.clone()).or_insert_with(|| PortPlan {
            local: local.clone(),
            gid_index: gid,
            targets: Vec::new(),
        });
        match (plan.gid_index, gid) {
            (GidIndex::Auto, wanted) => plan.gid_index = wanted,
            (GidIndex::Fixed(has), GidIndex::Fixed(wanted)) if has != wanted => return Err(has),
            (GidIndex::Fixed(_), _) => {}
        }
        Ok(plan)
    }
}

fn translate_mesh(node: &str, mesh: &MeshAssignment, ports: &mut Ports) -> MeshPlan {
    let name: Arc<str> = Arc::from(mesh.name.as_str());
    let mut plan = MeshPlan {
        name: Arc::clone(&name),
        plan_hash: mesh.plan_hash.clone(),
        thresholds: Thresholds {
            loss_ratio: mesh.loss_ratio,
            p99: mesh.p99.get(),
        },
        ports: Vec::new(),
        targets: 0,
        skipped: Skipped::default(),
    };
    let context = target::Context::new(node, name, mesh);
    let mut baselined = BTreeSet::new();
    for rnic in &mesh.rnics {
        translate_rnic(&context, rnic, ports, &mut baselined, &mut plan);
    }
    plan
}

/// `baselined` are the hosts that the mesh's plain-IP baseline reaches already: one RNIC speaks for all.
fn translate_rnic(
    context: &target::Context<'_>,
    rnic: &AssignedRnic,
    ports: &mut Ports,
    baselined: &mut BTreeSet<Option<SocketAddr>>,
    mesh: &mut MeshPlan,
) {
    if rnic.device.is_empty() || rnic.port == 0 {
        let reason = "a local RNIC has no device name or port 0".to_owned();
        return mesh.skipped.add(rnic.targets.len(), reason);
    }
    let local = LocalPort::new(rnic.device.as_str(), rnic.port);
    let gid = rnic.gid_index.map_or(GidIndex::Auto, GidIndex::Fixed);
    let port = match ports.claim(&local, gid) {
        Ok(port) => port,
        Err(other) => {
            let reason = format!("{local} already probes with GID index {other} for another mesh");
            return mesh.skipped.add(rnic.targets.len(), reason);
        }
    };
    let local_group: Arc<str> = Arc::from(rnic.group.as_str());
    // Targets of other meshes never collide: the key holds the mesh.
    let mut seen = BTreeSet::new();
    for wanted in &rnic.targets {
        match context.target(&local, &local_group, wanted) {
            Ok(target) if seen.insert(target.key()) => {
                let control = context.control(&target);
                let control = control.filter(|_| baselined.insert(target.peer.control));
                port.targets.extend(control.map(Arc::<Target>::new));
                port.targets.push(Arc::<Target>::new(target));
                mesh.targets += 1;
            }
            Ok(target) => {
                let reason = format!("{} is listed twice", target.peer.rnic_name());
                mesh.skipped.add(1, reason);
            }
            Err(reason) => mesh.skipped.add(1, reason.to_string()),
        }
    }
    if !mesh.ports.contains(&local) {
        mesh.ports.push(local);
    }
}

#[cfg(test)]
mod tests;
