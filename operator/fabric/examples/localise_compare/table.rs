//! Figures of methods, and how far our confidence can be believed.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::world::Guilty;

/// Verdicts of one method over the cases of one class.
#[derive(Clone, Copy, Default)]
pub struct Score {
    right: usize,
    wrong: usize,
    missed: usize,
    time: Duration,
}

impl Score {
    pub fn add(&mut self, truth: &[Guilty], named: &[Guilty], time: Duration) {
        let truth: BTreeSet<&Guilty> = truth.iter().collect();
        let named: BTreeSet<&Guilty> = named.iter().collect();
        let right = truth.intersection(&named).count();
        self.right += right;
        self.wrong += named.len() - right;
        self.missed += truth.len() - right;
        self.time += time;
    }

    pub fn row(&self, class: &str, method: &str, cases: u64) -> String {
        let ratio = |part: usize, whole: usize| match whole {
            0 => "–".to_owned(),
            _ => format!("{:.3}", part as f64 / whole as f64),
        };
        format!(
            "| {class} | {method} | {} | {} | {} | {:.1} |",
            ratio(self.right, self.right + self.wrong),
            ratio(self.right, self.right + self.missed),
            self.wrong,
            self.time.as_secs_f64() * 1e3 / cases as f64,
        )
    }
}

/// Verdicts by confidence.
#[derive(Default)]
pub struct Reliability {
    /// Verdicts, right ones, sum of confidence.
    bins: [(usize, usize, f64); 6],
}

impl Reliability {
    const LABELS: [&str; 6] = [
        "below 60 %",
        "60–70 %",
        "70–80 %",
        "80–90 %",
        "90–99 %",
        "99 % and more",
    ];

    pub fn add(&mut self, confidence: f64, right: bool) {
        let bin = match confidence {
            0.99.. => 5,
            0.9.. => 4,
            0.8.. => 3,
            0.7.. => 2,
            0.6.. => 1,
            _ => 0,
        };
        self.bins[bin].0 += 1;
        self.bins[bin].1 += usize::from(right);
        self.bins[bin].2 += confidence;
    }

    pub fn rows(&self) -> Vec<String> {
        let filled = self
            .bins
            .iter()
            .zip(Self::LABELS)
            .filter(|(bin, _)| bin.0 > 0);
        filled
            .map(|((verdicts, right, sum), label)| {
                let count = *verdicts as f64;
                let (mean, right) = (100.0 * sum / count, 100.0 * *right as f64 / count);
                format!("| {label} | {verdicts} | {mean:.1} % | {right:.1} % |")
            })
            .collect()
    }
}
