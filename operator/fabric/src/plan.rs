//! The probe plan: who probes whom, with how many flows, how often.
//!
//! [`plan`] is a pure function of [`PlanInput`]; the operator calls it whenever nodes, inventories or
//! mesh specs change and writes what differs ([`PlanHash`] tells) into the nodes' assignments.

mod assignment;
mod findings;
mod in_degree;
mod index;
mod input;
mod inter_tor;
mod near;
mod output;
mod rings;
mod share;
mod spread;
mod summary;
mod targets;

use std::collections::BTreeMap;

pub use assignment::{AssignedTarget, LocalRnic, NodeAssignment, PlanHash};
pub use findings::{Finding, Names};
pub use input::{
    Address, Availability, Budget, Classes, Member, MeshInput, MeshPolicy, NodeState, PlanInput,
    Probing, Rnic, Thresholds, Topology, TrafficClass,
};
pub use output::{Counts, Coverage, GroupPairCoverage, MeshPlan, Plan, ProbeClass};

use crate::coverage;
use index::Index;
use share::{Claim, Shares};
use targets::Targets;

/// Plans every mesh of `input`.
///
/// Deterministic, and independent of the order of meshes, members and RNICs in the input. A node or an
/// RNIC that comes or goes changes the assignments of its own peers and few others.
#[must_use]
pub fn plan(input: &PlanInput) -> Plan {
    let meshes: BTreeMap<_, _> = input.meshes.iter().map(|mesh| (&mesh.name, mesh)).collect();
    let built: Vec<_> = meshes
        .values()
        .map(|mesh| (*mesh, Index::build(input.seed, mesh)))
        .collect();
    let claims: Vec<Claim<'_>> = built
        .iter()
        .map(|(mesh, (index, _))| Claim {
            mesh,
            index,
            wants: wants(mesh, index),
        })
        .collect();
    let shares = share::split(&claims);
    let wants: Vec<_> = claims.into_iter().map(|claim| claim.wants).collect();
    let meshes = built
        .into_iter()
        .zip(shares)
        .zip(wants)
        .map(|(((mesh, (index, findings)), shares), wants)| {
            let plan = plan_mesh(mesh, index, &shares, &wants, findings);
            (mesh.name.clone(), plan)
        })
        .collect();
    Plan { meshes }
}

/// Flows that each ordered pair of groups needs; 0 where interTor is off.
fn flows_wanted(policy: &MeshPolicy) -> u32 {
    if policy.classes.contains_key(&ProbeClass::InterTor) {
        coverage::flows_for(policy.topology.parallel_paths, policy.coverage)
    } else {
        0
    }
}

/// Peers (for interTor: flows) that each RNIC has for every class that is on.
fn wants(mesh: &MeshInput, index: &Index) -> Vec<share::Wants> {
    let is_on = |class| u64::from(mesh.policy.classes.contains_key(&class));
    let inter_tor = inter_tor::wants(index, flows_wanted(&mesh.policy));
    let rail = near::rail_wants(index);
    let host = near::host_wants(index);
    (0..index::number(index.rnics.len()))
        .map(|rnic| {
            let at = rnic as usize;
            [
                is_on(ProbeClass::TorMesh) * index.others_in_cell(rnic) as u64,
                inter_tor[at],
                is_on(ProbeClass::Rail) * rail[at],
                is_on(ProbeClass::HostMesh) * host[at],
            ]
        })
        .collect()
}

fn plan_mesh(
    mesh: &MeshInput,
    index: Index,
    shares: &Shares,
    wants: &[share::Wants],
    findings: Vec<Finding>,
) -> MeshPlan {
    let policy = &mesh.policy;
    let mut edges = Vec::new();
    let short = near::tor_mesh(&index, &shares.rnics, &mut edges);
    near::rail(&index, &shares.rnics, &mut edges);
    near::host_mesh(&index, &shares.rnics, &mut edges);
    let flows = flows_wanted(policy);
    let quotas = inter_tor::quotas(&index, policy, shares, flows);
    let achieved = spread::place(&index, policy, shares, (flows, &quotas), &mut edges);
    let targets = Targets::collect(index.rnics.len(), &edges);
    drop(edges);
    let coverage = summary::coverage(&index, policy, flows, &quotas, achieved);
    let figures = summary::figures(&index, policy, shares, &targets);
    let findings = summary::findings(
        findings,
        &summary::Outcome {
            index: &index,
            policy,
            shares,
            wants,
            targets: &targets,
            coverage: &coverage,
            short: &short,
        },
    );
    MeshPlan::new(
        policy.clone(),
        index,
        shares,
        targets,
        figures,
        coverage,
        findings,
    )
}
