//! Suspects that are links, switches, RNICs and hosts, told by traced flows.

use std::collections::BTreeSet;
use std::sync::Arc;

use proptest::prelude::*;
use rdmamesh_fabric::diagnose::{
    AgentState, Anomaly, CaseKey, Evidence, Hop, State, Status, SuspectKind, Verdict, diagnose,
};

use crate::traced::{Loss, Net, at, fine, lossy, lossy_element};
use crate::world::{Edit, Judge, START, assert_named, loss, named};

/// The verdict of a judge that has seen the fabric well, some seconds after this began.
fn verdict(net: &Net, ill: &Loss) -> Verdict {
    later(&net.evidence(&fine), &net.evidence(ill))
}

pub fn later(before: &Evidence, evidence: &Evidence) -> Verdict {
    let mut judge = Judge::new();
    judge.judge(before);
    judge.after(1, evidence);
    judge.after(2, evidence)
}

#[test]
fn a_lossy_leaf_is_no_fault_of_the_rnics_that_are_reached_through_several_of_its_ports() {
    for (flows, probes, share) in [(6, 5, 0.1), (14, 10, 0.05), (40, 3, 0.2), (40, 3, 0.3)] {
        let net = Net {
            flows,
            probes,
            port_addresses: true,
            ..Net::new(4, 4, 2)
        };
        let verdict = verdict(&net, &lossy_element("leaf1", share));
        assert_named(&verdict, &["leaf1"]);
    }
}

#[test]
fn a_fabric_in_order_has_no_suspect() {
    assert_named(&verdict(&Net::new(4, 2, 2), &fine), &[]);
}

#[test]
fn a_link_that_is_lossy_both_ways_is_named_and_nobody_else() {
    for share in [0.03, 0.12, 0.5, 1.0] {
        let verdict = verdict(&Net::new(4, 4, 4), &lossy("leaf3", "spine2", share));
        assert_named(&verdict, &["leaf3-spine2"]);
        assert_eq!(verdict.suspects[0].key.kind(), SuspectKind::Link);
        assert_eq!(verdict.health.status, Status::False);
        assert!(verdict.suspects[0].confidence >= 90, "{verdict:#?}");
    }
}

#[test]
fn the_evidence_of_a_link_is_one_sentence_with_numbers() {
    let verdict = verdict(&Net::new(4, 4, 4), &lossy("leaf3", "spine2", 0.12));
    let evidence = &verdict.suspects[0].evidence;
    assert!(evidence.starts_with("leaf3-spine2 lost "), "{evidence}");
    assert!(evidence.contains(" probes (12 %) in 5 s"), "{evidence}");
    let words = evidence.split_whitespace().collect::<Vec<_>>();
    let of = words
        .windows(4)
        .find(|words| words[3] == "lossy")
        .expect("counts of flows");
    assert_eq!(
        (of[0], of[1]),
        (of[2], "of"),
        "all lossy flows cross it: {evidence}"
    );
}

#[test]
fn a_link_that_is_lossy_one_way_is_named_with_the_way() {
    let one_way = |from: &str, to: &str| {
        if (from, to) == ("spine1", "leaf2") {
            0.2
        } else {
            0.0
        }
    };
    let verdict = verdict(&Net::new(4, 4, 4), &one_way);
    assert_named(&verdict, &["leaf2-spine1"]);
    let evidence = &verdict.suspects[0].evidence;
    assert!(evidence.contains("(from spine1 to leaf2)"), "{evidence}");
}

#[test]
fn a_lossy_spine_is_named_instead_of_its_links() {
    for share in [0.1, 0.6, 1.0] {
        let verdict = verdict(&Net::new(4, 4, 4), &lossy_element("spine3", share));
        assert_named(&verdict, &["spine3"]);
        assert_eq!(verdict.suspects[0].key.kind(), SuspectKind::Switch);
    }
}

#[test]
fn a_lossy_leaf_is_named_instead_of_its_hosts() {
    let verdict = verdict(&Net::new(4, 4, 4), &lossy_element("leaf2", 0.2));
    assert_named(&verdict, &["leaf2"]);
}

#[test]
fn a_lossy_rnic_is_named_and_that_its_cable_may_be_it() {
    for share in [0.05, 0.3, 1.0] {
        let verdict = verdict(&Net::new(4, 4, 4), &lossy_element("host6", share));
        assert_named(&verdict, &["host6/rxe0"]);
        let evidence = &verdict.suspects[0].evidence;
        assert!(
            evidence.contains("its access link to leaf2 cannot be told"),
            "{evidence}"
        );
    }
}

#[test]
fn an_rnic_that_loses_less_than_the_mesh_minds_is_named_only_where_nobody_else_can_be_meant() {
    let named_at = |ratio: f64, share: f64, probes: u64| {
        let net = Net {
            probes,
            ..Net::new(2, 2, 2)
        };
        let with = |loss: &Loss| Evidence {
            rnic_timeout_ratio: ratio,
            ..net.evidence(loss)
        };
        let mut judge = Judge::new();
        judge.judge(&with(&fine));
        let ill = with(&lossy_element("host2", share));
        judge.after(1, &ill);
        // Who is not sure yet is waited for.
        named(&judge.after(10, &ill))
    };
    let it = BTreeSet::from(["host2/rxe0".to_owned()]);
    // 5 % of few probes leave a doubt.
    assert_eq!(named_at(0.02, 0.05, 10), it);
    assert_eq!(named_at(0.1, 0.05, 10), BTreeSet::new());
    // Of more probes they do not.
    assert_eq!(named_at(0.1, 0.05, 20), it);
}

#[test]
fn a_host_all_of_whose_rnics_are_lossy_is_named_as_a_host() {
    let net = Net {
        rails: 4,
        ..Net::new(3, 2, 2)
    };
    let verdict = verdict(&net, &lossy_element("host3", 0.3));
    assert_named(&verdict, &["host3"]);
    assert_eq!(verdict.suspects[0].key.kind(), SuspectKind::Host);
}

#[test]
fn two_lossy_rnics_of_a_host_with_more_are_not_that_host() {
    let net = Net {
        rails: 4,
        ..Net::new(2, 2, 2)
    };
    let evidence = |of: [&str; 2]| {
        let mut evidence = net.evidence(&lossy_element("host2", 0.3));
        // What the host's other RNICs lose is taken out of every report.
        for node in &mut evidence.nodes {
            let report = node.report.as_mut().expect("everybody reports");
            let is_well = |hop: &Hop| match hop {
                Hop::Rnic(rnic) => {
                    &*rnic.node.to_string() == "host2" && !of.contains(&rnic.device.as_str())
                }
                _ => false,
            };
            let well: Vec<bool> = report
                .links
                .iter()
                .map(|link| is_well(&link.from) || is_well(&link.to))
                .collect();
            let crosses = |links: &[u8]| links.iter().any(|link| well[usize::from(*link)]);
            report.lossy_paths.retain(|path| !crosses(&path.links));
            for (link, _) in report
                .links
                .iter_mut()
                .zip(&well)
                .filter(|(_, well)| **well)
            {
                (link.lossy, link.lost) = (0, 0);
            }
        }
        evidence
    };
    let before = net.evidence(&fine);
    let two = later(&before, &evidence(["rxe1", "rxe2"]));
    assert_named(&two, &["host2/rxe1", "host2/rxe2"]);
}

#[test]
fn two_faults_at_once_are_two_suspects() {
    let links = |from: &str, to: &str| {
        lossy("leaf1", "spine2", 0.1)(from, to) + lossy("leaf4", "spine3", 0.4)(from, to)
    };
    assert_named(
        &verdict(&Net::new(4, 4, 4), &links),
        &["leaf1-spine2", "leaf4-spine3"],
    );
    let link_and_rnic = |from: &str, to: &str| {
        lossy("leaf1", "spine2", 0.2)(from, to) + lossy_element("host9", 0.3)(from, to)
    };
    assert_named(
        &verdict(&Net::new(4, 4, 4), &link_and_rnic),
        &["leaf1-spine2", "host9/rxe0"],
    );
}

#[test]
fn one_lost_probe_accuses_nobody_however_few_its_flow_sends() {
    let net = Net {
        probes: 5,
        ..Net::new(4, 4, 4)
    };
    let mut evidence = net.evidence(&fine);
    let mut ill = net.evidence(&lossy("leaf1", "spine1", 1.0));
    let one = ill.host(1).report.as_mut().expect("host1 reports");
    one.lossy_paths.truncate(1);
    one.lossy_paths[0].lost = 1;
    for link in &mut one.links {
        (link.lossy, link.lost) = (1, 1);
    }
    evidence.host(1).report = ill.host(1).report.clone();
    for seconds in [1, 6, 12] {
        let mut judge = Judge::new();
        judge.judge(&net.evidence(&fine));
        assert_named(&judge.after(seconds, &evidence), &[]);
    }
}

#[test]
fn agents_that_are_silent_or_left_out_do_not_hide_a_fault() {
    let net = Net::new(4, 4, 4);
    let mut evidence = net.evidence(&lossy("leaf3", "spine2", 0.2));
    evidence = evidence
        .agent(9, AgentState::Silent)
        .agent(5, AgentState::Excluded);
    evidence.host(12).report = None;
    assert_named(&later(&net.evidence(&fine), &evidence), &["leaf3-spine2"]);
}

#[test]
fn losses_on_the_way_to_a_node_that_is_left_out_accuse_nobody() {
    let net = Net::new(4, 4, 4);
    let evidence = net
        .evidence(&lossy_element("host7", 1.0))
        .agent(7, AgentState::Excluded);
    assert_named(&later(&net.evidence(&fine), &evidence), &[]);
}

#[test]
fn losses_of_a_starved_host_accuse_nobody() {
    let net = Net::new(4, 4, 4);
    let mut evidence = net.evidence(&fine);
    let mut ill = net.evidence(&lossy_element("host7", 0.3));
    let report = ill.host(7).report.as_mut().expect("host7 reports");
    report.rnics[0].host_delayed = report.rnics[0].sent / 2;
    evidence.host(7).report = ill.host(7).report.clone();
    assert_named(&later(&net.evidence(&fine), &evidence), &[]);
}

#[test]
fn hops_that_do_not_answer_hide_nobody_and_accuse_nobody() {
    let net = Net {
        unanswered: 10,
        ..Net::new(4, 4, 4)
    };
    let link = lossy("leaf3", "spine2", 0.3);
    assert_named(&verdict(&net, &link), &["leaf3-spine2"]);
    assert_named(&verdict(&net, &lossy_element("spine4", 1.0)), &["spine4"]);
}

#[test]
fn without_names_a_link_is_called_by_its_addresses() {
    let net = Net {
        named: false,
        ..Net::new(4, 4, 4)
    };
    let one_way = |from: &str, to: &str| {
        if (from, to) == ("leaf3", "spine2") {
            0.3
        } else {
            0.0
        }
    };
    let verdict = verdict(&net, &one_way);
    let names = named(&verdict);
    // All leaves come to spine2 at one address in this world, so that the links to it are one.
    assert_eq!(names.len(), 1, "{names:?}");
    assert!(
        names.iter().all(|name| name.ends_with("-10.12.2.1")),
        "{names:?}"
    );
}

#[test]
fn without_traced_paths_the_rnic_or_the_two_groups_are_named() {
    let net = Net {
        traced: false,
        ..Net::new(4, 4, 4)
    };
    assert_named(
        &verdict(&net, &lossy_element("host6", 0.3)),
        &["host6/rxe0"],
    );
    let between = verdict(&net, &lossy_element("spine1", 0.0));
    assert_named(&between, &[]);
    let small = Net {
        traced: false,
        ..Net::new(2, 2, 4)
    };
    let verdict = verdict(&small, &lossy("leaf1", "spine2", 0.3));
    assert_named(&verdict, &["leaf1 ↔ leaf2"]);
    let evidence = &verdict.suspects[0].evidence;
    assert!(evidence.contains("paths are not traced"), "{evidence}");
}

#[test]
fn hop_probes_tell_the_two_links_of_a_spine_apart() {
    let net = Net {
        hop_probes: true,
        ..Net::new(2, 2, 2)
    };
    for (link, name) in [
        (("leaf1", "spine2"), "leaf1-spine2"),
        (("leaf2", "spine2"), "leaf2-spine2"),
        (("leaf2", "spine1"), "leaf2-spine1"),
    ] {
        assert_named(&verdict(&net, &lossy(link.0, link.1, 0.3)), &[name]);
    }
}

#[test]
fn hop_probes_tell_a_lossy_spine_from_its_only_two_links() {
    let net = Net {
        hop_probes: true,
        ..Net::new(2, 2, 2)
    };
    for spine in ["spine1", "spine2"] {
        assert_named(&verdict(&net, &lossy_element(spine, 0.5)), &[spine]);
    }
}

#[test]
fn what_cannot_be_told_apart_is_said() {
    let net = Net::new(2, 2, 2);
    let mut judge = Judge::new();
    judge.judge(&net.evidence(&fine));
    let evidence = net.evidence(&lossy("leaf1", "spine2", 0.3));
    judge.after(1, &evidence);
    // Who is doubtful waits until losses have left the window.
    let verdict = judge.after(9, &evidence);
    assert!(!verdict.suspects.is_empty(), "{verdict:#?}");
    for suspect in &verdict.suspects {
        assert!(
            suspect.evidence.contains("cannot tell it from"),
            "{verdict:#?}"
        );
    }
}

#[test]
fn a_link_explains_the_pairs_whose_probes_cross_it() {
    let net = Net::new(4, 4, 4);
    let mut evidence = net.evidence(&lossy("leaf1", "spine2", 0.5));
    let target = crate::world::rnic(9);
    let pair = Anomaly {
        flow: Some(50_001),
        ..loss(target, 10, 20)
    };
    evidence.report(1).anomalies.push(pair);
    let mut judge = Judge::new();
    judge.judge(&net.evidence(&fine));
    for _ in 0..8 {
        assert_named(&judge.after(3, &evidence), &["leaf1-spine2"]);
    }
}

#[test]
fn counters_of_the_port_join_the_evidence() {
    let net = Net::new(4, 4, 4);
    let mut evidence = net.evidence(&lossy_element("host6", 0.3));
    let tally = &mut evidence.report(6).rnics[0];
    tally.errors.insert(Arc::from("symbol_error"), 1_204);
    let verdict = later(&net.evidence(&fine), &evidence);
    let sentence = &verdict.suspects[0].evidence;
    assert!(
        sentence.contains("its port counted symbol_error +1204"),
        "{sentence}"
    );
}

#[test]
fn an_ill_link_is_tolerated_by_nobody_who_tolerates_less_than_everything() {
    let net = Net::new(4, 4, 4);
    let mut evidence = net.evidence(&lossy("leaf1", "spine2", 0.3));
    for (percent, status) in [(0, Status::False), (99, Status::False), (100, Status::True)] {
        evidence.tolerance.max_unhealthy_percent = percent;
        let verdict = later(&net.evidence(&fine), &evidence);
        assert_eq!(verdict.health.status, status, "{percent} %");
        assert_named(&verdict, &["leaf1-spine2"]);
    }
}

fn any_fault() -> impl Strategy<Value = (String, String, f64)> {
    let link = (1u32..=3, 1u32..=3, 0.02f64..1.0)
        .prop_map(|(leaf, spine, share)| (format!("leaf{leaf}"), format!("spine{spine}"), share));
    let access = (1u32..=6, 0.02f64..1.0).prop_map(|(host, share)| {
        (
            format!("host{host}"),
            format!("leaf{}", (host - 1) / 2 + 1),
            share,
        )
    });
    prop_oneof![link, access]
}

/// Reports of some agents of a fabric with up to three faults.
fn any_evidence() -> impl Strategy<Value = Evidence> {
    let faults = prop::collection::vec(any_fault(), 0..3);
    let silent = prop::collection::btree_set(1u32..=6, 0..3);
    (faults, silent, 0u32..8).prop_map(|(faults, silent, unanswered)| {
        let net = Net {
            unanswered,
            ..Net::new(3, 3, 2)
        };
        let ill = move |from: &str, to: &str| {
            let hit = |(a, b, _): &&(String, String, f64)| {
                (from == a && to == b) || (from == b && to == a)
            };
            let kept: f64 = faults
                .iter()
                .filter(hit)
                .map(|(_, _, share)| 1.0 - share)
                .product();
            1.0 - kept
        };
        let evidence = net.evidence(&ill);
        silent.into_iter().fold(evidence, |evidence, host| {
            evidence.agent(host, AgentState::Silent)
        })
    })
}

fn open(state: &State) -> BTreeSet<CaseKey> {
    let open = state.cases.iter().filter(|(_, case)| case.open);
    open.map(|(key, _)| key.clone()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn the_order_of_nodes_links_and_paths_does_not_matter(
        before in any_evidence(),
        evidence in any_evidence(),
        turn in 1usize..5,
    ) {
        let (_, state) = diagnose(&before, &State::default(), START);
        let mut other = evidence.clone();
        other.nodes.reverse();
        for report in other.nodes.iter_mut().filter_map(|node| node.report.as_mut()) {
            let count = report.links.len();
            report.lossy_paths.reverse();
            if count == 0 {
                continue;
            }
            report.links.rotate_left(turn % count);
            for path in &mut report.lossy_paths {
                for position in &mut path.links {
                    let moved = (usize::from(*position) + count - turn % count) % count;
                    *position = u8::try_from(moved).expect("at most 64 links");
                }
            }
        }
        prop_assert_eq!(diagnose(&evidence, &state, at(5)), diagnose(&other, &state, at(5)));
    }

    #[test]
    fn judging_again_changes_nothing_and_silence_neither_opens_nor_ends(
        before in any_evidence(),
        evidence in any_evidence(),
    ) {
        let (_, state) = diagnose(&before, &State::default(), START);
        let (first, once) = diagnose(&evidence, &state, at(3));
        let (second, twice) = diagnose(&evidence, &once, at(3));
        prop_assert_eq!(&once, &twice);
        prop_assert_eq!(&first.suspects, &second.suspects);
        let mut dark = evidence;
        for node in &mut dark.nodes {
            node.agent = AgentState::Silent;
        }
        let (verdict, after) = diagnose(&dark, &once, at(1_000));
        prop_assert_eq!(open(&once), open(&after));
        prop_assert!(verdict.transitions.is_empty(), "{:?}", verdict.transitions);
    }

    #[test]
    fn sentences_are_bounded_and_name_their_element(evidence in any_evidence()) {
        let (verdict, _) = diagnose(&evidence, &State::default(), at(3));
        for suspect in &verdict.suspects {
            prop_assert!(suspect.evidence.chars().count() <= 512);
            prop_assert!(suspect.evidence.starts_with(&suspect.key.name()), "{suspect:?}");
            prop_assert!((1..100).contains(&suspect.confidence));
        }
    }

    #[test]
    fn one_strong_fault_is_named_and_nobody_else((a, b, share) in any_fault()) {
        prop_assume!(share >= 0.05);
        let net = Net::new(3, 3, 2);
        let (first, second) = (a.clone(), b.clone());
        let ill = move |from: &str, to: &str| {
            let hit = (from == first && to == second) || (from == second && to == first);
            if hit { share } else { 0.0 }
        };
        let verdict = later(&net.evidence(&fine), &net.evidence(&ill));
        let expected = if a.starts_with("host") { format!("{a}/rxe0") } else { format!("{a}-{b}") };
        prop_assert_eq!(named(&verdict), BTreeSet::from([expected]), "{:#?}", verdict.suspects);
    }
}

#[test]
fn a_link_explains_pairs_of_which_nobody_knows_where_they_hang() {
    let net = Net::new(4, 4, 4);
    let mut evidence = net.evidence(&lossy("leaf1", "spine2", 0.5));
    // Nobody has ever lost a probe to or from host12, so no list shows its leaf.
    for host in 1..=16 {
        let report = evidence.report(host);
        let named = |hop: &Hop| matches!(hop, Hop::Rnic(rnic) if *rnic == crate::world::rnic(12));
        let links = std::mem::take(&mut report.links);
        let (unknown, kept): (Vec<_>, Vec<_>) = links
            .into_iter()
            .partition(|link| named(&link.from) || named(&link.to));
        if unknown.is_empty() {
            report.links = kept;
        } else {
            report.lossy_paths.clear();
        }
    }
    let pair = loss(crate::world::rnic(12), 10, 20);
    evidence.report(1).anomalies.push(pair);
    let mut judge = Judge::new();
    judge.judge(&net.evidence(&fine));
    for _ in 0..8 {
        let verdict = judge.after(3, &evidence);
        let pairs = verdict
            .suspects
            .iter()
            .filter(|suspect| suspect.key.peer().is_some());
        let is_link_open = named(&verdict).contains("leaf1-spine2");
        assert!(pairs.count() == 0 || !is_link_open, "{verdict:#?}");
    }
}
