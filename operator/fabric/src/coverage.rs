//! How many flows cover N parallel paths.
//!
//! Equal-cost multipath hashing throws each flow onto one of N paths like a coupon onto a collector:
//! k flows leave some path unseen with probability Σᵢ (−1)^(i+1)·C(N,i)·(1−i/N)^k, i = 1…N
//! (inclusion–exclusion; R-Pingmesh, SIGCOMM 2024, §5). Summed naively its alternating terms cancel
//! catastrophically; the same probability computed as a chain of draws has only positive terms.

/// Probability that `flows` flows, spread uniformly, use every one of `paths` parallel paths.
///
/// Zero paths count as one.
#[must_use]
pub fn probability(paths: u16, flows: u32) -> f64 {
    table(paths, flows).last().copied().unwrap_or(0.0)
}

/// [`probability`] for every number of flows from 0 to `most`.
#[must_use]
pub fn table(paths: u16, most: u32) -> Vec<f64> {
    let mut walk = Walk::new(paths);
    let mut table = vec![walk.all_seen()];
    for _ in 0..most {
        walk.draw();
        table.push(walk.all_seen());
    }
    table
}

/// Fewest flows that use every one of `paths` parallel paths with probability `wanted` or more.
///
/// `wanted` must lie above 0 and below 1; values outside are clamped to what 64-bit floating point can
/// tell from 0 and 1, so the function always returns.
#[must_use]
pub fn flows_for(paths: u16, wanted: f64) -> u32 {
    // NaN means nothing; full coverage with near certainty is the careful reading.
    let wanted = if wanted.is_nan() { 1.0 } else { wanted };
    let missing = (1.0 - wanted).clamp(1e-9, 1.0);
    let mut walk = Walk::new(paths);
    let mut flows = u32::from(paths.max(1));
    for _ in 0..flows {
        walk.draw();
    }
    while walk.some_unseen() > missing {
        walk.draw();
        flows += 1;
    }
    flows
}

/// Distribution of the number of distinct paths seen, draw by draw.
struct Walk {
    /// `seen[d]`: probability that exactly `d` distinct paths were used so far.
    seen: Vec<f64>,
    paths: f64,
}

impl Walk {
    fn new(paths: u16) -> Self {
        let paths = paths.max(1);
        let mut seen = vec![0.0; usize::from(paths) + 1];
        seen[0] = 1.0;
        Self {
            seen,
            paths: f64::from(paths),
        }
    }

    /// One more flow: it falls on a path seen before, or on a new one.
    fn draw(&mut self) {
        let mut distinct = self.paths;
        for d in (1..self.seen.len()).rev() {
            let stays = self.seen[d] * distinct / self.paths;
            let comes = self.seen[d - 1] * (self.paths - distinct + 1.0) / self.paths;
            self.seen[d] = stays + comes;
            distinct -= 1.0;
        }
        self.seen[0] = 0.0;
    }

    fn all_seen(&self) -> f64 {
        self.seen.last().copied().unwrap_or(1.0)
    }

    /// Summed from the terms themselves: `1 − all_seen` loses the digits that a high coverage is about.
    fn some_unseen(&self) -> f64 {
        self.seen
            .split_last()
            .map_or(0.0, |(_, rest)| rest.iter().sum())
    }
}
