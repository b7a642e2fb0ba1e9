//! Loss anomalies.

use super::{Context, Findings, Judgement, Kind};
use crate::model::Tally;

/// Fewer lost probes than this open nothing: one or two are within what any network drops.
const FEWEST_LOST: u64 = 3;

/// Judges the target as a whole, or else each of its flows.
pub(super) fn judge(context: &Context<'_>, limit: f64, found: &mut Findings) {
    let held = context.held(Kind::Loss, None);
    match verdict(&context.window.tally, limit, held.is_some()) {
        Judgement::Ill(severity) => {
            return found.open.push(context.finding(Kind::Loss, None, severity));
        }
        Judgement::NoEvidence => {
            if let Some(held) = held {
                return found.open.push(held.clone());
            }
        }
        Judgement::Clean => {}
    }
    for (position, flow) in context.window.flows.iter().enumerate() {
        let held = context.held(Kind::Loss, Some(flow.flow));
        match verdict(&flow.tally, limit, held.is_some()) {
            Judgement::Ill(severity) => {
                found
                    .open
                    .push(context.finding(Kind::Loss, Some(position), severity));
            }
            Judgement::NoEvidence => found.open.extend(held.cloned()),
            Judgement::Clean => {}
        }
    }
}

/// A finding that is `held` stays while the share is over the limit, however few probes there are.
fn verdict(tally: &Tally, limit: f64, held: bool) -> Judgement {
    let Some(ratio) = tally.loss_ratio() else {
        return Judgement::NoEvidence;
    };
    let enough = held || tally.lost >= FEWEST_LOST;
    if enough && ratio > limit {
        Judgement::Ill(ratio)
    } else {
        Judgement::Clean
    }
}
