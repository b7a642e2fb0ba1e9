//! What is worth an Event, and what is not.

use rdmamesh_fabric::RnicName;
use rdmamesh_fabric::Timestamp;
use rdmamesh_fabric::diagnose::{Impact, Status, Suspect};

use super::*;
use crate::conditions::{Statement, merge};
use crate::fixtures::at;

fn status(health: Status, assignments: (Status, &'static str)) -> RdmaMeshStatus {
    let statements = vec![
        Statement::new(
            FABRIC_HEALTHY,
            health,
            "Because",
            "host1/rxe0 lost 12 of 80",
        ),
        Statement::new(ASSIGNMENTS_READY, assignments.0, assignments.1, "all of it"),
    ];
    RdmaMeshStatus {
        conditions: merge(&[], statements, Some(1), at(1)),
        ..RdmaMeshStatus::default()
    }
}

const PLANNED: (Status, &str) = (Status::True, "AllAssigned");

fn reasons(before: &RdmaMeshStatus, after: &RdmaMeshStatus) -> Vec<&'static str> {
    happenings(before, after, &[])
        .iter()
        .map(|happening| happening.reason)
        .collect()
}

fn pair(number: u8) -> CaseKey {
    CaseKey::pair(
        RnicName::new(format!("host{number}"), "rxe0", 1),
        RnicName::new("host0", "rxe0", 1),
    )
}

#[test]
fn a_verdict_that_turns_is_told_once() {
    let well = status(Status::True, PLANNED);
    let ill = status(Status::False, PLANNED);
    assert_eq!(reasons(&well, &ill), ["FabricUnhealthy"]);
    assert_eq!(reasons(&ill, &well), ["FabricHealthy"]);
    assert!(reasons(&ill, &ill).is_empty());
}

#[test]
fn verdicts_on_two_suspects_are_two_events_and_not_one_with_the_note_of_the_first() {
    let well = status(Status::True, PLANNED);
    let about = |name: &str| {
        let mut ill = status(Status::False, PLANNED);
        let suspect = serde_json::json!({
            "kind": "Link", "name": name, "confidence": 99, "impact": "P2", "evidence": "it lost",
            "since": "2026-11-22T03:30:50Z", "lastSeen": "2026-11-22T03:30:51Z",
        });
        ill.suspects = vec![serde_json::from_value(suspect).expect("a suspect")];
        happenings(&well, &ill, &[])[0].about.clone()
    };
    let (one, other) = (about("leaf1-spine2"), about("spine2"));
    assert!(one.is_some() && one != other, "{one:?} {other:?}");
}

#[test]
fn a_new_mesh_that_knows_nothing_yet_has_nothing_to_tell() {
    let unknown = status(Status::Unknown, (Status::Unknown, "Pending"));
    assert!(reasons(&RdmaMeshStatus::default(), &unknown).is_empty());
}

#[test]
fn a_plan_that_becomes_impossible_is_told_and_so_is_its_end() {
    let planned = status(Status::True, PLANNED);
    let invalid = status(Status::True, (Status::False, "InvalidSpec"));
    let refused = status(Status::True, (Status::False, "WriteFailed"));
    assert_eq!(reasons(&planned, &invalid), ["NotPlanned"]);
    assert!(reasons(&invalid, &invalid).is_empty());
    assert_eq!(
        reasons(&invalid, &refused),
        ["NotPlanned"],
        "another reason is news"
    );
    assert_eq!(reasons(&refused, &planned), ["Planned"]);
}

#[test]
fn a_suspect_is_told_with_its_evidence() {
    let well = status(Status::True, PLANNED);
    let suspect = Suspect {
        key: CaseKey::pair(
            RnicName::new("host1", "rxe0", 1),
            RnicName::new("host3", "rxe0", 1),
        ),
        confidence: 80,
        impact: Impact::P2,
        workloads: Vec::new(),
        since: Timestamp::from_secs(1),
        last_seen: Timestamp::from_secs(1),
        evidence: "lost 12 of 80 probes".to_owned(),
    };
    let told = happenings(&well, &well, &[Transition::Opened(suspect)]);
    assert_eq!(told.len(), 1);
    assert!(told[0].warning && told[0].reason == "SuspectRaised");
    assert!(
        told[0].note.contains("host1/rxe0 ↔ host3/rxe0"),
        "{}",
        told[0].note
    );
    assert!(told[0].note.contains("12 of 80"), "{}", told[0].note);
}

#[test]
fn events_about_two_suspects_are_not_merged_into_one() {
    let well = status(Status::True, PLANNED);
    let cleared = [Transition::Cleared(pair(1)), Transition::Cleared(pair(2))];
    let told = happenings(&well, &well, &cleared);
    let related: Vec<_> = told
        .into_iter()
        .map(|happening| event(happening).secondary)
        .collect();
    assert_ne!(related[0], related[1]);
}

#[test]
fn an_outage_of_everything_does_not_flood() {
    let well = status(Status::True, PLANNED);
    let many: Vec<_> = (1..=100)
        .map(|number| Transition::Cleared(pair(number)))
        .collect();
    let told = happenings(&well, &well, &many);
    assert_eq!(told.len(), SUSPECTS + 1);
    assert!(
        told[SUSPECTS].note.contains("92 more"),
        "{}",
        told[SUSPECTS].note
    );
}

#[test]
fn a_long_note_is_cut_where_the_api_server_would_refuse_it() {
    let event = event(Happening {
        warning: true,
        reason: "NotPlanned",
        note: "ß".repeat(LONGEST_NOTE),
        about: None,
        on_node: None,
    });
    let note = event.note.expect("there is a note");
    assert!(note.len() <= LONGEST_NOTE && note.ends_with('ß'));
}
