//! The figures of the printer columns.

use std::time::Duration;

use rdmamesh_fabric::RnicName;
use rdmamesh_fabric::diagnose::{AgentState, Place, Planned};
use rdmamesh_fabric::plan::MeshPlan;

use crate::world::{Edit, START, healthy, judge};

#[test]
fn loss_is_the_lost_share_of_judged_probes() {
    let mut evidence = healthy(2);
    let tally = &mut evidence.report(1).rnics[0];
    (tally.sent, tally.ok, tally.lost, tally.late) = (300, 70, 20, 10);
    (tally.host_delayed, tally.unresolved) = (100, 100);
    let summary = judge(&evidence).summary;
    assert_eq!(
        summary.loss_ratio,
        Some(0.1),
        "20 of 100 + 100; what was not judged does not count"
    );
}

#[test]
fn without_judged_probes_there_is_no_loss_figure() {
    assert_eq!(judge(&healthy(0)).summary.loss_ratio, None);
}

#[test]
fn p50_is_the_median_of_the_rnics_and_p99_the_worst_rnics() {
    let mut evidence = healthy(5);
    for (host, p50, p99) in [
        (1, 100, 200),
        (2, 110, 900),
        (3, 120, 210),
        (4, 9_000, 220),
        (5, 130, 230),
    ] {
        let tally = &mut evidence.report(host).rnics[0];
        tally.p50 = Some(Duration::from_micros(p50));
        tally.p99 = Some(Duration::from_micros(p99));
    }
    let summary = judge(&evidence).summary;
    assert_eq!(summary.p50, Some(Duration::from_micros(120)));
    assert_eq!(summary.p99, Some(Duration::from_micros(900)));
}

#[test]
fn silent_agents_are_not_part_of_the_figures() {
    let mut evidence = healthy(4);
    evidence.report(1).rnics[0].lost = 100;
    evidence.report(1).rnics[0].p99 = Some(Duration::from_secs(1));
    let summary = judge(&evidence.agent(1, AgentState::Silent)).summary;
    assert_eq!((summary.agents, summary.agents_reporting), (4, 3));
    assert_eq!(summary.loss_ratio, Some(0.0));
    assert_eq!(summary.p99, Some(Duration::from_micros(340)));
}

#[test]
fn the_newest_window_is_told() {
    let mut evidence = healthy(3);
    let newest = START.after(Duration::from_secs(30));
    evidence.report(2).window_end = Some(newest);
    assert_eq!(judge(&evidence).summary.window_end, Some(newest));
}

#[test]
fn counts_are_those_of_the_plan() {
    let summary = judge(&healthy(5)).summary;
    assert_eq!((summary.rnics, summary.pairs, summary.agents), (5, 20, 5));
}

/// Who probes whom, as the planner's plan says it, is what the judge takes.
#[test]
fn the_judge_reads_the_planners_plan() {
    use std::collections::BTreeMap;
    use std::net::{Ipv4Addr, SocketAddr};
    use std::sync::Arc;

    use rdmamesh_fabric::plan::{
        Address, Availability, Budget, Member, MeshInput, MeshPolicy, NodeState, PlanInput,
        ProbeClass, Probing, Rnic, Topology, plan,
    };

    let member = |host: u8| Member {
        node: format!("host{host}").into(),
        state: NodeState::Ready,
        group: Some(Arc::from("rack")),
        control_address: Some(SocketAddr::from((Ipv4Addr::new(10, 0, 0, host), 7475))),
        rnics: vec![Rnic {
            device: "rxe0".into(),
            port: 1,
            rail: None,
            gid_index: None,
            availability: Availability::Usable(Address::Roce(
                Ipv4Addr::new(10, 1, 0, host).to_ipv6_mapped(),
            )),
        }],
    };
    let probing = Probing {
        interval: Duration::from_millis(100),
        timeout: Duration::from_millis(500),
    };
    let input = PlanInput {
        seed: 0,
        meshes: vec![MeshInput {
            name: "m".into(),
            policy: MeshPolicy {
                classes: BTreeMap::from([(ProbeClass::TorMesh, probing)]),
                coverage: 0.99,
                topology: Topology {
                    rail_optimized: false,
                    parallel_paths: 2,
                },
                budget: Budget {
                    max_probes_per_second: 500,
                    max_peers_per_rnic: 16,
                },
                traffic_classes: Vec::new(),
                thresholds: healthy(1).thresholds,
            },
            members: (1..=4).map(member).collect(),
        }],
    };
    let plan = plan(&input);
    let mesh: &MeshPlan = &plan.meshes[&"m".into()];
    let place = |rnic: &RnicName| Place {
        group: "rack".into(),
        rail: 0,
        address: rnic.node.as_str().replace("host", "10.1.0.").parse().ok(),
    };
    let (read, expected) = (Planned::of(mesh), healthy(4).planned);
    assert_eq!(read.rnics(), expected.rnics());
    assert_eq!(read.pairs(), expected.pairs());
    for rnic in expected.rnics() {
        assert_eq!(read.place(rnic), Some(&place(rnic)));
        let probed = |to: &&RnicName| expected.probes(rnic, to);
        for to in expected.rnics().iter().filter(probed) {
            assert!(read.probes(rnic, to), "{rnic} probes {to}");
        }
    }
}
