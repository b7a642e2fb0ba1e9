//! One budget per node, shared by classes and meshes.

use std::time::Duration;

use proptest::prelude::*;
use rdmamesh_fabric::ProbeRate;
use rdmamesh_fabric::plan::{MeshPolicy, Plan, PlanInput, ProbeClass, plan};

use crate::fabric::{
    any_members, any_policy, assignments, every, in_degrees, mesh, only, plan_one, policy, racks,
    targets,
};

fn two(a: MeshPolicy, b: MeshPolicy) -> Plan {
    plan(&PlanInput {
        seed: 1,
        meshes: vec![mesh("a", a, racks(2, 20, 2)), mesh("b", b, racks(2, 20, 2))],
    })
}

fn rate_of(plan: &Plan, mesh: &str, node: &str) -> ProbeRate {
    let entry = plan.meshes[&mesh.into()].assignment(&node.into());
    entry.map_or(ProbeRate::ZERO, |entry| entry.rate)
}

proptest! {
    #[test]
    fn several_meshes_together_stay_within_the_strictest_budget(
        members in any_members(),
        policies in prop::collection::vec(any_policy(), 1..4),
    ) {
        let strictest = policies.iter().map(|p| p.budget.max_probes_per_second).min();
        let limit = ProbeRate::per_second(strictest.unwrap_or(0));
        let names = ["a", "b", "c"];
        let meshes = names.iter().zip(policies);
        let plan = plan(&PlanInput {
            seed: 1,
            meshes: meshes.map(|(name, policy)| mesh(name, policy, members.clone())).collect(),
        });
        for member in &members {
            let total: ProbeRate =
                names.iter().filter(|name| plan.meshes.contains_key(&(**name).into()))
                    .map(|name| rate_of(&plan, name, member.node.as_str()))
                    .sum();
            prop_assert!(total <= limit, "{}: {total} of {limit}", member.node);
        }
    }
}

#[test]
fn two_equal_meshes_get_equal_parts() {
    let plan = two(policy(), policy());
    let (a, b) = (
        rate_of(&plan, "a", "node-00003"),
        rate_of(&plan, "b", "node-00003"),
    );
    assert!(
        a.as_f64() > 200.0 && b.as_f64() > 200.0,
        "{a} and {b} of 500"
    );
    assert!((a.as_f64() - b.as_f64()).abs() < 25.0, "{a} and {b}");
}

#[test]
fn what_a_modest_mesh_leaves_goes_to_the_other() {
    let mut modest = only(ProbeClass::TorMesh);
    modest.classes.insert(ProbeClass::TorMesh, every(10_000));
    let mut greedy = policy();
    greedy.budget.max_probes_per_second = 300;
    modest.budget.max_probes_per_second = 300;
    let plan = two(greedy, modest);
    assert!(rate_of(&plan, "b", "node-00003").as_f64() < 10.0);
    assert!(rate_of(&plan, "a", "node-00003").as_f64() > 250.0);
}

#[test]
fn a_small_edit_of_one_mesh_leaves_the_other_alone() {
    let before = two(policy(), policy());
    let mut edited = policy();
    edited.thresholds.loss_ratio = 0.05;
    let after = two(edited, policy());
    assert_eq!(before.meshes[&"b".into()], after.meshes[&"b".into()]);
    assert_ne!(
        before.meshes[&"a".into()],
        after.meshes[&"a".into()],
        "its thresholds are content"
    );
}

#[test]
fn a_budget_too_small_for_two_peers_stretches_the_interval_instead_of_dropping_them() {
    let mut policy = policy();
    policy.budget.max_probes_per_second = 10;
    let plan = plan_one(policy, racks(1, 6, 4));
    assert!(
        in_degrees(&plan, ProbeClass::TorMesh)
            .values()
            .all(|degree| *degree >= 2)
    );
    for (_, target) in targets(&plan) {
        assert_eq!(target.interval, Duration::from_millis(1_600));
    }
    for entry in assignments(&plan).into_values() {
        assert!(entry.rate <= ProbeRate::per_second(10));
        assert!(
            entry
                .classes
                .contains(&(ProbeClass::Control, every(16_000)))
        );
    }
}

#[test]
fn a_wide_budget_is_not_used_up_for_its_own_sake() {
    let mut policy = policy();
    policy.budget.max_probes_per_second = 100_000;
    let plan = plan_one(policy, racks(2, 2, 1));
    // One torMesh peer at 10/s; 21 flows at 1/s each way, carried by two RNICs; three peers in all.
    let rates: Vec<_> = assignments(&plan)
        .values()
        .map(|entry| entry.rate.ceil())
        .collect();
    assert_eq!(
        rates.iter().sum::<u64>(),
        4 * (10 + 3) + 2 * 21,
        "{rates:?}"
    );
}

#[test]
fn traffic_classes_share_the_budget() {
    let mut two = only(ProbeClass::TorMesh);
    two.traffic_classes
        .push(crate::fabric::traffic_class("roce"));
    let rnics = |policy| targets(&plan_one(policy, racks(1, 100, 8))).len();
    let (one, two) = (rnics(only(ProbeClass::TorMesh)), rnics(two));
    assert!(
        one.abs_diff(two) <= 100 * 8,
        "as many probes, half the peers: {one} and {two}"
    );
}

#[test]
fn a_budget_that_carries_one_probe_per_peer_needs_no_stretching() {
    let mut policy = policy();
    policy.budget.max_probes_per_second = 192;
    let plan = plan_one(policy, racks(4, 20, 8));
    for (_, target) in targets(&plan) {
        let asked = if target.class == ProbeClass::TorMesh {
            100
        } else {
            1_000
        };
        assert_eq!(target.interval, Duration::from_millis(asked));
    }
}
