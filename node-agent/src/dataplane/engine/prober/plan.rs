//! How a prober follows its plan, its endpoint and its link.

use std::cmp::Reverse;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use rdmamesh_wire::RnicId;

use super::{Prober, Timer};
use crate::dataplane::engine::Shared;
use crate::dataplane::engine::pending::Phase;
use crate::dataplane::engine::target::{
    PeerState, TargetRef, TargetState, same_but_interval, wanted,
};
use crate::dataplane::engine::window::{Outcome, Windows};
use crate::dataplane::mono::Mono;
use crate::model::{PortPlan, SeriesKey, Target, TimestampMode};

/// Between a (new) start and the first probe: time to resolve the peers.
const START_DELAY: Duration = Duration::from_millis(100);

impl Prober {
    pub(in super::super) fn set_plan(
        &mut self,
        shared: &mut Shared,
        plan: Option<&PortPlan>,
        now: Mono,
    ) {
        let mut wanted = wanted(plan.map_or(&[], |plan| &plan.targets));
        let targets = &mut self.targets;
        self.by_key.retain(|key, target| {
            let Some(state) = targets.get_mut(*target) else {
                return false;
            };
            match wanted.get(key) {
                Some(new) if same_but_interval(&state.plan, new) => {
                    state.plan = Arc::clone(new);
                    wanted.remove(key);
                    true
                }
                _ => {
                    state.retired = true;
                    false
                }
            }
        });
        let mut new: Vec<_> = wanted.into_iter().collect();
        new.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        for (key, target) in new {
            let at = self.add(shared, &target, now);
            self.by_key.insert(key, at);
            self.start(shared, at, now);
        }
        let used: HashSet<RnicId> = self.targets.iter().map(|(_, state)| state.rnic).collect();
        self.peers.retain(|rnic, _| used.contains(rnic));
    }

    fn add(&mut self, shared: &Shared, target: &Arc<Target>, now: Mono) -> TargetRef {
        let peer = &target.peer;
        let rnic = RnicId::of(&peer.node, &peer.device, peer.port);
        let known = self
            .peers
            .entry(rnic)
            .or_insert_with(|| PeerState::new(target, rnic));
        let fresh = PeerState::new(target, rnic);
        if known.ask != fresh.ask {
            *known = fresh;
        }
        let series = self.series_index(shared, target);
        self.targets.insert(|generation| TargetState {
            generation,
            plan: Arc::clone(target),
            rnic,
            flows: Vec::new(),
            routers: Vec::new(),
            windows: Windows::new(0, target.window, target.timeout, now),
            series,
            retired: false,
        })
    }

    fn series_index(&mut self, shared: &Shared, target: &Target) -> usize {
        let timestamps = if shared.software() {
            TimestampMode::Software
        } else {
            TimestampMode::Hardware
        };
        let key = SeriesKey {
            mesh: Arc::clone(&target.mesh),
            class: target.class,
            local: shared.config.local.clone(),
            local_group: Arc::clone(&target.local_group),
            peer_group: Arc::clone(&target.peer.group),
            timestamps,
        };
        self.series
            .iter()
            .position(|(known, _)| *known == key)
            .unwrap_or_else(|| {
                self.series.push((key, super::Series::default()));
                self.series.len() - 1
            })
    }

    /// Starts the flows of a target if the port is open, and resolves its peer.
    fn start(&mut self, shared: &Shared, target: TargetRef, now: Mono) {
        let Some(facts) = &shared.facts else { return };
        let Some(state) = self.targets.get_mut(target) else {
            return;
        };
        state.choose_flows(&facts.flows, now);
        for flow in 0..state.flows.len() {
            let due = now.plus(START_DELAY).plus(state.phase(flow));
            self.timers
                .push(Reverse((due, Timer::Flow { target, flow })));
        }
        let peer = state.rnic;
        if self.peers.get(&peer).is_some_and(|p| p.session.is_none()) {
            self.want(shared, peer, now, now);
        }
    }

    pub(in super::super) fn open(&mut self, shared: &mut Shared, now: Mono) {
        self.link_up = true;
        self.pending.begin(now);
        self.restart(shared, now);
    }

    pub(in super::super) fn set_link(&mut self, shared: &mut Shared, up: bool, now: Mono) {
        if up && !self.link_up && shared.facts.is_some() {
            self.link_up = true;
            self.restart(shared, now);
        }
        self.link_up = up;
    }

    /// Starts all flows from anew.
    fn restart(&mut self, shared: &Shared, now: Mono) {
        self.timers
            .retain(|Reverse((_, timer))| !matches!(timer, Timer::Flow { .. }));
        let all: Vec<TargetRef> = self
            .targets
            .iter()
            .filter(|(_, t)| !t.retired)
            .map(|(at, _)| at)
            .collect();
        for target in all {
            let series = self.targets.get(target).map(|t| Arc::clone(&t.plan));
            let series = series.map(|plan| self.series_index(shared, &plan));
            if let (Some(state), Some(series)) = (self.targets.get_mut(target), series) {
                state.series = series;
            }
            self.start(shared, target, now);
        }
    }

    pub(in super::super) fn close(&mut self, shared: &mut Shared, now: Mono) {
        self.queue.clear();
        self.timers
            .retain(|Reverse((_, timer))| !matches!(timer, Timer::Flow { .. }));
        for seq in self
            .pending
            .select(|probe| !matches!(probe.phase, Phase::Judged(_)))
        {
            self.end(shared, seq, Outcome::SendError);
        }
        self.pending.forget(now, Duration::ZERO);
    }

    pub(in super::super) fn set_rate(&mut self, rate: f64) {
        self.rate = rate.clamp(0.01, 1.0);
    }

    pub(in super::super) fn stop_sending(&mut self) {
        self.stopped = true;
        self.timers
            .retain(|Reverse((_, timer))| !matches!(timer, Timer::Flow { .. }));
    }
}
