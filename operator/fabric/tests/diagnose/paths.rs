//! Suspects that are paths between two RNICs.

use std::time::Duration;

use rdmamesh_fabric::diagnose::{AgentState, Anomaly, AnomalyKind, SuspectKind};
use rdmamesh_fabric::plan::ProbeClass;

use crate::world::{Edit, Judge, assert_named, healthy, judge, loss, rnic, slow};

#[test]
fn a_healthy_mesh_has_no_suspect() {
    assert_named(&judge(&healthy(4)), &[]);
}

#[test]
fn a_lossy_path_is_one_suspect_whoever_reports_it() {
    let one_way = judge(&healthy(4).reports(3, loss(rnic(1), 12, 80)));
    let other_way = judge(&healthy(4).reports(1, loss(rnic(3), 12, 80)));
    let both = judge(&healthy(4).lossy(1, 3, 6, 40));
    for verdict in [&one_way, &other_way, &both] {
        assert_named(verdict, &["host1/rxe0 ↔ host3/rxe0"]);
        assert_eq!(verdict.suspects[0].key.kind(), SuspectKind::Rnic);
    }
}

#[test]
fn the_evidence_is_a_sentence_with_numbers() {
    let verdict = judge(&healthy(4).lossy(1, 3, 6, 40));
    assert_eq!(
        verdict.suspects[0].evidence,
        "host1/rxe0 ↔ host3/rxe0 lost 12 of 80 probes (15 %) in 5 s, both directions; \
         IP between them is fine"
    );
}

#[test]
fn the_evidence_says_who_sees_it_and_why_the_other_end_does_not() {
    let base = || healthy(4).reports(1, loss(rnic(3), 12, 80));
    for (evidence, words) in [
        (base(), "seen from host1 only: host3 sees nothing wrong"),
        (
            base().agent(3, AgentState::Silent),
            "seen from host1 only: no report from host3",
        ),
        (
            base().plan_only(4, &[(1, 3)]),
            "seen from host1 only: host3 does not probe it",
        ),
    ] {
        let verdict = judge(&evidence);
        let evidence = verdict
            .suspects
            .first()
            .map(|suspect| suspect.evidence.clone());
        let evidence = evidence.expect("the path is a suspect");
        assert!(evidence.contains(words), "{evidence}");
    }
}

#[test]
fn the_evidence_says_that_ip_fails_too_or_nothing_about_ip() {
    let with = |ip| {
        let anomaly = Anomaly {
            ip_reachable: ip,
            ..loss(rnic(2), 12, 80)
        };
        judge(&healthy(3).reports(1, anomaly)).suspects[0]
            .evidence
            .clone()
    };
    assert!(with(Some(false)).ends_with("IP between them fails too"));
    assert!(!with(None).contains("IP between"));
}

#[test]
fn single_ill_flows_are_named_by_source_port() {
    let flow = |port| Anomaly {
        flow: Some(port),
        ..loss(rnic(3), 5, 10)
    };
    let evidence = [52_001, 50_002, 50_003, 50_004]
        .into_iter()
        .fold(healthy(3), |evidence, port| evidence.reports(1, flow(port)));
    let sentence = &judge(&evidence).suspects[0].evidence;
    assert!(
        sentence.contains("lost 20 of 40 probes (50 %)"),
        "{sentence}"
    );
    assert!(
        sentence.contains("on single flows (UDP source port 50002, 50003, 50004 and 1 more)"),
        "{sentence}"
    );
}

#[test]
fn flows_of_a_target_that_is_ill_as_a_whole_are_not_counted_twice() {
    let flow = Anomaly {
        flow: Some(50_001),
        ..loss(rnic(3), 5, 10)
    };
    let sentence = &judge(
        &healthy(3)
            .reports(1, loss(rnic(3), 12, 80))
            .reports(1, flow),
    )
    .suspects[0]
        .evidence;
    assert!(sentence.contains("lost 12 of 80"), "{sentence}");
    assert!(!sentence.contains("single flows"), "{sentence}");
}

#[test]
fn losses_of_several_classes_add_up() {
    let inter_tor = Anomaly {
        class: ProbeClass::InterTor,
        ..loss(rnic(3), 8, 20)
    };
    let evidence = healthy(3)
        .reports(1, loss(rnic(3), 12, 80))
        .reports(1, inter_tor);
    assert!(
        judge(&evidence).suspects[0]
            .evidence
            .contains("lost 20 of 100 probes (20 %)")
    );
}

#[test]
fn a_slow_path_is_a_suspect_with_its_time_and_the_limit() {
    let verdict = judge(&healthy(3).reports(1, slow(rnic(2), Duration::from_micros(2_310))));
    assert_named(&verdict, &["host1/rxe0 ↔ host2/rxe0"]);
    let sentence = &verdict.suspects[0].evidence;
    assert!(
        sentence.contains("took 2.3 ms (limit 500 µs)"),
        "{sentence}"
    );
}

#[test]
fn a_path_that_loses_and_is_slow_is_one_suspect() {
    let evidence = healthy(3)
        .reports(1, slow(rnic(2), Duration::from_millis(2)))
        .reports(1, loss(rnic(2), 12, 80));
    let verdict = judge(&evidence);
    assert_eq!(verdict.suspects.len(), 1);
    let sentence = &verdict.suspects[0].evidence;
    assert!(
        sentence.contains("lost 12 of 80 probes (15 %) in 5 s and took 2 ms"),
        "{sentence}"
    );
}

#[test]
fn several_bad_paths_of_one_rnic_are_named_as_paths_only() {
    let verdict = judge(
        &healthy(4)
            .lossy(1, 2, 9, 50)
            .lossy(1, 3, 9, 50)
            .lossy(1, 4, 9, 50),
    );
    assert_named(
        &verdict,
        &[
            "host1/rxe0 ↔ host2/rxe0",
            "host1/rxe0 ↔ host3/rxe0",
            "host1/rxe0 ↔ host4/rxe0",
        ],
    );
}

#[test]
fn an_anomaly_without_figures_proves_nothing() {
    let no_time = Anomaly {
        p99: None,
        ..slow(rnic(2), Duration::ZERO)
    };
    for anomaly in [
        loss(rnic(2), 0, 80),
        loss(rnic(2), 0, 0),
        loss(rnic(2), 5, 0),
        no_time,
    ] {
        assert_named(&judge(&healthy(3).reports(1, anomaly)), &[]);
    }
}

#[test]
fn trouble_of_plain_ip_is_no_suspect_of_the_rdma_fabric() {
    let control = Anomaly {
        class: ProbeClass::Control,
        ..loss(rnic(2), 12, 80)
    };
    assert_named(&judge(&healthy(3).reports(1, control)), &[]);
}

#[test]
fn an_rnic_cannot_be_in_trouble_with_itself() {
    assert_named(&judge(&healthy(3).reports(1, loss(rnic(1), 12, 80))), &[]);
}

#[test]
fn the_word_of_a_silent_agent_accuses_nobody() {
    let evidence = healthy(3).reports(1, loss(rnic(2), 12, 80));
    assert_named(&judge(&evidence.agent(1, AgentState::Silent)), &[]);
}

#[test]
fn a_peer_that_is_left_out_of_the_plan_is_not_accused() {
    let evidence = healthy(4).reports(1, loss(rnic(3), 80, 80));
    assert_named(
        &judge(&evidence.clone().agent(3, AgentState::Excluded)),
        &[],
    );
    assert_named(&judge(&evidence.agent(1, AgentState::Excluded)), &[]);
}

#[test]
fn a_peer_that_is_no_part_of_the_mesh_is_not_accused() {
    assert_named(&judge(&healthy(3).reports(1, loss(rnic(9), 12, 80))), &[]);
    let mut deselected = healthy(3).reports(1, loss(rnic(2), 12, 80));
    deselected.host(2).ports.as_mut().expect("has an inventory")[0].selected = false;
    assert_named(&judge(&deselected), &[]);
}

#[test]
fn a_path_to_a_node_whose_inventory_is_missing_can_still_be_accused() {
    let mut evidence = healthy(3).reports(1, loss(rnic(2), 12, 80));
    evidence.host(2).ports = None;
    assert_named(&judge(&evidence), &["host1/rxe0 ↔ host2/rxe0"]);
}

#[test]
fn confidence_grows_with_the_evidence_and_never_reaches_certainty() {
    let sure = |lost, sent| judge(&healthy(3).lossy(1, 2, lost, sent)).suspects[0].confidence;
    let (thin, more, plenty) = (sure(1, 40), sure(2, 40), sure(300, 1_000));
    assert!(thin < more && more <= plenty, "{thin} {more} {plenty}");
    assert!(plenty < 100 && thin > 0, "{thin} {plenty}");
}

#[test]
fn confidence_is_lower_when_the_other_end_sees_nothing() {
    let both = judge(&healthy(3).lossy(1, 2, 30, 100)).suspects[0].confidence;
    let one = judge(&healthy(3).reports(1, loss(rnic(2), 60, 200))).suspects[0].confidence;
    let unheard = judge(
        &healthy(3)
            .reports(1, loss(rnic(2), 60, 200))
            .agent(2, AgentState::Silent),
    );
    let unheard = unheard.suspects[0].confidence;
    assert!(one < unheard && unheard < both, "{one} {unheard} {both}");
}

#[test]
fn the_confidence_in_slowness_grows_with_the_samples() {
    let sure = |sent| {
        let anomaly = Anomaly {
            sent,
            ..slow(rnic(2), Duration::from_millis(2))
        };
        judge(&healthy(3).agent(2, AgentState::Silent).reports(1, anomaly)).suspects[0].confidence
    };
    assert_eq!([3, 20, 1_000].map(sure), [40, 80, 90]);
}

#[test]
fn the_figures_follow_the_newest_report_while_since_stays() {
    let mut judge = Judge::new();
    let first = judge.judge(&healthy(3).lossy(1, 2, 3, 50));
    let second = judge.after(7, &healthy(3).lossy(1, 2, 25, 50));
    assert_eq!(second.suspects[0].since, first.suspects[0].since);
    assert_eq!(second.suspects[0].last_seen, judge.now);
    assert!(second.suspects[0].evidence.contains("lost 50 of 100"));
}

#[test]
fn a_report_with_more_lost_than_sent_is_bounded_and_does_not_panic() {
    let verdict = judge(&healthy(3).reports(1, loss(rnic(2), u64::MAX, 10)));
    assert!(
        verdict.suspects[0]
            .evidence
            .contains("lost 10 of 10 probes (100 %)")
    );
    let huge = loss(rnic(2), u64::MAX, u64::MAX);
    let verdict = judge(&healthy(3).reports(1, huge.clone()).reports(1, huge));
    assert_eq!(verdict.suspects.len(), 1);
}

#[test]
fn worst_pairs_are_listed_by_share_of_loss_then_time() {
    let evidence = healthy(5)
        .reports(1, loss(rnic(2), 5, 100))
        .reports(2, loss(rnic(3), 50, 100))
        .reports(3, slow(rnic(4), Duration::from_millis(1)))
        .reports(4, slow(rnic(5), Duration::from_millis(9)));
    let verdict = judge(&evidence);
    let sources: Vec<_> = verdict
        .worst_pairs
        .iter()
        .map(|pair| pair.source.node.as_str())
        .collect();
    assert_eq!(sources, ["host2", "host1", "host4", "host3"]);
    assert_eq!(
        (verdict.worst_pairs[0].lost, verdict.worst_pairs[0].sent),
        (50, 100)
    );
}

#[test]
fn lists_stay_bounded_however_many_paths_are_ill() {
    let mut evidence = healthy(30);
    for host in 2..=30 {
        evidence = evidence.lossy(1, host, u64::from(host), 100);
    }
    let verdict = judge(&evidence);
    assert_eq!(verdict.suspects.len(), 20);
    assert_eq!(verdict.suspects_omitted, 9);
    assert_eq!(verdict.worst_pairs.len(), 10);
    assert_eq!(
        verdict.transitions.len(),
        29,
        "Events are about all of them"
    );
}

#[test]
fn latency_and_loss_kinds_are_kept_apart_per_target() {
    let whole_slow = slow(rnic(2), Duration::from_millis(3));
    let lossy_flow = Anomaly {
        kind: AnomalyKind::Loss,
        flow: Some(50_000),
        ..loss(rnic(2), 4, 10)
    };
    let sentence =
        &judge(&healthy(3).reports(1, whole_slow).reports(1, lossy_flow)).suspects[0].evidence;
    assert!(
        sentence.contains("lost 4 of 10"),
        "a slow whole does not hide a lossy flow: {sentence}"
    );
}
