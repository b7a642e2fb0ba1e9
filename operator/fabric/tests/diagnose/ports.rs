//! Suspects that are RNICs: their own agent says that the port is down or the device gone.

use std::sync::Arc;

use rdmamesh_fabric::diagnose::{AgentState, CaseKey, PortFact, PortState, Transition};

use crate::world::{Edit, Judge, assert_named, down, healthy, rnic};

/// A judge that has seen the mesh healthy.
fn settled(hosts: u32) -> Judge {
    let mut judge = Judge::new();
    judge.judge(&healthy(hosts));
    judge
}

#[test]
fn a_port_that_went_down_is_a_suspect_by_itself() {
    let verdict = settled(3).after(1, &healthy(3).port(2, down()));
    assert_named(&verdict, &["host2/rxe0"]);
    let suspect = &verdict.suspects[0];
    assert_eq!(suspect.key.peer(), None);
    assert!(suspect.confidence > 90 && suspect.confidence < 100);
    assert!(
        suspect
            .evidence
            .contains("port 1 in state Down (physical state Disabled)")
    );
}

#[test]
fn a_device_that_disappeared_is_a_suspect_by_itself() {
    let mut unlisted = healthy(3);
    unlisted.host(2).ports = Some(Vec::new());
    // An agent that misses a port of its plan says so.
    let absent = healthy(3).port(2, PortState::Absent);
    for evidence in [unlisted, absent] {
        let verdict = settled(3).after(1, &evidence);
        assert_named(&verdict, &["host2/rxe0"]);
        let said = &verdict.suspects[0].evidence;
        assert!(said.contains("no longer finds the device"), "{said}");
    }
}

#[test]
fn a_port_without_a_physical_state_is_described_without_one() {
    let init = PortState::Down {
        state: Arc::from("Init"),
        physical: Arc::from(""),
    };
    let verdict = settled(3).after(1, &healthy(3).port(2, init));
    let said = &verdict.suspects[0].evidence;
    assert!(said.contains("port 1 in state Init; check"), "{said}");
}

#[test]
fn a_port_that_never_took_part_is_nobodys_loss() {
    let mut evidence = healthy(3);
    evidence
        .host(2)
        .ports
        .as_mut()
        .expect("has an inventory")
        .push(PortFact {
            device: "rxe1".into(),
            port: 1,
            selected: true,
            state: down(),
        });
    assert_named(&settled(3).after(1, &evidence), &[]);
}

#[test]
fn a_down_rnic_that_the_plan_has_dropped_already_is_still_missed() {
    let replanned = healthy(3).port(2, down()).plan_only(0, &[(1, 3), (3, 1)]);
    assert_named(&settled(3).after(1, &replanned), &["host2/rxe0"]);
}

#[test]
fn a_down_rnic_explains_its_paths() {
    let mut judge = settled(4);
    let evidence = healthy(4)
        .lossy(1, 2, 50, 50)
        .lossy(2, 3, 50, 50)
        .port(2, down());
    assert_named(&judge.after(1, &evidence), &["host2/rxe0"]);
}

#[test]
fn a_down_rnic_does_not_explain_paths_of_others() {
    let mut judge = settled(4);
    let evidence = healthy(4)
        .lossy(1, 2, 50, 50)
        .lossy(3, 4, 20, 50)
        .port(2, down());
    assert_named(
        &judge.after(1, &evidence),
        &["host2/rxe0", "host3/rxe0 ↔ host4/rxe0"],
    );
}

#[test]
fn paths_named_before_the_port_was_known_to_be_down_are_withdrawn_as_explained() {
    let mut judge = settled(4);
    let lossy = healthy(4).lossy(1, 2, 50, 50);
    assert_named(&judge.after(1, &lossy), &["host1/rxe0 ↔ host2/rxe0"]);
    let verdict = judge.after(1, &lossy.port(2, down()));
    assert_named(&verdict, &["host2/rxe0"]);
    assert!(verdict.transitions.contains(&Transition::Explained {
        case: CaseKey::pair(rnic(1), rnic(2)),
        by: CaseKey::Rnic(rnic(2)),
    }));
}

#[test]
fn residual_loss_after_the_port_is_back_does_not_name_its_paths() {
    let mut judge = settled(4);
    judge.after(1, &healthy(4).port(2, down()));
    let back = healthy(4).lossy(1, 2, 20, 50);
    for _ in 0..5 {
        assert_named(&judge.after(1, &back), &["host2/rxe0"]);
    }
    assert_named(&judge.after(6, &healthy(4)), &[]);
}

#[test]
fn loss_that_outlasts_the_port_trouble_is_named_then() {
    let mut judge = settled(4);
    judge.after(1, &healthy(4).port(2, down()));
    let back = healthy(4).lossy(1, 2, 20, 50);
    judge.after(1, &back);
    judge.after(10, &back);
    assert_named(&judge.after(1, &back), &["host1/rxe0 ↔ host2/rxe0"]);
}

#[test]
fn a_port_that_is_back_clears_its_case_after_the_clear_time() {
    let mut judge = settled(3);
    judge.after(1, &healthy(3).port(2, down()));
    assert_named(&judge.after(1, &healthy(3)), &["host2/rxe0"]);
    assert_named(&judge.after(9, &healthy(3)), &["host2/rxe0"]);
    let verdict = judge.after(1, &healthy(3));
    assert_named(&verdict, &[]);
    assert_eq!(
        verdict.transitions,
        [Transition::Cleared(CaseKey::Rnic(rnic(2)))]
    );
}

#[test]
fn inventory_of_a_silent_agent_neither_raises_nor_clears() {
    let mut judge = settled(3);
    let dark = healthy(3).port(2, down()).agent(2, AgentState::Silent);
    assert_named(&judge.after(1, &dark), &[]);
    judge.after(1, &healthy(3).port(2, down()));
    let unheard = healthy(3).agent(2, AgentState::Silent);
    for _ in 0..10 {
        assert_named(&judge.after(60, &unheard), &["host2/rxe0"]);
    }
}

#[test]
fn a_node_that_is_rolled_drained_or_rebooted_is_not_accused_for_its_ports() {
    let mut judge = settled(3);
    let excluded = healthy(3).port(2, down()).agent(2, AgentState::Excluded);
    assert_named(&judge.after(1, &excluded), &[]);
    let mut gone = healthy(3).agent(2, AgentState::Excluded);
    gone.host(2).ports = Some(Vec::new());
    assert_named(&judge.after(1, &gone), &[]);
}

#[test]
fn a_missing_inventory_is_no_evidence_of_a_missing_device() {
    let mut evidence = healthy(3);
    evidence.host(2).ports = None;
    assert_named(&settled(3).after(1, &evidence), &[]);
}

#[test]
fn an_rnic_that_the_mesh_no_longer_selects_is_withdrawn() {
    let mut judge = settled(3);
    judge.after(1, &healthy(3).port(2, down()));
    let mut deselected = healthy(3).port(2, down());
    deselected.host(2).ports.as_mut().expect("has an inventory")[0].selected = false;
    let verdict = judge.after(1, &deselected);
    assert_named(&verdict, &[]);
    assert_eq!(
        verdict.transitions,
        [Transition::Withdrawn(CaseKey::Rnic(rnic(2)))]
    );
}

#[test]
fn a_node_that_left_and_came_back_with_fewer_rnics_misses_none() {
    let mut judge = settled(3);
    let mut without = healthy(3);
    without.nodes.retain(|node| node.node.as_str() != "host2");
    judge.after(1, &without.plan_only(0, &[(1, 3)]));
    let mut back = healthy(3).plan_only(0, &[(1, 3)]);
    back.host(2).ports = Some(Vec::new());
    assert_named(&judge.after(1, &back), &[]);
}

#[test]
fn second_ports_are_told_apart_from_first_ones() {
    let mut judge = settled(3);
    let mut evidence = healthy(3);
    evidence
        .host(2)
        .ports
        .as_mut()
        .expect("has an inventory")
        .push(PortFact {
            device: "rxe0".into(),
            port: 2,
            selected: true,
            state: PortState::Down {
                state: Arc::from("Init"),
                physical: Arc::from("Polling"),
            },
        });
    assert_named(&judge.after(1, &evidence), &[]);
}
