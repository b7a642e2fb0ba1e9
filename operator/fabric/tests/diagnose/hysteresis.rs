//! When cases open and end.

use std::time::Duration;

use rdmamesh_fabric::diagnose::{AgentState, CaseKey, Evidence, Transition};

use crate::world::{Edit, Judge, START, assert_named, healthy, named, rnic};

const PAIR: &str = "host1/rxe0 ↔ host2/rxe0";

fn lossy() -> Evidence {
    healthy(4).lossy(1, 2, 10, 50)
}

fn raise_after(windows: u32, mut evidence: Evidence) -> Evidence {
    evidence.tolerance.raise_after = windows;
    evidence
}

#[test]
fn with_raise_after_one_the_first_sight_is_enough() {
    let verdict = Judge::new().judge(&lossy());
    assert_named(&verdict, &[PAIR]);
    assert!(matches!(verdict.transitions[..], [Transition::Opened(_)]));
}

#[test]
fn with_raise_after_three_it_takes_two_windows_of_illness() {
    let mut judge = Judge::new();
    let evidence = raise_after(3, lossy());
    let first = judge.judge(&evidence);
    assert_named(&first, &[]);
    assert_eq!(first.next_check, Some(START.after(Duration::from_secs(10))));
    assert_named(&judge.after(9, &evidence), &[]);
    let verdict = judge.after(1, &evidence);
    assert_named(&verdict, &[PAIR]);
    assert_eq!(
        verdict.suspects[0].since, START,
        "it began when it was first seen"
    );
}

#[test]
fn an_illness_that_comes_and_goes_below_the_raise_time_is_not_named() {
    let mut judge = Judge::new();
    for _ in 0..10 {
        assert_named(&judge.after(4, &raise_after(2, lossy())), &[]);
        assert_named(&judge.after(1, &raise_after(2, healthy(4))), &[]);
    }
}

#[test]
fn silence_in_between_does_not_count_as_illness() {
    let mut judge = Judge::new();
    let dark = raise_after(
        2,
        lossy()
            .agent(1, AgentState::Silent)
            .agent(2, AgentState::Silent),
    );
    judge.judge(&raise_after(2, lossy()));
    judge.after(60, &dark);
    assert_named(&judge.after(1, &raise_after(2, lossy())), &[]);
}

#[test]
fn it_takes_two_clean_windows_to_end_a_case() {
    let mut judge = Judge::new();
    judge.judge(&lossy());
    let clean = judge.after(3, &healthy(4));
    assert_named(&clean, &[PAIR]);
    assert_eq!(
        clean.next_check,
        Some(judge.now.after(Duration::from_secs(10)))
    );
    assert_named(&judge.after(9, &healthy(4)), &[PAIR]);
    let verdict = judge.after(1, &healthy(4));
    assert_named(&verdict, &[]);
    assert_eq!(
        verdict.transitions,
        [Transition::Cleared(CaseKey::pair(rnic(1), rnic(2)))]
    );
    assert_eq!(verdict.next_check, None);
}

#[test]
fn a_relapse_starts_the_clean_time_again_and_keeps_since() {
    let mut judge = Judge::new();
    judge.judge(&lossy());
    judge.after(1, &healthy(4));
    judge.after(8, &lossy());
    assert_named(&judge.after(1, &healthy(4)), &[PAIR]);
    let verdict = judge.after(9, &healthy(4));
    assert_named(&verdict, &[PAIR]);
    assert_eq!(verdict.suspects[0].since, START);
}

#[test]
fn a_case_that_ended_and_returns_is_a_new_one() {
    let mut judge = Judge::new();
    judge.judge(&lossy());
    judge.after(1, &healthy(4));
    judge.after(10, &healthy(4));
    let verdict = judge.after(100, &lossy());
    assert_eq!(verdict.suspects[0].since, judge.now);
}

/// Judges a lossy path and then clean ones for `clean` seconds.
fn episode(judge: &mut Judge, clean: u64) {
    judge.after(5, &lossy());
    judge.after(1, &healthy(4));
    judge.after(clean, &healthy(4));
}

#[test]
fn what_comes_back_soon_says_so_and_from_the_second_return_on_must_be_clean_for_longer() {
    let mut judge = Judge::new();
    episode(&mut judge, 10);
    let second = judge.after(290, &lossy());
    assert_named(&second, &[PAIR]);
    let evidence = &second.suspects[0].evidence;
    assert!(
        evidence.starts_with("comes and goes, 2 times within 5 min: "),
        "{evidence}"
    );
    judge.after(1, &healthy(4));
    assert_named(&judge.after(9, &healthy(4)), &[PAIR]);
    assert_named(&judge.after(1, &healthy(4)), &[]);
    let third = judge.after(60, &lossy());
    let evidence = &third.suspects[0].evidence;
    assert!(evidence.contains("3 times within 6 min"), "{evidence}");
    judge.after(1, &healthy(4));
    assert_named(&judge.after(19, &healthy(4)), &[PAIR]);
    assert_named(&judge.after(1, &healthy(4)), &[]);
}

#[test]
fn patience_with_what_comes_back_has_an_end() {
    let mut judge = Judge::new();
    for _ in 0..20 {
        episode(&mut judge, 60);
        assert_named(&judge.after(1, &healthy(4)), &[]);
    }
}

#[test]
fn what_comes_back_late_is_not_said_to_come_and_go() {
    let mut judge = Judge::new();
    episode(&mut judge, 10);
    let late = judge.after(900, &lossy());
    assert_named(&late, &[PAIR]);
    let evidence = &late.suspects[0].evidence;
    assert!(!evidence.contains("comes and goes"), "{evidence}");
    judge.after(1, &healthy(4));
    assert_named(&judge.after(10, &healthy(4)), &[]);
}

#[test]
fn a_case_stays_open_while_nobody_reports() {
    let mut judge = Judge::new();
    judge.judge(&lossy());
    let mut dark = healthy(4);
    for host in 1..=4 {
        dark = dark.agent(host, AgentState::Silent);
    }
    for _ in 0..20 {
        let verdict = judge.after(3_600, &dark);
        assert_named(&verdict, &[PAIR]);
        assert!(verdict.transitions.is_empty());
    }
}

#[test]
fn time_without_evidence_does_not_count_as_clean() {
    let mut judge = Judge::new();
    judge.judge(&lossy());
    judge.after(1, &healthy(4));
    judge.after(60, &healthy(4).agent(1, AgentState::Silent));
    assert_named(&judge.after(1, &healthy(4)), &[PAIR]);
    assert_named(&judge.after(9, &healthy(4)), &[PAIR]);
    assert_named(&judge.after(1, &healthy(4)), &[]);
}

/// Judges clean evidence of one kind for a long time and tells whether the case stayed open.
fn stays_open(evidence: &Evidence) -> bool {
    let mut judge = Judge::new();
    judge.judge(&lossy());
    (0..50).all(|_| !named(&judge.after(30, evidence)).is_empty())
}

#[test]
fn what_counts_as_clean() {
    assert!(
        !stays_open(&healthy(4)),
        "both ends probe each other and list nothing"
    );
    assert!(
        !stays_open(&healthy(4).plan_only(4, &[(1, 2)])),
        "the only prober lists nothing"
    );
    assert!(
        !stays_open(&healthy(4).agent(3, AgentState::Silent)),
        "others do not matter"
    );
}

#[test]
fn what_does_not_count_as_clean() {
    let edit = |change: &dyn Fn(&mut Evidence)| {
        let mut evidence = healthy(4);
        change(&mut evidence);
        evidence
    };
    let cases: [(&str, Evidence); 7] = [
        ("one end is silent", healthy(4).agent(1, AgentState::Silent)),
        (
            "one end is left out",
            healthy(4).agent(2, AgentState::Excluded),
        ),
        ("one end has no report", edit(&|e| e.host(1).report = None)),
        (
            "no window has settled",
            edit(&|e| e.report(1).window_end = None),
        ),
        (
            "nothing was judged",
            edit(&|e| {
                let tally = &mut e.report(1).rnics[0];
                tally.unresolved = tally.ok;
                tally.ok = 0;
            }),
        ),
        (
            "anomalies did not fit the report",
            edit(&|e| e.report(2).anomalies_omitted = 1),
        ),
        (
            "the RNIC is missing in the report",
            edit(&|e| e.report(2).rnics.clear()),
        ),
    ];
    for (why, evidence) in cases {
        assert!(stays_open(&evidence), "{why}");
    }
}

#[test]
fn a_path_to_a_peer_that_could_not_be_resolved_is_not_clean_until_the_peer_is_heard() {
    let mut judge = Judge::new();
    judge.now = START.after(Duration::from_secs(100));
    judge.judge(&lossy());
    let mut unresolved = healthy(4);
    unresolved.report(1).rnics[0].unresolved = 34;
    for _ in 0..50 {
        let verdict = judge.after(30, &unresolved);
        assert_named(&verdict, &[PAIR]);
    }
    unresolved.report(2).window_end = Some(START.after(Duration::from_secs(92)));
    judge.after(1, &unresolved);
    assert_named(&judge.after(10, &unresolved), &[]);
}

#[test]
fn fewer_unresolved_probes_than_one_peer_gets_do_not_hold_up_the_end_of_a_case() {
    let mut judge = Judge::new();
    judge.now = START.after(Duration::from_secs(100));
    judge.judge(&lossy());
    let mut few = healthy(4);
    few.report(1).rnics[0].unresolved = 10;
    judge.after(1, &few);
    assert_named(&judge.after(10, &few), &[]);
}

#[test]
fn a_path_that_is_no_longer_probed_is_judged_by_its_ends() {
    let unplanned = healthy(4).plan_only(4, &[(1, 3), (2, 4)]);
    assert!(
        !stays_open(&unplanned),
        "both ends are fine with everybody else"
    );
    let mut ill_end = unplanned.clone();
    let tally = &mut ill_end.report(2).rnics[0];
    (tally.ok, tally.lost) = (90, 10);
    assert!(stays_open(&ill_end), "one end loses probes");
    assert!(
        stays_open(&unplanned.clone().agent(1, AgentState::Silent)),
        "one end is silent"
    );
    assert!(
        stays_open(&unplanned.lossy(2, 4, 10, 50)),
        "one end is named with another"
    );
}

#[test]
fn a_path_whose_end_left_the_mesh_is_withdrawn() {
    let mut judge = Judge::new();
    judge.judge(&lossy());
    let mut smaller = healthy(4);
    smaller.nodes.retain(|node| node.node.as_str() != "host2");
    let verdict = judge.after(1, &smaller);
    assert_named(&verdict, &[]);
    assert_eq!(
        verdict.transitions,
        [Transition::Withdrawn(CaseKey::pair(rnic(1), rnic(2)))]
    );
}

#[test]
fn a_suspect_node_that_is_cordoned_stays_suspect() {
    let mut judge = Judge::new();
    judge.judge(&lossy());
    let cordoned = healthy(4)
        .agent(2, AgentState::Excluded)
        .plan_only(4, &[(1, 3), (3, 1)]);
    for _ in 0..10 {
        assert_named(&judge.after(600, &cordoned), &[PAIR]);
    }
}

#[test]
fn a_clock_that_jumps_back_neither_raises_nor_clears_nor_panics() {
    let mut judge = Judge::new();
    judge.judge(&lossy());
    judge.after(1, &healthy(4));
    judge.now = START;
    assert_named(&judge.judge(&healthy(4)), &[PAIR]);
}
