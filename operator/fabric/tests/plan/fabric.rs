//! Fabrics to plan for, and ways to look at a plan.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use rdmamesh_fabric::plan::{
    Address, AssignedTarget, Availability, Budget, Member, MeshInput, MeshPlan, MeshPolicy,
    NodeAssignment, NodeState, PlanInput, ProbeClass, Probing, Rnic, Thresholds, Topology,
    TrafficClass, plan,
};
use rdmamesh_fabric::{MeshName, NodeName, RnicName};

/// The policy of a mesh without any settings: what the API server's defaults give.
pub fn policy() -> MeshPolicy {
    MeshPolicy {
        classes: BTreeMap::from([
            (ProbeClass::TorMesh, every(100)),
            (ProbeClass::InterTor, every(1_000)),
            (ProbeClass::Control, every(1_000)),
        ]),
        coverage: 0.99,
        topology: Topology {
            rail_optimized: false,
            parallel_paths: 4,
        },
        budget: Budget {
            max_probes_per_second: 500,
            max_peers_per_rnic: 16,
        },
        traffic_classes: vec![traffic_class("default")],
        thresholds: Thresholds {
            window: Duration::from_secs(5),
            loss_ratio: 0.02,
            p99: Duration::from_micros(500),
        },
    }
}

/// A class probed every `millis` milliseconds.
pub const fn every(millis: u64) -> Probing {
    Probing {
        interval: Duration::from_millis(millis),
        timeout: Duration::from_millis(500),
    }
}

pub fn traffic_class(name: &str) -> TrafficClass {
    TrafficClass {
        name: Arc::from(name),
        dscp: 0,
        service_level: 0,
    }
}

/// A policy with one class (and no `control`), so that effects do not mix.
pub fn only(class: ProbeClass) -> MeshPolicy {
    let probing = policy().classes.get(&class).copied();
    MeshPolicy {
        classes: BTreeMap::from([(class, probing.unwrap_or_else(|| every(1_000)))]),
        ..policy()
    }
}

/// A ready node in `rack` with `rnics` RNICs.
pub fn node(id: u32, rack: &str, rnics: u32) -> Member {
    Member {
        node: format!("node-{id:05}").into(),
        state: NodeState::Ready,
        group: Some(Arc::from(rack)),
        control_address: Some(SocketAddr::from((
            Ipv4Addr::from_bits(0xac10_0000 + id),
            7475,
        ))),
        rnics: (0..rnics).map(|rail| rnic(id, rail)).collect(),
    }
}

fn rnic(node: u32, rail: u32) -> Rnic {
    let ip = Ipv4Addr::from_bits(0x0a00_0000 + node * 64 + rail);
    Rnic {
        device: format!("mlx5_{rail}").into(),
        port: 1,
        rail: None,
        gid_index: Some(3),
        availability: Availability::Usable(Address::Roce(ip.to_ipv6_mapped())),
    }
}

/// Gives every RNIC of `member` an IPv6 GID.
pub fn with_ipv6(mut member: Member) -> Member {
    for rnic in &mut member.rnics {
        if let Availability::Usable(Address::Roce(gid)) = rnic.availability {
            let gid = Ipv6Addr::from_bits(0xfd00_u128 << 112 | (gid.to_bits() & 0xffff_ffff));
            rnic.availability = Availability::Usable(Address::Roce(gid));
        }
    }
    member
}

/// `racks` racks of `hosts` nodes with `rnics` RNICs each.
pub fn racks(racks: u32, hosts: u32, rnics: u32) -> Vec<Member> {
    (0..racks * hosts)
        .map(|id| node(id, &format!("rack-{:03}", id / hosts), rnics))
        .collect()
}

pub fn mesh(name: &str, policy: MeshPolicy, members: Vec<Member>) -> MeshInput {
    MeshInput {
        name: name.into(),
        policy,
        members,
    }
}

pub fn plan_one(policy: MeshPolicy, members: Vec<Member>) -> MeshPlan {
    let input = PlanInput {
        seed: 1,
        meshes: vec![mesh("m", policy, members)],
    };
    let mut plan = plan(&input);
    plan.meshes
        .remove(&MeshName::from("m"))
        .expect("the planner answers for every mesh")
}

/// Every entry of a plan.
pub fn assignments(plan: &MeshPlan) -> BTreeMap<NodeName, NodeAssignment> {
    plan.nodes()
        .map(|(node, _)| {
            let entry = plan.assignment(node);
            (node.clone(), entry.expect("a listed node has an entry"))
        })
        .collect()
}

/// Every target of a plan, with the RNIC that probes it.
pub fn targets(plan: &MeshPlan) -> Vec<(RnicName, AssignedTarget)> {
    let entries = assignments(plan).into_values();
    entries
        .flat_map(|entry| {
            let node = entry.node;
            entry.rnics.into_iter().flat_map(move |local| {
                let name = RnicName::new(node.clone(), local.device, local.port);
                local
                    .targets
                    .into_iter()
                    .map(move |target| (name.clone(), target))
            })
        })
        .collect()
}

/// Ordered pairs that `class` probes.
pub fn pairs(plan: &MeshPlan, class: ProbeClass) -> BTreeSet<(RnicName, RnicName)> {
    targets(plan)
        .into_iter()
        .filter(|(_, target)| target.class == class)
        .map(|(local, target)| (local, target.peer))
        .collect()
}

/// How many probe each RNIC that takes part.
pub fn in_degrees(plan: &MeshPlan, class: ProbeClass) -> BTreeMap<RnicName, usize> {
    let mut degrees: BTreeMap<_, _> = plan.rnics().map(|rnic| (rnic, 0)).collect();
    for (_, peer) in pairs(plan, class) {
        *degrees.get_mut(&peer).expect("targets take part") += 1;
    }
    degrees
}

/// Flows by ordered pair of groups.
pub fn group_flows(plan: &MeshPlan) -> BTreeMap<(String, String), u32> {
    let mut flows = BTreeMap::new();
    for entry in assignments(plan).into_values() {
        for local in entry.rnics {
            for target in local.targets {
                if target.class == ProbeClass::InterTor {
                    let key = (local.group.to_string(), target.group.to_string());
                    *flows.entry(key).or_default() += u32::from(target.flows);
                }
            }
        }
    }
    flows
}

/// Any small fabric: uneven racks, uneven hosts, some nodes and RNICs out, two address families.
pub fn any_members() -> impl Strategy<Value = Vec<Member>> {
    let any_state = prop_oneof![
        8 => Just(NodeState::Ready),
        1 => Just(NodeState::Cordoned),
        1 => Just(NodeState::Deleting),
        1 => Just(NodeState::NotReady),
    ];
    let any_node = (0u32..5, 0u32..5, any_state, 0u8..12, any::<bool>());
    prop::collection::vec(any_node, 0..24).prop_map(|nodes| {
        let nodes = (0..).zip(nodes);
        nodes
            .map(|(id, (rack, rnics, state, dice, ipv6))| {
                let mut member = node(id, &format!("rack-{rack}"), rnics);
                member.state = state;
                if dice == 0 {
                    member.group = None;
                }
                if dice == 1 {
                    member.control_address = None;
                }
                if dice == 2
                    && let Some(rnic) = member.rnics.first_mut()
                {
                    rnic.availability = Availability::Unusable(Arc::from("port is down"));
                }
                if ipv6 && dice < 4 {
                    with_ipv6(member)
                } else {
                    member
                }
            })
            .collect()
    })
}

/// Any policy: every class on or off, tight and wide budgets, both kinds of wiring.
pub fn any_policy() -> impl Strategy<Value = MeshPolicy> {
    let budget = (1u32..2_000, 2u16..24);
    let classes = prop::collection::vec(any::<bool>(), 5);
    let topology = (any::<bool>(), 1u16..20);
    (budget, classes, topology, 1usize..3).prop_map(
        |((rate, peers), classes, (rail_optimized, parallel_paths), traffic_classes)| {
            let all = [
                (ProbeClass::TorMesh, every(100)),
                (ProbeClass::InterTor, every(1_000)),
                (ProbeClass::Rail, every(1_000)),
                (ProbeClass::HostMesh, every(500)),
                (ProbeClass::Control, every(1_000)),
            ];
            MeshPolicy {
                classes: all
                    .into_iter()
                    .zip(classes)
                    .filter_map(|(class, on)| on.then_some(class))
                    .collect(),
                topology: Topology {
                    rail_optimized,
                    parallel_paths,
                },
                budget: Budget {
                    max_probes_per_second: rate,
                    max_peers_per_rnic: peers,
                },
                traffic_classes: (0..traffic_classes)
                    .map(|nth| traffic_class(&format!("class-{nth}")))
                    .collect(),
                ..policy()
            }
        },
    )
}
