//! The agents' `/metrics`, as far as scenarios are about it.

use super::counters::Outcomes;

/// Probes whose second has settled, and the same by outcome.
const SENT: &str = "rdmamesh_probe_sent_total";
const BY_OUTCOME: &str = "rdmamesh_probe_outcome_total";
const OUTCOME: &str = "rdmamesh_outcome";
const CLASS: &str = "rdmamesh_class";
/// Plain IP: says nothing about RDMA.
const CONTROL: &str = "control";

/// Probes over RDMA by outcome, and how many were `sent`, added up over all other attributes.
pub fn outcomes(exposition: &str) -> Outcomes {
    let mut outcomes = Outcomes::new();
    for (_, value) in series(exposition, SENT).filter(over_rdma) {
        *outcomes.entry("sent".to_owned()).or_default() += whole(value);
    }
    for (labels, value) in series(exposition, BY_OUTCOME).filter(over_rdma) {
        if let Some(outcome) = label(labels, OUTCOME) {
            *outcomes.entry(outcome.to_owned()).or_default() += whole(value);
        }
    }
    outcomes
}

fn over_rdma((labels, _): &(&str, f64)) -> bool {
    label(labels, CLASS) != Some(CONTROL)
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

    const TEXT: &str = r#"# TYPE rdmamesh_probe_sent counter
rdmamesh_probe_sent_total{rdmamesh_mesh="m",rdmamesh_class="torMesh"} 43
rdmamesh_probe_sent_total{rdmamesh_mesh="m",rdmamesh_class="interTor"} 60.0
rdmamesh_probe_sent_total{rdmamesh_mesh="m",rdmamesh_class="control"} 7
rdmamesh_probe_outcome_total{rdmamesh_mesh="m",rdmamesh_class="torMesh",rdmamesh_outcome="ok"} 40
rdmamesh_probe_outcome_total{rdmamesh_mesh="m",rdmamesh_class="interTor",rdmamesh_outcome="ok"} 60 1700000000
rdmamesh_probe_outcome_total{rdmamesh_mesh="m",rdmamesh_class="torMesh",rdmamesh_outcome="lost"} 3
rdmamesh_probe_outcome_total{rdmamesh_mesh="m",rdmamesh_class="control",rdmamesh_outcome="lost"} 7
rdmamesh_probe_outcome_total_other{rdmamesh_outcome="lost"} 9
process_cpu_seconds_total 1.5
"#;

    #[test]
    fn probes_over_rdma_are_added_up_by_outcome() {
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
