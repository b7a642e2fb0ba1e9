//! Peers of torMesh, rail and hostMesh: classes that probe a peer with one flow.

use std::collections::BTreeMap;
use std::ops::Range;

use super::in_degree;
use super::index::{Cell, Index, number};
use super::output::ProbeClass;
use super::rings::{Marks, Rings};
use super::share::Allowance;
use super::targets::Edge;

/// Peers within the cell, not on the own host. Returns the RNICs that fewer than two others probe
/// although two others exist.
pub(super) fn tor_mesh(index: &Index, shares: &[Allowance], edges: &mut Vec<Edge>) -> Vec<u32> {
    let mut short = Vec::new();
    for cell in &index.cells {
        let wanted = |rnic: u32| shares[rnic as usize].tor_mesh as usize;
        let rings = cell.rnics.iter().map(|&r| wanted(r)).max().unwrap_or(0);
        if rings == 0 || cell.hosts.len() < 2 {
            continue;
        }
        let rings = Rings::new(
            index,
            &cell.hosts,
            &cell.rnics,
            rings,
            ProbeClass::TorMesh as u64,
        );
        let mut peers = pick_all(cell, &rings, wanted);
        short.extend(in_degree::repair(cell, &rings, &mut peers, wanted));
        for (&local, peers) in cell.rnics.iter().zip(peers) {
            edges.extend(peers.into_iter().map(|position| Edge {
                local,
                peer: cell.rnics[position as usize],
                class: ProbeClass::TorMesh,
                flows: 1,
            }));
        }
    }
    short
}

fn pick_all(cell: &Cell, rings: &Rings<'_>, wanted: impl Fn(u32) -> usize) -> Vec<Vec<u32>> {
    let mut marks = Marks::new(cell.rnics.len());
    let mut peers = Vec::with_capacity(cell.rnics.len());
    for (at, (_, range)) in (0..).zip(&cell.hosts) {
        let own = range.len();
        for (nth, position) in range.clone().enumerate() {
            let wanted = wanted(cell.rnics[position as usize]);
            peers.push(if wanted >= cell.rnics.len() - own {
                everyone_but(range, cell.rnics.len())
            } else {
                rings.pick(at, nth, wanted, &mut marks, |_| true)
            });
        }
    }
    peers
}

fn everyone_but(own: &Range<u32>, len: usize) -> Vec<u32> {
    (0..own.start).chain(own.end..number(len)).collect()
}

/// Peers of the same rail (and fabric) in other groups.
pub(super) fn rail(index: &Index, shares: &[Allowance], edges: &mut Vec<Edge>) {
    for rnics in rails(index).into_values() {
        let wanted = |rnic: u32| shares[rnic as usize].rail as usize;
        let Some(rings) = rnics.iter().map(|&r| wanted(r)).max().filter(|&n| n > 0) else {
            continue;
        };
        let hosts = hosts_of(index, &rnics);
        let rings = Rings::new(index, &hosts, &rnics, rings, ProbeClass::Rail as u64);
        let mut marks = Marks::new(rnics.len());
        for (at, (_, range)) in (0..).zip(&hosts) {
            for (nth, position) in range.clone().enumerate() {
                let local = rnics[position as usize];
                let cell = index.rnics[local as usize].cell;
                let other_group = |peer: u32| index.rnics[peer as usize].cell != cell;
                let peers = rings.pick(at, nth, wanted(local), &mut marks, other_group);
                edges.extend(peers.into_iter().map(|peer| Edge {
                    local,
                    peer: rnics[peer as usize],
                    class: ProbeClass::Rail,
                    flows: 1,
                }));
            }
        }
    }
}

/// RNICs by fabric and rail.
fn rails(index: &Index) -> BTreeMap<(super::index::Fabric, u16), Vec<u32>> {
    let mut rails: BTreeMap<_, Vec<u32>> = BTreeMap::new();
    for (number, rnic) in (0..).zip(&index.rnics) {
        let fabric = index.cells[rnic.cell as usize].fabric;
        rails.entry((fabric, rnic.rail)).or_default().push(number);
    }
    rails
}

/// Peers of the rail class that each RNIC has.
pub(super) fn rail_wants(index: &Index) -> Vec<u64> {
    let mut wants = vec![0; index.rnics.len()];
    for rnics in rails(index).into_values() {
        let mut in_cell: BTreeMap<u32, u64> = BTreeMap::new();
        for &rnic in &rnics {
            *in_cell.entry(index.rnics[rnic as usize].cell).or_default() += 1;
        }
        for &rnic in &rnics {
            let own = in_cell[&index.rnics[rnic as usize].cell];
            wants[rnic as usize] = rnics.len() as u64 - own;
        }
    }
    wants
}

fn hosts_of(index: &Index, rnics: &[u32]) -> Vec<(u32, Range<u32>)> {
    let mut hosts: Vec<(u32, Range<u32>)> = Vec::new();
    for (position, &rnic) in (0..).zip(rnics) {
        let host = index.rnics[rnic as usize].host;
        match hosts.last_mut() {
            Some((last, range)) if *last == host => range.end = position + 1,
            _ => hosts.push((host, position..position + 1)),
        }
    }
    hosts
}

/// RNICs of the own host on the same fabric, in a circle.
pub(super) fn host_mesh(index: &Index, shares: &[Allowance], edges: &mut Vec<Edge>) {
    for host in &index.hosts {
        for local in host.rnics.clone() {
            let wanted = shares[local as usize].host_mesh as usize;
            let behind = (local + 1..host.rnics.end).chain(host.rnics.start..local);
            let peers = behind.filter(|&peer| same_fabric(index, local, peer));
            edges.extend(peers.take(wanted).map(|peer| Edge {
                local,
                peer,
                class: ProbeClass::HostMesh,
                flows: 1,
            }));
        }
    }
}

/// Peers of hostMesh that each RNIC has.
pub(super) fn host_wants(index: &Index) -> Vec<u64> {
    (0..number(index.rnics.len()))
        .map(|local| {
            let host = &index.hosts[index.rnics[local as usize].host as usize];
            let peers = host.rnics.clone().filter(|&peer| peer != local);
            peers
                .filter(|&peer| same_fabric(index, local, peer))
                .count() as u64
        })
        .collect()
}

fn same_fabric(index: &Index, a: u32, b: u32) -> bool {
    let fabric = |rnic: u32| index.cells[index.rnics[rnic as usize].cell as usize].fabric;
    fabric(a) == fabric(b)
}
