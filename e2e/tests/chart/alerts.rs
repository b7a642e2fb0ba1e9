//! The alerts of the chart, played by Prometheus' own tool.

use std::collections::BTreeSet;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use rdmamesh_e2e::progress::Progress;
use rdmamesh_e2e::suite::SharedPlane;
use rdmamesh_e2e::tools::promtool;
use serde_json::Value;

const PLAYED: &str = include_str!("alerts.yaml");
const VALUES: &str = "{monitoring: {prometheusRule: {enabled: true}}}";

/// As rendered, each fires when it should and is silent when it should be.
pub fn alerts_fire_and_are_silent(shared: &SharedPlane) -> Result<()> {
    let rendered = shared.wait(shared.chart()?.template(VALUES, &[]))?;
    let rules = rules(&rendered.succeeded()?)?;
    ensure!(
        names(&rules["groups"], "rules", "alert", |_| true) == played(true)?,
        "alerts.yaml does not make every alert fire, or an unknown one"
    );
    ensure!(
        played(true)? == played(false)?,
        "alerts.yaml does not show for every alert what keeps it silent"
    );
    let program = shared.wait(promtool::ensure(&shared.layout, &Progress::new()))?;
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("rules.yaml"), rules.to_string())?;
    std::fs::write(folder.path().join("alerts.yaml"), PLAYED)?;
    for arguments in [
        ["check", "rules", "rules.yaml"],
        ["test", "rules", "alerts.yaml"],
    ] {
        let output = Command::new(&program)
            .args(arguments)
            .current_dir(folder.path())
            .output()
            .context("run promtool")?;
        ensure!(
            output.status.success(),
            "promtool {}:\n{}{}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(())
}

/// The spec of the rendered PrometheusRule, which is a rule file.
fn rules(rendered: &str) -> Result<Value> {
    let document = rendered
        .split("\n---")
        .find(|document| document.contains("\nkind: PrometheusRule"))
        .context("no PrometheusRule is rendered")?;
    let document: Value = serde_saphyr::from_str(document)?;
    Ok(document["spec"].clone())
}

/// Alerts that some test expects to fire, or to be silent.
fn played(fires: bool) -> Result<BTreeSet<String>> {
    let tests: Value = serde_saphyr::from_str(PLAYED)?;
    Ok(names(
        &tests["tests"],
        "alert_rule_test",
        "alertname",
        |case| case["exp_alerts"].is_array() == fires,
    ))
}

/// The names in the lists of a list.
fn names(
    outer: &Value,
    inner: &str,
    name: &str,
    wanted: impl Fn(&Value) -> bool,
) -> BTreeSet<String> {
    let lists = outer.as_array().into_iter().flatten();
    lists
        .filter_map(|list| list[inner].as_array())
        .flatten()
        .filter(|case| wanted(case))
        .filter_map(|case| case[name].as_str().map(str::to_owned))
        .collect()
}
