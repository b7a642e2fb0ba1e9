//! Every metric is exported, and documented in the README.

use super::*;

/// Every family shows up only once it has a value.
fn touched() -> Metrics {
    let metrics = Metrics::default();
    metrics.leads(true);
    metrics.pass("plan", Duration::from_millis(1), true);
    metrics.planned(Duration::from_millis(1));
    metrics.assignment_written();
    metrics.assignment_withdrawn();
    metrics.assignment_deleted();
    metrics.apply_failed("conflict");
    metrics.status_written(true);
    metrics.event(true);
    metrics.watch_failed("Node");
    metrics.verdict("m", None, &[("rnic", 2)]);
    metrics.marked_nodes(1, 1);
    metrics.breakers([("m", true)]);
    metrics.node_written(NodeWrite::Taint, true);
    metrics
}

#[test]
fn every_metric_of_the_table_is_served_with_its_kind() {
    let text = touched().text();
    for Described { name, kind, .. } in TABLE {
        let base = name.trim_end_matches("_total");
        assert!(
            text.contains(&format!("# TYPE {base} {kind}")),
            "{name}\n{text}"
        );
        assert!(text.contains(name), "{name}\n{text}");
    }
    assert_eq!(text.matches("# TYPE").count(), TABLE.len(), "{text}");
}

#[test]
fn the_readme_repeats_the_table() {
    let readme = include_str!("../../README.md");
    for Described {
        name,
        kind,
        labels,
        help,
    } in TABLE
    {
        let row = format!("| `{name}` | {kind} | {labels} | {help} |");
        assert!(
            readme.contains(&row),
            "operator/README.md lacks this row:\n{row}"
        );
    }
    let documented = readme.matches("| `rdmamesh_operator_").count();
    assert_eq!(
        documented,
        TABLE.len(),
        "operator/README.md documents a metric that is none"
    );
}

#[test]
fn a_mesh_that_is_gone_leaves_no_series() {
    let metrics = touched();
    assert!(metrics.text().contains("mesh=\"m\""));
    metrics.forget("m");
    metrics.breakers([]);
    assert!(!metrics.text().contains("mesh=\"m\""));
}

#[test]
fn an_unknown_verdict_is_neither_healthy_nor_ill() {
    let text = touched().text();
    assert!(
        text.contains("rdmamesh_operator_fabric_healthy{mesh=\"m\"} -1"),
        "{text}"
    );
}
