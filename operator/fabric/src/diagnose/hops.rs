//! What hop probes say: they end at a router on the way, so what they meet grows by what the last link adds.
//!
//! Two links that all flows cross one after the other, as between two leaves over one spine, cannot be told apart
//! by probes between RNICs. Routers answer hop probes when they like, so only differences between
//! consecutive hops count, and only to choose among elements that are accused anyway.

use std::collections::BTreeMap;

use super::network::{Illness, Sums, What, as_f64};
use super::wiring::{Way, Wiring};

/// With fewer hop probes than this a router has said nothing.
const FEWEST: u64 = 10;

/// What a switch that answers nobody adds: more than any link could.
const DEAD: f64 = 2.0;

/// What hop probes met.
pub(super) struct Hops<'a> {
    pub wiring: &'a Wiring<'a>,
    pub sums: &'a BTreeMap<Way, Sums>,
    pub illness: Illness,
}

impl Hops<'_> {
    /// How much an element adds: lost share for loss, seconds for latency; `None` where too little is known.
    pub fn score(&self, what: &What) -> Option<f64> {
        match what {
            What::Way(Way::Link(a, b)) => self.added(a, b),
            What::Cable(a, b) => {
                let both = [self.added(a, b), self.added(b, a)];
                both.into_iter().flatten().max_by(f64::total_cmp)
            }
            // A switch is ill for whoever comes to it, so the least of its links counts.
            What::Switch(switch) => {
                let into = self.sums.keys().filter_map(|way| match way {
                    Way::Link(a, b) if b == switch => self.added(a, b),
                    _ => None,
                });
                let into: Vec<f64> = into.collect();
                if self.is_dead(switch) {
                    return Some(DEAD);
                }
                let least = into.iter().copied().min_by(f64::total_cmp);
                least.filter(|_| into.len() > 1)
            }
            What::Way(_) | What::Rnic(_) | What::Host(_) => None,
        }
    }

    /// Whether a switch that was traced before answers nobody now, over no link.
    fn is_dead(&self, switch: &str) -> bool {
        let ways = self
            .sums
            .iter()
            .filter(|(way, _)| self.ends_at(way, switch));
        let asked: Vec<&Sums> = ways
            .map(|(_, sums)| sums)
            .filter(|sums| sums.hop_sent > 0)
            .collect();
        let sent: u64 = asked.iter().map(|sums| sums.hop_sent).sum();
        self.illness == Illness::Loss
            && asked.len() > 1
            && sent >= FEWEST
            && asked.iter().all(|sums| sums.hop_answered == 0)
    }

    fn ends_at(&self, way: &Way, switch: &str) -> bool {
        match way {
            Way::Link(_, to) => **to == *switch,
            Way::Out(rnic) => self.wiring.leaf(rnic).is_some_and(|leaf| **leaf == *switch),
            _ => false,
        }
    }

    /// Whether somebody got an answer from a switch.
    fn answers(&self, switch: &str) -> bool {
        let mut ways = self
            .sums
            .iter()
            .filter(|(way, _)| self.ends_at(way, switch));
        ways.any(|(_, sums)| sums.hop_answered > 0)
    }

    /// What the link from one switch to another adds to what hop probes to the first one met.
    fn added(&self, from: &str, to: &str) -> Option<f64> {
        if !self.answers(to) {
            return None;
        }
        let over =
            self.figure(|way| matches!(way, Way::Link(a, b) if **a == *from && **b == *to))?;
        let before = self.figure(|way| match way {
            Way::Link(a, b) => **b == *from && **a != *to,
            Way::Out(rnic) => self.wiring.leaf(rnic).is_some_and(|leaf| **leaf == *from),
            _ => false,
        })?;
        Some((over - before).max(0.0))
    }

    fn figure(&self, of: impl Fn(&Way) -> bool) -> Option<f64> {
        let mut all = Sums::default();
        let sums = self.sums.iter().filter(|(way, _)| of(way));
        sums.for_each(|(_, sums)| all.add(sums));
        if all.hop_sent < FEWEST {
            return None;
        }
        match self.illness {
            Illness::Loss => Some(1.0 - as_f64(all.hop_answered) / as_f64(all.hop_sent)),
            Illness::Latency => all.hop_rtt.map(|rtt| rtt.as_secs_f64()),
        }
    }
}
