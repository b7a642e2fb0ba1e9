use std::time::Duration;

use rdmamesh_fabric::simulate::Mesh;
use serde_json::{Value, json};

use super::*;

const ISSUE: &str = include_str!("../../populations/default.yaml");

#[test]
fn the_shipped_population_is_valid() {
    let population = parse(ISSUE).expect("it is valid");
    assert_eq!(population.cases, 1000);
    assert_eq!(population.duration, Duration::from_secs(60));
    assert_eq!(population.fabrics.len(), 3);
    mesh_of(&population.mesh).expect("its mesh is valid");
}

#[test]
fn an_unknown_key_is_named_with_what_is_allowed() {
    for (from, to, named, allowed) in [
        ("cases:", "casses: 1\ncases:", "casses", "faultsPerCase"),
        (
            "backgroundLoss",
            "backgroundLos",
            "backgroundLos",
            "starvedHosts",
        ),
        ("linkDown: {weight", "linkDown: {wieght", "wieght", "weight"),
        ("switchDown:", "meteor:", "meteor", "nicLoss"),
        ("spines: 4", "spine: 4", "spine", "hostsPerLeaf"),
    ] {
        let error = format!("{:#}", parse(&ISSUE.replace(from, to)).expect_err(to));
        assert!(
            error.contains(named) && error.contains(allowed),
            "{to}: {error}"
        );
    }
}

#[test]
fn a_number_out_of_range_is_named_with_what_may_be_written() {
    for (from, to, named) in [
        (
            "percent: [1, 50]",
            "percent: [50, 1]",
            "kinds.switchLoss.percent",
        ),
        (
            "starvedHosts: 0.02",
            "starvedHosts: 2",
            "noise.starvedHosts",
        ),
        ("duration: 60s", "duration: 2s", "duration"),
        (
            "leaves: 8, spines: 4",
            "leaves: 0, spines: 4",
            "fabric.leaves",
        ),
        ("delay: [100us, 5ms]", "delay: [100us, soon]", "soon"),
    ] {
        let error = format!("{:#}", parse(&ISSUE.replace(from, to)).expect_err(to));
        assert!(error.contains(named), "{to}: {error}");
    }
}

#[test]
fn the_simulators_default_mesh_is_the_apis() {
    let mut api = mesh_of(&json!({})).expect("defaults are valid");
    assert_eq!(mesh_of(&Value::Null).expect("as good as none"), api);
    // One traffic class that changes nothing, or none at all.
    api.policy.traffic_classes.clear();
    assert_eq!(api, Mesh::default());
}

#[test]
fn a_mesh_with_an_unknown_key_is_refused() {
    let error = mesh_of(&json!({"thresholds": {"lossRation": 0.1}})).expect_err("a mistake");
    assert!(
        error.to_string().contains("spec.thresholds.lossRation"),
        "{error}"
    );
}
