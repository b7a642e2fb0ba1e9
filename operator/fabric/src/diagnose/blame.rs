//! Who is to blame for what the flows of all nodes met: guilty elements with figures and words.
//!
//! The inference is [`crate::localise`]; here its components get the names that people know, what probes
//! cannot tell apart is said, and what is too uncertain is left out.

mod choice;
mod wait;
mod words;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::facts::{Facts, Finding};
use super::network::{Illness, Model, What};
use super::seen::Seen;
use super::state::{CaseKey, State};
use super::wiring::{Way, Wiring};
use crate::localise::{ComponentId, Priors, Suspect, localise};
use crate::time::Timestamp;
use choice::Choice;

/// Less sure than this names nobody,
const LEAST_CONFIDENCE: f64 = 0.5;
/// and less than this not even with the words that it may be another one.
const LEAST_OF_SEVERAL: f64 = 0.3;
/// This sure names at once.
const CERTAIN: f64 = 0.95;
/// Fewer lost probes than this, over all agents, name nobody.
const FEWEST_LOST: u64 = 3;

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
    (state, down): (&State, &BTreeMap<CaseKey, Timestamp>),
    now: Timestamp,
) -> BTreeMap<CaseKey, Blamed> {
    let mut all: BTreeMap<CaseKey, Blamed> = BTreeMap::new();
    let mut models = Vec::new();
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
                down,
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
        models.push(model);
    }
    wait::for_each_other(wiring, state, &mut all);
    wait::for_full_windows((facts, wiring), (state, now), &models, &mut all);
    all
}

/// What is open already needs less to stay than to be named.
fn state_has(state: &State, key: &CaseKey) -> bool {
    state.cases.contains_key(key)
}

fn is_open(state: &State, key: &CaseKey) -> bool {
    state.cases.get(key).is_some_and(|case| case.open)
}

/// A suspect of the inference, about to be put into words.
struct Accusation<'a> {
    facts: &'a Facts<'a>,
    wiring: &'a Wiring<'a>,
    seen: &'a Seen<'a>,
    state: &'a State,
    /// What was lately down as a whole.
    down: &'a BTreeMap<CaseKey, Timestamp>,
    model: &'a Model,
    illness: Illness,
    suspect: &'a Suspect,
}

impl Accusation<'_> {
    fn read(&self) -> Option<(CaseKey, Blamed)> {
        let Choice {
            key,
            what,
            sure,
            same,
        } = self.choose()?;
        let several: f64 = same.iter().map(|(_, probability)| probability).sum();
        if sure < LEAST_OF_SEVERAL || sure + several < LEAST_CONFIDENCE {
            return None;
        }
        let ways = self.ways(what);
        let is_thin = self.suspect.flows.lost < FEWEST_LOST;
        if is_thin && !state_has(self.state, &key) {
            return None;
        }
        let same: Vec<CaseKey> = same.into_iter().map(|(key, _)| key).collect();
        let evidence = self.sentence(&key, what, &ways, &same)?;
        let finding = Finding {
            confidence: percent(sure),
            evidence,
            settle: self.settle((&key, sure), &ways),
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

    fn key(&self, what: &What) -> CaseKey {
        match what {
            What::Way(way) => self.wiring.key(way, self.state),
            What::Rnic(rnic) => CaseKey::Rnic(rnic.clone()),
            What::Cable(a, b) => CaseKey::Link(self.wiring.link_name(a, b, self.state)),
            What::Switch(name) => CaseKey::Switch(Arc::clone(name)),
            What::Host(node) => CaseKey::Host(node.clone()),
        }
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

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "between 1 and 99 by the clamp"
)]
fn percent(probability: f64) -> u8 {
    (probability * 100.0).round().clamp(1.0, 99.0) as u8
}
