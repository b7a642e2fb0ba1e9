//! Turns what a device stamps completions with into time.

use std::time::Duration;

use crate::completion::{Stamp, TimestampMode};
use crate::sys::completion_queue::StampSource;

/// Converts raw stamps of one completion queue.
#[derive(Debug)]
pub(super) struct StampClock {
    source: StampSource,
    /// The last raw tick count and where it is on the unwrapped count.
    last: Option<(u64, u64)>,
}

impl StampClock {
    pub(super) fn new(source: StampSource) -> Self {
        Self { source, last: None }
    }

    pub(super) fn mode(&self) -> TimestampMode {
        match self.source {
            StampSource::Monotonic => TimestampMode::Software,
            StampSource::WallClock | StampSource::Ticks { .. } => TimestampMode::Hardware,
        }
    }

    /// The moment that a raw stamp means.
    pub(super) fn stamp(&mut self, raw: u64) -> Stamp {
        match self.source {
            StampSource::Monotonic | StampSource::WallClock => Stamp(Duration::from_nanos(raw)),
            StampSource::Ticks { mask, khz } => {
                let ticks = self.unwrap(raw & mask, mask);
                // Ticks per millisecond to nanoseconds; wide, for the product overflows 64 bits
                // within hours.
                let nanos = u128::from(ticks) * 1_000_000 / u128::from(khz.max(1));
                Stamp(Duration::from_nanos(
                    u64::try_from(nanos).unwrap_or(u64::MAX),
                ))
            }
        }
    }

    /// Extends a counter that wraps at the mask. Stamps of different queue pairs may come slightly
    /// out of order, so a step is read as the shorter way round.
    fn unwrap(&mut self, raw: u64, mask: u64) -> u64 {
        let Some((last_raw, last)) = self.last else {
            // Starts one wrap up, so that an earlier stamp that is read later stays positive.
            let start = if mask == u64::MAX {
                raw
            } else {
                raw + mask + 1
            };
            self.last = Some((raw, start));
            return start;
        };
        let ahead = raw.wrapping_sub(last_raw) & mask;
        if ahead <= mask / 2 {
            let extended = last.wrapping_add(ahead);
            self.last = Some((raw, extended));
            extended
        } else {
            last.saturating_sub(last_raw.wrapping_sub(raw) & mask)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticks(mask: u64, khz: u64) -> StampClock {
        StampClock::new(StampSource::Ticks { mask, khz })
    }

    #[test]
    fn ticks_become_time_by_the_core_clock() {
        let mut clock = ticks(u64::MAX, 156_250);
        let (a, b) = (clock.stamp(1_000_000), clock.stamp(1_156_250));
        assert_eq!(
            b.nanos_since(a),
            1_000_000,
            "156250 ticks are a millisecond at 156.25 MHz"
        );
    }

    #[test]
    fn a_wrap_of_the_counter_is_no_jump() {
        let mut clock = ticks(0xffff_ffff, 1_000_000);
        let (a, b) = (clock.stamp(0xffff_fff0), clock.stamp(0x10));
        assert_eq!(b.nanos_since(a), 0x20);
    }

    #[test]
    fn stamps_out_of_order_keep_their_distance() {
        let mut clock = ticks(0xffff_ffff, 1_000_000);
        let (first, late) = (clock.stamp(5), clock.stamp(0xffff_fffb));
        assert_eq!(
            first.nanos_since(late),
            10,
            "ten ticks earlier, across the wrap"
        );
        assert_eq!(
            clock.stamp(15).nanos_since(first),
            10,
            "and the count is not disturbed"
        );
    }

    #[test]
    fn wall_clock_and_monotonic_stamps_are_nanoseconds() {
        assert_eq!(
            StampClock::new(StampSource::WallClock).stamp(42),
            Stamp(Duration::from_nanos(42))
        );
        assert_eq!(
            StampClock::new(StampSource::WallClock).mode(),
            TimestampMode::Hardware
        );
        assert_eq!(
            StampClock::new(StampSource::Monotonic).mode(),
            TimestampMode::Software
        );
    }
}
