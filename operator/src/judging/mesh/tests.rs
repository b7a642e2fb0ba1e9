//! The pace of statuses, and cases that outlive the judge.

use std::sync::Arc;

use rdmamesh_api::condition::{Condition, READY};
use rdmamesh_fabric::diagnose::Status;
use serde_json::json;

use super::*;
use crate::fixtures::{assignment, at, caches, in_force, mesh_view};
use crate::planning::{Applied, InForce};

const SPEC: &str = r#"{"thresholds": {"window": "5s"}}"#;

fn force() -> InForce {
    in_force(serde_json::from_str(SPEC).expect("a spec"), 3)
}

fn planned() -> MeshOutcome {
    let in_force = Arc::new(force());
    MeshOutcome {
        uid: "uid-m".to_owned(),
        generation: 3,
        mesh: Ok(Arc::clone(&in_force.mesh)),
        in_force: Some(in_force),
        applied: Applied::Done,
    }
}

fn view() -> MeshView {
    mesh_view(serde_json::from_str(SPEC).expect("a spec"))
}

/// Hosts 1 to 3 reported at second `reported`; with `lossy`, host1 and host2 see loss between them.
fn reports(reported: i64, lossy: bool) -> Caches {
    let force = force();
    let to = |number| match number {
        1 if lossy => Some("host2/rxe0"),
        2 if lossy => Some("host1/rxe0"),
        _ => None,
    };
    caches(
        3,
        (1..=3)
            .map(|number| assignment(&force, number, reported, to(number)))
            .collect(),
    )
}

/// Judges, and books the write as done.
fn judged(judge: &mut Judge, view: &MeshView, caches: &Caches, now: i64) -> Option<RdmaMeshStatus> {
    let judged = judge.judge(view, Some(&planned()), caches, at(now));
    let written = judged.write.clone();
    judge.booked(judged, true, at(now));
    written
}

fn health(status: &RdmaMeshStatus) -> Option<Status> {
    status_of(&status.conditions, FABRIC_HEALTHY)
}

#[test]
fn a_verdict_that_turns_is_written_at_once_and_one_that_does_not_is_not_written_again() {
    let caches = reports(100, false);
    let mut judge = Judge::recover(&view(), &caches);
    let first = judged(&mut judge, &view(), &caches, 100).expect("the first look is written");
    assert_eq!(health(&first), Some(Status::True));
    assert_eq!(
        judged(&mut judge, &view(), &caches, 101),
        None,
        "nothing new"
    );
    let turned = judged(&mut judge, &view(), &reports(101, true), 101).expect("the verdict turned");
    assert_eq!(health(&turned), Some(Status::False));
    assert_eq!(turned.suspects[0].name, "host1/rxe0");
    assert_eq!(turned.suspects[0].peer.as_deref(), Some("host2/rxe0"));
}

#[test]
fn a_case_clears_by_time_without_another_report() {
    let ill = reports(100, true);
    let mut judge = Judge::recover(&view(), &ill);
    judged(&mut judge, &view(), &ill, 100).expect("the case opens");
    let clean = reports(105, false);
    let judging = judge.judge(&view(), Some(&planned()), &clean, at(105));
    assert!(
        judging.suspects.contains(&("path", 1)),
        "clean evidence must last two windows"
    );
    let next = judge.booked(judging, true, at(105));
    assert_eq!(next, Duration::from_secs(10));
    let cleared = judged(&mut judge, &view(), &clean, 115).expect("the verdict turned");
    assert_eq!(health(&cleared), Some(Status::True));
    assert!(cleared.suspects.is_empty());
}

#[test]
fn times_that_move_are_written_now_and_then_only() {
    let ill = reports(100, true);
    let mut judge = Judge::recover(&view(), &ill);
    let mut view = view();
    view.status = judged(&mut judge, &view, &ill, 100);
    let mut writes = 0;
    for now in 101..161 {
        if let Some(status) = judged(&mut judge, &view, &ill, now) {
            writes += 1;
            view.status = Some(status);
        }
    }
    assert_eq!(
        writes, 2,
        "lastSeen moves every second, and is written every 30 s"
    );
}

#[test]
fn figures_that_change_all_the_time_are_written_once_a_second() {
    let clean = reports(100, false);
    let mut judge = Judge::recover(&view(), &clean);
    judged(&mut judge, &view(), &clean, 100).expect("the first look is written");
    let later = |millis| Timestamp::from_millisecond(millis).expect("a time");
    let mut outcome = planned();
    outcome.applied = Applied::Pending(["host1".to_owned()].into());
    let early = judge.judge(&view(), Some(&outcome), &clean, later(100_300));
    assert_eq!(early.write, None);
    assert_eq!(
        judge.booked(early, true, later(100_300)),
        Duration::from_millis(700)
    );
    let due = judge.judge(&view(), Some(&outcome), &clean, later(101_000));
    assert!(due.write.is_some());
}

#[test]
fn an_open_case_keeps_its_time_over_a_restart() {
    let ill = reports(100, true);
    let mut view = view();
    let mut judge = Judge::recover(&view, &ill);
    view.status = judged(&mut judge, &view, &ill, 100);
    drop(judge);
    let mut next = Judge::recover(&view, &ill);
    let judging = next.judge(&view, Some(&planned()), &ill, at(200));
    assert!(
        judging.happenings.is_empty(),
        "nothing happened: {:?}",
        judging.happenings
    );
    let status = judging.write.expect("lastSeen is old");
    assert_eq!(status.suspects[0].since.0, at(100));
    let since = |conditions: &[Condition]| {
        let found = conditions
            .iter()
            .find(|condition| condition.type_ == FABRIC_HEALTHY);
        found.map(|condition| condition.last_transition_time.0)
    };
    assert_eq!(since(&status.conditions), Some(at(100)));
}

#[test]
fn before_the_first_plan_a_written_status_is_left_as_it_is() {
    let ill = reports(100, true);
    let mut view = view();
    let mut judge = Judge::recover(&view, &ill);
    view.status = judged(&mut judge, &view, &ill, 100);
    let mut next = Judge::recover(&view, &ill);
    let judging = next.judge(&view, None, &ill, at(101));
    assert_eq!(judging.write, None);
    assert_eq!(judging.healthy, Some(false));
    let fresh = next.judge(&mesh_view(json!({})), None, &ill, at(101));
    let status = fresh.write.expect("a new mesh has its conditions at once");
    assert_eq!(status_of(&status.conditions, READY), Some(Status::Unknown));
}

#[test]
fn a_write_that_failed_is_tried_again_with_its_events() {
    let clean = reports(100, false);
    let mut judge = Judge::recover(&view(), &clean);
    judged(&mut judge, &view(), &clean, 100);
    let ill = reports(101, true);
    let failed = judge.judge(&view(), Some(&planned()), &ill, at(101));
    assert!(
        failed
            .happenings
            .iter()
            .any(|happening| happening.reason == "SuspectRaised")
    );
    assert_eq!(judge.booked(failed, false, at(101)), RETRY);
    let again = judge.judge(&view(), Some(&planned()), &ill, at(102));
    assert!(again.write.is_some());
    assert!(
        again
            .happenings
            .iter()
            .any(|happening| happening.reason == "SuspectRaised")
    );
}

#[test]
fn a_mesh_that_wants_no_events_gets_none() {
    let ill = reports(100, true);
    let mut outcome = planned();
    let mut quiet = outcome
        .mesh
        .as_ref()
        .map(|mesh| (**mesh).clone())
        .expect("a valid mesh");
    quiet.events = false;
    outcome.mesh = Ok(Arc::new(quiet));
    let mut judge = Judge::recover(&view(), &ill);
    let judging = judge.judge(&view(), Some(&outcome), &ill, at(100));
    assert!(judging.write.is_some() && !judging.events);
}

#[test]
fn a_mesh_that_was_created_again_has_no_past() {
    let ill = reports(100, true);
    let mut judge = Judge::recover(&view(), &ill);
    judged(&mut judge, &view(), &ill, 100);
    let other = MeshView {
        uid: "another".to_owned(),
        ..view()
    };
    judge.replace_if_other(&other, &ill);
    assert!(judge.state.cases.is_empty() && judge.written.is_none());
}
