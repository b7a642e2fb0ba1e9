//! The condition `FabricHealthy` and the list of suspects, in words.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::evidence::Evidence;
use super::sentence;
use super::state::{Case, CaseKey};
use super::verdict::{Health, Status, Summary, Suspect};
use crate::names::RnicName;
use crate::time::Timestamp;

/// Every open case as a suspect: RNICs before paths, the surest first, then the oldest, then by name.
pub(super) fn suspects(cases: &BTreeMap<CaseKey, Case>) -> Vec<Suspect> {
    let open = cases.iter().filter(|(_, case)| case.open);
    let mut suspects: Vec<Suspect> = open.map(|(key, case)| case.suspect(key)).collect();
    suspects.sort_by(|a, b| {
        let rank = |s: &Suspect| (is_pair(&s.key), Reverse(s.confidence), s.since);
        rank(a).cmp(&rank(b)).then_with(|| a.key.cmp(&b.key))
    });
    suspects
}

/// The RNICs that a suspect hurts; `None` for links and switches between groups, which may hurt any.
fn affected<'a>(evidence: &'a Evidence, key: &'a CaseKey) -> Option<Vec<&'a RnicName>> {
    let planned = &evidence.planned;
    match key {
        CaseKey::Pair(a, b) => Some(vec![a, b]),
        CaseKey::Rnic(rnic) => Some(vec![rnic]),
        CaseKey::Host(node) => {
            let own = planned.rnics().iter().filter(|rnic| rnic.node == *node);
            Some(own.collect())
        }
        CaseKey::Switch(_) | CaseKey::Link(_) | CaseKey::Groups(..) => None,
    }
}

const fn is_pair(key: &CaseKey) -> bool {
    matches!(key, CaseKey::Pair(..) | CaseKey::Groups(..))
}

/// Whether the fabric is healthy, and why.
pub(super) fn health(
    evidence: &Evidence,
    summary: &Summary,
    suspects: &[Suspect],
    now: Timestamp,
) -> Health {
    if let Some((reason, why)) = too_little(summary) {
        // What is seen to be ill needs nobody else's word; what was seen to be so once does.
        let ill_now = suspects.iter().filter(|suspect| suspect.last_seen == now);
        let ill_now: Vec<Suspect> = ill_now.cloned().collect();
        return match Share::of(evidence, summary, &ill_now).is_too_large(evidence) {
            true => found(suspects, &format!("; {why}")),
            false => unknown(reason, why, suspects),
        };
    }
    let share = Share::of(evidence, summary, suspects);
    if share.is_too_large(evidence) {
        return found(suspects, "");
    }
    let figures = figures(summary);
    if suspects.is_empty() {
        return Health {
            status: Status::True,
            reason: "NoSuspects",
            message: figures,
        };
    }
    let Share { ill, all, .. } = share;
    let percent =
        sentence::ratio(ill as u64, all as u64).map_or_else(String::new, sentence::percent);
    Health {
        status: Status::True,
        reason: "WithinTolerance",
        message: format!(
            "{ill} of {all} RNICs ({percent}) are under suspicion, {} % are tolerated: {}{}; {figures}",
            evidence.tolerance.max_unhealthy_percent,
            first(suspects),
            more(suspects)
        ),
    }
}

/// Why what is probed does not suffice to call the fabric healthy.
fn too_little(summary: &Summary) -> Option<(&'static str, String)> {
    if summary.pairs == 0 {
        let why = format!(
            "no pair of RNICs is probed; {} RNICs take part",
            summary.rnics
        );
        return Some(("NothingProbed", why));
    }
    (summary.agents_reporting * 2 < summary.agents).then(|| {
        let why = format!(
            "{} of {} agents report probes that can be judged; at least half must",
            summary.agents_reporting, summary.agents
        );
        ("WaitingForAgents", why)
    })
}

/// How much of a mesh suspects hurt.
struct Share {
    ill: usize,
    all: usize,
    /// One of them may hurt any RNIC.
    is_wide: bool,
}

impl Share {
    fn of(evidence: &Evidence, summary: &Summary, suspects: &[Suspect]) -> Self {
        let affected: Vec<_> = suspects
            .iter()
            .map(|suspect| affected(evidence, &suspect.key))
            .collect();
        let is_wide = affected.iter().any(Option::is_none);
        let ill: BTreeSet<&RnicName> = affected.into_iter().flatten().flatten().collect();
        // RNICs whose port is down are planned no longer, but belong to the whole that the share is of.
        let planned = &evidence.planned;
        let unplanned = ill.iter().filter(|rnic| !planned.contains(rnic)).count();
        Self {
            ill: ill.len(),
            all: summary.rnics + unplanned,
            is_wide,
        }
    }

    fn is_too_large(&self, evidence: &Evidence) -> bool {
        let tolerated = usize::from(evidence.tolerance.max_unhealthy_percent);
        self.ill * 100 > tolerated * self.all || (self.is_wide && tolerated < 100)
    }
}

fn found(suspects: &[Suspect], besides: &str) -> Health {
    Health {
        status: Status::False,
        reason: "SuspectsFound",
        message: format!("{}{}{besides}", first(suspects), more(suspects)),
    }
}

fn unknown(reason: &'static str, why: String, suspects: &[Suspect]) -> Health {
    let message = if suspects.is_empty() {
        why
    } else {
        format!("{why}; still open: {}{}", first(suspects), more(suspects))
    };
    Health {
        status: Status::Unknown,
        reason,
        message,
    }
}

fn first(suspects: &[Suspect]) -> &str {
    suspects.first().map_or("", |suspect| &suspect.evidence)
}

fn more(suspects: &[Suspect]) -> String {
    match suspects.len() {
        0 | 1 => String::new(),
        2 => "; and 1 more suspect".to_owned(),
        count => format!("; and {} more suspects", count - 1),
    }
}

/// `8 RNICs, 24 pairs probed, loss 0 %, p99 340 µs`.
fn figures(summary: &Summary) -> String {
    let loss = summary
        .loss_ratio
        .map_or_else(|| "unknown".to_owned(), sentence::percent);
    let p99 = summary
        .p99
        .map_or_else(|| "unknown".to_owned(), sentence::span);
    format!(
        "{} RNICs, {} pairs probed, loss {loss}, p99 {p99}",
        summary.rnics, summary.pairs
    )
}
