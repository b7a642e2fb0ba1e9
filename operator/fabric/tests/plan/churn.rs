//! Little changes change little.

use std::collections::{BTreeMap, BTreeSet};

use rdmamesh_fabric::plan::{Member, MeshPlan, MeshPolicy, NodeState, ProbeClass};
use rdmamesh_fabric::{NodeName, RnicName};

use crate::fabric::{node, only, plan_one, policy, racks, targets};

type Content = BTreeMap<(RnicName, ProbeClass, RnicName), (u16, u32)>;

fn content(plan: &MeshPlan) -> Content {
    targets(plan)
        .into_iter()
        .map(|(local, t)| ((local, t.class, t.peer), (t.flows, t.seed)))
        .collect()
}

/// What a change of one node did to the others.
#[derive(Debug)]
struct Churn {
    /// Targets between other nodes that came, went or changed.
    targets: usize,
    /// Targets from or to the changed node.
    own: usize,
    /// Nodes whose entry changed, of how many.
    nodes: (usize, usize),
}

fn churn(
    policy: &MeshPolicy,
    before: Vec<Member>,
    after: Vec<Member>,
    changed: &NodeName,
) -> Churn {
    let (before, after) = (
        plan_one(policy.clone(), before),
        plan_one(policy.clone(), after),
    );
    let (old, new) = (content(&before), content(&after));
    let keys: BTreeSet<_> = old.keys().chain(new.keys()).collect();
    let is_own =
        |key: &&&(RnicName, ProbeClass, RnicName)| key.0.node == *changed || key.2.node == *changed;
    let own = keys.iter().filter(is_own).count();
    let targets = keys
        .iter()
        .filter(|key| !is_own(key) && old.get(key) != new.get(key))
        .count();
    let hashes: BTreeMap<_, _> = before.nodes().collect();
    let differing = after
        .nodes()
        .filter(|(node, hash)| *node != changed && hashes.get(node) != Some(hash))
        .count();
    Churn {
        targets,
        own,
        nodes: (differing, hashes.len()),
    }
}

fn join(policy: &MeshPolicy, members: &[Member], newcomer: Member) -> Churn {
    let name = newcomer.node.clone();
    let mut after = members.to_vec();
    after.push(newcomer);
    churn(policy, members.to_vec(), after, &name)
}

#[test]
fn tor_mesh_changes_no_more_targets_than_the_newcomer_has() {
    let policy = only(ProbeClass::TorMesh);
    for id in 900..910 {
        let churn = join(&policy, &racks(8, 100, 4), node(id, "rack-003", 4));
        assert!(churn.targets <= churn.own, "{churn:?}");
        assert!(churn.nodes.0 <= 100, "nobody outside its rack: {churn:?}");
    }
}

/// Targets that others change because of ten newcomers, over the targets that the newcomers have.
fn ratio(policy: &MeshPolicy, members: &[Member], rack: &str, rnics: u32) -> f64 {
    let (mut others, mut own) = (0, 0);
    for id in 5_000..5_010 {
        let churn = join(policy, members, node(id, rack, rnics));
        others += churn.targets;
        own += churn.own;
    }
    let as_f64 = |count: usize| f64::from(u32::try_from(count).expect("a few thousand"));
    as_f64(others) / as_f64(own)
}

#[test]
fn inter_tor_changes_few_times_the_targets_that_newcomers_have() {
    let mut policy = only(ProbeClass::InterTor);
    policy.budget.max_probes_per_second = 5_000;
    // Sparse: a newcomer has three targets only, and each displaces a chain of pairings.
    let ratio = ratio(&policy, &racks(8, 100, 4), "rack-003", 4);
    assert!(ratio <= 8.0, "{ratio}");
}

#[test]
fn with_default_budgets_at_scale_newcomers_change_few_times_their_own_targets() {
    let ratio = ratio(&policy(), &racks(40, 32, 8), "rack-017", 8);
    assert!(ratio <= 4.0, "{ratio}");
}

#[test]
fn a_node_that_goes_changes_as_little_as_one_that_comes() {
    let members = racks(40, 32, 8);
    let (gone, rest) = members.split_first().expect("not empty");
    let name = gone.node.clone();
    let churn = churn(&policy(), members.clone(), rest.to_vec(), &name);
    assert!(churn.targets <= 4 * churn.own, "{churn:?}");
}

#[test]
fn a_cordoned_node_that_returns_brings_back_the_old_plan() {
    let members = racks(4, 10, 2);
    let mut without = members.clone();
    without[7].state = NodeState::Cordoned;
    let before = plan_one(policy(), members.clone());
    let during = plan_one(policy(), without);
    assert_ne!(before, during);
    assert_eq!(before, plan_one(policy(), members));
}

#[test]
fn a_new_rack_leaves_the_tor_mesh_of_the_others_alone() {
    let members = racks(10, 16, 2);
    let mut more = members.clone();
    more.extend((800..816).map(|id| node(id, "rack-new", 2)));
    let policy = only(ProbeClass::TorMesh);
    let (old, new) = (
        content(&plan_one(policy.clone(), members)),
        content(&plan_one(policy, more)),
    );
    assert!(old.iter().all(|(key, value)| new.get(key) == Some(value)));
}

#[test]
fn flows_keep_their_seeds_when_the_plan_around_them_changes() {
    let members = racks(4, 10, 2);
    let mut fewer = members.clone();
    fewer.truncate(35);
    let (old, new) = (
        content(&plan_one(policy(), members)),
        content(&plan_one(policy(), fewer)),
    );
    let both = old
        .iter()
        .filter_map(|(key, value)| Some((value.1, new.get(key)?.1)));
    let seeds: Vec<_> = both.collect();
    assert!(seeds.len() > 100);
    assert!(seeds.iter().all(|(a, b)| a == b));
}
