//! The operator's part: it plans by what agents say about their ports, gathers their reports, and judges.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::fabric::{Fabric, HostId};
use super::life::Time;
use super::setup::{Mesh, Setup};
use crate::diagnose::{
    AgentState, Evidence, NodeEvidence, Planned, PortFact, PortState, Report, State, SwitchNames,
    Verdict, diagnose,
};
use crate::plan::{
    Address, Availability, Member, MeshInput, MeshPlan, NodeState, PlanInput, Rnic, plan,
};
use crate::time::Timestamp;

/// Reports that come in a burst are judged together…
const QUIET: Duration = Duration::from_millis(50);
/// …but none waits longer than this.
const LONGEST: Duration = Duration::from_millis(250);
/// Without any change everything is judged this often.
const RESYNC: Duration = Duration::from_secs(15);
/// Never looks again sooner than this.
const SOONEST: Duration = Duration::from_millis(100);
/// An agent that has not written for so long is silent.
const SILENT_AFTER: Duration = Duration::from_secs(11 * 60);
/// When the simulation begins, on the clock of those who write reports.
const EPOCH: Duration = Duration::from_secs(1_700_000_000);
/// Name of the mesh.
pub(super) const MESH: &str = "sim";
/// Seed of the operator's plans.
const SEED: u64 = 0x7264_6d61_6d65_7368;

/// A moment of the simulation as reports and verdicts tell time.
pub(super) fn stamp(at: Time) -> Timestamp {
    Timestamp(EPOCH + at)
}

/// A port as its agent last reported it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Port {
    Up,
    Down,
    Gone,
}

/// The operator.
pub(super) struct Operator {
    fabric: Fabric,
    mesh: Mesh,
    pub plan: Option<MeshPlan>,
    members: Vec<Member>,
    evidence: Evidence,
    /// What each node's inventory says; nothing before the first one.
    ports: Vec<Vec<Port>>,
    /// When each node was last heard of.
    heard: Vec<Option<Time>>,
    state: State,
    pub verdict: Verdict,
    /// First and last change that has not been judged.
    changed: Option<(Time, Time)>,
    next_check: Time,
}

impl Operator {
    pub fn new(setup: &Setup) -> Self {
        let fabric = setup.fabric;
        let hosts = 0..fabric.size().hosts();
        let members = hosts.clone().map(|host| member(setup, host)).collect();
        let nodes = hosts
            .map(|host| NodeEvidence {
                node: fabric.host_name(host),
                agent: AgentState::Silent,
                report: None,
                ports: None,
                traces: true,
            })
            .collect();
        let mut operator = Self {
            evidence: Evidence {
                thresholds: setup.mesh.policy.thresholds,
                tolerance: setup.mesh.tolerance,
                rnic_timeout_ratio: setup.mesh.rnic_timeout_ratio,
                switches: Arc::new(switch_names(&fabric)),
                planned: Arc::new(Planned::default()),
                nodes,
            },
            ports: vec![Vec::new(); fabric.size().hosts() as usize],
            heard: vec![None; fabric.size().hosts() as usize],
            fabric,
            mesh: setup.mesh.clone(),
            plan: None,
            members,
            state: State::default(),
            verdict: Verdict::default(),
            changed: None,
            next_check: Duration::ZERO,
        };
        for host in 0..fabric.size().hosts() {
            if !setup.never_there.contains(&host) {
                operator.inventory(
                    host,
                    &vec![Port::Up; fabric.rails() as usize],
                    Duration::ZERO,
                );
            }
        }
        operator.replan();
        operator
    }

    /// An agent has looked at its ports; whether that is news that it writes.
    pub fn inventory(&mut self, host: HostId, ports: &[Port], now: Time) -> bool {
        if self.ports[host as usize] == ports {
            return false;
        }
        self.ports[host as usize] = ports.to_vec();
        let member = &mut self.members[host as usize];
        let first = host * self.fabric.rails();
        let mut facts = Vec::new();
        member.rnics.clear();
        for (rnic, port) in (first..).zip(ports) {
            let name = self.fabric.rnic_name(rnic);
            let address = Address::Roce(self.fabric.rnic_address(rnic).to_ipv6_mapped());
            let (availability, state) = match port {
                Port::Gone => continue,
                Port::Up => (Availability::Usable(address), PortState::Active),
                Port::Down => (
                    Availability::Unusable(Arc::from("its port is down")),
                    PortState::Down {
                        state: Arc::from("Down"),
                        physical: Arc::from("Disabled"),
                    },
                ),
            };
            facts.push(PortFact {
                device: name.device.clone(),
                port: 1,
                selected: true,
                state,
            });
            member.rnics.push(Rnic {
                device: name.device,
                port: 1,
                rail: Some((rnic - first) as u16),
                gid_index: Some(3),
                availability,
            });
        }
        self.evidence.nodes[host as usize].ports = Some(facts);
        self.hear(host, now);
        true
    }

    /// An agent wrote its report.
    pub fn report(&mut self, host: HostId, report: Report, now: Time) {
        let report = Report {
            seen: stamp(now),
            ..report
        };
        self.evidence.nodes[host as usize].report = Some(report);
        self.hear(host, now);
    }

    /// What Kubernetes says of a node.
    pub fn node(&mut self, host: HostId, state: NodeState, now: Time) {
        self.members[host as usize].state = state;
        self.change(now);
    }

    fn hear(&mut self, host: HostId, now: Time) {
        self.heard[host as usize] = Some(now);
        self.change(now);
    }

    fn change(&mut self, now: Time) {
        let (first, _) = self.changed.unwrap_or((now, now));
        self.changed = Some((first, now));
    }

    /// Plans anew.
    pub fn replan(&mut self) {
        let input = PlanInput {
            seed: SEED,
            meshes: vec![MeshInput {
                name: MESH.into(),
                policy: self.mesh.policy.clone(),
                members: self.members.clone(),
            }],
        };
        self.plan = plan(&input).meshes.remove(&MESH.into());
        if let Some(plan) = &self.plan {
            self.evidence.planned = Arc::new(Planned::of(plan));
        }
    }

    /// When it will judge next.
    pub fn judges_at(&self) -> Time {
        let settled = self
            .changed
            .map(|(first, last)| (last + QUIET).min(first + LONGEST));
        settled.map_or(self.next_check, |at| at.min(self.next_check))
    }

    /// Judges.
    pub fn judge(&mut self, now: Time) {
        self.changed = None;
        for ((node, member), heard) in self
            .evidence
            .nodes
            .iter_mut()
            .zip(&self.members)
            .zip(&self.heard)
        {
            let fresh = heard.is_some_and(|at| now.saturating_sub(at) <= SILENT_AFTER);
            node.agent = if member.state != NodeState::Ready {
                AgentState::Excluded
            } else if fresh {
                AgentState::Reporting
            } else {
                AgentState::Silent
            };
        }
        let (verdict, state) = diagnose(&self.evidence, &self.state, stamp(now));
        let wait = verdict
            .next_check
            .map_or(RESYNC, |check| check.since(stamp(now)));
        self.next_check = now + wait.clamp(SOONEST, RESYNC);
        self.verdict = verdict;
        self.state = state;
    }
}

fn switch_names(fabric: &Fabric) -> SwitchNames {
    let named = fabric
        .switch_names()
        .into_iter()
        .map(|(name, addresses)| (Arc::from(name), addresses));
    named
        .flat_map(|(name, addresses): (Arc<str>, _)| {
            addresses
                .into_iter()
                .map(move |address| (address, Arc::clone(&name)))
        })
        .collect()
}

fn member(setup: &Setup, host: HostId) -> Member {
    let fabric = &setup.fabric;
    let never = setup.never_there.contains(&host);
    let control = SocketAddr::from((fabric.management(host), 4792));
    Member {
        node: fabric.host_name(host),
        state: if never {
            NodeState::NoInventory
        } else {
            NodeState::Ready
        },
        group: Some(Arc::from(fabric.rack(host))),
        control_address: (!never).then_some(control),
        rnics: Vec::new(),
    }
}
