//! What faults do to the fabric, alone and overlapping.

use std::time::Duration;

use super::super::Fault;
use super::super::desired::{AgentState, FaultError};
use super::*;
use crate::fabric::FabricSpec;

fn fabric() -> Fabric {
    let spec = FabricSpec {
        leaves: 2,
        spines: 2,
        hosts_per_leaf: 2,
        rails: 1,
    };
    Fabric::new(spec).expect("the size is valid")
}

fn fault(yaml: &str) -> Fault {
    serde_saphyr::from_str(yaml).expect("the fault is valid")
}

fn state(faults: &[&str]) -> Desired {
    let faults: Vec<Fault> = faults.iter().map(|yaml| fault(yaml)).collect();
    Desired::of(&fabric(), &faults).expect("the faults fit the fabric")
}

fn between(from: &[&str], to: &[&str]) -> Vec<String> {
    commands(&fabric(), &state(from), &state(to))
        .lines()
        .map(str::to_owned)
        .collect()
}

const LOSS: &str = "{kind: loss, link: leaf1-spine2, percent: 30, direction: forward}";
const DELAY: &str = "{kind: delay, link: leaf1-spine2, delay: 2ms, jitter: 100us}";

#[test]
fn loss_one_way_touches_the_sending_end_only() {
    let on = between(&[], &[LOSS]);
    assert_eq!(
        on,
        ["tc -n leaf1 qdisc replace dev spine2 root netem limit 20000 loss 30.0000%"]
    );
    assert_eq!(
        between(&[LOSS], &[]),
        ["tc -n leaf1 qdisc delete dev spine2 root"]
    );
}

#[test]
fn faults_on_one_interface_add_up_and_clearing_one_leaves_the_other() {
    let on = between(&[LOSS], &[LOSS, DELAY]);
    let expected = [
        "tc -n leaf1 qdisc replace dev spine2 root netem limit 20000 delay 2000us 100us loss 30.0000%",
        "tc -n spine2 qdisc replace dev leaf1 root netem limit 20000 delay 2000us 100us",
    ];
    assert_eq!(on, expected);
    let off = between(&[LOSS, DELAY], &[DELAY]);
    assert_eq!(
        off,
        ["tc -n leaf1 qdisc replace dev spine2 root netem limit 20000 delay 2000us 100us"]
    );
}

#[test]
fn two_losses_are_independent_chances() {
    let both = state(&[LOSS, "{kind: switchLoss, switch: leaf1, percent: 50}"]);
    let end = End {
        netns: "leaf1".into(),
        device: "spine2".into(),
    };
    assert!((both.impaired[&end].loss - 0.65).abs() < 1e-9, "{both:?}");
    assert_eq!(
        both.impaired.len(),
        4,
        "all of leaf1's own ends and no other: {both:?}"
    );
}

#[test]
fn a_cable_without_carrier_comes_back_with_what_its_switch_forgot() {
    let down = "{kind: linkDown, link: leaf1-spine2}";
    assert_eq!(between(&[], &[down]), ["ip -n spine2 link set leaf1 down"]);
    let up = between(&[down], &[]);
    assert_eq!(up[0], "ip -n spine2 link set leaf1 up");
    assert!(
        up.contains(&"route replace 10.10.1.0/24 via 10.11.1.6 dev leaf1".to_owned()),
        "{up:#?}"
    );
    let neighbour = "neigh replace 10.11.1.6 lladdr 02:00:0a:0b:01:06 dev leaf1 nud permanent";
    assert!(up.contains(&neighbour.to_owned()), "{up:#?}");
}

#[test]
fn a_cable_under_two_faults_comes_back_with_the_last_of_them() {
    let cable = "{kind: linkDown, link: leaf1-spine2}";
    let switch = "{kind: switchDown, switch: spine2}";
    assert_eq!(between(&[cable, switch], &[switch]), Vec::<String>::new());
    let partly = between(&[cable, switch], &[cable]);
    assert!(
        partly.contains(&"ip -n spine2 link set leaf2 up".to_owned()),
        "{partly:#?}"
    );
    assert!(
        !partly.iter().any(|line| line.contains("dev leaf1")),
        "no route over it: {partly:#?}"
    );
}

#[test]
fn one_direction_down_loses_everything_and_keeps_the_carrier() {
    let on = between(
        &[],
        &["{kind: linkDown, link: host1-leaf1, direction: backward}"],
    );
    assert_eq!(
        on,
        ["tc -n leaf1 qdisc replace dev host1 root netem limit 20000 loss 100.0000%"]
    );
}

#[test]
fn a_removed_rnic_goes_before_its_netdev_and_comes_back_after_it() {
    let reboot = "{kind: nodeReboot, host: host3}";
    let off = between(&[], &[reboot]);
    assert!(off[0].contains("rdma link delete rxe3"), "{off:#?}");
    let rest = [
        "ip -n host3 link set mgmt0 down",
        "ip -n host3 link set rail1 down",
    ];
    assert_eq!(off[1..], rest);
    let on = between(&[reboot], &[]);
    assert_eq!(
        on.last().map(String::as_str),
        Some("ip netns exec host3 rdma link add rxe3 type rxe netdev rail1")
    );
    assert!(
        on.contains(&"route replace default via 10.12.0.1 dev mgmt0".to_owned()),
        "{on:#?}"
    );
    assert_eq!(state(&[reboot]).agents["host3"], AgentState::Dead);
}

#[test]
fn a_killed_agent_is_dead_even_where_it_is_also_stopped() {
    let kill = "{kind: agentKill, host: host1}";
    let stop = "{kind: agentStop, host: host1, for: 1s}";
    assert_eq!(state(&[kill, stop]), state(&[stop, kill]));
    assert_eq!(state(&[kill, stop]).agents["host1"], AgentState::Dead);
    assert_eq!(state(&[stop]).agents["host1"], AgentState::Stopped);
}

#[test]
fn every_kind_of_fault_is_cleared_to_the_state_without_faults() {
    for kind in [
        LOSS,
        DELAY,
        "{kind: corrupt, link: host1-leaf1, percent: 1}",
        "{kind: linkDown, link: host1-leaf1}",
        "{kind: switchLoss, switch: spine1, percent: 5}",
        "{kind: switchDown, switch: leaf2}",
        "{kind: nicDown, host: host1}",
        "{kind: nicLoss, host: host1, percent: 5}",
        "{kind: rdmaRemove, host: host1}",
        "{kind: nodeReboot, host: host1}",
        "{kind: cpuHog, host: host1}",
    ] {
        let (there, back) = (between(&[], &[kind]), between(&[kind], &[]));
        assert!(
            !there.is_empty() && !back.is_empty(),
            "{kind}: {there:?} {back:?}"
        );
        let undone = |word: &str| there.iter().filter(|line| line.contains(word)).count();
        let done = |word: &str| back.iter().filter(|line| line.contains(word)).count();
        assert_eq!(undone("qdisc replace"), done("qdisc delete"), "{kind}");
        assert_eq!(undone(" down"), done(" up"), "{kind}");
        assert_eq!(
            undone("timeout 60 ip netns exec"),
            done("rdma link add"),
            "{kind}"
        );
    }
}

#[test]
fn an_impossible_fault_is_refused_with_what_is_possible() {
    let refuse = |yaml: &str| Desired::of(&fabric(), &[fault(yaml)]).expect_err("it is impossible");
    let error = refuse("{kind: loss, link: leaf1-spine9, percent: 30}").to_string();
    assert!(
        error.contains("leaf1-spine9") && error.contains("leaf1-spine2"),
        "{error}"
    );
    let error = refuse("{kind: nicDown, host: host9}").to_string();
    assert!(error.contains("host1, host2, host3, host4"), "{error}");
    assert_eq!(
        refuse("{kind: loss, link: leaf1-spine1, percent: 130}"),
        FaultError::Percent(130.0)
    );
    let jitter = refuse("{kind: delay, link: leaf1-spine1, delay: 1ms, jitter: 2ms}");
    let expected = FaultError::Jitter {
        jitter: Duration::from_millis(2),
        delay: Duration::from_millis(1),
    };
    assert_eq!(jitter, expected);
}
