//! How many targets and flows each ordered pair of groups gets.
//!
//! A pair needs `k` flows ([`crate::coverage`]). They are cut into targets of `f` flows each: small `f`
//! spreads them over many RNICs, large `f` saves peers and `control` exchanges. `f` is a power of two, so
//! that a group growing by one node seldom changes it. What a group can afford decides:
//!
//! * everything: the smallest `f` with which every pair gets `k` flows;
//! * something for every pair: what there is, divided equally;
//! * less than one target per pair: as many pairs as there are targets, drawn by highest random weight.
//!   This bounds work and memory by the budget, however many groups there are.

use std::collections::BTreeMap;

use super::index::{Cell, Index};
use super::input::MeshPolicy;
use super::output::ProbeClass;
use super::share::{Costs, Shares};
use crate::hash;
use crate::rate::ProbeRate;

/// One part in this many of a group's peer slots stays free, so that an RNIC that comes or goes does not
/// push everybody's choices around.
const SLACK: u64 = 8;

/// Groups with fewer peer slots use all of them: every single one counts.
const SCARCE: u64 = 64;

/// What an ordered pair of cells is to get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Quota {
    pub from: u32,
    pub to: u32,
    /// Distinct pairs of RNICs; not more than the two cells have.
    pub targets: u32,
    pub flows: u32,
}

/// The quotas, and how many pairs go without.
#[derive(Debug, Default)]
pub(super) struct Quotas {
    /// By `from`.
    pub quotas: Vec<Quota>,
    /// Ordered pairs of cells that could probe each other.
    pub pairs: u64,
    /// Some of the pairs that get nothing.
    pub without: Vec<(u32, u32)>,
}

/// Flows that each RNIC is wanted to carry when every ordered pair gets `flows`.
pub(super) fn wants(index: &Index, flows: u32) -> Vec<u64> {
    let mut of_fabric: BTreeMap<_, u64> = BTreeMap::new();
    for cell in &index.cells {
        *of_fabric.entry(cell.fabric).or_default() += 1;
    }
    let mut wants = vec![0; index.rnics.len()];
    for cell in &index.cells {
        let peers = of_fabric[&cell.fabric] - 1;
        let per_rnic = (u64::from(flows) * peers).div_ceil(cell.rnics.len() as u64);
        for &rnic in &cell.rnics {
            wants[rnic as usize] = per_rnic;
        }
    }
    wants
}

/// Divides what every cell can afford among the cells that it can probe. `flows` is what each pair needs.
pub(super) fn quotas(index: &Index, policy: &MeshPolicy, shares: &Shares, flows: u32) -> Quotas {
    let mut all = Quotas::default();
    if !policy.classes.contains_key(&ProbeClass::InterTor) || flows == 0 {
        return all;
    }
    let mut to: Vec<(u64, u32)> = Vec::new();
    for (from, cell) in (0..).zip(&index.cells) {
        to.clear();
        to.extend(
            (0..)
                .zip(&index.cells)
                .filter(|(other, peer)| {
                    *other != from && peer.fabric == cell.fabric && probeable(index, cell, peer) > 0
                })
                .map(|(other, peer)| (hash::pair(index.seed, cell.hash, peer.hash), other)),
        );
        all.pairs += to.len() as u64;
        let Some(cut) = Affordable::of(cell, index, policy, shares).cut(flows, to.len()) else {
            all.note_without(from, &to);
            continue;
        };
        let served = cut.units.min(to.len() as u64) as usize;
        if served < to.len() {
            to.select_nth_unstable(served);
            all.note_without(from, &to[served..]);
            to.truncate(served);
        }
        to.sort_unstable();
        let (base, extra) = (cut.units / served as u64, cut.units % served as u64);
        for ((_, other), nth) in to.iter().zip(0..) {
            let units = (base + u64::from(nth < extra)).min(u64::from(flows.div_ceil(cut.flows)));
            let flows = (units * u64::from(cut.flows)).min(u64::from(flows));
            let limit = probeable(index, cell, &index.cells[*other as usize]);
            all.quotas.push(Quota {
                from,
                to: *other,
                targets: u32::try_from(units.min(limit)).unwrap_or(u32::MAX),
                flows: u32::try_from(flows).unwrap_or(u32::MAX),
            });
        }
    }
    all
}

impl Quotas {
    fn note_without(&mut self, from: u32, to: &[(u64, u32)]) {
        const KEPT: usize = 10;
        let room = KEPT.saturating_sub(self.without.len());
        self.without
            .extend(to.iter().take(room).map(|&(_, other)| (from, other)));
    }
}

/// Whether RNICs of one host can stand in both cells: rails of the same racks.
pub(super) fn are_siblings(index: &Index, a: &Cell, b: &Cell) -> bool {
    let label = |cell: &Cell| {
        cell.hosts
            .first()
            .map(|&(host, _)| &index.hosts[host as usize].group)
    };
    label(a) == label(b)
}

/// Ordered pairs of RNICs from one cell to the other, without those on one host.
fn probeable(index: &Index, from: &Cell, to: &Cell) -> u64 {
    let all = from.rnics.len() as u64 * to.rnics.len() as u64;
    if !are_siblings(index, from, to) {
        return all;
    }
    let mut others = to.hosts.iter().peekable();
    let mut same = 0;
    for (host, range) in &from.hosts {
        while others.next_if(|(other, _)| other < host).is_some() {}
        if let Some((_, other)) = others.next_if(|(other, _)| other == host) {
            same += range.len() as u64 * other.len() as u64;
        }
    }
    all - same
}

/// What the RNICs of a cell can afford: how many have which rate at which cost.
struct Affordable {
    offers: Vec<(ProbeRate, Costs, u64)>,
    slots: u64,
}

/// How a cell cuts its flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cut {
    /// Flows per target.
    flows: u32,
    /// Targets to divide among the pairs.
    units: u64,
}

impl Affordable {
    fn of(cell: &Cell, index: &Index, policy: &MeshPolicy, shares: &Shares) -> Self {
        let mut counts: BTreeMap<(ProbeRate, u32), u64> = BTreeMap::new();
        for &rnic in &cell.rnics {
            let host = index.rnics[rnic as usize].host as usize;
            let key = (shares.rnics[rnic as usize].inter_tor, shares.stretch[host]);
            *counts.entry(key).or_default() += 1;
        }
        Self {
            offers: counts
                .into_iter()
                .map(|((rate, stretch), count)| (rate, Costs::new(policy, stretch), count))
                .collect(),
            slots: u64::from(policy.budget.max_peers_per_rnic),
        }
    }

    /// Targets of `flows` flows that all RNICs together can afford, the slack left out.
    fn units(&self, flows: u32) -> u64 {
        let all: u64 = self
            .offers
            .iter()
            .map(|(rate, costs, count)| {
                count * rate.fits(costs.inter_tor_peer(flows)).min(self.slots)
            })
            .sum();
        if all < SCARCE { all } else { all - all / SLACK }
    }

    /// The cut for `pairs` pairs that need `flows` flows each; `None` where nothing can be afforded.
    fn cut(&self, flows: u32, pairs: usize) -> Option<Cut> {
        let pairs = pairs as u64;
        let cuts: Vec<Cut> = (0..=flows.next_power_of_two().ilog2())
            .map(|power| Cut {
                flows: 1 << power,
                units: self.units(1 << power),
            })
            .collect();
        let needed = |cut: &Cut| pairs * u64::from(flows.div_ceil(cut.flows));
        if pairs == 0 || cuts[0].units == 0 {
            return None;
        }
        if let Some(cut) = cuts.iter().find(|cut| cut.units >= needed(cut)) {
            return Some(Cut {
                units: needed(cut),
                ..*cut
            });
        }
        let carried = |cut: &Cut| cut.units * u64::from(cut.flows);
        let serves_all = cuts.iter().filter(|cut| cut.units >= pairs);
        if let Some(most) = serves_all.clone().map(carried).max() {
            return serves_all
                .clone()
                .find(|cut| carried(cut) * 4 >= most * 3)
                .copied();
        }
        let most = cuts[0].units;
        cuts.iter()
            .rev()
            .find(|cut| cut.units * SLACK >= most * (SLACK - 1))
            .copied()
    }
}
