//! What holds for every plan, whatever the fabric and the policy.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use rdmamesh_fabric::plan::{
    Address, Availability, Member, NodeState, PlanInput, ProbeClass, plan,
};
use rdmamesh_fabric::{NodeName, ProbeRate, RnicName};

use crate::fabric::{
    any_members, any_policy, assignments, in_degrees, mesh, node, only, pairs, plan_one, policy,
    racks, targets,
};

/// Which fabric an address belongs to, as the field says it.
fn family(address: Address) -> &'static str {
    match address {
        Address::Roce(gid) if gid.to_ipv4_mapped().is_some() => "RoCEv2 over IPv4",
        Address::Roce(_) => "RoCEv2 over IPv6",
        Address::InfiniBand { .. } => "InfiniBand",
    }
}

/// Most probers, up to `wanted` per RNIC, that can be had when everybody probes up to `peers` RNICs of
/// other hosts: maximum flow by augmenting paths over (prober, target) edges.
fn most_probers(rnics: &[RnicName], peers: usize, wanted: impl Fn(&RnicName) -> usize) -> usize {
    fn augment(
        target: usize,
        rnics: &[RnicName],
        peers: usize,
        probed: &mut [Vec<usize>],
        tried: &mut [bool],
    ) -> bool {
        for prober in 0..rnics.len() {
            if rnics[prober].node == rnics[target].node || probed[prober].contains(&target) {
                continue;
            }
            if probed[prober].len() < peers {
                probed[prober].push(target);
                return true;
            }
            for slot in 0..peers {
                let other = probed[prober][slot];
                if std::mem::replace(&mut tried[other], true) {
                    continue;
                }
                if augment(other, rnics, peers, probed, tried) {
                    let slot = probed[prober].iter().position(|t| *t == other);
                    probed[prober][slot.expect("nobody else moved it")] = target;
                    return true;
                }
            }
        }
        false
    }
    let mut probed = vec![Vec::new(); rnics.len()];
    let mut placed = 0;
    for target in 0..rnics.len() {
        for _ in 0..wanted(&rnics[target]) {
            let mut tried = vec![false; rnics.len()];
            tried[target] = true;
            placed += usize::from(augment(target, rnics, peers, &mut probed, &mut tried));
        }
    }
    placed
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn the_same_input_gives_the_same_plan(members in any_members(), policy in any_policy()) {
        prop_assert_eq!(plan_one(policy.clone(), members.clone()), plan_one(policy, members));
    }

    #[test]
    fn the_order_of_the_input_does_not_matter(
        members in any_members().prop_shuffle(),
        policy in any_policy(),
    ) {
        let mut sorted = members.clone();
        sorted.sort_by(|a, b| a.node.cmp(&b.node));
        for member in &mut sorted {
            member.rnics.reverse();
        }
        prop_assert_eq!(plan_one(policy.clone(), members), plan_one(policy, sorted));
    }

    #[test]
    fn only_ready_nodes_with_a_control_address_and_a_usable_rnic_take_part(
        members in any_members(),
        policy in any_policy(),
    ) {
        let plan = plan_one(policy, members.clone());
        let able: BTreeSet<NodeName> = members
            .iter()
            .filter(|member| member.state == NodeState::Ready && member.control_address.is_some())
            .filter(|member| {
                member.rnics.iter().any(|rnic| matches!(rnic.availability, Availability::Usable(_)))
            })
            .map(|member| member.node.clone())
            .collect();
        let taking_part: BTreeSet<NodeName> = plan.nodes().map(|(node, _)| node.clone()).collect();
        prop_assert_eq!(&able, &taking_part);
        for (local, target) in targets(&plan) {
            prop_assert!(able.contains(&local.node));
            prop_assert!(able.contains(&target.peer.node), "{} is left out", target.peer);
        }
    }

    #[test]
    fn an_unusable_rnic_is_neither_prober_nor_target(
        members in any_members(),
        policy in any_policy(),
    ) {
        let usable: BTreeSet<RnicName> = members
            .iter()
            .flat_map(|member| {
                let usable = |availability: &_| matches!(availability, Availability::Usable(_));
                let rnics = member.rnics.iter().filter(move |rnic| usable(&rnic.availability));
                rnics.map(|rnic| {
                    RnicName::new(member.node.clone(), rnic.device.clone(), rnic.port)
                })
            })
            .collect();
        for (local, target) in targets(&plan_one(policy, members)) {
            prop_assert!(usable.contains(&local) && usable.contains(&target.peer));
        }
    }

    #[test]
    fn no_rnic_probes_itself_and_only_host_mesh_probes_the_own_host(
        members in any_members(),
        policy in any_policy(),
    ) {
        for (local, target) in targets(&plan_one(policy, members)) {
            prop_assert_ne!(&local, &target.peer);
            prop_assert_eq!(
                local.node == target.peer.node,
                target.class == ProbeClass::HostMesh,
                "{} → {} as {}", local, target.peer, target.class
            );
        }
    }

    #[test]
    fn addresses_of_different_families_are_never_paired(
        members in any_members(),
        policy in any_policy(),
    ) {
        let families: BTreeMap<RnicName, &str> = members
            .iter()
            .flat_map(|member| {
                member.rnics.iter().filter_map(|rnic| match rnic.availability {
                    Availability::Usable(address) => Some((
                        RnicName::new(member.node.clone(), rnic.device.clone(), rnic.port),
                        family(address),
                    )),
                    Availability::Unusable(_) => None,
                })
            })
            .collect();
        for (local, target) in targets(&plan_one(policy, members)) {
            prop_assert_eq!(families[&local], family(target.address));
        }
    }

    #[test]
    fn no_budget_is_exceeded(members in any_members(), policy in any_policy()) {
        let plan = plan_one(policy.clone(), members);
        let classes = policy.traffic_classes.len();
        for entry in assignments(&plan).into_values() {
            let interval: BTreeMap<_, _> = entry.classes.iter().copied().collect();
            let mut rate = ProbeRate::ZERO;
            for local in &entry.rnics {
                let mut peers: BTreeMap<ProbeClass, BTreeSet<&RnicName>> = BTreeMap::new();
                for target in &local.targets {
                    peers.entry(target.class).or_default().insert(&target.peer);
                    rate += ProbeRate::every(target.interval).times(u64::from(target.flows));
                }
                for (class, peers) in &peers {
                    prop_assert!(
                        peers.len() <= usize::from(policy.budget.max_peers_per_rnic),
                        "{} has {} peers of {class}", local.device, peers.len()
                    );
                }
                if let Some(control) = interval.get(&ProbeClass::Control) {
                    let distinct: BTreeSet<_> = peers.values().flatten().collect();
                    rate += ProbeRate::every(control.interval).times(distinct.len() as u64);
                }
                let entries = local.targets.len();
                prop_assert_eq!(entries % classes, 0, "every traffic class probes the same peers");
            }
            prop_assert_eq!(rate, entry.rate, "the stated rate is the real one");
            let limit = ProbeRate::per_second(policy.budget.max_probes_per_second);
            prop_assert!(rate <= limit, "{} sends {rate} of {limit}", entry.node);
        }
    }

    #[test]
    fn counts_are_those_of_the_targets(members in any_members(), policy in any_policy()) {
        let plan = plan_one(policy, members);
        let targets = targets(&plan);
        let pairs: BTreeSet<_> = targets.iter().map(|(local, t)| (local, &t.peer)).collect();
        prop_assert_eq!(plan.counts.pairs, pairs.len() as u64);
        prop_assert_eq!(
            plan.counts.flows,
            targets.iter().map(|(_, t)| u64::from(t.flows)).sum::<u64>()
        );
        prop_assert_eq!(plan.counts.rnics as usize, plan.rnics().count());
        prop_assert_eq!(
            plan.rate,
            assignments(&plan).values().map(|entry| entry.rate).sum::<ProbeRate>()
        );
    }

    #[test]
    fn no_target_is_listed_twice_or_without_flows(
        members in any_members(),
        policy in any_policy(),
    ) {
        let targets = targets(&plan_one(policy, members));
        let distinct: BTreeSet<_> = targets
            .iter()
            .map(|(local, t)| (local, t.class, &t.peer, &t.traffic_class))
            .collect();
        prop_assert_eq!(distinct.len(), targets.len());
        prop_assert!(targets.iter().all(|(_, target)| target.flows > 0));
    }

    #[test]
    fn two_others_probe_every_rnic_where_three_equal_hosts_share_a_group(
        racks_of in 1u32..4,
        hosts in 3u32..40,
        rnics in 1u32..9,
        rate in 1u32..3_000,
        peers in 2u16..20,
        rail_optimized: bool,
    ) {
        let mut policy = policy();
        policy.topology.rail_optimized = rail_optimized;
        policy.budget.max_probes_per_second = rate;
        policy.budget.max_peers_per_rnic = peers;
        let plan = plan_one(policy, racks(racks_of, hosts, rnics));
        for (rnic, degree) in in_degrees(&plan, ProbeClass::TorMesh) {
            prop_assert!(degree >= 2, "{rnic} is probed by {degree}");
        }
    }

    #[test]
    fn as_many_rnics_have_two_probers_as_the_slots_allow(
        hosts in prop::collection::vec(1u32..6, 2..7),
        peers in 2u16..5,
    ) {
        let members: Vec<_> = (0..)
            .zip(&hosts)
            .map(|(id, rnics)| node(id, "rack", *rnics))
            .collect();
        let mut policy = only(ProbeClass::TorMesh);
        policy.budget.max_peers_per_rnic = peers;
        policy.budget.max_probes_per_second = 100_000;
        let plan = plan_one(policy, members);
        let all: u32 = hosts.iter().sum();
        let wanted = |rnic: &RnicName| {
            let host = rnic.node.as_str().trim_start_matches("node-").parse::<usize>();
            2.min(all - hosts[host.expect("nodes are numbered")]) as usize
        };
        let placed: usize = in_degrees(&plan, ProbeClass::TorMesh)
            .iter()
            .map(|(rnic, degree)| wanted(rnic).min(*degree))
            .sum();
        let rnics: Vec<RnicName> = plan.rnics().collect();
        prop_assert_eq!(placed, most_probers(&rnics, usize::from(peers), wanted));
    }

    #[test]
    fn the_hash_differs_exactly_where_the_entry_does(
        before in any_members(),
        change in any::<prop::sample::Index>(),
        policy in any_policy(),
    ) {
        let mut after = before.clone();
        if !after.is_empty() {
            let at = change.index(after.len());
            after[at].state = NodeState::Cordoned;
        }
        let before = assignments(&plan_one(policy.clone(), before));
        let after = assignments(&plan_one(policy, after));
        for (node, old) in &before {
            if let Some(new) = after.get(node) {
                prop_assert_eq!(old.plan_hash == new.plan_hash, old == new, "{}", node);
            }
        }
    }
}

#[test]
fn everybody_but_the_own_host_is_probed_where_the_budget_allows_it() {
    let mut policy = policy();
    policy.budget.max_probes_per_second = 100_000;
    policy.budget.max_peers_per_rnic = 1_000;
    let plan = plan_one(policy, racks(2, 5, 3));
    let pairs = pairs(&plan, ProbeClass::TorMesh);
    assert_eq!(pairs.len(), 2 * 15 * 12);
}

#[test]
fn another_seed_is_another_plan_that_obeys_the_same_budget() {
    let input = |seed| PlanInput {
        seed,
        meshes: vec![mesh("m", policy(), racks(4, 30, 2))],
    };
    let (a, b) = (plan(&input(1)), plan(&input(2)));
    assert_ne!(a, b);
    let rate = |plan: &rdmamesh_fabric::plan::Plan| plan.meshes[&"m".into()].counts.rnics;
    assert_eq!(rate(&a), rate(&b));
}

#[test]
fn a_changed_address_changes_the_entries_of_its_probers_and_its_own_and_no_other() {
    type Edit = fn(&mut Member);
    let edits: [(&str, Edit); 3] = [
        ("GID", |member| {
            let gid = std::net::Ipv4Addr::new(10, 99, 0, 1).to_ipv6_mapped();
            member.rnics[0].availability = Availability::Usable(Address::Roce(gid));
        }),
        ("control address", |member| {
            member.control_address = Some(std::net::SocketAddr::from(([172, 31, 0, 1], 7475)));
        }),
        ("control port", |member| {
            if let Some(address) = &mut member.control_address {
                address.set_port(7476);
            }
        }),
    ];
    for (what, edit) in edits {
        let members = racks(8, 20, 1);
        let mut edited = members.clone();
        edit(&mut edited[7]);
        let (old, new) = (plan_one(policy(), members), plan_one(policy(), edited));
        let changed: BTreeSet<NodeName> = old
            .nodes()
            .filter(|(node, hash)| new.plan_hash(node) != Some(*hash))
            .map(|(node, _)| node.clone())
            .collect();
        let probers: BTreeSet<NodeName> = targets(&old)
            .into_iter()
            .filter(|(_, target)| target.peer.node.as_str() == "node-00007")
            .map(|(local, _)| local.node)
            .collect();
        let others: BTreeSet<NodeName> = changed
            .iter()
            .filter(|node| node.as_str() != "node-00007")
            .cloned()
            .collect();
        assert_eq!(others, probers, "{what}");
        assert!(others.len() < 80, "{what}: not everybody");
    }
}
