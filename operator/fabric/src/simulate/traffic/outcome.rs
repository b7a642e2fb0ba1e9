//! How a probe without a timely answer ends, by the rules of the agent's prober: its own pauses first, then what the
//! peer says over plain IP, else nothing.

use std::time::Duration;

use super::super::life::{Life, Time};
use super::End;

/// So long after its timeout a probe is judged at the earliest.
const JUDGE_AFTER: Duration = Duration::from_millis(250);
/// So long after its timeout a probe whose peer was never heard ends as unresolved.
const GIVE_UP_AFTER: Duration = Duration::from_secs(3);
/// Time that an exchange over plain IP takes.
const EXCHANGE: Duration = Duration::from_millis(1);
/// One lost probe in so many: the peer does not remember whether it saw it.
const FORGOTTEN: u64 = 100;

/// A probe that has not ended yet.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Pending {
    pub flow: usize,
    pub due: Time,
    /// Begin of the process that it was sent to; `None` where that is the only one there ever was.
    born: Option<Time>,
    took: Duration,
    lost_forth: bool,
    lost_back: bool,
    /// Decides what timing alone leaves open.
    toss: u64,
}

impl Pending {
    pub fn new(
        flow: usize,
        due: Time,
        born: Time,
        took: Duration,
        (lost_forth, lost_back): (bool, bool),
        toss: u64,
    ) -> Self {
        Self {
            flow,
            due,
            born: Some(born),
            took,
            lost_forth,
            lost_back,
            toss,
        }
    }

    /// A probe that was lost although everything is in order.
    pub fn lost(flow: usize, due: Time, end: End) -> Self {
        Self {
            flow,
            due,
            born: None,
            took: Duration::ZERO,
            lost_forth: end == End::LostForward,
            lost_back: end != End::LostForward,
            toss: due.as_nanos() as u64,
        }
    }

    /// How it ended, if that can be known `now`.
    pub fn outcome(
        &self,
        now: Time,
        (own, peer): (&Life, &Life),
        timeout: Duration,
        removed: bool,
    ) -> Option<End> {
        let deadline = self.due + timeout;
        let answer = self.answered(peer);
        if let Some(at) = answer.map(|at| own.runs_at(at))
            && at <= deadline
        {
            return (now >= at).then_some(End::Took(self.took));
        }
        let wakes = own.runs_at(deadline);
        if now < wakes {
            return None;
        }
        if own.was_frozen(self.due, wakes) {
            return Some(End::HostDelayed);
        }
        if let Some(at) = answer
            && at <= deadline + JUDGE_AFTER
        {
            return (now >= at).then_some(End::Late);
        }
        self.judged(now, peer, deadline, (answer, removed))
    }

    /// When the answer arrives; `None` where none does.
    fn answered(&self, peer: &Life) -> Option<Time> {
        if self.lost_forth || self.lost_back {
            return None;
        }
        let arrives = self.due + self.took / 2;
        let born = peer.born(arrives)?;
        if self.born.is_some_and(|expected| expected != born) {
            return None;
        }
        let replies = peer.runs_at(arrives);
        let alive = replies != Duration::MAX && !peer.was_absent(arrives, replies);
        alive.then(|| replies + self.took / 2)
    }

    /// What the peer's answer over plain IP makes of it.
    fn judged(
        &self,
        now: Time,
        peer: &Life,
        deadline: Time,
        (answer, removed): (Option<Time>, bool),
    ) -> Option<End> {
        let give_up = deadline + GIVE_UP_AFTER;
        let heard = peer.runs_at(peer.present_at(deadline));
        let heard = peer.runs_at(peer.present_at(heard));
        if heard.saturating_add(EXCHANGE) > give_up {
            return (now >= give_up).then_some(End::Unresolved);
        }
        let judged = (deadline + JUDGE_AFTER).max(heard + EXCHANGE);
        if now < judged {
            return None;
        }
        let same = self.born.is_none_or(|born| peer.born(heard) == Some(born));
        if !same || removed {
            return Some(End::Unresolved);
        }
        if answer.is_some_and(|at| at <= judged) && self.toss & 1 == 0 {
            return Some(End::Late);
        }
        if peer.was_frozen(self.due, heard) {
            return Some(End::HostDelayed);
        }
        Some(if (self.toss >> 1).is_multiple_of(FORGOTTEN) {
            End::Lost
        } else if self.lost_forth {
            End::LostForward
        } else {
            End::LostReturn
        })
    }
}
