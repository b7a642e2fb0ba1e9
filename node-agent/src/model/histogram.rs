//! A mergeable histogram of durations with a relative error under one percent.

use std::time::Duration;

use hdrhistogram::Histogram;

/// Smallest distance of two values that are told apart.
const RESOLUTION_NS: u64 = 64;
/// Two significant decimal digits: a quantile is within one percent of the true value.
const SIGNIFICANT_DIGITS: u8 = 2;

/// Larger values count as this one; the data path refuses anything over ten seconds before it gets here.
const LARGEST: Duration = Duration::from_secs(60);

/// Durations from 64 ns up, mergeable, growing only as far as its largest value needs.
#[derive(Debug, Clone)]
pub struct RttHistogram {
    inner: Option<Histogram<u32>>,
    min: Duration,
    max: Duration,
    sum: Duration,
}

impl Default for RttHistogram {
    fn default() -> Self {
        Self {
            inner: None,
            min: Duration::MAX,
            max: Duration::ZERO,
            sum: Duration::ZERO,
        }
    }
}

impl RttHistogram {
    /// Adds one value.
    pub fn record(&mut self, value: Duration) {
        let value = value.min(LARGEST);
        let ns = u64::try_from(value.as_nanos()).unwrap_or(u64::MAX / 4);
        if let Some(inner) = self.inner_mut()
            && inner.record(ns).is_ok()
        {
            self.min = self.min.min(value);
            self.max = self.max.max(value);
            self.sum = self.sum.saturating_add(value);
        }
    }

    /// Adds all values of another histogram.
    pub fn merge(&mut self, other: &Self) {
        let Some(theirs) = &other.inner else { return };
        if let Some(mine) = self.inner_mut()
            && mine.add(theirs).is_ok()
        {
            self.min = self.min.min(other.min);
            self.max = self.max.max(other.max);
            self.sum = self.sum.saturating_add(other.sum);
        }
    }

    /// Number of values.
    pub fn count(&self) -> u64 {
        self.inner.as_ref().map_or(0, Histogram::len)
    }

    /// Sum of all values.
    pub const fn sum(&self) -> Duration {
        self.sum
    }

    /// Smallest value, exact; `None` when empty.
    pub fn min(&self) -> Option<Duration> {
        (self.count() > 0).then_some(self.min)
    }

    /// Largest value, exact; `None` when empty.
    pub fn max(&self) -> Option<Duration> {
        (self.count() > 0).then_some(self.max)
    }

    /// The value at quantile `q` (0 to 1), clamped to the exact smallest and largest; `None` when empty.
    pub fn quantile(&self, q: f64) -> Option<Duration> {
        let inner = self.inner.as_ref().filter(|h| !h.is_empty())?;
        Some(Duration::from_nanos(inner.value_at_quantile(q)).clamp(self.min, self.max))
    }

    /// Recorded values with their counts, ascending, for exports that feed another histogram.
    pub fn recorded(&self) -> impl Iterator<Item = (Duration, u64)> + '_ {
        self.inner.iter().flat_map(|h| {
            h.iter_recorded().map(|v| {
                (
                    Duration::from_nanos(v.value_iterated_to()),
                    u64::from(v.count_at_value()),
                )
            })
        })
    }

    fn inner_mut(&mut self) -> Option<&mut Histogram<u32>> {
        if self.inner.is_none() {
            let mut fresh =
                Histogram::new_with_bounds(RESOLUTION_NS, RESOLUTION_NS * 256, SIGNIFICANT_DIGITS)
                    .ok()?;
            fresh.auto(true);
            self.inner = Some(fresh);
        }
        self.inner.as_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const US: fn(u64) -> Duration = Duration::from_micros;

    #[test]
    fn an_empty_histogram_has_no_figures() {
        let empty = RttHistogram::default();
        assert_eq!(
            (empty.count(), empty.min(), empty.max(), empty.quantile(0.5)),
            (0, None, None, None)
        );
    }

    #[test]
    fn quantiles_are_within_one_percent_and_extremes_exact() {
        let mut h = RttHistogram::default();
        (1..=1000).for_each(|n| h.record(US(n)));
        let p50 = h.quantile(0.5).expect("not empty").as_secs_f64();
        assert!((p50 / 500e-6 - 1.0).abs() < 0.01, "p50 {p50}");
        assert_eq!((h.min(), h.max()), (Some(US(1)), Some(US(1000))));
    }

    #[test]
    fn merging_equals_recording_everything_in_one() {
        let (mut a, mut b, mut both) = (
            RttHistogram::default(),
            RttHistogram::default(),
            RttHistogram::default(),
        );
        for n in 1..500u64 {
            let v = US(n * n % 7919 + 1);
            if n % 3 == 0 {
                a.record(v);
            } else {
                b.record(v);
            }
            both.record(v);
        }
        a.merge(&b);
        assert_eq!(a.count(), both.count());
        assert_eq!(a.sum(), both.sum());
        assert_eq!(a.quantile(0.99), both.quantile(0.99));
        assert!(a.recorded().eq(both.recorded()));
    }

    #[test]
    fn absurd_values_are_kept_without_panic() {
        let mut h = RttHistogram::default();
        h.record(Duration::MAX);
        h.record(Duration::ZERO);
        assert_eq!(h.count(), 2);
    }
}
