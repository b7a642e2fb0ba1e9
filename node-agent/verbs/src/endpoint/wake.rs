//! Where an endpoint stands between asking for a notification and having read it.

use std::sync::atomic::{AtomicU8, Ordering};

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
pub(super) struct WakeCell(AtomicU8);

impl Default for WakeCell {
    fn default() -> Self {
        Self(AtomicU8::new(WakeState::Unarmed as u8))
    }
}

impl WakeCell {
    pub(super) fn get(&self) -> WakeState {
        match self.0.load(Ordering::Acquire) {
            state if state == WakeState::Armed as u8 => WakeState::Armed,
            state if state == WakeState::Notified as u8 => WakeState::Notified,
            _ => WakeState::Unarmed,
        }
    }

    pub(super) fn set(&self, state: WakeState) {
        self.0.store(state as u8, Ordering::Release);
    }
}
