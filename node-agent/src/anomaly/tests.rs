use proptest::prelude::*;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::*;
use crate::model::{
    FabricAddress, FlowWindow, LocalPort, Peer, ProbeClass, RttHistogram, RttSummary, Tally,
    Target, TimestampMode, TrafficClass,
};
use crate::plan::Thresholds;

const US: fn(u64) -> Duration = Duration::from_micros;

fn at(second: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 + second)
}

/// `ok` answered and `lost` lost probes, every answer after `rtt`.
fn flow(index: u16, ok: u64, lost: u64, rtt: Duration) -> FlowWindow {
    let rtt = if ok == 0 {
        RttSummary::default()
    } else {
        RttSummary {
            count: ok,
            min: rtt,
            p50: rtt,
            p99: rtt,
            max: rtt,
        }
    };
    FlowWindow {
        flow: index,
        source_port: Some(50_000 + index),
        routers: None,
        tally: Tally {
            sent: ok + lost,
            ok,
            lost,
            ..Tally::default()
        },
        rtt,
    }
}

fn window(
    second: u64,
    peer: &str,
    timestamps: TimestampMode,
    flows: Vec<FlowWindow>,
) -> TargetWindow {
    let target = Target {
        mesh: "m".into(),
        mesh_id: 1,
        class: ProbeClass::TorMesh,
        local_group: "leaf1".into(),
        peer: Peer {
            node: peer.into(),
            device: "rxe0".into(),
            port: 1,
            group: "leaf1".into(),
            address: FabricAddress::Lid(1),
            control: None,
        },
        traffic_class: TrafficClass {
            name: "default".into(),
            dscp: 0,
            service_level: 0,
        },
        flows: 2,
        seed: 0,
        interval: Duration::from_millis(100),
        timeout: Duration::from_millis(500),
        window: Duration::from_secs(5),
    };
    let (mut tally, mut rtt) = (Tally::default(), RttHistogram::default());
    for flow in &flows {
        tally += flow.tally;
        (0..flow.rtt.count).for_each(|_| rtt.record(flow.rtt.p99));
    }
    TargetWindow {
        local: LocalPort::new("rxe0", 1),
        target: Arc::new(target),
        end: at(second),
        covered: Duration::from_secs(5),
        timestamps,
        flows,
        tally,
        rtt,
    }
}

/// A report of one target per entry of `targets`.
fn report(second: u64, timestamps: TimestampMode, targets: Vec<Vec<FlowWindow>>) -> TickReport {
    TickReport {
        at: at(second),
        targets: targets
            .into_iter()
            .enumerate()
            .map(|(n, flows)| window(second, &format!("host{}", n + 2), timestamps, flows))
            .collect(),
        settled: true,
    }
}

fn limits() -> Limits {
    let thresholds = Thresholds {
        loss_ratio: 0.02,
        p99: US(500),
    };
    [(Arc::from("m"), thresholds)].into()
}

/// The findings after `report`, which followed one with the findings `before`.
fn judged(report: &TickReport, before: &[Finding]) -> Vec<Finding> {
    let before = Findings {
        open: before.to_vec(),
        suspected: BTreeMap::new(),
    };
    find(report, &limits(), &before).open
}

/// The findings when the same goes on for a while: `make` gives the report of a second.
fn after_a_while(make: impl Fn(u64) -> TickReport) -> Vec<Finding> {
    let reports = (1..=7).map(make);
    reports
        .fold(Findings::default(), |before, report| {
            find(&report, &limits(), &before)
        })
        .open
}

fn paths(found: &[Finding]) -> Vec<(Kind, &str, Option<u16>)> {
    found
        .iter()
        .map(|f| (f.key.kind, &*f.key.target.peer_node, f.key.flow))
        .collect()
}

const SOFTWARE: TimestampMode = TimestampMode::Software;
const HARDWARE: TimestampMode = TimestampMode::Hardware;

#[test]
fn three_lost_probes_over_the_ratio_make_the_target_ill() {
    let ill = report(
        1,
        SOFTWARE,
        vec![vec![flow(0, 25, 2, US(90)), flow(1, 25, 1, US(90))]],
    );
    let found = judged(&ill, &[]);
    assert_eq!(paths(&found), [(Kind::Loss, "host2", None)]);
    assert_eq!(
        (found[0].sent, found[0].lost, found[0].since),
        (53, 3, at(1))
    );
}

#[test]
fn two_lost_probes_are_no_anomaly_however_few_were_sent() {
    let thin = report(1, SOFTWARE, vec![vec![flow(0, 3, 2, US(90))]]);
    assert_eq!(judged(&thin, &[]), []);
}

#[test]
fn a_share_at_the_threshold_is_no_anomaly() {
    let just = report(1, SOFTWARE, vec![vec![flow(0, 147, 3, US(90))]]);
    assert_eq!(judged(&just, &[]), []);
}

#[test]
fn one_bad_path_among_many_is_named_by_its_flow_and_source_port() {
    let mut flows: Vec<_> = (0..20).map(|n| flow(n, 10, 0, US(90))).collect();
    flows[7] = flow(7, 6, 4, US(90));
    let found = judged(&report(1, SOFTWARE, vec![flows]), &[]);
    assert_eq!(paths(&found), [(Kind::Loss, "host2", Some(7))]);
    assert_eq!(found[0].source_port, Some(50_007));
}

#[test]
fn what_says_nothing_about_the_fabric_is_never_loss() {
    let mut quiet = report(1, SOFTWARE, vec![vec![flow(0, 0, 0, US(1))]]);
    quiet.targets[0].tally = Tally {
        sent: 60,
        host_delayed: 20,
        unresolved: 20,
        send_error: 20,
        ..Tally::default()
    };
    quiet.targets[0].flows[0].tally = quiet.targets[0].tally;
    assert_eq!(judged(&quiet, &[]), []);
}

#[test]
fn since_is_kept_while_it_lasts_and_begins_anew_afterwards() {
    let ill = |second| report(second, SOFTWARE, vec![vec![flow(0, 40, 10, US(90))]]);
    let well = report(3, SOFTWARE, vec![vec![flow(0, 50, 0, US(90))]]);
    let first = judged(&ill(1), &[]);
    let second = judged(&ill(2), &first);
    assert_eq!(second[0].since, at(1));
    let third = judged(&well, &second);
    assert_eq!(third, []);
    assert_eq!(judged(&ill(4), &third)[0].since, at(4));
}

#[test]
fn since_is_kept_when_an_illness_moves_between_the_target_and_its_flow() {
    let mut flows: Vec<_> = (0..20).map(|n| flow(n, 10, 0, US(90))).collect();
    flows[3] = flow(3, 0, 10, US(90));
    let whole = judged(&report(1, SOFTWARE, vec![flows.clone()]), &[]);
    assert_eq!(paths(&whole), [(Kind::Loss, "host2", None)]);
    flows[3] = flow(3, 6, 4, US(90));
    let part = judged(&report(2, SOFTWARE, vec![flows.clone()]), &whole);
    assert_eq!(paths(&part), [(Kind::Loss, "host2", Some(3))]);
    flows[3] = flow(3, 0, 10, US(90));
    let again = judged(&report(3, SOFTWARE, vec![flows]), &part);
    assert_eq!([part[0].since, again[0].since], [at(1), at(1)]);
}

#[test]
fn an_anomaly_neither_opens_nor_closes_without_evidence() {
    let ill = judged(
        &report(1, SOFTWARE, vec![vec![flow(0, 40, 10, US(90))]]),
        &[],
    );
    let nothing = report(2, SOFTWARE, vec![vec![flow(0, 0, 0, US(1))]]);
    assert_eq!(judged(&nothing, &ill), ill);
    assert_eq!(judged(&nothing, &[]), []);
}

#[test]
fn an_anomaly_is_not_closed_by_a_window_whose_unanswered_probes_could_not_be_judged() {
    let ill = judged(
        &report(1, SOFTWARE, vec![vec![flow(0, 40, 10, US(90))]]),
        &[],
    );
    let starved = |host_delayed| {
        let mut report = report(2, SOFTWARE, vec![vec![flow(0, 40, 0, US(90))]]);
        let window = &mut report.targets[0];
        window.tally.host_delayed = host_delayed;
        window.flows[0].tally = window.tally;
        report
    };
    assert_eq!(judged(&starved(11), &ill), ill);
    assert_eq!(judged(&starved(11), &[]), []);
    assert_eq!(
        judged(&starved(2), &ill),
        [],
        "a few unjudged ones do not hold it up"
    );
}

#[test]
fn an_anomaly_of_a_target_that_left_the_plan_is_forgotten() {
    let ill = judged(
        &report(1, SOFTWARE, vec![vec![flow(0, 40, 10, US(90))]]),
        &[],
    );
    assert_eq!(judged(&report(2, SOFTWARE, Vec::new()), &ill), []);
}

/// Two flows that answer quickly.
fn healthy() -> Vec<FlowWindow> {
    vec![flow(0, 20, 0, US(200)), flow(1, 20, 0, US(210))]
}

#[test]
fn software_stamps_accuse_only_a_flow_whose_fastest_round_trip_is_slow() {
    let slow = vec![flow(0, 20, 0, US(5000)), flow(1, 20, 0, US(200))];
    let found = after_a_while(|second| report(second, SOFTWARE, vec![healthy(), slow.clone()]));
    assert_eq!(paths(&found), [(Kind::Latency, "host3", Some(0))]);
    assert_eq!(found[0].since, at(1));
    assert_eq!(
        found[0].baseline,
        Some(US(200)),
        "what others typically take"
    );

    let mut noisy = flow(0, 20, 0, US(200));
    (noisy.rtt.p50, noisy.rtt.p99, noisy.rtt.max) = (US(4000), US(9000), US(9000));
    let noise = |second| report(second, SOFTWARE, vec![healthy(), vec![noisy.clone()]]);
    assert_eq!(after_a_while(noise), []);
}

#[test]
fn software_stamps_need_two_windows_that_say_the_same() {
    let slow = vec![flow(0, 20, 0, US(5000)), flow(1, 20, 0, US(200))];
    let world = |second| report(second, SOFTWARE, vec![healthy(), slow.clone()]);
    let mut state = Findings::default();
    for second in 1..=5 {
        state = find(&world(second), &limits(), &state);
        assert_eq!(state.open, [], "second {second}");
    }
    assert_eq!(find(&world(6), &limits(), &state).open.len(), 1);
    // One good window between begins the wait anew.
    state = find(
        &report(6, SOFTWARE, vec![healthy(), healthy()]),
        &limits(),
        &state,
    );
    assert_eq!(find(&world(7), &limits(), &state).open, []);
}

#[test]
fn software_stamps_accuse_nobody_when_round_trips_vary_as_much_as_the_flow_is_slow() {
    let varying = |index, fastest, median| {
        let mut flow = flow(index, 5, 0, US(fastest));
        (flow.rtt.p50, flow.rtt.p99, flow.rtt.max) = (US(median), US(2 * median), US(2 * median));
        flow
    };
    // A starved host: everybody's round trips range from 2 to 40 ms, and one flow was unlucky five times.
    let starved = || vec![varying(0, 2000, 20_000), varying(1, 2100, 18_000)];
    let unlucky = vec![varying(0, 65_000, 70_000), varying(1, 1900, 19_000)];
    let world = |second| {
        report(
            second,
            SOFTWARE,
            vec![starved(), starved(), unlucky.clone()],
        )
    };
    assert_eq!(after_a_while(world), []);
    // A throttled peer: quick at times, slow at most times.
    let throttled = vec![varying(0, 5000, 35_000)];
    let world = |second| {
        report(
            second,
            SOFTWARE,
            vec![healthy(), healthy(), throttled.clone()],
        )
    };
    assert_eq!(after_a_while(world), []);
}

#[test]
fn a_host_on_which_everything_is_slow_accuses_nobody() {
    let slow = || vec![flow(0, 20, 0, US(5000)), flow(1, 20, 0, US(6000))];
    assert_eq!(
        after_a_while(|second| report(second, SOFTWARE, vec![slow(), slow()])),
        []
    );
    let alone = |second| report(second, SOFTWARE, vec![vec![flow(0, 20, 0, US(5000))]]);
    assert_eq!(after_a_while(alone), [], "nothing to compare with");
}

#[test]
fn a_link_that_three_of_four_flows_cross_is_told_from_a_slow_host() {
    let mut flows: Vec<_> = (0..6).map(|index| flow(index, 5, 0, US(9000))).collect();
    flows.extend((6..8).map(|index| flow(index, 5, 0, US(300))));
    let found = after_a_while(|second| report(second, SOFTWARE, vec![flows.clone()]));
    let slow: Vec<_> = (0..6)
        .map(|flow| (Kind::Latency, "host2", Some(flow)))
        .collect();
    assert_eq!(paths(&found), slow);
}

#[test]
fn a_target_whose_flows_are_all_slow_is_one_anomaly() {
    let slow = vec![flow(0, 20, 0, US(5000)), flow(1, 20, 0, US(5000))];
    let world = |second| report(second, SOFTWARE, vec![healthy(), healthy(), slow.clone()]);
    assert_eq!(
        paths(&after_a_while(world)),
        [(Kind::Latency, "host4", None)]
    );
}

#[test]
fn a_slow_flow_stays_accused_in_noise_and_is_cleared_when_it_is_fast_again() {
    let slow = vec![flow(0, 20, 0, US(5000)), flow(1, 20, 0, US(200))];
    let found = after_a_while(|second| report(second, SOFTWARE, vec![healthy(), slow.clone()]));
    let mut noisy = slow;
    noisy[0].rtt.p50 = US(30_000);
    let noise = report(8, SOFTWARE, vec![healthy(), noisy]);
    let held = judged(&noise, &found);
    assert_eq!((paths(&held), held[0].since), (paths(&found), at(1)));
    assert_eq!(
        judged(&report(9, SOFTWARE, vec![healthy(), healthy()]), &held),
        []
    );
}

#[test]
fn device_stamps_are_judged_by_their_percentile_from_twenty_on() {
    let few = report(1, HARDWARE, vec![vec![flow(0, 19, 0, US(600))]]);
    assert_eq!(judged(&few, &[]), []);
    let enough = report(1, HARDWARE, vec![vec![flow(0, 20, 0, US(600))]]);
    let found = judged(&enough, &[]);
    assert_eq!(paths(&found), [(Kind::Latency, "host2", None)]);
    assert!(found[0].p99.expect("it has round trips") >= US(594));
}

#[test]
fn the_control_class_accuses_nobody() {
    let mut control = report(1, SOFTWARE, vec![vec![flow(0, 0, 50, US(1))]]);
    let mut target = (*control.targets[0].target).clone();
    target.class = ProbeClass::Control;
    control.targets[0].target = Arc::new(target);
    assert_eq!(judged(&control, &[]), []);
}

#[test]
fn the_worst_comes_first_and_loss_before_latency() {
    let targets = || {
        vec![
            vec![flow(0, 40, 5, US(200))],
            vec![flow(0, 10, 40, US(200))],
            vec![flow(0, 50, 0, US(9000))],
        ]
    };
    let found = after_a_while(|second| report(second, SOFTWARE, targets()));
    assert_eq!(
        paths(&found),
        [
            (Kind::Loss, "host3", None),
            (Kind::Loss, "host2", None),
            (Kind::Latency, "host4", None)
        ]
    );
}

proptest! {
    #[test]
    fn a_path_that_answers_everything_quickly_is_never_accused(
        fast in proptest::collection::vec((1u64..200, 1u64..499), 1..30),
        ill in proptest::collection::vec((0u64..100, 0u64..100, 1u64..100_000), 0..10),
    ) {
        let mut targets: Vec<_> = ill.iter().map(|(ok, lost, rtt)| vec![flow(0, *ok, *lost, US(*rtt))]).collect();
        let first_fast = targets.len();
        targets.extend(fast.iter().map(|(ok, rtt)| vec![flow(0, *ok, 0, US(*rtt))]));
        let found = after_a_while(|second| report(second, SOFTWARE, targets.clone()));
        for finding in &found {
            let number: usize = finding.key.target.peer_node[4..].parse().expect("host<n>");
            prop_assert!(number - 2 < first_fast, "{finding:?}");
        }
        prop_assert_eq!(judged(&report(1, SOFTWARE, Vec::new()), &found), []);
    }
}
