//! Observations in the shape that inference works on: equal ones merged, indexed both ways.

use std::collections::BTreeMap;

use super::Priors;
use super::network::{Lossy, Network, Ways};
use crate::hash;

/// A component, cable or group that a flow crosses, and how many of its plain components for certain.
pub(super) type Crossed = (u32, u8);

/// What inference reads.
pub(super) struct Data {
    /// Lossy observations, merged where all is equal but the counts.
    pub(super) flows: Vec<Flow>,
    units_start: Vec<usize>,
    units: Vec<Crossed>,
    /// Of flows that took one of several ways.
    pub(super) splits: Vec<Split>,
    flows_start: Vec<usize>,
    flows_of: Vec<Crossed>,
    /// Per component, cable and group: packets that crossed it and count without regard to what else
    /// they crossed (once per plain component of it).
    pub(super) carried: Vec<f64>,
    /// Per component, cable and group: packets without loss that may have crossed it, by how likely each did, and those of
    /// which it is only presumed. Unlike those that did cross it, one of them speaks against a loss of all packets no
    /// more than so likely.
    pub(super) maybe: Vec<Maybe>,
    /// Sum of `carried` and `maybe` over plain components.
    pub(super) carried_total: f64,
    /// Per component, cable and group: whether any flow crossed it.
    pub(super) seen: Vec<bool>,
    /// Probability that a flow loses for other reasons.
    pub(super) outlier: f64,
}

/// Lossy observations over the same components.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flow {
    pub(super) lost: f64,
    pub(super) survived: f64,
    /// ln of the ways to choose the lost packets among the sent ones.
    pub(super) ln_choose: f64,
    /// ln of the probability to lose so many of them for reasons outside the network.
    pub(super) ln_outside: f64,
    /// Plain components crossed.
    pub(super) hops: f64,
    /// Position in `splits`, where a part of its way is one of several.
    pub(super) split: Option<usize>,
}

/// Packets without loss that may have crossed something, all those of a flow or none.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Maybe {
    pub(super) packets: f64,
    pub(super) flows: f64,
}

impl Maybe {
    pub(super) fn add(&mut self, other: Self) {
        self.packets += other.packets;
        self.flows += other.flows;
    }

    /// By how much they lower the ln likelihood where a rate is lost.
    pub(super) fn cost(self, rate: f64) -> f64 {
        if self.flows <= 0.0 {
            return 0.0;
        }
        self.flows * -(-rate * self.packets / self.flows).exp_m1()
    }

    /// First and second derivative of the cost in the rate.
    pub(super) fn slope(self, rate: f64) -> (f64, f64) {
        if self.flows <= 0.0 {
            return (0.0, 0.0);
        }
        let each = self.packets / self.flows;
        let first = self.packets * (-rate * each).exp();
        (first, -first * each)
    }
}

/// Ways of which a flow took one.
#[derive(Clone, Debug)]
pub(super) struct Split {
    /// How many ways there are.
    pub(super) of: u32,
    /// How many of them cross something that may be at fault.
    pub(super) known: u32,
    /// What crosses how many plain components on which ways; sorted.
    parts: Vec<(u32, Part)>,
}

/// How often a unit is crossed on each way: 2 bits a way, the lower ones and the higher ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Part {
    low: u64,
    high: u64,
}

impl Part {
    /// How often on one way.
    pub(super) const fn on(self, way: u32) -> u32 {
        ((self.low >> way) & 1) as u32 + 2 * ((self.high >> way) & 1) as u32
    }

    /// The ways on which it is crossed.
    pub(super) const fn ways(self) -> u64 {
        self.low | self.high
    }

    /// How many of `ways` cross it so often.
    pub(super) const fn count(self, ways: u64, times: u32) -> u32 {
        let low = if times & 1 == 1 { self.low } else { !self.low };
        let high = if times & 2 == 2 {
            self.high
        } else {
            !self.high
        };
        (ways & low & high).count_ones()
    }

    /// One more crossing on a way; more than three count as three.
    const fn add(&mut self, way: u32) {
        let bit = 1 << way;
        match self.on(way) {
            0 => self.low |= bit,
            1 => {
                self.low &= !bit;
                self.high |= bit;
            }
            _ => self.low |= bit,
        }
    }
}

impl Split {
    fn of(network: &Network, ways: &Ways) -> Self {
        let mut parts: BTreeMap<u32, Part> = BTreeMap::new();
        for (nth, way) in (0..).zip(&ways.ways) {
            for &plain in way {
                let above = network.above[plain as usize].iter();
                for unit in above.chain([&plain]) {
                    parts.entry(*unit).or_default().add(nth);
                }
            }
        }
        Self {
            of: u32::try_from(ways.of).unwrap_or(u32::MAX),
            known: u32::try_from(ways.ways.len()).unwrap_or(u32::MAX),
            parts: parts.into_iter().collect(),
        }
    }

    /// On which of the ways a unit is crossed.
    pub(super) fn part(&self, unit: u32) -> Part {
        let position = self.parts.binary_search_by_key(&unit, |(unit, _)| *unit);
        position.map_or(Part::default(), |position| self.parts[position].1)
    }
}

/// So many flows on one path may well have a reason of their own in common.
const ALIKE: u64 = 4;

/// ln of the probability that flows lose so many packets for reasons outside the network.
fn outside(outlier: f64, lossy: &Lossy) -> f64 {
    let flows = lossy.flows.clamp(1, ALIKE) as f64;
    flows * outlier.ln() - (lossy.sent as f64).ln()
}

impl Data {
    pub(super) fn new(network: &Network, priors: &Priors) -> Self {
        let mut data = Self {
            flows: Vec::new(),
            units_start: vec![0],
            units: Vec::new(),
            splits: Vec::new(),
            flows_start: Vec::new(),
            flows_of: Vec::new(),
            carried: vec![0.0; network.units.len()],
            maybe: network.maybe(),
            carried_total: 0.0,
            seen: vec![false; network.units.len()],
            outlier: priors.outlier.clamp(0.0, 0.5),
        };
        data.merge(network);
        data.carry(network);
        data.index();
        data
    }

    /// Components, cables and groups that a flow crosses.
    pub(super) fn units_of(&self, flow: usize) -> &[Crossed] {
        &self.units[self.units_start[flow]..self.units_start[flow + 1]]
    }

    /// Lossy flows that cross a component, cable or group.
    pub(super) fn flows_of(&self, unit: u32) -> &[Crossed] {
        let unit = unit as usize;
        &self.flows_of[self.flows_start[unit]..self.flows_start[unit + 1]]
    }

    /// Outliers are a matter of single flows, so those are merged only where there are none.
    fn merge(&mut self, network: &Network) {
        let mut order: Vec<(u128, &Lossy)> = network
            .lossy
            .iter()
            .map(|lossy| (print_of(network, lossy), lossy))
            .collect();
        order.sort_unstable_by_key(|(print, lossy)| (*print, lossy.sent, lossy.lost, lossy.flows));
        let mut last = None;
        for (print, lossy) in order {
            let (lost, survived) = (lossy.lost as f64, (lossy.sent - lossy.lost) as f64);
            if last == Some(print)
                && self.outlier == 0.0
                && let Some(flow) = self.flows.last_mut().filter(|flow| flow.split.is_none())
            {
                flow.lost += lost;
                flow.survived += survived;
                continue;
            }
            last = Some(print);
            let crossed = network.crossed(lossy);
            let ways = network.one_of(lossy);
            let longest = ways.iter().flat_map(|ways| &ways.ways).map(Vec::len).max();
            let split = ways.map(|ways| {
                self.splits.push(Split::of(network, ways));
                self.splits.len() - 1
            });
            self.flows.push(Flow {
                lost,
                survived,
                ln_choose: ln_choose(lossy.sent, lossy.lost),
                ln_outside: outside(self.outlier, lossy),
                hops: (crossed.len() + longest.unwrap_or(0)) as f64,
                split,
            });
            self.cross(network, crossed, split);
        }
    }

    fn cross(&mut self, network: &Network, crossed: &[u32], split: Option<usize>) {
        let start = self.units.len();
        for &plain in crossed {
            self.units.push((plain, 1));
            self.units
                .extend(network.above[plain as usize].iter().map(|&unit| (unit, 1)));
        }
        if let Some(split) = split {
            let parts = &self.splits[split].parts;
            self.units.extend(parts.iter().map(|(unit, _)| (*unit, 0)));
        }
        let units = &mut self.units[start..];
        units.sort_unstable();
        let mut kept = start;
        for position in start..self.units.len() {
            let (unit, times) = self.units[position];
            if kept > start && self.units[kept - 1].0 == unit {
                self.units[kept - 1].1 = self.units[kept - 1].1.saturating_add(times);
            } else {
                self.units[kept] = (unit, times);
                kept += 1;
            }
        }
        self.units.truncate(kept);
        self.units_start.push(kept);
    }

    fn carry(&mut self, network: &Network) {
        for (id, &packets) in network.clean_packets.iter().enumerate() {
            self.carried[id] = packets as f64;
            self.seen[id] = packets > 0 || self.maybe[id].packets > 0.0;
        }
        for flow in 0..self.flows.len() {
            let survived = if self.counts_apart(flow) {
                self.flows[flow].survived
            } else {
                0.0
            };
            let range = self.units_start[flow]..self.units_start[flow + 1];
            for &(unit, _) in &self.units[range] {
                self.seen[unit as usize] = true;
                if network.units[unit as usize].plain == [unit] {
                    self.carried[unit as usize] += survived;
                }
            }
        }
        for (id, unit) in network.units.iter().enumerate() {
            if unit.plain != [u32::try_from(id).unwrap_or(u32::MAX)] {
                self.carried[id] = unit.plain.iter().map(|&p| self.carried[p as usize]).sum();
                let mut maybe = Maybe::default();
                let plain = unit.plain.iter();
                plain.for_each(|&plain| maybe.add(self.maybe[plain as usize]));
                self.maybe[id] = maybe;
                self.seen[id] = unit.plain.iter().any(|&p| self.seen[p as usize]);
            } else {
                self.carried_total += self.carried[id] + self.maybe[id].packets;
            }
        }
    }

    /// Whether a flow's survivors are in `carried` and not in its likelihood.
    fn counts_apart(&self, flow: usize) -> bool {
        self.outlier == 0.0 && self.flows[flow].split.is_none()
    }

    fn index(&mut self) {
        let mut start = vec![0_usize; self.carried.len() + 1];
        for (unit, _) in &self.units {
            start[*unit as usize + 1] += 1;
        }
        for unit in 1..start.len() {
            start[unit] += start[unit - 1];
        }
        let mut next = start.clone();
        self.flows_of = vec![(0, 0); self.units.len()];
        for flow in 0..self.flows.len() {
            let id = u32::try_from(flow).unwrap_or(u32::MAX);
            for position in self.units_start[flow]..self.units_start[flow + 1] {
                let (unit, times) = self.units[position];
                self.flows_of[next[unit as usize]] = (id, times);
                next[unit as usize] += 1;
            }
        }
        self.flows_start = start;
    }
}

/// The same for observations that crossed the same, and may have.
fn print_of(network: &Network, lossy: &Lossy) -> u128 {
    let Some(ways) = network.one_of(lossy) else {
        return fingerprint(network.crossed(lossy));
    };
    let mut all = network.crossed(lossy).to_vec();
    for way in &ways.ways {
        all.push(u32::MAX);
        all.extend_from_slice(way);
    }
    all.extend([u32::MAX, u32::try_from(ways.of).unwrap_or(u32::MAX)]);
    fingerprint(&all)
}

fn fingerprint(crossed: &[u32]) -> u128 {
    let mut bytes = [0_u8; 256];
    let mut print = 0_u128;
    for chunk in crossed.chunks(60) {
        bytes[..16].copy_from_slice(&print.to_le_bytes());
        for (id, slot) in chunk.iter().zip(bytes[16..].chunks_exact_mut(4)) {
            slot.copy_from_slice(&id.to_le_bytes());
        }
        print = hash::content(&bytes[..16 + 4 * chunk.len()]);
    }
    print
}

/// ln of `n` over `k`, from Stirling's series for ln n!.
fn ln_choose(n: u64, k: u64) -> f64 {
    ln_factorial(n) - ln_factorial(k) - ln_factorial(n - k)
}

fn ln_factorial(n: u64) -> f64 {
    if n < 16 {
        return (2..=n).map(|i| (i as f64).ln()).sum();
    }
    let x = n as f64 + 1.0;
    (x - 0.5) * x.ln() - x + 0.5 * std::f64::consts::TAU.ln() + 1.0 / (12.0 * x)
        - 1.0 / (360.0 * x.powi(3))
}
