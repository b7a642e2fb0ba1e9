//! Which RNICs carry the flows between two groups: on both sides those with the highest random weight
//! for that pair, as long as they do not carry much more than their fellows (bounded loads).

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

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

/// Places the flows of `quotas` on RNICs; `wanted` is what every pair should have.
pub(super) fn place(
    index: &Index,
    policy: &MeshPolicy,
    shares: &Shares,
    (wanted, quotas): (u32, &Quotas),
    edges: &mut Vec<Edge>,
) -> Achieved {
    let mut loads = Loads::new(index, policy, shares, &quotas.quotas);
    let mut achieved = Achieved::default();
    for quotas in quotas.quotas.chunk_by(|a, b| a.from == b.from) {
        let mut placed: Vec<Placed> = quotas
            .iter()
            .map(|quota| {
                let start = edges.len();
                let flows = loads.place(quota, edges);
                Placed {
                    edges: start..edges.len(),
                    flows,
                }
            })
            .collect();
        if quotas.len() <= FEW {
            loads.top_up(wanted, &mut placed, edges);
        }
        for (quota, placed) in quotas.iter().zip(placed) {
            achieved.note(placed.flows, quota.from, quota.to);
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
    flows: u32,
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
    /// Per RNIC: targets that it is.
    answers: Vec<u32>,
    /// Per cell: targets that an RNIC should send to at most.
    fair_sends: Vec<u32>,
    /// Per cell: targets that an RNIC should be at most.
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
            answers[quota.to as usize] += u64::from(quota.targets);
        }
        let fair = |totals: Vec<u64>| {
            let cells = totals.into_iter().zip(&index.cells);
            cells
                .map(|(total, cell)| fair_load(total, cell.rnics.len() as u64))
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
        let siblings = are_siblings(index, from, to);
        let may_repeat = siblings || quota.targets as usize > self.senders.len();
        let mut pairing = Pairing {
            key,
            uses: vec![0; self.receivers.len()],
            taken: may_repeat.then(BTreeSet::new),
            siblings,
        };
        let mut left = quota.flows;
        for nth in 0..quota.targets {
            let wanted = left.div_ceil(quota.targets - nth);
            let (_, local) = self.senders[nth as usize % self.senders.len()];
            let flows = wanted.min(self.affordable(local));
            if flows == 0 {
                continue;
            }
            let Some(peer) = pairing.receiver(index, nth as usize, local, &self.receivers) else {
                continue;
            };
            self.spend(local, flows);
            self.answers[peer as usize] += 1;
            edges.push(Edge {
                local,
                peer,
                class: ProbeClass::InterTor,
                flows: u16::try_from(flows).unwrap_or(u16::MAX),
            });
            left -= flows;
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

    /// Hands out what is left of the budget, always to the pair that has fewest flows, on RNIC pairs that
    /// are probed already.
    fn top_up(&mut self, wanted: u32, placed: &mut [Placed], edges: &mut [Edge]) {
        let mut queue: BinaryHeap<(u32, Reverse<usize>)> = placed
            .iter()
            .enumerate()
            .map(|(nth, pair)| (wanted.saturating_sub(pair.flows), Reverse(nth)))
            .collect();
        while let Some((missing, Reverse(nth))) = queue.pop() {
            let pair = &mut placed[nth];
            let added = self.add_flows(missing.div_ceil(16), &mut edges[pair.edges.clone()]);
            pair.flows += added;
            if added > 0 {
                queue.push((missing - added, Reverse(nth)));
            }
        }
    }

    /// Adds up to `flows` flows to `edges`, the thinnest first; returns how many could be afforded.
    fn add_flows(&mut self, flows: u32, edges: &mut [Edge]) -> u32 {
        let mut left = flows;
        while left > 0 {
            let affords = |edge: &&mut Edge| {
                let cost = self.costs(edge.local).inter_tor_flows(1);
                edge.flows < u16::MAX && self.rate[edge.local as usize] >= cost
            };
            let Some(edge) = edges
                .iter_mut()
                .filter(affords)
                .min_by_key(|edge| edge.flows)
            else {
                break;
            };
            let cost = self.costs(edge.local).inter_tor_flows(1);
            let rate = &mut self.rate[edge.local as usize];
            *rate = rate.minus(cost);
            edge.flows += 1;
            left -= 1;
        }
        flows - left
    }
}

/// What one of `rnics` RNICs should carry at most when they carry `total` targets together: the mean
/// and a standard deviation of a random spread. A tighter bound would even loads out a little more,
/// and make every change push many other choices around.
fn fair_load(total: u64, rnics: u64) -> u32 {
    let mean = total.div_ceil(rnics.max(1));
    let fair = quantise(mean + mean.isqrt()) + 1;
    u32::try_from(fair).unwrap_or(u32::MAX)
}

/// Which sender meets which receiver: the least used one with the highest weight for that sender. Pairing
/// by rank would re-pair everybody behind a newcomer; this way a newcomer displaces one, which displaces
/// seldom more than one other.
struct Pairing {
    key: u64,
    /// Per receiver: how often it was chosen.
    uses: Vec<u32>,
    /// Pairs that exist, kept where they could repeat.
    taken: Option<BTreeSet<(u32, u32)>>,
    /// Sender and receiver may be on one host, which must not be paired.
    siblings: bool,
}

impl Pairing {
    /// Receivers considered for one sender at first: bounds the work for pairs with hundreds of targets.
    const WINDOW: usize = 64;

    /// The receiver of target number `nth`, which `local` sends to; `None` where it has all of them.
    fn receiver(
        &mut self,
        index: &Index,
        nth: usize,
        local: u32,
        receivers: &[(u64, u32)],
    ) -> Option<u32> {
        let start = nth / Self::WINDOW * Self::WINDOW % receivers.len();
        let window = start..receivers.len().min(start + Self::WINDOW);
        let chosen = self
            .best(index, local, window, receivers)
            .or_else(|| self.best(index, local, 0..receivers.len(), receivers))?;
        self.uses[chosen] += 1;
        let peer = receivers[chosen].1;
        if let Some(taken) = &mut self.taken {
            taken.insert((local, peer));
        }
        Some(peer)
    }

    fn best(
        &self,
        index: &Index,
        local: u32,
        window: std::ops::Range<usize>,
        receivers: &[(u64, u32)],
    ) -> Option<usize> {
        let sender = &index.rnics[local as usize];
        let mut best: Option<(u32, Reverse<u64>, usize)> = None;
        for at in window {
            let uses = self.uses[at];
            if best.is_some_and(|(fewest, ..)| fewest < uses) {
                continue;
            }
            let peer = receivers[at].1;
            let receiver = &index.rnics[peer as usize];
            let repeats = self
                .taken
                .as_ref()
                .is_some_and(|taken| taken.contains(&(local, peer)));
            if repeats || (self.siblings && receiver.host == sender.host) {
                continue;
            }
            let weight = Reverse(hash::pair(self.key, sender.hash, receiver.hash));
            let candidate = (uses, weight, at);
            if best.is_none_or(|best| candidate < best) {
                best = Some(candidate);
            }
        }
        best.map(|(.., at)| at)
    }
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
