//! When a host's agent was there, and when its host let it run: kept as long as somebody may ask.

use std::time::Duration;

use super::draw::Draw;

/// Time since the simulation began.
pub(super) type Time = Duration;

/// For ever, as far as is known.
const OPEN: Time = Duration::MAX;

/// How a host that is short of processor time lets its agent run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Hunger {
    /// Mean time without a pause.
    pub runs: Duration,
    /// Mean length of a pause.
    pub stalls: Duration,
}

impl Hunger {
    /// A busy host: now and then a pause, some of them longer than a probe's timeout.
    pub const BUSY: Self = Self {
        runs: Duration::from_millis(1500),
        stalls: Duration::from_millis(250),
    };
    /// Busy loops on all processors and a quota: hardly anything runs.
    pub const HOGGED: Self = Self {
        runs: Duration::from_millis(150),
        stalls: Duration::from_millis(350),
    };
}

/// Spans of time, in order, not overlapping.
#[derive(Clone, Debug, Default)]
struct Spans(Vec<(Time, Time)>);

impl Spans {
    fn begin(&mut self, at: Time) {
        if self.0.last().is_none_or(|(_, end)| *end <= at) {
            self.0.push((at, OPEN));
        }
    }

    fn end(&mut self, at: Time) {
        if let Some(last) = self.0.last_mut()
            && last.1 == OPEN
        {
            last.1 = at;
        }
    }

    /// The span that holds `at`.
    fn holding(&self, at: Time) -> Option<(Time, Time)> {
        let next = self.0.partition_point(|(begin, _)| *begin <= at);
        let span = self.0.get(next.checked_sub(1)?)?;
        (span.1 > at).then_some(*span)
    }

    /// Whether any span has a part of `[from, to]`.
    fn overlaps(&self, from: Time, to: Time) -> bool {
        self.last_overlapping(from, to).is_some()
    }

    fn last_overlapping(&self, from: Time, to: Time) -> Option<(Time, Time)> {
        let next = self.0.partition_point(|(begin, _)| *begin <= to);
        let span = self.0.get(next.checked_sub(1)?)?;
        (span.1 >= from).then_some(*span)
    }
}

/// One host's agent over time.
#[derive(Clone, Debug, Default)]
pub(super) struct Life {
    /// No process, or no host.
    absent: Spans,
    /// There but not running.
    frozen: Spans,
    /// Where the pauses of hunger have been drawn up to.
    drawn: Option<(Hunger, Time)>,
}

impl Life {
    pub fn dies(&mut self, at: Time) {
        self.absent.begin(at);
    }

    pub fn returns(&mut self, at: Time) {
        self.absent.end(at);
    }

    pub fn freezes(&mut self, at: Time) {
        self.frozen.begin(at);
    }

    pub fn thaws(&mut self, at: Time) {
        self.frozen.end(at);
    }

    /// The host is short of processor time from `at` on, or no longer.
    pub fn hungers(&mut self, hunger: Option<Hunger>, at: Time) {
        self.drawn = hunger.map(|hunger| (hunger, at));
    }

    /// Draws the pauses that begin before `until`.
    pub fn draw_until(&mut self, until: Time, draw: &mut Draw) {
        let Some((hunger, at)) = &mut self.drawn else {
            return;
        };
        while *at < until {
            let begin = *at + draw.exponential(hunger.runs);
            let end = begin + draw.exponential(hunger.stalls);
            self.frozen.begin(begin);
            self.frozen.end(end);
            *at = end;
        }
    }

    /// Whether its agent has ever been away or paused: if not, nothing has to be asked.
    pub fn is_plain(&self) -> bool {
        self.absent.0.is_empty() && self.frozen.0.is_empty()
    }

    pub fn is_absent(&self, at: Time) -> bool {
        self.absent.holding(at).is_some()
    }

    /// When the process that runs `at` began; `None` where none does.
    pub fn born(&self, at: Time) -> Option<Time> {
        if self.is_absent(at) {
            return None;
        }
        let before = self.absent.last_overlapping(Duration::ZERO, at);
        Some(before.map_or(Duration::ZERO, |(_, end)| end))
    }

    /// When there is a process from `at` on: then, or when the next one begins.
    pub fn present_at(&self, at: Time) -> Time {
        self.absent.holding(at).map_or(at, |(_, end)| end)
    }

    /// When what has to be done `at` gets done: after the pause, if there is one.
    pub fn runs_at(&self, at: Time) -> Time {
        self.frozen.holding(at).map_or(at, |(_, end)| end)
    }

    /// Whether it was paused at any moment of `[from, to]`.
    pub fn was_frozen(&self, from: Time, to: Time) -> bool {
        self.frozen.overlaps(from, to)
    }

    /// Whether the process was away at any moment of `[from, to]`.
    pub fn was_absent(&self, from: Time, to: Time) -> bool {
        self.absent.overlaps(from, to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: fn(u64) -> Duration = Duration::from_secs;

    #[test]
    fn an_agent_that_was_killed_is_another_process_afterwards() {
        let mut life = Life::default();
        assert_eq!(life.born(S(5)), Some(S(0)));
        life.dies(S(10));
        assert_eq!(life.born(S(11)), None);
        life.returns(S(14));
        assert_eq!(
            (life.born(S(9)), life.born(S(20))),
            (Some(S(0)), Some(S(14)))
        );
        assert!(life.was_absent(S(9), S(10)) && !life.was_absent(S(15), S(16)));
    }

    #[test]
    fn what_falls_into_a_pause_is_done_after_it() {
        let mut life = Life::default();
        life.freezes(S(10));
        life.thaws(S(12));
        assert_eq!((life.runs_at(S(11)), life.runs_at(S(13))), (S(12), S(13)));
        assert!(life.was_frozen(S(5), S(10)) && !life.was_frozen(S(5), S(9)));
    }

    #[test]
    fn a_hungry_host_pauses_about_as_much_as_it_is_hungry() {
        let (mut life, mut draw) = (Life::default(), Draw::new(1, 1));
        life.hungers(Some(Hunger::HOGGED), S(0));
        life.draw_until(S(1000), &mut draw);
        let paused: f64 = life
            .frozen
            .0
            .iter()
            .map(|(a, b)| (*b - *a).as_secs_f64())
            .sum();
        assert!((0.6..0.8).contains(&(paused / 1000.0)), "{paused}");
    }
}
