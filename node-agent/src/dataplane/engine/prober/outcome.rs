//! How probes end: measured, lost, or not judged.

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::Duration;

use rdmamesh_wire::{Ack2, PortStatus};

use super::{JUDGE_AFTER, Prober, Timer};
use crate::dataplane::counters::DataplaneCounters;
use crate::dataplane::engine::Shared;
use crate::dataplane::engine::pending::Phase;
use crate::dataplane::engine::window::Outcome;
use crate::dataplane::mono::Mono;
use crate::model::{LostProbe, Way};

/// So long after its timeout a probe whose peer was never heard ends as unresolved, whatever happens.
const GIVE_UP_AFTER: Duration = Duration::from_secs(3);
/// Largest believable network round trip.
const MAX_RTT: Duration = Duration::from_secs(10);
/// Largest believable delay inside a host.
const MAX_DELAY: Duration = Duration::from_secs(1);

impl Prober {
    /// Ends the probe if all its stamps are in.
    pub(super) fn complete(&mut self, shared: &mut Shared, seq: u64, now: Mono) {
        let Some(probe) = self.pending.get(seq).filter(|probe| probe.answered()) else {
            return;
        };
        if let Some(peer) = self.peers.get_mut(&probe.peer) {
            peer.answered_probe = Some(now);
        }
        match probe.phase {
            Phase::Judged(from) => {
                let (target, flow, second) = (probe.target, probe.flow, probe.due.second());
                DataplaneCounters::add(&shared.counters.late_acks, 1);
                if let Some(state) = self.targets.get_mut(target) {
                    state.windows.amend(second, flow, from, Outcome::Late);
                }
                self.pending.remove(seq);
            }
            Phase::Waiting if now <= probe.deadline => {
                if let (Some(t1), Some(t2), Some(t5), Some(ack2)) =
                    (probe.t1, probe.t2, probe.t5, probe.ack2)
                {
                    let stamps = Stamps {
                        t1,
                        t2,
                        t5,
                        t6: now,
                        ack2,
                    };
                    self.measured(shared, seq, stamps);
                }
            }
            Phase::Waiting if shared.starvation.overlaps(probe.due, now) => {
                self.end(shared, seq, Outcome::HostDelayed);
            }
            Phase::Waiting | Phase::Unjudged => self.end(shared, seq, Outcome::Late),
        }
    }

    fn measured(&mut self, shared: &mut Shared, seq: u64, stamps: Stamps) {
        let Some(times) = stamps.times() else {
            self.end(shared, seq, Outcome::Invalid);
            return;
        };
        let trusted = self.pending.get(seq).is_some_and(|probe| !probe.untrusted);
        if trusted && let Some(series) = self.series_of(seq) {
            series.rtt.record(times.rtt);
            series.prober_delay.record(times.prober);
            series.responder_delay.record(times.responder);
        }
        self.end(shared, seq, Outcome::Ok(trusted.then_some(times.rtt)));
    }

    /// Books the outcome of a probe. Without an answer it stays known for a while: one may still come.
    pub(super) fn end(&mut self, shared: &mut Shared, seq: u64, outcome: Outcome) {
        let Some(probe) = self.pending.get_mut(seq) else {
            return;
        };
        if matches!(probe.phase, Phase::Judged(_)) {
            return;
        }
        if let Some(state) = self.targets.get_mut(probe.target) {
            state.windows.ended(probe.due.second(), probe.flow, outcome);
            if let (Outcome::Lost(way), Ok(flow)) = (outcome, u16::try_from(probe.flow)) {
                self.lost.push(LostProbe {
                    local: shared.config.local.clone(),
                    target: Arc::clone(&state.plan),
                    flow,
                    way,
                });
            }
        }
        if matches!(outcome, Outcome::Lost(_) | Outcome::Unresolved) {
            tracing::debug!(port = %shared.config.local, seq, ?outcome, flow = probe.flow, "probe unanswered");
            probe.phase = Phase::Judged(outcome);
        } else {
            self.pending.remove(seq);
        }
    }

    /// The timeout of a probe has passed, or its grace, or all patience.
    pub(super) fn overdue(&mut self, shared: &mut Shared, seq: u64, now: Mono) {
        let Some(probe) = self.pending.get_mut(seq) else {
            return;
        };
        let (peer, deadline) = (probe.peer, probe.deadline);
        match probe.phase {
            Phase::Judged(_) => {}
            Phase::Waiting if shared.starvation.overlaps(probe.due, now) => {
                self.end(shared, seq, Outcome::HostDelayed);
            }
            Phase::Waiting if probe.t1.is_none() => self.end(shared, seq, Outcome::SendError),
            Phase::Waiting => {
                probe.phase = Phase::Unjudged;
                self.timers
                    .push(Reverse((deadline.plus(JUDGE_AFTER), Timer::Probe { seq })));
                self.want(shared, peer, deadline, now);
            }
            Phase::Unjudged if now >= deadline.plus(GIVE_UP_AFTER) => {
                self.end(shared, seq, Outcome::Unresolved);
            }
            Phase::Unjudged => {
                self.timers.push(Reverse((
                    deadline.plus(GIVE_UP_AFTER),
                    Timer::Probe { seq },
                )));
                if let Some(outcome) = self.verdict(seq) {
                    self.end(shared, seq, outcome);
                }
            }
        }
    }

    /// What the peer's newest answer makes of a probe that timed out; `None` while there is no answer newer than the timeout.
    pub(super) fn verdict(&self, seq: u64) -> Option<Outcome> {
        let probe = self.pending.get(seq)?;
        let peer = self.peers.get(&probe.peer);
        let Some(peer) = peer.filter(|p| p.ask.is_some()) else {
            return Some(Outcome::Unresolved);
        };
        let answer = peer
            .last
            .as_ref()
            .filter(|answer| answer.asked_at >= probe.deadline)?;
        let Some(present) = answer.present else {
            return Some(Outcome::Unresolved);
        };
        let same = present.epoch == probe.epoch
            && present.entry.generation == probe.generation
            && present.entry.status != PortStatus::Absent;
        let starved = present.starved_until.is_some_and(|end| end >= probe.due);
        Some(match (same, starved) {
            (false, _) => Outcome::Unresolved,
            (true, true) => Outcome::HostDelayed,
            (true, false) => Outcome::Lost(match probe.arrived {
                Some(false) => Way::Forward,
                Some(true) => Way::Return,
                None => Way::Unknown,
            }),
        })
    }
}

/// The six stamps of a probe.
#[derive(Debug, Clone, Copy)]
struct Stamps {
    t1: Mono,
    t2: Duration,
    t5: Duration,
    t6: Mono,
    ack2: Ack2,
}

/// What the stamps say.
#[derive(Debug, Clone, Copy)]
struct Times {
    rtt: Duration,
    prober: Duration,
    responder: Duration,
}

impl Stamps {
    /// `None` when a figure is negative or out of all proportion.
    fn times(&self) -> Option<Times> {
        let responder = self.ack2.replied.checked_sub(self.ack2.received)?;
        let away = self.t5.checked_sub(self.t2)?;
        let rtt = away.checked_sub(responder)?;
        let prober = self.t6.0.checked_sub(self.t1.0)?.checked_sub(away)?;
        let sane =
            rtt > Duration::ZERO && rtt <= MAX_RTT && prober <= MAX_DELAY && responder <= MAX_DELAY;
        sane.then_some(Times {
            rtt,
            prober,
            responder,
        })
    }
}
