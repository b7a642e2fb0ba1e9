//! Who is to blame for what the flows of all nodes met: guilty elements with figures and words.
//!
//! The inference is [`crate::localise`]; here its components get the names that people know, what probes
//! cannot tell apart is said, and what is too uncertain is left out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::evidence::{Anomaly, AnomalyKind};
use super::facts::{Facts, Finding};
use super::hops::Hops;
use super::network::{Illness, Model, What};
use super::seen::{Seen, Sums};
use super::sentence;
use super::state::{CaseKey, State};
use super::trip::Trip;
use super::wiring::{Way, Wiring};
use crate::localise::{ComponentId, Priors, Suspect, localise};
use crate::names::RnicName;

/// Less sure than this names nobody,
const LEAST_CONFIDENCE: f64 = 0.5;
/// and less than this not even with the words that it may be another one.
const LEAST_OF_SEVERAL: f64 = 0.3;
/// This sure names at once.
const CERTAIN: f64 = 0.95;
/// So many lost probes are no accident.
const MANY_LOST: u64 = 20;
/// Several links of one switch may be that switch, once all agents have reported.
const SETTLE: Duration = Duration::from_secs(1);
/// Others this likely are asked hop probes about; how sure those are.
const SAME_BY_HOPS: f64 = 0.05;
const TOLD: f64 = 0.95;
/// How much more the guilty one must add to what hop probes met than any other.
const CLEARLY: f64 = 3.0;
/// Share of what makes the mildest of the slow flows slow that hop probes must have met as well.
const EXPLAINS: f64 = 0.5;
/// Fewer lost probes than this, over all agents, name nobody.
const FEWEST_LOST: u64 = 3;
/// Others this likely, compared with the suspect, cannot be told from it.
const SAME: f64 = 0.8;

/// Losses of our own probes: the background of a lossless fabric is tiny, a fault worth naming loses at
/// least half a percent, and now and then a single flow loses for reasons of its own.
const LOSS: Priors = Priors {
    background: 1e-5,
    mildest: 8e-3,
    usual: 1.0,
    outlier: 1e-3,
    faults: 0.5,
    mixed: 1.0,
    named: LEAST_CONFIDENCE,
};

/// Slow flows: a slow element makes most of the flows over it slow.
const LATENCY: Priors = Priors {
    background: 1e-3,
    mildest: 0.3,
    usual: 1.0,
    outlier: 1e-2,
    faults: 0.5,
    mixed: 1.0,
    named: LEAST_CONFIDENCE,
};

/// A guilty element.
#[derive(Clone, Debug)]
pub(super) struct Blamed {
    pub finding: Finding,
    /// What flows over it crossed; what explains them.
    pub ways: Vec<Way>,
}

/// Everybody who is to blame.
pub(super) fn blamed(
    facts: &Facts<'_>,
    wiring: &Wiring<'_>,
    seen: &Seen<'_>,
    state: &State,
) -> BTreeMap<CaseKey, Blamed> {
    let mut all: BTreeMap<CaseKey, Blamed> = BTreeMap::new();
    for (illness, priors) in [(Illness::Loss, LOSS), (Illness::Latency, LATENCY)] {
        let Some(model) = Model::build(facts, wiring, seen, illness) else {
            continue;
        };
        for suspect in localise(&model.network, &priors).suspects {
            let accusation = Accusation {
                facts,
                wiring,
                seen,
                state,
                model: &model,
                illness,
                suspect: &suspect,
            };
            let Some((key, blamed)) = accusation.read() else {
                continue;
            };
            match all.get_mut(&key) {
                // Loss is told first; one element is one case.
                Some(before) => {
                    let sure = before.finding.confidence.max(blamed.finding.confidence);
                    before.finding.confidence = sure;
                    before.ways.extend(blamed.ways);
                }
                None => {
                    all.insert(key, blamed);
                }
            }
        }
    }
    wait_for_siblings(wiring, &mut all);
    all
}

/// What is open already needs less to stay than to be named.
fn state_has(state: &State, key: &CaseKey) -> bool {
    state.cases.contains_key(key)
}

/// Makes elements that hang on one switch wait for each other.
fn wait_for_siblings(wiring: &Wiring<'_>, all: &mut BTreeMap<CaseKey, Blamed>) {
    let mut by_switch: BTreeMap<Arc<str>, BTreeSet<CaseKey>> = BTreeMap::new();
    for (key, blamed) in all.iter() {
        let ends = blamed.ways.iter().flat_map(|way| wiring.switches_of(way));
        for switch in ends {
            by_switch.entry(switch).or_default().insert(key.clone());
        }
    }
    for keys in by_switch.into_values().filter(|keys| keys.len() > 1) {
        for key in keys {
            if let Some(blamed) = all.get_mut(&key) {
                blamed.finding.settle = blamed.finding.settle.max(SETTLE);
            }
        }
    }
}

/// A suspect of the inference, about to be put into words.
struct Accusation<'a> {
    facts: &'a Facts<'a>,
    wiring: &'a Wiring<'a>,
    seen: &'a Seen<'a>,
    state: &'a State,
    model: &'a Model,
    illness: Illness,
    suspect: &'a Suspect,
}

impl Accusation<'_> {
    fn read(&self) -> Option<(CaseKey, Blamed)> {
        let mut what = self.model.what(self.suspect.component)?;
        let told = self.told_by_hops(what);
        let is_told = told.is_some();
        if let Some(told) = told {
            what = told;
        }
        let key = self.key(what);
        let mut same: Vec<CaseKey> = self
            .suspect
            .alternatives
            .iter()
            .filter(|(_, probability)| *probability >= self.suspect.confidence * SAME)
            .filter_map(|(id, _)| Some(self.key(self.model.what(*id)?)))
            .filter(|other| *other != key)
            .collect();
        same.sort_unstable();
        same.dedup();
        let mut sure = self.suspect.confidence + self.folded(&key);
        if is_told {
            let all = self
                .suspect
                .alternatives
                .iter()
                .map(|(_, p)| p)
                .sum::<f64>();
            sure = f64::max(sure, TOLD * (self.suspect.confidence + all));
            same.clear();
        }
        if sure < LEAST_OF_SEVERAL || (sure < LEAST_CONFIDENCE && same.is_empty()) {
            return None;
        }
        if sure < CERTAIN && self.is_mild_rnic(&key) {
            return None;
        }
        let ways = self.ways(what);
        let is_thin = self.suspect.flows.lost < FEWEST_LOST;
        if is_thin && !state_has(self.state, &key) {
            return None;
        }
        let evidence = self.sentence(&key, what, &ways, &same)?;
        let finding = Finding {
            confidence: percent(sure),
            evidence,
            settle: self.settle(sure),
        };
        Some((key, Blamed { finding, ways }))
    }

    /// Whether it is an RNIC that loses less than what makes an RNIC a suspect in this mesh: such a one is named only
    /// where nobody else can be meant. One that is named already stays.
    fn is_mild_rnic(&self, key: &CaseKey) -> bool {
        let both_ways = self.suspect.members.iter().map(|(_, loss)| loss);
        let timeouts = f64::max(self.suspect.loss, both_ways.sum());
        self.illness == Illness::Loss
            && matches!(key, CaseKey::Rnic(_))
            && timeouts < self.facts.evidence.rnic_timeout_ratio
            && !state_has(self.state, key)
    }

    /// A suspect that is not sure yet waits: for all agents to report, or where little was lost so far, until the
    /// losses that made it one have left the window.
    fn settle(&self, sure: f64) -> Duration {
        if sure >= CERTAIN {
            Duration::ZERO
        } else if self.suspect.flows.lost >= MANY_LOST && sure >= LEAST_CONFIDENCE {
            SETTLE
        } else {
            let window = self.facts.evidence.thresholds.window;
            window.saturating_add(SETTLE.saturating_mul(2))
        }
    }

    /// Who of those that probes between RNICs cannot tell apart it is by the word of hop probes, if they say.
    fn told_by_hops(&self, what: &'_ What) -> Option<&What> {
        let likely = |probability: f64| probability >= self.suspect.confidence * SAME_BY_HOPS;
        let others = self.suspect.alternatives.iter();
        let others = others.filter(|(_, probability)| likely(*probability));
        let others = others.filter_map(|(id, _)| self.model.what(*id));
        let mut candidates: Vec<&What> = vec![self.model.what(self.suspect.component)?];
        candidates.extend(others.filter(|other| self.key(other) != self.key(what)));
        if candidates.len() < 2 {
            return None;
        }
        let hops = Hops {
            wiring: self.wiring,
            seen: self.seen,
            illness: self.illness,
        };
        let mut scores: Vec<(f64, &What)> = Vec::new();
        for candidate in candidates {
            scores.extend(hops.score(candidate).map(|score| (score, candidate)));
        }
        scores.sort_by(|a, b| b.0.total_cmp(&a.0));
        let best = scores.first()?;
        let second = scores.get(1).map_or(0.0, |second| second.0);
        let enough = match self.illness {
            Illness::Loss => best.0 > 0.0,
            Illness::Latency => best.0 >= self.excess()? * EXPLAINS,
        };
        (enough && best.0 >= second * CLEARLY).then_some(best.1)
    }

    fn key(&self, what: &What) -> CaseKey {
        match what {
            What::Way(way) => self.wiring.key(way, self.state),
            What::Rnic(rnic) => CaseKey::Rnic(rnic.clone()),
            What::Cable(a, b) => CaseKey::Link(self.wiring.link_name(a, b, self.state)),
            What::Switch(name) => CaseKey::Switch(Arc::clone(name)),
            What::Host(node) => CaseKey::Host(node.clone()),
        }
    }

    /// Probability of what has the same name: the other direction of the same cable.
    fn folded(&self, key: &CaseKey) -> f64 {
        let others = self.suspect.alternatives.iter();
        let own = others.filter(|(id, _)| {
            let what = self.model.what(*id);
            what.is_some_and(|what| self.key(what) == *key)
        });
        own.map(|(_, probability)| probability).sum()
    }

    fn ways(&self, what: &What) -> Vec<Way> {
        let of = |id: &ComponentId| match self.model.what(*id) {
            Some(what) => ways_of(what),
            None => Vec::new(),
        };
        let members = self.suspect.members.iter().flat_map(|(id, _)| of(id));
        let mut ways: Vec<Way> = members.chain(ways_of(what)).collect();
        ways.sort_unstable();
        ways.dedup();
        ways
    }

    fn sums(&self, ways: &[Way]) -> Sums {
        let mut all = Sums::default();
        let sums = ways.iter().filter_map(|way| self.seen.sums(way));
        sums.for_each(|sums| all.add(sums));
        all
    }

    fn sentence(
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

    /// By how many seconds the mildest of the flows that are typically slow is; `None` where none is.
    fn excess(&self) -> Option<f64> {
        let anomalies = self.facts.anomalies().map(|(_, anomaly)| anomaly);
        let slow = anomalies.filter(|anomaly| anomaly.kind == AnomalyKind::Latency);
        let excess = slow.filter_map(|anomaly| anomaly.p50?.checked_sub(anomaly.baseline?));
        excess.min().map(|excess| excess.as_secs_f64())
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
        let limit = self.facts.evidence.thresholds.p99;
        match (worst, baseline) {
            (Some(worst), Some(baseline)) => format!(
                "makes round trips take up to {} (typical {})",
                sentence::span(worst),
                sentence::span(baseline)
            ),
            (Some(worst), None) => format!(
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

fn ways_of(what: &What) -> Vec<Way> {
    match what {
        What::Way(way) => vec![way.clone()],
        What::Rnic(rnic) => vec![Way::Out(rnic.clone()), Way::Into(rnic.clone())],
        What::Cable(a, b) => vec![
            Way::Link(Arc::clone(a), Arc::clone(b)),
            Way::Link(Arc::clone(b), Arc::clone(a)),
        ],
        What::Switch(_) | What::Host(_) => Vec::new(),
    }
}

fn apart(same: &[CaseKey]) -> String {
    if same.is_empty() {
        return String::new();
    }
    let names: Vec<String> = same.iter().take(3).map(ToString::to_string).collect();
    format!("; probes alone cannot tell it from {}", names.join(", "))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "between 1 and 99 by the clamp"
)]
fn percent(probability: f64) -> u8 {
    (probability * 100.0).round().clamp(1.0, 99.0) as u8
}
