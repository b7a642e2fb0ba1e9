//! Coverage of parallel paths: the formula, and what plans make of it.

use proptest::prelude::*;
use rdmamesh_fabric::coverage::{flows_for, probability};
use rdmamesh_fabric::plan::ProbeClass;

use crate::fabric::{any_members, any_policy, group_flows, only, plan_one, racks};

#[test]
fn it_takes_as_many_flows_as_the_published_table_says() {
    for (paths, at_90, at_95, at_99) in [
        (2, 5, 6, 8),
        (4, 13, 16, 21),
        (8, 33, 38, 51),
        (16, 79, 90, 115),
        (32, 181, 203, 255),
        (64, 408, 453, 557),
    ] {
        let flows = [0.90, 0.95, 0.99].map(|wanted| flows_for(paths, wanted));
        assert_eq!(flows, [at_90, at_95, at_99], "N = {paths}");
    }
}

/// The inclusion–exclusion sum as published, exact enough for few paths only.
fn published(paths: u16, flows: u32) -> f64 {
    let n = f64::from(paths);
    let mut binomial = 1.0;
    let mut unseen = 0.0;
    for i in 1..=paths {
        let i = f64::from(i);
        binomial *= (n - i + 1.0) / i;
        let term = binomial * (1.0 - i / n).powf(f64::from(flows));
        unseen += if i % 2.0 == 1.0 { term } else { -term };
    }
    1.0 - unseen
}

#[test]
fn it_equals_the_published_sum_where_that_is_exact() {
    for paths in 1..=20 {
        for flows in u32::from(paths)..300 {
            let (ours, theirs) = (probability(paths, flows), published(paths, flows));
            assert!(
                (ours - theirs).abs() < 1e-9,
                "N = {paths}, k = {flows}: {ours} and {theirs}"
            );
        }
    }
}

/// A small linear congruential generator (Knuth's MMIX constants): the test must not depend on chance.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u16) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (u64::from(sides) * (self.0 >> 32)) >> 32
    }
}

#[test]
fn it_equals_monte_carlo() {
    const ROUNDS: u32 = 20_000;
    let mut dice = Dice(2026);
    for (paths, flows) in [(2, 5), (4, 13), (8, 20), (16, 64), (16, 115), (64, 300)] {
        let mut covered = 0;
        for _ in 0..ROUNDS {
            let mut seen = [false; 64];
            for _ in 0..flows {
                seen[usize::try_from(dice.roll(paths)).expect("below paths")] = true;
            }
            covered += u32::from(seen[..usize::from(paths)].iter().all(|s| *s));
        }
        let measured = f64::from(covered) / f64::from(ROUNDS);
        let computed = probability(paths, flows);
        // Four standard deviations of the estimate, and a little for estimates next to 0 or 1.
        let margin = 4.0 * (computed * (1.0 - computed) / f64::from(ROUNDS)).sqrt() + 2e-4;
        assert!(
            (measured - computed).abs() < margin,
            "N = {paths}, k = {flows}: measured {measured}, computed {computed}"
        );
    }
}

#[test]
fn the_peer_systems_64_flows_over_16_paths_reach_76_percent() {
    assert!((probability(16, 64) - 0.765).abs() < 0.001);
}

proptest! {
    #[test]
    fn the_smallest_sufficient_number_of_flows_is_found(paths in 1u16..=256, wanted in 0.01..0.999_999) {
        let flows = flows_for(paths, wanted);
        prop_assert!(flows >= u32::from(paths));
        prop_assert!(probability(paths, flows) >= wanted - 1e-12);
        if flows > u32::from(paths) {
            prop_assert!(probability(paths, flows - 1) < wanted + 1e-12);
        }
    }

    #[test]
    fn it_is_a_probability_that_grows_with_the_flows(paths in 0u16..=256, flows in 0u32..3_000) {
        let (fewer, more) = (probability(paths, flows), probability(paths, flows + 1));
        prop_assert!((0.0..=1.0 + 1e-12).contains(&fewer));
        prop_assert!(more >= fewer - 1e-12);
    }

    #[test]
    fn what_is_reported_is_what_was_planned(members in any_members(), policy in any_policy()) {
        let plan = plan_one(policy.clone(), members);
        let coverage = &plan.coverage;
        let classes = u32::try_from(policy.traffic_classes.len()).expect("few");
        let planned: u64 = group_flows(&plan).values().map(|flows| u64::from(flows / classes)).sum();
        let reported: u64 = coverage.spread.iter().map(|(f, pairs)| u64::from(*f) * pairs).sum();
        prop_assert_eq!(planned, reported);
        prop_assert_eq!(coverage.group_pairs, coverage.spread.values().sum::<u64>());
        let short = coverage.spread.range(..coverage.flows_wanted).map(|(_, n)| n).sum::<u64>();
        prop_assert_eq!(coverage.short, short);
        if coverage.group_pairs > 0 {
            let expected = probability(policy.topology.parallel_paths, coverage.flows);
            prop_assert!((coverage.achieved - expected).abs() < 1e-12);
            prop_assert_eq!(coverage.short == 0, coverage.achieved >= coverage.wanted - 1e-12);
            prop_assert_eq!(coverage.worst.first().map(|worst| worst.flows), Some(coverage.flows));
        }
    }
}

#[test]
fn extreme_arguments_give_an_answer() {
    assert_eq!(flows_for(0, 0.99), 1);
    assert_eq!(flows_for(1, 0.99), 1);
    assert_eq!(flows_for(16, 0.0), 16);
    assert!(flows_for(256, 1.0) < 10_000);
    assert!(flows_for(256, f64::NAN) < 10_000);
}

#[test]
fn every_ordered_group_pair_gets_exactly_the_flows_that_the_coverage_takes() {
    let mut policy = only(ProbeClass::InterTor);
    policy.topology.parallel_paths = 16;
    let plan = plan_one(policy, racks(4, 8, 2));
    let flows = group_flows(&plan);
    assert_eq!(flows.len(), 12);
    assert!(flows.values().all(|flows| *flows == 115), "{flows:?}");
    assert!(plan.coverage.achieved >= 0.99);
    assert_eq!(plan.coverage.short, 0);
}

#[test]
fn the_smallest_fabric_covers_its_paths_through_the_rnics_it_has() {
    let mut policy = only(ProbeClass::InterTor);
    policy.topology.parallel_paths = 2;
    let plan = plan_one(policy, racks(2, 1, 1));
    assert!(group_flows(&plan).values().all(|flows| *flows == 8));
}

#[test]
fn a_budget_too_small_is_divided_equally_and_the_achieved_probability_is_told() {
    let mut policy = only(ProbeClass::InterTor);
    policy.topology.parallel_paths = 4;
    policy.budget.max_probes_per_second = 32;
    let plan = plan_one(policy, racks(3, 1, 1));
    let flows = group_flows(&plan);
    assert!(flows.values().all(|flows| *flows == 16), "{flows:?}");
    assert!((plan.coverage.achieved - probability(4, 16)).abs() < 1e-12);
    assert_eq!(
        (
            plan.coverage.flows_wanted,
            plan.coverage.flows,
            plan.coverage.short
        ),
        (21, 16, 6)
    );
}

#[test]
fn with_more_group_pairs_than_the_budget_has_probes_a_sample_is_probed_and_the_rest_is_told() {
    let mut policy = only(ProbeClass::InterTor);
    policy.budget.max_probes_per_second = 10;
    let plan = plan_one(policy, racks(100, 1, 1));
    let flows = group_flows(&plan);
    assert_eq!(plan.coverage.group_pairs, 9_900);
    assert_eq!(flows.len(), 1_000, "ten targets per group");
    assert_eq!(plan.coverage.spread[&0], 8_900);
    assert!(plan.coverage.achieved < 1e-12);
    assert!(plan.coverage.worst.len() <= 10);
    let mut reached = flows.keys().map(|(_, to)| to).collect::<Vec<_>>();
    reached.sort_unstable();
    reached.dedup();
    assert_eq!(reached.len(), 100, "nobody is forgotten");
}

#[test]
fn rails_of_a_single_host_are_no_group_pairs_to_cover() {
    let mut policy = only(ProbeClass::InterTor);
    policy.topology.rail_optimized = true;
    let plan = plan_one(policy, racks(1, 1, 4));
    assert_eq!((plan.counts.groups, plan.coverage.group_pairs), (4, 0));
    assert!(plan.findings.is_empty(), "{:?}", plan.findings);
}
