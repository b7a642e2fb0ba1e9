//! Loss anomalies.

use super::find::{Context, Findings, Judgement, Kind};
use super::window::Tally;

/// Fewer lost probes than this open nothing: one or two are within what any network drops.
const FEWEST_LOST: u64 = 3;

/// With more unjudged probes than this, in relation to the judged ones, a clean window proves nothing: on
/// a starved host just those probes that got no answer are the ones that cannot be judged.
const UNJUDGED_SHARE: f64 = 0.25;

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

/// A finding that is `held` stays while the share is over the limit, however few probes there are, and
/// while so many probes are unjudged that the others prove nothing.
fn verdict(tally: &Tally, limit: f64, held: bool) -> Judgement {
    let Some(ratio) = tally.loss_ratio() else {
        return Judgement::NoEvidence;
    };
    let enough = held || tally.lost >= FEWEST_LOST;
    let judged = tally.ok + tally.late + tally.lost;
    let unjudged = tally.host_delayed + tally.unresolved;
    if enough && ratio > limit {
        Judgement::Ill(ratio)
    } else if unjudged as f64 > judged as f64 * UNJUDGED_SHARE {
        Judgement::NoEvidence
    } else {
        Judgement::Clean
    }
}
