//! Random circular orders of hosts, one per peer wanted: who stands next on a ring is probed.
//!
//! Every ring is a permutation, so it gives each host exactly one predecessor: in-degree is balanced by
//! construction, not on average. A host that comes or goes changes only its predecessor on each ring. Cost
//! is rings × hosts × log(hosts), where ranking every candidate for everyone (highest random weight)
//! takes hosts², which a single group of 10,000 unlabelled nodes would not finish.

use super::index::{Index, number};
use crate::hash;

/// Hosts walked on one ring at most in search of a peer. Reached only where almost nobody qualifies
/// (one giant group and a tiny one, for the class that wants another group); keeps the cost linear.
const REACH: usize = 64;

/// Circular orders of the hosts of one cell.
pub(super) struct Rings<'a> {
    index: &'a Index,
    hosts: &'a [(u32, std::ops::Range<u32>)],
    rnics: &'a [u32],
    /// Per ring: positions in `hosts`, in ring order.
    orders: Vec<Vec<u32>>,
    /// Per ring: where each host stands in its order.
    places: Vec<Vec<u32>>,
}

/// Which peers an RNIC has already, by position in the cell; reset in constant time.
pub(super) struct Marks {
    stamps: Vec<u32>,
    now: u32,
}

impl Marks {
    pub fn new(len: usize) -> Self {
        Self {
            stamps: vec![0; len],
            now: 0,
        }
    }

    pub fn clear(&mut self) {
        self.now += 1;
    }

    /// Marks `position`; false where it was marked already.
    pub fn mark(&mut self, position: u32) -> bool {
        std::mem::replace(&mut self.stamps[position as usize], self.now) != self.now
    }

    fn is_marked(&self, position: u32) -> bool {
        self.stamps[position as usize] == self.now
    }
}

impl<'a> Rings<'a> {
    /// `count` rings over `hosts`, whose ranges are positions in `rnics`. `salt` tells classes apart.
    pub fn new(
        index: &'a Index,
        hosts: &'a [(u32, std::ops::Range<u32>)],
        rnics: &'a [u32],
        count: usize,
        salt: u64,
    ) -> Self {
        let orders: Vec<Vec<u32>> = (0..count as u64)
            .map(|ring| {
                let seed = hash::pair(index.seed, salt, ring);
                let mut keyed: Vec<(u64, u32)> = (0..)
                    .zip(hosts)
                    .map(|(at, (host, _))| {
                        (hash::pair(seed, index.hosts[*host as usize].hash, ring), at)
                    })
                    .collect();
                keyed.sort_unstable();
                keyed.into_iter().map(|(_, at)| at).collect()
            })
            .collect();
        let places = orders
            .iter()
            .map(|order| {
                let mut places = vec![0; order.len()];
                for (place, &at) in (0..).zip(order) {
                    places[at as usize] = place;
                }
                places
            })
            .collect();
        Self {
            index,
            hosts,
            rnics,
            orders,
            places,
        }
    }

    /// Picks up to `wanted` peers for the `nth` RNIC of the host at `at`, as positions in the cell's
    /// RNICs. `fits` tells whether an RNIC qualifies; RNICs of the own host never do.
    pub fn pick(
        &self,
        at: u32,
        nth: usize,
        wanted: usize,
        marks: &mut Marks,
        fits: impl Fn(u32) -> bool,
    ) -> Vec<u32> {
        let mut peers = Vec::with_capacity(wanted);
        marks.clear();
        for ring in 0..self.orders.len() {
            if peers.len() == wanted {
                return peers;
            }
            let found = self.next_on(ring, at, nth + ring, |position| {
                !marks.is_marked(position) && fits(self.rnics[position as usize])
            });
            if let Some(position) = found {
                marks.mark(position);
                peers.push(position);
            }
        }
        self.fill(at, wanted, &mut peers, marks, fits);
        peers
    }

    /// The first qualifying RNIC behind the host at `at` on `ring`, taking the RNIC number `turn` (in a
    /// circle) of every host passed.
    fn next_on(
        &self,
        ring: usize,
        at: u32,
        turn: usize,
        qualifies: impl Fn(u32) -> bool,
    ) -> Option<u32> {
        self.behind(ring, at).take(REACH).find_map(|other| {
            let range = &self.hosts[other as usize].1;
            let position = range.start + number(turn % range.len());
            qualifies(position).then_some(position)
        })
    }

    /// Tops up with whoever follows on the first ring: needed where rings came up empty, because nearly
    /// everybody is wanted.
    fn fill(
        &self,
        at: u32,
        wanted: usize,
        peers: &mut Vec<u32>,
        marks: &mut Marks,
        fits: impl Fn(u32) -> bool,
    ) {
        if self.orders.is_empty() {
            return;
        }
        for other in self.behind(0, at).take(REACH) {
            for position in self.hosts[other as usize].1.clone() {
                if peers.len() == wanted {
                    return;
                }
                if fits(self.rnics[position as usize]) && marks.mark(position) {
                    peers.push(position);
                }
            }
        }
    }

    /// The other hosts in the order of `ring`, beginning behind the host at `at`.
    fn behind(&self, ring: usize, at: u32) -> impl Iterator<Item = u32> {
        let order = &self.orders[ring];
        let place = self.places[ring][at as usize] as usize;
        order[place + 1..].iter().chain(&order[..place]).copied()
    }

    /// The other hosts going backwards on the first ring from the host at `at`: its nearest predecessors
    /// first.
    pub fn before(&self, at: u32) -> impl Iterator<Item = u32> {
        let order: &[u32] = self.orders.first().map_or(&[], Vec::as_slice);
        let place = self.places.first().map_or(0, |places| places[at as usize]) as usize;
        order[..place]
            .iter()
            .rev()
            .chain(order.get(place + 1..).unwrap_or(&[]).iter().rev())
            .copied()
    }

    /// The index that the rings are about.
    pub const fn index(&self) -> &'a Index {
        self.index
    }
}
