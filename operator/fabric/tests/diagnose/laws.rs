//! What holds whatever is reported, in whatever order.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;
use rdmamesh_fabric::diagnose::{
    AgentState, Anomaly, CaseKey, Evidence, State, Transition, Verdict, diagnose,
};
use rdmamesh_fabric::plan::ProbeClass;
use rdmamesh_fabric::{RnicName, Timestamp};

use crate::world::{Edit, START, down, healthy, loss, rnic, slow};

const HOSTS: u32 = 6;

fn any_anomaly() -> impl Strategy<Value = (u32, Anomaly)> {
    let class = prop_oneof![
        Just(ProbeClass::TorMesh),
        Just(ProbeClass::InterTor),
        Just(ProbeClass::Control)
    ];
    let flow = prop::option::of(50_000u16..50_004);
    (
        1..=HOSTS,
        1..=HOSTS + 1,
        0u64..40,
        0u64..60,
        any::<bool>(),
        class,
        flow,
    )
        .prop_map(|(from, to, lost, sent, is_slow, class, flow)| {
            let anomaly = if is_slow {
                slow(rnic(to), Duration::from_micros(500 + lost * 100))
            } else {
                loss(rnic(to), lost, sent)
            };
            (
                from,
                Anomaly {
                    class,
                    flow,
                    ..anomaly
                },
            )
        })
}

/// Any evidence about six hosts: anomalies, silence, ports down or gone, hosts missing, odd plans.
fn any_evidence() -> impl Strategy<Value = Evidence> {
    let agents = prop_oneof![
        6 => Just(AgentState::Reporting),
        1 => Just(AgentState::Silent),
        1 => Just(AgentState::Excluded)
    ];
    let hosts = prop::collection::vec((agents, 0u8..14), HOSTS as usize);
    let anomalies = prop::collection::vec(any_anomaly(), 0..8);
    let plan = prop::option::of(prop::collection::vec((1..=HOSTS, 1..=HOSTS), 0..10));
    (hosts, anomalies, plan, 1u32..4, 1u32..4).prop_map(
        |(hosts, anomalies, plan, raise_after, clear_after)| {
            let mut evidence = healthy(HOSTS);
            for (from, anomaly) in anomalies {
                evidence = evidence.reports(from, anomaly);
            }
            if let Some(pairs) = plan {
                let pairs: Vec<_> = pairs.into_iter().filter(|(a, b)| a != b).collect();
                evidence = evidence.plan_only(HOSTS, &pairs);
            }
            evidence.tolerance.raise_after = raise_after;
            evidence.tolerance.clear_after = clear_after;
            for (host, (agent, dice)) in (1..).zip(hosts) {
                evidence = evidence.agent(host, agent);
                match dice {
                    0 => evidence = evidence.port(host, down()),
                    1 => evidence.host(host).ports = Some(Vec::new()),
                    2 => evidence.host(host).ports = None,
                    3 => evidence.host(host).report = None,
                    4 => evidence.report(host).window_end = None,
                    5 => evidence.report(host).anomalies_omitted = 3,
                    6 => evidence.report(host).rnics[0].unresolved = 10,
                    7 => evidence.nodes.retain(|node| node.node != rnic(host).node),
                    _ => {}
                }
            }
            evidence
        },
    )
}

/// Any history: evidence and the seconds until the next.
fn any_history() -> impl Strategy<Value = Vec<(Evidence, u64)>> {
    prop::collection::vec((any_evidence(), 0u64..20), 1..8)
}

/// Judges a history; returns the memory and the time at its end.
fn live_through(history: &[(Evidence, u64)]) -> (State, Timestamp) {
    history.iter().fold(
        (State::default(), START),
        |(state, now), (evidence, seconds)| {
            let (_, state) = diagnose(evidence, &state, now);
            (state, now.after(Duration::from_secs(*seconds)))
        },
    )
}

fn open(state: &State) -> BTreeSet<CaseKey> {
    let open = state.cases.iter().filter(|(_, case)| case.open);
    open.map(|(key, _)| key.clone()).collect()
}

fn members(key: &CaseKey) -> Vec<&RnicName> {
    match key {
        CaseKey::Rnic(rnic) => vec![rnic],
        CaseKey::Pair(a, b) => vec![a, b],
        _ => Vec::new(),
    }
}

/// Evidence in which nobody says anything that counts.
fn dark(mut evidence: Evidence) -> Evidence {
    for node in &mut evidence.nodes {
        node.agent = AgentState::Silent;
    }
    evidence
}

/// Every host is part of the mesh, so that nothing is withdrawn.
fn complete(mut evidence: Evidence) -> Evidence {
    for host in 1..=HOSTS {
        let name = rnic(host).node;
        if !evidence.nodes.iter().any(|node| node.node == name) {
            let mut missing = healthy(HOSTS);
            evidence.nodes.push(missing.host(host).clone());
        }
    }
    evidence
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn judging_twice_at_the_same_time_changes_nothing(
        history in any_history(),
        evidence in any_evidence(),
    ) {
        let (state, now) = live_through(&history);
        let (first, once) = diagnose(&evidence, &state, now);
        let (second, twice) = diagnose(&evidence, &once, now);
        prop_assert_eq!(once, twice);
        prop_assert_eq!(&first.suspects, &second.suspects);
        prop_assert_eq!(first.health, second.health);
        prop_assert!(second.transitions.is_empty(), "{:?}", second.transitions);
    }

    #[test]
    fn the_order_of_reports_does_not_matter(
        history in any_history(),
        evidence in any_evidence(),
        shuffled in Just(()).prop_perturb(|(), mut rng| rng.next_u64()),
    ) {
        let (state, now) = live_through(&history);
        let mut other = evidence.clone();
        let turn = usize::try_from(shuffled % 97).expect("below 97");
        let nodes = other.nodes.len().max(1);
        other.nodes.rotate_left(turn % nodes);
        other.nodes.reverse();
        for node in &mut other.nodes {
            if let Some(report) = &mut node.report {
                report.anomalies.reverse();
            }
        }
        prop_assert_eq!(diagnose(&evidence, &state, now), diagnose(&other, &state, now));
    }

    #[test]
    fn silence_neither_opens_nor_ends_a_case(
        history in any_history(),
        evidence in any_evidence(),
        seconds in 0u64..100_000,
    ) {
        let (state, now) = live_through(&history);
        let dark = dark(complete(evidence));
        let (verdict, after) = diagnose(&dark, &state, now.after(Duration::from_secs(seconds)));
        prop_assert_eq!(open(&state), open(&after));
        prop_assert!(verdict.transitions.is_empty(), "{:?}", verdict.transitions);
    }

    #[test]
    fn nobody_is_named_first_without_an_anomaly_or_a_port_fact_about_him_now(
        history in any_history(),
        evidence in any_evidence(),
    ) {
        let (state, now) = live_through(&history);
        let (verdict, _) = diagnose(&evidence, &state, now);
        for transition in &verdict.transitions {
            let Transition::Opened(suspect) = transition else { continue };
            let key = suspect.key.clone();
            let accused = evidence.nodes.iter().any(|node| {
                let anomalies = node.report.iter().flat_map(|report| &report.anomalies);
                let mut pairs = anomalies.map(|anomaly| {
                    let source = RnicName::new(node.node.clone(), anomaly.device.clone(), 1);
                    CaseKey::pair(source, anomaly.target.clone())
                });
                node.agent == AgentState::Reporting && pairs.any(|pair| pair == key)
            });
            let CaseKey::Rnic(own) = &key else {
                prop_assert!(accused, "{suspect:?}");
                continue;
            };
            let missing = evidence.nodes.iter().any(|node| {
                let ports = node.ports.iter().flatten();
                let mut active = ports.filter(|port| port.device == own.device);
                node.node == own.node
                    && node.agent == AgentState::Reporting
                    && active.all(|port| port.state == down())
            });
            prop_assert!(accused || missing, "{suspect:?}");
        }
    }

    #[test]
    fn what_is_healthy_for_long_enough_has_no_suspects(history in any_history()) {
        let (mut state, mut now) = live_through(&history);
        let mut fine = healthy(HOSTS);
        for _ in 0..2 {
            for host in 1..=HOSTS {
                fine.report(host).window_end = Some(now.after(Duration::from_secs(1)));
            }
            state = diagnose(&fine, &state, now).1;
            now = now.after(Duration::from_secs(10));
        }
        let (verdict, _) = diagnose(&fine, &state, now);
        prop_assert!(verdict.suspects.is_empty(), "{:?}", verdict.suspects);
    }

    #[test]
    fn clearing_one_case_never_ends_another(
        history in any_history(),
        evidence in any_evidence(),
        healed in 1..=HOSTS,
    ) {
        // Everything that names the healed host is taken out of the evidence. Cases that have nothing to do
        // with it must come out exactly as they do with that evidence still in.
        let (state, now) = live_through(&history);
        let evidence = complete(evidence);
        let gone = rnic(healed);
        let mut clean = evidence.clone();
        for node in &mut clean.nodes {
            let own = node.node == gone.node;
            if let Some(report) = &mut node.report {
                report.anomalies.retain(|anomaly| !own && anomaly.target != gone);
            }
        }
        let unrelated = |state: &State| -> BTreeSet<CaseKey> {
            let open = open(state).into_iter();
            open.filter(|key| !members(key).contains(&&gone)).collect()
        };
        let with = unrelated(&diagnose(&evidence, &state, now).1);
        let without = unrelated(&diagnose(&clean, &state, now).1);
        // An end that is named with the healed host can be shown well only without that.
        let ended: Vec<_> = with.difference(&without).collect();
        for key in ended {
            let CaseKey::Pair(a, b) = key else {
                return Err(TestCaseError::fail(format!("{key:?} ended")));
            };
            prop_assert!(
                !evidence.planned.probes(a, b) && !evidence.planned.probes(b, a),
                "{key:?} ended although it is probed"
            );
        }
    }

    #[test]
    fn verdicts_are_bounded_and_well_formed(
        history in any_history(),
        evidence in any_evidence(),
    ) {
        let (state, now) = live_through(&history);
        let (verdict, after) = diagnose(&evidence, &state, now);
        prop_assert!(verdict.suspects.len() <= Verdict::MAX_SUSPECTS);
        prop_assert!(verdict.worst_pairs.len() <= Verdict::MAX_WORST_PAIRS);
        prop_assert!(verdict.next_check.is_none_or(|check| check > now));
        prop_assert!(!verdict.health.reason.is_empty() && !verdict.health.message.is_empty());
        for suspect in &verdict.suspects {
            prop_assert!((1..100).contains(&suspect.confidence));
            prop_assert!(suspect.since <= suspect.last_seen && suspect.last_seen <= now);
            prop_assert!(suspect.evidence.chars().count() <= 512);
            prop_assert!(suspect.evidence.contains(&suspect.key.name()));
        }
        for (key, case) in &after.cases {
            prop_assert!(case.open || case.clean_since.is_none(), "{key:?}: pending, yet clean");
        }
    }

    #[test]
    fn an_open_rnic_is_never_named_besides_its_paths(
        history in any_history(),
        evidence in any_evidence(),
    ) {
        let (state, now) = live_through(&history);
        let after = open(&diagnose(&evidence, &state, now).1);
        for key in &after {
            if let CaseKey::Pair(a, b) = key {
                for end in [a, b] {
                    prop_assert!(!after.contains(&CaseKey::Rnic(end.clone())), "{key:?} and {end}");
                }
            }
        }
    }

    #[test]
    fn judging_at_next_check_and_not_before_is_enough(
        history in any_history(),
        evidence in any_evidence(),
    ) {
        // Judging every second gives the same suspects as judging only when asked to.
        let (state, now) = live_through(&history);
        let (verdict, lazy) = diagnose(&evidence, &state, now);
        let Some(check) = verdict.next_check else { return Ok(()) };
        let mut eager = lazy.clone();
        let mut at = now.after(Duration::from_secs(1));
        while at < check {
            let (between, next) = diagnose(&evidence, &eager, at);
            prop_assert!(between.transitions.is_empty(), "{:?} too early", between.transitions);
            eager = next;
            at = at.after(Duration::from_secs(1));
        }
        let (_, lazy) = diagnose(&evidence, &lazy, check);
        let (_, eager) = diagnose(&evidence, &eager, check);
        prop_assert_eq!(open(&lazy), open(&eager));
    }
}
