//! Shares with their confidence intervals, and quantiles.

use std::time::Duration;

use serde::Serialize;

/// So many of so many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Share {
    /// Those that are.
    pub of: u64,
    /// All.
    pub all: u64,
}

/// Standard normal quantile of a two-sided 95 % interval.
const Z: f64 = 1.959_964;

impl Share {
    /// Counts one more.
    pub fn add(&mut self, is: bool) {
        self.all += 1;
        self.of += u64::from(is);
    }

    /// The share, 0 to 1; `None` of nothing.
    #[must_use]
    pub fn ratio(self) -> Option<f64> {
        (self.all > 0).then(|| self.of as f64 / self.all as f64)
    }

    /// Wilson's 95 % interval; everything is possible of nothing.
    #[must_use]
    pub fn interval(self) -> (f64, f64) {
        let Some(p) = self.ratio() else {
            return (0.0, 1.0);
        };
        let n = self.all as f64;
        let (centre, scale) = (p + Z * Z / (2.0 * n), 1.0 + Z * Z / n);
        let half = Z * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
        (
            ((centre - half) / scale).max(0.0),
            ((centre + half) / scale).min(1.0),
        )
    }
}

/// `99.2 % (98.1–99.7, 251 of 253)`.
impl std::fmt::Display for Share {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Some(ratio) = self.ratio() else {
            return f.write_str("nothing to count");
        };
        let (low, high) = self.interval();
        write!(
            f,
            "{:.2} % ({:.1}–{:.1}, {} of {})",
            ratio * 100.0,
            low * 100.0,
            high * 100.0,
            self.of,
            self.all
        )
    }
}

/// Nearest-rank quantile of sorted times; `None` of none.
#[must_use]
pub fn quantile(sorted: &[Duration], rank: f64) -> Option<Duration> {
    let at = (sorted.len() as f64 * rank).ceil() as usize;
    sorted.get(at.max(1) - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_is_wilsons() {
        // Newcombe 1998, table I: 81 of 263 gives 0.2553 to 0.3662.
        let (low, high) = Share { of: 81, all: 263 }.interval();
        assert!(
            (low - 0.2553).abs() < 1e-4 && (high - 0.3662).abs() < 1e-4,
            "{low} {high}"
        );
        let (low, high) = Share { of: 0, all: 20 }.interval();
        assert!(low == 0.0 && (high - 0.1611).abs() < 1e-4, "{low} {high}");
        assert_eq!(Share::default().interval(), (0.0, 1.0));
    }

    #[test]
    fn quantiles_are_values_that_occurred() {
        let times: Vec<_> = (1..=10).map(Duration::from_secs).collect();
        assert_eq!(quantile(&times, 0.5), Some(Duration::from_secs(5)));
        assert_eq!(quantile(&times, 0.99), Some(Duration::from_secs(10)));
        assert_eq!(quantile(&[], 0.5), None);
    }
}
