//! One agent: its probes, what it finds in them, and when it writes that down.

mod content;
mod tracer;
mod windows;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::draw::Draw;
use super::fabric::{Fabric, HostId, RnicId};
use super::life::Time;
use super::operator::MESH;
use super::traffic::{Traffic, World};
use crate::diagnose::Report;
use crate::names::RnicName;
use crate::plan::{MeshPlan, PlanHash, Thresholds};
use crate::report::{Change, Findings, Kind, Limit, Limits, News, Pacer, Pacing, Unanswered, find};

use content::Material;
use tracer::{Ground, Tracer};
use windows::Windows;

/// A port that does not probe for so long counts as idle.
const IDLE_AFTER: Duration = Duration::from_secs(5);

/// Pause after a write that failed.
const API_BACKOFF: Duration = Duration::from_secs(4);

/// An agent's process.
pub(super) struct Agent {
    pub host: HostId,
    /// Where in a second it ticks.
    pub phase: Duration,
    /// When the process began.
    pub began: Time,
    mesh: Arc<str>,
    traffic: Traffic,
    tracer: Tracer,
    windows: Windows,
    thresholds: Thresholds,
    limits: Limits,
    plan: Option<PlanHash>,
    settled: bool,
    /// Local ports that do not probe, and since when.
    idle: BTreeMap<RnicId, Time>,
    findings: Findings,
    unanswered: Unanswered,
    pacer: Pacer<Essence>,
    /// The moment on the clock of the pacer at which the simulation began.
    origin: Instant,
    jitter: f64,
    /// Nothing is left to be told.
    rested: bool,
    looked: u64,
}

/// The part of a status by which changes are told.
#[derive(Clone, Debug, PartialEq)]
struct Essence {
    plan: Option<PlanHash>,
    settled: bool,
    idle: Vec<RnicId>,
    unanswered: Vec<Arc<str>>,
    news: News,
}

/// A status to be written.
pub(super) struct Written {
    pub report: Report,
    /// Of JSON.
    pub bytes: usize,
}

impl Agent {
    pub fn new(
        host: HostId,
        thresholds: Thresholds,
        (now, origin): (Time, Instant),
        draw: &mut Draw,
    ) -> Self {
        let mesh: Arc<str> = Arc::from(MESH);
        let limit = Limit {
            loss_ratio: thresholds.loss_ratio,
            p99: thresholds.p99,
        };
        Self {
            host,
            phase: Duration::from_secs(1).mul_f64(draw.unit()),
            began: now,
            traffic: Traffic::new(host, thresholds.window, now),
            tracer: Tracer::default(),
            windows: Windows::default(),
            limits: Limits::from([(Arc::clone(&mesh), limit)]),
            mesh,
            thresholds,
            plan: None,
            settled: false,
            idle: BTreeMap::new(),
            findings: Findings::default(),
            unanswered: Unanswered::default(),
            pacer: Pacer::new(Pacing::default()),
            origin,
            jitter: draw.between(-1.0, 1.0),
            rested: false,
            looked: u64::MAX,
        }
    }

    /// Takes its part of the plan over; how many targets it has, where that is news.
    pub fn assign(
        &mut self,
        fabric: &Fabric,
        plan: &MeshPlan,
        rnics: &BTreeMap<RnicName, RnicId>,
        now: Time,
    ) -> Option<usize> {
        let node = fabric.host_name(self.host);
        if self.plan.is_some() && self.plan == plan.plan_hash(&node) {
            return None;
        }
        self.plan = plan.plan_hash(&node);
        self.settled = false;
        self.rested = false;
        self.looked = u64::MAX;
        let mut wanted = Vec::new();
        if let Some(assignment) = plan.assignment(&node) {
            for local in assignment.rnics {
                let name = RnicName::new(node.clone(), local.device, local.port);
                for target in local.targets {
                    if let (Some(local), Some(peer)) = (rnics.get(&name), rnics.get(&target.peer)) {
                        wanted.push((*local, *peer, target));
                    }
                }
            }
        }
        let places = self.traffic.assign(fabric, wanted);
        self.tracer.assign(&self.traffic.flows, &places, now);
        self.windows.assign(&self.mesh, fabric, &self.traffic);
        Some(self.traffic.targets.len())
    }

    /// Outcomes of its probes so far, by the agent's names.
    pub fn outcomes(&self) -> [(&'static str, u64); 8] {
        self.traffic.outcomes()
    }

    /// Sends what falls due before `until`; `version` changes whenever the world does.
    pub fn send_until(&mut self, until: Time, world: &World<'_>, version: u64, draw: &mut Draw) {
        if self.looked != version || self.traffic.unresolved() {
            self.traffic.look_around(world);
            self.looked = version;
        }
        self.traffic.send_until(until, world, draw);
    }

    /// Once a second: settles, traces, judges, and hands out what is to be written.
    pub fn tick(
        &mut self,
        now: Time,
        world: &World<'_>,
        draw: &mut Draw,
        api_works: bool,
    ) -> Option<Written> {
        let lost = self.traffic.settle(now, world);
        let ground = Ground {
            fabric: world.fabric,
            ills: world.ills,
            unanswered: world.unanswered,
        };
        for flow in lost {
            self.tracer.heat(flow, now, self.thresholds.window);
        }
        self.tracer.work(&self.traffic.flows, now, &ground, draw);
        self.note_idle(now, world);
        self.settle(now);
        if self.rested && self.traffic.is_quiet() {
            return None;
        }
        self.windows.fill(&self.traffic, self.thresholds.window);
        self.judge(now, world.fabric, api_works)
    }

    /// Judges the windows and writes if it is time to.
    fn judge(&mut self, now: Time, fabric: &Fabric, api_works: bool) -> Option<Written> {
        let windows = self.windows.all();
        self.findings = find(&windows, &self.limits, &self.findings);
        self.unanswered.update(&windows);
        for finding in &self.findings.open {
            if finding.key.kind == Kind::Latency {
                for flow in self.windows.flows_of(&finding.key, &self.traffic) {
                    self.tracer.heat(flow, now, self.thresholds.window);
                }
            }
        }
        let essence = Essence {
            plan: self.plan,
            settled: self.settled,
            idle: self
                .idle
                .iter()
                .filter(|(_, since)| now.saturating_sub(**since) >= IDLE_AFTER)
                .map(|(rnic, _)| *rnic)
                .collect(),
            unanswered: self
                .unanswered
                .of(MESH)
                .map(|(peer, _)| Arc::clone(peer))
                .collect(),
            news: News::new(&windows, &self.findings.open),
        };
        let change = essence.change_since(self.pacer.written());
        let at = self.origin + now;
        self.rested = change == Change::Same && self.traffic.is_quiet() && self.settled;
        if self.pacer.due(at, change).is_none_or(|due| due > at) {
            return None;
        }
        if !api_works {
            self.pacer.failed(at, API_BACKOFF);
            return None;
        }
        let material = Material {
            host: self.host,
            now,
            settled: self.settled,
            fabric,
            traffic: &self.traffic,
            tracer: &self.tracer,
            findings: &self.findings,
        };
        let (report, bytes) = content::report(&material, &self.windows, &windows);
        self.pacer.succeeded(at, essence, change, self.jitter);
        Some(Written { report, bytes })
    }

    fn settle(&mut self, now: Time) {
        if !self.settled {
            self.settled = self.traffic.targets.iter().all(|target| {
                let window = self.traffic.window(target);
                window.end - window.start >= self.thresholds.window.as_secs()
                    || self
                        .idle
                        .get(&target.local)
                        .is_some_and(|since| now - *since >= IDLE_AFTER)
            });
        }
    }

    fn note_idle(&mut self, now: Time, world: &World<'_>) {
        let first = self.host * world.fabric.rails();
        for rnic in first..first + world.fabric.rails() {
            if world.ills.port_down[rnic as usize] || world.ills.removed[rnic as usize] {
                let since = *self.idle.entry(rnic).or_insert(now);
                self.rested &= now - since > IDLE_AFTER * 2;
            } else if self.idle.remove(&rnic).is_some() {
                self.rested = false;
            }
        }
    }
}

impl Essence {
    /// How this differs from what was written before, as the agent's own essence does.
    fn change_since(&self, written: Option<&Self>) -> Change {
        let Some(written) = written else {
            return if self.news.has_anomalies() || self.settled {
                Change::News
            } else {
                Change::Silent
            };
        };
        let frame = |of: &Self| (of.plan, of.settled, of.idle.clone(), of.unanswered.clone());
        if self.settled && frame(self) != frame(written) {
            return Change::News;
        }
        self.news.change_since(&written.news)
    }
}
