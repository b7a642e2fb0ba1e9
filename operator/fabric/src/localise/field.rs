//! The likelihood at the current rates, and what every component would gain by a rate of its own.

mod split;

use std::collections::HashMap;

use super::Priors;
use super::prepare::{Data, Flow, Maybe};

/// Rates per table: `mildest` times powers of two, up to total loss.
pub(super) const POINTS: usize = 14;

/// Steps between two rates of the table when it is integrated over.
const STEPS: usize = 4;

/// The table ends near this rate: e^−9 of the packets survive, which hardly any data tell from none.
const LARGEST: f64 = 9.0;

/// Prior probability of a rate in the usual range, where there are rates beyond it.
const USUAL: f64 = 0.8;

/// Rates at which a table is read when it is integrated over.
const FINE: usize = (POINTS - 1) * STEPS + 1;

/// Rows remembered at most.
const REMEMBERED: usize = 4096;

type Row = [f64; POINTS];

/// What a component's guilt would be worth.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Worth {
    /// ln of the likelihood ratio of guilt to innocence, integrated over the rate.
    pub(super) evidence: f64,
    /// The most likely rate.
    pub(super) rate: f64,
}

/// Rates of all flows and tables of gains.
pub(super) struct Field<'a> {
    pub(super) data: &'a Data,
    mildest: f64,
    points: usize,
    rates: Row,
    decay: Row,
    fine: Fine,
    background: f64,
    /// Rate of each lossy flow: the sum over what it crosses.
    total: Vec<f64>,
    /// The rates that `gain` is made of.
    tabled: Vec<f64>,
    changed: Vec<u32>,
    /// Per component, cable and group and per rate: gain of log likelihood of the lossy flows.
    gain: Vec<Row>,
    /// Rows by what they follow from: most flows are like many others.
    rows: HashMap<[u64; 4], Row>,
    /// Of flows that took one of several ways.
    splits: split::Splits,
}

/// What integrals over a table's rates have in common.
struct Fine {
    /// ln of the lowest, the highest usual and the highest rate.
    ends: [f64; 3],
    count: usize,
    rates: [f64; FINE],
    densities: [f64; FINE],
    /// The cubic through the four points of the table around each rate: the first of them, and the weights.
    weights: [(usize, [f64; 4]); FINE],
}

impl Fine {
    fn new((mildest, usual): (f64, f64), rates: &Row, points: usize) -> Self {
        let mut fine = Self {
            ends: [mildest.ln(), usual, rates[points - 1].ln()],
            count: (points - 1) * STEPS + 1,
            rates: [0.0; FINE],
            densities: [0.0; FINE],
            weights: [(0, [0.0; 4]); FINE],
        };
        for index in 0..fine.count {
            let rate = mildest * (WIDTH * index as f64).exp();
            fine.rates[index] = rate;
            fine.densities[index] = fine.density(rate.ln());
            fine.weights[index] = weights(index, points);
        }
        fine
    }

    /// ln of the prior density of a guilty component's ln rate.
    fn density(&self, ln_rate: f64) -> f64 {
        let [lowest, usual, highest] = self.ends;
        if usual <= lowest || usual >= highest {
            return -(highest - lowest).ln();
        }
        if ln_rate <= usual {
            (USUAL / (usual - lowest)).ln()
        } else {
            ((1.0 - USUAL) / (highest - usual)).ln()
        }
    }

    /// Value of a table at a fine point.
    fn between(&self, gain: &Row, index: usize) -> f64 {
        let (first, weights) = &self.weights[index];
        weights
            .iter()
            .zip(&gain[*first..])
            .map(|(weight, gain)| weight * gain)
            .sum()
    }
}

/// Of ln rate, between two fine points.
const WIDTH: f64 = std::f64::consts::LN_2 / STEPS as f64;

impl<'a> Field<'a> {
    pub(super) fn new(data: &'a Data, priors: &Priors, background: f64) -> Self {
        let mildest = priors.mildest;
        let mut rates = [0.0; POINTS];
        let mut decay = [0.0; POINTS];
        let mut rate = mildest;
        for point in 0..POINTS {
            rates[point] = rate;
            decay[point] = (-rate).exp();
            rate *= 2.0;
        }
        let points = rates.iter().filter(|rate| **rate <= LARGEST * 1.4).count();
        let points = points.max(2);
        let usual = (-(-priors.usual).ln_1p()).ln();
        let total: Vec<f64> = data.flows.iter().map(|f| f.hops * background).collect();
        let mut field = Self {
            data,
            mildest,
            points,
            fine: Fine::new((mildest, usual), &rates, points),
            rates,
            decay,
            background,
            tabled: total.clone(),
            total,
            changed: Vec::new(),
            gain: vec![[0.0; POINTS]; data.carried.len()],
            rows: HashMap::new(),
            splits: split::Splits::new(data),
        };
        for flow in 0..field.total.len() {
            if let Some(split) = data.flows[flow].split {
                field.table_split(flow, split);
                continue;
            }
            let row = field.row(flow, field.total[flow]);
            field.scatter(flow, &row);
        }
        field
    }

    pub(super) const fn background(&self) -> f64 {
        self.background
    }

    /// Adds `delta` to the rate of a component, cable or group.
    pub(super) fn shift(&mut self, unit: u32, delta: f64) {
        let data = self.data;
        for &(flow, times) in data.flows_of(unit) {
            let index = flow as usize;
            if let Some(split) = data.flows[index].split {
                self.shift_split((flow, split), (unit, times), delta);
                continue;
            }
            if self.total[index].to_bits() == self.tabled[index].to_bits() {
                self.changed.push(flow);
            }
            self.total[index] += f64::from(times) * delta;
        }
    }

    /// Brings the tables up to date with the rates.
    pub(super) fn refresh(&mut self) {
        let mut changed = std::mem::take(&mut self.changed);
        changed.sort_unstable();
        changed.dedup();
        for flow in changed.drain(..) {
            let flow = flow as usize;
            let floor = self.data.flows[flow].hops * self.background;
            // Rounding of sums and differences must not leave a flow below its background.
            self.total[flow] = self.total[flow].max(floor);
            if let Some(split) = self.data.flows[flow].split {
                self.retable_split(flow, split);
                continue;
            }
            let mut row = self.row(flow, self.total[flow]);
            let old = self.row(flow, self.tabled[flow]);
            for (new, old) in row.iter_mut().zip(old) {
                *new -= old;
            }
            self.scatter(flow, &row);
            self.tabled[flow] = self.total[flow];
        }
        self.changed = changed;
    }

    fn scatter(&mut self, flow: usize, row: &Row) {
        for &(unit, times) in self.data.units_of(flow) {
            let gain = &mut self.gain[unit as usize];
            if times == 1 {
                for (gain, value) in gain.iter_mut().zip(row) {
                    *gain += value;
                }
                continue;
            }
            // Crossed more than once: the table's rates double from one to the next.
            let doublings = f64::from(times).log2().round() as usize;
            for (point, gain) in gain.iter_mut().enumerate() {
                *gain += row[(point + doublings).min(POINTS - 1)];
            }
        }
    }

    /// Gain of one flow at each rate on top of `total`.
    fn row(&mut self, flow: usize, total: f64) -> Row {
        let flow = &self.data.flows[flow];
        let key = [flow.lost, flow.survived, flow.ln_outside, total].map(f64::to_bits);
        if let Some(row) = self.rows.get(&key) {
            return *row;
        }
        let row = self.fresh_row(flow, total);
        if self.rows.len() >= REMEMBERED {
            self.rows.clear();
        }
        self.rows.insert(key, row);
        row
    }

    fn fresh_row(&self, flow: &Flow, total: f64) -> Row {
        let mut row = [0.0; POINTS];
        let before = self.likelihood(flow, total);
        if self.data.outlier == 0.0 {
            let stay = (-total).exp();
            for (value, decay) in row.iter_mut().zip(self.decay) {
                *value = flow.lost * (1.0 - stay * decay).ln() - before;
            }
        } else {
            for (value, rate) in row.iter_mut().zip(self.rates) {
                *value = self.likelihood(flow, total + rate) - before;
            }
        }
        row
    }

    /// ln likelihood of a lossy flow at rate `total`, without what `carried` accounts for.
    fn likelihood(&self, flow: &Flow, total: f64) -> f64 {
        let lose = -(-total).exp_m1();
        let binomial = flow.lost * lose.ln();
        if self.data.outlier == 0.0 {
            return binomial;
        }
        let inside = flow.ln_choose + binomial - flow.survived * total;
        let outside = flow.ln_outside;
        let (high, low) = if inside > outside {
            (inside, outside)
        } else {
            (outside, inside)
        };
        high + (low - high).exp().ln_1p()
    }

    /// Weight of the network (and not of outside reasons) in a flow's losses.
    fn inside(&self, flow: &Flow, total: f64) -> f64 {
        if self.data.outlier == 0.0 {
            return 1.0;
        }
        let lose = -(-total).exp_m1();
        let inside = flow.ln_choose + flow.lost * lose.ln() - flow.survived * total;
        let outside = flow.ln_outside;
        1.0 / (1.0 + (outside - inside).exp())
    }

    /// First and second derivative of the log likelihood in a unit's rate.
    fn slope(&self, unit: u32, rate: f64) -> (f64, f64) {
        let maybe = self.data.maybe[unit as usize].slope(rate);
        let mut first = -self.data.carried[unit as usize] - maybe.0;
        let mut second = -maybe.1;
        for &(index, times) in self.data.flows_of(unit) {
            let flow = &self.data.flows[index as usize];
            let total = self.total[index as usize];
            if let Some(split) = flow.split {
                let slope = self.slope_split((flow, split), total, (unit, times));
                first += slope.0;
                second += slope.1;
                continue;
            }
            let times = f64::from(times);
            let grow = total.exp_m1();
            let weight = self.inside(flow, total);
            let mut slope = flow.lost / grow;
            if self.data.outlier > 0.0 {
                slope -= flow.survived;
            }
            first += weight * times * slope;
            second -= weight * times * times * flow.lost * (grow + 1.0) / (grow * grow);
        }
        (first, second)
    }

    /// One Newton step of a unit's rate, in ln rate; gives the new rate. Rates stay in the prior's range.
    pub(super) fn step(&mut self, unit: u32, rate: f64) -> f64 {
        let (first, second) = self.slope(unit, rate);
        // d/dx and d²/dx² for x = ln rate.
        let slope = first * rate;
        let bend = second * rate * rate + slope;
        let step = if bend < 0.0 {
            -slope / bend
        } else {
            slope.signum()
        };
        let largest = self.rates[self.points - 1];
        let new = (rate * step.clamp(-1.5, 1.5).exp()).clamp(self.mildest, largest);
        self.shift(unit, new - rate);
        new
    }

    /// ln of the share of the prior's range that the data leave to a unit's rate.
    pub(super) fn occam(&self, unit: u32, rate: f64) -> f64 {
        let (first, second) = self.slope(unit, rate);
        let bend = -(second * rate * rate + first * rate);
        if bend <= 0.0 {
            return 0.0;
        }
        (0.5 * (std::f64::consts::TAU / bend).ln() + self.fine.density(rate.ln())).min(0.0)
    }

    /// What packets without loss add to the ln likelihood where a unit loses at a rate.
    pub(super) fn clean_likelihood(&self, unit: u32, rate: f64) -> f64 {
        let maybe = self.data.maybe[unit as usize].cost(rate);
        -self.data.carried[unit as usize] * rate - maybe
    }

    /// ln likelihood of all lossy flows at the current rates, without what `carried` accounts for.
    pub(super) fn lossy_likelihood(&self) -> f64 {
        self.data
            .flows
            .iter()
            .zip(&self.total)
            .map(|(flow, total)| match flow.split {
                Some(split) => self.likelihood_split((flow, split), *total),
                None => self.likelihood(flow, *total),
            })
            .sum()
    }

    /// What guilt of a unit would be worth; `None` where it is worth nothing at any rate.
    pub(super) fn worth(&self, unit: u32, least: f64) -> Option<Worth> {
        let gain = &self.gain[unit as usize];
        let clean = (
            self.data.carried[unit as usize],
            self.data.maybe[unit as usize],
        );
        let (carried, maybe) = clean;
        let at = |p: usize| gain[p] - carried * self.rates[p] - maybe.cost(self.rates[p]);
        let promising = (0..self.points).any(|p| at(p) > least - 3.0);
        promising.then(|| self.integrate(gain, clean))
    }

    /// Integrates over ln rate between the table's points.
    fn integrate(&self, gain: &Row, (carried, maybe): (f64, Maybe)) -> Worth {
        let Fine {
            count,
            rates,
            densities,
            ..
        } = &self.fine;
        let (count, width) = (*count, WIDTH);
        let mut values = [f64::NEG_INFINITY; FINE];
        let mut best = 0;
        for (index, value) in values.iter_mut().enumerate().take(count) {
            *value = self.fine.between(gain, index) - carried * rates[index];
            *value -= maybe.cost(rates[index]);
        }
        for index in 1..count {
            if values[index] > values[best] {
                best = index;
            }
        }
        let peak = values[best];
        let mut evidence = 0.0;
        for (index, value) in values.iter().enumerate().take(count) {
            let edge = if index == 0 || index == count - 1 {
                0.5
            } else {
                1.0
            };
            evidence += edge * (value - peak + densities[index]).exp();
        }
        let mut evidence = peak + (evidence * width).ln();
        let mut x = width * best as f64;
        if best > 0 && best + 1 < count {
            let (left, right) = (values[best - 1], values[best + 1]);
            let bend = (2.0 * peak - left - right) / (width * width);
            let tilt = (right - left) / (2.0 * width);
            if bend > 0.0 {
                x += (tilt / bend).clamp(-width, width);
                if bend * width * width > 1.0 {
                    let top = peak + tilt * tilt / (2.0 * bend);
                    evidence = top + 0.5 * (std::f64::consts::TAU / bend).ln() + densities[best];
                }
            }
        }
        Worth {
            evidence,
            rate: self.mildest * x.exp(),
        }
    }

    /// Losses that the background explains, of all lossy flows.
    pub(super) fn background_losses(&self) -> f64 {
        self.data
            .flows
            .iter()
            .zip(&self.total)
            .map(|(flow, total)| {
                let share = |total: f64| {
                    self.inside(flow, total) * flow.lost * (flow.hops * self.background / total)
                };
                match flow.split {
                    Some(split) => self.mean_split((flow, split), *total, share),
                    None => share(*total),
                }
            })
            .sum()
    }
}

/// What the value of a table at a fine point is made of.
fn weights(fine: usize, points: usize) -> (usize, [f64; 4]) {
    let (point, part) = (fine / STEPS, fine % STEPS);
    let t = part as f64 / STEPS as f64;
    if part == 0 {
        let first = point.min(POINTS - 4);
        let mut weights = [0.0; 4];
        weights[point - first] = 1.0;
        return (first, weights);
    }
    if points < 4 {
        return (point, [1.0 - t, t, 0.0, 0.0]);
    }
    let first = point.saturating_sub(1).min(points - 4);
    let x = (point - first) as f64 + t;
    let weight = |i: usize| {
        let others = (0..4).filter(|j| *j != i);
        others
            .map(|j| (x - j as f64) / (i as f64 - j as f64))
            .product()
    };
    (first, std::array::from_fn(weight))
}
