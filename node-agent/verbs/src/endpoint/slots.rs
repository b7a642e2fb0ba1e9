//! Which send slots are free, whose datagram the others hold, and the work request ids that say so.

use crate::address::AddressHandle;

/// What a work request id means. Bit 63 marks receives; the queue pair is in bits 32–62 of those,
/// the slot below.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RequestId {
    /// The send slot.
    Send(usize),
    /// Queue pair and receive slot, counted through all queue pairs.
    Receive { qp_index: usize, slot: usize },
}

const RECEIVE: u64 = 1 << 63;

impl RequestId {
    pub(super) fn encode(self) -> u64 {
        match self {
            Self::Send(slot) => slot as u64,
            Self::Receive { qp_index, slot } => RECEIVE | (qp_index as u64) << 32 | slot as u64,
        }
    }

    pub(super) fn decode(id: u64) -> Self {
        let low = usize::try_from(id & 0xffff_ffff).unwrap_or(usize::MAX);
        if id & RECEIVE == 0 {
            return Self::Send(low);
        }
        Self::Receive {
            qp_index: usize::try_from((id & !RECEIVE) >> 32).unwrap_or(usize::MAX),
            slot: low,
        }
    }
}

/// A datagram that the device has and has not finished.
#[derive(Debug)]
pub(super) struct InFlight {
    pub(super) token: u64,
    pub(super) qp_index: usize,
    /// Held so that the handle is not destroyed under the device.
    pub(super) _address: AddressHandle,
}

/// The send slots.
#[derive(Debug)]
pub(super) struct SendSlots<T = InFlight> {
    in_flight: Vec<Option<T>>,
    free: Vec<usize>,
}

impl<T> SendSlots<T> {
    pub(super) fn new(count: usize) -> Self {
        Self {
            in_flight: (0..count).map(|_| None).collect(),
            free: (0..count).rev().collect(),
        }
    }

    /// The slot that the next datagram may use; it stays free until [`Self::occupy`].
    pub(super) fn next_free(&self) -> Option<usize> {
        self.free.last().copied()
    }

    /// Whether any slot is in flight.
    pub(super) fn any_in_flight(&self) -> bool {
        self.free.len() < self.in_flight.len()
    }

    /// Marks the slot that `next_free` returned as in flight.
    pub(super) fn occupy(&mut self, slot: usize, datagram: T) {
        if self.free.last() == Some(&slot) {
            self.free.pop();
            self.in_flight[slot] = Some(datagram);
        }
    }

    /// Frees a slot whose datagram is done; `None` when nothing was in flight there.
    pub(super) fn finish(&mut self, slot: usize) -> Option<T> {
        let datagram = self.in_flight.get_mut(slot)?.take()?;
        self.free.push(slot);
        Some(datagram)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_survive_the_round_trip_through_the_device() {
        for id in [
            RequestId::Send(0),
            RequestId::Send(65_535),
            RequestId::Receive {
                qp_index: 0,
                slot: 0,
            },
            RequestId::Receive {
                qp_index: 4095,
                slot: 1 << 24,
            },
        ] {
            assert_eq!(RequestId::decode(id.encode()), id);
        }
    }

    #[test]
    fn slots_run_out_and_come_back() {
        let mut slots = SendSlots::new(2);
        for token in 0..2 {
            let slot = slots.next_free().expect("two slots");
            slots.occupy(slot, token);
        }
        assert_eq!(slots.next_free(), None);
        assert!(slots.any_in_flight());
        assert_eq!(slots.finish(1), Some(1));
        assert_eq!(slots.next_free(), Some(1));
    }

    #[test]
    fn a_completion_for_nothing_is_not_believed() {
        let mut slots = SendSlots::<u64>::new(1);
        assert_eq!(slots.finish(0), None, "nothing in flight");
        assert_eq!(slots.finish(7), None, "no such slot");
        assert_eq!(slots.next_free(), Some(0), "and the free list is unharmed");
    }
}
