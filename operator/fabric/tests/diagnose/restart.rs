//! The operator dies and comes back: open cases are rebuilt from the mesh's status.

use std::time::Duration;

use rdmamesh_fabric::diagnose::{State, Transition};

use crate::world::{Edit, Judge, START, assert_named, down, healthy, rnic};

fn restarted(judge: &Judge, verdict: &rdmamesh_fabric::diagnose::Verdict) -> Judge {
    Judge {
        state: State::recover(verdict.suspects.clone(), (1..=4).map(rnic)),
        now: judge.now.after(Duration::from_secs(60)),
    }
}

#[test]
fn an_open_case_keeps_its_since_and_is_not_announced_again() {
    let mut judge = Judge::new();
    let evidence = healthy(4).lossy(1, 2, 10, 50);
    let before = judge.judge(&evidence);
    let mut judge = restarted(&judge, &before);
    let after = judge.judge(&evidence);
    assert_eq!(after.suspects[0].since, START);
    assert_eq!(after.suspects[0].last_seen, judge.now);
    assert!(after.transitions.is_empty(), "{:?}", after.transitions);
}

#[test]
fn a_case_that_healed_meanwhile_ends_after_the_clear_time() {
    let mut judge = Judge::new();
    let before = judge.judge(&healthy(4).lossy(1, 2, 10, 50));
    let mut judge = restarted(&judge, &before);
    assert_named(&judge.judge(&healthy(4)), &["host1/rxe0 ↔ host2/rxe0"]);
    let verdict = judge.after(10, &healthy(4));
    assert_named(&verdict, &[]);
    assert!(matches!(verdict.transitions[..], [Transition::Cleared(_)]));
}

#[test]
fn a_port_that_went_down_while_the_operator_was_away_is_noticed() {
    let mut judge = Judge::new();
    let before = judge.judge(&healthy(4));
    let mut judge = restarted(&judge, &before);
    let replanned = healthy(4).port(3, down()).plan_only(0, &[(1, 2), (2, 1)]);
    assert_named(&judge.judge(&replanned), &["host3/rxe0"]);
}

#[test]
fn a_port_case_survives_even_when_no_assignment_mentions_the_rnic_any_more() {
    let mut judge = Judge::new();
    judge.judge(&healthy(4));
    let evidence = healthy(4).port(3, down()).plan_only(0, &[(1, 2), (2, 1)]);
    let before = judge.after(1, &evidence);
    let mut judge = Judge {
        state: State::recover(before.suspects.clone(), [rnic(1), rnic(2)]),
        now: judge.now,
    };
    let after = judge.after(1, &evidence);
    assert_named(&after, &["host3/rxe0"]);
    assert_eq!(after.suspects[0].since, before.suspects[0].since);
}

#[test]
fn recovering_what_was_written_gives_the_same_verdict() {
    let mut judge = Judge::new();
    judge.judge(&healthy(4));
    let evidence = healthy(4).lossy(1, 2, 10, 50).port(4, down());
    let before = judge.after(5, &evidence);
    let mut again = Judge {
        state: State::recover(before.suspects.clone(), (1..=4).map(rnic)),
        now: judge.now,
    };
    let after = again.judge(&evidence);
    assert_eq!(after.suspects, before.suspects);
    assert_eq!(after.health, before.health);
}
