//! Random numbers, all from one seed that the caller passes in.

use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// A reproducible stream of random numbers.
#[derive(Clone, Debug)]
pub struct Draw(ChaCha8Rng);

impl Draw {
    /// The stream of a seed and of a number below it (a case, a host): other numbers, other streams.
    #[must_use]
    pub fn new(seed: u64, stream: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(stream);
        Self(rng)
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// Evenly from 0 up to but not 1.
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// True with this chance.
    pub fn chance(&mut self, chance: f64) -> bool {
        chance > 0.0 && self.unit() < chance
    }

    /// Evenly below `bound`; 0 for 0.
    pub fn below(&mut self, bound: u32) -> u32 {
        ((u128::from(self.bits()) * u128::from(bound)) >> 64) as u32
    }

    /// Evenly from `low` to `high`.
    pub fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// Evenly from `low` to `high`.
    pub fn time_between(&mut self, low: Duration, high: Duration) -> Duration {
        low + high.saturating_sub(low).mul_f64(self.unit())
    }

    /// Exponentially distributed with this mean.
    pub fn exponential(&mut self, mean: Duration) -> Duration {
        mean.mul_f64(-(1.0 - self.unit()).ln())
    }

    /// How many trials of this chance fail before the first that does not: geometric.
    pub fn failures(&mut self, chance: f64) -> u64 {
        if chance <= 0.0 {
            return u64::MAX;
        }
        let skip = (1.0 - self.unit()).ln() / (1.0 - chance.min(1.0 - 1e-12)).ln();
        // Saturates for chances next to nothing.
        skip as u64
    }

    /// The position of one of `weights`, drawn by weight; `None` where there is no weight at all.
    pub fn weighted(&mut self, weights: &[f64]) -> Option<usize> {
        let total: f64 = weights.iter().sum();
        let mut left = self.unit() * total;
        let mut last = None;
        for (position, weight) in weights.iter().enumerate() {
            if *weight > 0.0 {
                if left < *weight {
                    return Some(position);
                }
                left -= weight;
                last = Some(position);
            }
        }
        last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_numbers_and_another_stream_others() {
        let numbers = |seed, stream| {
            let mut draw = Draw::new(seed, stream);
            [draw.bits(), draw.bits(), draw.bits()]
        };
        assert_eq!(numbers(1, 2), numbers(1, 2));
        assert_ne!(numbers(1, 2), numbers(1, 3));
        assert_ne!(numbers(1, 2), numbers(2, 2));
    }

    #[test]
    fn skipping_failures_hits_as_often_as_trying_each() {
        let mut draw = Draw::new(7, 0);
        let (mut at, mut hits) = (0u64, 0u32);
        while at < 1_000_000 {
            at += draw.failures(0.001) + 1;
            hits += 1;
        }
        assert!((900..1100).contains(&hits), "{hits} hits of 1000 expected");
        assert_eq!(draw.failures(0.0), u64::MAX);
        assert_eq!(draw.failures(1.0), 0);
    }

    #[test]
    fn weights_decide_how_often_each_is_drawn() {
        let mut draw = Draw::new(3, 0);
        let mut counts = [0; 3];
        for _ in 0..10_000 {
            counts[draw.weighted(&[1.0, 0.0, 3.0]).expect("there is weight")] += 1;
        }
        assert_eq!(counts[1], 0);
        assert!((2300..2700).contains(&counts[0]), "{counts:?}");
        assert_eq!(draw.weighted(&[0.0]), None);
    }
}
