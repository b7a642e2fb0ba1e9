//! Flows of which a part of the way is one of several: their likelihood is the mean over the ways.
//!
//! Ways at the same rate count together, and mostly none of them is guilty of anything. So a flow costs as much as
//! there are guilty ways, and not as there are ways.

use std::collections::HashMap;

use super::super::prepare::{Data, Flow, Part, Split};
use super::{Field, POINTS, REMEMBERED, Row};

/// Rates below this are what rounding has left.
const ROUNDING: f64 = 1e-9;

/// What the ways of flows add to the flows' rates.
pub(super) struct Splits {
    now: Vec<Rates>,
    /// What the tables are made of.
    tabled: Vec<Rates>,
    is_changed: Vec<bool>,
    /// Rows by what they follow from.
    rows: HashMap<Vec<u64>, Row>,
}

/// Rates of the ways of one flow.
#[derive(Clone, Debug, Default)]
struct Rates {
    /// By way; none beyond the last guilty one.
    rates: Vec<f64>,
    /// The ways that have one.
    guilty: u64,
}

impl Rates {
    fn add(&mut self, way: u32, delta: f64) {
        let position = way as usize;
        if self.rates.len() <= position {
            self.rates.resize(position + 1, 0.0);
        }
        self.rates[position] += delta;
        self.guilty |= 1 << way;
    }

    fn settle(&mut self) {
        for (way, rate) in self.rates.iter_mut().enumerate() {
            if *rate < ROUNDING {
                *rate = 0.0;
                self.guilty &= !(1 << way);
            }
        }
    }

    fn of(&self, way: u32) -> f64 {
        self.rates.get(way as usize).copied().unwrap_or(0.0)
    }
}

/// Ways that are alike.
#[derive(Clone, Copy, Debug)]
struct Alike {
    /// Their share of all ways.
    share: f64,
    /// What each adds to the flow's rate.
    rate: f64,
    /// How often each crosses the unit that is asked about.
    times: f64,
}

impl Splits {
    pub(super) fn new(data: &Data) -> Self {
        Self {
            now: vec![Rates::default(); data.splits.len()],
            tabled: vec![Rates::default(); data.splits.len()],
            is_changed: vec![false; data.splits.len()],
            rows: HashMap::new(),
        }
    }
}

fn alike(split: &Split, rates: &Rates, part: Part) -> Vec<Alike> {
    let share = |ways: u32| f64::from(ways) / f64::from(split.of);
    let known = u64::MAX >> (64 - split.known.clamp(1, 64));
    let mut all = Vec::with_capacity(4);
    let mut left = split.of - (known & rates.guilty).count_ones();
    for times in 1..=3_u32 {
        let ways = part.count(known & !rates.guilty, times);
        if ways > 0 {
            left -= ways;
            all.push(Alike {
                share: share(ways),
                rate: 0.0,
                times: f64::from(times),
            });
        }
    }
    all.extend((left > 0).then(|| Alike {
        share: share(left),
        rate: 0.0,
        times: 0.0,
    }));
    let mut guilty = known & rates.guilty;
    while guilty != 0 {
        let way = guilty.trailing_zeros();
        guilty &= guilty - 1;
        all.push(Alike {
            share: share(1),
            rate: rates.of(way),
            times: f64::from(part.on(way)),
        });
    }
    all
}

impl Field<'_> {
    /// ln likelihood of a flow at a rate, with its survivors.
    fn whole(&self, flow: &Flow, total: f64) -> f64 {
        let survived = if self.data.outlier == 0.0 {
            flow.survived * total
        } else {
            0.0
        };
        self.likelihood(flow, total) - survived
    }

    /// ln of the mean likelihood over the ways, where a unit that the flow crosses `certain` times for sure loses
    /// `rate` more.
    fn mixed(&self, flow: &Flow, total: f64, ways: &[Alike], (certain, rate): (f64, f64)) -> f64 {
        let at = |way: &Alike| {
            let total = total + way.rate + (certain + way.times) * rate;
            way.share.ln() + self.whole(flow, total)
        };
        let highest = ways.iter().map(at).fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = ways.iter().map(|way| (at(way) - highest).exp()).sum();
        highest + sum.ln()
    }

    pub(super) fn likelihood_split(&self, (flow, split): (&Flow, usize), total: f64) -> f64 {
        let rates = &self.splits.now[split];
        let ways = alike(&self.data.splits[split], rates, Part::default());
        self.mixed(flow, total, &ways, (0.0, 0.0))
    }

    /// Mean of something over the ways, each as likely as it is after what was lost.
    pub(super) fn mean_split(
        &self,
        (flow, split): (&Flow, usize),
        total: f64,
        of: impl Fn(f64) -> f64,
    ) -> f64 {
        let rates = &self.splits.now[split];
        let ways = alike(&self.data.splits[split], rates, Part::default());
        let all = self.mixed(flow, total, &ways, (0.0, 0.0));
        let part = |way: &Alike| {
            let total = total + way.rate;
            (way.share.ln() + self.whole(flow, total) - all).exp() * of(total)
        };
        ways.iter().map(part).sum()
    }

    /// First and second derivative of a flow's ln likelihood in a unit's rate.
    pub(super) fn slope_split(
        &self,
        (flow, split): (&Flow, usize),
        total: f64,
        (unit, certain): (u32, u8),
    ) -> (f64, f64) {
        let data = &self.data.splits[split];
        let ways = alike(data, &self.splits.now[split], data.part(unit));
        let all = self.mixed(flow, total, &ways, (0.0, 0.0));
        let (mut first, mut second) = (0.0, 0.0);
        for way in &ways {
            let times = f64::from(certain) + way.times;
            let total = total + way.rate;
            let likely = (way.share.ln() + self.whole(flow, total) - all).exp();
            let grow = total.exp_m1();
            let inside = self.inside(flow, total);
            let slope = inside * (flow.lost / grow - flow.survived);
            let bend = -inside * flow.lost * (grow + 1.0) / (grow * grow);
            first += likely * times * slope;
            second += likely * times * times * (bend + slope * slope);
        }
        (first, second - first * first)
    }

    pub(super) fn shift_split(
        &mut self,
        (flow, split): (u32, usize),
        (unit, certain): (u32, u8),
        delta: f64,
    ) {
        if !self.splits.is_changed[split] {
            self.splits.is_changed[split] = true;
            self.changed.push(flow);
        }
        self.total[flow as usize] += f64::from(certain) * delta;
        let part = self.data.splits[split].part(unit);
        let mut ways = part.ways();
        while ways != 0 {
            let way = ways.trailing_zeros();
            ways &= ways - 1;
            self.splits.now[split].add(way, f64::from(part.on(way)) * delta);
        }
    }

    /// Adds to the tables what a flow makes units gain.
    pub(super) fn table_split(&mut self, flow: usize, split: usize) {
        let data = self.data;
        let (total, rates) = (self.tabled[flow], self.splits.tabled[split].clone());
        self.add_split((flow, split), (total, &rates), data.units_of(flow), 1.0);
    }

    /// Brings the tables up to date with a flow's rates.
    pub(super) fn retable_split(&mut self, flow: usize, split: usize) {
        let data = self.data;
        let units = data.units_of(flow);
        self.splits.now[split].settle();
        let old = std::mem::take(&mut self.splits.tabled[split]);
        self.add_split((flow, split), (self.tabled[flow], &old), units, -1.0);
        let new = self.splits.now[split].clone();
        self.add_split((flow, split), (self.total[flow], &new), units, 1.0);
        self.tabled[flow] = self.total[flow];
        self.splits.tabled[split] = new;
        self.splits.is_changed[split] = false;
    }

    fn add_split(
        &mut self,
        (flow, split): (usize, usize),
        (total, rates): (f64, &Rates),
        units: &[(u32, u8)],
        sign: f64,
    ) {
        let data = self.data;
        let flow = &data.flows[flow];
        for &(unit, certain) in units {
            let split = &data.splits[split];
            let ways = alike(split, rates, split.part(unit));
            let row = self.split_row(flow, total, &ways, f64::from(certain));
            for (gain, value) in self.gain[unit as usize].iter_mut().zip(row) {
                *gain += sign * value;
            }
        }
    }

    /// Gain of one flow at each rate of a unit.
    fn split_row(&mut self, flow: &Flow, total: f64, ways: &[Alike], certain: f64) -> Row {
        let of_ways = ways.iter().flat_map(|way| [way.share, way.rate, way.times]);
        let key = [flow.lost, flow.survived, total, certain].into_iter();
        let key: Vec<u64> = key.chain(of_ways).map(f64::to_bits).collect();
        if let Some(row) = self.splits.rows.get(&key) {
            return *row;
        }
        let mut row = [0.0; POINTS];
        let before = self.mixed(flow, total, ways, (certain, 0.0));
        for (value, rate) in row.iter_mut().zip(self.rates) {
            *value = self.mixed(flow, total, ways, (certain, rate)) - before;
        }
        if self.splits.rows.len() >= REMEMBERED {
            self.splits.rows.clear();
        }
        self.splits.rows.insert(key, row);
        row
    }
}
