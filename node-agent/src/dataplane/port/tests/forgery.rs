//! Datagrams that nobody should have sent.

use rdmamesh_wire::{Ack2, Datagram, DropReason, Epoch, Header, ReturnFlow, RnicId, encode};

use super::*;

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
