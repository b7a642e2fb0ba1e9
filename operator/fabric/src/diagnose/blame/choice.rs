//! Which of the elements that may be guilty is named: the most likely one, once hop probes have had their say.

use super::super::evidence::AnomalyKind;
use super::super::hops::Hops;
use super::super::network::{Illness, What};
use super::super::state::CaseKey;
use super::{Accusation, CERTAIN, is_open};

/// How sure hop probes are of what makes flows slow.
const TOLD: f64 = 0.95;
/// How many times longer than any other the guilty one must make hop probes take.
const CLEARLY: f64 = 3.0;
/// Share of what makes the mildest of the slow flows slow that hop probes must have met as well. Of a link that is slow both
/// ways flows may meet twice as much as what is left once the ways home of other hop probes are taken from it.
const EXPLAINS: f64 = 0.35;
/// Others this likely, compared with the suspect, cannot be told from it.
const SAME: f64 = 0.4;
/// What is open already stays the one that is named while it is this likely, compared with the most likely one.
const STAYS: f64 = 0.25;

/// Who is named.
pub(super) struct Choice<'a> {
    pub key: CaseKey,
    pub what: &'a What,
    /// Probability (0 to 1).
    pub sure: f64,
    /// What cannot be told from it, with probabilities, most likely first.
    pub same: Vec<(CaseKey, f64)>,
}

struct Candidate<'a> {
    key: CaseKey,
    /// Its most likely form: one direction, or both.
    what: &'a What,
    probability: f64,
}

impl Accusation<'_> {
    pub(super) fn choose(&self) -> Option<Choice<'_>> {
        let mut candidates = self.candidates();
        if candidates.len() > 1 {
            match self.illness {
                Illness::Loss => self.weigh_by_losses(&mut candidates),
                Illness::Latency => self.weigh_by_delays(&mut candidates),
            }
        }
        candidates.sort_by(|a, b| {
            let by = b.probability.total_cmp(&a.probability);
            by.then_with(|| a.key.cmp(&b.key))
        });
        candidates.retain(|one| one.probability >= CERTAIN || !self.is_mild_rnic(&one.key));
        let most = candidates.first()?.probability;
        let stays = candidates.iter().position(|candidate| {
            // What was down as a whole has lost what could be its loss, however likely others are.
            let enough =
                candidate.probability >= most * STAYS || self.down.contains_key(&candidate.key);
            enough && is_open(self.state, &candidate.key)
        });
        let chosen = candidates.remove(stays.unwrap_or(0));
        let same = candidates.into_iter();
        let same = same.filter(|other| other.probability >= chosen.probability * SAME);
        Some(Choice {
            same: same.map(|other| (other.key, other.probability)).collect(),
            key: chosen.key,
            what: chosen.what,
            sure: chosen.probability,
        })
    }

    /// Everything that may be guilty, by name: both directions of a cable are one.
    fn candidates(&self) -> Vec<Candidate<'_>> {
        let own = (self.suspect.component, self.suspect.confidence);
        let all = std::iter::once(&own).chain(&self.suspect.alternatives);
        let mut candidates: Vec<Candidate<'_>> = Vec::new();
        let mut likeliest: Vec<f64> = Vec::new();
        for (id, probability) in all {
            let Some(what) = self.model.what(*id) else {
                continue;
            };
            let key = self.key(what);
            match candidates.iter().position(|known| known.key == key) {
                Some(at) => {
                    candidates[at].probability += probability;
                    if *probability > likeliest[at] {
                        likeliest[at] = *probability;
                        candidates[at].what = what;
                    }
                }
                None => {
                    likeliest.push(*probability);
                    candidates.push(Candidate {
                        key,
                        what,
                        probability: *probability,
                    });
                }
            }
        }
        candidates
    }

    fn hops(&self) -> Hops<'_> {
        Hops {
            wiring: self.wiring,
            seen: self.seen,
            illness: self.illness,
        }
    }

    /// Bayes: what hop probes lost on the way to each candidate, were it guilty, against what they would have lost
    /// were it not. One about which they say nothing keeps its odds.
    fn weigh_by_losses(&self, candidates: &mut [Candidate<'_>]) {
        let hops = self.hops();
        let all: f64 = candidates.iter().map(|one| one.probability).sum();
        for candidate in candidates.iter_mut() {
            let odds = hops.odds(candidate.what, self.suspect.loss);
            candidate.probability *= odds.unwrap_or(1.0);
        }
        scale(candidates, all);
    }

    /// Whom hop probes take much longer to than to all others, it is.
    fn weigh_by_delays(&self, candidates: &mut [Candidate<'_>]) {
        let Some(excess) = self.excess() else {
            return;
        };
        let hops = self.hops();
        let mut delays: Vec<(f64, usize)> = Vec::new();
        for (nth, candidate) in candidates.iter().enumerate() {
            delays.extend(hops.delay(candidate.what).map(|delay| (delay, nth)));
        }
        delays.sort_by(|a, b| b.0.total_cmp(&a.0));
        let second = delays.get(1).map_or(0.0, |(second, _)| *second);
        let best = delays.first().copied();
        let is_told = |delay: f64| delay >= excess * EXPLAINS && delay >= second * CLEARLY;
        let Some((_, told)) = best.filter(|(delay, _)| is_told(*delay)) else {
            return;
        };
        let all: f64 = candidates.iter().map(|one| one.probability).sum();
        let others = all - candidates[told].probability;
        let most = f64::max(candidates[told].probability, all * TOLD);
        for (nth, candidate) in candidates.iter_mut().enumerate() {
            candidate.probability = if nth == told {
                most
            } else {
                (all - most) * candidate.probability / others
            };
        }
    }

    /// By how many seconds the mildest of the flows that are typically slow is; `None` where none is.
    fn excess(&self) -> Option<f64> {
        let anomalies = self.facts.anomalies().map(|(_, anomaly)| anomaly);
        let slow = anomalies.filter(|anomaly| anomaly.kind == AnomalyKind::Latency);
        let excess = slow.filter_map(|anomaly| anomaly.p50?.checked_sub(anomaly.baseline?));
        excess.min().map(|excess| excess.as_secs_f64())
    }
}

/// Makes probabilities sum to `all` again.
fn scale(candidates: &mut [Candidate<'_>], all: f64) {
    let sum: f64 = candidates.iter().map(|one| one.probability).sum();
    for candidate in candidates.iter_mut() {
        candidate.probability *= all / sum;
    }
}
