//! What hop probes say: they end at a router on the way, so what they meet grows by what the last link adds.
//!
//! Two links that all flows cross one after the other, as between two leaves over one spine, cannot be told apart
//! by probes between RNICs. Routers answer hop probes when they like, so only differences between
//! consecutive hops count, only where chance does not make them, and only to choose among elements that are
//! accused anyway.

use super::network::{Illness, What, as_f64};
use super::seen::{Seen, Sums};
use super::wiring::{Way, Wiring};

/// With fewer hop probes than this a router has said nothing.
const FEWEST: u64 = 10;

/// Hop probes speak for or against an element a hundredfold at most: routers answer when they like.
const MOST_LN_ODDS: f64 = 4.6;

/// And against a switch much less.
const SWITCH_LN_ODDS: f64 = 1.5;

/// Lost share by which routers differ for reasons of their own.
const UNEVEN: f64 = 0.03;

/// Slope of the logistic curve nearest to the normal distribution's integral.
const LOGISTIC: f64 = 1.702;

/// Standard deviations that a difference must have to be none of chance.
const NO_CHANCE: f64 = 3.0;

/// What hop probes met.
pub(super) struct Hops<'a> {
    pub wiring: &'a Wiring<'a>,
    pub seen: &'a Seen<'a>,
    pub illness: Illness,
}

/// Lost share for loss, seconds for latency, and its standard deviation.
#[derive(Clone, Copy)]
struct Figure {
    value: f64,
    error: f64,
}

impl Hops<'_> {
    /// How many times likelier what hop probes lost is if `what` loses at least about `loss` (share, 0 to 1) than if it
    /// loses nothing; `None` where too little is known. Flows' losses are of a whole window, most of which may be older
    /// than the fault, so hop probes may lose more.
    pub fn odds(&self, what: &What, loss: f64) -> Option<f64> {
        let ln = match what {
            What::Way(Way::Link(a, b)) => ln_odds(self.own(a, b)?, loss),
            What::Cable(a, b) => {
                let both = [self.own(a, b), self.own(b, a)].into_iter().flatten();
                both.map(|own| ln_odds(own, loss)).reduce(|a, b| a + b)?
            }
            What::Switch(switch) if self.is_dead(switch) => f64::INFINITY,
            // The least of what several links add is less than what the switch does.
            What::Switch(switch) => ln_odds(self.sick(switch, None)?, loss).max(-SWITCH_LN_ODDS),
            What::Way(_) | What::Rnic(_) | What::Host(_) => return None,
        };
        Some(ln.clamp(-MOST_LN_ODDS, MOST_LN_ODDS).exp())
    }

    /// How many seconds an element adds; `None` where too little is known.
    pub fn delay(&self, what: &What) -> Option<f64> {
        let figure = match what {
            What::Way(Way::Link(a, b)) => self.own(a, b),
            What::Cable(a, b) => {
                let both = [self.own(a, b), self.own(b, a)].into_iter().flatten();
                both.max_by(|a, b| a.value.total_cmp(&b.value))
            }
            What::Switch(switch) => self.sick(switch, None),
            What::Way(_) | What::Rnic(_) | What::Host(_) => None,
        };
        figure.map(|figure| figure.value.max(0.0))
    }

    /// What a link adds beyond what the switches at its ends do to whoever comes to them. The answers of a switch
    /// at its far end may come home through the one at its near end.
    fn own(&self, from: &str, to: &str) -> Option<Figure> {
        let added = self.added(from, to)?;
        let ends = [self.sick(from, Some(to)), self.sick(to, Some(from))];
        let ends: f64 = ends.into_iter().flatten().map(certain).sum();
        Some(Figure {
            value: added.value - ends,
            error: added.error,
        })
    }

    /// What a switch adds for whoever comes to it, over any link but the one from `besides`: the least of what they
    /// meet. `None` where a single link is known.
    fn sick(&self, switch: &str, besides: Option<&str>) -> Option<Figure> {
        let links = self.seen.entering(switch);
        let origins = links.filter_map(|(way, _)| match way {
            Way::Link(from, _) if besides != Some(&**from) => Some(from),
            _ => None,
        });
        let mut all: Vec<Figure> = origins
            .filter_map(|from| self.added(from, switch))
            .collect();
        // Hosts come to their leaf over nothing but their own cable. How long it takes to answer is its own affair.
        if self.illness == Illness::Loss {
            all.extend(self.figure(|way| self.is_access(way, switch)));
        }
        let enough = all.len() > usize::from(besides.is_none());
        let least = all.into_iter().min_by(|a, b| a.value.total_cmp(&b.value));
        least.filter(|_| enough)
    }

    /// Whether a switch that was traced before answers nobody now, over no link.
    fn is_dead(&self, switch: &str) -> bool {
        let asked: Vec<&Sums> = self
            .towards(switch)
            .filter(|sums| sums.hop_sent > 0)
            .collect();
        let sent: u64 = asked.iter().map(|sums| sums.hop_sent).sum();
        self.illness == Illness::Loss
            && asked.len() > 1
            && sent >= FEWEST
            && asked.iter().all(|sums| sums.hop_answered == 0)
    }

    /// What was met on all ways that end at a switch.
    fn towards(&self, switch: &str) -> impl Iterator<Item = &Sums> {
        let links = self.seen.entering(switch).map(|(_, sums)| sums);
        let access = self
            .seen
            .all()
            .filter(|(way, _)| self.is_access(way, switch));
        links.chain(access.map(|(_, sums)| sums))
    }

    fn is_access(&self, way: &Way, switch: &str) -> bool {
        match way {
            Way::Out(rnic) => self.wiring.leaf(rnic).is_some_and(|leaf| **leaf == *switch),
            _ => false,
        }
    }

    /// What the link from one switch to another adds to what hop probes to the first one met.
    fn added(&self, from: &str, to: &str) -> Option<Figure> {
        // What never answered may be a router that answers nobody.
        if !self.towards(to).any(|sums| sums.hop_answered > 0) {
            return None;
        }
        let over =
            self.figure(|way| matches!(way, Way::Link(a, b) if **a == *from && **b == *to))?;
        let before = self.figure(|way| match way {
            Way::Link(a, b) => **b == *from && **a != *to,
            way => self.is_access(way, from),
        })?;
        Some(Figure {
            value: over.value - before.value,
            error: over.error.hypot(before.error),
        })
    }

    fn figure(&self, of: impl Fn(&Way) -> bool) -> Option<Figure> {
        let mut all = Sums::default();
        let sums = self.seen.all().filter(|(way, _)| of(way));
        sums.for_each(|(_, sums)| all.add(sums));
        if all.hop_sent < FEWEST {
            return None;
        }
        match self.illness {
            Illness::Loss => {
                let sent = as_f64(all.hop_sent);
                let lost = sent - as_f64(all.hop_answered);
                // Of so few that none or all were lost, the share is not known better than to one.
                let share = (lost + 1.0) / (sent + 2.0);
                Some(Figure {
                    value: lost / sent,
                    error: (share * (1.0 - share) / sent).sqrt(),
                })
            }
            Illness::Latency => all.hop_rtt.map(|rtt| Figure {
                value: rtt.as_secs_f64(),
                error: 0.0,
            }),
        }
    }
}

/// A difference; none where chance may have made it.
fn certain(figure: Figure) -> f64 {
    if figure.value > NO_CHANCE * figure.error {
        figure.value
    } else {
        0.0
    }
}

/// ln of how many times likelier a lost share is if the truth is anything from half of `loss` up than if it is nothing.
fn ln_odds(figure: Figure, loss: f64) -> f64 {
    let least = loss.clamp(0.0, 1.0) / 2.0;
    // Routers lose a little now and then.
    let spread = figure.error.hypot(UNEVEN);
    // Less than nothing is chance, and no sign of guilt.
    let z = figure.value.max(0.0) / spread;
    let density = (-z * z / 2.0).exp() / (spread * std::f64::consts::TAU.sqrt());
    // The normal distribution's integral, close enough as a logistic curve.
    let above = ((least - figure.value) / spread * LOGISTIC).exp().ln_1p();
    -above - (1.0 - least).ln() - density.max(f64::MIN_POSITIVE).ln()
}
