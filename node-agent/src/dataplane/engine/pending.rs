//! Probes by sequence number: a ring, because they start and end in nearly the same order.

use std::collections::VecDeque;
use std::time::Duration;

use rdmamesh_wire::{Ack2, Epoch, RnicId};

use super::target::TargetRef;
use super::window::Outcome;
use crate::dataplane::mono::Mono;

/// Where a probe stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Within its timeout.
    Waiting,
    /// Timed out; the peer has not been heard yet.
    Unjudged,
    /// Ended without a complete answer; an answer may still make it late.
    Judged(Outcome),
}

/// One probe.
#[derive(Debug, Clone)]
pub(super) struct Pending {
    pub(super) target: TargetRef,
    pub(super) flow: usize,
    pub(super) peer: RnicId,
    pub(super) mesh_id: u32,
    /// Of the peer when the probe was made.
    pub(super) epoch: Epoch,
    pub(super) generation: u32,
    /// When it fell due: decides the second it is booked in, and its deadline.
    pub(super) due: Mono,
    pub(super) deadline: Mono,
    pub(super) phase: Phase,
    pub(super) t1: Option<Mono>,
    pub(super) t2: Option<Duration>,
    pub(super) t5: Option<Duration>,
    pub(super) ack2: Option<Ack2>,
    /// One of its stamps was taken in a late wake-up.
    pub(super) untrusted: bool,
    /// Whether it has arrived, as the peer said after its timeout.
    pub(super) arrived: Option<bool>,
}

impl Pending {
    pub(super) fn answered(&self) -> bool {
        self.t5.is_some() && self.ack2.is_some()
    }
}

/// All probes from the oldest that is not forgotten to the newest.
#[derive(Debug)]
pub(super) struct PendingRing {
    probes: VecDeque<Option<Pending>>,
    first: u64,
    /// The first number ever given.
    began: u64,
}

impl Default for PendingRing {
    fn default() -> Self {
        // Sequence 0 is never used, so that a zeroed datagram can match nothing.
        Self {
            probes: VecDeque::new(),
            first: 1,
            began: 1,
        }
    }
}

impl PendingRing {
    /// Begins at a number above all that an earlier ring of this process can have given: a device that comes back gets
    /// a new ring under the same epoch, and peers take a number they have seen for a replay. No ring gives a million
    /// numbers a second.
    pub(super) fn begin(&mut self, now: Mono) {
        if self.first == self.began && self.probes.is_empty() {
            let micros = u64::try_from(now.0.as_micros()).unwrap_or(self.first);
            self.first = self.first.max(micros);
            self.began = self.first;
        }
    }

    /// Whether a number was ever given to a probe.
    pub(super) fn gave(&self, seq: u64) -> bool {
        (self.began..self.next()).contains(&seq)
    }

    /// The sequence number that [`PendingRing::push`] gives next.
    pub(super) fn next(&self) -> u64 {
        self.first + self.probes.len() as u64
    }

    pub(super) fn push(&mut self, probe: Pending) {
        self.probes.push_back(Some(probe));
    }

    pub(super) fn get_mut(&mut self, seq: u64) -> Option<&mut Pending> {
        let index = usize::try_from(seq.checked_sub(self.first)?).ok()?;
        self.probes.get_mut(index)?.as_mut()
    }

    pub(super) fn get(&self, seq: u64) -> Option<&Pending> {
        let index = usize::try_from(seq.checked_sub(self.first)?).ok()?;
        self.probes.get(index)?.as_ref()
    }

    pub(super) fn remove(&mut self, seq: u64) {
        if let Some(index) = seq
            .checked_sub(self.first)
            .and_then(|i| usize::try_from(i).ok())
            && let Some(slot) = self.probes.get_mut(index)
        {
            *slot = None;
        }
    }

    /// Forgets from the oldest on what is done and what was judged longer than `keep` ago.
    pub(super) fn forget(&mut self, now: Mono, keep: Duration) {
        while let Some(front) = self.probes.front() {
            let done = front.as_ref().is_none_or(|probe| {
                matches!(probe.phase, Phase::Judged(_)) && probe.deadline.plus(keep) <= now
            });
            if !done {
                break;
            }
            self.probes.pop_front();
            self.first += 1;
        }
    }

    /// Sequence numbers of the probes for which `want` holds.
    pub(super) fn select(&self, want: impl Fn(&Pending) -> bool) -> Vec<u64> {
        let numbered = (self.first..).zip(&self.probes);
        numbered
            .filter(|(_, p)| p.as_ref().is_some_and(&want))
            .map(|(seq, _)| seq)
            .collect()
    }

    /// Probes whose outcome is open.
    pub(super) fn open(&self) -> usize {
        let open = |p: &&Option<Pending>| {
            p.as_ref()
                .is_some_and(|p| !matches!(p.phase, Phase::Judged(_)))
        };
        self.probes.iter().filter(open).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_that_takes_over_gives_higher_numbers_than_the_one_before() {
        let (mut first, mut second) = (PendingRing::default(), PendingRing::default());
        first.begin(Mono(Duration::from_secs(5)));
        second.begin(Mono(Duration::from_secs(6)));
        assert!(second.next() >= first.next() + 1_000_000);
        for never_given in [0, 1, first.next(), second.next()] {
            assert!(!second.gave(never_given), "{never_given}");
        }
    }
}
