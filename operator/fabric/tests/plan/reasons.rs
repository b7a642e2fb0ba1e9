//! What a plan tells its reader.

use std::sync::Arc;

use rdmamesh_fabric::plan::{Availability, Finding, MeshPlan, NodeState, ProbeClass};

use crate::fabric::{every, node, only, plan_one, policy, racks};

fn sentences(plan: &MeshPlan) -> Vec<String> {
    plan.findings.iter().map(ToString::to_string).collect()
}

#[track_caller]
fn assert_says(plan: &MeshPlan, parts: &[&str]) {
    let said = sentences(plan);
    assert!(
        said.iter()
            .any(|sentence| parts.iter().all(|part| sentence.contains(part))),
        "nothing says {parts:?}: {said:?}"
    );
}

#[test]
fn a_mesh_with_nothing_to_complain_about_says_nothing() {
    assert_eq!(
        sentences(&plan_one(policy(), racks(2, 4, 1))),
        Vec::<String>::new()
    );
}

#[test]
fn an_empty_mesh_is_an_empty_plan() {
    let plan = plan_one(policy(), Vec::new());
    assert_eq!(plan.counts.nodes, 0);
    assert_eq!(plan.nodes().count(), 0);
    assert!(
        (plan.coverage.achieved - 1.0).abs() < 1e-12,
        "there is nothing to cover"
    );
}

#[test]
fn nodes_without_the_label_form_one_group_and_are_named() {
    let mut members = racks(1, 5, 1);
    for member in &mut members[..4] {
        member.group = None;
    }
    members[3].group = Some(Arc::from(""));
    let plan = plan_one(policy(), members);
    assert_eq!(plan.counts.groups, 2);
    let entry = plan.assignment(&"node-00000".into()).expect("takes part");
    assert_eq!(entry.group.as_str(), "(unlabelled)");
    assert_says(
        &plan,
        &["group label is missing", "node-00000", "and 1 more"],
    );
}

#[test]
fn left_out_nodes_are_named_with_the_reason() {
    let mut members = racks(1, 8, 1);
    let states = [
        (NodeState::Cordoned, "cordoned"),
        (NodeState::NotReady, "not ready"),
        (NodeState::Deleting, "being deleted"),
        (NodeState::Rolling, "being restarted"),
        (NodeState::NoInventory, "no inventory"),
    ];
    for (member, (state, _)) in members.iter_mut().zip(states) {
        member.state = state;
    }
    members[5].control_address = None;
    let plan = plan_one(policy(), members);
    for (nth, (_, words)) in states.into_iter().enumerate() {
        assert_says(&plan, &[words, &format!("node-0000{nth}")]);
    }
    assert_says(&plan, &["control address", "node-00005"]);
    assert_eq!(plan.counts.nodes, 2);
}

#[test]
fn unusable_rnics_are_named_with_the_reason() {
    let mut members = racks(1, 3, 2);
    members[1].rnics[0].availability = Availability::Unusable(Arc::from("port is down"));
    members[2].rnics.truncate(1);
    members[2].rnics[0].availability = Availability::Unusable(Arc::from("no RoCEv2 GID"));
    let plan = plan_one(policy(), members);
    assert_says(&plan, &["node-00001/mlx5_0", "port is down"]);
    assert_says(&plan, &["node-00002/mlx5_0", "no RoCEv2 GID"]);
    assert_says(&plan, &["no selected RNIC is usable", "node-00002"]);
}

#[test]
fn a_group_of_one_host_is_named_because_tor_mesh_cannot_probe_there() {
    let mut members = racks(1, 3, 1);
    members.push(node(9, "lonely", 2));
    assert_says(&plan_one(policy(), members), &["only one host", "lonely"]);
}

#[test]
fn rnics_with_too_few_probers_are_named() {
    // Sixteen RNICs want two probers each; the two other hosts have four slots together.
    let mut policy = only(ProbeClass::TorMesh);
    policy.budget.max_peers_per_rnic = 2;
    let members = vec![node(0, "a", 16), node(1, "a", 1), node(2, "a", 1)];
    let plan = plan_one(policy, members);
    assert_says(&plan, &["fewer than two others", "node-00000/mlx5_"]);
}

#[test]
fn a_stretched_interval_is_told() {
    let mut policy = policy();
    policy.budget.max_probes_per_second = 10;
    let plan = plan_one(policy, racks(1, 4, 4));
    assert_says(
        &plan,
        &["intervals are up to 16 times longer", "node-00000"],
    );
}

#[test]
fn a_cap_is_told_with_the_limit_that_causes_it() {
    let mut by_peers = only(ProbeClass::TorMesh);
    by_peers.budget.max_peers_per_rnic = 5;
    assert_says(
        &plan_one(by_peers, racks(1, 10, 1)),
        &["torMesh probes 5 of 9 peers", "maxPeersPerRnic"],
    );
    let mut by_rate = only(ProbeClass::TorMesh);
    by_rate.budget.max_probes_per_second = 50;
    assert_says(
        &plan_one(by_rate, racks(1, 10, 1)),
        &["torMesh probes 5 of 9 peers", "maxProbesPerSecond"],
    );
}

#[test]
fn missing_coverage_is_told_with_what_is_achieved() {
    let mut policy = only(ProbeClass::InterTor);
    policy.budget.max_probes_per_second = 5;
    let plan = plan_one(policy, racks(3, 1, 1));
    let Some(Finding::CoverageShort { short, flows, .. }) = plan.findings.last() else {
        panic!("{:?}", plan.findings);
    };
    assert_eq!((*short, *flows), ((6, 6), 2));
    assert_says(
        &plan,
        &["6 of 6 group pairs", "the 21 flows", "the worst has 2"],
    );
}

#[test]
fn lists_of_names_stay_short_however_many_there_are() {
    let mut members = racks(1, 500, 1);
    for member in &mut members {
        member.state = NodeState::Cordoned;
    }
    let plan = plan_one(policy(), members);
    assert_says(&plan, &["cordoned", "and 497 more"]);
    assert!(sentences(&plan).iter().all(|sentence| sentence.len() < 200));
}

#[test]
fn every_class_that_is_on_is_listed_in_the_entry() {
    let mut policy = policy();
    policy.classes.insert(ProbeClass::Service, every(10));
    let plan = plan_one(policy, racks(1, 2, 1));
    let entry = plan.assignment(&"node-00000".into()).expect("takes part");
    let classes: Vec<_> = entry
        .classes
        .iter()
        .map(|(class, _)| class.as_str())
        .collect();
    assert_eq!(classes, ["torMesh", "interTor", "service", "control"]);
}
