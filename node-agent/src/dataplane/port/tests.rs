//! The very loop of the agent on a fabric in memory: loss, delay, restarts, starvation.

use super::*;
use crate::model::{Tally, Way};
use fabric::{Fabric, Host, MS, Packet, gid, in_paused_time, keys, seconds};

mod changes;
mod fabric;
mod forgery;

/// Type byte of a datagram: 1 probe, 2 first answer, 3 second answer.
fn kind(packet: &Packet<'_>) -> u8 {
    packet.payload[1]
}

fn only_ok(tally: Tally) -> bool {
    tally.sent > 0 && tally.ok == tally.sent
}

fn pair(fabric: &Arc<Fabric>) -> (Host, Host) {
    (
        Host::start(fabric, "a", 1, 4, None),
        Host::start(fabric, "b", 2, 4, None),
    )
}

/// Probes of a flow are not evenly spaced.
fn about(expected: u64, is: u64) -> bool {
    is.abs_diff(expected) * 20 <= expected
}

#[test]
fn a_flow_keeps_step_with_nothing_that_is_periodic() {
    in_paused_time(async {
        let fabric = Fabric::new(MS(1));
        let (mut a, b) = pair(&fabric);
        let tenths = Arc::new(Mutex::new(std::collections::HashSet::new()));
        let (clock, seen) = (Arc::clone(&fabric), Arc::clone(&tenths));
        fabric.set_link(move |packet| {
            if packet.from == gid(1) && kind(packet) == 1 {
                let tenth = clock.now().0.as_millis() % 100 / 10;
                seen.lock().expect("no test panics with it").insert(tenth);
            }
            Some(MS(1))
        });
        a.probe([Host::target_of(&b, 1, MS(1000))]);
        seconds(60).await;
        assert!(only_ok(a.settle().await));
        let tenths = tenths.lock().expect("no test panics with it");
        assert_eq!(tenths.len(), 10, "of every 100 ms: {tenths:?}");
    });
}

#[test]
fn a_quiet_fabric_loses_nothing_and_the_rtt_is_twice_the_latency() {
    in_paused_time(async {
        let fabric = Fabric::new(MS(1));
        let (mut a, b) = pair(&fabric);
        a.probe([Host::target_of(&b, 4, MS(100))]);
        seconds(8).await;
        let windows = a.next_windows().await;
        let window = windows.first().expect("one target");
        assert_eq!(window.covered, MS(5000));
        assert!(only_ok(window.tally));
        assert!(about(200, window.tally.ok), "{:?}", window.tally);
        assert_eq!(window.flows.len(), 4);
        for flow in &window.flows {
            assert!(about(50, flow.rtt.count), "{:?}", flow.rtt);
            assert_eq!((flow.rtt.min, flow.rtt.max), (MS(2), MS(2)));
        }
        let ports: std::collections::HashSet<_> =
            window.flows.iter().map(|f| f.source_port).collect();
        assert_eq!(ports.len(), 4);
        assert!(only_ok(a.settle().await));
    });
}

#[test]
fn device_clocks_need_not_agree() {
    in_paused_time(async {
        let fabric = Fabric::new(MS(3));
        let mut a = Host::start(&fabric, "a", 1, 1, Some(Duration::from_secs(12345)));
        let b = Host::start(&fabric, "b", 2, 1, Some(Duration::from_secs(9)));
        a.probe([Host::target_of(&b, 1, MS(100))]);
        seconds(8).await;
        let windows = a.next_windows().await;
        let window = windows.first().expect("one target");
        assert_eq!(window.timestamps, crate::model::TimestampMode::Hardware);
        assert!(only_ok(window.tally));
        assert!(about(50, window.tally.ok), "{:?}", window.tally);
        assert_eq!(
            (window.rtt.min(), window.rtt.max()),
            (Some(MS(6)), Some(MS(6)))
        );
    });
}

#[test]
fn a_lossy_link_shows_in_the_next_report_and_is_booked_as_lost() {
    in_paused_time(async {
        let fabric = Fabric::new(MS(1));
        let (mut a, b) = pair(&fabric);
        a.probe([Host::target_of(&b, 4, MS(100))]);
        seconds(8).await;
        a.next_windows().await;
        let began = fabric.now();
        let mut n = 0u32;
        fabric.set_link(move |_| {
            n += 1;
            (!n.is_multiple_of(5)).then_some(MS(1))
        });
        let seen = loop {
            let windows = a.next_windows().await;
            if windows.first().expect("one target").tally.lost >= 3 {
                break fabric.now();
            }
        };
        assert!(
            seen.since(began) <= MS(2000),
            "visible after {:?}",
            seen.since(began)
        );
        seconds(6).await;
        let windows = a.next_windows().await;
        let tally = windows.first().expect("one target").tally;
        assert_eq!(tally.outcomes(), tally.sent);
        assert_eq!(
            tally.ok + tally.lost,
            tally.sent,
            "nothing but ok and lost: {tally:?}"
        );
        let ratio = tally.loss_ratio().expect("judged");
        // Of three datagrams per probe every fifth is lost.
        assert!((0.3..0.7).contains(&ratio), "{ratio}");
        let total = a.settle().await;
        assert_eq!(total.outcomes(), total.sent);
    });
}

#[test]
fn loss_of_one_flow_is_that_flows_loss() {
    in_paused_time(async {
        let fabric = Fabric::new(MS(1));
        let (mut a, b) = pair(&fabric);
        fabric.set_link(|packet| (packet.from != gid(1) || packet.qp_index != 2).then_some(MS(1)));
        a.probe([Host::target_of(&b, 4, MS(100))]);
        seconds(9).await;
        let windows = a.next_windows().await;
        let flows = &windows.first().expect("one target").flows;
        let lossy: Vec<_> = flows.iter().filter(|f| f.tally.lost > 0).collect();
        assert_eq!(lossy.len(), 1);
        assert_eq!(lossy[0].tally.ok, 0);
        assert!(about(50, lossy[0].tally.lost), "{:?}", lossy[0].tally);
        assert!(
            flows
                .iter()
                .filter(|f| f.tally.lost == 0)
                .all(|f| only_ok(f.tally))
        );
    });
}

#[test]
fn an_answer_after_the_timeout_is_late_and_not_lost() {
    in_paused_time(async {
        let fabric = Fabric::new(MS(1));
        let (mut a, b) = pair(&fabric);
        fabric.set_link(|packet| Some(if kind(packet) == 1 { MS(600) } else { MS(1) }));
        a.probe([Host::target_of(&b, 1, MS(100))]);
        seconds(9).await;
        let total = a.settle().await;
        assert_eq!((total.late, total.lost, total.ok), (total.sent, 0, 0));
    });
}

#[test]
fn an_answer_long_after_the_timeout_turns_lost_into_late() {
    in_paused_time(async {
        let fabric = Fabric::new(MS(1));
        let (a, b) = pair(&fabric);
        fabric.set_link(|packet| Some(if kind(packet) == 1 { MS(1500) } else { MS(1) }));
        a.probe([Host::target_of(&b, 1, MS(200))]);
        seconds(12).await;
        let total = a.total();
        assert!(total.sent > 10);
        assert_eq!((total.late, total.lost), (total.sent, 0), "{total:?}");
    });
}

#[test]
fn the_second_answer_may_come_first() {
    in_paused_time(async {
        let fabric = Fabric::new(MS(1));
        let (mut a, b) = pair(&fabric);
        fabric.set_link(|packet| Some(if kind(packet) == 2 { MS(20) } else { MS(1) }));
        a.probe([Host::target_of(&b, 1, MS(100))]);
        seconds(8).await;
        let windows = a.next_windows().await;
        let window = windows.first().expect("one target");
        assert!(only_ok(window.tally));
        assert_eq!(window.rtt.min(), Some(MS(21)));
    });
}

#[test]
fn a_killed_and_restarted_peer_costs_no_false_loss() {
    in_paused_time(async {
        let fabric = Fabric::new(MS(1));
        let (mut a, b) = pair(&fabric);
        a.probe([Host::target_of(&b, 4, MS(100))]);
        seconds(6).await;
        b.kill(&fabric);
        seconds(4).await;
        let b = Host::start(&fabric, "b", 2, 4, None);
        seconds(1).await;
        let back = fabric.now();
        seconds(8).await;
        let windows = a.next_windows().await;
        assert!(fabric.now().since(back) > MS(6000));
        let tally = windows.first().expect("one target").tally;
        assert!(only_ok(tally), "a second after its return: {tally:?}");
        let total = a.settle().await;
        assert_eq!((total.lost, total.late), (0, 0), "{total:?}");
        assert!(total.unresolved > 0 && total.ok > 0);
        assert_eq!(total.outcomes(), total.sent);
        drop(b);
    });
}

#[test]
fn loss_there_is_told_from_loss_on_the_way_back_and_from_both() {
    in_paused_time(async {
        let fabric = Fabric::new(MS(1));
        let (mut a, b) = pair(&fabric);
        a.probe([Host::target_of(&b, 4, MS(50))]);
        seconds(6).await;
        let (from_a, from_b) = (a.gid, b.gid);
        fabric.set_link(move |packet| (packet.from != from_a).then_some(MS(1)));
        seconds(2).await;
        fabric.set_link(move |packet| (packet.from != from_b).then_some(MS(1)));
        seconds(3).await;
        fabric.set_link(|_| Some(MS(1)));
        seconds(3).await;
        let windows = a.next_windows().await;
        assert_eq!(windows[0].flows[0].routers, Some(3), "64 - 61");
        let total = a.settle().await;
        let (forward, back) = (total.lost_forward, total.lost_return);
        assert_eq!(total.lost, forward + back, "{total:?}");
        // 80 probes a second; the seconds at the edges are mixed.
        assert!(forward >= 140 && back >= 220, "{total:?}");
        let mut ways = [0, 0];
        while let Ok(lost) = a.losses.try_recv() {
            match lost.way {
                Way::Forward => ways[0] += 1,
                Way::Return => ways[1] += 1,
                Way::Unknown => unreachable!("the peer can tell"),
            }
        }
        assert_eq!(ways, [forward, back], "each is told at once");
        drop(b);
    });
}

#[test]
fn a_peer_that_restarts_within_the_timeout_is_not_loss_either() {
    in_paused_time(async {
        let fabric = Fabric::new(MS(1));
        let (mut a, b) = pair(&fabric);
        a.probe([Host::target_of(&b, 4, MS(50))]);
        seconds(6).await;
        b.kill(&fabric);
        tokio::time::sleep(MS(100)).await;
        let b = Host::start(&fabric, "b", 2, 4, None);
        seconds(6).await;
        let total = a.settle().await;
        assert_eq!(total.lost, 0, "{total:?}");
        drop(b);
    });
}

#[test]
fn silence_over_ip_too_is_unresolved() {
    in_paused_time(async {
        let fabric = Fabric::new(MS(1));
        let (mut a, b) = pair(&fabric);
        a.probe([Host::target_of(&b, 2, MS(100))]);
        seconds(3).await;
        fabric.silence("b", true);
        fabric.set_link(|_| None);
        seconds(5).await;
        let total = a.settle().await;
        assert_eq!(total.lost, 0);
        assert!(total.unresolved > 50, "{total:?}");
    });
}

#[test]
fn a_starved_peer_makes_its_silence_the_hosts_fault() {
    in_paused_time(async {
        let fabric = Fabric::new(MS(1));
        let (mut a, b) = pair(&fabric);
        a.probe([Host::target_of(&b, 2, MS(100))]);
        seconds(3).await;
        fabric.set_link(|_| None);
        for _ in 0..50 {
            b.claim_starved(fabric.now());
            tokio::time::sleep(MS(100)).await;
        }
        a.plan.send_replace(None);
        b.claim_starved(fabric.now());
        let total = a.settle().await;
        assert_eq!(total.lost, 0, "{total:?}");
        assert!(total.host_delayed > 50);
    });
}

#[test]
fn a_prober_that_was_stopped_blames_itself() {
    in_paused_time(async {
        let fabric = Fabric::new(MS(1));
        let (mut a, b) = pair(&fabric);
        a.probe([Host::target_of(&b, 4, MS(20))]);
        seconds(3).await;
        for _ in 0..4 {
            // Nothing of this process runs for two seconds.
            tokio::time::advance(MS(2000)).await;
            seconds(1).await;
        }
        let total = a.settle().await;
        assert_eq!((total.lost, total.late), (0, 0), "{total:?}");
        assert!(a.counters.snapshot().starvations > 0);
        assert_eq!(total.outcomes(), total.sent);
    });
}
