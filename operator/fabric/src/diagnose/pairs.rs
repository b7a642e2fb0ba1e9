//! Paths between two RNICs: which are ill, which are known to be well, which lose most.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

use super::cases::Observation;
use super::evidence::{AgentState, Anomaly, AnomalyKind};
use super::facts::{Facts, Finding, Standing};
use super::sentence;
use super::state::CaseKey;
use super::verdict::{PairFigures, Verdict};
use crate::names::RnicName;
use crate::plan::ProbeClass;
use crate::time::Timestamp;

/// What one RNIC reports about its path to another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Direction {
    pub sent: u64,
    pub lost: u64,
    /// Probes that the latency figure is of.
    pub timed: u64,
    pub p99: Option<Duration>,
    /// UDP source ports of the ill flows, where only single flows are ill.
    pub flows: Vec<u16>,
    /// Whether the target as a whole is ill in some class.
    pub whole: bool,
    /// Whether the peer answered over plain IP meanwhile; `Some(false)` once it did not.
    pub ip: Option<bool>,
}

/// What is reported about a path, from its smaller named end and from the other one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Reported {
    pub forth: Option<Direction>,
    pub back: Option<Direction>,
}

/// What an end of a path has to say about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// It lists the path among its anomalies.
    Ill,
    /// It probes the path, and its report does not list it.
    Well,
    /// It probes the path, but its word is missing or does not count.
    Silent,
    /// It does not probe the path.
    NotPlanned,
}

/// Every ill path with its figures and words.
pub(super) fn ill(facts: &Facts<'_>) -> BTreeMap<CaseKey, Finding> {
    reported(facts)
        .into_iter()
        .filter_map(|(key, reported)| {
            let CaseKey::Pair(a, b) = &key else {
                return None;
            };
            let words = (
                word(facts, (a, b), reported.forth.is_some()),
                word(facts, (b, a), reported.back.is_some()),
            );
            let finding = Finding {
                confidence: confidence(facts, &reported, words),
                evidence: sentence::pair((a, b), &reported, words, &facts.evidence.thresholds),
                settle: settle(facts),
            };
            Some((key, finding))
        })
        .collect()
}

/// Who loses answers sees ill flows first; the peer whose links lose them lists those so much later.
const LINKS_FOLLOW: Duration = Duration::from_secs(2);

/// Where links are reported, an element may turn out to be to blame.
fn settle(facts: &Facts<'_>) -> Duration {
    if facts.has_links() {
        facts.evidence.thresholds.window.saturating_mul(3)
    } else if facts.is_traced() {
        LINKS_FOLLOW
    } else {
        Duration::ZERO
    }
}

fn reported(facts: &Facts<'_>) -> BTreeMap<CaseKey, Reported> {
    let mut pairs: BTreeMap<CaseKey, Reported> = BTreeMap::new();
    for ((source, target), direction) in directions(facts) {
        let forth = source <= target;
        let reported = pairs.entry(CaseKey::pair(source, target)).or_default();
        if forth {
            reported.forth = Some(direction);
        } else {
            reported.back = Some(direction);
        }
    }
    pairs
}

/// Anomalies summed per prober and target. Where a class reports both the target as a whole and single
/// flows of it, the flows are part of the whole and not counted again.
fn directions(facts: &Facts<'_>) -> BTreeMap<(RnicName, RnicName), Direction> {
    let mut by_target: BTreeMap<(RnicName, RnicName), Vec<&Anomaly>> = BTreeMap::new();
    for (source, anomaly) in facts.anomalies() {
        by_target
            .entry((source, anomaly.target.clone()))
            .or_default()
            .push(anomaly);
    }
    by_target
        .into_iter()
        .map(|(path, anomalies)| (path, sum(&anomalies)))
        .collect()
}

fn sum(anomalies: &[&Anomaly]) -> Direction {
    let whole = |kind: AnomalyKind, class: ProbeClass| {
        anomalies
            .iter()
            .any(|other| other.flow.is_none() && other.kind == kind && other.class == class)
    };
    let mut direction = Direction::default();
    for anomaly in anomalies {
        let covered = anomaly.flow.is_some() && whole(anomaly.kind, anomaly.class);
        if let Some(ip) = anomaly.ip_reachable {
            direction.ip = Some(direction.ip.unwrap_or(true) && ip);
        }
        if covered {
            continue;
        }
        match anomaly.flow {
            Some(port) => direction.flows.push(port),
            None => direction.whole = true,
        }
        match anomaly.kind {
            AnomalyKind::Loss => {
                direction.sent = direction.sent.saturating_add(anomaly.sent);
                direction.lost = direction
                    .lost
                    .saturating_add(anomaly.lost.min(anomaly.sent));
            }
            AnomalyKind::Latency => {
                direction.timed = direction.timed.saturating_add(anomaly.sent);
                direction.p99 = direction.p99.max(anomaly.p99);
            }
        }
    }
    direction.flows.sort_unstable();
    direction.flows.dedup();
    direction
}

fn word(facts: &Facts<'_>, (from, to): (&RnicName, &RnicName), ill: bool) -> Word {
    if ill {
        return Word::Ill;
    }
    if !facts.evidence.planned.probes(from, to) {
        return Word::NotPlanned;
    }
    let omitted = facts
        .report(&from.node)
        .is_none_or(|report| report.anomalies_omitted > 0);
    if omitted || facts.tally(from).is_none() {
        Word::Silent
    } else {
        Word::Well
    }
}

/// How sure it is that the path is ill, in steps of five percent: probability that so much loss is no
/// accident of a path just at the threshold (score test; the normal distribution is approximated by the
/// logistic one), or that so many slow answers are none (Wilson's lower bound at 95 %). Which of the
/// path's elements is ill is not known, so it is never certain, and less so if the other end disagrees.
fn confidence(facts: &Facts<'_>, reported: &Reported, words: (Word, Word)) -> u8 {
    let directions = || reported.forth.iter().chain(&reported.back);
    let sent: u64 = directions().map(|direction| direction.sent).sum();
    let lost: u64 = directions().map(|direction| direction.lost).sum();
    let limit = facts.evidence.thresholds.loss_ratio.clamp(1e-6, 1.0 - 1e-6);
    let by_loss = sentence::ratio(lost, sent).map_or(0.0, |ratio| {
        let deviation = (limit * (1.0 - limit) / as_f64(sent)).sqrt();
        1.0 / (1.0 + (-1.702 * (ratio - limit) / deviation).exp())
    });
    let timed: u64 = directions().map(|direction| direction.timed).sum();
    let by_latency = as_f64(timed) / (as_f64(timed) + 3.84);
    let most = match words {
        (Word::Ill, Word::Ill) => 0.95,
        (Word::Well, _) | (_, Word::Well) => 0.80,
        _ => 0.90,
    };
    let sure = f64::max(by_loss, by_latency).min(most);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 0 and 19 by the bounds above"
    )]
    let steps = (sure * 20.0 + 1e-9) as u8;
    steps.max(1) * 5
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a count of probes in one window"
)]
const fn as_f64(count: u64) -> f64 {
    count as f64
}

/// What the evidence says about a path that nobody lists as ill. `last_seen` is when it last was.
pub(super) fn observe(
    facts: &Facts<'_>,
    ill: &BTreeMap<CaseKey, Finding>,
    (a, b): (&RnicName, &RnicName),
    last_seen: Timestamp,
) -> Observation {
    let standings = [facts.standing(a), facts.standing(b)];
    if standings.contains(&Standing::Left) {
        return Observation::Left;
    }
    let words = [word(facts, (a, b), false), word(facts, (b, a), false)];
    let well = match words {
        [Word::NotPlanned, Word::NotPlanned] => {
            standings == [Standing::Active; 2]
                && [a, b].into_iter().all(|rnic| is_well(facts, ill, rnic))
        }
        [forth, back] => {
            [forth, back]
                .iter()
                .all(|word| matches!(word, Word::Well | Word::NotPlanned))
                && (forth != Word::Well || really_probed(facts, (a, b), last_seen))
                && (back != Word::Well || really_probed(facts, (b, a), last_seen))
        }
    };
    if well {
        Observation::Clean
    } else {
        Observation::NoEvidence
    }
}

/// Whether `from`'s silence about the path is a measurement. If it could not resolve some peer, that peer
/// may be this one, and the path was not probed at all. A few unresolved probes cannot be all that went
/// to one peer; else the peer's own word is asked for, from about when the path was last seen ill or later
/// (both ends write when the path gets well, a settled window behind).
fn really_probed(
    facts: &Facts<'_>,
    (from, to): (&RnicName, &RnicName),
    last_seen: Timestamp,
) -> bool {
    let targets = facts.evidence.planned.targets(from) as u64;
    let resolved = facts.tally(from).is_some_and(|tally| {
        let half_a_target = tally.sent / targets.max(1) / 2;
        tally.unresolved == 0 || tally.unresolved < half_a_target
    });
    let lag = facts.evidence.thresholds.window.saturating_mul(2);
    let heard = || {
        let report = facts.report(&to.node);
        let end = report.and_then(|report| report.window_end);
        end.is_some_and(|end| end.after(lag) >= last_seen)
    };
    resolved || heard()
}

/// Whether an RNIC, judged by everything else it probes, is well: stands in for a path that is no longer
/// probed.
fn is_well(facts: &Facts<'_>, ill: &BTreeMap<CaseKey, Finding>, rnic: &RnicName) -> bool {
    let named = ill.keys().any(|key| match key {
        CaseKey::Pair(a, b) => a == rnic || b == rnic,
        _ => false,
    });
    let within = |lost, judged| {
        let ratio = sentence::ratio(lost, judged);
        ratio.is_some_and(|ratio| ratio <= facts.evidence.thresholds.loss_ratio)
    };
    let tally = facts.tally(rnic);
    !named
        && facts.agent(&rnic.node) == Some(AgentState::Reporting)
        && tally.is_some_and(|tally| within(tally.lost, tally.judged()))
}

/// The paths that lose most, worst first.
pub(super) fn worst(facts: &Facts<'_>) -> Vec<PairFigures> {
    let mut worst: Vec<PairFigures> = directions(facts)
        .into_iter()
        .map(|((source, target), direction)| PairFigures {
            source,
            target,
            sent: direction.sent,
            lost: direction.lost,
            p99: direction.p99,
        })
        .collect();
    // Compares lost/sent exactly, by cross-multiplication.
    worst.sort_by(|a, b| {
        let share =
            |x: &PairFigures, y: &PairFigures| u128::from(x.lost) * u128::from(y.sent.max(1));
        share(b, a)
            .cmp(&share(a, b))
            .then_with(|| {
                let rest = |x: &PairFigures| (Reverse(x.lost), Reverse(x.p99));
                rest(a).cmp(&rest(b))
            })
            .then_with(|| (&a.source, &a.target).cmp(&(&b.source, &b.target)))
    });
    worst.truncate(Verdict::MAX_WORST_PAIRS);
    worst
}
