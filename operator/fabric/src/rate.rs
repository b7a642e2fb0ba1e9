//! Probes per second, in whole micro-probes per second so that sums and comparisons are exact.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign};
use std::time::Duration;

const MICROS: u64 = 1_000_000;

/// A rate of probes. Exact to a millionth of a probe per second, saturating.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProbeRate(u64);

impl ProbeRate {
    /// No probes.
    pub const ZERO: Self = Self(0);

    /// `probes` per second.
    #[must_use]
    pub const fn per_second(probes: u32) -> Self {
        Self(probes as u64 * MICROS)
    }

    /// One probe every `interval`, rounded up so that a budget is never exceeded. An interval of zero
    /// counts as one nanosecond.
    #[must_use]
    pub fn every(interval: Duration) -> Self {
        const PER_SECOND: u64 = 1_000_000_000 * MICROS;
        let nanos = u64::try_from(interval.as_nanos())
            .unwrap_or(u64::MAX)
            .max(1);
        Self(PER_SECOND.div_ceil(nanos))
    }

    /// Probes per second, rounded up.
    #[must_use]
    pub const fn ceil(self) -> u64 {
        self.0.div_ceil(MICROS)
    }

    /// Probes per second.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        reason = "a figure for people and metrics"
    )]
    pub fn as_f64(self) -> f64 {
        self.0 as f64 / MICROS as f64
    }

    /// `count` times this rate.
    #[must_use]
    pub const fn times(self, count: u64) -> Self {
        Self(self.0.saturating_mul(count))
    }

    /// The `parts`-th part, rounded down; zero parts count as one.
    #[must_use]
    pub const fn split(self, parts: u64) -> Self {
        Self(self.0 / if parts == 0 { 1 } else { parts })
    }

    /// How often `unit` fits in; a unit of zero fits never.
    #[must_use]
    pub const fn fits(self, unit: Self) -> u64 {
        match self.0.checked_div(unit.0) {
            Some(times) => times,
            None => 0,
        }
    }

    /// Both together.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// This rate times `part` / `whole`, rounded down; zero where `whole` is.
    #[must_use]
    pub fn proportion(self, part: Self, whole: Self) -> Self {
        let scaled = u128::from(self.0) * u128::from(part.0);
        let share = scaled.checked_div(u128::from(whole.0)).unwrap_or(0);
        Self(u64::try_from(share).unwrap_or(u64::MAX))
    }

    /// Highest rate from zero to this one that is `good`, where all below a good one are good.
    #[must_use]
    pub fn highest(self, good: impl Fn(Self) -> bool) -> Self {
        let (mut low, mut high) = (0, self.0);
        while low < high {
            let middle = low + (high - low).div_ceil(2);
            if good(Self(middle)) {
                low = middle;
            } else {
                high = middle - 1;
            }
        }
        Self(low)
    }

    /// What is left without `other`; zero where nothing is.
    #[must_use]
    pub const fn minus(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl Add for ProbeRate {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        self.plus(other)
    }
}

impl AddAssign for ProbeRate {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sum for ProbeRate {
    fn sum<I: Iterator<Item = Self>>(rates: I) -> Self {
        rates.fold(Self::ZERO, Add::add)
    }
}

/// `12.5/s`, with at most one decimal.
impl fmt::Display for ProbeRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tenths = (self.0 * 10).div_ceil(MICROS);
        match tenths % 10 {
            0 => write!(f, "{}/s", tenths / 10),
            tenth => write!(f, "{}.{tenth}/s", tenths / 10),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_probe_every_100_ms_is_ten_per_second() {
        assert_eq!(
            ProbeRate::every(Duration::from_millis(100)),
            ProbeRate::per_second(10)
        );
    }

    #[test]
    fn an_odd_interval_rounds_up_and_never_under_counts() {
        let rate = ProbeRate::every(Duration::from_secs(3));
        assert!(rate.times(3) >= ProbeRate::per_second(1));
        assert_eq!(rate.fits(rate), 1);
    }

    #[test]
    fn extremes_neither_overflow_nor_divide_by_zero() {
        assert!(ProbeRate::every(Duration::ZERO) > ProbeRate::per_second(u32::MAX / 8));
        assert_eq!(ProbeRate::per_second(5).fits(ProbeRate::ZERO), 0);
        assert_eq!(ProbeRate::every(Duration::MAX).ceil(), 1);
        assert_eq!(ProbeRate::per_second(1).split(0), ProbeRate::per_second(1));
    }

    #[test]
    fn it_reads_as_probes_per_second() {
        assert_eq!(ProbeRate::per_second(12).to_string(), "12/s");
        assert_eq!(ProbeRate::per_second(25).split(2).to_string(), "12.5/s");
    }
}
