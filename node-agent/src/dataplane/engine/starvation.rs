//! Remembers when this host did not let us run: losses of such moments are the host's, not the fabric's.

use std::collections::VecDeque;
use std::time::Duration;

use crate::dataplane::mono::Mono;

const REMEMBERED: usize = 16;

/// The newest spans in which a loop should have run and did not.
#[derive(Debug)]
pub struct Starvation {
    bound: Duration,
    episodes: VecDeque<(Mono, Mono)>,
}

impl Starvation {
    /// A wake-up more than `bound` late is starvation.
    pub fn new(bound: Duration) -> Self {
        Self {
            bound,
            episodes: VecDeque::with_capacity(REMEMBERED),
        }
    }

    /// The loop asked to be woken at `planned` and runs at `now`. True when that is starvation.
    pub fn woken(&mut self, planned: Mono, now: Mono) -> bool {
        let starved = now.since(planned) > self.bound;
        if starved {
            self.note(planned, now);
        }
        starved
    }

    /// Remembers a span in which this host lost what it should not have lost.
    pub fn note(&mut self, from: Mono, to: Mono) {
        if self.episodes.len() == REMEMBERED {
            self.episodes.pop_front();
        }
        self.episodes.push_back((from, to));
    }

    /// Whether any remembered episode overlaps `[from, to]`.
    pub fn overlaps(&self, from: Mono, to: Mono) -> bool {
        self.episodes
            .iter()
            .any(|(start, end)| *start <= to && *end >= from)
    }

    /// When the newest episode ended.
    pub fn last_end(&self) -> Option<Mono> {
        self.episodes.back().map(|(_, end)| *end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Mono {
        Mono(Duration::from_millis(ms))
    }

    #[test]
    fn only_what_overlaps_a_late_wake_up_is_starved() {
        let mut starvation = Starvation::new(Duration::from_millis(50));
        assert!(
            !starvation.woken(at(1000), at(1050)),
            "at the bound is in time"
        );
        assert!(starvation.woken(at(2000), at(2200)));
        assert!(starvation.overlaps(at(1900), at(2001)));
        assert!(starvation.overlaps(at(2100), at(2150)));
        assert!(!starvation.overlaps(at(2201), at(2300)));
        assert!(!starvation.overlaps(at(1000), at(1999)));
        assert_eq!(starvation.last_end(), Some(at(2200)));
    }

    #[test]
    fn what_the_device_lost_by_itself_counts_like_starvation() {
        let mut starvation = Starvation::new(Duration::from_millis(50));
        starvation.note(at(1000), at(1010));
        assert!(starvation.overlaps(at(900), at(1400)));
        assert!(!starvation.overlaps(at(1011), at(1400)));
    }

    #[test]
    fn memory_is_bounded() {
        let mut starvation = Starvation::new(Duration::ZERO);
        for n in 0..1000 {
            starvation.woken(at(n * 10), at(n * 10 + 5));
        }
        assert_eq!(starvation.episodes.len(), REMEMBERED);
    }
}
