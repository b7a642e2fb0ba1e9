//! Who asks us how often, and what of it we have seen: shared by the responders on the fabric and over IP.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rdmamesh_wire::{DropReason, Epoch, ReplayWindow, RnicId, Sighting};

use super::mono::Mono;

/// Requests per sender and second that are answered. A prober's budget is far below; above it somebody misuses a key.
const RATE_PER_SECOND: u32 = 10_000;
/// Processes of one sender that are told apart. A replay of a still older one is answered only after so many newer processes
/// have spoken, and only by a responder that has not been restarted since.
const EPOCHS_PER_SENDER: usize = 4;
/// Senders remembered at once; more are refused. Only holders of a key get this far.
const MAX_SENDERS: usize = 8192;
/// With more senders than this, those that have been silent for [`FORGET_AFTER`] are forgotten.
const MANY_SENDERS: usize = 2048;
const FORGET_AFTER: Duration = Duration::from_secs(600);

/// The senders of a port, for its responder and for the control exchange that is asked what has arrived.
#[derive(Debug, Clone, Default)]
pub struct Heard(Arc<Mutex<Senders<RnicId>>>);

impl Heard {
    /// Looks or changes; the lock is held that long.
    pub fn with<T>(&self, act: impl FnOnce(&mut Senders<RnicId>) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// All senders heard so far.
#[derive(Debug)]
pub struct Senders<Id> {
    known: HashMap<Id, Sender>,
}

#[derive(Debug)]
struct Sender {
    /// Newest last.
    epochs: Vec<(Epoch, ReplayWindow)>,
    credit: u32,
    credit_second: u64,
    heard: Mono,
}

impl<Id> Default for Senders<Id> {
    fn default() -> Self {
        Self {
            known: HashMap::new(),
        }
    }
}

impl<Id: Eq + Hash> Senders<Id> {
    /// Whether an authentic request may be answered.
    ///
    /// # Errors
    /// [`DropReason::Rate`] or [`DropReason::Replay`].
    pub fn admit(
        &mut self,
        id: Id,
        epoch: Epoch,
        sequence: u64,
        now: Mono,
    ) -> Result<(), DropReason> {
        if self.known.len() >= MAX_SENDERS && !self.known.contains_key(&id) {
            return Err(DropReason::Rate);
        }
        let sender = self.known.entry(id).or_insert_with(|| Sender {
            epochs: Vec::new(),
            credit: RATE_PER_SECOND,
            credit_second: now.second(),
            heard: now,
        });
        sender.charge(now)?;
        sender.first_time(epoch, sequence)
    }

    /// Whether a request of `id` has arrived.
    pub fn sighting(&self, id: &Id, epoch: Epoch, sequence: u64) -> Sighting {
        let Some(sender) = self.known.get(id) else {
            // With all places taken, a new sender is refused without being remembered.
            let full = self.known.len() >= MAX_SENDERS;
            return if full {
                Sighting::Unknown
            } else {
                Sighting::Unseen
            };
        };
        let window = sender.epochs.iter().find(|(known, _)| *known == epoch);
        match window.map_or(Some(false), |(_, window)| window.saw(sequence)) {
            Some(true) => Sighting::Seen,
            Some(false) => Sighting::Unseen,
            None => Sighting::Unknown,
        }
    }

    /// Makes room when there are many senders.
    pub fn forget_idle(&mut self, now: Mono) {
        if self.known.len() > MANY_SENDERS {
            self.known
                .retain(|_, sender| now.since(sender.heard) <= FORGET_AFTER);
        }
    }
}

impl Sender {
    fn charge(&mut self, now: Mono) -> Result<(), DropReason> {
        if self.credit_second != now.second() {
            self.credit_second = now.second();
            self.credit = RATE_PER_SECOND;
        }
        self.credit = self.credit.checked_sub(1).ok_or(DropReason::Rate)?;
        self.heard = now;
        Ok(())
    }

    fn first_time(&mut self, epoch: Epoch, sequence: u64) -> Result<(), DropReason> {
        let known = self.epochs.iter().position(|(known, _)| *known == epoch);
        let index = known.unwrap_or_else(|| {
            if self.epochs.len() == EPOCHS_PER_SENDER {
                self.epochs.remove(0);
            }
            self.epochs.push((epoch, ReplayWindow::default()));
            self.epochs.len() - 1
        });
        let window = self.epochs.get_mut(index).map(|(_, window)| window);
        if window.is_some_and(|w| w.accept(sequence)) {
            Ok(())
        } else {
            Err(DropReason::Replay)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Mono = Mono(Duration::from_secs(100));

    #[test]
    fn what_has_arrived_is_told_from_what_has_not_and_from_what_is_too_old_to_tell() {
        let mut senders = Senders::default();
        assert_eq!(senders.sighting(&1u8, Epoch(7), 5), Sighting::Unseen);
        for sequence in [5, 7, 5 + ReplayWindow::LEN] {
            assert_eq!(senders.admit(1, Epoch(7), sequence, AT), Ok(()));
        }
        let sighting = |epoch, sequence| senders.sighting(&1, Epoch(epoch), sequence);
        assert_eq!(sighting(7, 7), Sighting::Seen);
        assert_eq!(sighting(7, 8), Sighting::Unseen);
        assert_eq!(sighting(7, 6 + ReplayWindow::LEN), Sighting::Unseen);
        assert_eq!(sighting(7, 5), Sighting::Unknown);
        assert_eq!(sighting(8, 7), Sighting::Unseen, "another process");
    }

    #[test]
    fn a_replay_is_refused_also_when_a_newer_process_has_spoken() {
        let mut senders = Senders::default();
        assert_eq!(senders.admit(1u8, Epoch(7), 1, AT), Ok(()));
        assert_eq!(senders.admit(1, Epoch(8), 1, AT), Ok(()));
        assert_eq!(senders.admit(1, Epoch(7), 1, AT), Err(DropReason::Replay));
        assert_eq!(
            senders.admit(2, Epoch(7), 1, AT),
            Ok(()),
            "another sender counts for itself"
        );
    }

    #[test]
    fn a_flood_of_one_sender_is_cut_and_does_not_cut_others() {
        let mut senders = Senders::default();
        let answered = (0..RATE_PER_SECOND * 2)
            .filter(|n| senders.admit(1u8, Epoch(7), u64::from(*n), AT).is_ok())
            .count();
        assert_eq!(answered, 10_000);
        assert_eq!(
            senders.admit(1, Epoch(7), 999_999, AT),
            Err(DropReason::Rate)
        );
        assert_eq!(senders.admit(2, Epoch(7), 1, AT), Ok(()));
        assert_eq!(
            senders.admit(1, Epoch(7), 999_998, AT.plus(Duration::from_secs(1))),
            Ok(())
        );
    }

    #[test]
    fn memory_is_bounded_by_the_number_of_senders() {
        let mut senders = Senders::default();
        for id in 0..20_000u32 {
            senders.admit(id, Epoch(1), 1, AT).ok();
        }
        assert_eq!(senders.known.len(), MAX_SENDERS);
        senders.forget_idle(AT.plus(FORGET_AFTER * 2));
        assert_eq!(senders.known.len(), 0);
    }
}
