//! What a status says, condition by condition.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use rdmamesh_fabric::Timestamp as Moment;
use rdmamesh_fabric::diagnose::{Health, Summary as Figures};
use serde_json::{Value, json};

use super::*;
use crate::conditions::status_of;
use crate::fixtures::{at, in_force, mesh};
use crate::planning::{Applied, InForce};

fn outcome(in_force: Option<InForce>, applied: Applied) -> MeshOutcome {
    let in_force = in_force.map(Arc::new);
    MeshOutcome {
        uid: "uid-m".to_owned(),
        generation: 3,
        mesh: Ok(in_force
            .as_ref()
            .map_or_else(|| mesh(json!({})), |f| Arc::clone(&f.mesh))),
        in_force,
        applied,
    }
}

fn planned(spec: Value, hosts: u8) -> MeshOutcome {
    outcome(Some(in_force(spec, hosts)), Applied::Done)
}

fn said(outcome: Option<&MeshOutcome>) -> RdmaMeshStatus {
    let known = Known {
        outcome,
        verdict: None,
        reporting: Some(Statement::new(
            AGENTS_REPORTING,
            Status::True,
            "AllReporting",
            "2 of 2",
        )),
        actions: None,
    };
    status(&known, &RdmaMeshStatus::default(), at(10))
}

fn condition(status: &RdmaMeshStatus, type_: &str) -> (String, String, String) {
    let found = status
        .conditions
        .iter()
        .find(|condition| condition.type_ == type_);
    let found = found.expect("all five conditions are always there");
    (
        found.status.clone(),
        found.reason.clone(),
        found.message.clone(),
    )
}

fn suspect(name: &str, peer: Option<&str>) -> diagnose::Suspect {
    let key = diagnose::CaseKey::read(diagnose::SuspectKind::Rnic, name, peer);
    diagnose::Suspect {
        key: key.expect("RNIC names"),
        confidence: 90,
        impact: diagnose::Impact::P2,
        workloads: Vec::new(),
        since: Moment::from_secs(5),
        last_seen: Moment::from_secs(9),
        evidence: "lost 12 of 80".to_owned(),
    }
}

#[test]
fn all_five_conditions_are_there_from_first_sight_and_unknown() {
    let status = said(None);
    let types: BTreeSet<_> = status.conditions.iter().map(|c| c.type_.as_str()).collect();
    assert_eq!(types.len(), 5);
    assert!(
        status
            .conditions
            .iter()
            .all(|c| c.status == "Unknown" && !c.reason.is_empty())
    );
    assert_eq!(status.observed_generation, None);
}

#[test]
fn a_planned_mesh_is_ready_with_its_figures() {
    let status = said(Some(&planned(json!({}), 3)));
    assert_eq!(condition(&status, READY).0, "True");
    assert_eq!(condition(&status, ASSIGNMENTS_READY).1, "AllAssigned");
    assert_eq!((status.nodes, status.rnics, status.pairs), (3, 3, 6));
    assert!(status.probes_per_second > 0);
    assert_eq!(status.observed_generation, Some(3));
    assert!(
        status
            .conditions
            .iter()
            .all(|c| c.observed_generation == Some(3))
    );
}

#[test]
fn health_is_no_part_of_readiness() {
    let outcome = planned(json!({}), 2);
    let verdict = Verdict {
        health: Health {
            status: Status::False,
            reason: "SuspectsFound",
            message: "host1/rxe0".to_owned(),
        },
        ..Verdict::default()
    };
    let known = Known {
        outcome: Some(&outcome),
        verdict: Some(&verdict),
        reporting: Some(Statement::new(
            AGENTS_REPORTING,
            Status::True,
            "AllReporting",
            "",
        )),
        actions: None,
    };
    let status = status(&known, &RdmaMeshStatus::default(), at(10));
    assert_eq!(status_of(&status.conditions, READY), Some(Status::True));
    assert_eq!(
        status_of(&status.conditions, FABRIC_HEALTHY),
        Some(Status::False)
    );
}

#[test]
fn nobody_selected_and_nobody_usable_are_told_apart() {
    let nobody = said(Some(&planned(json!({}), 0)));
    let (status, reason, message) = condition(&nobody, READY);
    assert_eq!(
        (status.as_str(), reason.as_str()),
        ("False", "NoNodesSelected")
    );
    assert_eq!(nobody.coverage, None, "nothing is probed");
    assert!(message.contains("nodeSelector"), "{message}");

    let unusable = said(Some(&planned(json!({"gid": {"index": 7}}), 2)));
    let (status, reason, message) = condition(&unusable, READY);
    assert_eq!(
        (status.as_str(), reason.as_str()),
        ("False", "NoUsableRnics")
    );
    for part in ["host1", "rxe0", "index 7", "there are 1"] {
        assert!(message.contains(part), "{part}: {message}");
    }
}

#[test]
fn an_invalid_mesh_quotes_its_error_and_says_what_stays() {
    let invalid = |in_force: Option<InForce>| MeshOutcome {
        mesh: Err("devices.include holds \"[\"".to_owned()),
        ..outcome(in_force, Applied::Done)
    };
    let (status, reason, message) = condition(&said(Some(&invalid(None))), READY);
    assert_eq!((status.as_str(), reason.as_str()), ("False", "InvalidSpec"));
    assert!(message.contains("devices.include"), "{message}");
    let status = said(Some(&invalid(Some(in_force(json!({}), 2)))));
    assert!(condition(&status, READY).2.contains("stays in force"));
}

#[test]
fn a_suspended_mesh_is_not_ready_and_not_judged() {
    let outcome = MeshOutcome {
        mesh: Ok(mesh(json!({"suspend": true}))),
        ..outcome(None, Applied::Done)
    };
    let status = status(
        &Known {
            outcome: Some(&outcome),
            verdict: None,
            reporting: None,
            actions: None,
        },
        &RdmaMeshStatus::default(),
        at(10),
    );
    assert_eq!(condition(&status, READY).1, "Suspended");
    let (health, reason, _) = condition(&status, FABRIC_HEALTHY);
    assert_eq!((health.as_str(), reason.as_str()), ("Unknown", "Suspended"));
    assert_eq!(status.rnics, 0);
}

#[test]
fn a_write_that_fails_names_nodes_and_error() {
    let nodes = (1..=7).map(|number| format!("host{number}")).collect();
    let error = "the API server refused: quota".to_owned();
    let failed = outcome(
        Some(in_force(json!({}), 2)),
        Applied::Failed { nodes, error },
    );
    let (status, reason, message) = condition(&said(Some(&failed)), READY);
    assert_eq!((status.as_str(), reason.as_str()), ("False", "WriteFailed"));
    assert!(
        message.contains("7 of") && message.contains("and 2 more"),
        "{message}"
    );
    assert!(message.contains("quota"), "{message}");
}

#[test]
fn what_is_being_written_is_unknown_not_false() {
    let pending = Applied::Pending(["host1".to_owned()].into());
    let status = said(Some(&outcome(Some(in_force(json!({}), 2)), pending)));
    assert_eq!(condition(&status, ASSIGNMENTS_READY).0, "Unknown");
}

#[test]
fn a_verdict_becomes_figures_suspects_and_a_printer_column() {
    let outcome = planned(json!({}), 3);
    let verdict = Verdict {
        suspects: vec![
            suspect("host1/rxe0", Some("host3/rxe0")),
            suspect("host2/rxe0", None),
        ],
        suspects_omitted: 3,
        summary: Figures {
            loss_ratio: Some(0.0123),
            p99: Some(Duration::from_micros(340)),
            window_end: Some(Moment::from_secs(9)),
            agents_reporting: 3,
            ..Figures::default()
        },
        ..Verdict::default()
    };
    let known = Known {
        outcome: Some(&outcome),
        verdict: Some(&verdict),
        reporting: None,
        actions: None,
    };
    let status = status(&known, &RdmaMeshStatus::default(), at(10));
    let summary = status.summary.as_ref().expect("there is a verdict");
    assert_eq!(summary.loss, "1.2%");
    assert_eq!(
        summary.suspect.as_deref(),
        Some("host1/rxe0 ↔ host3/rxe0 (+4)")
    );
    assert_eq!(
        summary.p99.map(|p99| p99.to_string()).as_deref(),
        Some("340us")
    );
    assert_eq!(status.suspects[0].peer.as_deref(), Some("host3/rxe0"));
    assert_eq!(status.suspects[1].since.0, at(5));
}

#[test]
fn times_that_move_every_second_say_nothing_new() {
    let with = |last_seen| {
        let mut seen = suspect("host1/rxe0", None);
        seen.last_seen = Moment::from_secs(last_seen);
        let verdict = Verdict {
            suspects: vec![seen],
            ..Verdict::default()
        };
        let outcome = planned(json!({}), 2);
        let known = Known {
            outcome: Some(&outcome),
            verdict: Some(&verdict),
            reporting: None,
            actions: None,
        };
        status(&known, &RdmaMeshStatus::default(), at(10))
    };
    assert_ne!(with(9), with(10));
    assert!(says_the_same(&with(9), &with(10)));
    let clean = said(Some(&planned(json!({}), 2)));
    assert!(!says_the_same(&with(9), &clean));
}

#[test]
fn a_loss_that_is_there_never_reads_as_none() {
    for (ratio, text) in [
        (0.0, "0%"),
        (0.000_001, "<0.001%"),
        (0.000_12, "0.012%"),
        (0.003, "0.3%"),
        (0.0123, "1.2%"),
        (0.05, "5.0%"),
        (0.3, "30%"),
        (1.0, "100%"),
    ] {
        assert_eq!(loss(ratio), text);
    }
}

#[test]
fn a_coverage_that_the_budget_cannot_carry_is_a_shortfall_with_figures() {
    let spec = json!({"topology": {"parallelPaths": 16, "groupLabel": "rack"},
        "budget": {"maxProbesPerSecond": 10, "maxPeersPerRnic": 2}});
    // Two groups: the label is missing on one of the two nodes only.
    let mut force = in_force(spec.clone(), 2);
    let mesh = Arc::clone(&force.mesh);
    let mut nodes = [crate::fixtures::node(1), crate::fixtures::node(2)];
    nodes[0].labels.insert("rack".to_owned(), "a".to_owned());
    nodes[1].labels.insert("rack".to_owned(), "b".to_owned());
    let input = crate::input::plan_input(
        [mesh.as_ref()],
        &crate::fixtures::views(nodes),
        &crate::fixtures::views([1, 2].map(crate::fixtures::inventory)),
        &crate::watch::Views::new(),
        at(0),
    );
    let plan = rdmamesh_fabric::plan::plan(&input)
        .meshes
        .remove(&"m".into());
    force.plan = Arc::new(plan.expect("the mesh was planned"));
    let status = said(Some(&outcome(Some(force), Applied::Done)));
    let (met, reason, message) = condition(&status, COVERAGE_MET);
    assert_eq!(
        (met.as_str(), reason.as_str()),
        ("False", "Shortfall"),
        "{message}"
    );
    assert!(message.contains("maxProbesPerSecond"), "{message}");
    let coverage = status.coverage.expect("interTor is on");
    assert!(coverage.achieved < coverage.wanted);
    assert!(coverage.shortfall.is_some());
}
