//! Plans, links and devices that change under the loop.

use super::*;

#[test]
fn a_plan_that_changes_keeps_the_windows_of_what_stays() {
    in_paused_time(async {
        let fabric = Fabric::new(MS(1));
        let (mut a, b) = pair(&fabric);
        let c = Host::start(&fabric, "c", 3, 2, None);
        a.probe([Host::target_of(&b, 2, MS(100))]);
        seconds(8).await;
        a.probe([
            Host::target_of(&b, 2, MS(200)),
            Host::target_of(&c, 2, MS(100)),
        ]);
        let windows = a.next_windows().await;
        let of = |windows: &[TargetWindow], node: &str| {
            let found = windows.iter().find(|w| &*w.target.peer.node == node);
            found.map(|w| (w.covered, w.tally))
        };
        assert_eq!(
            of(&windows, "b").map(|(covered, _)| covered),
            Some(MS(5000))
        );
        seconds(8).await;
        let windows = a.next_windows().await;
        assert_eq!(
            of(&windows, "b").map(|(_, tally)| tally.sent),
            Some(50),
            "half the rate"
        );
        assert_eq!(of(&windows, "c").map(|(_, tally)| tally.sent), Some(100));
        a.probe([Host::target_of(&c, 2, MS(100))]);
        seconds(4).await;
        let windows = a.next_windows().await;
        assert_eq!(of(&windows, "b"), None);
        assert!(only_ok(a.settle().await));
    });
}

#[test]
fn a_removed_device_ends_the_loop_and_is_nobodys_loss() {
    in_paused_time(async {
        let fabric = Fabric::new(MS(1));
        let (mut a, b) = pair(&fabric);
        let (mut b_probes_a, target) = (b, Host::target_of(&a, 2, MS(100)));
        b_probes_a.probe([target]);
        a.probe([Host::target_of(&b_probes_a, 2, MS(100))]);
        seconds(6).await;
        a.remove_device();
        let exit = tokio::time::timeout(MS(100), &mut a.task)
            .await
            .expect("at once")
            .expect("no panic");
        assert_eq!(exit, Exit::Gone(PortGone("the device is gone".to_owned())));
        seconds(5).await;
        let total = b_probes_a.settle().await;
        assert_eq!(
            total.lost, 0,
            "the peer says that the port is not open: {total:?}"
        );
        assert!(total.unresolved > 0);
    });
}

#[test]
fn a_link_that_is_down_stops_the_probes_not_the_answers() {
    in_paused_time(async {
        let fabric = Fabric::new(MS(1));
        let (mut a, b) = pair(&fabric);
        a.probe([Host::target_of(&b, 2, MS(100))]);
        seconds(5).await;
        a.orders
            .send(PortOrder::Link(false))
            .expect("the loop runs");
        seconds(1).await;
        let sent = a.counters.snapshot().probes_sent;
        seconds(5).await;
        assert_eq!(a.counters.snapshot().probes_sent, sent);
        a.orders.send(PortOrder::Link(true)).expect("the loop runs");
        seconds(2).await;
        assert!(a.counters.snapshot().probes_sent > sent);
        assert!(only_ok(a.settle().await));
    });
}

#[test]
fn flows_cost_packets_not_wake_ups_of_their_own() {
    in_paused_time(async {
        let fabric = Fabric::new(MS(1));
        let mut a = Host::start(&fabric, "a", 1, 64, None);
        let b = Host::start(&fabric, "b", 2, 64, None);
        let targets = (0..16).map(|n| {
            let target = Host::target_of(&b, 64, MS(1000));
            let mesh = format!("m{n}").into();
            crate::model::Target {
                mesh,
                seed: n,
                ..target
            }
        });
        a.probe(targets);
        seconds(4).await;
        let (polls, sent) = (
            *a.polls.lock().expect("one thread"),
            a.counters.snapshot().probes_sent,
        );
        seconds(10).await;
        let polls = *a.polls.lock().expect("one thread") - polls;
        let sent = a.counters.snapshot().probes_sent - sent;
        assert!(
            (10_000..10_400).contains(&sent),
            "1024 flows at 1 Hz: {sent}"
        );
        // One for sending, one for its completion, one for both answers; most are shared.
        assert!(
            polls < sent * 3,
            "{polls} turns of the loop for {sent} probes"
        );
        assert!(only_ok(a.settle().await));
    });
}
