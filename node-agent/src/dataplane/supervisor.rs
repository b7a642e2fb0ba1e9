//! Keeps the port loops going: opens every usable RNIC port, lets go of broken ones at once, takes them up again when they are
//! back, and gathers what they report.
//!
//! All port loops share one thread. The supervisor looks at the inventory when something says that it has changed, often while a
//! port is missing, and rarely otherwise.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use rdmamesh_verbs::{DeviceEvent, SysfsRoot, devices};
use rdmamesh_wire::{Epoch, KeyRing};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::DataplaneConfig;
use super::counters::DataplaneCounters;
use super::engine::{Engine, EngineConfig};
use super::mono::Mono;
use super::port::{self, AskFrom, Exit, PortIo, PortTick};
use super::registry::Registry;
use super::throttle::{Throttle, Usage};
use crate::model::{
    LocalPort, LostProbe, PortActivity, PortHealth, ProbePlan, SeriesTable, TickReport,
};
use report::Gathered;
use slot::{Activity, Closed, Slot};

mod choice;
mod life;
mod report;
mod slot;

/// While a port is missing the inventory is read this often.
const POLL_MISSING: Duration = Duration::from_secs(1);
/// And otherwise this often, for devices that are added without anybody saying so.
const POLL_IDLE: Duration = Duration::from_secs(30);
/// The budget is checked this often.
const THROTTLE_EVERY: Duration = Duration::from_secs(5);
/// Longest wait for outstanding probes at the end.
const SETTLE_AT_MOST: Duration = Duration::from_millis(2500);

/// Everything around the supervisor.
#[derive(Debug)]
pub(super) struct SupervisorIo {
    pub(super) config: DataplaneConfig,
    pub(super) sysfs: SysfsRoot,
    pub(super) epoch: Epoch,
    pub(super) keys: watch::Receiver<Arc<KeyRing>>,
    pub(super) plan: watch::Receiver<ProbePlan>,
    pub(super) stop: watch::Receiver<bool>,
    pub(super) asks: mpsc::UnboundedSender<AskFrom>,
    pub(super) ticks: (
        mpsc::UnboundedSender<PortTick>,
        mpsc::UnboundedReceiver<PortTick>,
    ),
    pub(super) lost: mpsc::Sender<LostProbe>,
    pub(super) reports: mpsc::Sender<TickReport>,
    pub(super) health: watch::Sender<Vec<PortHealth>>,
    pub(super) registry: Arc<Registry>,
    pub(super) series: Arc<Mutex<SeriesTable>>,
    pub(super) counters: Arc<DataplaneCounters>,
}

/// What comes back from a port loop that has ended.
type Ended = (LocalPort, Box<Engine>, Box<PortIo>, Exit);
type Notice = (LocalPort, u32, DeviceEvent);

pub(super) struct Supervisor {
    io: SupervisorIo,
    slots: BTreeMap<LocalPort, Slot>,
    loops: JoinSet<Ended>,
    notices: (
        mpsc::UnboundedSender<Notice>,
        mpsc::UnboundedReceiver<Notice>,
    ),
    rate: watch::Sender<f64>,
    throttle: Throttle,
    measured_at: Mono,
    gathered: Gathered,
}

impl Supervisor {
    pub(super) fn new(io: SupervisorIo) -> Self {
        let throttle = Throttle::new(io.config.budget);
        Self {
            io,
            slots: BTreeMap::new(),
            loops: JoinSet::new(),
            notices: mpsc::unbounded_channel(),
            rate: watch::channel(1.0).0,
            throttle,
            measured_at: Mono::now(),
            gathered: Gathered::default(),
        }
    }

    /// Runs until told to stop. Must run inside a [`tokio::task::LocalSet`].
    pub(super) async fn run(mut self) {
        self.adopt_plan();
        self.inspect().await;
        self.measure();
        let mut inspect_at = self.next_inspection();
        let mut report_at = report::after(Mono::now());
        while !*self.io.stop.borrow() {
            let now = Mono::now();
            if now >= inspect_at {
                self.inspect().await;
                inspect_at = self.next_inspection();
            }
            if now >= report_at {
                self.report();
                report_at = report::after(now);
                if now.since(self.measured_at) >= THROTTLE_EVERY {
                    self.measure();
                }
            }
            let wait = inspect_at.min(report_at).since(Mono::now());
            tokio::select! {
                Some(ended) = self.loops.join_next() => {
                    self.ended(ended);
                    inspect_at = self.next_inspection();
                }
                Some((local, generation, event)) = self.notices.1.recv() => {
                    if self.noticed(&local, generation, event) {
                        inspect_at = Mono::now();
                    }
                }
                Ok(()) = self.io.plan.changed() => {
                    self.adopt_plan();
                    inspect_at = Mono::now();
                }
                Ok(()) = self.io.stop.changed() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
        self.finish().await;
    }

    /// Gives every slot its part of the plan, and a slot to every port of the plan.
    fn adopt_plan(&mut self) {
        let plan = self.io.plan.borrow_and_update().clone();
        for port in &plan.ports {
            if !self.slots.contains_key(&port.local) {
                let reason = "looking for the device".to_owned();
                self.add_slot(&port.local, PortActivity::Waiting { reason });
            }
        }
        for (local, slot) in &self.slots {
            let part = plan.ports.iter().find(|port| port.local == *local).cloned();
            slot.plan.send_if_modified(|current| {
                let changed = *current != part;
                *current = part;
                changed
            });
        }
        self.publish_health();
    }

    fn add_slot(&mut self, local: &LocalPort, activity: PortActivity) {
        let config = EngineConfig {
            node: Arc::clone(&self.io.config.node),
            local: local.clone(),
            epoch: self.io.epoch,
            starved_after: self.io.config.starved_after,
        };
        let keys = Arc::clone(&self.io.keys.borrow());
        let engine = Box::new(Engine::new(config, keys, Arc::clone(&self.io.counters)));
        let plan = watch::channel(None).0;
        let (_, orders) = mpsc::unbounded_channel();
        let published = port::unpublished(engine.rnic());
        let io = Box::new(PortIo {
            plan: plan.subscribe(),
            keys: self.io.keys.clone(),
            rate: self.rate.subscribe(),
            stop: self.io.stop.clone(),
            orders,
            asks: self.io.asks.clone(),
            answers: mpsc::unbounded_channel(),
            lost: self.io.lost.clone(),
            ticks: self.io.ticks.0.clone(),
            series: Arc::clone(&self.io.series),
            published,
            registry: Arc::clone(&self.io.registry),
        });
        let retry_at = Mono::default();
        let activity = Activity::Closed(Closed {
            engine,
            io,
            activity,
            retry_at,
        });
        self.slots.insert(local.clone(), Slot { plan, activity });
    }

    fn next_inspection(&self) -> Mono {
        let missing = self.slots.values().any(Slot::missing);
        Mono::now().plus(if missing { POLL_MISSING } else { POLL_IDLE })
    }

    /// Reads the inventory and acts on it.
    async fn inspect(&mut self) {
        let sysfs = self.io.sysfs.clone();
        let read = tokio::task::spawn_blocking(move || devices(&sysfs)).await;
        let devices = match read {
            Ok(Ok(devices)) => devices,
            Ok(Err(error)) => {
                tracing::warn!(%error, "inventory unreadable");
                return;
            }
            Err(error) => {
                tracing::error!(%error, "inventory task failed");
                return;
            }
        };
        self.reconcile(&devices);
        self.publish_health();
    }

    fn publish_health(&self) {
        let health: Vec<PortHealth> = self
            .slots
            .iter()
            .map(|(local, slot)| slot.health(local))
            .collect();
        self.io.health.send_if_modified(|current| {
            let changed = *current != health;
            *current = health;
            changed
        });
    }

    fn report(&mut self) {
        let ticks = &mut self.io.ticks.1;
        let report = self.gathered.report(ticks, Mono::now(), SystemTime::now());
        if self.io.reports.try_send(report).is_err() {
            DataplaneCounters::add(&self.io.counters.reports_dropped, 1);
        }
    }

    fn measure(&mut self) {
        let now = Mono::now();
        let elapsed = now.since(self.measured_at);
        self.measured_at = now;
        if Usage::now().is_some_and(|usage| self.throttle.measured(usage, elapsed)) {
            tracing::warn!(rate = self.throttle.rate(), "probe rate follows the budget");
        }
        self.io.counters.set_throttle(self.throttle.rate());
        self.rate.send_replace(self.throttle.rate());
    }

    /// The port loops stop by themselves once their probes have settled.
    async fn finish(&mut self) {
        let all = async { while self.loops.join_next().await.is_some() {} };
        if tokio::time::timeout(SETTLE_AT_MOST, all).await.is_err() {
            tracing::warn!("probes still outstanding at the end");
            self.loops.shutdown().await;
        }
        self.report();
    }
}
