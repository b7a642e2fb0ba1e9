//! A whole cluster in simulated time: the fabric, an agent on each host, the operator, and Kubernetes as far as
//! it matters.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::{Duration, Instant};

use super::agent::Agent;
use super::draw::Draw;
use super::fabric::{Fabric, HostId, RnicId};
use super::fault::{Fault, Harm, Ills, Place};
use super::life::{Hunger, Life, Time};
use super::operator::{Operator, Port};
use super::setup::Setup;
use super::traffic::World;
use crate::diagnose::Verdict;
use crate::names::RnicName;
use crate::plan::{Coverage, NodeState};

/// From a port's change to the inventory that tells of it.
const INVENTORY_AFTER: Duration = Duration::from_millis(250);
/// From a change that matters to the new plan.
const PLAN_AFTER: Duration = Duration::from_millis(600);
/// From a new plan to the agents.
const ASSIGN_AFTER: Duration = Duration::from_millis(200);
/// From the begin of a process to its first probes.
const AGENT_STARTS: Duration = Duration::from_millis(300);
/// From a node's last sign of life to `NotReady`.
const NOT_READY_AFTER: Duration = Duration::from_secs(40);
/// From a node's return to `Ready`.
const READY_AFTER: Duration = Duration::from_secs(2);
/// Pauses of hungry hosts are drawn this far ahead.
const AHEAD: Duration = Duration::from_secs(2);

/// Something that is going to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// An agent's second is over.
    Tick(HostId),
    /// An agent's process begins to work.
    Start(HostId),
    /// An agent writes its inventory.
    Inventory(HostId),
    /// Kubernetes looks whether a node is there.
    Node(HostId),
    Plan,
    Assign,
}

/// The world around an agent, borrowed field by field.
macro_rules! world {
    ($cluster:expr) => {
        World {
            fabric: &$cluster.fabric,
            ills: &$cluster.ills,
            lives: &$cluster.lives,
            background: $cluster.setup.background_loss,
            unanswered: $cluster.setup.unanswered_hops,
        }
    };
}

/// A write to the API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Write {
    /// When.
    pub at: Duration,
    /// By whom.
    pub by: Writer,
    /// Of JSON.
    pub bytes: usize,
}

/// Who writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writer {
    /// The agent of this host (from 0), its report.
    Agent(u32),
    /// The agent of this host, its inventory.
    Inventory(u32),
    /// The operator, this host's assignment.
    Operator(u32),
}

/// Outcomes of the probes of one agent's process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counted {
    /// Its host, from 0.
    pub host: u32,
    /// When the process began.
    pub began: Duration,
    /// By the agent's names of outcomes.
    pub outcomes: [(&'static str, u64); 8],
}

/// Bytes of JSON of an inventory, and of an assignment's target.
const INVENTORY_BYTES: usize = 1500;
const TARGET_BYTES: usize = 180;

/// A cluster.
pub struct Cluster {
    fabric: Fabric,
    setup: Setup,
    rnics: BTreeMap<RnicName, RnicId>,
    faults: BTreeMap<String, Fault>,
    ills: Ills,
    lives: Vec<Life>,
    agents: Vec<Option<Agent>>,
    operator: Operator,
    queue: BinaryHeap<Reverse<(Time, u64, Event)>>,
    queued: u64,
    planning: bool,
    /// Changes whenever faults or lives do.
    version: u64,
    draw: Draw,
    now: Time,
    /// The moment on the clock of the agents' pacers at which the simulation began.
    origin: Instant,
    writes: Vec<Write>,
}

impl Cluster {
    /// A cluster whose agents begin now.
    #[must_use]
    pub fn new(setup: Setup) -> Self {
        let fabric = setup.fabric;
        let hosts = fabric.size().hosts();
        let mut cluster = Self {
            rnics: (0..fabric.size().rnics())
                .map(|rnic| (fabric.rnic_name(rnic), rnic))
                .collect(),
            faults: BTreeMap::new(),
            ills: Ills::none(&fabric),
            lives: vec![Life::default(); hosts as usize],
            agents: (0..hosts).map(|_| None).collect(),
            operator: Operator::new(&setup),
            queue: BinaryHeap::new(),
            queued: 0,
            planning: false,
            version: 0,
            draw: Draw::new(setup.seed, u64::MAX),
            now: Duration::ZERO,
            origin: Instant::now(),
            writes: Vec::new(),
            fabric,
            setup,
        };
        for host in 0..hosts {
            let gone = cluster.setup.never_there.contains(&host)
                || cluster.setup.died_before.contains(&host);
            if gone {
                cluster.lives[host as usize].dies(Duration::ZERO);
            } else {
                cluster.begin_agent(host);
            }
        }
        for host in cluster.setup.starved.clone() {
            cluster.lives[host as usize].hungers(Some(Hunger::BUSY), Duration::ZERO);
        }
        cluster
    }

    /// The time since it began.
    #[must_use]
    pub const fn now(&self) -> Duration {
        self.now
    }

    /// What the operator says now.
    #[must_use]
    pub const fn verdict(&self) -> &Verdict {
        &self.operator.verdict
    }

    /// Coverage of the plan in force.
    #[must_use]
    pub fn planned(&self) -> Option<&Coverage> {
        self.operator.plan.as_ref().map(|plan| &plan.coverage)
    }

    /// Outcomes of the probes of all agents that are there.
    #[must_use]
    pub fn counters(&self) -> Vec<Counted> {
        self.agents
            .iter()
            .flatten()
            .map(|agent| Counted {
                host: agent.host,
                began: agent.began,
                outcomes: agent.outcomes(),
            })
            .collect()
    }

    /// Writes to the API server so far, in order.
    #[must_use]
    pub fn writes(&self) -> &[Write] {
        &self.writes
    }

    /// Lets time pass until `until`; `seen` is called after each judgement.
    pub fn run_until(&mut self, until: Time, mut seen: impl FnMut(Time, &Verdict)) {
        loop {
            let next = self
                .queue
                .peek()
                .map_or(Duration::MAX, |Reverse((at, ..))| *at);
            let judges = if self.operator_works() {
                self.operator.judges_at()
            } else {
                Duration::MAX
            };
            if next.min(judges) > until {
                break;
            }
            if judges < next {
                self.now = judges.max(self.now);
                self.operator.judge(self.now);
                seen(self.now, &self.operator.verdict);
                continue;
            }
            let Some(Reverse((at, _, event))) = self.queue.pop() else {
                break;
            };
            self.now = at.max(self.now);
            self.happen(event);
        }
        self.now = until.max(self.now);
    }

    /// Breaks something.
    pub fn inject(&mut self, id: &str, fault: Fault) {
        self.flush();
        self.faults.insert(id.to_owned(), fault);
        self.changed();
        let now = self.now;
        match (fault.place, fault.harm) {
            (Place::Host(host), Harm::AgentDead) => self.end_agent(host),
            (Place::Host(host), Harm::AgentStopped) => self.lives[host as usize].freezes(now),
            (Place::Host(host), Harm::Hogged) => {
                self.lives[host as usize].hungers(Some(Hunger::HOGGED), now);
            }
            (Place::Host(host), Harm::Off) => {
                self.end_agent(host);
                self.push(now + NOT_READY_AFTER, Event::Node(host));
            }
            _ => {}
        }
    }

    /// Mends something.
    pub fn clear(&mut self, id: &str) {
        self.flush();
        let Some(fault) = self.faults.remove(id) else {
            return;
        };
        self.changed();
        let now = self.now;
        match (fault.place, fault.harm) {
            (Place::Host(host), Harm::AgentDead | Harm::Off) => {
                self.lives[host as usize].returns(now);
                self.begin_agent(host);
                self.push(now + READY_AFTER, Event::Node(host));
            }
            (Place::Host(host), Harm::AgentStopped) => self.lives[host as usize].thaws(now),
            (Place::Host(host), Harm::Hogged) => {
                let starved = self.setup.starved.contains(&host);
                self.lives[host as usize].hungers(starved.then_some(Hunger::BUSY), now);
            }
            _ => {}
        }
    }

    fn push(&mut self, at: Time, event: Event) {
        self.queued += 1;
        self.queue.push(Reverse((at, self.queued, event)));
    }

    fn is_in_force(&self, harm: Harm) -> bool {
        self.faults.values().any(|fault| fault.harm == harm)
    }

    fn api_works(&self) -> bool {
        !self.is_in_force(Harm::ApiServerDown)
    }

    fn operator_works(&self) -> bool {
        self.api_works() && !self.is_in_force(Harm::OperatorDown)
    }

    /// All agents send what fell due before now, as things were until now.
    fn flush(&mut self) {
        let (now, version) = (self.now, self.version);
        self.draw_pauses();
        let world = world!(self);
        for agent in self.agents.iter_mut().flatten() {
            agent.send_until(now, &world, version, &mut self.draw);
        }
    }

    fn changed(&mut self) {
        self.version += 1;
        let before =
            std::mem::replace(&mut self.ills, Ills::of(&self.fabric, self.faults.values()));
        for host in 0..self.fabric.size().hosts() {
            let rails = self.fabric.rails() as usize;
            let ports = host as usize * rails..(host as usize + 1) * rails;
            let same = before.port_down[ports.clone()] == self.ills.port_down[ports.clone()]
                && before.removed[ports.clone()] == self.ills.removed[ports];
            if !same {
                self.push(self.now + INVENTORY_AFTER, Event::Inventory(host));
            }
        }
    }

    fn draw_pauses(&mut self) {
        let until = self.now + AHEAD;
        for life in &mut self.lives {
            let plain = life.is_plain();
            life.draw_until(until, &mut self.draw);
            if plain != life.is_plain() {
                self.version += 1;
            }
        }
    }

    fn end_agent(&mut self, host: HostId) {
        self.lives[host as usize].dies(self.now);
        self.agents[host as usize] = None;
    }

    fn begin_agent(&mut self, host: HostId) {
        self.push(self.now + AGENT_STARTS, Event::Start(host));
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Start(host) => self.start(host),
            Event::Tick(host) => self.tick(host),
            Event::Inventory(host) => self.inventory(host),
            Event::Node(host) => self.node(host),
            Event::Plan => {
                self.planning = false;
                self.operator.replan();
                self.push(self.now + ASSIGN_AFTER, Event::Assign);
            }
            Event::Assign => self.assign(),
        }
    }

    fn start(&mut self, host: HostId) {
        if self.agents[host as usize].is_some() || self.lives[host as usize].is_absent(self.now) {
            return;
        }
        let thresholds = self.setup.mesh.policy.thresholds;
        let mut agent = Agent::new(host, thresholds, (self.now, self.origin), &mut self.draw);
        if let Some(plan) = &self.operator.plan {
            agent.assign(&self.fabric, plan, &self.rnics, self.now);
        }
        let first = Duration::from_secs(self.now.as_secs() + 1) + agent.phase;
        self.agents[host as usize] = Some(agent);
        self.push(first, Event::Tick(host));
        self.push(self.now, Event::Inventory(host));
    }

    fn tick(&mut self, host: HostId) {
        self.draw_pauses();
        let runs = self.lives[host as usize].runs_at(self.now);
        let Some(mut agent) = self.agents[host as usize].take() else {
            return;
        };
        if runs > self.now {
            let again = if runs == Duration::MAX {
                self.now + Duration::from_secs(1)
            } else {
                runs
            };
            self.push(again, Event::Tick(host));
            self.agents[host as usize] = Some(agent);
            return;
        }
        let second = Duration::from_secs(self.now.as_secs());
        let world = world!(self);
        agent.send_until(second, &world, self.version, &mut self.draw);
        let api_works = self
            .faults
            .values()
            .all(|fault| fault.harm != Harm::ApiServerDown);
        if let Some(written) = agent.tick(self.now, &world, &mut self.draw, api_works) {
            self.writes.push(Write {
                at: self.now,
                by: Writer::Agent(host),
                bytes: written.bytes,
            });
            self.operator.report(host, written.report, self.now);
        }
        // A tick that came late does not move the ones after it.
        let next = if second + agent.phase > self.now {
            second + agent.phase
        } else {
            second + Duration::from_secs(1) + agent.phase
        };
        self.agents[host as usize] = Some(agent);
        self.push(next, Event::Tick(host));
    }

    fn inventory(&mut self, host: HostId) {
        if self.agents[host as usize].is_none() {
            return;
        }
        if !self.api_works() {
            self.push(self.now + Duration::from_secs(1), Event::Inventory(host));
            return;
        }
        let rails = self.fabric.rails();
        let ports: Vec<Port> = (host * rails..(host + 1) * rails)
            .map(|rnic| {
                if self.ills.removed[rnic as usize] {
                    Port::Gone
                } else if self.ills.port_down[rnic as usize] {
                    Port::Down
                } else {
                    Port::Up
                }
            })
            .collect();
        if self.operator.inventory(host, &ports, self.now) {
            self.writes.push(Write {
                at: self.now,
                by: Writer::Inventory(host),
                bytes: INVENTORY_BYTES,
            });
            self.plan_soon();
        }
    }

    fn plan_soon(&mut self) {
        if !self.planning {
            self.planning = true;
            self.push(self.now + PLAN_AFTER, Event::Plan);
        }
    }

    fn node(&mut self, host: HostId) {
        let off = self
            .faults
            .values()
            .any(|fault| fault.place == Place::Host(host) && fault.harm == Harm::Off);
        let state = if off {
            NodeState::NotReady
        } else {
            NodeState::Ready
        };
        self.operator.node(host, state, self.now);
        self.plan_soon();
    }

    fn assign(&mut self) {
        self.flush();
        let Some(plan) = &self.operator.plan else {
            return;
        };
        for agent in self.agents.iter_mut().flatten() {
            if let Some(targets) = agent.assign(&self.fabric, plan, &self.rnics, self.now) {
                self.writes.push(Write {
                    at: self.now,
                    by: Writer::Operator(agent.host),
                    bytes: targets * TARGET_BYTES,
                });
            }
        }
    }
}
