//! Windows: booking by send time, settling, sliding, amending.

use super::*;

const MS: fn(u64) -> Duration = Duration::from_millis;

fn at(ms: u64) -> Mono {
    Mono(MS(ms))
}

fn windows(now_ms: u64) -> Windows {
    Windows::new(2, Duration::from_secs(3), MS(500), at(now_ms))
}

fn report(windows: &mut Windows, now_ms: u64) -> WindowReport {
    windows.report(at(now_ms), &mut Vec::new())
}

#[test]
fn loss_counts_in_the_second_in_which_the_probe_was_sent() {
    let mut w = windows(10_000);
    w.sent(10, 0);
    w.sent(11, 0);
    w.ended(11, 0, Outcome::Ok(Some(MS(1))));
    assert_eq!(
        report(&mut w, 11_400).end,
        at(10_000),
        "second 10 has a probe outstanding"
    );
    w.ended(10, 0, Outcome::Lost(Way::Forward));
    let settled = report(&mut w, 11_500);
    assert_eq!(
        (settled.end, settled.tally().lost, settled.tally().ok),
        (at(11_000), 1, 0)
    );
    let next = report(&mut w, 12_000);
    assert_eq!(
        (next.end, next.tally().lost, next.tally().ok),
        (at(12_000), 1, 1)
    );
    assert_eq!(next.covered, Duration::from_secs(2));
}

#[test]
fn a_second_leaves_the_window_after_its_length() {
    let mut w = windows(10_000);
    w.sent(10, 1);
    w.ended(10, 1, Outcome::Lost(Way::Forward));
    assert_eq!(report(&mut w, 13_000).tally().lost, 1);
    assert_eq!(report(&mut w, 14_000).tally(), Tally::default());
}

#[test]
fn outcomes_add_up_to_sent_in_a_settled_window() {
    let mut w = windows(10_000);
    let outcomes = [
        Outcome::Ok(None),
        Outcome::Ok(Some(MS(2))),
        Outcome::Lost(Way::Forward),
        Outcome::Late,
        Outcome::HostDelayed,
        Outcome::Unresolved,
        Outcome::Invalid,
        Outcome::SendError,
    ];
    for outcome in outcomes {
        w.sent(10, 0);
        w.ended(10, 0, outcome);
    }
    let settled = report(&mut w, 11_000);
    let tally = settled.tally();
    assert_eq!((tally.sent, tally.outcomes(), tally.ok), (8, 8, 2));
    assert_eq!(settled.rtt.count(), 1);
}

#[test]
fn a_loss_that_turns_out_late_is_moved_once() {
    let mut w = windows(10_000);
    w.sent(10, 0);
    w.ended(10, 0, Outcome::Lost(Way::Forward));
    w.amend(10, 0, Outcome::Lost(Way::Forward), Outcome::Late);
    w.amend(10, 0, Outcome::Lost(Way::Forward), Outcome::Late);
    let tally = report(&mut w, 11_000).tally();
    assert_eq!((tally.lost, tally.lost_forward, tally.late), (0, 0, 1));
}

#[test]
fn every_second_is_booked_once_and_only_when_final() {
    let mut w = windows(10_000);
    let mut total = Tally::default();
    w.sent(10, 0);
    w.ended(10, 0, Outcome::Lost(Way::Forward));
    report(&mut w, 12_000);
    w.book(at(12_000), false, &mut total);
    assert_eq!(total, Tally::default(), "a late answer could still come");
    report(&mut w, 15_000);
    w.book(at(15_000), false, &mut total);
    w.book(at(16_000), false, &mut total);
    assert_eq!((total.sent, total.lost, total.lost_forward), (1, 1, 1));
    w.amend(10, 0, Outcome::Lost(Way::Forward), Outcome::Late);
    w.book(at(16_000), true, &mut total);
    assert_eq!((total.lost, total.late), (1, 0));
}

#[test]
fn the_ring_is_used_again_without_mixing_seconds() {
    let mut w = windows(0);
    for second in 0..1000 {
        w.sent(second, 0);
        w.ended(second, 0, Outcome::Ok(Some(MS(second))));
        let settled = report(&mut w, (second + 1) * 1000);
        assert_eq!(settled.tally().ok, (second + 1).min(3));
        assert_eq!(settled.rtt.max(), Some(MS(second)));
    }
}

#[test]
fn figures_follow_the_nearest_rank() {
    let mut rtts: Vec<u32> = (1..=100).rev().collect();
    let figures = summary(&mut rtts);
    let ns = Duration::from_nanos;
    assert_eq!(
        (
            figures.count,
            figures.min,
            figures.p50,
            figures.p99,
            figures.max
        ),
        (100, ns(1), ns(50), ns(99), ns(100))
    );
    assert_eq!(summary(&mut []), RttSummary::default());
}
