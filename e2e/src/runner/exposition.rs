//! The agents' `/metrics`, as far as scenarios are about it.

use super::counters::Outcomes;

/// Counter of finished probes, one series per outcome and more attributes.
const PROBES: &str = "rdmamesh_probes_total";
/// Attribute that names the outcome.
const OUTCOME: &str = "outcome";

/// Probes by outcome, added up over all other attributes. `sent` is their sum, because every probe gets one outcome.
pub fn outcomes(exposition: &str) -> Outcomes {
    let mut outcomes = Outcomes::new();
    for (labels, value) in series(exposition, PROBES) {
        let Some(outcome) = label(labels, OUTCOME) else {
            continue;
        };
        let count = whole(value);
        *outcomes.entry(outcome.to_owned()).or_default() += count;
        *outcomes.entry("sent".to_owned()).or_default() += count;
    }
    outcomes
}

/// Every series of a metric: its labels, without braces, and its value.
pub fn series<'a>(exposition: &'a str, metric: &str) -> impl Iterator<Item = (&'a str, f64)> {
    exposition.lines().filter_map(move |line| {
        let rest = line.strip_prefix(metric)?;
        let (labels, value) = match rest.strip_prefix('{') {
            Some(rest) => rest.rsplit_once("} ")?,
            None => ("", rest.strip_prefix(' ')?),
        };
        Some((labels, value.split_whitespace().next()?.parse().ok()?))
    })
}

/// The value of one label.
pub fn label<'a>(labels: &'a str, name: &str) -> Option<&'a str> {
    let start = labels.match_indices(name).find_map(|(at, _)| {
        let begins = at == 0 || labels[..at].ends_with(',');
        labels[at + name.len()..]
            .strip_prefix("=\"")
            .filter(|_| begins)
    })?;
    start.split('"').next()
}

/// Counters are whole numbers below 2^53 for as long as anybody will run a rig.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counters are whole and not negative"
)]
fn whole(value: f64) -> u64 {
    value as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"# TYPE rdmamesh_probes counter
rdmamesh_probes_total{mesh="m",class="torMesh",outcome="ok"} 40
rdmamesh_probes_total{mesh="m",class="interTor",outcome="ok"} 60 1700000000
rdmamesh_probes_total{mesh="m",class="torMesh",outcome="lost"} 3
rdmamesh_probes_total_other{outcome="lost"} 9
process_cpu_seconds_total 1.5
"#;

    #[test]
    fn probes_are_added_up_by_outcome() {
        let found = outcomes(TEXT);
        assert_eq!(found["ok"], 100);
        assert_eq!(found["lost"], 3);
        assert_eq!(found["sent"], 103);
        assert!(!found.contains_key("late"));
    }

    #[test]
    fn a_metric_without_labels_and_a_label_of_a_longer_name() {
        assert_eq!(
            series(TEXT, "process_cpu_seconds_total").next(),
            Some(("", 1.5))
        );
        assert_eq!(label(r#"peer_class="a",class="b""#, "class"), Some("b"));
        assert_eq!(label(r#"peer_class="a""#, "class"), None);
    }
}
