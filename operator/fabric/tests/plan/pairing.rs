//! Who is paired with whom: rails, hosts, families, balance.

use std::collections::BTreeSet;
use std::net::Ipv6Addr;
use std::sync::Arc;

use rdmamesh_fabric::RnicName;
use rdmamesh_fabric::plan::{Address, Availability, Member, ProbeClass};

use crate::fabric::{
    group_flows, in_degrees, node, only, pairs, plan_one, policy, racks, targets, with_ipv6,
};

fn rail_of(rnic: &RnicName) -> &str {
    rnic.device.as_str()
}

#[test]
fn rail_pairs_the_same_rail_of_other_groups() {
    let plan = plan_one(only(ProbeClass::Rail), racks(3, 4, 2));
    let pairs = pairs(&plan, ProbeClass::Rail);
    assert_eq!(
        pairs.len(),
        24 * 8,
        "every RNIC has eight peers of its rail in the other two racks"
    );
    for (from, to) in pairs {
        assert_eq!(rail_of(&from), rail_of(&to));
        assert_ne!(from.node, to.node);
    }
}

#[test]
fn rails_keep_their_number_when_a_port_goes_down() {
    let mut members = racks(1, 3, 3);
    members[0].rnics[1].availability = Availability::Unusable(Arc::from("port is down"));
    let mut policy = only(ProbeClass::TorMesh);
    policy.topology.rail_optimized = true;
    for (from, to) in pairs(&plan_one(policy, members), ProbeClass::TorMesh) {
        assert_eq!(rail_of(&from), rail_of(&to), "{from} → {to}");
    }
}

#[test]
fn rails_count_devices_in_natural_order() {
    let plan = plan_one(
        only(ProbeClass::TorMesh),
        vec![node(0, "a", 12), node(1, "a", 12)],
    );
    let entry = plan.assignment(&"node-00000".into()).expect("takes part");
    for local in entry.rnics {
        assert_eq!(local.device.as_str(), format!("mlx5_{}", local.rail));
    }
}

#[test]
fn in_a_rail_optimised_fabric_a_group_is_label_and_rail() {
    let mut policy = only(ProbeClass::TorMesh);
    policy.topology.rail_optimized = true;
    let plan = plan_one(policy, racks(1, 4, 2));
    assert_eq!(plan.counts.groups, 2);
    for (local, target) in targets(&plan) {
        assert_eq!(
            target
                .group
                .as_str()
                .rsplit_once("/rail")
                .map(|(rack, _)| rack),
            Some("rack-000")
        );
        assert_eq!(rail_of(&local), rail_of(&target.peer));
    }
}

#[test]
fn inter_tor_never_pairs_two_rails_of_one_host() {
    let mut policy = only(ProbeClass::InterTor);
    policy.topology.rail_optimized = true;
    policy.budget.max_probes_per_second = 10_000;
    let plan = plan_one(policy, racks(1, 2, 2));
    let pairs = pairs(&plan, ProbeClass::InterTor);
    assert_eq!(
        pairs.len(),
        4,
        "two hosts, two rails: each RNIC has one cross-rail peer: {pairs:?}"
    );
    assert!(pairs.iter().all(|(from, to)| from.node != to.node));
    assert!(
        group_flows(&plan).values().all(|flows| *flows == 21),
        "and all flows go there"
    );
}

#[test]
fn host_mesh_is_off_unless_asked_for_and_then_stays_on_the_host() {
    assert!(pairs(&plan_one(policy(), racks(1, 3, 4)), ProbeClass::HostMesh).is_empty());
    let plan = plan_one(only(ProbeClass::HostMesh), racks(1, 3, 4));
    let pairs = pairs(&plan, ProbeClass::HostMesh);
    assert_eq!(pairs.len(), 3 * 4 * 3);
    assert!(
        pairs
            .iter()
            .all(|(from, to)| from.node == to.node && from != to)
    );
}

#[test]
fn control_alone_adds_no_targets() {
    assert!(targets(&plan_one(only(ProbeClass::Control), racks(2, 3, 2))).is_empty());
}

#[test]
fn ipv4_and_ipv6_hosts_of_one_rack_form_two_meshes() {
    let mut members = racks(1, 8, 1);
    members.extend((8..16).map(|id| with_ipv6(node(id, "rack-000", 1))));
    let plan = plan_one(only(ProbeClass::TorMesh), members);
    assert_eq!(plan.counts.groups, 1);
    let pairs = pairs(&plan, ProbeClass::TorMesh);
    assert_eq!(pairs.len(), 2 * 8 * 7);
}

fn infiniband(id: u32, subnet: u16) -> Member {
    let mut member = node(id, "rack-000", 1);
    let gid = Ipv6Addr::new(
        0xfe80,
        0,
        0,
        subnet,
        0,
        0,
        0,
        u16::try_from(id).expect("few nodes"),
    );
    member.rnics[0].availability = Availability::Usable(Address::InfiniBand {
        lid: u16::try_from(id + 1).expect("few nodes"),
        gid: Some(gid),
    });
    member
}

#[test]
fn infiniband_is_not_paired_with_roce_nor_with_another_subnet() {
    let mut members = racks(1, 2, 1);
    members.extend([
        infiniband(2, 0),
        infiniband(3, 0),
        infiniband(4, 7),
        infiniband(5, 7),
    ]);
    let pairs = pairs(
        &plan_one(only(ProbeClass::TorMesh), members),
        ProbeClass::TorMesh,
    );
    let names: BTreeSet<_> = pairs
        .iter()
        .map(|(from, to)| (from.node.as_str(), to.node.as_str()))
        .collect();
    let both = |a, b| [(a, b), (b, a)];
    let expected: BTreeSet<_> = [
        both("node-00000", "node-00001"),
        both("node-00002", "node-00003"),
        both("node-00004", "node-00005"),
    ]
    .into_iter()
    .flatten()
    .collect();
    assert_eq!(names, expected);
}

#[test]
fn two_others_probe_every_rnic_in_a_big_rack_of_unequal_hosts() {
    let members = (0..60).map(|id| node(id, "rack", 1 + id % 8)).collect();
    let mut policy = policy();
    policy.budget.max_peers_per_rnic = 3;
    for (rnic, degree) in in_degrees(&plan_one(policy, members), ProbeClass::TorMesh) {
        assert!(degree >= 2, "{rnic} is probed by {degree}");
    }
}

#[test]
fn tor_mesh_spreads_its_probes_evenly() {
    let plan = plan_one(only(ProbeClass::TorMesh), racks(1, 200, 4));
    let degrees = in_degrees(&plan, ProbeClass::TorMesh);
    let mean = degrees.values().sum::<usize>() / degrees.len();
    assert!(mean >= 10, "the budget allows about twelve: {mean}");
    for (rnic, degree) in degrees {
        assert!(
            degree.abs_diff(mean) <= 3,
            "{rnic} is probed by {degree}, the mean is {mean}"
        );
    }
}

#[test]
fn inter_tor_spreads_its_flows_evenly_over_senders_and_receivers() {
    let plan = plan_one(only(ProbeClass::InterTor), racks(40, 16, 2));
    let mut sent = std::collections::BTreeMap::new();
    let mut received = std::collections::BTreeMap::new();
    for (local, target) in targets(&plan) {
        *sent.entry(local).or_insert(0) += u32::from(target.flows);
        *received.entry(target.peer).or_insert(0) += u32::from(target.flows);
    }
    for loads in [sent, received] {
        let mean = loads.values().sum::<u32>() / 1280;
        assert_eq!(loads.len(), 1280, "everybody takes part");
        let most = loads.values().max().copied().unwrap_or(0);
        assert!(most * 2 <= mean * 3 + 2, "most {most}, mean {mean}");
    }
}

#[test]
fn tor_mesh_meets_all_rails_of_its_rack() {
    let plan = plan_one(only(ProbeClass::TorMesh), racks(1, 100, 8));
    let pairs = pairs(&plan, ProbeClass::TorMesh);
    let rails: BTreeSet<_> = pairs
        .iter()
        .map(|(from, to)| (rail_of(from), rail_of(to)))
        .collect();
    assert!(
        rails.len() >= 8 * 5,
        "five peers each, all of different rails: {}",
        rails.len()
    );
}
