//! Figures and reasons of a finished plan.

use super::findings::{Finding, Names};
use super::index::{Index, number};
use super::input::MeshPolicy;
use super::inter_tor::Quotas;
use super::output::{Counts, Coverage, GroupPairCoverage, ProbeClass};
use super::share::{Costs, MAX_STRETCH, Shares, Wants};
use super::spread::Achieved;
use super::targets::Targets;
use crate::coverage;
use crate::rate::ProbeRate;

/// Counts and rates.
pub(super) struct Figures {
    pub counts: Counts,
    /// Per host.
    pub rates: Vec<ProbeRate>,
}

/// Counts what is probed, and what that costs every host.
pub(super) fn figures(
    index: &Index,
    policy: &MeshPolicy,
    shares: &Shares,
    targets: &Targets,
) -> Figures {
    let traffic_classes = policy.traffic_classes.len().max(1) as u64;
    let mut counts = Counts {
        nodes: number(index.hosts.len()),
        rnics: number(index.rnics.len()),
        groups: index.groups,
        ..Counts::default()
    };
    let mut rates = Vec::with_capacity(index.hosts.len());
    let mut peers = Vec::new();
    for (host, stretch) in index.hosts.iter().zip(&shares.stretch) {
        let costs = Costs::new(policy, *stretch);
        let mut rate = ProbeRate::ZERO;
        for rnic in host.rnics.clone() {
            for target in targets.of(rnic) {
                counts.flows += u64::from(target.flows) * traffic_classes;
                rate += costs.flows(target.class, target.flows);
            }
            targets.peers_into(rnic, &mut peers);
            counts.pairs += peers.len() as u64;
            rate += costs.control.times(peers.len() as u64);
        }
        rates.push(rate);
    }
    Figures { counts, rates }
}

/// Turns flows per group pair into probabilities.
pub(super) fn coverage(
    index: &Index,
    policy: &MeshPolicy,
    flows_wanted: u32,
    quotas: &Quotas,
    achieved: Achieved,
) -> Coverage {
    if quotas.pairs == 0 {
        return Coverage {
            wanted: policy.coverage,
            flows_wanted,
            ..Coverage::default()
        };
    }
    let most = achieved.spread.keys().next_back().copied().unwrap_or(0);
    let table = coverage::table(policy.topology.parallel_paths, most);
    let probability = |flows: u32| table.get(flows as usize).copied().unwrap_or(0.0);
    let name = |cell: u32| index.cells[cell as usize].group.clone();
    let fewest = achieved.spread.keys().next().copied().unwrap_or(0);
    Coverage {
        wanted: policy.coverage,
        achieved: probability(fewest),
        mean: mean(
            achieved
                .spread
                .iter()
                .map(|(&flows, &pairs)| (probability(flows), pairs)),
        ),
        flows_wanted,
        flows: fewest,
        group_pairs: quotas.pairs,
        short: achieved
            .spread
            .range(..flows_wanted)
            .map(|(_, pairs)| pairs)
            .sum(),
        worst: achieved
            .worst
            .iter()
            .map(|&(flows, from, to)| GroupPairCoverage {
                from: name(from),
                to: name(to),
                flows,
                probability: probability(flows),
            })
            .collect(),
        spread: achieved.spread,
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "weights of a mean that people read"
)]
fn mean(weighted: impl Iterator<Item = (f64, u64)>) -> f64 {
    let (sum, weight) = weighted.fold((0.0, 0.0), |(sum, weight), (value, count)| {
        (value.mul_add(count as f64, sum), weight + count as f64)
    });
    if weight > 0.0 { sum / weight } else { 1.0 }
}

/// What the findings follow from.
pub(super) struct Outcome<'a> {
    pub index: &'a Index,
    pub policy: &'a MeshPolicy,
    pub shares: &'a Shares,
    pub wants: &'a [Wants],
    pub targets: &'a Targets,
    pub coverage: &'a Coverage,
    /// RNICs that fewer than two others probe.
    pub short: &'a [u32],
}

/// Adds what the plan itself has to tell to what its input had.
pub(super) fn findings(mut findings: Vec<Finding>, outcome: &Outcome<'_>) -> Vec<Finding> {
    findings.extend(lonely_groups(outcome));
    findings.extend(stretched(outcome));
    findings.extend(capped(outcome));
    if !outcome.short.is_empty() {
        let mut rnics = Names::default();
        for &rnic in outcome.short {
            rnics.push(outcome.index.name(rnic));
        }
        findings.push(Finding::LowInDegree { rnics });
    }
    let coverage = outcome.coverage;
    if coverage.short > 0 {
        findings.push(Finding::CoverageShort {
            wanted: coverage.wanted,
            achieved: coverage.achieved,
            flows_wanted: coverage.flows_wanted,
            flows: coverage.flows,
            short: (coverage.short, coverage.group_pairs),
        });
    }
    findings
}

fn lonely_groups(outcome: &Outcome<'_>) -> Option<Finding> {
    if !outcome.policy.classes.contains_key(&ProbeClass::TorMesh) {
        return None;
    }
    let mut groups = Names::default();
    for cell in &outcome.index.cells {
        if cell.hosts.len() == 1 {
            groups.push(&cell.group);
        }
    }
    (!groups.is_empty()).then_some(Finding::LonelyGroups { groups })
}

fn stretched(outcome: &Outcome<'_>) -> Vec<Finding> {
    let (mut slower, mut nothing, mut factor) = (Names::default(), Names::default(), 1);
    for (host, &stretch) in outcome.index.hosts.iter().zip(&outcome.shares.stretch) {
        if stretch > MAX_STRETCH {
            nothing.push(&host.name);
        } else if stretch > 1 {
            slower.push(&host.name);
            factor = factor.max(stretch);
        }
    }
    let mut findings = Vec::new();
    if !slower.is_empty() {
        findings.push(Finding::Stretched {
            factor,
            nodes: slower,
        });
    }
    if !nothing.is_empty() {
        findings.push(Finding::NotProbing { nodes: nothing });
    }
    findings
}

/// For torMesh, rail and hostMesh: the RNIC that misses most peers of the class.
fn capped(outcome: &Outcome<'_>) -> Vec<Finding> {
    let classes = [
        (ProbeClass::TorMesh, 0),
        (ProbeClass::Rail, 2),
        (ProbeClass::HostMesh, 3),
    ];
    let mut worst = [(0, 0, 0); 3];
    for (rnic, wants) in (0..).zip(outcome.wants) {
        for ((class, at), worst) in classes.into_iter().zip(&mut worst) {
            let targets = outcome.targets.of(rnic).iter();
            let planned = targets.filter(|target| target.class == class).count() as u64;
            *worst = (*worst).max((wants[at].saturating_sub(planned), wants[at], planned));
        }
    }
    let cap = u64::from(outcome.policy.budget.max_peers_per_rnic);
    let capped = classes.into_iter().zip(worst);
    capped
        .filter(|(_, (missing, ..))| *missing > 0)
        .map(|((class, _), (_, wanted, planned))| Finding::Capped {
            class,
            wanted,
            planned,
            by_rate: planned < cap,
        })
        .collect()
}
