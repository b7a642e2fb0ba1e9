//! The condition `FabricHealthy`.

use rdmamesh_fabric::diagnose::{AgentState, Evidence, Status, Verdict};

use crate::world::{Edit, Judge, down, healthy, judge};

#[track_caller]
fn assert_health(verdict: &Verdict, status: Status, reason: &str, words: &[&str]) {
    let health = &verdict.health;
    assert_eq!(
        (health.status, health.reason),
        (status, reason),
        "{health:?}"
    );
    for word in words {
        assert!(
            health.message.contains(word),
            "{word:?} is missing in {:?}",
            health.message
        );
    }
}

fn silent(mut evidence: Evidence, hosts: std::ops::RangeInclusive<u32>) -> Evidence {
    for host in hosts {
        evidence = evidence.agent(host, AgentState::Silent);
    }
    evidence
}

#[test]
fn healthy_says_what_was_measured() {
    let verdict = judge(&healthy(4));
    assert_health(
        &verdict,
        Status::True,
        "NoSuspects",
        &["4 RNICs, 12 pairs probed, loss 0 %, p99 340 µs"],
    );
    assert_eq!(verdict.health.status.as_str(), "True");
}

#[test]
fn unhealthy_says_the_first_suspects_evidence_and_how_many_more_there_are() {
    let verdict = judge(&healthy(4).lossy(1, 3, 6, 40));
    assert_health(
        &verdict,
        Status::False,
        "SuspectsFound",
        &["lost 12 of 80 probes (15 %)"],
    );
    let verdict = judge(
        &healthy(4)
            .lossy(1, 3, 6, 40)
            .lossy(2, 4, 6, 40)
            .lossy(1, 2, 20, 40),
    );
    assert_health(
        &verdict,
        Status::False,
        "SuspectsFound",
        &["; and 2 more suspects"],
    );
}

#[test]
fn nothing_is_known_until_half_of_the_agents_have_reported() {
    let verdict = judge(&silent(healthy(4), 1..=3));
    assert_health(
        &verdict,
        Status::Unknown,
        "WaitingForAgents",
        &["1 of 4 agents"],
    );
    assert_health(
        &judge(&silent(healthy(4), 1..=2)),
        Status::True,
        "NoSuspects",
        &[],
    );
}

#[test]
fn agents_without_settled_windows_or_judged_probes_have_not_reported() {
    let mut no_window = healthy(2);
    no_window.report(1).window_end = None;
    no_window.report(2).window_end = None;
    assert_health(
        &judge(&no_window),
        Status::Unknown,
        "WaitingForAgents",
        &["0 of 2"],
    );
    let mut unjudged = healthy(2);
    for host in 1..=2 {
        let tally = &mut unjudged.report(host).rnics[0];
        (tally.ok, tally.unresolved) = (0, 100);
    }
    assert_health(
        &judge(&unjudged),
        Status::Unknown,
        "WaitingForAgents",
        &["0 of 2"],
    );
}

#[test]
fn a_mesh_that_probes_nothing_is_neither_healthy_nor_unhealthy() {
    assert_health(
        &judge(&healthy(0)),
        Status::Unknown,
        "NothingProbed",
        &["0 RNICs"],
    );
    assert_health(
        &judge(&healthy(1)),
        Status::Unknown,
        "NothingProbed",
        &["1 RNICs"],
    );
}

#[test]
fn when_the_agents_fall_silent_the_condition_is_unknown_and_still_tells_the_open_case() {
    let mut judge = Judge::new();
    judge.judge(&healthy(4).lossy(1, 2, 20, 40));
    let verdict = judge.after(600, &silent(healthy(4), 1..=4));
    assert_health(
        &verdict,
        Status::Unknown,
        "WaitingForAgents",
        &[
            "0 of 4 agents",
            "still open: host1/rxe0 ↔ host2/rxe0 lost 40 of 80",
        ],
    );
}

#[test]
fn what_is_seen_to_be_down_is_a_failure_although_nothing_else_can_be_judged() {
    let evidence = silent(healthy(4), 2..=4).port(1, down());
    let mut judge = Judge::new();
    judge.judge(&healthy(4));
    let verdict = judge.after(1, &evidence);
    assert_health(
        &verdict,
        Status::False,
        "SuspectsFound",
        &["host1/rxe0: its own agent reports port 1", "of 4 agents"],
    );
}

#[test]
fn tolerance_counts_rnics_under_suspicion() {
    let with = |percent, evidence: Evidence| {
        let mut evidence = evidence;
        evidence.tolerance.max_unhealthy_percent = percent;
        judge(&evidence)
    };
    let evidence = || healthy(10).lossy(1, 2, 20, 40);
    assert_health(&with(19, evidence()), Status::False, "SuspectsFound", &[]);
    let tolerated = with(20, evidence());
    assert_health(
        &tolerated,
        Status::True,
        "WithinTolerance",
        &[
            "2 of 10 RNICs (20 %)",
            "20 % are tolerated",
            "lost 40 of 80",
            "10 RNICs",
        ],
    );
    assert_eq!(
        tolerated.suspects.len(),
        1,
        "tolerated suspects are named all the same"
    );
}

#[test]
fn an_rnic_in_two_bad_paths_counts_once() {
    let mut evidence = healthy(10).lossy(1, 2, 20, 40).lossy(1, 3, 20, 40);
    evidence.tolerance.max_unhealthy_percent = 30;
    assert_health(
        &judge(&evidence),
        Status::True,
        "WithinTolerance",
        &["3 of 10 RNICs (30 %)"],
    );
}

#[test]
fn an_rnic_that_dropped_out_of_the_plan_still_belongs_to_the_whole() {
    let mut judge = Judge::new();
    judge.judge(&healthy(2));
    let mut evidence = healthy(4)
        .port(2, down())
        .plan_only(0, &[(1, 3), (3, 1), (4, 1), (1, 4)]);
    evidence.tolerance.max_unhealthy_percent = 25;
    let verdict = judge.after(1, &evidence);
    assert_health(
        &verdict,
        Status::True,
        "WithinTolerance",
        &["1 of 4 RNICs (25 %)"],
    );
}

#[test]
fn suspects_are_ordered_by_kind_then_certainty_then_age_then_name() {
    let mut judge = Judge::new();
    judge.judge(&healthy(8));
    judge.after(1, &healthy(8).lossy(5, 6, 100, 100));
    let verdict = judge.after(
        1,
        &healthy(8)
            .lossy(5, 6, 100, 100)
            .lossy(3, 4, 100, 100)
            .lossy(2, 3, 100, 100)
            .lossy(1, 2, 1, 40)
            .port(8, down()),
    );
    let names: Vec<_> = verdict.suspects.iter().map(|s| s.key.name()).collect();
    assert_eq!(
        names,
        [
            "host8/rxe0",
            "host5/rxe0",
            "host2/rxe0",
            "host3/rxe0",
            "host1/rxe0"
        ]
    );
}
