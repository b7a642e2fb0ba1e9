//! Who may send how much: a node's budget split over meshes, classes and RNICs.
//!
//! Every split is max–min fair: whoever wants less than an equal part gets what it wants, the rest is
//! divided equally. Wants are rounded up to coarse steps first, so that a group growing by one node does
//! not move everybody's share.

use std::collections::BTreeMap;

use super::index::Index;
use super::input::{MeshInput, MeshPolicy};
use super::output::ProbeClass;
use crate::names::NodeName;
use crate::rate::ProbeRate;

/// Longest stretch of an interval; a budget that needs more carries nothing.
pub(super) const MAX_STRETCH: u32 = 1024;

/// What one RNIC may spend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Allowance {
    /// Peers of torMesh.
    pub tor_mesh: u32,
    /// Peers of the rail class.
    pub rail: u32,
    /// Peers on the own host.
    pub host_mesh: u32,
    /// Rate for interTor, `control` exchanges with those peers included.
    pub inter_tor: ProbeRate,
}

/// What a mesh may spend.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Shares {
    /// Per host: factor on every interval.
    pub stretch: Vec<u32>,
    /// Per RNIC.
    pub rnics: Vec<Allowance>,
    /// Per host: the rate it may not exceed.
    pub limit: Vec<ProbeRate>,
}

/// Costs of a mesh's probes, at intervals stretched by a factor.
#[derive(Clone, Copy, Debug)]
pub(super) struct Costs {
    tor_mesh: ProbeRate,
    inter_tor: ProbeRate,
    rail: ProbeRate,
    host_mesh: ProbeRate,
    /// Of the `control` exchanges with one peer.
    pub control: ProbeRate,
}

impl Costs {
    pub fn new(policy: &MeshPolicy, stretch: u32) -> Self {
        let classes = policy.traffic_classes.len().max(1) as u64;
        let every = |class| {
            policy
                .classes
                .get(&class)
                .map_or(ProbeRate::ZERO, |probing| {
                    ProbeRate::every(probing.interval.saturating_mul(stretch))
                })
        };
        let per_peer = |class| every(class).times(classes);
        Self {
            tor_mesh: per_peer(ProbeClass::TorMesh),
            inter_tor: per_peer(ProbeClass::InterTor),
            rail: per_peer(ProbeClass::Rail),
            host_mesh: per_peer(ProbeClass::HostMesh),
            control: every(ProbeClass::Control),
        }
    }

    /// One peer with `flows` flows of interTor.
    pub const fn inter_tor_peer(&self, flows: u32) -> ProbeRate {
        self.inter_tor_flows(flows).plus(self.control)
    }

    /// `flows` more flows of interTor to a peer that is probed already.
    pub const fn inter_tor_flows(&self, flows: u32) -> ProbeRate {
        self.inter_tor.times(flows as u64)
    }

    /// One peer with one flow.
    pub const fn peer(&self, class: ProbeClass) -> ProbeRate {
        self.flows(class, 1).plus(self.control)
    }

    /// `flows` flows, without `control` exchanges.
    pub const fn flows(&self, class: ProbeClass, flows: u16) -> ProbeRate {
        let probes = match class {
            ProbeClass::TorMesh => self.tor_mesh,
            ProbeClass::InterTor => self.inter_tor,
            ProbeClass::Rail => self.rail,
            ProbeClass::HostMesh => self.host_mesh,
            ProbeClass::Service | ProbeClass::Control => ProbeRate::ZERO,
        };
        probes.times(flows as u64)
    }
}

/// Classes with targets of their own, in the order in which a budget serves them.
const CLASSES: [ProbeClass; 4] = [
    ProbeClass::TorMesh,
    ProbeClass::InterTor,
    ProbeClass::Rail,
    ProbeClass::HostMesh,
];

/// Peers that an RNIC has for each of [`CLASSES`]; for interTor: flows.
pub(super) type Wants = [u64; 4];

/// A mesh as the split sees it.
pub(super) struct Claim<'a> {
    pub mesh: &'a MeshInput,
    pub index: &'a Index,
    /// Per RNIC.
    pub wants: Vec<Wants>,
}

impl Claim<'_> {
    /// Fewest and most that each class of `host` can use, at intervals stretched by `stretch`.
    fn demand(&self, host: usize, stretch: u32) -> [(ProbeRate, ProbeRate); 4] {
        let policy = &self.mesh.policy;
        let costs = Costs::new(policy, stretch);
        let cap = u64::from(policy.budget.max_peers_per_rnic);
        let mut demand = [(ProbeRate::ZERO, ProbeRate::ZERO); 4];
        for rnic in self.index.hosts[host].rnics.clone() {
            let wants = self.wants[rnic as usize];
            for ((class, want), (least, most)) in CLASSES.into_iter().zip(wants).zip(&mut demand) {
                let floor = if class == ProbeClass::TorMesh { 2 } else { 1 };
                *least += costs.peer(class).times(want.min(floor).min(cap));
                *most += if class == ProbeClass::InterTor {
                    let flows = quantise(want);
                    costs.inter_tor.times(flows) + costs.control.times(flows.min(cap))
                } else {
                    costs.peer(class).times(quantise(want).min(cap))
                };
            }
        }
        demand
    }
}

/// Splits every node's budget over the meshes that it belongs to, and within each mesh over classes and
/// RNICs.
pub(super) fn split(claims: &[Claim<'_>]) -> Vec<Shares> {
    let mut by_node: BTreeMap<&NodeName, Vec<(usize, usize)>> = BTreeMap::new();
    for (mesh, claim) in claims.iter().enumerate() {
        for (host, entry) in claim.index.hosts.iter().enumerate() {
            by_node.entry(&entry.name).or_default().push((mesh, host));
        }
    }
    let mut shares: Vec<Shares> = claims
        .iter()
        .map(|claim| Shares {
            stretch: vec![1; claim.index.hosts.len()],
            rnics: vec![Allowance::default(); claim.index.rnics.len()],
            limit: vec![ProbeRate::ZERO; claim.index.hosts.len()],
        })
        .collect();
    for meshes in by_node.into_values() {
        for ((mesh, host), limit) in meshes.iter().zip(split_over_meshes(claims, &meshes)) {
            split_over_classes(&claims[*mesh], *host, limit, &mut shares[*mesh]);
        }
    }
    shares
}

/// The part of one node's budget that each of its meshes gets.
fn split_over_meshes(claims: &[Claim<'_>], meshes: &[(usize, usize)]) -> Vec<ProbeRate> {
    let budget = meshes
        .iter()
        .map(|(mesh, _)| claims[*mesh].mesh.policy.budget.max_probes_per_second)
        .min()
        .map_or(ProbeRate::ZERO, ProbeRate::per_second);
    if meshes.len() == 1 {
        return vec![budget];
    }
    let bounds: Vec<(ProbeRate, ProbeRate)> = meshes
        .iter()
        .map(|(mesh, host)| {
            let demand = claims[*mesh].demand(*host, 1);
            (
                demand.iter().map(|d| d.0).sum(),
                demand.iter().map(|d| d.1).sum(),
            )
        })
        .collect();
    let least: ProbeRate = bounds.iter().map(|b| b.0).sum();
    if least > budget {
        let part = |floor: ProbeRate| budget.proportion(floor, least);
        return bounds.iter().map(|b| part(b.0)).collect();
    }
    max_min(budget, &bounds)
}

/// Splits what a mesh may spend on one node.
fn split_over_classes(claim: &Claim<'_>, host: usize, limit: ProbeRate, shares: &mut Shares) {
    shares.limit[host] = limit;
    let mut stretch = 1;
    let bounds = loop {
        let bounds = claim.demand(host, stretch);
        if bounds.iter().map(|b| b.0).sum::<ProbeRate>() <= limit {
            break bounds;
        }
        stretch *= 2;
        if stretch > MAX_STRETCH {
            shares.stretch[host] = stretch;
            return;
        }
    };
    shares.stretch[host] = stretch;
    let rates = max_min(limit, &bounds);
    let costs = Costs::new(&claim.mesh.policy, stretch);
    let cap = u64::from(claim.mesh.policy.budget.max_peers_per_rnic);
    let rnics = claim.index.hosts[host].rnics.clone();
    for (class, (at, rate)) in CLASSES.into_iter().zip(rates.into_iter().enumerate()) {
        let wants = rnics.clone().map(|rnic| claim.wants[rnic as usize][at]);
        if class == ProbeClass::InterTor {
            let active = wants.clone().filter(|want| *want > 0).count() as u64;
            for (rnic, want) in rnics.clone().zip(wants) {
                if want > 0 {
                    shares.rnics[rnic as usize].inter_tor = rate.split(active);
                }
            }
            continue;
        }
        let wants: Vec<u64> = wants.map(|want| want.min(cap)).collect();
        let units = rate.fits(costs.peer(class));
        for (rnic, peers) in rnics.clone().zip(deal(units, &wants)) {
            let allowance = &mut shares.rnics[rnic as usize];
            match class {
                ProbeClass::TorMesh => allowance.tor_mesh = peers,
                ProbeClass::Rail => allowance.rail = peers,
                _ => allowance.host_mesh = peers,
            }
        }
    }
}

/// Deals `units` to takers one by one in turn until all have what they want.
fn deal(units: u64, wants: &[u64]) -> Vec<u32> {
    let level = (0..=wants.iter().copied().max().unwrap_or(0))
        .rev()
        .find(|level| wants.iter().map(|want| want.min(level)).sum::<u64>() <= units)
        .unwrap_or(0);
    let mut rest = units - wants.iter().map(|want| want.min(&level)).sum::<u64>();
    wants
        .iter()
        .map(|want| {
            let extra = u64::from(*want > level && rest > 0);
            rest -= extra;
            u32::try_from((*want).min(level) + extra).unwrap_or(u32::MAX)
        })
        .collect()
}

/// Max–min fair parts of `budget` for takers with a least (their sum fits the budget) and a most.
fn max_min(budget: ProbeRate, bounds: &[(ProbeRate, ProbeRate)]) -> Vec<ProbeRate> {
    let at = |level: ProbeRate| {
        bounds
            .iter()
            .map(move |(least, most)| level.min(*most).max(*least))
    };
    let level = budget.highest(|level| at(level).sum::<ProbeRate>() <= budget);
    at(level).collect()
}

/// Rounds up to steps of a quarter octave: 8, 10, 12, 14, 16, 20, 24, 28, 32, …
pub(super) const fn quantise(count: u64) -> u64 {
    if count <= 8 {
        return count;
    }
    let step = 1 << (count.ilog2() - 2);
    count.div_ceil(step) * step
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn steps_waste_at_most_a_quarter() {
        for count in 1..10_000 {
            let step = quantise(count);
            assert!(step >= count && step * 4 <= count * 5, "{count} → {step}");
        }
    }

    #[test]
    fn whoever_wants_little_gets_it_and_the_rest_is_divided_equally() {
        let rate = ProbeRate::per_second;
        let bounds = [
            (rate(0), rate(10)),
            (rate(0), rate(1000)),
            (rate(0), rate(1000)),
        ];
        assert_eq!(max_min(rate(110), &bounds), [rate(10), rate(50), rate(50)]);
    }

    proptest! {
        #[test]
        fn a_split_never_exceeds_the_budget_and_never_goes_below_the_least(
            takers in prop::collection::vec((0u32..50, 0u32..500), 1..5),
            spare in 0u32..1000,
        ) {
            let rate = ProbeRate::per_second;
            let bounds: Vec<_> = takers.iter().map(|(a, b)| (rate(*a), rate(a + b))).collect();
            let budget = bounds.iter().map(|b| b.0).sum::<ProbeRate>() + rate(spare);
            let parts = max_min(budget, &bounds);
            prop_assert!(parts.iter().copied().sum::<ProbeRate>() <= budget);
            for (part, (least, most)) in parts.iter().zip(&bounds) {
                prop_assert!(part >= least && part <= most);
            }
        }

        #[test]
        fn dealing_uses_every_unit_that_somebody_wants(
            units in 0u64..200,
            wants in prop::collection::vec(0u64..40, 0..8),
        ) {
            let dealt = deal(units, &wants);
            let total: u64 = dealt.iter().map(|d| u64::from(*d)).sum();
            prop_assert_eq!(total, units.min(wants.iter().sum()));
            for (d, want) in dealt.iter().zip(&wants) {
                prop_assert!(u64::from(*d) <= *want);
            }
        }
    }
}
