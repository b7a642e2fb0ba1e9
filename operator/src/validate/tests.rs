//! What a spec becomes, and which sentence an impossible one gets.

use std::time::Duration;

use rdmamesh_fabric::plan::ProbeClass;
use serde_json::json;

use super::*;

fn view(spec: serde_json::Value) -> MeshView {
    MeshView {
        name: "m".to_owned(),
        uid: "u".to_owned(),
        generation: 7,
        deleting: false,
        spec: serde_json::from_value(spec).map_err(|e| e.to_string()),
        status: None,
    }
}

fn refused(spec: serde_json::Value) -> String {
    crate::chain(&validate(&view(spec)).expect_err("the spec is impossible"))
}

#[test]
fn an_empty_spec_probes_tor_mesh_inter_tor_and_control_everywhere() {
    let mesh = validate(&view(json!({}))).expect("an empty spec is valid");
    assert!(mesh.selector.selects_all());
    let classes: Vec<_> = mesh.policy.classes.keys().copied().collect();
    assert_eq!(
        classes,
        [
            ProbeClass::TorMesh,
            ProbeClass::InterTor,
            ProbeClass::Control
        ]
    );
    assert_eq!(mesh.generation, 7);
}

#[test]
fn a_listed_class_is_on_unless_it_says_otherwise() {
    let mesh = validate(&view(json!({"probes": {
        "torMesh": {"enabled": false},
        "rail": {"interval": "3s", "timeout": "250ms"},
        "interTor": {"coverage": 0.5},
    }})))
    .expect("valid");
    assert!(!mesh.policy.classes.contains_key(&ProbeClass::TorMesh));
    let rail = mesh.policy.classes[&ProbeClass::Rail];
    assert_eq!(rail.interval, Duration::from_secs(3));
    assert_eq!(rail.timeout, Duration::from_millis(250));
    assert!((mesh.policy.coverage - 0.5).abs() < f64::EPSILON);
}

#[test]
fn a_selector_that_is_none_says_which_operators_there_are() {
    let message = refused(json!({"nodeSelector": {"matchExpressions":
        [{"key": "a", "operator": "Near", "values": ["b"]}]}}));
    assert!(
        message.contains("nodeSelector") && message.contains("NotIn"),
        "{message}"
    );
}

#[test]
fn a_glob_that_is_none_is_quoted() {
    let message = refused(json!({"devices": {"include": ["mlx5_["]}}));
    assert!(message.contains("mlx5_["), "{message}");
}

#[test]
fn a_route_that_is_none_is_quoted() {
    let message = refused(json!({"devices": {"viaRoute": "10.0.0.0/33"}}));
    assert!(message.contains("10.0.0.0/33"), "{message}");
}

#[test]
fn a_number_out_of_range_names_its_field() {
    let message = refused(json!({"tolerance": {"raiseAfter": -1}}));
    assert!(
        message.contains("tolerance.raiseAfter") && message.contains("1 to 100"),
        "{message}"
    );
}

#[test]
fn a_spec_of_another_schema_is_refused_not_guessed() {
    let message = refused(json!({"thresholds": {"window": "soon"}}));
    assert!(
        message.contains("cannot be read") && message.contains("soon"),
        "{message}"
    );
}
