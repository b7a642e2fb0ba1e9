//! The probe plan: who probes whom, with how many flows, how often.
//!
//! [`plan`] is a pure function of [`PlanInput`]; the operator calls it whenever nodes, inventories or
//! mesh specs change and writes what differs ([`PlanHash`] tells) into the nodes' assignments.

mod findings;
mod input;
mod output;

pub use findings::{Finding, Names};
pub use input::{
    Address, Availability, Budget, Classes, Member, MeshInput, MeshPolicy, NodeState, PlanInput,
    Probing, Rnic, Thresholds, Topology, TrafficClass,
};
pub use output::{
    AssignedTarget, Counts, Coverage, GroupPairCoverage, LocalRnic, MeshPlan, NodeAssignment, Plan,
    PlanHash, ProbeClass,
};

/// Plans every mesh of `input`.
///
/// Deterministic, and independent of the order of meshes, members and RNICs in the input.
#[must_use]
pub fn plan(input: &PlanInput) -> Plan {
    let mut plan = Plan::default();
    for mesh in &input.meshes {
        plan.meshes.insert(mesh.name.clone(), MeshPlan::default());
    }
    plan
}
