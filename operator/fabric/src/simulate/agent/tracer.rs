//! An agent's path tracer: what it knows of its flows' paths, and where on them hop probes get lost.
//!
//! As in the agent: a path is traced when its flow begins and again, a few times, while routers are unknown; a flow that loses probes on
//! their way or is slow is *hot*, and packets that end at each of its routers in turn are sent within a
//! budget. A router's answer takes the way back that its own addresses hash to.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use super::super::draw::Draw;
use super::super::fabric::{Fabric, RnicId, Way};
use super::super::fault::Ills;
use super::super::life::Time;
use super::super::rtt;
use super::super::traffic::Flow;

/// Packets per second that one agent may send.
const BUDGET: u64 = 200;
/// Packets per router in one round on a hot flow.
const EACH: u64 = 2;
/// Rounds per second on a flow that has just become hot, and on one that has been hot for long.
const ROUNDS: u64 = 10;
const ROUNDS_LATER: u64 = 1;
const FRESH: Duration = Duration::from_secs(15);
/// Traces of a new flow until every router has answered once.
const ATTEMPTS: u32 = 5;
/// Mean time that a router takes to answer: its processor does, not its switching chip.
const ANSWERS: Duration = Duration::from_micros(100);
/// Traces take this long to be made after a flow began.
const TRACED_AFTER: Duration = Duration::from_secs(2);

/// Hop probes that ended at a router.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Hops {
    pub sent: u64,
    pub answered: u64,
    pub fastest: Option<Duration>,
}

#[derive(Clone, Copy, Debug)]
struct Hot {
    since: Time,
    until: Time,
}

/// See the module.
#[derive(Default)]
pub(super) struct Tracer {
    /// By flow: which routers of its way are known.
    known: Vec<[bool; 3]>,
    began: Vec<Time>,
    hot: BTreeMap<usize, Hot>,
    /// Hop probes by second and link.
    seconds: BTreeMap<u64, BTreeMap<(End, IpAddr), Hops>>,
    /// Where the next second's rounds begin among the hot flows.
    turn: usize,
    probed_until: Time,
}

/// What a link begins at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum End {
    Rnic(RnicId),
    Router(IpAddr),
}

/// What decides how hop probes fare.
pub(super) struct Ground<'a> {
    pub fabric: &'a Fabric,
    pub ills: &'a Ills,
    /// Share of answers that do not come for no reason.
    pub unanswered: f64,
}

impl Tracer {
    /// Follows these flows; those that are new are traced.
    pub fn assign(&mut self, flows: &[Flow], places: &[Option<usize>], now: Time) {
        let (known, began) = (
            std::mem::take(&mut self.known),
            std::mem::take(&mut self.began),
        );
        self.known = vec![[false; 3]; flows.len()];
        self.began = vec![now; flows.len()];
        for (old, place) in places.iter().enumerate() {
            if let (Some(new), Some(known), Some(began)) = (*place, known.get(old), began.get(old))
            {
                self.known[new] = *known;
                self.began[new] = *began;
            }
        }
        let hot = std::mem::take(&mut self.hot);
        self.hot = hot
            .into_iter()
            .filter_map(|(flow, hot)| Some(((*places.get(flow)?)?, hot)))
            .collect();
    }

    /// Finds out more about this flow until a window and a bit from now.
    pub fn heat(&mut self, flow: usize, now: Time, window: Duration) {
        let until = now + window + Duration::from_secs(1);
        let hot = self.hot.entry(flow).or_insert(Hot { since: now, until });
        if hot.until <= now {
            hot.since = now;
        }
        hot.until = until;
    }

    /// Traces what is new and sends the rounds of the time since the last call.
    pub fn work(&mut self, flows: &[Flow], now: Time, ground: &Ground<'_>, draw: &mut Draw) {
        for (flow, known) in flows.iter().zip(&mut self.known) {
            if !known[0] {
                trace(flow.forth, known, ground, draw);
            }
        }
        self.hot.retain(|_, hot| hot.until > now);
        let hot: Vec<(usize, Hot)> = self.hot.iter().map(|(flow, hot)| (*flow, *hot)).collect();
        let span = now
            .saturating_sub(self.probed_until)
            .min(Duration::from_secs(1));
        self.probed_until = now;
        let second = now.as_secs();
        self.seconds.retain(|number, _| number + 60 > second);
        if hot.is_empty() {
            return;
        }
        let mut budget = (BUDGET as f64 * span.as_secs_f64()) as u64;
        let mut left: Vec<u64> = hot
            .iter()
            .map(|(_, hot)| {
                let fresh = now.saturating_sub(hot.since) <= FRESH;
                let rounds = if fresh { ROUNDS } else { ROUNDS_LATER };
                (rounds as f64 * span.as_secs_f64()).ceil() as u64
            })
            .collect();
        self.turn %= hot.len();
        while left.iter().any(|left| *left > 0) {
            let at = self.turn;
            self.turn = (self.turn + 1) % hot.len();
            if left[at] == 0 {
                continue;
            }
            left[at] -= 1;
            let flow = hot[at].0;
            let way = flows[flow].forth;
            let packets = EACH * if way.spine.is_some() { 3 } else { 1 };
            if packets > budget {
                break;
            }
            budget -= packets;
            self.round(flow, way, second, ground, draw);
        }
    }

    fn round(&mut self, flow: usize, way: Way, second: u64, ground: &Ground<'_>, draw: &mut Draw) {
        let mut from = Some(End::Rnic(way.from));
        for (index, router) in ground.fabric.hops(way).enumerate() {
            let mut hops = Hops {
                sent: EACH,
                ..Hops::default()
            };
            for _ in 0..EACH {
                if let Some(took) = answer(way, index, ground, draw) {
                    hops.answered += 1;
                    hops.fastest = Some(hops.fastest.map_or(took, |fastest| fastest.min(took)));
                }
            }
            self.known[flow][index] |= hops.answered > 0;
            let is_known = self.known[flow][index];
            let start = std::mem::replace(&mut from, is_known.then_some(End::Router(router)));
            if let (Some(start), true) = (start, is_known) {
                let links = self.seconds.entry(second).or_default();
                let sum = links.entry((start, router)).or_default();
                sum.sent += hops.sent;
                sum.answered += hops.answered;
                sum.fastest = sum.fastest.into_iter().chain(hops.fastest).min();
            }
        }
    }

    /// The last good path of a flow: its routers, nearest first; `None` while nothing is known of it.
    pub fn path(
        &self,
        flow: usize,
        way: Way,
        fabric: &Fabric,
        now: Time,
    ) -> Option<Vec<Option<IpAddr>>> {
        let known = self.known.get(flow)?;
        let traced = now >= self.began.get(flow)?.saturating_add(TRACED_AFTER);
        (traced && known.contains(&true)).then(|| {
            fabric
                .hops(way)
                .zip(known)
                .map(|(hop, known)| known.then_some(hop))
                .collect()
        })
    }

    /// Hop probes that ended on this link in the seconds from `since` on.
    pub fn hops(&self, from: End, to: IpAddr, since: u64) -> Hops {
        let mut sum = Hops::default();
        for links in self.seconds.range(since..).map(|(_, links)| links) {
            if let Some(hops) = links.get(&(from, to)) {
                sum.sent += hops.sent;
                sum.answered += hops.answered;
                sum.fastest = sum.fastest.into_iter().chain(hops.fastest).min();
            }
        }
        sum
    }
}

/// Asks the routers on a way until each has answered or patience is at its end.
fn trace(way: Way, known: &mut [bool; 3], ground: &Ground<'_>, draw: &mut Draw) {
    let routers = if way.spine.is_some() { 3 } else { 1 };
    for _ in 0..ATTEMPTS {
        for (index, known) in known.iter_mut().enumerate().take(routers) {
            *known = *known || answer(way, index, ground, draw).is_some();
        }
    }
}

/// The time after which router `index` of a way answers; `None` where no answer arrives.
fn answer(way: Way, index: usize, ground: &Ground<'_>, draw: &mut Draw) -> Option<Duration> {
    let Ground {
        fabric,
        ills,
        unanswered,
    } = ground;
    let mut took = rtt::one_way(index as u32) * 2 + draw.exponential(ANSWERS);
    if draw.chance(*unanswered) {
        return None;
    }
    if !ills.any() {
        return Some(took);
    }
    let there = ills.on(fabric, way, Some(index + 1));
    let home = Way {
        from: way.to,
        to: way.from,
        // A far leaf chooses a spine by the addresses alone: its answer has no UDP ports.
        spine: if index == 2 {
            fabric.way(way.to, way.from, 0).spine
        } else {
            way.spine
        },
    };
    let back = ills.back_from(fabric, home, index);
    if draw.chance(there.loss) || draw.chance(back.loss) {
        return None;
    }
    took += there.delay + back.delay;
    Some(took)
}
