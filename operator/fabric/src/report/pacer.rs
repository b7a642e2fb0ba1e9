//! When a status is written: at once on news, later on drift, rarely when nothing happens.

use std::time::{Duration, Instant};

/// How a status differs from the one on the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// There is nothing to say yet: not even the periodic refresh is written.
    Silent,
    /// Nothing that matters.
    Same,
    /// Figures moved considerably.
    Drift,
    /// Too little to call a path ill, but enough to add up with what others see.
    Hint,
    /// Something began, ended or changed its state.
    News,
}

/// The bounds of writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pacing {
    /// Between two writes, whatever happens.
    pub min_gap: Duration,
    /// Between a write and one that only tells of drift.
    pub drift_gap: Duration,
    /// The same where the first one told of news or gave a hint: its window was half from before what had happened.
    pub settle_gap: Duration,
    /// Between a write and one that only gives a hint.
    pub hint_gap: Duration,
    /// Between a write and one that tells nothing new, give or take [`Self::JITTER`].
    pub refresh: Duration,
}

impl Pacing {
    /// The share by which refreshes are spread, so that ten thousand agents do not write together.
    pub const JITTER: f64 = 0.1;
}

impl Default for Pacing {
    fn default() -> Self {
        Self {
            min_gap: Duration::from_secs(2),
            // Longer, and a mesh that is still ill in another place would believe old figures of one that was mended.
            drift_gap: Duration::from_secs(15),
            settle_gap: Duration::from_secs(6),
            hint_gap: Duration::from_secs(3),
            refresh: Duration::from_secs(300),
        }
    }
}

/// Remembers what was written when. `S` is the part of a status by which changes are told.
#[derive(Debug, Clone)]
pub struct Pacer<S> {
    pacing: Pacing,
    written: Option<(Instant, S)>,
    refresh_at: Option<Instant>,
    not_before: Option<Instant>,
    is_settling: bool,
}

impl<S> Pacer<S> {
    /// A pacer that has written nothing yet.
    pub const fn new(pacing: Pacing) -> Self {
        Self {
            pacing,
            written: None,
            refresh_at: None,
            not_before: None,
            is_settling: false,
        }
    }

    /// What is on the server, as far as this process wrote it.
    pub fn written(&self) -> Option<&S> {
        self.written.as_ref().map(|(_, essence)| essence)
    }

    /// When `change` may be written; a moment that has passed means now, `None` never.
    pub fn due(&self, now: Instant, change: Change) -> Option<Instant> {
        let at = match (&self.written, change) {
            (_, Change::Silent) => return None,
            (None, _) | (Some(_), Change::News) => now,
            (Some((last, _)), Change::Drift) => {
                let gap = if self.is_settling {
                    self.pacing.settle_gap
                } else {
                    self.pacing.drift_gap
                };
                (*last + gap).min(self.refresh_at.unwrap_or(now))
            }
            (Some((last, _)), Change::Hint) => *last + self.pacing.hint_gap,
            (Some(_), Change::Same) => self.refresh_at.unwrap_or(now),
        };
        Some(self.not_before.map_or(at, |bound| at.max(bound)))
    }

    /// A write of `essence`, which told of `change`, began at `now` and went well. `jitter` is a random number from −1 to 1.
    pub fn succeeded(&mut self, now: Instant, essence: S, change: Change, jitter: f64) {
        self.is_settling = matches!(change, Change::Hint | Change::News);
        self.written = Some((now, essence));
        self.not_before = Some(now + self.pacing.min_gap);
        let spread = 1.0 + Pacing::JITTER * jitter.clamp(-1.0, 1.0);
        self.refresh_at = Some(now + self.pacing.refresh.mul_f64(spread));
    }

    /// A write that began at `now` failed; the next may follow after `backoff`.
    pub fn failed(&mut self, now: Instant, backoff: Duration) {
        self.not_before = Some(now + backoff.max(self.pacing.min_gap));
    }

    /// The object is not what it was: whatever was written is gone.
    pub fn forget(&mut self) {
        self.written = None;
        self.refresh_at = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: fn(u64) -> Duration = Duration::from_secs;

    fn written(at: Instant, jitter: f64) -> Pacer<u8> {
        let mut pacer = Pacer::new(Pacing::default());
        pacer.succeeded(at, 1, Change::Drift, jitter);
        pacer
    }

    #[test]
    fn the_first_status_is_written_at_once_but_not_before_there_is_something_to_say() {
        let (pacer, now) = (Pacer::<u8>::new(Pacing::default()), Instant::now());
        assert_eq!(pacer.due(now, Change::Silent), None);
        assert_eq!(pacer.due(now, Change::Same), Some(now));
    }

    #[test]
    fn news_is_written_at_once_but_never_within_two_seconds_of_the_last_write() {
        let start = Instant::now();
        let pacer = written(start, 0.0);
        assert_eq!(pacer.due(start + S(1), Change::News), Some(start + S(2)));
        assert_eq!(pacer.due(start + S(9), Change::News), Some(start + S(9)));
    }

    #[test]
    fn drift_waits_a_quarter_of_a_minute() {
        let start = Instant::now();
        let due = written(start, 0.0).due(start + S(3), Change::Drift);
        assert_eq!(due, Some(start + S(15)));
    }

    #[test]
    fn what_followed_a_hint_is_told_once_its_window_has_passed() {
        let start = Instant::now();
        let mut pacer = written(start, 0.0);
        for (change, seconds) in [(Change::Hint, 6), (Change::News, 6), (Change::Drift, 15)] {
            pacer.succeeded(start, 1, change, 0.0);
            let due = pacer.due(start + S(3), Change::Drift);
            assert_eq!(due, Some(start + S(seconds)), "{change:?}");
        }
    }

    #[test]
    fn a_hint_is_written_at_once_unless_there_was_a_write_just_before() {
        let start = Instant::now();
        let pacer = written(start, 0.0);
        assert_eq!(pacer.due(start + S(2), Change::Hint), Some(start + S(3)));
        let due = pacer.due(start + S(9), Change::Hint);
        assert!(due.is_some_and(|due| due <= start + S(9)));
    }

    #[test]
    fn an_unchanged_status_is_refreshed_every_five_minutes_give_or_take_a_tenth() {
        let start = Instant::now();
        for (jitter, seconds) in [(0.0, 300), (-1.0, 270), (1.0, 330), (7.0, 330)] {
            let due = written(start, jitter).due(start + S(3), Change::Same);
            assert_eq!(due, Some(start + S(seconds)), "jitter {jitter}");
        }
    }

    #[test]
    fn a_failed_write_is_repeated_after_its_backoff_with_what_is_news_by_then() {
        let start = Instant::now();
        let mut pacer = written(start, 0.0);
        pacer.failed(start + S(10), S(8));
        assert_eq!(pacer.due(start + S(11), Change::News), Some(start + S(18)));
        assert_eq!(
            pacer.written(),
            Some(&1),
            "the server still has the old one"
        );
        pacer.failed(start + S(20), Duration::ZERO);
        assert_eq!(pacer.due(start + S(20), Change::News), Some(start + S(22)));
    }

    #[test]
    fn a_forgotten_status_is_written_anew() {
        let start = Instant::now();
        let mut pacer = written(start, 0.0);
        pacer.forget();
        assert_eq!(pacer.due(start + S(5), Change::Same), Some(start + S(5)));
    }
}
