//! Whose silence is believed.

use serde_json::json;

use super::*;
use crate::fixtures::{assignment, at, in_force, views};
use crate::watch::View;

const HOSTS: u8 = 4;

/// Hosts 1 to 4, host n having reported at second n of `reported`; `misses` are (who, whom), said at 200 for a
/// silence since 190.
fn found(reported: [i64; 4], misses: &[(u8, u8)]) -> Unanswered {
    let force = in_force(json!({}), HOSTS);
    let all = (1..=HOSTS).zip(reported).map(|(number, reported)| {
        let view = assignment(&force, number, reported, None);
        let missed = misses.iter().filter(|(by, _)| *by == number);
        let missed: Vec<_> = missed.map(|(_, whom)| *whom).collect();
        if missed.is_empty() {
            return view;
        }
        let mut said = view.clone();
        let mut status = (*view.status).clone();
        for whom in missed {
            let peer = json!({"node": format!("host{whom}"), "since": at(190).to_string()});
            let peer = serde_json::from_value(peer).expect("an unanswered peer");
            status.meshes[0].unanswered.push(peer);
        }
        said.status = status.into();
        said.following(&view, at(200))
    });
    Unanswered::find(&force, &views(all), at(210))
}

#[test]
fn nobody_is_missed_where_nobody_complains() {
    assert_eq!(found([100; 4], &[]), Unanswered::default());
}

#[test]
fn an_agent_that_all_its_peers_miss_is_gone() {
    let unanswered = found([100; 4], &[(1, 3), (2, 3), (4, 3)]);
    let silence = unanswered.get("host3").expect("all say so");
    assert_eq!((silence.complaints, silence.asked), (3, 3));
    assert_eq!(silence.since, at(190));
    assert!(unanswered.is_gone("host3"));
    let sentence = silence.sentence();
    assert!(
        sentence.contains("since 1970-01-01T00:03:10Z, 3 of 3 say so"),
        "{sentence}"
    );
}

#[test]
fn one_voice_among_many_is_not_believed() {
    assert_eq!(found([100; 4], &[(1, 3)]), Unanswered::default());
}

#[test]
fn who_can_reach_nobody_accuses_nobody_but_itself() {
    let cut_off = [(1, 2), (1, 3), (1, 4), (2, 1), (3, 1), (4, 1)];
    let unanswered = found([100; 4], &cut_off);
    assert!(unanswered.get("host1").is_some());
    for other in ["host2", "host3", "host4"] {
        assert_eq!(unanswered.get(other), None, "{other}");
    }
    assert!(
        !unanswered.is_gone("host1"),
        "it says so itself, so it runs"
    );
}

#[test]
fn two_dead_agents_do_not_vouch_for_each_other() {
    let unanswered = found([100; 4], &[(1, 3), (2, 3), (1, 4), (2, 4)]);
    assert!(unanswered.is_gone("host3") && unanswered.is_gone("host4"));
}

#[test]
fn an_agent_that_has_reported_since_runs_and_cannot_be_reached() {
    let unanswered = found([100, 100, 205, 100], &[(1, 3), (2, 3), (4, 3)]);
    assert!(!unanswered.is_gone("host3"));
    let silence = unanswered.get("host3").expect("all say so");
    assert!(silence.sentence().contains("firewall"), "{silence:?}");
}

#[test]
fn when_nobody_reaches_anybody_all_of_them_run() {
    let all: Vec<_> = (1..=HOSTS)
        .flat_map(|by| {
            (1..=HOSTS)
                .filter(move |whom| *whom != by)
                .map(move |whom| (by, whom))
        })
        .collect();
    let unanswered = found([100; 4], &all);
    for host in ["host1", "host2", "host3", "host4"] {
        assert!(
            unanswered.get(host).is_some() && !unanswered.is_gone(host),
            "{host}"
        );
    }
}
