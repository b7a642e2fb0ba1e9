//! Who counts as reporting, and when somebody is told.

use rdmamesh_fabric::diagnose::Status;
use serde_json::json;

use super::*;
use crate::fixtures::{assignment, at, in_force, views};
use crate::planning::InForce;

/// 30 s of grace and a window of 5 s.
const DUE: i64 = 35;

fn all_report(mesh: &InForce, hosts: u8, reported: i64) -> Views<AssignmentView> {
    views((1..=hosts).map(|number| assignment(mesh, number, reported, None)))
}

fn without_reports(mesh: &InForce, hosts: u8) -> Views<AssignmentView> {
    views((1..=hosts).map(|number| AssignmentView {
        status: std::sync::Arc::default(),
        reported_at: None,
        ..assignment(mesh, number, 0, None)
    }))
}

#[test]
fn every_agent_that_reports_this_plan_makes_it_true() {
    let mesh = in_force(json!({}), 3);
    let (said, next) = Reporting::default().judge(&mesh, &all_report(&mesh, 3, 10), at(11));
    assert_eq!((said.status, said.reason), (Status::True, "AllReporting"));
    assert_eq!(next, None);
}

#[test]
fn a_new_mesh_waits_before_it_complains() {
    let mesh = in_force(json!({}), 3);
    let mut reporting = Reporting::default();
    let silent = without_reports(&mesh, 3);
    let (said, next) = reporting.judge(&mesh, &silent, at(100));
    assert_eq!(
        (said.status, said.reason),
        (Status::Unknown, "AgentsStarting")
    );
    assert_eq!(next, Some(at(100 + DUE)));
    let (said, _) = reporting.judge(&mesh, &silent, at(100 + DUE));
    assert_eq!((said.status, said.reason), (Status::False, "AgentsMissing"));
    assert!(
        said.message.contains("3 of 3") && said.message.contains("host2"),
        "{}",
        said.message
    );
}

#[test]
fn an_assignment_that_was_never_written_is_told_apart() {
    let mesh = in_force(json!({}), 2);
    let mut reporting = Reporting::default();
    reporting.judge(&mesh, &Views::new(), at(0));
    let (said, _) = reporting.judge(&mesh, &Views::new(), at(DUE));
    assert!(said.message.contains("not written"), "{}", said.message);
}

#[test]
fn a_new_plan_does_not_flicker_while_agents_take_it_up() {
    let mesh = in_force(json!({}), 3);
    let mut reporting = Reporting::default();
    reporting.judge(&mesh, &all_report(&mesh, 3, 10), at(10));
    let replanned = in_force(json!({"probes": {"torMesh": {"interval": "200ms"}}}), 3);
    let old_reports = all_report(&mesh, 3, 10);
    let (said, next) = reporting.judge(&replanned, &old_reports, at(20));
    assert_eq!(said.status, Status::True, "{}", said.message);
    assert_eq!(next, Some(at(20 + DUE)));
    let (said, _) = reporting.judge(&replanned, &old_reports, at(20 + DUE));
    assert_eq!(said.status, Status::False);
    assert!(said.message.contains("older plan"), "{}", said.message);
}

#[test]
fn after_a_restart_of_the_operator_earlier_reports_count() {
    let mesh = in_force(json!({}), 2);
    let replanned = in_force(json!({"probes": {"torMesh": {"interval": "200ms"}}}), 2);
    let (said, _) = Reporting::default().judge(&replanned, &all_report(&mesh, 2, 10), at(20));
    assert_eq!(said.status, Status::True, "{}", said.message);
}

#[test]
fn an_agent_that_cannot_probe_is_quoted() {
    let mesh = in_force(json!({}), 2);
    let mut reports = all_report(&mesh, 2, 10);
    let mut idle = AssignmentView::clone(&reports["host2"]);
    let mut status = rdmamesh_api::RdmaProbeAssignmentStatus::clone(&idle.status);
    status.meshes[0].conditions = serde_json::from_value(json!([{
        "type": "Probing", "status": "False", "reason": "PortNotProbing",
        "message": "rxe0 cannot probe", "lastTransitionTime": "2026-01-01T00:00:00Z",
    }]))
    .expect("conditions");
    idle.status = std::sync::Arc::new(status);
    reports.insert("host2".to_owned(), std::sync::Arc::new(idle));
    let mut reporting = Reporting::default();
    reporting.judge(&mesh, &reports, at(10));
    let (said, _) = reporting.judge(&mesh, &reports, at(10 + DUE));
    assert!(
        said.message.contains("host2 (rxe0 cannot probe)"),
        "{}",
        said.message
    );
    assert!(said.message.contains("1 of 2"), "{}", said.message);
}

#[test]
fn a_mesh_that_probes_nothing_waits_for_nobody() {
    let mesh = in_force(json!({}), 0);
    let (said, _) = Reporting::default().judge(&mesh, &Views::new(), at(0));
    assert_eq!((said.status, said.reason), (Status::Unknown, "NoAgents"));
}
