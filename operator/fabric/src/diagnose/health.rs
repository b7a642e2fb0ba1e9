//! The condition `FabricHealthy` and the list of suspects, in words.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::evidence::Evidence;
use super::sentence;
use super::state::{Case, CaseKey};
use super::verdict::{Health, Status, Summary, Suspect};
use crate::names::RnicName;

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
pub(super) fn health(evidence: &Evidence, summary: &Summary, suspects: &[Suspect]) -> Health {
    if summary.pairs == 0 {
        return unknown(
            "NothingProbed",
            format!(
                "no pair of RNICs is probed; {} RNICs take part",
                summary.rnics
            ),
            suspects,
        );
    }
    if summary.agents_reporting * 2 < summary.agents {
        return unknown(
            "WaitingForAgents",
            format!(
                "{} of {} agents report probes that can be judged; at least half must",
                summary.agents_reporting, summary.agents
            ),
            suspects,
        );
    }
    let affected: Vec<_> = suspects
        .iter()
        .map(|suspect| affected(evidence, &suspect.key))
        .collect();
    let is_wide = affected.iter().any(Option::is_none);
    let ill: BTreeSet<&RnicName> = affected.into_iter().flatten().flatten().collect();
    // RNICs whose port is down are planned no longer, but belong to the whole that the share is of.
    let planned = &evidence.planned;
    let unplanned = ill.iter().filter(|rnic| !planned.contains(rnic)).count();
    let all = summary.rnics + unplanned;
    let tolerated = usize::from(evidence.tolerance.max_unhealthy_percent);
    let share =
        sentence::ratio(ill.len() as u64, all as u64).map_or_else(String::new, sentence::percent);
    if ill.len() * 100 > tolerated * all || (is_wide && tolerated < 100) {
        let message = format!("{}{}", first(suspects), more(suspects));
        return Health {
            status: Status::False,
            reason: "SuspectsFound",
            message,
        };
    }
    let figures = figures(summary);
    if suspects.is_empty() {
        Health {
            status: Status::True,
            reason: "NoSuspects",
            message: figures,
        }
    } else {
        Health {
            status: Status::True,
            reason: "WithinTolerance",
            message: format!(
                "{} of {all} RNICs ({share}) are under suspicion, {tolerated} % are tolerated: {}{}; \
                 {figures}",
                ill.len(),
                first(suspects),
                more(suspects)
            ),
        }
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
