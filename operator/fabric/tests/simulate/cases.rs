//! Cases: drawn from a population, played, judged.

use std::collections::BTreeSet;
use std::time::Duration;

use rdmamesh_fabric::simulate::Mesh;
use rdmamesh_fabric::simulate::population::{Kind, Population};
use rdmamesh_fabric::simulate::score::{Outcome, Summary, play_all};

#[derive(Debug, Default, serde::Deserialize)]
struct Defaults {}

fn population(changes: &[(&str, &str)]) -> Population<Defaults> {
    let mut text = "
cases: 10
duration: 20s
fabrics: [{leaves: 4, spines: 2, hostsPerLeaf: 2}]
faultsPerCase: {1: 1}
kinds: {loss: {weight: 4, percent: [1, 100]}, delay: {weight: 1, delay: [100us, 5ms]}, linkDown: {weight: 1}, switchLoss: {weight: 1, percent: [1, 50]}, switchDown: {weight: 1}, nicLoss: {weight: 2, percent: [2, 100]}, nicDown: {weight: 1}, cpuHog: {weight: 1}, agentKill: {weight: 1}, nodeReboot: {weight: 1}}
noise: {backgroundLoss: 1e-5, starvedHosts: 0.02, restartingAgents: 0.01, missingAgents: 0.02, unansweredHops: 0.05}
".to_owned();
    for (from, to) in changes {
        assert!(text.contains(from), "{from}");
        text = text.replace(from, to);
    }
    let population: Population<Defaults> = serde_saphyr::from_str(&text).expect("it is valid");
    population.validate().expect("it is valid");
    population
}

#[test]
fn a_seed_and_a_number_make_a_case_whatever_is_drawn_besides() {
    let population = population(&[]);
    let case = |seed, number| population.case(seed, number).expect("it can be numbered");
    assert_eq!(case(1, 5), case(1, 5));
    assert_ne!(case(1, 5), case(1, 6));
    assert_ne!(case(1, 5), case(2, 5));
}

#[test]
fn kinds_are_drawn_by_weight_and_harm_lies_in_its_range() {
    let population = population(&[]);
    let mut kinds = std::collections::BTreeMap::<Kind, u32>::new();
    for number in 0..2000 {
        let case = population.case(3, number).expect("it can be numbered");
        for planted in &case.faults {
            *kinds.entry(planted.kind).or_default() += 1;
            assert!(planted.begin >= Duration::from_secs(5) && planted.begin <= case.duration / 2);
            assert!(planted.end > planted.begin && planted.end <= case.duration);
        }
    }
    assert_eq!(kinds.len(), 10, "{kinds:?}");
    let loss = kinds[&Kind::Loss];
    assert!(
        (450..700).contains(&loss),
        "4 of 14 weights, {loss} of 2000"
    );
}

#[test]
fn two_faults_of_a_case_never_hide_each_other() {
    let population = population(&[("{1: 1}", "{2: 1}")]);
    for number in 0..500 {
        let case = population.case(4, number).expect("it can be numbered");
        let places: BTreeSet<_> = case
            .faults
            .iter()
            .map(|planted| planted.fault.place)
            .collect();
        assert_eq!(places.len(), case.faults.len());
    }
}

#[test]
fn outcomes_do_not_depend_on_how_many_threads_play_them() {
    let population = population(&[]);
    let play = |workers| {
        let outcomes = play_all(&population, &Mesh::default(), (5, 4), workers, |_| {});
        let lines: Vec<String> = outcomes.iter().flat_map(Outcome::lines).collect();
        (lines, Summary::of(&outcomes).to_string())
    };
    assert_eq!(play(1), play(3));
}

#[test]
fn a_healthy_mesh_with_all_the_noise_gets_no_verdict() {
    let population = population(&[
        ("{1: 1}", "{0: 1}"),
        ("starvedHosts: 0.02", "starvedHosts: 0.2"),
        ("restartingAgents: 0.01", "restartingAgents: 0.2"),
        ("missingAgents: 0.02", "missingAgents: 0.1"),
    ]);
    let outcomes = play_all(&population, &Mesh::default(), (6, 6), 2, |_| {});
    let lines: Vec<String> = outcomes.iter().flat_map(Outcome::lines).collect();
    assert_eq!(lines, Vec::<String>::new());
}

#[test]
fn a_port_that_is_down_is_found_named_and_told_in_time() {
    let population = population(&[
        ("linkDown: {weight: 1}", "linkDown: {weight: 0}"),
        (
            "kinds: {loss: {weight: 4, percent: [1, 100]}, delay: {weight: 1, delay: [100us, 5ms]}, linkDown: {weight: 0}, switchLoss: {weight: 1, percent: [1, 50]}, switchDown: {weight: 1}, nicLoss: {weight: 2, percent: [2, 100]}, ",
            "kinds: {",
        ),
        (
            ", cpuHog: {weight: 1}, agentKill: {weight: 1}, nodeReboot: {weight: 1}",
            "",
        ),
    ]);
    let outcomes = play_all(&population, &Mesh::default(), (7, 5), 2, |_| {});
    let summary = Summary::of(&outcomes);
    assert_eq!(
        (summary.faults, summary.recall, summary.right_element),
        (5, Some(1.0), Some(1.0))
    );
    assert_eq!(summary.false_verdicts, 0);
    let p99 = summary.time_to_verdict_p99_s.expect("all were found");
    assert!(p99 < 3.0, "{p99} s");
}
