//! What reports and inventories become.

use rdmamesh_fabric::diagnose::AgentState;
use serde_json::json;

use super::*;
use crate::fixtures::{assignment, at, in_force, inventory, views};

fn of(
    in_force: &InForce,
    assignments: Vec<AssignmentView>,
    inventories: Vec<InventoryView>,
    now: i64,
) -> Vec<NodeEvidence> {
    let none = BTreeSet::new();
    evidence(
        in_force,
        &views(assignments),
        &views(inventories),
        &none,
        at(now),
    )
    .nodes
}

#[test]
fn a_report_becomes_evidence_with_its_anomalies() {
    let mesh = in_force(json!({}), 2);
    let reports = vec![assignment(&mesh, 1, 100, Some("host2/rxe0"))];
    let nodes = of(&mesh, reports, vec![inventory(1), inventory(2)], 101);
    assert_eq!(nodes[0].agent, AgentState::Reporting);
    let report = nodes[0].report.as_ref().expect("host1 reported");
    assert_eq!(report.window_end, Some(Timestamp::from_secs(100)));
    assert_eq!(report.rnics[0].judged(), 80);
    assert_eq!(report.anomalies[0].target.to_string(), "host2/rxe0");
    assert_eq!(nodes[1].report, None);
}

#[test]
fn an_agent_that_was_not_heard_of_for_long_is_silent() {
    let mesh = in_force(json!({}), 2);
    let now = 100 + i64::try_from(SILENT_AFTER.as_secs()).expect("minutes");
    let reports = || vec![assignment(&mesh, 1, 100, None)];
    assert_eq!(
        of(&mesh, reports(), vec![], now)[0].agent,
        AgentState::Reporting
    );
    assert_eq!(
        of(&mesh, reports(), vec![], now + 1)[0].agent,
        AgentState::Silent
    );
    // Its inventory is a sign of life too.
    let alive = InventoryView {
        reported_at: Some(at(now)),
        ..inventory(1)
    };
    assert_eq!(
        of(&mesh, reports(), vec![alive], now + 1)[0].agent,
        AgentState::Reporting
    );
}

#[test]
fn a_clock_that_was_set_back_makes_nobody_silent() {
    assert!(is_fresh(at(1_000_000), at(5)));
}

#[test]
fn a_node_that_is_left_out_is_excluded_whatever_it_reported() {
    let mut mesh = in_force(json!({}), 2);
    mesh.members[0].1 = NodeState::Cordoned;
    let reports = vec![assignment(&mesh, 1, 100, Some("host2/rxe0"))];
    assert_eq!(
        of(&mesh, reports, vec![], 100)[0].agent,
        AgentState::Excluded
    );
}

#[test]
fn an_anomaly_without_a_readable_target_accuses_nobody() {
    let mesh = in_force(json!({}), 2);
    let nodes = of(
        &mesh,
        vec![assignment(&mesh, 1, 100, Some("somewhere"))],
        vec![],
        100,
    );
    let report = nodes[0].report.as_ref().expect("host1 reported");
    assert!(report.anomalies.is_empty());
}

#[test]
fn a_port_says_whether_it_is_selected_and_up() {
    let mesh = in_force(json!({"devices": {"include": ["rxe0"]}}), 1);
    let mut ports = inventory(1);
    if let Some(status) = &mut ports.status {
        let mut storage = status.ports[0].clone();
        storage.device = "mlx5_9".to_owned();
        status.ports[0].state = "Down".to_owned();
        let absent = PortStatus {
            device: "rxe0".to_owned(),
            port: 2,
            state: PORT_ABSENT.to_owned(),
            ..PortStatus::default()
        };
        status.ports.extend([storage, absent]);
    }
    let nodes = of(&mesh, vec![], vec![ports], 1);
    let facts = nodes[0].ports.as_ref().expect("there is an inventory");
    assert!(facts[0].selected && matches!(facts[0].state, PortState::Down { .. }));
    assert!(!facts[1].selected && facts[1].state == PortState::Active);
    assert!(facts[2].selected && facts[2].state == PortState::Absent);
}

#[test]
fn a_removed_device_is_missed_until_the_mesh_does_not_want_it_any_more() {
    let expected = BTreeSet::from([
        RnicName::new("host1", "mlx5_3", 1),
        RnicName::new("host2", "mlx5_3", 1),
    ]);
    let facts = |spec| {
        let mesh = in_force(spec, 1);
        let inventories = views([inventory(1)]);
        let evidence = evidence(&mesh, &Views::new(), &inventories, &expected, at(1));
        evidence.nodes[0]
            .ports
            .clone()
            .expect("there is an inventory")
    };
    assert_eq!(facts(json!({})).len(), 1, "not listed: the judge misses it");
    let excluded = facts(json!({"devices": {"exclude": ["mlx5_*"]}}));
    assert_eq!(excluded.len(), 2);
    assert!(!excluded[1].selected);
}

#[test]
fn times_survive_the_way_there_and_back() {
    let time = Time(at(1_700_000_000));
    assert_eq!(api_time(super::time(&time)), time);
    assert_eq!(
        instant(at(-5)),
        Timestamp::default(),
        "before 1970 there was no fabric"
    );
}
