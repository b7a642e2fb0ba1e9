//! The set of guilty components that explains the losses best.

mod weigh;

use super::Priors;
use super::field::Field;
use super::network::Network;
use super::prepare::Data;
use super::prior::Prior;

/// Guilty components at most.
const MOST: usize = 64;

/// A guilty component, cable or (as a whole) group.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Guilty {
    pub(super) unit: u32,
    /// Its λ, on top of the background.
    pub(super) rate: f64,
}

/// One more that might be guilty.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Candidate {
    pub(super) unit: u32,
    pub(super) rate: f64,
    /// ln odds of its guilt against nobody's in its place.
    pub(super) odds: f64,
}

/// A group that is guilty in a share of its members.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Share {
    pub(super) group: u32,
    /// Guilty units that it accounts for.
    pub(super) members: Vec<u32>,
    /// ln odds of the group's guilt against that of its members each by itself.
    pub(super) odds: f64,
}

/// The search and, at its end, what it found.
pub(super) struct Search<'a> {
    pub(super) prior: Prior,
    pub(super) field: Field<'a>,
    pub(super) guilty: Vec<Guilty>,
    pub(super) shares: Vec<Share>,
    priors: Priors,
}

impl<'a> Search<'a> {
    pub(super) fn run(network: &Network, data: &'a Data, priors: &Priors) -> Self {
        let priors = Priors {
            mildest: priors.mildest.clamp(1e-6, 0.5),
            background: priors.background.clamp(1e-9, 0.1),
            usual: priors.usual.clamp(0.0, 1.0),
            ..*priors
        };
        let mut search = Self {
            prior: Prior::new(network, data, &priors),
            field: Field::new(data, &priors, priors.background),
            guilty: Vec::new(),
            shares: Vec::new(),
            priors,
        };
        for _ in 0..3 {
            search.improve();
            if !search.learn_background() {
                break;
            }
        }
        search.improve();
        search
    }

    fn improve(&mut self) {
        for _ in 0..6 {
            self.grow();
            if !self.exchange() {
                break;
            }
        }
    }

    /// Adds what explains most until nothing explains enough.
    fn grow(&mut self) {
        while self.guilty.len() < MOST {
            let best = self.best(|_, _| true).filter(|best| best.odds > 0.0);
            match best {
                Some(best) => self.add(best),
                None if self.grow_share() => {}
                None => break,
            }
        }
    }

    /// The candidate with the highest odds; of equals the one made first.
    fn best(&self, wanted: impl Fn(&Self, u32) -> bool) -> Option<Candidate> {
        let mut best: Option<Candidate> = None;
        for candidate in self.candidates(-1.0) {
            if wanted(self, candidate.unit) && best.is_none_or(|best| candidate.odds > best.odds) {
                best = Some(candidate);
            }
        }
        best
    }

    fn add(&mut self, candidate: Candidate) {
        let Candidate { unit, rate, .. } = candidate;
        self.guilty.push(Guilty { unit, rate });
        self.field.shift(unit, rate);
        self.settle();
    }

    /// Takes the guilty units at `positions` out; gives them back, in ascending order of position.
    pub(super) fn take(&mut self, units: &[u32]) -> Vec<Guilty> {
        let (out, stay) = self
            .guilty
            .iter()
            .partition(|guilty| units.contains(&guilty.unit));
        self.guilty = stay;
        let out: Vec<Guilty> = out;
        for guilty in &out {
            self.field.shift(guilty.unit, -guilty.rate);
        }
        self.settle();
        out
    }

    /// Puts units back that `take` took.
    pub(super) fn put(&mut self, back: &[Guilty]) {
        for guilty in back {
            self.field.shift(guilty.unit, guilty.rate);
            self.guilty.push(*guilty);
        }
        self.settle();
    }

    /// Fits the rates, brings the tables up to date and sees which guilty units are one switch's.
    fn settle(&mut self) {
        for _ in 0..20 {
            let mut moved: f64 = 0.0;
            for guilty in &mut self.guilty {
                for _ in 0..3 {
                    let new = self.field.step(guilty.unit, guilty.rate);
                    let change = (new / guilty.rate).ln().abs();
                    guilty.rate = new;
                    moved = moved.max(change);
                    if change < 1e-3 {
                        break;
                    }
                }
            }
            if moved < 1e-3 {
                break;
            }
        }
        self.field.refresh();
        self.find_shares();
    }

    /// Takes what cannot be found one by one: a switch of which every link shows a little.
    fn grow_share(&mut self) -> bool {
        let before = self.score();
        for group in self.promising_groups() {
            let mut added = Vec::new();
            while let Some(best) = self.best_part(group) {
                added.push(best.unit);
                self.add(best);
            }
            let found = self.shares.iter().any(|share| share.group == group);
            if found && self.score() > before {
                return true;
            }
            self.take(&added);
        }
        false
    }

    /// Replaces guilty components by what explains their losses better, and drops those that explain
    /// nothing any more. Whether anything changed.
    fn exchange(&mut self) -> bool {
        let mut changed = false;
        for unit in self.alone() {
            if self.prior.is_group(unit) && self.split(unit) {
                changed = true;
                continue;
            }
            let out = self.take(&[unit]);
            let Some(&old) = out.first() else {
                continue;
            };
            let own = self.odds_of(old.unit);
            match self.best(|_, _| true) {
                Some(best) if best.odds > 0.0 && best.odds > own + 0.01 => {
                    changed |= best.unit != old.unit;
                    self.add(best);
                }
                _ if own <= 0.0 => changed = true,
                _ => self.put(&out),
            }
        }
        self.merge() || changed
    }

    /// Replaces components that are guilty by themselves by the switch or host that all of them are of, where that
    /// explains their losses better. Whether anything changed.
    fn merge(&mut self) -> bool {
        let mut changed = false;
        let mut tried = Vec::new();
        for unit in self.alone() {
            for group in self.prior.groups[unit as usize].clone() {
                let whole = self.entity(group);
                let members = self.members_alone(group);
                if tried.contains(&whole) || members.len() < 2 {
                    continue;
                }
                tried.push(whole);
                let entities: Vec<u32> = members.iter().map(|unit| self.entity(*unit)).collect();
                let guilty = self.guilty.iter().map(|guilty| guilty.unit);
                let units: Vec<u32> = guilty
                    .filter(|unit| entities.contains(&self.entity(*unit)))
                    .collect();
                let before = self.score();
                let out = self.take(&units);
                let best = self.best(|search, unit| {
                    search.prior.is_group(unit) && search.entity(unit) == whole
                });
                if let Some(best) = best {
                    self.add(best);
                    if self.score() > before {
                        changed = true;
                        continue;
                    }
                    self.take(&[best.unit]);
                }
                self.put(&out);
            }
        }
        changed
    }

    /// Whether a whole group's losses are rather those of single members; then these take its place.
    fn split(&mut self, group: u32) -> bool {
        let before = self.score();
        let whole = self.take(&[group]);
        let members = self.grow_single();
        if self.score() > before {
            return true;
        }
        self.take(&members);
        self.put(&whole);
        false
    }

    /// Adds what explains most, no groups as a whole; the units added.
    pub(super) fn grow_single(&mut self) -> Vec<u32> {
        let mut added = Vec::new();
        while self.guilty.len() < MOST {
            let best = self.best(|search, unit| !search.prior.is_group(unit));
            let Some(best) = best.filter(|best| best.odds > 0.0) else {
                break;
            };
            added.push(best.unit);
            self.add(best);
        }
        added
    }

    fn odds_of(&self, unit: u32) -> f64 {
        self.candidates(-1.0)
            .iter()
            .find(|candidate| candidate.unit == unit)
            .map_or(f64::NEG_INFINITY, |candidate| candidate.odds)
    }

    /// Estimates what good components lose; whether that differs from what was assumed.
    fn learn_background(&mut self) -> bool {
        let expected = self.priors.background;
        let losses = self.field.background_losses() + 1.0;
        let packets = self.field.data.carried_total + 1.0 / expected;
        // Above a quarter of the mildest fault, good and bad could no longer be told apart.
        let background = (losses / packets).clamp(expected / 50.0, self.priors.mildest / 4.0);
        if (background / self.field.background()).ln().abs() < 0.1 {
            return false;
        }
        self.field = Field::new(self.field.data, &self.priors, background);
        let guilty = std::mem::take(&mut self.guilty);
        self.put(&guilty);
        true
    }
}
