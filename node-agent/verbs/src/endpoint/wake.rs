//! Where an endpoint stands between asking for a notification and having read it, and how long it
//! sleeps when sends are in flight that will not notify.

use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::time::Duration;

/// A send has long completed by then, and mostly something was received meanwhile, which takes finished sends along: each nap
/// that ends by itself costs a wake-up.
const SHORTEST_NAP_MS: u32 = 32;
/// A device that keeps sends for long (a stalled link) is not asked more often than this.
const LONGEST_NAP_MS: u32 = 256;

/// One round: unarmed → armed → notified → armed …
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WakeState {
    /// The queue will not notify.
    Unarmed,
    /// The queue notifies once, at the next completion.
    Armed,
    /// The channel became readable; its notification has not been taken yet.
    Notified,
}

/// A state behind `&self`, for `ready` borrows the endpoint shared.
#[derive(Debug)]
pub(super) struct WakeCell {
    state: AtomicU8,
    nap_ms: AtomicU32,
}

impl Default for WakeCell {
    fn default() -> Self {
        let state = AtomicU8::new(WakeState::Unarmed as u8);
        Self {
            state,
            nap_ms: AtomicU32::new(SHORTEST_NAP_MS),
        }
    }
}

impl WakeCell {
    pub(super) fn get(&self) -> WakeState {
        match self.state.load(Ordering::Acquire) {
            state if state == WakeState::Armed as u8 => WakeState::Armed,
            state if state == WakeState::Notified as u8 => WakeState::Notified,
            _ => WakeState::Unarmed,
        }
    }

    pub(super) fn set(&self, state: WakeState) {
        self.state.store(state as u8, Ordering::Release);
    }

    /// A datagram was posted: look after it soon.
    pub(super) fn posted(&self) {
        self.nap_ms.store(SHORTEST_NAP_MS, Ordering::Release);
    }

    /// How long to sleep while sends are in flight.
    pub(super) fn nap(&self) -> Duration {
        Duration::from_millis(u64::from(self.nap_ms.load(Ordering::Acquire)))
    }

    /// A nap has ended without a notification: the next one is longer.
    pub(super) fn napped(&self) {
        let longer = self.nap_ms.load(Ordering::Acquire).saturating_mul(2);
        self.nap_ms
            .store(longer.min(LONGEST_NAP_MS), Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn naps_get_longer_until_something_is_posted() {
        let cell = WakeCell::default();
        let mut naps = Vec::new();
        for _ in 0..5 {
            naps.push(cell.nap().as_millis());
            cell.napped();
        }
        assert_eq!(naps, [32, 64, 128, 256, 256]);
        cell.posted();
        assert_eq!(cell.nap(), Duration::from_millis(32));
    }

    #[test]
    fn the_state_is_what_was_set() {
        let cell = WakeCell::default();
        assert_eq!(cell.get(), WakeState::Unarmed);
        for state in [WakeState::Armed, WakeState::Notified, WakeState::Unarmed] {
            cell.set(state);
            assert_eq!(cell.get(), state);
        }
    }
}
