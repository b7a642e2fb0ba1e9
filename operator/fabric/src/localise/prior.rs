//! How likely sets of guilty components are before anything is seen.
//!
//! Faults are few and independent. A fault is of some kind first and then any component of that kind that
//! flows cross, so a fabric of ten times the links does not have ten times the faults.

use super::Priors;
use super::network::{Kind, Network, Shape};
use super::prepare::Data;

/// Odds of one more fault once there is one.
const ANOTHER: f64 = 0.6;

/// Odds of a nuisance being one.
const NUISANCE: f64 = 0.05;

/// A fault of a cable is in both directions, or in one of the two.
const BOTH_WAYS: f64 = 0.4;
const ONE_WAY: f64 = 0.3;

/// A switch or host loses everywhere alike, or in a share of its members, each at its own rate.
const WHOLE: f64 = 0.3;

/// Probability that it loses only where one of its narrower forms has members.
const NARROWER: f64 = 0.2;

/// Least share of its members in which a switch loses, as one in so many. A host loses in all of them.
const LEAST_SHARE: usize = 4;

/// Evidence for a member that was not found speaks against its guilt at most: what speaks for it are losses
/// of flows that cross another member too, and would count twice.
const MOST_HIDDEN: f64 = 1.0;

/// How many faults there are, and how many of them are of groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) faults: usize,
    pub(super) groups: usize,
}

/// Prior probabilities over one network.
pub(super) struct Prior {
    /// Per unit: ln probability that a given fault is this one (a group: before whole or share).
    ln_unit: Vec<f64>,
    /// Per unit: ln probability of the directions in it given its cable, of its form given its group.
    ln_mode: Vec<f64>,
    /// Per unit: the cable that it is a direction of, the group that it is a narrower form of, else itself.
    pub(super) entity: Vec<u32>,
    /// Per unit: groups that its entity is a part of.
    pub(super) groups: Vec<Vec<u32>>,
    /// Per unit: what of a group was crossed by flows; empty unless it is a group.
    pub(super) parts: Vec<Vec<u32>>,
    /// Per entity: itself and the directions of it that flows crossed.
    pub(super) variants: Vec<Vec<u32>>,
    nuisance: Vec<bool>,
    hosts: Vec<bool>,
    ln_first: f64,
    ln_mixed: f64,
}

impl Prior {
    pub(super) fn new(network: &Network, data: &Data, priors: &Priors) -> Self {
        let count = network.units.len();
        let of = |kind: Kind| network.units.iter().map(move |unit| unit.kind == kind);
        let entity: Vec<u32> = (0..count)
            .map(|id| network.form_of[id].unwrap_or(u32::try_from(id).unwrap_or(u32::MAX)))
            .collect();
        let mut prior = Self {
            ln_unit: vec![f64::NEG_INFINITY; count],
            ln_mode: vec![0.0; count],
            groups: vec![Vec::new(); count],
            parts: vec![Vec::new(); count],
            variants: vec![Vec::new(); count],
            nuisance: of(Kind::Nuisance).collect(),
            hosts: of(Kind::Host).collect(),
            ln_first: priors.faults.max(1e-9).ln(),
            ln_mixed: priors.mixed.max(1e-9).ln(),
            entity,
        };
        for id in (0..count).filter(|id| data.seen[*id]) {
            let unit = u32::try_from(id).unwrap_or(u32::MAX);
            prior.variants[prior.entity[id] as usize].push(unit);
        }
        prior.read_groups(network, data);
        prior.weigh(network, data);
        prior
    }

    /// A group of which flows cross a single part cannot be told from that part, and is not named.
    fn read_groups(&mut self, network: &Network, data: &Data) {
        for (id, unit) in network.units.iter().enumerate() {
            let Shape::Group(members) = &unit.shape else {
                continue;
            };
            let mut parts: Vec<u32> = members
                .iter()
                .map(|&member| self.entity[member as usize])
                .filter(|&part| data.seen[part as usize])
                .collect();
            parts.sort_unstable();
            parts.dedup();
            if parts.len() < 2 {
                continue;
            }
            for &part in &parts {
                self.groups[part as usize].push(u32::try_from(id).unwrap_or(u32::MAX));
            }
            self.parts[id] = parts;
        }
        for id in 0..self.groups.len() {
            let entity = self.entity[id] as usize;
            if entity != id {
                self.groups[id] = self.groups[entity].clone();
            }
        }
    }

    fn weigh(&mut self, network: &Network, data: &Data) {
        let is_entity = |id: usize| {
            let group = matches!(network.units[id].shape, Shape::Group(_));
            self.entity[id] as usize == id
                && data.seen[id]
                && (!group || !self.parts[id].is_empty())
        };
        let mut counts = [0_usize; 4];
        for id in 0..network.units.len() {
            if let Some(kind) = slot(network.units[id].kind)
                && is_entity(id)
            {
                counts[kind] += 1;
            }
        }
        let mut forms = vec![0_usize; network.units.len()];
        for id in 0..network.units.len() {
            forms[self.entity[id] as usize] += usize::from(!self.parts[id].is_empty());
        }
        let present = |kind: &usize| counts[*kind] > 0;
        let whole: f64 = (0..4).filter(present).map(|kind| SHARES[kind]).sum();
        for id in 0..network.units.len() {
            let entity = self.entity[id] as usize;
            self.ln_mode[id] = match &network.units[id].shape {
                Shape::Cable => BOTH_WAYS.ln(),
                Shape::Plain if entity != id => ONE_WAY.ln(),
                Shape::Plain => 0.0,
                Shape::Group(_) if forms[entity] < 2 => 0.0,
                Shape::Group(_) if entity == id => (1.0 - NARROWER).ln(),
                Shape::Group(_) => (NARROWER / (forms[entity] as f64 - 1.0)).ln(),
            };
            let Some(kind) = slot(network.units[id].kind) else {
                continue;
            };
            if counts[kind] > 0 && is_entity(entity) && data.seen[id] {
                self.ln_unit[id] = (SHARES[kind] / whole / counts[kind] as f64).ln();
            }
        }
    }

    pub(super) fn is_group(&self, unit: u32) -> bool {
        !self.parts[unit as usize].is_empty()
    }

    pub(super) fn is_nuisance(&self, unit: u32) -> bool {
        self.nuisance[unit as usize]
    }

    /// ln probability that a given fault is this unit (a group: as a whole).
    pub(super) fn unit(&self, unit: u32) -> f64 {
        let id = unit as usize;
        if self.nuisance[id] {
            return NUISANCE.ln();
        }
        let form = if self.is_group(unit) { WHOLE.ln() } else { 0.0 };
        self.ln_unit[id] + self.ln_mode[id] + form
    }

    /// ln probability of a unit's directions, given that its cable is guilty.
    pub(super) fn mode(&self, unit: u32) -> f64 {
        self.ln_mode[unit as usize]
    }

    /// ln factor of there being so many faults, without which they are: the odds of each, that order does
    /// not matter, and that a switch or host rarely fails together with something else.
    pub(super) fn number(&self, count: Count) -> f64 {
        let odds = |before: usize| match before {
            0 => self.ln_first,
            _ => ANOTHER.ln(),
        };
        let each: f64 = (0..count.faults)
            .map(|before| odds(before) + (before as f64 + 1.0).ln())
            .sum();
        let mixed = count.groups > 0 && count.faults > 1;
        each + if mixed { self.ln_mixed } else { 0.0 }
    }

    /// ln probability that a given fault is this group losing in a share of its parts, of which `found`
    /// are known and the others' evidence (likelihood ratio of guilt to innocence) is `hidden`.
    pub(super) fn share(&self, group: u32, found: usize, hidden: &[f64]) -> f64 {
        let parts = found + hidden.len();
        let lowest = if self.hosts[group as usize] {
            parts
        } else {
            (parts / LEAST_SHARE).max(2).min(parts)
        };
        let least = lowest.max(found);
        // ways[k]: sum over choices of k hidden parts of the product of their evidence.
        let mut ways = vec![0.0; hidden.len() + 1];
        ways[0] = 1.0;
        for (index, evidence) in hidden.iter().enumerate() {
            for k in (0..=index).rev() {
                ways[k + 1] += ways[k] * evidence.min(MOST_HIDDEN);
            }
        }
        let mut likelihood = 0.0;
        for guilty in least..=parts {
            likelihood += ways[guilty - found] / choose(parts, guilty);
        }
        let sizes = (parts - lowest + 1) as f64;
        self.ln_unit[group as usize]
            + self.ln_mode[group as usize]
            + (1.0 - WHOLE).ln()
            + (likelihood / sizes).ln()
    }
}

/// What share of faults is of a kind.
const SHARES: [f64; 4] = [0.5, 0.25, 0.25, 0.05];

const fn slot(kind: Kind) -> Option<usize> {
    match kind {
        Kind::Link => Some(0),
        Kind::Rnic => Some(1),
        Kind::Switch => Some(2),
        Kind::Host => Some(3),
        Kind::Nuisance => None,
    }
}

fn choose(n: usize, k: usize) -> f64 {
    (0..k.min(n - k))
        .map(|i| (n - i) as f64 / (i + 1) as f64)
        .product()
}
