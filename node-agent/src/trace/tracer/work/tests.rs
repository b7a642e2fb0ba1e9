//! Requests, answers, budget, deadlines.

use std::net::IpAddr;
use std::num::NonZeroU32;

use super::*;
use crate::trace::protocol::tests::request;

fn at(ms: u64) -> Mono {
    Mono(Duration::from_secs(100) + Duration::from_millis(ms))
}

fn work() -> Work {
    Work::new(
        Pace::new(NonZeroU32::new(1000).expect("not zero")),
        u16::MAX,
    )
}

fn router(ttl: u8) -> IpAddr {
    [10, 11, 0, ttl].into()
}

fn quote(sent: &Send) -> Quote {
    Quote {
        router: router(sent.ttl),
        source: sent.flow.source,
        target: sent.flow.target,
        source_port: sent.flow.source_port,
        token: sent.token,
    }
}

fn sends(work: &mut Work, ms: u64) -> Vec<Send> {
    std::iter::from_fn(|| work.next_send(at(ms))).collect()
}

/// The hops told to asker 1 as (TTL, sent, answered, known).
fn told(work: &mut Work) -> Option<Vec<(u8, u16, u16, bool)>> {
    let told = work.drain_done().remove(&1)?;
    match told.as_slice() {
        [FromTracer::Traced { hops, .. }] => {
            let hop = |hop: &Hop| (hop.ttl, hop.sent, hop.answered, hop.address.is_some());
            Some(hops.iter().map(hop).collect())
        }
        other => unreachable!("one answer, not {other:?}"),
    }
}

#[test]
fn a_request_is_answered_when_the_last_router_has() {
    let mut work = work();
    work.submit(1, request(9, 3, 1));
    let sent = sends(&mut work, 0);
    assert_eq!(sent.iter().map(|s| s.ttl).collect::<Vec<_>>(), [1, 2, 3]);
    for packet in &sent {
        assert_eq!(told(&mut work), None);
        assert!(work.answered(&quote(packet), at(3)));
    }
    let all = [(1, 1, 1, true), (2, 1, 1, true), (3, 1, 1, true)];
    assert_eq!(told(&mut work).as_deref(), Some(all.as_slice()));
}

#[test]
fn a_router_that_does_not_answer_is_unknown_and_holds_nothing_up() {
    let mut work = work();
    work.submit(1, request(9, 2, 2));
    let sent = sends(&mut work, 0);
    assert_eq!(sent.iter().map(|s| s.ttl).collect::<Vec<_>>(), [1, 2, 1, 2]);
    work.answered(&quote(&sent[0]), at(3));
    work.answered(&quote(&sent[2]), at(3));
    assert_eq!(work.next_due(at(1)), Some(at(500)));
    work.expire(at(499));
    assert_eq!(told(&mut work), None);
    work.expire(at(500));
    let hops = [(1, 2, 2, true), (2, 2, 0, false)];
    assert_eq!(told(&mut work).as_deref(), Some(hops.as_slice()));
    assert!(!work.answered(&quote(&sent[1]), at(3)), "too late");
}

#[test]
fn silence_while_this_process_stood_still_is_not_counted() {
    let mut work = work();
    work.submit(1, request(9, 1, 3));
    let sent = sends(&mut work, 0);
    work.answered(&quote(&sent[0]), at(1));
    work.stood_still();
    work.answered(&quote(&sent[1]), at(600));
    work.expire(at(601));
    assert_eq!(told(&mut work), Some(vec![(1, 2, 2, true)]));
}

#[test]
fn answers_that_fit_no_packet_are_ignored() {
    let mut work = work();
    work.submit(1, request(9, 1, 1));
    let sent = sends(&mut work, 0);
    let good = quote(&sent[0]);
    for wrong in [
        Quote { token: 5, ..good },
        Quote {
            source_port: 1,
            ..good
        },
        Quote {
            target: router(9),
            ..good
        },
    ] {
        assert!(!work.answered(&wrong, at(3)));
    }
    assert!(work.answered(&good, at(3)));
    assert!(!work.answered(&good, at(3)), "once");
}

#[test]
fn packets_wait_for_the_budget() {
    let mut work = Work::new(Pace::new(NonZeroU32::new(100).expect("not zero")), 0);
    work.submit(1, request(9, 32, 16));
    let first = sends(&mut work, 0).len();
    assert!(first <= 11, "{first}");
    let due = work.next_due(at(0)).expect("more to send");
    assert!(due > at(0) && due <= at(10));
    let mut all = first;
    for ms in 1..=1000 {
        all += sends(&mut work, ms).len();
    }
    assert!((100..=111).contains(&all), "{all}");
}

#[test]
fn what_cannot_be_sent_or_asked_for_is_refused_with_a_reason() {
    let mut work = work();
    work.submit(1, request(7, 0, 1));
    work.submit(1, request(8, 3, 1));
    let sent = work.next_send(at(0)).expect("a packet");
    work.failed(sent.token, "no route");
    let told = work.drain_done().remove(&1).expect("told");
    let refused = |message: &FromTracer| match message {
        FromTracer::Refused { id, reason } => (*id, reason.clone()),
        other => unreachable!("refused, not {other:?}"),
    };
    let told: Vec<_> = told.iter().map(refused).collect();
    assert_eq!(told[0].0, 7);
    assert_eq!(told[1], (8, "no route".to_owned()));
    assert!(sends(&mut work, 1).is_empty(), "the rest is not sent");
}

#[test]
fn nothing_is_sent_for_an_asker_who_has_gone() {
    let mut work = work();
    work.submit(1, request(7, 3, 1));
    work.submit(2, request(8, 3, 1));
    work.forget(1);
    assert_eq!(sends(&mut work, 0).len(), 3);
    work.expire(at(600));
    assert_eq!(work.drain_done().into_keys().collect::<Vec<_>>(), [2]);
}

#[test]
fn more_packets_than_there_are_tokens_wait() {
    let mut work = Work::new(Pace::new(NonZeroU32::MAX), 0);
    for id in 0..200 {
        work.submit(1, request(id, 32, 16));
    }
    let refused = work.drain_done().remove(&1).map_or(0, |told| told.len());
    assert_eq!(refused, 200 - MAX_QUEUE / 512);
}
