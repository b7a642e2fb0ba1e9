//! Who probes whom, compact enough to keep for 80,000 RNICs.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::names::{GroupName, NodeName, RnicName};
use crate::plan::MeshPlan;

/// Where an RNIC is in the fabric.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Group: the RNICs under one top-of-rack switch.
    pub group: GroupName,
    /// Rail, from 0.
    pub rail: u16,
    /// Address on the fabric; `None` where it has none (InfiniBand).
    pub address: Option<IpAddr>,
}

/// The RNICs that take part, where they are, and the ordered pairs that are probed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Planned {
    /// Sorted, unique.
    rnics: Vec<RnicName>,
    /// Of each of `rnics`, or empty where nobody said.
    places: Vec<Place>,
    /// Ordered pairs by position in `rnics`; sorted, unique.
    pairs: Vec<(u32, u32)>,
    /// Of each of `pairs`: probes per thousand seconds, or empty where nobody said.
    rates: Vec<u32>,
}

impl Planned {
    /// What `plan` lets probe.
    #[must_use]
    pub fn of(plan: &MeshPlan) -> Self {
        Self {
            rnics: plan.rnics().collect(),
            places: plan.places().collect(),
            pairs: plan.pairs().collect(),
            rates: plan.pair_rates().collect(),
        }
    }

    /// Puts RNICs and ordered pairs together; RNICs of pairs need not be listed among `rnics`.
    pub fn new(
        rnics: impl IntoIterator<Item = RnicName>,
        pairs: impl IntoIterator<Item = (RnicName, RnicName)>,
    ) -> Self {
        let pairs: Vec<_> = pairs.into_iter().collect();
        let mut all: Vec<_> = rnics.into_iter().collect();
        all.extend(pairs.iter().flat_map(|(a, b)| [a.clone(), b.clone()]));
        all.sort_unstable();
        all.dedup();
        let mut planned = Self {
            rnics: all,
            places: Vec::new(),
            pairs: Vec::new(),
            rates: Vec::new(),
        };
        let mut indexed: Vec<_> = pairs
            .iter()
            .filter_map(|(a, b)| Some((planned.position(a)?, planned.position(b)?)))
            .collect();
        indexed.sort_unstable();
        indexed.dedup();
        planned.pairs = indexed;
        planned
    }

    /// The same with every RNIC at the place that `place` tells.
    #[must_use]
    pub fn at(mut self, place: impl FnMut(&RnicName) -> Place) -> Self {
        self.places = self.rnics.iter().map(place).collect();
        self
    }

    /// Where `rnic` is; `None` where it takes no part or nobody said.
    #[must_use]
    pub fn place(&self, rnic: &RnicName) -> Option<&Place> {
        self.places.get(self.position(rnic)? as usize)
    }

    /// The RNICs of which somebody said where they are, in order.
    pub(super) fn placed(&self) -> impl Iterator<Item = (&RnicName, &Place)> {
        self.rnics.iter().zip(&self.places)
    }

    /// Whom the RNIC at `position` of [`Self::rnics`] probes, by position, each with its share of the probes
    /// that it sends (0 to 1).
    pub(super) fn shares_at(&self, position: u32) -> impl Iterator<Item = (u32, f64)> {
        let range = self.range(position);
        let rates = self.rates.get(range.clone()).unwrap_or_default();
        let rate = |nth: usize| f64::from(rates.get(nth).copied().unwrap_or(1));
        let all: f64 = (0..range.len()).map(rate).sum();
        let pairs = self.pairs.get(range).unwrap_or_default().iter();
        pairs
            .enumerate()
            .map(move |(nth, (_, to))| (*to, rate(nth) / all.max(1.0)))
    }

    /// The nodes that probe RNICs of each of `nodes`, other than the node itself.
    #[must_use]
    pub fn probers(&self, nodes: &BTreeSet<NodeName>) -> BTreeMap<NodeName, BTreeSet<NodeName>> {
        let mut probers: BTreeMap<NodeName, BTreeSet<NodeName>> = BTreeMap::new();
        let rnic = |position: u32| self.rnics.get(position as usize);
        let is_asked: Vec<_> = self.rnics.iter().map(|r| nodes.contains(&r.node)).collect();
        for (from, to) in &self.pairs {
            if !is_asked.get(*to as usize).copied().unwrap_or_default() {
                continue;
            }
            if let (Some(from), Some(to)) = (rnic(*from), rnic(*to))
                && from.node != to.node
            {
                let of = probers.entry(to.node.clone()).or_default();
                of.insert(from.node.clone());
            }
        }
        probers
    }

    /// The RNICs, in order.
    #[must_use]
    pub fn rnics(&self) -> &[RnicName] {
        &self.rnics
    }

    /// Number of ordered pairs.
    #[must_use]
    pub fn pairs(&self) -> usize {
        self.pairs.len()
    }

    /// Whether `rnic` takes part.
    #[must_use]
    pub fn contains(&self, rnic: &RnicName) -> bool {
        self.position(rnic).is_some()
    }

    /// Whether `from` probes `to`.
    #[must_use]
    pub fn probes(&self, from: &RnicName, to: &RnicName) -> bool {
        match (self.position(from), self.position(to)) {
            (Some(from), Some(to)) => self.pairs.binary_search(&(from, to)).is_ok(),
            _ => false,
        }
    }

    /// How many RNICs `from` probes.
    #[must_use]
    pub fn targets(&self, from: &RnicName) -> usize {
        self.position(from).map_or(0, |from| self.targets_at(from))
    }

    /// Probes per second that the RNICs of each node send; empty where nobody said.
    pub(super) fn rates(&self) -> BTreeMap<&NodeName, f64> {
        let mut rates: BTreeMap<&NodeName, f64> = BTreeMap::new();
        let pairs: Vec<_> = self.pairs.iter().zip(&self.rates).collect();
        for of_rnic in pairs.chunk_by(|((a, _), _), ((b, _), _)| a == b) {
            let from = of_rnic.first().map_or(0, |((from, _), _)| *from);
            let sum: f64 = of_rnic.iter().map(|(_, rate)| f64::from(**rate)).sum();
            if let Some(rnic) = self.rnics.get(from as usize) {
                *rates.entry(&rnic.node).or_default() += sum / 1000.0;
            }
        }
        rates
    }

    /// How many RNICs the one at `position` of [`Self::rnics`] probes.
    pub(super) fn targets_at(&self, position: u32) -> usize {
        self.range(position).len()
    }

    /// Positions in `pairs` of what `from` probes.
    fn range(&self, from: u32) -> std::ops::Range<usize> {
        let end = self.pairs.partition_point(|pair| pair.0 <= from);
        self.pairs.partition_point(|pair| pair.0 < from)..end
    }

    fn position(&self, rnic: &RnicName) -> Option<u32> {
        let position = self.rnics.binary_search(rnic).ok()?;
        u32::try_from(position).ok()
    }
}
