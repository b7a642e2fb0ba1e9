//! Other methods of localisation, as published, on the same data: for the table only.

use std::collections::{BTreeMap, BTreeSet};

use crate::world::{Flow, Guilty, World};

/// Links of flows by number, both directions of a link being one.
pub struct Paths {
    links: Vec<(usize, usize)>,
    of_flow: Vec<Vec<usize>>,
    flows_of: Vec<Vec<usize>>,
}

impl Paths {
    pub fn new(world: &World, flows: &[Flow]) -> Self {
        let number: BTreeMap<(usize, usize), usize> = world
            .links
            .iter()
            .enumerate()
            .map(|(i, l)| (*l, i))
            .collect();
        let mut flows_of = vec![Vec::new(); world.links.len()];
        let of_flow: Vec<Vec<usize>> = flows
            .iter()
            .enumerate()
            .map(|(flow, record)| {
                let links = record.path.windows(2).map(|hop| {
                    let key = (hop[0].min(hop[1]), hop[0].max(hop[1]));
                    number.get(&key).copied().unwrap_or(0)
                });
                let links: Vec<usize> = links.collect();
                for link in &links {
                    flows_of[*link].push(flow);
                }
                links
            })
            .collect();
        Self {
            links: world.links.clone(),
            of_flow,
            flows_of,
        }
    }

    /// Links are a switch's fault where at least half of its links are blamed, and two of them.
    fn switches(&self, world: &World, blamed: &BTreeSet<usize>) -> Vec<Guilty> {
        let mut left = blamed.clone();
        let mut guilty = Vec::new();
        for switch in (0..world.nodes()).filter(|node| world.is_switch(*node)) {
            let own: Vec<usize> = (0..self.links.len())
                .filter(|link| self.links[*link].0 == switch || self.links[*link].1 == switch)
                .collect();
            let hit: Vec<usize> = own.iter().copied().filter(|l| left.contains(l)).collect();
            if hit.len() >= 2 && hit.len() * 2 >= own.len() {
                guilty.push(Guilty::Switch(switch));
                hit.iter().for_each(|link| {
                    left.remove(link);
                });
            }
        }
        guilty.extend(
            left.iter()
                .map(|l| Guilty::Link(self.links[*l].0, self.links[*l].1)),
        );
        guilty
    }

    /// 007: every flow with loss gives each of its links the same share of one vote; the link with
    /// most votes is blamed and its flows are taken out, while it has more than 1 % of all votes.
    pub fn votes(&self, world: &World, flows: &[Flow]) -> Vec<Guilty> {
        let mut open: BTreeSet<usize> = (0..flows.len()).filter(|f| flows[*f].lost > 0).collect();
        let mut votes = vec![0.0; self.links.len()];
        for flow in &open {
            for link in &self.of_flow[*flow] {
                votes[*link] += 1.0 / self.of_flow[*flow].len() as f64;
            }
        }
        let threshold = 0.01 * votes.iter().sum::<f64>();
        let mut blamed = BTreeSet::new();
        loop {
            let best = (0..votes.len()).max_by(|a, b| votes[*a].total_cmp(&votes[*b]));
            let Some(best) = best.filter(|best| votes[*best] > threshold.max(1e-9)) else {
                return self.switches(world, &blamed);
            };
            blamed.insert(best);
            for flow in &self.flows_of[best] {
                if open.remove(flow) {
                    for link in &self.of_flow[*flow] {
                        votes[*link] -= 1.0 / self.of_flow[*flow].len() as f64;
                    }
                }
            }
            votes[best] = 0.0;
        }
    }

    /// NetBouncer: least squares of path success over products of link success with a regulariser that
    /// pushes links to one, by coordinate descent; links below 99.9 % are blamed.
    pub fn success_estimate(&self, world: &World, flows: &[Flow]) -> Vec<Guilty> {
        const REGULAR: f64 = 1.0;
        const ROUNDS: usize = 30;
        let mut paths: BTreeMap<&[usize], (f64, f64)> = BTreeMap::new();
        for (flow, links) in flows.iter().zip(&self.of_flow) {
            let sum = paths.entry(links).or_default();
            sum.0 += flow.sent as f64;
            sum.1 += (flow.sent - flow.lost) as f64;
        }
        let paths: Vec<(&[usize], f64)> = paths.iter().map(|(l, (s, ok))| (*l, ok / s)).collect();
        let mut of_link = vec![Vec::new(); self.links.len()];
        for (path, (links, _)) in paths.iter().enumerate() {
            links.iter().for_each(|link| of_link[*link].push(path));
        }
        let mut success = vec![1.0_f64; self.links.len()];
        for _ in 0..ROUNDS {
            for link in 0..self.links.len() {
                let (mut up, mut down) = (0.0, 0.0);
                for path in &of_link[link] {
                    let (links, seen) = paths[*path];
                    let others: f64 = links
                        .iter()
                        .filter(|l| **l != link)
                        .map(|l| success[*l])
                        .product();
                    up += seen * others;
                    down += others * others;
                }
                // d/dx of Σ(seen − others·x)² + REGULAR·x·(1 − x).
                let (up, down) = (2.0 * up - REGULAR, 2.0 * down - 2.0 * REGULAR);
                if down > 0.0 {
                    success[link] = (up / down).clamp(0.0, 1.0);
                }
            }
        }
        let blamed = (0..success.len())
            .filter(|link| success[*link] < 0.999)
            .collect();
        self.switches(world, &blamed)
    }

    /// Flock's model with its two fixed rates: a flow loses 0.01 % of its packets, or 0.5 % when it crosses
    /// a blamed link; links are blamed greedily while likelihood times prior grows.
    pub fn two_rates(&self, world: &World, flows: &[Flow]) -> Vec<Guilty> {
        const GOOD: f64 = 2e-4;
        const BAD: f64 = 5e-3;
        const PRIOR: f64 = -9.0;
        let gain: Vec<f64> = flows
            .iter()
            .map(|flow| {
                flow.lost as f64 * (BAD / GOOD).ln()
                    + (flow.sent - flow.lost) as f64 * ((1.0 - BAD) / (1.0 - GOOD)).ln()
            })
            .collect();
        let mut open = vec![true; flows.len()];
        let mut gains: Vec<f64> = self
            .flows_of
            .iter()
            .map(|flows| flows.iter().map(|flow| gain[*flow]).sum())
            .collect();
        let mut blamed = BTreeSet::new();
        loop {
            let best = (0..gains.len())
                .filter(|link| !blamed.contains(link))
                .max_by(|a, b| gains[*a].total_cmp(&gains[*b]));
            let Some(best) = best.filter(|best| gains[*best] + PRIOR > 0.0) else {
                return self.switches(world, &blamed);
            };
            blamed.insert(best);
            for &flow in &self.flows_of[best] {
                if std::mem::take(&mut open[flow]) {
                    for link in &self.of_flow[flow] {
                        gains[*link] -= gain[flow];
                    }
                }
            }
        }
    }
}
