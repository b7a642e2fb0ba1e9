//! Evidence in words. Whoever reads it was just woken up: names, numbers, and what is *not* the cause.

use std::fmt::Write as _;
use std::time::Duration;

use super::facts::Standing;
use super::pairs::{Direction, Reported, Word};
use super::state::Ended;
use crate::names::RnicName;
use crate::plan::Thresholds;
use crate::time::Timestamp;

/// Longest sentence that the API takes, in characters.
const MAX_CHARS: usize = 512;

/// Source ports of flows listed at most.
const MAX_FLOWS: usize = 3;

/// Share of `part` in `whole`; `None` of nothing.
#[expect(
    clippy::cast_precision_loss,
    reason = "counts of probes, for people and thresholds"
)]
pub(super) fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// About an RNIC whose port is not active or gone; `None` where it is not that.
pub(super) fn rnic(rnic: &RnicName, standing: Standing<'_>) -> Option<String> {
    let sentence = match standing {
        Standing::Down { state, physical } => {
            let physical = match physical {
                "" => String::new(),
                physical => format!(" (physical state {physical})"),
            };
            format!(
                "{rnic}: its own agent reports port {} in state {state}{physical}; \
                 check cable, transceiver and switch port",
                rnic.port
            )
        }
        Standing::Gone => format!(
            "{rnic}: its own agent no longer finds the device; it was removed, or its driver failed \
             (see the kernel log of {})",
            rnic.node
        ),
        Standing::Active | Standing::Unknown | Standing::Left => return None,
    };
    Some(bounded(sentence))
}

/// About an ill path.
pub(super) fn pair(
    (a, b): (&RnicName, &RnicName),
    reported: &Reported,
    words: (Word, Word),
    thresholds: &Thresholds,
) -> String {
    let directions: Vec<&Direction> = reported.forth.iter().chain(&reported.back).collect();
    let mut parts = Vec::new();
    let sent: u64 = directions.iter().map(|direction| direction.sent).sum();
    let lost: u64 = directions.iter().map(|direction| direction.lost).sum();
    if let Some(share) = ratio(lost, sent) {
        parts.push(format!(
            "lost {lost} of {sent} probes ({}) in {}",
            percent(share),
            span(thresholds.window)
        ));
    }
    if let Some(p99) = directions
        .iter()
        .filter_map(|direction| direction.p99)
        .max()
    {
        parts.push(format!(
            "took {} (limit {})",
            span(p99),
            span(thresholds.p99)
        ));
    }
    let mut sentence = format!("{a} ↔ {b} {}", parts.join(" and "));
    for part in [
        flows(&directions),
        Some(seen_from((a, b), words)),
        ip(&directions),
    ]
    .into_iter()
    .flatten()
    {
        sentence.push_str(&part);
    }
    bounded(sentence)
}

/// Which flows, where only single ones are ill: a hint at one of several parallel paths.
fn flows(directions: &[&Direction]) -> Option<String> {
    if directions.iter().any(|direction| direction.whole) {
        return None;
    }
    let mut ports: Vec<u16> = directions
        .iter()
        .flat_map(|d| d.flows.iter().copied())
        .collect();
    ports.sort_unstable();
    ports.dedup();
    let shown: Vec<String> = ports.iter().take(MAX_FLOWS).map(u16::to_string).collect();
    let more = ports.len().saturating_sub(MAX_FLOWS);
    let mut text = format!(" on single flows (UDP source port {}", shown.join(", "));
    if more > 0 {
        // Writing to a String cannot fail.
        write!(text, " and {more} more").ok();
    }
    text.push(')');
    Some(text)
}

fn seen_from((a, b): (&RnicName, &RnicName), words: (Word, Word)) -> String {
    let one = |here: &RnicName, there: &RnicName, word: Word| {
        let why = match word {
            Word::Well => format!("{} sees nothing wrong", there.node),
            Word::Silent => format!("no report from {}", there.node),
            Word::Ill | Word::NotPlanned => format!("{} does not probe it", there.node),
        };
        format!(", seen from {} only: {why}", here.node)
    };
    match words {
        (Word::Ill, Word::Ill) => ", both directions".to_owned(),
        (Word::Ill, other) => one(a, b, other),
        (other, _) => one(b, a, other),
    }
}

fn ip(directions: &[&Direction]) -> Option<String> {
    let answers: Vec<bool> = directions
        .iter()
        .filter_map(|direction| direction.ip)
        .collect();
    if answers.is_empty() {
        None
    } else if answers.into_iter().all(|fine| fine) {
        Some("; IP between them is fine".to_owned())
    } else {
        Some("; IP between them fails too".to_owned())
    }
}

/// `15 %`, `2.4 %`, `0.03 %`: two digits that mean something.
pub(super) fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if percent == 0.0 || percent >= 9.95 {
        format!("{percent:.0} %")
    } else if percent >= 0.095 {
        format!("{percent:.1} %")
    } else {
        format!("{percent:.2} %")
    }
}

/// `340 µs`, `2.3 ms`, `5 s`, `12 min`.
pub(super) fn span(span: Duration) -> String {
    if span >= Duration::from_mins(2) {
        return format!("{:.0} min", span.as_secs_f64() / 60.0);
    }
    let (value, unit) = match span.as_nanos() {
        0..1_000 => return format!("{} ns", span.as_nanos()),
        1_000..1_000_000 => (span.as_secs_f64() * 1e6, "µs"),
        1_000_000..1_000_000_000 => (span.as_secs_f64() * 1e3, "ms"),
        _ => (span.as_secs_f64(), "s"),
    };
    let rounded = format!("{value:.1}");
    let short = rounded.strip_suffix(".0").unwrap_or(&rounded);
    format!("{short} {unit}")
}

/// The evidence of a case, begun at `since`, of an element that was ill before.
pub(super) fn came_back(evidence: &str, earlier: &Ended, since: Timestamp) -> String {
    bounded(format!(
        "comes and goes, {} times within {}: {evidence}",
        earlier.times.saturating_add(1),
        span(since.since(earlier.first))
    ))
}

pub(super) fn bounded(sentence: String) -> String {
    if sentence.chars().count() <= MAX_CHARS {
        return sentence;
    }
    let mut short: String = sentence.chars().take(MAX_CHARS - 1).collect();
    short.push('…');
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_read_with_two_digits() {
        for (share, text) in [
            (0.0, "0 %"),
            (0.000_3, "0.03 %"),
            (0.001, "0.1 %"),
            (0.023_6, "2.4 %"),
            (0.15, "15 %"),
            (1.0, "100 %"),
        ] {
            assert_eq!(percent(share), text);
        }
    }

    #[test]
    fn spans_read_in_the_unit_that_fits() {
        for (nanos, text) in [
            (0, "0 ns"),
            (340_000, "340 µs"),
            (2_310_000, "2.3 ms"),
            (5_000_000_000, "5 s"),
            (90_500_000_000, "90.5 s"),
            (734_000_000_000, "12 min"),
        ] {
            assert_eq!(span(Duration::from_nanos(nanos)), text);
        }
    }

    #[test]
    fn a_sentence_never_exceeds_what_the_api_takes() {
        let name = RnicName::new("n".repeat(253), "d".repeat(64), 1);
        let sentence = pair(
            (&name, &name),
            &Reported::default(),
            (Word::Ill, Word::Silent),
            &Thresholds {
                window: Duration::from_secs(5),
                loss_ratio: 0.02,
                p99: Duration::from_micros(500),
            },
        );
        assert_eq!(sentence.chars().count(), MAX_CHARS);
    }
}
