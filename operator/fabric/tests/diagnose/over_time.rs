//! Cases as time goes on: when they end, what survives a restart, ports that go down one after the other.

use std::sync::Arc;

use rdmamesh_fabric::diagnose::{AgentState, CaseKey, PortState, State, Transition, diagnose};

use crate::links::later;
use crate::traced::{Loss, Net, at, fine, lossy, lossy_element};
use crate::world::{Edit, Judge, assert_named, down};

#[test]
fn a_case_ends_when_the_evidence_has_been_clean_for_long_enough_and_keeps_its_beginning() {
    let net = Net::new(4, 4, 4);
    let mut judge = Judge::new();
    judge.judge(&net.evidence(&fine));
    let ill = net.evidence(&lossy("leaf1", "spine2", 0.3));
    judge.after(1, &ill);
    let first = judge.after(1, &ill);
    let again = judge.after(20, &ill);
    assert_eq!(first.suspects[0].since, again.suspects[0].since);
    assert_named(&judge.after(1, &net.evidence(&fine)), &["leaf1-spine2"]);
    assert_named(&judge.after(9, &net.evidence(&fine)), &["leaf1-spine2"]);
    let cleared = judge.after(1, &net.evidence(&fine));
    assert_named(&cleared, &[]);
    let key = CaseKey::Link(Arc::from("leaf1-spine2"));
    assert_eq!(cleared.transitions, [Transition::Cleared(key)]);
}

#[test]
fn silence_of_most_agents_ends_no_case() {
    let net = Net::new(4, 4, 4);
    let mut judge = Judge::new();
    judge.judge(&net.evidence(&fine));
    judge.after(1, &net.evidence(&lossy("leaf1", "spine2", 0.3)));
    judge.after(1, &net.evidence(&lossy("leaf1", "spine2", 0.3)));
    let mut dark = net.evidence(&fine);
    for host in 1..=12 {
        dark = dark.agent(host, AgentState::Silent);
    }
    for _ in 0..5 {
        assert_named(&judge.after(60, &dark), &["leaf1-spine2"]);
    }
}

#[test]
fn open_cases_survive_a_restart_of_the_operator() {
    let net = Net {
        rails: 2,
        ..Net::new(4, 4, 2)
    };
    for (ill, name) in [
        (
            Box::new(lossy("leaf1", "spine2", 0.4)) as Box<Loss>,
            "leaf1-spine2",
        ),
        (Box::new(lossy_element("spine3", 1.0)), "spine3"),
        (Box::new(lossy_element("host3", 0.4)), "host3"),
    ] {
        let evidence = net.evidence(&ill);
        let before = later(&net.evidence(&fine), &evidence);
        assert_named(&before, &[name]);
        let read = before.suspects.iter().cloned().map(|mut suspect| {
            let (kind, name) = (suspect.key.kind(), suspect.key.name());
            let peer = suspect.key.peer();
            suspect.key = CaseKey::read(kind, &name, peer.as_deref()).expect("a name of a status");
            suspect
        });
        let state = State::recover(read, net.rnics());
        let (after, _) = diagnose(&evidence, &state, at(100));
        assert_named(&after, &[name]);
        assert_eq!(after.suspects[0].since, before.suspects[0].since);
        assert!(after.transitions.is_empty(), "{:?}", after.transitions);
    }
}

#[test]
fn a_leaf_that_takes_all_ports_down_is_named_and_not_its_rnics() {
    let net = Net::new(4, 4, 2);
    let mut evidence = net.evidence(&fine);
    for host in [3, 4] {
        evidence = evidence.port(host, down());
    }
    assert_named(&later(&net.evidence(&fine), &evidence), &["leaf2"]);
}

#[test]
fn ports_that_go_down_one_after_the_other_do_not_name_an_rnic_first() {
    let net = Net::new(4, 4, 2);
    let mut judge = Judge::new();
    judge.judge(&net.evidence(&fine));
    let first = net.evidence(&fine).port(3, down());
    assert_named(&judge.judge(&first), &[]);
    assert_named(&judge.judge(&first.clone().port(4, down())), &["leaf2"]);
    let mut judge = Judge::new();
    judge.judge(&net.evidence(&fine));
    judge.judge(&first);
    assert_named(&judge.after(1, &first), &["host3/rxe0"]);
}

#[test]
fn a_host_all_of_whose_ports_are_down_is_named_as_a_host() {
    let net = Net {
        rails: 2,
        ..Net::new(4, 4, 2)
    };
    let mut evidence = net.evidence(&fine);
    for port in evidence.host(3).ports.as_mut().expect("an inventory") {
        port.state = down();
    }
    assert_named(&later(&net.evidence(&fine), &evidence), &["host3"]);
    let mut half = net.evidence(&fine);
    half.host(3).ports.as_mut().expect("an inventory")[0].state = PortState::Down {
        state: Arc::from("Down"),
        physical: Arc::from("Polling"),
    };
    assert_named(&later(&net.evidence(&fine), &half), &["host3/rxe0"]);
}

#[test]
fn who_reports_a_fuller_window_of_a_new_fault_than_others_is_no_second_fault() {
    let net = Net {
        flows: 14,
        probes: 10,
        ..Net::new(2, 2, 2)
    };
    let mut judge = Judge::new();
    judge.judge(&net.evidence(&fine));
    let begun = net.evidence(&lossy_element("leaf2", 0.06));
    judge.after(1, &begun);
    assert_named(&judge.after(1, &begun), &["leaf2"]);
    let mut mixed = begun.clone();
    let mut full = net.evidence(&lossy_element("leaf2", 0.6));
    mixed.host(1).report = full.host(1).report.clone();
    for _ in 0..4 {
        assert_named(&judge.after(1, &mixed), &["leaf2"]);
    }
    let goes_on = judge.after(5, &mixed);
    assert_named(&goes_on, &["leaf2", "host1/rxe0"]);
}
