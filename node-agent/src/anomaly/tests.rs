use proptest::prelude::*;

use super::*;
use crate::model::{
    FabricAddress, FlowWindow, Peer, RttHistogram, RttSummary, Tally, Target, TimestampMode,
    TrafficClass,
};

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

fn judged(report: &TickReport, before: &[Finding]) -> Vec<Finding> {
    find(report, &limits(), before)
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
fn an_anomaly_of_a_target_that_left_the_plan_is_forgotten() {
    let ill = judged(
        &report(1, SOFTWARE, vec![vec![flow(0, 40, 10, US(90))]]),
        &[],
    );
    assert_eq!(judged(&report(2, SOFTWARE, Vec::new()), &ill), []);
}

#[test]
fn software_stamps_accuse_only_a_flow_whose_fastest_round_trip_is_slow() {
    let healthy = || vec![flow(0, 20, 0, US(200)), flow(1, 20, 0, US(210))];
    let slow = vec![flow(0, 20, 0, US(5000)), flow(1, 20, 0, US(200))];
    let found = judged(&report(1, SOFTWARE, vec![healthy(), slow]), &[]);
    assert_eq!(paths(&found), [(Kind::Latency, "host3", Some(0))]);

    let mut noisy = flow(0, 20, 0, US(200));
    (noisy.rtt.p50, noisy.rtt.p99, noisy.rtt.max) = (US(4000), US(9000), US(9000));
    let noise = report(1, SOFTWARE, vec![healthy(), vec![noisy]]);
    assert_eq!(judged(&noise, &[]), []);
}

#[test]
fn a_host_on_which_everything_is_slow_accuses_nobody() {
    let slow = || vec![flow(0, 20, 0, US(5000)), flow(1, 20, 0, US(6000))];
    assert_eq!(judged(&report(1, SOFTWARE, vec![slow(), slow()]), &[]), []);
    let alone = report(1, SOFTWARE, vec![vec![flow(0, 20, 0, US(5000))]]);
    assert_eq!(judged(&alone, &[]), [], "nothing to compare with");
}

#[test]
fn a_target_whose_flows_are_all_slow_is_one_anomaly() {
    let healthy = || (0..4).map(|n| flow(n, 20, 0, US(200))).collect();
    let slow = vec![flow(0, 20, 0, US(5000)), flow(1, 20, 0, US(5000))];
    let found = judged(&report(1, SOFTWARE, vec![healthy(), healthy(), slow]), &[]);
    assert_eq!(paths(&found), [(Kind::Latency, "host4", None)]);
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
    let targets = vec![
        vec![flow(0, 40, 5, US(200))],
        vec![flow(0, 10, 40, US(200))],
        vec![flow(0, 50, 0, US(9000))],
    ];
    let found = judged(&report(1, SOFTWARE, targets), &[]);
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
        let found = judged(&report(1, SOFTWARE, targets), &[]);
        for finding in &found {
            let number: usize = finding.key.target.peer_node[4..].parse().expect("host<n>");
            prop_assert!(number - 2 < first_fast, "{finding:?}");
        }
        prop_assert_eq!(judged(&report(1, SOFTWARE, Vec::new()), &found), []);
    }
}
