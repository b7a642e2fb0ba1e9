//! One flow's path and what its hop probes found.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::super::protocol::Hop;
use crate::dataplane::Mono;
use crate::model::LocalPort;

/// Routers in order, nearest first, without the target; `None` for one that does not answer.
pub type Path = Arc<[Option<IpAddr>]>;

/// After a trace with unknown routers they are asked for again so many times,
const ATTEMPTS: u32 = 4;
/// at first after this, then after twice as long each time.
const FIRST_ATTEMPT: Duration = Duration::from_millis(300);
/// Between two rounds on a flow that has just become hot,
const ROUND_EVERY: Duration = Duration::from_millis(100);
/// and between two rounds on one that has been hot for longer than [`HOT_FRESH`].
const ROUND_EVERY_LATER: Duration = Duration::from_secs(1);
const HOT_FRESH: Duration = Duration::from_secs(15);
/// Seconds of hop probes that are kept; windows are shorter.
const SECONDS: usize = 120;

/// Hop probes of one flow in one second, by router.
#[derive(Debug)]
pub(super) struct Second {
    pub(super) number: u64,
    pub(super) hops: Vec<HopSecond>,
}

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct HopSecond {
    pub(super) sent: u64,
    pub(super) answered: u64,
    pub(super) rtt: Option<Duration>,
}

#[derive(Debug, Clone, Copy)]
struct Hot {
    since: Mono,
    until: Mono,
}

#[derive(Debug)]
pub(super) struct FlowState {
    pub(super) local: LocalPort,
    pub(super) routers: u8,
    pub(super) generation: u64,
    /// Its place in the queue of traces.
    pub(super) due: Option<Mono>,
    /// Its place in the queue of rounds.
    pub(super) round: Option<Mono>,
    /// The path, and since when it is known.
    pub(super) path: Option<(Mono, Path)>,
    /// The path before.
    before: Option<Path>,
    attempts: u32,
    hot: Option<Hot>,
    seconds: VecDeque<Second>,
}

impl FlowState {
    pub(super) fn new(local: LocalPort, routers: u8, generation: u64) -> Self {
        Self {
            local,
            routers,
            generation,
            due: None,
            round: None,
            path: None,
            before: None,
            attempts: 0,
            hot: None,
            seconds: VecDeque::new(),
        }
    }

    /// Takes a trace over.
    pub(super) fn traced(&mut self, found: &[Option<IpAddr>], now: Mono) {
        let Some((_, known)) = &self.path else {
            // A path of which nothing is known is none yet: nobody is to conclude from it.
            if found.is_empty() || found.iter().any(Option::is_some) {
                self.path = Some((now, found.into()));
            }
            return;
        };
        let differ = |(new, old): (&Option<IpAddr>, &Option<IpAddr>)| {
            new.is_some() && old.is_some() && new != old
        };
        let moved = found.len() != known.len() || found.iter().zip(&**known).any(differ);
        if moved {
            self.before = Some(Arc::clone(known));
            self.path = Some((now, found.into()));
            return;
        }
        if found
            .iter()
            .zip(&**known)
            .any(|(new, old)| new.is_some() && old.is_none())
        {
            let both = found.iter().zip(&**known).map(|(new, old)| new.or(*old));
            let both: Path = both.collect();
            if let Some((_, known)) = &mut self.path {
                *known = both;
            }
        }
    }

    /// Until the next trace: soon while routers are unknown, for a few times.
    pub(super) fn pause(&mut self, slow: Duration) -> Duration {
        let complete = self
            .path
            .as_ref()
            .is_some_and(|(_, path)| path.iter().all(Option::is_some));
        if complete || self.attempts >= ATTEMPTS {
            self.attempts = 0;
            return slow;
        }
        self.attempts += 1;
        FIRST_ATTEMPT * 2u32.pow(self.attempts - 1)
    }

    pub(super) fn path_at(&self, begin: Mono) -> Option<Path> {
        let (since, path) = self.path.as_ref()?;
        let before = self.before.as_ref().filter(|_| *since > begin);
        Some(Arc::clone(before.unwrap_or(path)))
    }

    pub(super) fn is_hot(&self, now: Mono) -> bool {
        self.hot.is_some_and(|hot| hot.until > now)
    }

    pub(super) fn heat(&mut self, now: Mono, until: Mono) {
        let since = self.hot.filter(|hot| hot.until > now);
        let since = since.map_or(now, |hot| hot.since);
        self.hot = Some(Hot { since, until });
    }

    pub(super) fn round_every(&self, now: Mono) -> Duration {
        match self.hot {
            Some(hot) if now.since(hot.since) > HOT_FRESH => ROUND_EVERY_LATER,
            _ => ROUND_EVERY,
        }
    }

    /// Books a round.
    pub(super) fn count(&mut self, hops: &[Hop], now: Mono) {
        let number = now.second();
        if self
            .seconds
            .back()
            .is_none_or(|second| second.number != number)
        {
            let hops = Vec::new();
            self.seconds.push_back(Second { number, hops });
        }
        while self.seconds.len() > SECONDS {
            self.seconds.pop_front();
        }
        let Some(second) = self.seconds.back_mut() else {
            return;
        };
        for hop in hops {
            let index = usize::from(hop.ttl.saturating_sub(1));
            if second.hops.len() <= index {
                second.hops.resize(index + 1, HopSecond::default());
            }
            if let Some(counted) = second.hops.get_mut(index) {
                counted.sent += u64::from(hop.sent);
                counted.answered += u64::from(hop.answered);
                let rtt = hop.rtt_ns.map(Duration::from_nanos);
                counted.rtt = counted.rtt.into_iter().chain(rtt).min();
            }
        }
    }

    /// The rounds since `begin`.
    pub(super) fn seconds_since(&self, begin: Mono) -> impl Iterator<Item = &Second> {
        let from = begin.second();
        self.seconds
            .iter()
            .filter(move |second| second.number >= from)
    }
}
