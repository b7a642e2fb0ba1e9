use std::time::Duration;

use proptest::prelude::*;
use rdmamesh_api::GoDuration;
use rdmamesh_api::assignment::{AssignedClass, Target as ApiTarget};
use rdmamesh_api::mesh::{ProbeClass as ApiClass, TrafficClass as ApiTraffic};

use super::*;
use crate::model::{FabricAddress, ProbeClass};

fn target(node: &str) -> ApiTarget {
    ApiTarget {
        class: ApiClass::TorMesh,
        node: node.into(),
        device: "rxe0".into(),
        port: 1,
        group: "leaf1".into(),
        gid: Some("::ffff:10.10.1.6".into()),
        lid: None,
        control_address: "10.12.0.3:7475".into(),
        traffic_class: "default".into(),
        flows: 2,
        seed: 7,
        interval: GoDuration::from_millis(100),
    }
}

fn mesh(name: &str, targets: Vec<ApiTarget>) -> MeshAssignment {
    MeshAssignment {
        name: name.into(),
        plan_hash: "abc".into(),
        group: "leaf1".into(),
        window: GoDuration::from_millis(4_500),
        loss_ratio: 0.02,
        p99: GoDuration::from_micros(500),
        classes: vec![AssignedClass {
            class: ApiClass::TorMesh,
            interval: GoDuration::from_millis(100),
            timeout: GoDuration::from_millis(500),
        }],
        traffic_classes: vec![ApiTraffic {
            name: "default".into(),
            dscp: 26,
            service_level: 3,
        }],
        rnics: vec![AssignedRnic {
            device: "rxe0".into(),
            port: 1,
            gid_index: Some(1),
            group: "leaf1".into(),
            rail: 0,
            targets,
        }],
    }
}

fn plan(meshes: Vec<MeshAssignment>) -> AgentPlan {
    translate("host1", &RdmaProbeAssignmentSpec { meshes }, Some(3))
}

/// The reasons why `spoil` makes a target impossible.
fn reasons_after(spoil: impl FnOnce(&mut ApiTarget)) -> Vec<String> {
    let mut bad = target("host2");
    spoil(&mut bad);
    let plan = plan(vec![mesh("m", vec![bad, target("host3")])]);
    assert_eq!(plan.meshes[0].targets, 1, "the good target stays");
    assert_eq!(plan.meshes[0].skipped.count, 1);
    plan.meshes[0].skipped.reasons.clone()
}

#[test]
fn a_target_carries_over_with_everything_it_refers_to() {
    let plan = plan(vec![mesh("m", vec![target("host2")])]);
    let port = &plan.probes.ports[0];
    assert_eq!(port.gid_index, GidIndex::Fixed(1));
    let target = &port.targets[0];
    assert_eq!(target.traffic_class.dscp, 26);
    assert_eq!(target.timeout, Duration::from_millis(500));
    assert_eq!(target.window, Duration::from_secs(5), "rounded up");
    assert_eq!(
        target.peer.address,
        FabricAddress::Gid("::ffff:10.10.1.6".parse().expect("an address"))
    );
    assert_eq!(plan.meshes[0].ports, [LocalPort::new("rxe0", 1)]);
    assert_eq!(
        (plan.meshes[0].skipped.count, plan.generation),
        (0, Some(3))
    );
}

/// Class, peer and interval of everything that `mesh` makes each port probe.
fn probed(mesh: MeshAssignment) -> Vec<Vec<(ProbeClass, String, Duration)>> {
    let of_port = |port: &PortPlan| {
        let targets = port.targets.iter();
        targets
            .map(|t| (t.class, t.peer.rnic_name(), t.interval))
            .collect()
    };
    plan(vec![mesh]).probes.ports.iter().map(of_port).collect()
}

#[test]
fn every_peer_host_gets_one_plain_ip_baseline_at_the_pace_of_its_class() {
    let second = Duration::from_secs(1);
    let mut wanted = mesh("m", vec![target("host2"), target("host3")]);
    wanted.rnics[0].targets[1].control_address = "10.12.0.4:7475".into();
    let mut other_rail = wanted.rnics[0].clone();
    other_rail.device = "rxe1".into();
    wanted.rnics.push(other_rail);
    let without = probed(wanted.clone());
    assert!(
        without
            .iter()
            .flatten()
            .all(|(class, ..)| *class == ProbeClass::TorMesh),
        "the mesh has no control class: {without:?}"
    );
    wanted.classes.push(AssignedClass {
        class: ApiClass::Control,
        interval: second.into(),
        timeout: GoDuration::from_millis(500),
    });
    let baselines: Vec<Vec<_>> = probed(wanted)
        .into_iter()
        .map(|port| {
            port.into_iter()
                .filter(|(class, ..)| *class == ProbeClass::Control)
                .collect()
        })
        .collect();
    let baseline = |peer: &str| (ProbeClass::Control, format!("{peer}/rxe0"), second);
    assert_eq!(
        baselines,
        [vec![baseline("host2"), baseline("host3")], vec![]]
    );
}

#[test]
fn the_plain_ip_baseline_slows_down_with_the_budget_and_is_no_target_of_the_plan() {
    let mut wanted = mesh("m", vec![target("host2")]);
    wanted.rnics[0].targets[0].interval = GoDuration::from_millis(300);
    wanted.classes.push(AssignedClass {
        class: ApiClass::Control,
        interval: GoDuration::from_millis(1_000),
        timeout: GoDuration::from_millis(400),
    });
    let plan = plan(vec![wanted]);
    let control = plan.probes.ports[0]
        .targets
        .iter()
        .find(|t| t.class == ProbeClass::Control)
        .expect("a baseline");
    assert_eq!(control.interval, Duration::from_secs(3));
    assert_eq!(control.timeout, Duration::from_millis(400));
    assert_eq!(control.flows, 1);
    assert_eq!(plan.meshes[0].targets, 1);
}

#[test]
fn a_mesh_has_the_same_number_on_every_node_and_two_meshes_differ() {
    let both = |node: &str| {
        let spec = RdmaProbeAssignmentSpec {
            meshes: vec![
                mesh("b", vec![target("host2")]),
                mesh("a", vec![target("host2")]),
            ],
        };
        let plan = translate(node, &spec, None);
        let targets = &plan.probes.ports[0].targets;
        (targets[0].mesh_id, targets[1].mesh_id)
    };
    assert_eq!(both("host1"), both("host9"));
    assert_ne!(both("host1").0, both("host1").1);
}

#[test]
fn impossible_targets_are_skipped_with_a_reason_and_the_others_stay() {
    assert_eq!(
        reasons_after(|t| t.gid = Some("10.0.0.300".into())),
        ["host2/rxe0 has neither a GID in IPv6 notation nor a LID"]
    );
    assert_eq!(
        reasons_after(|t| t.control_address = "host2".into()),
        ["host2/rxe0 has no control address of the form address:port"]
    );
    assert_eq!(
        reasons_after(|t| t.traffic_class = "gold".into()),
        ["traffic class \"gold\" is not in the assignment"]
    );
    assert_eq!(
        reasons_after(|t| t.class = ApiClass::Rail),
        ["class rail has no settings in the assignment"]
    );
    assert_eq!(
        reasons_after(|t| t.interval = GoDuration::default()),
        ["host2/rxe0 has an interval under 1ms"]
    );
    assert_eq!(
        reasons_after(|t| t.flows = 0),
        ["host2/rxe0 has 0 flows, 1 to 16384 can be probed"]
    );
    assert_eq!(
        reasons_after(|t| t.node = "host1".into()),
        ["host1/rxe0 is this RNIC itself"]
    );
    assert_eq!(
        reasons_after(|t| t.node = "host3".into()),
        ["host3/rxe0 is listed twice"]
    );
}

#[test]
fn a_lid_is_taken_where_there_is_no_gid() {
    let mut ib = target("host2");
    (ib.gid, ib.lid) = (None, Some(17));
    let plan = plan(vec![mesh("m", vec![ib])]);
    assert_eq!(
        plan.probes.ports[0].targets[0].peer.address,
        FabricAddress::Lid(17)
    );
}

#[test]
fn two_meshes_share_a_port_unless_they_want_different_gids() {
    let shared = plan(vec![
        mesh("a", vec![target("host2")]),
        mesh("b", vec![target("host2")]),
    ]);
    assert_eq!(shared.probes.ports.len(), 1);
    assert_eq!(shared.probes.ports[0].targets.len(), 2);

    let mut other = mesh("b", vec![target("host2")]);
    other.rnics[0].gid_index = Some(3);
    let conflict = plan(vec![mesh("a", vec![target("host2")]), other]);
    assert_eq!(conflict.probes.ports[0].targets.len(), 1);
    assert_eq!(
        conflict.meshes[1].skipped.reasons,
        ["rxe0 already probes with GID index 1 for another mesh"]
    );
}

#[test]
fn an_empty_assignment_is_an_empty_plan() {
    assert_eq!(plan(Vec::new()).probes, ProbePlan::default());
}

proptest! {
    #[test]
    fn no_assignment_makes_it_panic_and_every_target_is_kept_or_counted(
        flows in any::<u16>(), port in any::<u8>(), interval_ns in any::<u64>(), dscp in any::<i32>(),
        window_ns in any::<u64>(), timeout_ns in any::<u64>(),
        gid in proptest::option::of("\\PC{0,20}"), control in "\\PC{0,20}", node in "[a-z]{0,3}",
    ) {
        let mut odd = target(&node);
        (odd.flows, odd.port, odd.gid, odd.control_address) = (flows, port, gid, control);
        odd.interval = GoDuration(Duration::from_nanos(interval_ns));
        let mut mesh = mesh("m", vec![odd, target("host9")]);
        mesh.window = GoDuration(Duration::from_nanos(window_ns));
        mesh.classes[0].timeout = GoDuration(Duration::from_nanos(timeout_ns));
        mesh.traffic_classes[0].dscp = dscp;
        let plan = plan(vec![mesh]);
        prop_assert_eq!(plan.meshes[0].targets + plan.meshes[0].skipped.count, 2);
        let planned: usize = plan.probes.ports.iter().map(|port| port.targets.len()).sum();
        prop_assert_eq!(planned, plan.meshes[0].targets);
    }
}
