//! Time to plan a mesh from scratch: 1,000 and 10,000 nodes with eight RNICs each, racks of 32 nodes,
//! default budgets, with and without rail-optimised wiring; and time to judge 10,000 nodes' reports.
//!
//! The seconds are the point estimate of the mean in criterion's
//! `target/criterion/<name>/new/estimates.json` (`mean.point_estimate`, in nanoseconds).

use std::collections::BTreeMap;
use std::hint::black_box;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use rdmamesh_fabric::diagnose::{
    AgentState, Anomaly, AnomalyKind, Evidence, NodeEvidence, Planned, PortFact, PortState, Report,
    RnicTally, State, Tolerance, diagnose,
};
use rdmamesh_fabric::plan::{
    Address, Availability, Budget, Member, MeshInput, MeshPlan, MeshPolicy, NodeState, PlanInput,
    ProbeClass, Probing, Rnic, Thresholds, Topology, TrafficClass, plan,
};
use rdmamesh_fabric::{DeviceName, Timestamp};

const RAILS: u16 = 8;
const NODES_PER_RACK: u32 = 32;

fn policy(rail_optimized: bool) -> MeshPolicy {
    let probing = |millis| Probing {
        interval: Duration::from_millis(millis),
        timeout: Duration::from_millis(500),
    };
    MeshPolicy {
        classes: BTreeMap::from([
            (ProbeClass::TorMesh, probing(100)),
            (ProbeClass::InterTor, probing(1_000)),
            (ProbeClass::Control, probing(1_000)),
        ]),
        coverage: 0.99,
        topology: Topology {
            rail_optimized,
            parallel_paths: 16,
        },
        budget: Budget {
            max_probes_per_second: 500,
            max_peers_per_rnic: 16,
        },
        traffic_classes: vec![TrafficClass {
            name: Arc::from("default"),
            dscp: 0,
            service_level: 0,
        }],
        thresholds: Thresholds {
            window: Duration::from_secs(5),
            loss_ratio: 0.02,
            p99: Duration::from_micros(500),
        },
    }
}

fn member(node: u32) -> Member {
    let rnics = (0..RAILS).map(|rail| Rnic {
        device: format!("mlx5_{rail}").into(),
        port: 1,
        rail: Some(rail),
        gid_index: Some(3),
        availability: Availability::Usable(Address::Roce(
            Ipv4Addr::from_bits(0x0a00_0000 + node * u32::from(RAILS) + u32::from(rail))
                .to_ipv6_mapped(),
        )),
    });
    Member {
        node: format!("node-{node:05}").into(),
        state: NodeState::Ready,
        group: Some(Arc::from(format!("rack-{:03}", node / NODES_PER_RACK))),
        control_address: Some(SocketAddr::from((
            Ipv4Addr::from_bits(0xac10_0000 + node),
            7475,
        ))),
        rnics: rnics.collect(),
    }
}

fn input(nodes: u32, rail_optimized: bool) -> PlanInput {
    PlanInput {
        seed: 7,
        meshes: vec![MeshInput {
            name: "fabric".into(),
            policy: policy(rail_optimized),
            members: (0..nodes).map(member).collect(),
        }],
    }
}

/// A report of every node of `plan`, every hundredth with a lossy path.
fn evidence(plan: &MeshPlan) -> Evidence {
    let nodes = plan.nodes().map(|(node, _)| {
        let entry = plan.assignment(node);
        let rnics = entry.map(|entry| entry.rnics).unwrap_or_default();
        let is_lossy = node.as_str().ends_with("00");
        let lossy = rnics.first().filter(|_| is_lossy);
        let anomaly = lossy
            .and_then(|local| local.targets.first())
            .map(|target| Anomaly {
                kind: AnomalyKind::Loss,
                device: rnics[0].device.clone(),
                port: 1,
                class: target.class,
                target: target.peer.clone(),
                flow: None,
                sent: 50,
                lost: 10,
                lost_forward: 0,
                lost_return: 0,
                p50: None,
                p99: None,
                baseline: None,
                ip_reachable: Some(true),
                path: Vec::new(),
                since: Timestamp::from_secs(1),
            });
        let tally = |device: &DeviceName| RnicTally {
            device: device.clone(),
            port: 1,
            sent: 100,
            ok: 100,
            lost: 0,
            late: 0,
            host_delayed: 0,
            unresolved: 0,
            p50: Some(Duration::from_micros(5)),
            p99: Some(Duration::from_micros(20)),
            errors: BTreeMap::new(),
        };
        let port = |device: &DeviceName| PortFact {
            device: device.clone(),
            port: 1,
            selected: true,
            state: PortState::Active,
        };
        NodeEvidence {
            node: node.clone(),
            agent: AgentState::Reporting,
            report: Some(Report {
                window_end: Some(Timestamp::from_secs(1)),
                rnics: rnics.iter().map(|local| tally(&local.device)).collect(),
                anomalies: anomaly.into_iter().collect(),
                ..Report::default()
            }),
            ports: Some(rnics.iter().map(|local| port(&local.device)).collect()),
            traces: true,
        }
    });
    Evidence {
        thresholds: policy(false).thresholds,
        tolerance: Tolerance {
            max_unhealthy_percent: 0,
            raise_after: 1,
            clear_after: 2,
        },
        rnic_timeout_ratio: 0.1,
        planned: Arc::new(Planned::of(plan)),
        switches: Arc::default(),
        nodes: nodes.collect(),
    }
}

fn judging(criterion: &mut Criterion) {
    let plan = plan(&input(10_000, false));
    let Some(mesh) = plan.meshes.values().next() else {
        return;
    };
    let evidence = evidence(mesh);
    let now = Timestamp::from_secs(10);
    let (_, state) = diagnose(&evidence, &State::default(), now);
    criterion.bench_function("diagnose_10k", |bencher| {
        bencher.iter(|| diagnose(black_box(&evidence), &state, now));
    });
}

fn planning(criterion: &mut Criterion) {
    for (name, nodes, rail_optimized) in [
        ("plan_1k", 1_000, false),
        ("plan_1k_rails", 1_000, true),
        ("plan_10k", 10_000, false),
        ("plan_10k_rails", 10_000, true),
    ] {
        let input = input(nodes, rail_optimized);
        criterion.bench_function(name, |bencher| bencher.iter(|| plan(black_box(&input))));
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10);
    targets = planning, judging
}
criterion_main!(benches);
