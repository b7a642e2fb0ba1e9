use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use rdmamesh_api::assignment::{MAX_ANOMALIES, MAX_STATUS_BYTES};

use super::super::fit::size_of_json;
use super::super::{Change, Essence, Pacer, Pacing};
use super::*;
use rdmamesh_fabric::report::{Tally, Untraced};

use crate::anomaly::{Findings, windows};
use crate::model::{
    FabricAddress, FlowWindow, GidIndex, Peer, PortActivity, PortHealth, PortPlan, ProbePlan,
    RttSummary, Target, TargetWindow, TrafficClass,
};
use crate::plan::{Skipped, Thresholds};

fn at(second: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 + second)
}

fn target(mesh: &str, peer: usize) -> Arc<Target> {
    Arc::new(Target {
        mesh: mesh.into(),
        mesh_id: 1,
        class: ProbeClass::TorMesh,
        local_group: "leaf1".into(),
        peer: Peer {
            node: format!("gpu-node-{peer:04}.cluster.example").into(),
            device: "mlx5_0".into(),
            port: 1,
            group: "leaf1".into(),
            address: FabricAddress::Lid(1),
            control: None,
        },
        traffic_class: TrafficClass {
            name: "default".into(),
            dscp: 0,
            service_level: 0,
        },
        flows: 1,
        seed: 0,
        interval: Duration::from_millis(100),
        timeout: Duration::from_millis(500),
        window: Duration::from_secs(5),
    })
}

/// A world of `rails` ports with `peers` targets each in every mesh, of which each loses `lost` of 50.
struct World {
    plan: AgentPlan,
    ports: Vec<PortHealth>,
    report: TickReport,
    findings: Vec<Finding>,
    settled: Settled,
    idle: Idle,
    unanswered: Unanswered,
    errors: PortErrors,
    start: Instant,
    node: NodeName,
}

impl World {
    fn new(meshes: &[&str], rails: usize, peers: usize, lost: u64, second: u64) -> Self {
        let locals: Vec<_> = (0..rails)
            .map(|rail| LocalPort::new(format!("mlx5_{rail}"), 1))
            .collect();
        let targets = |mesh: &str| (0..peers).map(|n| target(mesh, n)).collect::<Vec<_>>();
        let plan = AgentPlan {
            probes: ProbePlan {
                ports: locals
                    .iter()
                    .map(|local| PortPlan {
                        local: local.clone(),
                        gid_index: GidIndex::Auto,
                        targets: meshes.iter().flat_map(|mesh| targets(mesh)).collect(),
                    })
                    .collect(),
            },
            meshes: meshes
                .iter()
                .map(|mesh| MeshPlan {
                    name: (*mesh).into(),
                    plan_hash: "0123456789abcdef".into(),
                    thresholds: Thresholds {
                        loss_ratio: 0.02,
                        p99: Duration::from_micros(500),
                    },
                    ports: locals.clone(),
                    targets: rails * peers,
                    skipped: Skipped::default(),
                })
                .collect(),
            generation: Some(1),
            uid: Some("u-1".into()),
        };
        let ports = locals
            .iter()
            .map(|local| PortHealth {
                local: local.clone(),
                state: PortActivity::Probing,
                open: None,
                planned: true,
            })
            .collect();
        let mut world = Self {
            report: TickReport {
                at: at(second),
                targets: Vec::new(),
                settled: true,
            },
            plan,
            ports,
            findings: Vec::new(),
            settled: Settled::default(),
            idle: Idle::default(),
            unanswered: Unanswered::default(),
            errors: PortErrors::default(),
            start: Instant::now(),
            node: "host1".into(),
        };
        world.measure(lost, second);
        world
    }

    fn measure(&mut self, lost: u64, second: u64) {
        let window = |local: &LocalPort, target: &Arc<Target>| {
            let tally = Tally {
                sent: 50,
                ok: 50 - lost,
                lost,
                ..Tally::default()
            };
            let mut rtt = RttHistogram::default();
            (0..tally.ok).for_each(|n| rtt.record(Duration::from_micros(90 + n)));
            TargetWindow {
                local: local.clone(),
                target: Arc::clone(target),
                end: at(second),
                covered: Duration::from_secs(5),
                timestamps: TimestampMode::Software,
                flows: vec![FlowWindow {
                    flow: 0,
                    source_port: Some(50_000),
                    routers: None,
                    tally,
                    rtt: RttSummary::default(),
                }],
                tally,
                rtt,
            }
        };
        self.report.targets = self
            .plan
            .probes
            .ports
            .iter()
            .flat_map(|port| {
                port.targets
                    .iter()
                    .map(|target| window(&port.local, target))
            })
            .collect();
        let limits: BTreeMap<_, _> = self
            .plan
            .meshes
            .iter()
            .map(|mesh| (Arc::clone(&mesh.name), mesh.thresholds))
            .collect();
        let before = Findings {
            open: std::mem::take(&mut self.findings),
            ..Findings::default()
        };
        self.findings = crate::anomaly::find(&self.report, &limits, &before).open;
        self.follow(second);
    }

    /// Takes the state of ports and windows into account, `second` seconds after the start.
    fn follow(&mut self, second: u64) {
        let now = self.start + Duration::from_secs(second);
        self.idle.update(&self.plan, &self.ports, now);
        self.settled.update(&self.plan, &self.report, &self.idle);
        self.unanswered.update(&windows(&self.report));
    }

    /// Nobody at this peer answers, second by second from `from` to `to`.
    fn silence(&mut self, peer: usize, from: u64, to: u64) {
        let node = target("m", peer).peer.node.clone();
        for second in from..=to {
            for window in &mut self.report.targets {
                window.end = at(second);
                if window.target.peer.node == node {
                    window.tally = Tally {
                        sent: 50,
                        unresolved: 50,
                        ..Tally::default()
                    };
                }
            }
            self.follow(second);
        }
    }

    fn view(&self) -> View<'_> {
        View {
            node: &self.node,
            paths: &Untraced,
            epoch: "00112233aabbccdd",
            plan: &self.plan,
            settled: &self.settled,
            report: &self.report,
            findings: &self.findings,
            idle: &self.idle,
            unanswered: &self.unanswered,
            errors: &self.errors,
            before: None,
            now: at(9),
        }
    }

    fn status(&self) -> RdmaProbeAssignmentStatus {
        assignment_status(&self.view())
    }

    fn essence(&self) -> Essence {
        Essence::new(&self.view())
    }

    fn probing(&self) -> (String, String) {
        let condition = self.status().meshes[0].conditions[0].clone();
        (condition.status, condition.reason)
    }
}

#[test]
fn a_peer_whose_agent_is_gone_is_told_of_once_it_has_been_silent_for_long_enough() {
    let mut world = World::new(&["m"], 2, 3, 0, 6);
    let written = world.essence();
    world.silence(1, 7, 16);
    assert!(world.status().meshes[0].unanswered.is_empty());
    assert_eq!(world.essence().change_since(Some(&written)), Change::Same);
    world.silence(1, 17, 17);
    let status = world.status();
    let [peer] = &status.meshes[0].unanswered[..] else {
        panic!("one peer is silent: {status:?}");
    };
    assert_eq!(peer.node, "gpu-node-0001.cluster.example");
    assert_eq!(peer.since, kube_time(at(2)), "begin of the first window");
    assert_eq!(world.essence().change_since(Some(&written)), Change::News);
    // It goes on like that: nothing new to tell.
    let told = world.essence();
    world.silence(1, 18, 40);
    assert_eq!(world.essence().change_since(Some(&told)), Change::Same);
    world.measure(0, 41);
    assert!(world.status().meshes[0].unanswered.is_empty());
    assert_eq!(world.essence().change_since(Some(&told)), Change::News);
}

#[test]
fn many_silent_peers_in_many_meshes_still_fit() {
    let mut world = World::new(&["a", "b", "c", "d", "e", "f", "g", "h"], 8, 40, 10, 6);
    for peer in 0..40 {
        world.silence(peer, 7, 7);
    }
    world.silence(0, 8, 30);
    let status = world.status();
    assert!(size_of_json(&status) <= MAX_STATUS_BYTES);
}

#[test]
fn a_settled_mesh_reports_its_figures_per_rnic() {
    let status = World::new(&["m"], 2, 3, 1, 5).status();
    let mesh = &status.meshes[0];
    assert_eq!(mesh.window_end, Some(kube_time(at(5))));
    assert_eq!(mesh.rnics.len(), 2);
    let rnic = &mesh.rnics[0];
    assert_eq!((rnic.sent, rnic.ok, rnic.lost), (150, 147, 3));
    assert_eq!(rnic.flow_sources, 1);
    assert!(rnic.p50 < rnic.p99);
    assert_eq!(mesh.conditions[0].status, "True");
    assert_eq!(mesh.conditions[0].observed_generation, Some(1));
}

#[test]
fn anomalies_say_target_figures_and_that_ip_works() {
    let status = World::new(&["m"], 1, 1, 10, 5).status();
    let anomaly = &status.meshes[0].anomalies[0];
    assert_eq!(anomaly.target, "gpu-node-0000.cluster.example/mlx5_0");
    assert_eq!((anomaly.sent, anomaly.lost), (50, 10));
    assert_eq!((anomaly.ip_reachable, anomaly.flow), (Some(true), None));
}

#[test]
fn outcomes_in_the_status_add_up_to_sent() {
    let mut world = World::new(&["m"], 1, 1, 2, 5);
    world.report.targets[0].tally = Tally {
        sent: 50,
        ok: 30,
        lost: 2,
        lost_forward: 1,
        lost_return: 1,
        late: 3,
        host_delayed: 4,
        unresolved: 5,
        invalid: 1,
        send_error: 5,
    };
    let rnic = &world.status().meshes[0].rnics[0];
    let sum = rnic.ok + rnic.lost + rnic.late + rnic.host_delayed + rnic.unresolved;
    assert_eq!((rnic.sent, sum), (45, 45));
}

#[test]
fn the_condition_says_why_a_plan_is_not_carried_out() {
    let mut world = World::new(&["m"], 1, 2, 0, 5);
    assert_eq!(world.probing(), ("True".into(), "Probing".into()));
    world.plan.meshes[0].skipped.count = 1;
    assert_eq!(world.probing(), ("True".into(), "TargetsSkipped".into()));
    world.settled = Settled::default();
    assert_eq!(world.probing(), ("Unknown".into(), "Settling".into()));
    world.ports[0].state = PortActivity::Released {
        reason: "device removed".into(),
    };
    world.follow(6);
    assert_eq!(world.probing().0, "True", "it may come back at once");
    world.follow(11);
    assert_eq!(world.probing(), ("False".into(), "PortNotProbing".into()));
    world.plan.meshes[0].targets = 0;
    assert_eq!(world.probing(), ("False".into(), "TargetsInvalid".into()));
}

#[test]
fn a_mesh_settles_when_every_target_that_can_be_probed_has_a_full_window() {
    let mut world = World::new(&["m"], 2, 2, 0, 5);
    world.settled = Settled::default();
    world.report.targets[3].covered = Duration::from_secs(4);
    world.follow(6);
    assert!(!world.settled.contains("m", "0123456789abcdef"));
    world.ports[1].state = PortActivity::Waiting {
        reason: "port down".into(),
    };
    world.follow(7);
    assert!(!world.settled.contains("m", "0123456789abcdef"));
    world.follow(12);
    assert!(world.settled.contains("m", "0123456789abcdef"));
    assert!(!world.settled.contains("m", "another plan"));
}

#[test]
fn nothing_is_written_before_a_window_has_settled() {
    let mut world = World::new(&["m"], 1, 2, 0, 5);
    assert_eq!(world.essence().change_since(None), Change::News);
    world.settled = Settled::default();
    assert_eq!(world.essence().change_since(None), Change::Silent);
}

#[test]
fn figures_alone_are_no_news_and_beginnings_and_ends_are() {
    let mut world = World::new(&["m"], 1, 2, 0, 5);
    let healthy = world.essence();
    world.measure(0, 6);
    assert_eq!(world.essence().change_since(Some(&healthy)), Change::Same);
    world.measure(10, 7);
    let ill = world.essence();
    assert_eq!(ill.change_since(Some(&healthy)), Change::News);
    world.measure(16, 9);
    assert_eq!(world.essence().change_since(Some(&ill)), Change::Drift);
    world.measure(0, 10);
    assert_eq!(world.essence().change_since(Some(&ill)), Change::News);
}

#[test]
fn one_lost_probe_is_a_hint_and_what_goes_on_losing_is_told_again() {
    let mut world = World::new(&["m"], 1, 2, 0, 5);
    let healthy = world.essence();
    world.measure(1, 6);
    let hint = world.essence();
    assert_eq!(hint.change_since(Some(&healthy)), Change::Hint);
    world.measure(2, 7);
    assert_eq!(world.essence().change_since(Some(&hint)), Change::Drift);
    world.measure(0, 8);
    assert_eq!(world.essence().change_since(Some(&hint)), Change::Hint);
}

#[test]
fn a_changed_plan_is_told_once_it_has_settled() {
    let mut world = World::new(&["m"], 1, 2, 0, 5);
    let before = world.essence();
    world.plan.meshes[0].plan_hash = "fedcba9876543210".into();
    assert_eq!(world.essence().change_since(Some(&before)), Change::Same);
    world.follow(6);
    assert_eq!(world.essence().change_since(Some(&before)), Change::News);
    world.plan.meshes.clear();
    assert_eq!(
        world.essence().change_since(Some(&before)),
        Change::News,
        "withdrawn"
    );
}

#[test]
fn figures_that_proved_nothing_are_replaced_as_soon_as_there_are_better_ones() {
    let mut world = World::new(&["m"], 1, 2, 0, 5);
    let good = world.essence();
    world.report.targets[0].tally = Tally {
        sent: 50,
        unresolved: 50,
        ..Tally::default()
    };
    let doubtful = world.essence();
    assert_eq!(
        doubtful.change_since(Some(&good)),
        Change::Same,
        "a peer restarts"
    );
    assert_eq!(doubtful.change_since(Some(&doubtful)), Change::Same);
    assert_eq!(good.change_since(Some(&doubtful)), Change::News);
}

#[test]
fn an_assignment_that_was_made_anew_gets_the_status_again() {
    let mut world = World::new(&["m"], 1, 2, 0, 5);
    let before = world.essence();
    world.plan.uid = Some("u-2".into());
    assert_eq!(world.essence().change_since(Some(&before)), Change::News);
}

#[test]
fn a_peer_whose_agent_restarts_causes_no_write() {
    let mut world = World::new(&["m"], 1, 2, 0, 5);
    let mut pacer = Pacer::new(Pacing::default());
    let start = Instant::now();
    pacer.succeeded(start, world.essence(), Change::News, 0.0);
    world.report.targets[0].tally = Tally {
        sent: 50,
        unresolved: 50,
        ..Tally::default()
    };
    let change = world.essence().change_since(pacer.written());
    let due = pacer.due(start + Duration::from_secs(60), change);
    assert_eq!(due, Some(start + Duration::from_secs(300)));
}

#[test]
fn the_mildest_anomalies_are_left_out_and_counted() {
    let status = World::new(&["m"], 8, 10, 25, 5).status();
    let mesh = &status.meshes[0];
    assert!(mesh.anomalies.len() <= MAX_ANOMALIES);
    assert_eq!(mesh.anomalies.len() + mesh.anomalies_omitted as usize, 80);
    assert_eq!(
        mesh.rnics.len(),
        8,
        "figures are worth more than the mildest anomalies"
    );
}

#[test]
fn the_counts_of_omitted_anomalies_of_many_meshes_fit_too() {
    // A name length for which leaving out one anomaly per mesh ends just under the limit.
    for length in 110..125 {
        let names: Vec<String> = (0..28)
            .map(|n| format!("{}{n}", "x".repeat(length)))
            .collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let size = size_of_json(&World::new(&names, 1, 2, 10, 5).status());
        assert!(size <= MAX_STATUS_BYTES, "{size} bytes at {length}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn no_status_is_larger_than_the_api_allows(
        meshes in 1usize..=32, rails in 1usize..=8, peers in 0usize..6, lost in 0u64..50,
        name in "[a-z]{1,253}", reason in "\\PC{0,400}", skipped in 0usize..3,
    ) {
        let names: Vec<String> = (0..meshes).map(|n| format!("{name}{n}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut world = World::new(&names, rails, peers, lost, 5);
        for mesh in &mut world.plan.meshes {
            mesh.skipped = Skipped { count: skipped, reasons: vec![reason.clone()] };
        }
        let status = world.status();
        prop_assert!(size_of_json(&status) <= MAX_STATUS_BYTES, "{} bytes", size_of_json(&status));
        if meshes == 1 && !world.findings.is_empty() {
            prop_assert!(!status.meshes[0].anomalies.is_empty(), "the worst stays");
            let total = status.meshes[0].anomalies.len() + status.meshes[0].anomalies_omitted as usize;
            prop_assert_eq!(total, world.findings.len());
        }
    }
}
