//! Nobody is probed by fewer than two: with a single prober nobody can tell which of the two is ill.
//!
//! Rings give everybody the same in-degree where all hosts have the same number of RNICs. Where they do
//! not, this pass moves single targets along a chain of swaps (an augmenting path, breadth first), so
//! that whoever is short gains a prober, nobody else falls short and nobody's peer count grows beyond
//! its allowance.

use std::collections::{BTreeMap, VecDeque};

use super::index::Cell;
use super::rings::Rings;

/// Probers that everybody should have.
const WANTED: u32 = 2;

/// Targets examined at most in search of one more prober. Chains are one or two swaps long where hosts are
/// anything like equal; the bound keeps a hopeless search (too few slots in the whole group) cheap.
const SEARCH: usize = 2_000;

/// Moves targets in `peers` (per position in the cell: whom it probes) until everybody has two probers
/// where two others exist. `allowed` is the peer count that an RNIC may have. Returns the RNICs that stay
/// short.
pub(super) fn repair(
    cell: &Cell,
    rings: &Rings<'_>,
    peers: &mut [Vec<u32>],
    allowed: impl Fn(u32) -> usize,
) -> Vec<u32> {
    let mut search = Search::new(cell, rings, peers.len());
    for targets in peers.iter() {
        for &target in targets {
            search.degree[target as usize] += 1;
        }
    }
    let mut order: Vec<u32> = (0..).take(peers.len()).collect();
    order.retain(|&position| search.is_short(position));
    order.sort_unstable_by_key(|&position| {
        rings.index().rnics[cell.rnics[position as usize] as usize].hash
    });
    let mut short = Vec::new();
    for position in order {
        while search.is_short(position) {
            if !search.add_prober(position, peers, &allowed) {
                short.push(cell.rnics[position as usize]);
                break;
            }
        }
    }
    short.sort_unstable();
    short
}

struct Search<'a> {
    cell: &'a Cell,
    rings: &'a Rings<'a>,
    /// Position in the cell's hosts, per RNIC.
    host: Vec<u32>,
    /// Probers, per RNIC.
    degree: Vec<u32>,
}

/// How a chain reached an RNIC that gives up a prober: `prober` is to probe `taker` instead.
#[derive(Clone, Copy)]
struct Swap {
    taker: u32,
    prober: u32,
}

impl<'a> Search<'a> {
    fn new(cell: &'a Cell, rings: &'a Rings<'a>, len: usize) -> Self {
        let mut host = vec![0; len];
        for (at, (_, range)) in (0..).zip(&cell.hosts) {
            for position in range.clone() {
                host[position as usize] = at;
            }
        }
        Self {
            cell,
            rings,
            host,
            degree: vec![0; len],
        }
    }

    fn is_short(&self, position: u32) -> bool {
        let own = self.cell.hosts[self.host[position as usize] as usize]
            .1
            .len();
        let others = u32::try_from(self.cell.rnics.len() - own).unwrap_or(u32::MAX);
        self.degree[position as usize] < WANTED.min(others)
    }

    /// Whether `position` can lose a prober.
    fn can_lose(&self, position: u32) -> bool {
        self.degree[position as usize] > WANTED
    }

    /// Gives `needy` one more prober, by a chain of swaps where nobody has a slot left.
    fn add_prober(
        &mut self,
        needy: u32,
        peers: &mut [Vec<u32>],
        allowed: impl Fn(u32) -> usize,
    ) -> bool {
        let mut reached: BTreeMap<u32, Option<Swap>> = BTreeMap::from([(needy, None)]);
        let mut queue = VecDeque::from([needy]);
        let mut examined = 0;
        while let Some(taker) = queue.pop_front() {
            for prober in self.possible_probers(taker) {
                examined += 1;
                if examined > SEARCH {
                    return false;
                }
                let targets = &peers[prober as usize];
                if targets.contains(&taker) {
                    continue;
                }
                if targets.len() < allowed(self.cell.rnics[prober as usize]) {
                    self.apply(Swap { taker, prober }, None, &reached, peers);
                    return true;
                }
                for &loser in targets {
                    if reached.contains_key(&loser) {
                        continue;
                    }
                    let swap = Swap { taker, prober };
                    if self.can_lose(loser) {
                        self.apply(swap, Some(loser), &reached, peers);
                        return true;
                    }
                    reached.insert(loser, Some(swap));
                    queue.push_back(loser);
                }
            }
        }
        false
    }

    /// Everybody who might probe `position`, nearest predecessors first.
    fn possible_probers(&self, position: u32) -> impl Iterator<Item = u32> + use<'a> {
        let cell = self.cell;
        self.rings
            .before(self.host[position as usize])
            .flat_map(move |host| cell.hosts[host as usize].1.clone())
    }

    /// Carries out a chain, from its end back to the needy RNIC.
    fn apply(
        &mut self,
        last: Swap,
        loser: Option<u32>,
        reached: &BTreeMap<u32, Option<Swap>>,
        peers: &mut [Vec<u32>],
    ) {
        let (mut swap, mut loser) = (last, loser);
        loop {
            let targets = &mut peers[swap.prober as usize];
            if let Some(loser) = loser {
                targets.retain(|&target| target != loser);
                self.degree[loser as usize] -= 1;
            }
            targets.push(swap.taker);
            self.degree[swap.taker as usize] += 1;
            let Some(Some(previous)) = reached.get(&swap.taker) else {
                return;
            };
            loser = Some(swap.taker);
            swap = *previous;
        }
    }
}
