//! The targets of a port and the peers behind them, as the prober keeps them.

use std::collections::HashMap;
use std::num::NonZeroU8;
use std::sync::Arc;
use std::time::Duration;

use rdmamesh_verbs::PeerAddress;
use rdmamesh_wire::{Epoch, NodeId, PortStatus, RnicId};

use super::flows::{self, Flow, FlowFacts, share};
use super::window::{FlowNow, Windows};
use super::{Answer, Ask};
use crate::dataplane::mono::Mono;
use crate::model::{ProbeClass, Target, TargetKey};

/// Two exchanges about the same peer are at least this far apart.
const ASK_SPACING: Duration = Duration::from_millis(200);
/// An exchange always ends within this; if not, its end was lost.
const ASK_LOST_AFTER: Duration = Duration::from_secs(5);
/// A silent peer is asked again after this.
const ASK_BACKOFF: Duration = Duration::from_millis(750);

/// Names a target; the generation tells it from an earlier one in the same place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct TargetRef {
    pub(super) index: usize,
    pub(super) generation: u32,
}

/// One target.
#[derive(Debug)]
pub(super) struct TargetState {
    pub(super) generation: u32,
    pub(super) plan: Arc<Target>,
    pub(super) rnic: RnicId,
    pub(super) flows: Vec<Flow>,
    /// Routers on the way of each flow, where known.
    pub(super) routers: Vec<Option<u8>>,
    pub(super) windows: Windows,
    pub(super) series: usize,
    /// Not in the plan any more; kept until its probes have ended.
    pub(super) retired: bool,
}

impl TargetState {
    /// Chooses the flows on a port that has just been opened. Windows stay when the number of flows does.
    pub(super) fn choose_flows(&mut self, facts: &FlowFacts, now: Mono) {
        let flows = flows::choose(facts, self.plan.flows, self.plan.seed);
        if flows.len() != self.flows.len() {
            self.windows = Windows::new(flows.len(), self.plan.window, self.plan.timeout, now);
        }
        self.routers.clear();
        self.routers.resize(flows.len(), None);
        self.flows = flows;
    }

    /// A probe of `flow` arrived with this hop limit left.
    pub(super) fn arrived_with(&mut self, flow: usize, hop_limit: Option<NonZeroU8>) {
        let sent_with = PeerAddress::DEFAULT_HOP_LIMIT;
        let routers = hop_limit.and_then(|left| sent_with.checked_sub(left.get()));
        if let (Some(known), Some(_)) = (self.routers.get_mut(flow), routers) {
            *known = routers;
        }
    }

    pub(super) fn flow_now(&self, flow: usize) -> FlowNow {
        FlowNow {
            source_port: self.flows.get(flow).and_then(|flow| flow.source_port),
            routers: self.routers.get(flow).copied().flatten(),
        }
    }

    /// Where in its interval flow `flow` starts: spread evenly, the same after every restart.
    pub(super) fn phase(&self, flow: usize) -> Duration {
        let mut state = self.plan.seed ^ self.rnic.0 ^ (flow as u64).rotate_left(32);
        self.plan.interval.mul_f64(share(&mut state))
    }
}

/// Whether `new` can take over the flows and windows of `old`.
pub(super) fn same_but_interval(old: &Target, new: &Target) -> bool {
    let adjusted = Target {
        interval: new.interval,
        ..old.clone()
    };
    adjusted == *new
}

/// Targets by index, indices being used again.
#[derive(Debug, Default)]
pub(super) struct Targets {
    slots: Vec<Option<TargetState>>,
    generation: u32,
}

impl Targets {
    pub(super) fn insert(&mut self, make: impl FnOnce(u32) -> TargetState) -> TargetRef {
        self.generation = self.generation.wrapping_add(1);
        let generation = self.generation;
        let target = Some(make(generation));
        let index = match self.slots.iter().position(Option::is_none) {
            Some(free) => {
                self.slots[free] = target;
                free
            }
            None => {
                self.slots.push(target);
                self.slots.len() - 1
            }
        };
        TargetRef { index, generation }
    }

    pub(super) fn get(&self, target: TargetRef) -> Option<&TargetState> {
        let state = self.slots.get(target.index)?.as_ref()?;
        (state.generation == target.generation).then_some(state)
    }

    pub(super) fn get_mut(&mut self, target: TargetRef) -> Option<&mut TargetState> {
        let state = self.slots.get_mut(target.index)?.as_mut()?;
        (state.generation == target.generation).then_some(state)
    }

    pub(super) fn remove(&mut self, target: TargetRef) -> Option<TargetState> {
        self.get(target)?;
        self.slots.get_mut(target.index)?.take()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (TargetRef, &TargetState)> {
        self.slots.iter().enumerate().filter_map(|(index, slot)| {
            let state = slot.as_ref()?;
            Some((
                TargetRef {
                    index,
                    generation: state.generation,
                },
                state,
            ))
        })
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (TargetRef, &mut TargetState)> {
        self.slots
            .iter_mut()
            .enumerate()
            .filter_map(|(index, slot)| {
                let state = slot.as_mut()?;
                Some((
                    TargetRef {
                        index,
                        generation: state.generation,
                    },
                    state,
                ))
            })
    }
}

/// The targets in the plan that this port probes over RDMA.
pub(super) fn wanted(targets: &[Arc<Target>]) -> HashMap<TargetKey, Arc<Target>> {
    let over_rdma = targets.iter().filter(|t| t.class != ProbeClass::Control);
    over_rdma.map(|t| (t.key(), Arc::clone(t))).collect()
}

/// What a peer's process looked like when it last answered over IP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Session {
    pub(super) epoch: Epoch,
    pub(super) generation: u32,
    pub(super) qpn: u32,
    pub(super) qps: u16,
}

/// A port somewhere else, shared by all targets that mean it.
#[derive(Debug)]
pub(super) struct PeerState {
    pub(super) ask: Option<Ask>,
    pub(super) node: NodeId,
    pub(super) session: Option<Session>,
    /// When it last answered a probe.
    pub(super) answered_probe: Option<Mono>,
    pub(super) last: Option<Answer>,
    /// An answer to a request sent at or after this is wanted.
    wanted: Option<Mono>,
    /// Since when an exchange is under way.
    asking: Option<Mono>,
    next_ask: Mono,
    /// For when a timer is set already.
    alarm: Option<Mono>,
}

impl PeerState {
    pub(super) fn new(target: &Target, rnic: RnicId) -> Self {
        let node = NodeId::of(&target.peer.node);
        Self {
            ask: target.peer.control.map(|control| Ask {
                control,
                node,
                rnic,
            }),
            node,
            session: None,
            answered_probe: None,
            last: None,
            wanted: None,
            asking: None,
            next_ask: Mono::default(),
            alarm: None,
        }
    }

    /// Can be asked, and neither has answered nor been found silent so far.
    pub(super) fn unheard(&self) -> bool {
        self.last.is_none() && self.ask.is_some()
    }

    /// Somebody needs an answer that is no older than `since`.
    pub(super) fn want(&mut self, since: Mono) {
        self.wanted = self.wanted.max(Some(since));
    }

    /// The exchange to start now, if any; else when to come back for it.
    pub(super) fn due_ask(&mut self, now: Mono) -> Result<Ask, Option<Mono>> {
        let asking = self
            .asking
            .is_some_and(|since| now.since(since) < ASK_LOST_AFTER);
        let ask = self
            .ask
            .filter(|_| self.wanted.is_some() && !asking)
            .ok_or(None)?;
        if now < self.next_ask {
            let set = self.alarm.replace(self.next_ask) == Some(self.next_ask);
            return Err((!set).then_some(self.next_ask));
        }
        self.asking = Some(now);
        self.next_ask = now.plus(ASK_SPACING);
        Ok(ask)
    }

    /// Takes an answer over. True when the peer is another process or has other queue pairs than before.
    pub(super) fn answered(&mut self, answer: &Answer, now: Mono) -> bool {
        self.asking = None;
        if self.wanted.is_some_and(|since| since <= answer.asked_at) {
            self.wanted = None;
        }
        self.last = Some(answer.clone());
        let Some(present) = answer.present else {
            self.next_ask = now.plus(ASK_BACKOFF);
            return false;
        };
        let entry = present.entry;
        let open = entry.status != PortStatus::Absent && entry.qps > 0 && entry.qpn > 0;
        let session = open.then_some(Session {
            epoch: present.epoch,
            generation: entry.generation,
            qpn: entry.qpn,
            qps: entry.qps,
        });
        let changed = self.session != session;
        self.session = session;
        changed
    }
}
