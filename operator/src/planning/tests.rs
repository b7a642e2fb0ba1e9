//! What a pass makes of specs, plans and what was in force before.

use serde_json::json;

use super::*;
use crate::apply::{ApplyError, Failure};
use crate::fixtures::{at, inventory, mesh_view, node, views};
use crate::watch::Views;

fn pass(spec: serde_json::Value, before: &Outcome) -> Outcome {
    let view = Arc::new(mesh_view(spec));
    let valid = validate(&view)
        .map(Arc::new)
        .map_err(|error| crate::chain(&error));
    let nodes = views([1, 2].map(node));
    let inventories = views([1, 2].map(inventory));
    let meshes = valid.iter().map(AsRef::as_ref);
    let input = plan_input(meshes, &nodes, &inventories, &Views::new(), at(0));
    let plan = plan(&input);
    outcome(vec![(view, valid.clone())], &input, plan, before)
}

fn hash(outcome: &Outcome) -> Option<String> {
    let in_force = outcome.meshes["m"].in_force.as_ref()?;
    in_force
        .plan
        .plan_hash(&"host1".into())
        .map(|hash| hash.to_string())
}

#[test]
fn a_valid_mesh_is_desired_where_its_plan_says() {
    let outcome = pass(json!({}), &Outcome::default());
    let desired = outcome.desired();
    assert_eq!(desired.meshes["m"].plan.nodes().count(), 2);
    assert!(desired.kept.is_empty());
}

#[test]
fn an_edit_that_cannot_be_understood_keeps_what_was_in_force() {
    let before = pass(json!({}), &Outcome::default());
    let after = pass(json!({"devices": {"include": ["["]}}), &before);
    assert!(after.meshes["m"].mesh.is_err());
    assert_eq!(hash(&after), hash(&before));
    let desired = after.desired();
    assert!(desired.kept.contains("m") && desired.meshes.is_empty());
}

#[test]
fn after_a_restart_an_invalid_mesh_keeps_its_entries_although_nobody_knows_them() {
    let outcome = pass(json!({"devices": {"include": ["["]}}), &Outcome::default());
    assert_eq!(hash(&outcome), None);
    assert!(outcome.desired().kept.contains("m"));
}

#[test]
fn a_suspended_mesh_is_not_desired_anywhere() {
    let before = pass(json!({}), &Outcome::default());
    let desired = pass(json!({"suspend": true}), &before).desired();
    assert!(desired.meshes.is_empty() && desired.kept.is_empty());
}

#[test]
fn what_is_left_undone_is_told_with_the_error_that_caused_it() {
    let outcome = pass(json!({}), &Outcome::default());
    let failure = |error| Failure {
        meshes: ["m".to_owned()].into(),
        error,
    };
    let failures: Failures = [
        ("host1".to_owned(), failure(ApplyError::NotTried)),
        ("host2".to_owned(), failure(ApplyError::Timeout)),
    ]
    .into();
    let Applied::Failed { nodes, error } = &outcome.applied(&failures).meshes["m"].applied else {
        unreachable!("two nodes failed")
    };
    assert_eq!(nodes.len(), 2);
    assert!(error.contains("did not answer"), "{error}");
    assert_eq!(
        outcome.applied(&Failures::new()).meshes["m"].applied,
        Applied::Done
    );
}

#[test]
fn digests_are_computed_once_per_plan() {
    let outcome = pass(json!({}), &Outcome::default());
    let (desired, mut digests) = (outcome.desired(), Digests::default());
    let first = digests.of(&desired, "m", &"host1".into());
    assert!(first.is_some());
    assert_eq!(digests.of(&desired, "m", &"host1".into()), first);
    assert_eq!(digests.of(&desired, "m", &"host9".into()), None);
    let edited = pass(json!({"probes": {"torMesh": {"interval": "1s"}}}), &outcome).desired();
    digests.keep(&edited);
    assert_ne!(digests.of(&edited, "m", &"host1".into()), first);
}

#[test]
fn pauses_grow_and_stay_bounded() {
    let pauses: Vec<_> = pauses().take(20).collect();
    assert!(pauses[0] < Duration::from_secs(2));
    assert!(pauses.iter().all(|pause| *pause <= Duration::from_secs(30)));
    assert!(pauses[19] >= Duration::from_secs(15));
}
