//! The very loop of the agent on a fabric in memory: loss, delay, restarts, starvation, forgery.

use rdmamesh_wire::{Ack2, Datagram, DropReason, Epoch, Header, ReturnFlow, RnicId, encode};

use super::*;
use crate::model::{Tally, Way};
use fabric::{Fabric, Host, MS, Packet, gid, in_paused_time, keys, seconds};

mod fabric;

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
        let tenths = Arc::new(std::sync::Mutex::new(std::collections::HashSet::new()));
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

#[test]
fn forged_foreign_and_replayed_datagrams_are_dropped_and_counted_never_answered() {
    in_paused_time(async {
        let fabric = Fabric::new(MS(1));
        let b = Host::start(&fabric, "b", 2, 4, None);
        let header = Header {
            mesh_id: 1,
            sender: RnicId::of("a", "rxe0", 1),
            receiver: RnicId::of("b", "rxe0", 1),
            sender_epoch: Epoch(77),
            receiver_epoch: b.epoch,
            sequence: 1,
        };
        let probe =
            |header: Header| encode(&Datagram::Probe(header, ReturnFlow::default()), &keys());
        let good = probe(header);
        let mut damaged = good;
        damaged[60] ^= 1;
        let stamps = Ack2 {
            received: MS(1),
            replied: MS(2),
            hardware: false,
            hop_limit: None,
        };
        let cases: Vec<(Vec<u8>, Option<DropReason>)> = vec![
            (good.to_vec(), None),
            (good.to_vec(), Some(DropReason::Replay)),
            (damaged.to_vec(), Some(DropReason::Mac)),
            (good[..40].to_vec(), Some(DropReason::Length)),
            (Vec::new(), Some(DropReason::Length)),
            (
                probe(Header {
                    receiver: RnicId(1),
                    ..header
                })
                .to_vec(),
                Some(DropReason::Receiver),
            ),
            (
                probe(Header {
                    receiver_epoch: Epoch(5),
                    ..header
                })
                .to_vec(),
                Some(DropReason::Epoch),
            ),
            (
                encode(&Datagram::Ack1(header), &keys()).to_vec(),
                Some(DropReason::Unsolicited),
            ),
            (
                encode(&Datagram::Ack2(header, stamps), &keys()).to_vec(),
                Some(DropReason::Unsolicited),
            ),
            (
                probe(Header {
                    sequence: 2,
                    ..header
                })
                .to_vec(),
                None,
            ),
        ];
        for (bytes, expected) in cases {
            let before = b.counters.snapshot();
            fabric.inject(gid(1), (gid(2), b.qpns[0]), &bytes);
            tokio::time::sleep(MS(10)).await;
            let after = b.counters.snapshot();
            let dropped: Vec<_> = after
                .probe_drops
                .iter()
                .zip(&before.probe_drops)
                .filter(|(now, then)| now.1 != then.1)
                .map(|(now, _)| now.0)
                .collect();
            assert_eq!(dropped, Vec::from_iter(expected.map(DropReason::as_str)));
            let answered = after.probes_answered - before.probes_answered;
            assert_eq!(answered, u64::from(expected.is_none()));
        }
    });
}

#[test]
fn recorded_traffic_played_again_changes_no_count_but_drops() {
    in_paused_time(async {
        let fabric = Fabric::new(MS(1));
        let (mut a, b) = pair(&fabric);
        let tape = Arc::new(Mutex::new(Vec::new()));
        let recorder = Arc::clone(&tape);
        fabric.set_link(move |packet| {
            let bytes = packet.payload.to_vec();
            recorder
                .lock()
                .expect("one thread")
                .push((packet.from, packet.to, bytes));
            Some(MS(1))
        });
        a.probe([Host::target_of(&b, 4, MS(100))]);
        seconds(5).await;
        a.plan.send_replace(None);
        seconds(1).await;
        let (before_a, before_b) = (a.counters.snapshot(), b.counters.snapshot());
        let tape = tape.lock().expect("one thread").clone();
        for (from, to, bytes) in &tape {
            let qpn = if *to == gid(1) { a.qpns[0] } else { b.qpns[0] };
            fabric.inject(*from, (*to, qpn), bytes);
        }
        seconds(1).await;
        let replays = |host: &Host| {
            let drops = host.counters.snapshot().probe_drops;
            drops
                .iter()
                .find(|(reason, _)| *reason == "replay")
                .map_or(0, |(_, n)| *n)
        };
        assert_eq!(replays(&a) + replays(&b), tape.len() as u64);
        assert_eq!(
            b.counters.snapshot().probes_answered,
            before_b.probes_answered
        );
        assert_eq!(a.counters.snapshot().late_acks, before_a.late_acks);
        assert!(only_ok(a.settle().await));
    });
}

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
