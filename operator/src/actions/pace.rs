//! When a node may be written again: not at once after a write that failed, and not again and again where
//! somebody else keeps writing something different. Pure; one node never holds up another.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Pause of a node after a write.
const FIRST: Duration = Duration::from_secs(1);
/// Longest pause of a node that fails, or is contended, again and again.
const LONGEST: Duration = Duration::from_secs(60);

/// Nodes that were written, or could not be, a short while ago.
#[derive(Debug, Default)]
pub(super) struct Pace(BTreeMap<String, Entry>);

#[derive(Debug)]
struct Entry {
    /// Why the last write failed, where it did.
    error: Option<String>,
    pause: Duration,
    until: Instant,
}

impl Pace {
    /// Whether `node` may be written.
    pub fn allows(&self, node: &str, now: Instant) -> bool {
        self.0.get(node).is_none_or(|entry| entry.until <= now)
    }

    /// Books a write, or why it failed. Who has to be written again soon waits twice as long.
    pub fn book(&mut self, node: &str, error: Option<String>, now: Instant) {
        let again = self.0.get(node).filter(|entry| !entry.is_over(now));
        let pause = again.map_or(FIRST, |entry| (entry.pause * 2).min(LONGEST));
        let entry = Entry {
            error,
            pause,
            until: now + pause,
        };
        self.0.insert(node.to_owned(), entry);
    }

    /// Forgets what does not matter any more; `pending` are the nodes that are to be written.
    pub fn forget(&mut self, pending: impl Fn(&str) -> bool, now: Instant) {
        self.0.retain(|node, entry| {
            if !pending(node) {
                entry.error = None;
            }
            entry.error.is_some() || !entry.is_over(now)
        });
    }

    /// When the next of the `pending` nodes may be written that may not now.
    pub fn next<'a>(
        &self,
        pending: impl Iterator<Item = &'a String>,
        now: Instant,
    ) -> Option<Instant> {
        let held = pending.filter_map(|node| self.0.get(node));
        held.map(|entry| entry.until)
            .filter(|until| *until > now)
            .min()
    }

    /// Nodes that could not be written, and why.
    pub fn errors(&self) -> impl Iterator<Item = (&str, &str)> + Clone {
        let nodes = self.0.iter();
        nodes.filter_map(|(node, entry)| Some((node.as_str(), entry.error.as_deref()?)))
    }
}

impl Entry {
    /// Whether it was so long ago that another write has nothing to do with it.
    fn is_over(&self, now: Instant) -> bool {
        self.until + self.pause < now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed() -> Option<String> {
        Some("the API server refused".to_owned())
    }

    #[test]
    fn who_is_written_once_in_a_while_hardly_waits() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        for seconds in [0, 10, 20] {
            assert!(pace.allows("a", at(seconds)));
            pace.book("a", None, at(seconds));
            assert!(!pace.allows("a", at(seconds)));
            assert!(pace.allows("a", at(seconds + 1)));
        }
    }

    #[test]
    fn a_node_that_somebody_else_keeps_writing_waits_longer_each_time() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        let mut now = start;
        let mut writes = 0;
        while now < start + Duration::from_secs(3600) {
            if pace.allows("a", now) {
                pace.book("a", None, now);
                writes += 1;
            }
            now += Duration::from_millis(50);
        }
        assert!((60..80).contains(&writes), "{writes} writes in an hour");
    }

    #[test]
    fn one_that_fails_does_not_hold_up_another() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        pace.book("a", failed(), now);
        assert!(!pace.allows("a", now) && pace.allows("b", now));
        let pending = ["a".to_owned(), "b".to_owned()];
        assert_eq!(pace.next(pending.iter(), now), Some(now + FIRST));
        assert_eq!(pace.errors().count(), 1);
    }

    #[test]
    fn an_error_is_told_until_there_is_nothing_left_to_write() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        pace.book("a", failed(), start);
        let later = start + LONGEST * 3;
        pace.forget(|_| true, later);
        assert_eq!(pace.errors().count(), 1);
        pace.forget(|_| false, later);
        assert_eq!(pace.errors().count(), 0);
    }
}
