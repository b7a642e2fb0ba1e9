use std::sync::Mutex;

use rdmamesh_api::assignment::MeshReport;

use rdmamesh_fabric::report::Untraced;

use super::*;
use crate::model::{
    FabricAddress, GidIndex, LocalPort, Peer, PortActivity, PortPlan, ProbeClass, ProbePlan,
    RttHistogram, Tally, Target, TargetWindow, TimestampMode, TrafficClass,
};
use crate::plan::{MeshPlan, Skipped, Thresholds};

/// An API server that can be down.
#[derive(Default)]
struct FakeServer {
    down: Mutex<bool>,
    written: Mutex<Vec<RdmaProbeAssignmentStatus>>,
    attempts: Mutex<usize>,
}

impl FakeServer {
    fn set_down(&self, down: bool) {
        *self.down.lock().expect("no panic while held") = down;
    }

    fn written(&self) -> Vec<RdmaProbeAssignmentStatus> {
        self.written.lock().expect("no panic while held").clone()
    }

    fn attempts(&self) -> usize {
        *self.attempts.lock().expect("no panic while held")
    }

    fn newest(&self) -> MeshReport {
        let written = self.written();
        written.last().expect("something was written").meshes[0].clone()
    }
}

impl AssignmentSink for FakeServer {
    async fn write(&self, status: RdmaProbeAssignmentStatus) -> Result<(), WriteError> {
        *self.attempts.lock().expect("no panic while held") += 1;
        if *self.down.lock().expect("no panic while held") {
            return Err(WriteError::Timeout);
        }
        self.written
            .lock()
            .expect("no panic while held")
            .push(status);
        Ok(())
    }
}

struct World {
    server: Arc<FakeServer>,
    reports: mpsc::Sender<TickReport>,
    ports: watch::Sender<Vec<PortHealth>>,
    tick: watch::Receiver<Option<Arc<Tick>>>,
    stop: CancellationToken,
    target: Arc<Target>,
    task: tokio::task::JoinHandle<()>,
    _plan: watch::Sender<Arc<AgentPlan>>,
}

fn target() -> Arc<Target> {
    Arc::new(Target {
        mesh: "m".into(),
        mesh_id: 1,
        class: ProbeClass::TorMesh,
        local_group: "leaf1".into(),
        peer: Peer {
            node: "host2".into(),
            device: "rxe0".into(),
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

fn health(state: PortActivity) -> Vec<PortHealth> {
    vec![PortHealth {
        local: LocalPort::new("rxe0", 1),
        state,
        open: None,
        planned: true,
    }]
}

impl World {
    fn new() -> Self {
        let target = target();
        let plan = AgentPlan {
            probes: ProbePlan {
                ports: vec![PortPlan {
                    local: LocalPort::new("rxe0", 1),
                    gid_index: GidIndex::Auto,
                    targets: vec![Arc::clone(&target)],
                }],
            },
            meshes: vec![MeshPlan {
                name: "m".into(),
                plan_hash: "abc".into(),
                thresholds: Thresholds {
                    loss_ratio: 0.02,
                    p99: Duration::from_micros(500),
                },
                ports: vec![LocalPort::new("rxe0", 1)],
                targets: 1,
                skipped: Skipped::default(),
            }],
            generation: Some(1),
            uid: None,
        };
        let server = Arc::new(FakeServer::default());
        let (reports, taken) = mpsc::channel(4);
        let ports = watch::Sender::new(health(PortActivity::Probing));
        let plan = watch::Sender::new(Arc::new(plan));
        let tick = watch::Sender::default();
        let stop = CancellationToken::new();
        let newest = tick.subscribe();
        let inputs = Inputs {
            reports: taken,
            plan: plan.subscribe(),
            ports: ports.subscribe(),
            tick,
            counters: Arc::default(),
            node: "host1".into(),
            paths: Arc::new(Untraced),
            errors: watch::channel(Arc::default()).1,
            epoch: "ab".into(),
        };
        Self {
            task: tokio::spawn(run(Arc::clone(&server), inputs, stop.clone())),
            server,
            reports,
            ports,
            tick: newest,
            stop,
            target,
            _plan: plan,
        }
    }

    /// One second of the data path with `lost` of 50 probes in the window, and its judgement.
    async fn second(&mut self, lost: u64) {
        let tally = Tally {
            sent: 50,
            ok: 50 - lost,
            lost,
            ..Tally::default()
        };
        let window = TargetWindow {
            local: LocalPort::new("rxe0", 1),
            target: Arc::clone(&self.target),
            end: SystemTime::now(),
            covered: Duration::from_secs(5),
            timestamps: TimestampMode::Software,
            flows: Vec::new(),
            tally,
            rtt: RttHistogram::default(),
        };
        let report = TickReport {
            at: SystemTime::now(),
            targets: vec![window],
            settled: true,
        };
        self.reports.send(report).await.expect("the reporter lives");
        self.tick.changed().await.expect("the reporter lives");
        // The clock of these tests is paused: it moves only here and in backoffs.
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_quiet_fabric_is_written_once_and_a_fault_at_once() {
    let mut world = World::new();
    for _ in 0..20 {
        world.second(0).await;
    }
    assert_eq!(world.server.written().len(), 1);
    assert_eq!(world.server.newest().anomalies, []);
    world.second(10).await;
    assert_eq!(world.server.written().len(), 2);
    assert_eq!(world.server.newest().anomalies[0].target, "host2/rxe0");
}

#[tokio::test(start_paused = true)]
async fn while_the_server_is_down_nothing_piles_up_and_then_the_newest_state_is_written() {
    let mut world = World::new();
    world.second(0).await;
    world.server.set_down(true);
    for second in 0..40 {
        world.second(if second % 2 == 0 { 10 } else { 0 }).await;
    }
    assert!(
        world.server.attempts() < 21,
        "{} attempts in 40 s",
        world.server.attempts()
    );
    world.server.set_down(false);
    // The last pause between attempts is of random length.
    for _ in 0..60 {
        if world.server.written().len() < 2 {
            world.second(25).await;
        }
    }
    for _ in 0..10 {
        world.second(25).await;
    }
    let written = world.server.written();
    assert_eq!(
        written.len(),
        3,
        "one before the outage, one after it and one when its window has passed"
    );
    assert_eq!(world.server.newest().anomalies[0].lost, 25);
}

#[tokio::test(start_paused = true)]
async fn the_last_status_is_written_at_the_end_and_closing_ports_are_no_news() {
    let mut world = World::new();
    world.second(0).await;
    world.stop.cancel();
    world.ports.send_replace(health(PortActivity::Released {
        reason: "agent stops".into(),
    }));
    world.second(10).await;
    let World {
        server,
        reports,
        task,
        ..
    } = world;
    drop(reports);
    task.await.expect("an orderly end");
    let newest = server.newest();
    assert_eq!(newest.anomalies.len(), 1);
    assert_eq!(newest.conditions[0].reason, "Probing");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_hangs_does_not_hold_up_the_end() {
    struct Hung;
    impl AssignmentSink for Hung {
        async fn write(&self, _: RdmaProbeAssignmentStatus) -> Result<(), WriteError> {
            std::future::pending().await
        }
    }
    let (reports, taken) = mpsc::channel(4);
    let inputs = Inputs {
        reports: taken,
        plan: watch::Sender::new(Arc::new(AgentPlan {
            generation: Some(1),
            ..AgentPlan::default()
        }))
        .subscribe(),
        ports: watch::Sender::new(Vec::new()).subscribe(),
        tick: watch::Sender::default(),
        counters: Arc::default(),
        node: "host1".into(),
        paths: Arc::new(Untraced),
        errors: watch::channel(Arc::default()).1,
        epoch: "ab".into(),
    };
    let task = tokio::spawn(run(Arc::new(Hung), inputs, CancellationToken::new()));
    let report = TickReport {
        at: SystemTime::now(),
        targets: Vec::new(),
        settled: true,
    };
    reports.send(report).await.expect("the reporter lives");
    drop(reports);
    let ended = tokio::time::timeout(Duration::from_secs(2), task).await;
    ended.expect("in time").expect("no panic");
}
