//! The sentence that a guilty element is published with: what it does, in figures, and what cannot be told from it.

use super::super::evidence::{Anomaly, AnomalyKind};
use super::super::network::{Illness, What};
use super::super::seen::Sums;
use super::super::sentence;
use super::super::state::CaseKey;
use super::super::trip::Trip;
use super::super::wiring::Way;
use super::Accusation;
use crate::names::RnicName;

impl Accusation<'_> {
    fn sums(&self, ways: &[Way]) -> Sums {
        let mut all = Sums::default();
        let sums = ways.iter().filter_map(|way| self.seen.sums(way));
        sums.for_each(|sums| all.add(sums));
        all
    }

    pub(super) fn sentence(
        &self,
        key: &CaseKey,
        what: &What,
        ways: &[Way],
        same: &[CaseKey],
    ) -> Option<String> {
        let sums = self.sums(ways);
        let flows = &self.suspect.flows;
        let all = flows.lossy + flows.lossy_elsewhere;
        let (ill, figures) = match self.illness {
            Illness::Loss => {
                let (sent, lost) = if sums.sent > 0 {
                    (sums.sent, sums.lost)
                } else {
                    (flows.sent, flows.lost)
                };
                let share = sentence::percent(sentence::ratio(lost, sent)?);
                let window = sentence::span(self.facts.evidence.thresholds.window);
                let figures = format!("lost {lost} of {sent} probes ({share}) in {window}");
                ("lossy", figures)
            }
            Illness::Latency => ("slow", self.slowness(ways)),
        };
        let clean = match self.illness {
            Illness::Loss => sums.crossed.saturating_sub(sums.lossy),
            Illness::Latency => sums.crossed.saturating_sub(sums.slow),
        };
        let mut text = format!("{key}{} {figures}", self.direction(what));
        text.push_str(&format!(
            "; {} of {all} {ill} flows cross it, {clean} clean {}",
            flows.lossy,
            if clean == 1 { "flow does" } else { "flows do" },
        ));
        for part in [self.access(key), self.errors(key), apart(same)] {
            text.push_str(&part);
        }
        Some(sentence::bounded(text))
    }

    /// Which way of a link is known to be ill, where it is not both.
    fn direction(&self, what: &What) -> String {
        match what {
            What::Way(Way::Link(a, b)) => format!(" (from {a} to {b})"),
            What::Way(Way::Out(_)) => " (sending)".to_owned(),
            What::Way(Way::Into(_)) => " (receiving)".to_owned(),
            What::Way(Way::Tor(group)) => format!(" (the switch of group {group})"),
            What::Way(Way::Between(a, b)) => {
                format!(
                    " (some link between groups {a} and {b}; paths are not traced, so which one is not known)"
                )
            }
            _ => String::new(),
        }
    }

    /// How slow, against what.
    fn slowness(&self, ways: &[Way]) -> String {
        let crosses = |(source, anomaly): &(RnicName, &Anomaly)| {
            let trip = Trip::round(self.wiring, (source, anomaly), self.seen, 0);
            anomaly.kind == AnomalyKind::Latency && trip.all().any(|way| ways.contains(way))
        };
        let latencies: Vec<&Anomaly> = self
            .facts
            .anomalies()
            .filter(crosses)
            .map(|(_, anomaly)| anomaly)
            .collect();
        let typical = latencies
            .iter()
            .filter_map(|anomaly| anomaly.p50.or(anomaly.p99));
        let worst = typical.max();
        let baseline = latencies
            .iter()
            .filter_map(|anomaly| anomaly.baseline)
            .min();
        // The limit is one for the slowest of a window.
        let slowest = latencies
            .iter()
            .filter_map(|anomaly| anomaly.p99.max(anomaly.p50))
            .max();
        let limit = self.facts.evidence.thresholds.p99;
        match (worst, baseline, slowest) {
            (Some(worst), Some(baseline), _) => format!(
                "makes round trips take up to {} (typical {})",
                sentence::span(worst),
                sentence::span(baseline)
            ),
            (_, None, Some(worst)) => format!(
                "makes round trips take up to {} (limit {})",
                sentence::span(worst),
                sentence::span(limit)
            ),
            _ => "makes round trips slow".to_owned(),
        }
    }

    /// A host's only access link cannot be told from its RNIC.
    fn access(&self, key: &CaseKey) -> String {
        let CaseKey::Rnic(rnic) = key else {
            return String::new();
        };
        match self.wiring.leaf(rnic) {
            Some(leaf) => format!("; its access link to {leaf} cannot be told from it by probes"),
            None => "; its access link cannot be told from it by probes".to_owned(),
        }
    }

    /// What the port itself counted.
    fn errors(&self, key: &CaseKey) -> String {
        let CaseKey::Rnic(rnic) = key else {
            return String::new();
        };
        let errors = self.facts.tally(rnic).map(|tally| &tally.errors);
        let errors: Vec<String> = errors
            .into_iter()
            .flatten()
            .take(3)
            .map(|(name, by)| format!("{name} +{by}"))
            .collect();
        if errors.is_empty() {
            String::new()
        } else {
            format!("; its port counted {}", errors.join(", "))
        }
    }
}

fn apart(same: &[CaseKey]) -> String {
    if same.is_empty() {
        return String::new();
    }
    let names: Vec<String> = same.iter().take(3).map(ToString::to_string).collect();
    format!("; probes alone cannot tell it from {}", names.join(", "))
}
