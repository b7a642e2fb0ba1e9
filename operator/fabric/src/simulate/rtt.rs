//! How long packets take in a fabric in order. The model is that of NICs with hardware stamps: what hosts do is no part of it.
//!
//! A cable takes 150 ns, a switch 600 ns, the two NICs 800 ns each way: 3.4 µs there and back below one leaf,
//! 6.4 µs across a spine. Queues add an exponentially distributed 0.5 µs to every round trip, and to one in
//! 10,000 another 30 µs, as a burst of workload traffic does.

use std::time::Duration;

use super::draw::Draw;

const CABLE: Duration = Duration::from_nanos(150);
const SWITCH: Duration = Duration::from_nanos(600);
const NICS: Duration = Duration::from_nanos(800);
const QUEUE: Duration = Duration::from_nanos(500);
const BURST: Duration = Duration::from_micros(30);

/// Round trips longer than the least by more than this are kept one by one.
pub(super) const USUAL: Duration = Duration::from_micros(4);

/// Share of the round trips that meet a burst.
pub(super) const BURSTS: f64 = 1e-4;

/// Least time that one way through so many switches takes.
pub(super) fn one_way(switches: u32) -> Duration {
    CABLE * (switches + 1) + SWITCH * switches + NICS
}

/// A round trip without burst.
pub(super) fn round_trip(switches: u32, draw: &mut Draw) -> Duration {
    one_way(switches) * 2 + draw.exponential(QUEUE)
}

/// What a burst adds.
pub(super) fn burst(draw: &mut Draw) -> Duration {
    draw.exponential(BURST)
}

/// The round trip that a share `rank` (0 to 1) of them does not exceed.
pub(super) fn quantile(switches: u32, rank: f64) -> Duration {
    one_way(switches) * 2 + QUEUE.mul_f64(-(1.0 - rank.clamp(0.0, 0.999_999)).ln())
}
