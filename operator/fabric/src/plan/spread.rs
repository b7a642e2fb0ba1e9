//! Which RNICs carry the flows between two groups: on both sides those with the highest random weight
//! for that pair, as long as they do not carry much more than their fellows (bounded loads).

use std::collections::BTreeMap;

use super::index::{Cell, Index};
use super::input::MeshPolicy;
use super::inter_tor::{Quota, Quotas, are_siblings};
use super::output::ProbeClass;
use super::share::{Costs, Shares, quantise};
use super::targets::Edge;
use crate::hash;
use crate::rate::ProbeRate;

/// Weights of senders and receivers must not be the same.
const SENDER: u64 = 1;
const RECEIVER: u64 = 2;

/// Groups with so few others get every flow that their budget still holds, one by one. With more, what is
/// left over is small, and handing it out would make many assignments change at once.
const FEW: usize = 32;

/// Flows that the ordered pairs of cells got.
#[derive(Debug, Default)]
pub(super) struct Achieved {
    /// How many pairs got how many flows.
    pub spread: BTreeMap<u32, u64>,
    /// The pairs with fewest flows.
    pub worst: Vec<(u32, u32, u32)>,
}

impl Achieved {
    /// Worst pairs kept.
    const WORST: usize = 10;

    fn note(&mut self, flows: u32, from: u32, to: u32) {
        *self.spread.entry(flows).or_default() += 1;
        self.keep((flows, from, to));
    }

    fn keep(&mut self, pair: (u32, u32, u32)) {
        if self.worst.len() == Self::WORST && self.worst.last().is_some_and(|last| *last <= pair) {
            return;
        }
        let at = self.worst.partition_point(|kept| *kept < pair);
        self.worst.insert(at, pair);
        self.worst.truncate(Self::WORST);
    }
}

/// Places the flows of `quotas` on RNICs.
pub(super) fn place(
    index: &Index,
    policy: &MeshPolicy,
    shares: &Shares,
    quotas: &Quotas,
    edges: &mut Vec<Edge>,
) -> Achieved {
    let mut loads = Loads::new(index, policy, shares, &quotas.quotas);
    let mut achieved = Achieved::default();
    for quotas in quotas.quotas.chunk_by(|a, b| a.from == b.from) {
        let first = edges.len();
        let mut placed: Vec<Placed> = quotas
            .iter()
            .map(|quota| {
                let start = edges.len();
                let flows = loads.place(quota, edges);
                Placed {
                    edges: start..edges.len(),
                    missing: quota.flows - flows,
                }
            })
            .collect();
        if quotas.len() <= FEW {
            loads.top_up(&mut placed, edges);
        }
        debug_assert!(first <= edges.len());
        for (quota, placed) in quotas.iter().zip(placed) {
            achieved.note(quota.flows - placed.missing, quota.from, quota.to);
        }
    }
    let without = quotas.pairs - quotas.quotas.len() as u64;
    if without > 0 {
        *achieved.spread.entry(0).or_default() += without;
    }
    for &(from, to) in &quotas.without {
        achieved.keep((0, from, to));
    }
    achieved
}

struct Placed {
    edges: std::ops::Range<usize>,
    missing: u32,
}

/// What every RNIC carries and may still take on.
struct Loads<'a> {
    index: &'a Index,
    /// Per RNIC: peers that it may still get.
    slots: Vec<u32>,
    /// Per RNIC: rate that it may still spend.
    rate: Vec<ProbeRate>,
    /// Per RNIC: targets that it sends to.
    sends: Vec<u32>,
    /// Per RNIC: flows that it answers.
    answers: Vec<u32>,
    /// Per cell: targets that an RNIC should send to at most.
    fair_sends: Vec<u32>,
    /// Per cell: flows that an RNIC should answer at most.
    fair_answers: Vec<u32>,
    /// Per host.
    costs: Vec<Costs>,
    senders: Vec<(u64, u32)>,
    receivers: Vec<(u64, u32)>,
}

impl<'a> Loads<'a> {
    fn new(index: &'a Index, policy: &MeshPolicy, shares: &Shares, quotas: &[Quota]) -> Self {
        let cells = index.cells.len();
        let (mut sends, mut answers) = (vec![0_u64; cells], vec![0_u64; cells]);
        for quota in quotas {
            sends[quota.from as usize] += u64::from(quota.targets);
            answers[quota.to as usize] += u64::from(quota.flows);
        }
        let fair = |totals: Vec<u64>| {
            let cells = totals.into_iter().zip(&index.cells);
            let fair =
                cells.map(|(total, cell)| quantise(total * 5 / (cell.rnics.len() as u64 * 4)) + 1);
            fair.map(|fair| u32::try_from(fair).unwrap_or(u32::MAX))
                .collect()
        };
        Self {
            index,
            slots: vec![u32::from(policy.budget.max_peers_per_rnic); index.rnics.len()],
            rate: shares
                .rnics
                .iter()
                .map(|allowance| allowance.inter_tor)
                .collect(),
            sends: vec![0; index.rnics.len()],
            answers: vec![0; index.rnics.len()],
            fair_sends: fair(sends),
            fair_answers: fair(answers),
            costs: shares
                .stretch
                .iter()
                .map(|stretch| Costs::new(policy, *stretch))
                .collect(),
            senders: Vec::new(),
            receivers: Vec::new(),
        }
    }

    fn costs(&self, rnic: u32) -> &Costs {
        &self.costs[self.index.rnics[rnic as usize].host as usize]
    }

    /// Places one quota; returns the flows that found a place.
    fn place(&mut self, quota: &Quota, edges: &mut Vec<Edge>) -> u32 {
        let index = self.index;
        let (from, to) = (
            &index.cells[quota.from as usize],
            &index.cells[quota.to as usize],
        );
        let key = hash::pair(index.seed, from.hash, to.hash);
        let per_target = quota.flows.div_ceil(quota.targets.max(1));
        self.rank_senders(from, quota, key, per_target);
        self.rank_receivers(to, quota, key);
        if self.senders.is_empty() || self.receivers.is_empty() {
            return 0;
        }
        let pairing = Pairing {
            senders: self.senders.len(),
            receivers: self.receivers.len(),
            siblings: are_siblings(index, from, to),
        };
        let start = edges.len();
        let mut left = quota.flows;
        for nth in 0..quota.targets {
            let wanted = left.div_ceil(quota.targets - nth);
            let Some((local, peer)) = pairing.pair(nth as usize, |sender, receiver| {
                let (local, peer) = (self.senders[sender].1, self.receivers[receiver].1);
                let used = || {
                    edges[start..]
                        .iter()
                        .any(|e| e.local == local && e.peer == peer)
                };
                let same_host = index.rnics[local as usize].host == index.rnics[peer as usize].host;
                (!pairing.siblings || !(same_host || used())).then_some((local, peer))
            }) else {
                continue;
            };
            let flows = wanted.min(self.affordable(local));
            if flows > 0 {
                self.spend(local, flows);
                self.answers[peer as usize] += flows;
                edges.push(Edge {
                    local,
                    peer,
                    class: ProbeClass::InterTor,
                    flows: u16::try_from(flows).unwrap_or(u16::MAX),
                });
                left -= flows;
            }
        }
        quota.flows - left
    }

    /// Flows to one more peer that `rnic` can afford.
    fn affordable(&self, rnic: u32) -> u32 {
        if self.slots[rnic as usize] == 0 {
            return 0;
        }
        let costs = self.costs(rnic);
        let rate = self.rate[rnic as usize].minus(costs.control);
        let flows = rate.fits(costs.inter_tor_flows(1));
        u32::try_from(flows)
            .unwrap_or(u32::MAX)
            .min(u32::from(u16::MAX))
    }

    fn spend(&mut self, rnic: u32, flows: u32) {
        let cost = self.costs(rnic).inter_tor_peer(flows);
        let rnic = rnic as usize;
        self.rate[rnic] = self.rate[rnic].minus(cost);
        self.slots[rnic] -= 1;
        self.sends[rnic] += 1;
    }

    fn rank_senders(&mut self, cell: &Cell, quota: &Quota, key: u64, flows: u32) {
        let mut ranked = std::mem::take(&mut self.senders);
        let fair = self.fair_sends[quota.from as usize];
        let weight = |rnic: u32| hash::pair(key, self.index.rnics[rnic as usize].hash, SENDER);
        let wanted = (quota.targets as usize).min(cell.rnics.len());
        let fits = |rnic: u32, flows: u32| {
            let cost = self.costs(rnic).inter_tor_peer(flows);
            self.slots[rnic as usize] > 0 && self.rate[rnic as usize] >= cost
        };
        rank(cell, wanted, weight, &mut ranked, |rnic| {
            self.sends[rnic as usize] < fair && fits(rnic, flows)
        });
        if ranked.len() < wanted {
            rank(cell, wanted, weight, &mut ranked, |rnic| fits(rnic, 1));
        }
        self.senders = ranked;
    }

    fn rank_receivers(&mut self, cell: &Cell, quota: &Quota, key: u64) {
        let mut ranked = std::mem::take(&mut self.receivers);
        let fair = self.fair_answers[quota.to as usize];
        let weight = |rnic: u32| hash::pair(key, self.index.rnics[rnic as usize].hash, RECEIVER);
        let wanted = (quota.targets as usize).min(cell.rnics.len());
        rank(cell, wanted, weight, &mut ranked, |rnic| {
            self.answers[rnic as usize] < fair
        });
        if ranked.len() < wanted {
            rank(cell, wanted, weight, &mut ranked, |_| true);
        }
        self.receivers = ranked;
    }

    /// Hands out what is left of the budget where flows are missing, to those with fewest first, a
    /// little at a time, on RNIC pairs that are probed already.
    fn top_up(&mut self, placed: &mut [Placed], edges: &mut [Edge]) {
        loop {
            let mut progress = false;
            for pair in placed.iter_mut().filter(|pair| pair.missing > 0) {
                let mut step = pair.missing.div_ceil(8);
                for edge in &mut edges[pair.edges.clone()] {
                    let cost = self.costs(edge.local).inter_tor_flows(1);
                    let rate = &mut self.rate[edge.local as usize];
                    let flows = u32::try_from(rate.fits(cost)).unwrap_or(u32::MAX).min(step);
                    let flows = flows.min(u32::from(u16::MAX - edge.flows));
                    *rate = rate.minus(cost.times(u64::from(flows)));
                    edge.flows += u16::try_from(flows).unwrap_or(0);
                    pair.missing -= flows;
                    step -= flows;
                    progress |= flows > 0;
                }
            }
            if !progress {
                return;
            }
        }
    }
}

/// Which sender meets which receiver.
struct Pairing {
    senders: usize,
    receivers: usize,
    /// Sender and receiver may be on one host, which must not be paired.
    siblings: bool,
}

impl Pairing {
    /// The `nth` pair, counting through all combinations without repeating one; where `accept` refuses
    /// it, the next receiver that it takes.
    fn pair<T>(&self, nth: usize, accept: impl Fn(usize, usize) -> Option<T>) -> Option<T> {
        let cycle = self.senders / gcd(self.senders, self.receivers) * self.receivers;
        let first = nth + nth / cycle;
        (0..self.receivers)
            .find_map(|shift| accept(nth % self.senders, (first + shift) % self.receivers))
    }
}

const fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// The `wanted` RNICs of `cell` with the highest weight among those that qualify, into `ranked`, highest
/// first.
fn rank(
    cell: &Cell,
    wanted: usize,
    weight: impl Fn(u32) -> u64,
    ranked: &mut Vec<(u64, u32)>,
    qualifies: impl Fn(u32) -> bool,
) {
    ranked.clear();
    let candidates = cell.rnics.iter().copied().filter(|&rnic| qualifies(rnic));
    let weighed = candidates.map(|rnic| (weight(rnic), rnic));
    if wanted == 1 {
        ranked.extend(weighed.max());
        return;
    }
    ranked.extend(weighed);
    if ranked.len() > wanted {
        ranked.select_nth_unstable_by(wanted, |a, b| b.cmp(a));
        ranked.truncate(wanted);
    }
    ranked.sort_unstable_by(|a, b| b.cmp(a));
}
