//! Fabrics, faults and flows drawn from a seed. Knows nothing of the methods that are compared.

use std::collections::BTreeSet;

use rand::Rng as _;
use rand::seq::{IndexedRandom as _, SliceRandom as _};
use rand_chacha::ChaCha8Rng;
use rdmamesh_fabric::judge::Fabric;

/// Nodes by number; hosts come first.
pub struct World {
    pub fabric: Fabric,
    /// Undirected links, lower node first.
    pub links: Vec<(usize, usize)>,
    /// Switch that a host hangs on.
    access: Vec<usize>,
    hosts: usize,
    shape: Shape,
}

/// What is built.
#[derive(Clone, Copy, Debug)]
pub enum Shape {
    /// k pods of k/2 edge and k/2 aggregation switches, k²/4 cores; hosts per edge switch.
    FatTree { k: usize, hosts: usize },
    /// Every leaf joined with every spine; hosts per leaf.
    LeafSpine {
        leaves: usize,
        spines: usize,
        hosts: usize,
    },
}

/// One flow record.
pub struct Flow {
    pub source: usize,
    pub target: usize,
    /// All nodes from source to target.
    pub path: Vec<usize>,
    pub sent: u64,
    pub lost: u64,
}

/// Who is really guilty.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Guilty {
    Link(usize, usize),
    Switch(usize),
}

/// How one class of cases is drawn.
#[derive(Clone, Copy, Debug)]
pub struct Class {
    pub name: &'static str,
    /// Lossy links, from and to; 0 for none.
    pub links: (usize, usize),
    /// Whether a share of one switch's links is lossy instead.
    pub switch: bool,
    /// Loss of a lossy link (ratio), from and to.
    pub loss: (f64, f64),
    /// Flows per host, from and to.
    pub flows_per_host: (f64, f64),
    /// Packets of a flow.
    pub packets: Packets,
}

/// Packets of a flow.
#[derive(Clone, Copy, Debug)]
pub enum Packets {
    /// Pareto with shape 1.05 and a mean of about 140, at most 70,000: web search and data mining alike.
    HeavyTailed,
    /// The same number for all flows of a case, from and to.
    Even(u64, u64),
}

impl World {
    pub fn new(shape: Shape) -> Self {
        let (names, links, access, hosts) = match shape {
            Shape::FatTree { k, hosts } => fat_tree(k, hosts),
            Shape::LeafSpine {
                leaves,
                spines,
                hosts,
            } => leaf_spine(leaves, spines, hosts),
        };
        let fabric = Fabric {
            links: links
                .iter()
                .map(|(a, b)| (names[*a].clone(), names[*b].clone()))
                .collect(),
            hosts: names[..hosts].to_vec(),
            switches: names[hosts..].to_vec(),
        };
        Self {
            fabric,
            links,
            access,
            hosts,
            shape,
        }
    }

    pub fn name(&self, node: usize) -> &str {
        match node.checked_sub(self.hosts) {
            None => &self.fabric.hosts[node],
            Some(switch) => &self.fabric.switches[switch],
        }
    }

    pub fn nodes(&self) -> usize {
        self.hosts + self.fabric.switches.len()
    }

    pub fn is_switch(&self, node: usize) -> bool {
        node >= self.hosts
    }

    /// Loss ratio per directed link, and who is guilty.
    fn faults(&self, class: &Class, rng: &mut ChaCha8Rng) -> (Vec<Vec<(usize, f64)>>, Vec<Guilty>) {
        let mut loss: Vec<Vec<(usize, f64)>> = vec![Vec::new(); self.nodes()];
        for &(a, b) in &self.links {
            loss[a].push((b, rng.random_range(0.0..1e-4)));
            loss[b].push((a, rng.random_range(0.0..1e-4)));
        }
        let mut bad: Vec<(usize, usize)> = Vec::new();
        let mut guilty = Vec::new();
        if class.switch {
            let switch = rng.random_range(self.hosts..self.nodes());
            let mut links: Vec<(usize, usize)> = self.links.clone();
            links.retain(|(a, b)| *a == switch || *b == switch);
            links.shuffle(rng);
            let share = rng.random_range(0.25..=1.0) * links.len() as f64;
            // A single link of a switch is a link.
            links.truncate((share.round() as usize).max(2));
            bad = links;
            guilty.push(Guilty::Switch(switch));
        } else if class.links.1 > 0 {
            let count = rng.random_range(class.links.0..=class.links.1);
            bad = self.links.choose_multiple(rng, count).copied().collect();
            guilty.extend(bad.iter().map(|(a, b)| Guilty::Link(*a, *b)));
        }
        let one_way = !class.switch && rng.random_bool(0.5);
        for (a, b) in bad {
            let rate = rng.random_range(class.loss.0..=class.loss.1);
            let (a, b) = if rng.random_bool(0.5) { (a, b) } else { (b, a) };
            set(&mut loss, a, b, rate);
            if !one_way {
                set(&mut loss, b, a, rate);
            }
        }
        (loss, guilty)
    }

    /// Draws a case: flows, and who is guilty.
    pub fn draw(&self, class: &Class, rng: &mut ChaCha8Rng) -> (Vec<Flow>, Vec<Guilty>) {
        let (loss, guilty) = self.faults(class, rng);
        let (low, high) = class.flows_per_host;
        let per_host = (rng.random_range(low.ln()..=high.ln())).exp();
        let count = ((per_host * self.hosts as f64) as usize).clamp(20, 100_000);
        // In half of the cases, half of the traffic is that of a few busy leaves.
        let busy: BTreeSet<usize> = if rng.random_bool(0.5) {
            let leaves: BTreeSet<usize> = self.access.iter().copied().collect();
            let leaves: Vec<usize> = leaves.into_iter().collect();
            let some = (leaves.len() / 20).max(1);
            leaves.choose_multiple(rng, some).copied().collect()
        } else {
            BTreeSet::new()
        };
        let busy: Vec<usize> = (0..self.hosts)
            .filter(|host| busy.contains(&self.access[*host]))
            .collect();
        let even = match class.packets {
            Packets::Even(low, high) => {
                Some((rng.random_range((low as f64).ln()..=(high as f64).ln())).exp() as u64)
            }
            Packets::HeavyTailed => None,
        };
        let mut flows = Vec::with_capacity(count);
        while flows.len() < count {
            let mut host = || match busy.choose(rng) {
                Some(host) if rng.random_bool(0.5) => *host,
                _ => rng.random_range(0..self.hosts),
            };
            let (source, target) = (host(), host());
            if source == target {
                continue;
            }
            let path = self.route(source, target, rng);
            let sent = even.unwrap_or_else(|| heavy_tailed(rng)).max(1);
            let mut left = sent;
            for hop in path.windows(2) {
                let rate = loss[hop[0]].iter().find(|(to, _)| *to == hop[1]);
                left -= binomial(left, rate.map_or(0.0, |(_, rate)| *rate), rng);
            }
            flows.push(Flow {
                source,
                target,
                path,
                sent,
                lost: sent - left,
            });
        }
        (flows, guilty)
    }

    /// One of the shortest paths, each as likely.
    fn route(&self, source: usize, target: usize, rng: &mut ChaCha8Rng) -> Vec<usize> {
        let (from, to) = (self.access[source], self.access[target]);
        let mut path = vec![source, from];
        match self.shape {
            _ if from == to => {}
            Shape::LeafSpine { leaves, spines, .. } => {
                path.push(self.hosts + leaves + rng.random_range(0..spines));
            }
            Shape::FatTree { k, .. } => {
                let half = k / 2;
                let pod = |edge: usize| (edge - self.hosts) / half;
                let aggregation =
                    |pod: usize, index: usize| self.hosts + k * half + pod * half + index;
                let index = rng.random_range(0..half);
                path.push(aggregation(pod(from), index));
                if pod(from) != pod(to) {
                    let core = index * half + rng.random_range(0..half);
                    path.push(self.hosts + 2 * k * half + core);
                    path.push(aggregation(pod(to), index));
                }
            }
        }
        if from != to {
            path.push(to);
        }
        path.push(target);
        path
    }
}

fn set(loss: &mut [Vec<(usize, f64)>], from: usize, to: usize, rate: f64) {
    for link in loss[from].iter_mut().filter(|(peer, _)| *peer == to) {
        link.1 = rate;
    }
}

type Parts = (Vec<String>, Vec<(usize, usize)>, Vec<usize>, usize);

fn leaf_spine(leaves: usize, spines: usize, per_leaf: usize) -> Parts {
    let hosts = leaves * per_leaf;
    let mut names: Vec<String> = (1..=hosts).map(|i| format!("host{i}")).collect();
    names.extend((1..=leaves).map(|i| format!("leaf{i}")));
    names.extend((1..=spines).map(|i| format!("spine{i}")));
    let access: Vec<usize> = (0..hosts).map(|host| hosts + host / per_leaf).collect();
    let mut links: Vec<(usize, usize)> = access.iter().copied().enumerate().collect();
    for leaf in hosts..hosts + leaves {
        links.extend((0..spines).map(|spine| (leaf, hosts + leaves + spine)));
    }
    (names, links, access, hosts)
}

fn fat_tree(k: usize, per_edge: usize) -> Parts {
    let half = k / 2;
    let edges = k * half;
    let hosts = edges * per_edge;
    let mut names: Vec<String> = (1..=hosts).map(|i| format!("h{i}")).collect();
    names.extend((1..=edges).map(|i| format!("edge{i}")));
    names.extend((1..=edges).map(|i| format!("agg{i}")));
    names.extend((1..=half * half).map(|i| format!("core{i}")));
    let access: Vec<usize> = (0..hosts).map(|host| hosts + host / per_edge).collect();
    let mut links: Vec<(usize, usize)> = access.iter().copied().enumerate().collect();
    for pod in 0..k {
        for a in 0..half {
            let aggregation = hosts + edges + pod * half + a;
            links.extend((0..half).map(|e| (hosts + pod * half + e, aggregation)));
            links.extend((0..half).map(|c| (aggregation, hosts + 2 * edges + a * half + c)));
        }
    }
    (names, links, access, hosts)
}

fn heavy_tailed(rng: &mut ChaCha8Rng) -> u64 {
    const SHAPE: f64 = 1.05;
    const LEAST: f64 = 140.0 * (SHAPE - 1.0) / SHAPE;
    loop {
        let size = LEAST / (1.0 - rng.random::<f64>()).powf(1.0 / SHAPE);
        if size <= 70_000.0 {
            return size.ceil() as u64;
        }
    }
}

/// Losses among `n` packets: jumps from one lost packet to the next.
fn binomial(n: u64, p: f64, rng: &mut ChaCha8Rng) -> u64 {
    if p <= 0.0 {
        return 0;
    }
    let (mut lost, mut at) = (0, 0.0);
    let scale = (-p).ln_1p();
    loop {
        at += ((1.0 - rng.random::<f64>()).ln() / scale).floor() + 1.0;
        if at > n as f64 {
            return lost;
        }
        lost += 1;
    }
}
