//! Probes of class `control`: the same exchange as resolving, timed. The baseline that tells "RDMA is broken" from "IP is broken".
//!
//! A request without an answer is *lost* only if the peer's agent was there: it answered an RDMA probe later than that. Otherwise
//! the agent may just be gone, and the probe is *unresolved*.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rdmamesh_wire::{DropReason, NodeId, Resolve, ResolveReply, RnicId};

use super::Identity;
use crate::dataplane::engine::starvation::Starvation;
use crate::dataplane::engine::window::{FlowNow, Outcome, Windows};
use crate::dataplane::mono::Mono;
use crate::dataplane::registry::Registry;
use crate::model::{
    LocalPort, ProbeClass, ProbePlan, SeriesKey, SeriesTable, Target, TargetKey, TargetWindow,
    TimestampMode, Way,
};

/// So long after its timeout a request is judged: by then the port loops have noted who answered.
const JUDGE_AFTER: Duration = Duration::from_millis(1600);
/// Between a start and the first request.
const START_DELAY: Duration = Duration::from_millis(200);

type Key = (LocalPort, TargetKey);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Due(usize),
    Judge(u64),
}

#[derive(Debug)]
struct Baselined {
    key: Key,
    plan: Arc<Target>,
    control: SocketAddr,
    node: NodeId,
    rnic: RnicId,
    windows: Windows,
    booked: crate::model::Tally,
    rtts: crate::model::RttHistogram,
}

#[derive(Debug)]
struct Pending {
    target: usize,
    sent: Mono,
    deadline: Mono,
}

/// All control targets of the plan.
#[derive(Debug, Default)]
pub(super) struct Baseline {
    targets: Vec<Option<Baselined>>,
    pending: HashMap<u64, Pending>,
    timers: BinaryHeap<Reverse<(Mono, Timer)>>,
    scratch: Vec<u32>,
}

impl Baseline {
    /// Takes the control targets of `plan` over. Targets that stay keep their windows.
    pub(super) fn set_plan(&mut self, plan: &ProbePlan, now: Mono) {
        let mut wanted: HashMap<Key, Arc<Target>> = HashMap::new();
        for port in &plan.ports {
            let control = port
                .targets
                .iter()
                .filter(|t| t.class == ProbeClass::Control);
            wanted.extend(control.map(|t| ((port.local.clone(), t.key()), Arc::clone(t))));
        }
        for slot in &mut self.targets {
            let stays = slot
                .as_ref()
                .is_some_and(|t| wanted.get(&t.key) == Some(&t.plan));
            match slot {
                Some(target) if stays => drop(wanted.remove(&target.key)),
                _ => *slot = None,
            }
        }
        let targets = &self.targets;
        let alive = |index: usize| targets.get(index).is_some_and(Option::is_some);
        self.pending.retain(|_, pending| alive(pending.target));
        self.timers.retain(|Reverse((_, timer))| match timer {
            Timer::Due(target) => alive(*target),
            Timer::Judge(_) => true,
        });
        let mut new: Vec<_> = wanted.into_iter().collect();
        new.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        for (key, plan) in new {
            self.add(key, plan, now);
        }
    }

    fn add(&mut self, key: Key, plan: Arc<Target>, now: Mono) {
        let Some(control) = plan.peer.control else {
            return;
        };
        let rnic = RnicId::of(&plan.peer.node, &plan.peer.device, plan.peer.port);
        // The peer's hash spreads the starts evenly: 53 of its bits make a number in [0, 1).
        let share = ((rnic.0 ^ plan.seed) >> 11) as f64 / (1u64 << 53) as f64;
        let due = now.plus(START_DELAY).plus(plan.interval.mul_f64(share));
        let target = Some(Baselined {
            key,
            control,
            node: NodeId::of(&plan.peer.node),
            rnic,
            windows: Windows::new(1, plan.window, plan.timeout + JUDGE_AFTER, now),
            plan,
            booked: crate::model::Tally::default(),
            rtts: crate::model::RttHistogram::default(),
        });
        let index = self
            .targets
            .iter()
            .position(Option::is_none)
            .unwrap_or_else(|| {
                self.targets.push(None);
                self.targets.len() - 1
            });
        self.targets[index] = target;
        self.timers.push(Reverse((due, Timer::Due(index))));
    }

    /// The next request to send now; else when there is something to do.
    pub(super) fn next_request(
        &mut self,
        identity: &mut Identity,
        starvation: &Starvation,
        registry: &Registry,
        now: Mono,
    ) -> Result<(SocketAddr, Resolve), Option<Mono>> {
        while let Some(Reverse((at, timer))) = self.timers.peek().copied() {
            if at > now {
                return Err(Some(at));
            }
            self.timers.pop();
            match timer {
                Timer::Judge(nonce) => self.judge(nonce, starvation, registry, now),
                Timer::Due(index) => {
                    if let Some(request) = self.fire(index, identity, at, now) {
                        return Ok(request);
                    }
                }
            }
        }
        Err(None)
    }

    fn fire(
        &mut self,
        index: usize,
        identity: &mut Identity,
        at: Mono,
        now: Mono,
    ) -> Option<(SocketAddr, Resolve)> {
        let target = self.targets.get_mut(index)?.as_mut()?;
        let step = target.plan.interval.max(Duration::from_millis(10));
        let next = if at.plus(step) > now {
            at.plus(step)
        } else {
            now.plus(step)
        };
        self.timers.push(Reverse((next, Timer::Due(index))));
        let nonce = identity.nonce();
        let deadline = now.plus(target.plan.timeout);
        target.windows.sent(now.second(), 0);
        self.pending.insert(
            nonce,
            Pending {
                target: index,
                sent: now,
                deadline,
            },
        );
        self.timers
            .push(Reverse((deadline.plus(JUDGE_AFTER), Timer::Judge(nonce))));
        Some((
            target.control,
            identity.request(target.node, nonce, vec![target.rnic]),
        ))
    }

    /// Books an answer.
    ///
    /// # Errors
    /// [`DropReason::Unsolicited`] when it answers none of these requests, [`DropReason::Sender`] when another node answers.
    pub(super) fn reply(&mut self, reply: &ResolveReply, now: Mono) -> Result<(), DropReason> {
        let pending = self
            .pending
            .get(&reply.nonce)
            .ok_or(DropReason::Unsolicited)?;
        let (index, sent, deadline) = (pending.target, pending.sent, pending.deadline);
        let target = self.targets.get_mut(index).and_then(Option::as_mut);
        let target = target.ok_or(DropReason::Unsolicited)?;
        if target.node != reply.sender {
            return Err(DropReason::Sender);
        }
        let rtt = now.since(sent);
        let outcome = if now <= deadline {
            target.rtts.record(rtt);
            Outcome::Ok(Some(rtt))
        } else {
            Outcome::Late
        };
        target.windows.ended(sent.second(), 0, outcome);
        self.pending.remove(&reply.nonce);
        Ok(())
    }

    fn judge(&mut self, nonce: u64, starvation: &Starvation, registry: &Registry, now: Mono) {
        let Some(pending) = self.pending.remove(&nonce) else {
            return;
        };
        let target = self
            .targets
            .get_mut(pending.target)
            .and_then(Option::as_mut);
        let Some(target) = target else { return };
        let outcome = if starvation.overlaps(pending.sent, now) {
            Outcome::HostDelayed
        } else if registry.answered(target.node) >= Some(pending.deadline) {
            Outcome::Lost(Way::Unknown)
        } else {
            Outcome::Unresolved
        };
        target.windows.ended(pending.sent.second(), 0, outcome);
    }

    /// The windows of all control targets; also settles cumulative numbers.
    pub(super) fn report(
        &mut self,
        now: Mono,
        wall: SystemTime,
        series: &mut SeriesTable,
    ) -> Vec<TargetWindow> {
        let mut windows = Vec::new();
        for target in self.targets.iter_mut().flatten() {
            let window = target.windows.report(now, &mut self.scratch);
            target.windows.book(now, false, &mut target.booked);
            let total = series.entry(target.series_key()).or_default();
            total.tally += std::mem::take(&mut target.booked);
            total.rtt.merge(&std::mem::take(&mut target.rtts));
            windows.push(TargetWindow {
                local: target.key.0.clone(),
                target: Arc::clone(&target.plan),
                end: window.end.on_wall(now, wall),
                covered: window.covered,
                timestamps: TimestampMode::Software,
                flows: window.flow_windows(|_| FlowNow::default()),
                tally: window.tally(),
                rtt: window.rtt,
            });
        }
        windows
    }
}

impl Baselined {
    fn series_key(&self) -> SeriesKey {
        SeriesKey {
            mesh: Arc::clone(&self.plan.mesh),
            class: ProbeClass::Control,
            local: self.key.0.clone(),
            local_group: Arc::clone(&self.plan.local_group),
            peer_group: Arc::clone(&self.plan.peer.group),
            timestamps: TimestampMode::Software,
        }
    }
}

#[cfg(test)]
mod tests;
