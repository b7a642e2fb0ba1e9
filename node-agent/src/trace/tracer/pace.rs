//! The tracer's budget: packets per second, with a small burst.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::dataplane::Mono;

/// What may have gathered when nothing was sent, in time.
const BURST: Duration = Duration::from_millis(100);

/// A token bucket, kept as the time at which the next packet is on schedule (GCRA).
#[derive(Debug)]
pub struct Pace {
    step: Duration,
    next: Mono,
}

impl Pace {
    /// Lets `per_second` packets pass.
    pub fn new(per_second: NonZeroU32) -> Self {
        Self {
            step: Duration::from_secs(1) / per_second.get(),
            next: Mono::default(),
        }
    }

    /// Whether a packet may go now; if so it is counted.
    pub fn take(&mut self, now: Mono) -> bool {
        if self.next(now) > now {
            return false;
        }
        let earliest = Mono(now.0.saturating_sub(BURST));
        self.next = self.next.max(earliest).plus(self.step);
        true
    }

    /// When the next packet may go.
    pub fn next(&self, now: Mono) -> Mono {
        self.next.max(Mono(now.0.saturating_sub(BURST)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn over_any_time_no_more_than_the_budget_and_a_small_burst_pass() {
        let mut pace = Pace::new(NonZeroU32::new(200).expect("not zero"));
        let passed = (0..5000u64)
            .filter(|ms| pace.take(Mono(Duration::from_millis(10_000 + ms))))
            .count();
        assert!((1000..=1021).contains(&passed), "{passed}");
    }

    #[test]
    fn the_next_packet_may_go_when_it_is_said_to() {
        let mut pace = Pace::new(NonZeroU32::new(10).expect("not zero"));
        let mut now = Mono(Duration::from_secs(5));
        while pace.take(now) {}
        let next = pace.next(now);
        assert!(next > now && next <= now.plus(Duration::from_millis(100)));
        now = next;
        assert!(pace.take(now));
    }
}
