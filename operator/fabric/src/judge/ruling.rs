//! The ruling, in the names of whoever owns the records.

use crate::localise::{ComponentId, Kind, Localisation, Suspect};

/// A link, switch or host by its nodes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Element {
    /// Its kind.
    pub kind: Kind,
    /// Two nodes of a link, as the fabric lists them; the one of a switch or host.
    pub nodes: Vec<String>,
    /// Of a link that loses in one direction: from where to where.
    pub direction: Option<(String, String)>,
}

/// What all flows together say.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ruling {
    /// The guilty, most certain first.
    pub verdicts: Vec<Verdict>,
    /// Estimated loss of a good link (ratio of packets).
    pub background: f64,
}

/// One that is guilty.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// Who.
    pub element: Element,
    /// Calibrated probability (0 to 1).
    pub confidence: f64,
    /// Share of packets lost (0 to 1); of a switch, the mean over the links that lose.
    pub loss: f64,
    /// One sentence with numbers.
    pub evidence: String,
}

pub(super) fn of(found: &Localisation, element: impl Fn(ComponentId) -> Option<Element>) -> Ruling {
    let mut verdicts: Vec<Verdict> = Vec::new();
    for suspect in &found.suspects {
        let Some(accused) = element(suspect.component) else {
            continue;
        };
        verdicts.push(Verdict {
            evidence: sentence(&accused, suspect, found.background),
            element: accused,
            confidence: suspect.confidence,
            loss: suspect.loss,
        });
    }
    Ruling {
        verdicts,
        background: found.background,
    }
}

fn sentence(element: &Element, suspect: &Suspect, background: f64) -> String {
    let flows = &suspect.flows;
    let name = match &element.direction {
        Some((from, to)) => format!("{from}–{to} (in that direction)"),
        None => element.nodes.join("–"),
    };
    let members = match element.kind {
        Kind::Switch | Kind::Host => format!(" on {} of its links", suspect.members.len()),
        Kind::Link | Kind::Rnic | Kind::Nuisance => String::new(),
    };
    format!(
        "{name} loses {}{members}; {} of {} flows with loss cross it ({} of their {} packets lost), so do {} \
         without loss; a good link loses {}",
        percent(suspect.loss),
        flows.lossy,
        flows.lossy.saturating_add(flows.lossy_elsewhere),
        flows.lost,
        flows.sent,
        flows.clean,
        percent(background),
    )
}

fn percent(ratio: f64) -> String {
    let percent = ratio * 100.0;
    if percent >= 9.95 {
        format!("{percent:.0} %")
    } else if percent >= 0.095 {
        format!("{percent:.1} %")
    } else {
        format!("{percent:.4} %")
    }
}
