//! The clock of the data path: `CLOCK_MONOTONIC`, the same that software stamps are on.

use std::time::{Duration, SystemTime};

use rdmamesh_verbs::Stamp;

/// A moment on `CLOCK_MONOTONIC`, since its origin. Tests make their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Mono(pub Duration);

impl Mono {
    /// Now.
    pub fn now() -> Self {
        Self(Stamp::monotonic().0)
    }

    /// `self + span`.
    pub const fn plus(self, span: Duration) -> Self {
        Self(self.0.saturating_add(span))
    }

    /// `self − earlier`, zero when it is not earlier.
    pub const fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    /// The whole second that this moment lies in: windows are made of these.
    pub const fn second(self) -> u64 {
        self.0.as_secs()
    }

    /// The start of second `number`.
    pub const fn of_second(number: u64) -> Self {
        Self(Duration::from_secs(number))
    }

    /// Wall-clock time of this moment, given one moment on both clocks.
    pub fn on_wall(self, now: Self, wall: SystemTime) -> SystemTime {
        let moved = if self <= now {
            wall.checked_sub(now.since(self))
        } else {
            wall.checked_add(self.since(now))
        };
        moved.unwrap_or(wall)
    }
}
