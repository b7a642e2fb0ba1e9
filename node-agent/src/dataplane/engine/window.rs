//! Sliding windows of one target: outcomes and round-trip times by the second in which the probe was sent.

use std::time::Duration;

use crate::dataplane::mono::Mono;
use crate::model::{FlowWindow, RttHistogram, RttSummary, Tally, Way};

/// How long after its timeout a judged probe may still turn out to be late.
pub const AMEND_FOR: Duration = Duration::from_secs(2);

/// How a probe ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Answered in time; without a round-trip time when the stamps cannot be trusted.
    Ok(Option<Duration>),
    /// See [`Tally::lost`].
    Lost(Way),
    /// See [`Tally::late`].
    Late,
    /// See [`Tally::host_delayed`].
    HostDelayed,
    /// See [`Tally::unresolved`].
    Unresolved,
    /// See [`Tally::invalid`].
    Invalid,
    /// See [`Tally::send_error`].
    SendError,
}

impl Outcome {
    fn place(self, tally: &mut Tally) -> &mut u64 {
        match self {
            Self::Ok(_) => &mut tally.ok,
            Self::Lost(_) => &mut tally.lost,
            Self::Late => &mut tally.late,
            Self::HostDelayed => &mut tally.host_delayed,
            Self::Unresolved => &mut tally.unresolved,
            Self::Invalid => &mut tally.invalid,
            Self::SendError => &mut tally.send_error,
        }
    }

    /// The part of the outcome's number that this is told by, if there is one.
    fn part(self, tally: &mut Tally) -> Option<&mut u64> {
        match self {
            Self::Lost(Way::Forward) => Some(&mut tally.lost_forward),
            Self::Lost(Way::Return) => Some(&mut tally.lost_return),
            _ => None,
        }
    }

    fn book(self, tally: &mut Tally) {
        *self.place(tally) += 1;
        if let Some(part) = self.part(tally) {
            *part += 1;
        }
    }

    /// Takes back what was booked; false when it was not.
    fn take_back(self, tally: &mut Tally) -> bool {
        let place = self.place(tally);
        let Some(less) = place.checked_sub(1) else {
            return false;
        };
        *place = less;
        if let Some(part) = self.part(tally) {
            *part = part.saturating_sub(1);
        }
        true
    }
}

#[derive(Debug, Clone, Default)]
struct FlowSecond {
    tally: Tally,
    rtts_ns: Vec<u32>,
}

#[derive(Debug, Clone)]
struct Second {
    number: u64,
    outstanding: u32,
    flows: Vec<FlowSecond>,
}

/// The windows of one target, all its flows.
#[derive(Debug)]
pub struct Windows {
    ring: Vec<Second>,
    flows: usize,
    window: u64,
    since: u64,
    settled_until: u64,
    booked_until: u64,
    book_after: Duration,
}

/// What a target's window holds at one moment.
#[derive(Debug)]
pub struct WindowReport {
    /// End of the newest settled second.
    pub end: Mono,
    /// Settled part of the window.
    pub covered: Duration,
    /// Per flow; flow indices are positions.
    pub flows: Vec<(Tally, RttSummary)>,
    /// All flows.
    pub rtt: RttHistogram,
}

/// What is known of a flow apart from its outcomes.
#[derive(Debug, Clone, Copy, Default)]
pub struct FlowNow {
    /// See [`FlowWindow::source_port`].
    pub source_port: Option<u16>,
    /// See [`FlowWindow::routers`].
    pub routers: Option<u8>,
}

impl WindowReport {
    /// Sum over the flows.
    pub fn tally(&self) -> Tally {
        self.flows
            .iter()
            .fold(Tally::default(), |mut sum, (tally, _)| {
                sum += *tally;
                sum
            })
    }

    /// The flows as the model has them.
    pub fn flow_windows(&self, facts: impl Fn(usize) -> FlowNow) -> Vec<FlowWindow> {
        let flows = self.flows.iter().enumerate();
        flows
            .map(|(index, (tally, rtt))| {
                let now = facts(index);
                FlowWindow {
                    flow: u16::try_from(index).unwrap_or(u16::MAX),
                    source_port: now.source_port,
                    routers: now.routers,
                    tally: *tally,
                    rtt: *rtt,
                }
            })
            .collect()
    }
}

impl Windows {
    /// Empty windows for `flows` flows that begin now.
    pub fn new(flows: usize, window: Duration, timeout: Duration, now: Mono) -> Self {
        let window = window.as_secs().clamp(1, 3600);
        let book_after = timeout + AMEND_FOR + Duration::from_secs(1);
        let length = window + book_after.as_secs() + 3;
        let empty = Second {
            number: u64::MAX,
            outstanding: 0,
            flows: Vec::new(),
        };
        let since = now.second();
        Self {
            ring: (0..length).map(|_| empty.clone()).collect(),
            flows,
            window,
            since,
            settled_until: since,
            booked_until: since,
            book_after,
        }
    }

    /// A probe of `flow` was sent in `second`; its outcome is outstanding.
    pub fn sent(&mut self, second: u64, flow: usize) {
        let slot = self.claim(second);
        slot.outstanding += 1;
        if let Some(flow) = slot.flows.get_mut(flow) {
            flow.tally.sent += 1;
        }
    }

    /// A probe that was sent in `second` has ended.
    pub fn ended(&mut self, second: u64, flow: usize, outcome: Outcome) {
        let Some(slot) = self.find(second) else {
            return;
        };
        slot.outstanding = slot.outstanding.saturating_sub(1);
        if let Some(flow) = slot.flows.get_mut(flow) {
            outcome.book(&mut flow.tally);
            if let Outcome::Ok(Some(rtt)) = outcome {
                flow.rtts_ns
                    .push(u32::try_from(rtt.as_nanos()).unwrap_or(u32::MAX));
            }
        }
    }

    /// A probe that had ended as `from` ends as `to` after all.
    pub fn amend(&mut self, second: u64, flow: usize, from: Outcome, to: Outcome) {
        if second < self.booked_until {
            return;
        }
        if let Some(flow) = self.find(second).and_then(|slot| slot.flows.get_mut(flow))
            && from.take_back(&mut flow.tally)
        {
            to.book(&mut flow.tally);
        }
    }

    /// The newest settled window. A second is settled when it is over and nothing sent in it is outstanding.
    pub fn report(&mut self, now: Mono, scratch: &mut Vec<u32>) -> WindowReport {
        while self.settled_until < now.second()
            && self
                .find(self.settled_until)
                .is_none_or(|slot| slot.outstanding == 0)
        {
            self.settled_until += 1;
        }
        let from = self
            .settled_until
            .saturating_sub(self.window)
            .max(self.since);
        let mut rtt = RttHistogram::default();
        let flows = (0..self.flows)
            .map(|flow| {
                scratch.clear();
                let mut tally = Tally::default();
                for second in from..self.settled_until {
                    if let Some(part) = self.look(second).and_then(|s| s.flows.get(flow)) {
                        tally += part.tally;
                        scratch.extend_from_slice(&part.rtts_ns);
                    }
                }
                for ns in &*scratch {
                    rtt.record(Duration::from_nanos(u64::from(*ns)));
                }
                (tally, summary(scratch))
            })
            .collect();
        let covered = Duration::from_secs(self.settled_until - from);
        WindowReport {
            end: Mono::of_second(self.settled_until),
            covered,
            flows,
            rtt,
        }
    }

    /// Adds the seconds that cannot change any more, each once, to `total`. With `all`, every settled second.
    pub fn book(&mut self, now: Mono, all: bool, total: &mut Tally) {
        while self.booked_until < self.settled_until
            && (all || Mono::of_second(self.booked_until + 1).plus(self.book_after) <= now)
        {
            if let Some(slot) = self.look(self.booked_until) {
                for flow in &slot.flows {
                    *total += flow.tally;
                }
            }
            self.booked_until += 1;
        }
    }

    /// How long the window is.
    pub const fn length(&self) -> Duration {
        Duration::from_secs(self.window)
    }

    fn index(&self, second: u64) -> usize {
        (second % self.ring.len().max(1) as u64) as usize
    }

    fn look(&self, second: u64) -> Option<&Second> {
        self.ring
            .get(self.index(second))
            .filter(|slot| slot.number == second)
    }

    fn find(&mut self, second: u64) -> Option<&mut Second> {
        let index = self.index(second);
        self.ring
            .get_mut(index)
            .filter(|slot| slot.number == second)
    }

    /// The slot of `second`, emptied if it held an older one. Its vectors keep their capacity.
    fn claim(&mut self, second: u64) -> &mut Second {
        let (index, flows) = (self.index(second), self.flows);
        let slot = &mut self.ring[index];
        if slot.number != second {
            slot.number = second;
            slot.outstanding = 0;
            slot.flows.resize_with(flows, FlowSecond::default);
            for flow in &mut slot.flows {
                flow.tally = Tally::default();
                flow.rtts_ns.clear();
            }
        }
        slot
    }
}

/// Sorts `rtts_ns` and takes the figures out (nearest rank).
fn summary(rtts_ns: &mut [u32]) -> RttSummary {
    rtts_ns.sort_unstable();
    let rank = |percent: usize| (rtts_ns.len() * percent).div_ceil(100).max(1) - 1;
    let at = |index: usize| {
        rtts_ns
            .get(index)
            .map_or(Duration::ZERO, |ns| Duration::from_nanos(u64::from(*ns)))
    };
    RttSummary {
        count: rtts_ns.len() as u64,
        min: at(0),
        p50: at(rank(50)),
        p99: at(rank(99)),
        max: at(rtts_ns.len().saturating_sub(1)),
    }
}

#[cfg(test)]
mod tests;
