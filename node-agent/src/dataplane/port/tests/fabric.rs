//! A fabric in memory: ports with queue pairs, a link function that delays or drops, and a control exchange. Time is tokio's,
//! paused: a test of a minute runs in milliseconds and always the same way.

use std::collections::{HashMap, VecDeque};
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use rdmamesh_verbs::{Completion, CompletionStatus, Gid, Payload, Stamp};
use rdmamesh_wire::{Epoch, KeyRing, NodeId, Question, Sighting};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::{JoinHandle, LocalSet};
use tokio::time::Instant;

use super::super::*;
use crate::dataplane::counters::DataplaneCounters;
use crate::dataplane::engine::{EngineConfig, FlowFacts, Present};
use crate::model::{
    FabricAddress, FlowSource, GidIndex, LocalPort, Peer, ProbeClass, Target, TimestampMode,
    TrafficClass,
};

pub(super) const MS: fn(u64) -> Duration = Duration::from_millis;
pub(super) const STARVED_AFTER: Duration = Duration::from_millis(50);

/// One datagram on its way.
pub(super) struct Packet<'a> {
    pub(super) from: Ipv6Addr,
    pub(super) to: Ipv6Addr,
    pub(super) qp_index: u16,
    pub(super) payload: &'a [u8],
}

/// What the fabric does to a datagram: when it arrives, or `None` when it never does.
pub(super) type Link = Box<dyn FnMut(&Packet<'_>) -> Option<Duration> + Send>;

#[derive(Default)]
struct Inbox {
    queue: Mutex<VecDeque<Completion>>,
    notify: Notify,
    gone: Mutex<bool>,
}

pub(super) struct Fabric {
    origin: Instant,
    inboxes: Mutex<HashMap<(Ipv6Addr, u32), Arc<Inbox>>>,
    link: Mutex<Link>,
    hosts: Mutex<HashMap<NodeId, HostControl>>,
    next_qpn: Mutex<u32>,
}

/// What the control exchange of a host says.
struct HostControl {
    registry: Arc<Registry>,
    rnic: RnicId,
    epoch: Epoch,
    silent: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Fabric {
    /// Everything takes `latency` one way.
    pub(super) fn new(latency: Duration) -> Arc<Self> {
        Arc::new(Self {
            origin: Instant::now() - Duration::from_secs(1000),
            inboxes: Mutex::default(),
            link: Mutex::new(Box::new(move |_| Some(latency))),
            hosts: Mutex::default(),
            next_qpn: Mutex::new(16),
        })
    }

    pub(super) fn now(&self) -> Mono {
        Mono(Instant::now() - self.origin)
    }

    pub(super) fn set_link(
        &self,
        link: impl FnMut(&Packet<'_>) -> Option<Duration> + Send + 'static,
    ) {
        *lock(&self.link) = Box::new(link);
    }

    pub(super) fn silence(&self, node: &str, silent: bool) {
        if let Some(host) = lock(&self.hosts).get_mut(&NodeId::of(node)) {
            host.silent = silent;
        }
    }

    /// Puts a datagram into the inbox of `(gid, qpn)` as if it came from `from`.
    pub(super) fn inject(&self, from: Ipv6Addr, to: (Ipv6Addr, u32), payload: &[u8]) {
        let inbox = lock(&self.inboxes).get(&to).cloned();
        if let Some(inbox) = inbox {
            let completion = received(from, payload, self.now().0);
            lock(&inbox.queue).push_back(completion);
            inbox.notify.notify_one();
        }
    }

    fn answer(&self, from: &AskFrom) -> Option<Option<Present>> {
        let hosts = lock(&self.hosts);
        let host = hosts
            .get(&from.inquiry.ask.node)
            .filter(|host| !host.silent);
        Some(host.map(|host| {
            let entry = host
                .registry
                .entry(from.inquiry.ask.rnic, self.now(), STARVED_AFTER);
            let ago = Duration::from_millis(u64::from(entry.starved_ms_ago));
            let starved = entry.starved_ms_ago != rdmamesh_wire::NEVER;
            let starved_until = starved.then(|| Mono(self.now().0.saturating_sub(ago)));
            Present {
                epoch: host.epoch,
                entry,
                starved_until,
            }
        }))
    }
}

impl Fabric {
    /// What the peer says of the probes in question.
    fn sightings(&self, from: &AskFrom) -> Vec<(u64, bool)> {
        let hosts = lock(&self.hosts);
        let inquiry = &from.inquiry;
        let Some(host) = hosts.get(&inquiry.ask.node).filter(|host| !host.silent) else {
            return Vec::new();
        };
        let Some(asker) = hosts.values().find(|host| host.rnic == inquiry.from) else {
            return Vec::new();
        };
        let sighting = |sequence: &u64| {
            let (from, port) = (inquiry.from, 0);
            let question = Question {
                from,
                sequence: *sequence,
                port,
            };
            let rnic = inquiry.ask.rnic;
            match host.registry.sighting(rnic, asker.epoch, &question) {
                Sighting::Seen => Some((*sequence, true)),
                Sighting::Unseen => Some((*sequence, false)),
                Sighting::Unknown => None,
            }
        };
        inquiry.unanswered.iter().filter_map(sighting).collect()
    }
}

fn received(from: Ipv6Addr, payload: &[u8], stamp: Duration) -> Completion {
    Completion::Received {
        qp_index: 0,
        source_qpn: u32::from(from.octets()[14]) << 8 | 16,
        source_gid: Some(Gid::from_ipv6(from)),
        source_lid: None,
        hop_limit: Some(61),
        payload: Payload::from_slice(payload),
        stamp: Stamp(stamp),
    }
}

/// A port on the fabric.
pub(super) struct FakePort {
    fabric: Arc<Fabric>,
    gid: Ipv6Addr,
    pub(super) qpns: Vec<u32>,
    inbox: Arc<Inbox>,
    hardware: Option<Duration>,
    unrouted: Vec<FabricAddress>,
    routed: bool,
    pub(super) polls: Arc<Mutex<u64>>,
}

impl FakePort {
    fn stamp(&self) -> Duration {
        self.fabric.now().0 + self.hardware.unwrap_or_default()
    }
}

impl Drop for FakePort {
    fn drop(&mut self) {
        lock(&self.fabric.inboxes).retain(|_, inbox| !Arc::ptr_eq(inbox, &self.inbox));
    }
}

impl ProbePort for FakePort {
    fn facts(&self) -> PortFacts {
        let qp_ports = self
            .qpns
            .iter()
            .map(|qpn| u16::try_from(49_152 + qpn).ok())
            .collect();
        let flows = FlowFacts {
            source: FlowSource::QpNumber,
            qp_ports,
            label_ports: false,
        };
        let timestamps = match self.hardware {
            Some(_) => TimestampMode::Hardware,
            None => TimestampMode::Software,
        };
        PortFacts { flows, timestamps }
    }

    fn post(&mut self, transmit: &Transmit) -> Result<(), PostFailure> {
        if !self.unrouted.contains(&transmit.route.address) {
            // Like the real port: the first datagram of a route waits until its handle is there.
            self.unrouted.push(transmit.route.address);
            self.routed = true;
            self.inbox.notify.notify_one();
            return Err(PostFailure::Unrouted);
        }
        let FabricAddress::Gid(to) = transmit.route.address else {
            return Err(PostFailure::Refused);
        };
        let (status, stamp) = (CompletionStatus::Success, Stamp(self.stamp()));
        let token = transmit.token;
        lock(&self.inbox.queue).push_back(Completion::Sent {
            token,
            status,
            stamp,
        });
        self.inbox.notify.notify_one();
        let packet = Packet {
            from: self.gid,
            to,
            qp_index: transmit.qp_index,
            payload: &transmit.payload,
        };
        let Some(delay) = (lock(&self.fabric.link))(&packet) else {
            return Ok(());
        };
        let (fabric, from, qpn) = (Arc::clone(&self.fabric), self.gid, transmit.qpn);
        let source_qpn = self.qpns[usize::from(transmit.qp_index)];
        let payload = transmit.payload;
        tokio::task::spawn_local(async move {
            tokio::time::sleep(delay).await;
            let inbox = lock(&fabric.inboxes).get(&(to, qpn)).cloned();
            if let Some(inbox) = inbox {
                let mut completion = received(from, &payload, Duration::ZERO);
                if let Completion::Received {
                    source_qpn: source, ..
                } = &mut completion
                {
                    *source = source_qpn;
                }
                lock(&inbox.queue).push_back(completion);
                inbox.notify.notify_one();
            }
        });
        Ok(())
    }

    fn poll(&mut self, out: &mut Vec<Completion>) -> Result<(), PortGone> {
        *lock(&self.polls) += 1;
        if *lock(&self.inbox.gone) {
            return Err(PortGone("the device is gone".to_owned()));
        }
        let now = self.stamp();
        for mut completion in lock(&self.inbox.queue).drain(..) {
            if let Completion::Received { stamp, .. } = &mut completion {
                *stamp = Stamp(now);
            }
            out.push(completion);
        }
        Ok(())
    }

    async fn ready(&self) -> Result<(), PortGone> {
        self.inbox.notify.notified().await;
        Ok(())
    }

    fn routes_changed(&mut self) -> bool {
        std::mem::take(&mut self.routed)
    }

    fn interrupted(&mut self) -> bool {
        false
    }

    fn now(&self) -> Mono {
        self.fabric.now()
    }
}

/// One host with one port and its loop.
pub(super) struct Host {
    pub(super) name: &'static str,
    pub(super) gid: Ipv6Addr,
    pub(super) epoch: Epoch,
    pub(super) qpns: Vec<u32>,
    pub(super) counters: Arc<DataplaneCounters>,
    pub(super) plan: watch::Sender<Option<PortPlan>>,
    pub(super) stop: watch::Sender<bool>,
    pub(super) orders: mpsc::UnboundedSender<PortOrder>,
    pub(super) series: Arc<Mutex<SeriesTable>>,
    pub(super) ticks: mpsc::UnboundedReceiver<PortTick>,
    pub(super) task: JoinHandle<Exit>,
    pub(super) polls: Arc<Mutex<u64>>,
    pub(super) losses: mpsc::Receiver<LostProbe>,
    registry: Arc<Registry>,
    inbox: Arc<Inbox>,
}

pub(super) fn keys() -> Arc<KeyRing> {
    Arc::new(KeyRing::new([(1, [9u8; 32].as_slice())], None).expect("32 bytes are enough"))
}

pub(super) fn gid(number: u8) -> Ipv6Addr {
    std::net::Ipv4Addr::new(10, 0, 0, number).to_ipv6_mapped()
}

impl Host {
    /// Starts a host with `qps` queue pairs. `hardware` gives it device stamps that run ahead by so much.
    pub(super) fn start(
        fabric: &Arc<Fabric>,
        name: &'static str,
        number: u8,
        qps: u32,
        hardware: Option<Duration>,
    ) -> Self {
        let local = LocalPort::new("rxe0", 1);
        let (gid, epoch) = (gid(number), Epoch(rand::random_range(1..=u64::MAX)));
        let first = {
            let mut next = lock(&fabric.next_qpn);
            *next += qps;
            *next - qps
        };
        let qpns: Vec<u32> = (first..first + qps).collect();
        let inbox = Arc::new(Inbox::default());
        for qpn in &qpns {
            lock(&fabric.inboxes).insert((gid, *qpn), Arc::clone(&inbox));
        }
        let counters = Arc::new(DataplaneCounters::default());
        let config = EngineConfig {
            node: name.into(),
            local,
            epoch,
            starved_after: STARVED_AFTER,
        };
        let mut engine = Engine::new(config, keys(), Arc::clone(&counters));
        let registry = Arc::new(Registry::default());
        let published = PublishedPort::new(
            engine.rnic(),
            first,
            u16::try_from(qps).expect("few"),
            rand::random(),
            engine.heard(),
        );
        let published = Arc::new(published);
        registry.publish(Arc::clone(&published));
        let control = HostControl {
            registry: Arc::clone(&registry),
            rnic: engine.rnic(),
            epoch,
            silent: false,
        };
        lock(&fabric.hosts).insert(NodeId::of(name), control);
        let (plan, stop) = (watch::channel(None).0, watch::channel(false).0);
        let (orders, ordered) = mpsc::unbounded_channel();
        let (asks, asked) = mpsc::unbounded_channel();
        let (tick, ticks) = mpsc::unbounded_channel();
        let (lost, losses) = mpsc::channel(10_000);
        let series = Arc::new(Mutex::new(SeriesTable::new()));
        let mut io = PortIo {
            plan: plan.subscribe(),
            keys: watch::channel(keys()).1,
            rate: watch::channel(1.0).1,
            stop: stop.subscribe(),
            orders: ordered,
            asks,
            answers: mpsc::unbounded_channel(),
            lost,
            ticks: tick,
            series: Arc::clone(&series),
            published,
            registry: Arc::clone(&registry),
        };
        tokio::task::spawn_local(control_exchange(Arc::clone(fabric), asked));
        let polls = Arc::new(Mutex::new(0));
        let mut port = FakePort {
            fabric: Arc::clone(fabric),
            gid,
            qpns: qpns.clone(),
            inbox: Arc::clone(&inbox),
            hardware,
            unrouted: Vec::new(),
            routed: false,
            polls: Arc::clone(&polls),
        };
        let task =
            tokio::task::spawn_local(async move { run(&mut port, &mut engine, &mut io).await });
        Self {
            name,
            gid,
            epoch,
            qpns,
            counters,
            plan,
            stop,
            orders,
            series,
            ticks,
            task,
            polls,
            registry,
            inbox,
            losses,
        }
    }

    /// As `kill -9`: the loop, the queue pairs and the control responder are gone at once.
    pub(super) fn kill(self, fabric: &Fabric) {
        self.task.abort();
        lock(&fabric.hosts).remove(&NodeId::of(self.name));
        lock(&fabric.inboxes).retain(|_, inbox| !Arc::ptr_eq(inbox, &self.inbox));
    }

    /// The device is removed under the running loop.
    pub(super) fn remove_device(&self) {
        *lock(&self.inbox.gone) = true;
        self.inbox.notify.notify_one();
    }

    /// Says over the control exchange that this host was starved until `until`.
    pub(super) fn claim_starved(&self, until: Mono) {
        let rnic = RnicId::of(self.name, "rxe0", 1);
        let entry = self.registry.entry(rnic, until, STARVED_AFTER);
        let port = PublishedPort::new(
            rnic,
            entry.qpn,
            entry.qps,
            entry.generation,
            Heard::default(),
        );
        port.set_loop(Mono(Duration::from_secs(1 << 30)), Some(until));
        self.registry.publish(Arc::new(port));
    }

    /// A target that means `peer`.
    pub(super) fn target_of(peer: &Self, flows: u16, interval: Duration) -> Target {
        Target {
            mesh: "m".into(),
            mesh_id: 1,
            class: ProbeClass::TorMesh,
            local_group: "r1".into(),
            peer: Peer {
                node: peer.name.into(),
                device: "rxe0".into(),
                port: 1,
                group: "r1".into(),
                address: FabricAddress::Gid(peer.gid),
                control: Some(SocketAddr::from(([10, 0, 0, 1], 7475))),
            },
            traffic_class: TrafficClass {
                name: "default".into(),
                dscp: 26,
                service_level: 0,
            },
            flows,
            seed: 7,
            interval,
            timeout: MS(500),
            window: MS(5000),
        }
    }

    /// Probes `targets` from now on.
    pub(super) fn probe(&self, targets: impl IntoIterator<Item = Target>) {
        let targets = targets.into_iter().map(Arc::new).collect();
        let local = LocalPort::new("rxe0", 1);
        self.plan.send_replace(Some(PortPlan {
            local,
            gid_index: GidIndex::Auto,
            targets,
        }));
    }

    /// The newest windows, after waiting for the next tick.
    pub(super) async fn next_windows(&mut self) -> Vec<TargetWindow> {
        while self.ticks.try_recv().is_ok() {}
        let tick = tokio::time::timeout(Duration::from_secs(5), self.ticks.recv()).await;
        tick.expect("a tick every second")
            .expect("the loop runs")
            .targets
    }

    /// The cumulative outcomes of everything probed.
    pub(super) fn total(&self) -> crate::model::Tally {
        let mut sum = crate::model::Tally::default();
        lock(&self.series)
            .values()
            .for_each(|series| sum += series.tally);
        sum
    }

    /// Stops probing and waits until all has settled.
    pub(super) async fn settle(&mut self) -> crate::model::Tally {
        self.stop.send_replace(true);
        let ended = tokio::time::timeout(Duration::from_secs(5), &mut self.task).await;
        let exit = ended.expect("settles in time").expect("no panic");
        assert_eq!(exit, Exit::Stopped);
        self.total()
    }
}

/// Answers for all hosts: in a millisecond when the host speaks, after a second when it does not.
async fn control_exchange(fabric: Arc<Fabric>, mut asked: mpsc::UnboundedReceiver<AskFrom>) {
    while let Some(from) = asked.recv().await {
        let fabric = Arc::clone(&fabric);
        tokio::task::spawn_local(async move {
            let asked_at = fabric.now();
            tokio::time::sleep(MS(1)).await;
            let present = fabric.answer(&from).flatten();
            let sightings = fabric.sightings(&from);
            if present.is_none() {
                tokio::time::sleep(MS(999)).await;
            }
            from.reply
                .send(Answer {
                    rnic: from.inquiry.ask.rnic,
                    asked_at,
                    present,
                    sightings,
                })
                .ok();
        });
    }
}

/// Runs a test body in paused time.
pub(super) fn in_paused_time<F: Future<Output = ()>>(body: F) {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    LocalSet::new().block_on(&runtime, body);
}

pub(super) async fn seconds(n: u64) {
    tokio::time::sleep(Duration::from_secs(n)).await;
}
