//! Metrics as they arrive in the real collector, against the table in node-agent/README.md.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rdmamesh_e2e::progress::Progress;
use rdmamesh_e2e::rig::Rig;
use rdmamesh_e2e::runner::command::play_on;
use rdmamesh_e2e::scenario::Scenario;
use serde_json::Value;
use tokio::time::Instant;

/// Several export intervals of the rig's agents.
const EXPORTED_WITHIN: Duration = Duration::from_secs(40);

/// How a metric is described or was received.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Metric {
    kind: String,
    unit: String,
    attributes: BTreeSet<String>,
}

/// The table of the agent's README: name, kind, unit, attributes.
fn documented() -> Result<BTreeMap<String, Metric>> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../node-agent/README.md");
    let readme =
        std::fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
    let mut table = BTreeMap::new();
    for row in readme.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [name, kind, unit, attributes, ..] = cells[..] else {
            continue;
        };
        if !["counter", "gauge", "histogram"].contains(&kind) {
            continue;
        }
        let metric = Metric {
            kind: kind.to_owned(),
            unit: quoted(unit).next().unwrap_or_default().to_owned(),
            attributes: quoted(attributes).map(str::to_owned).collect(),
        };
        table.insert(quoted(name).next().unwrap_or_default().to_owned(), metric);
    }
    ensure!(
        table.len() > 20,
        "only {} metrics found in the README",
        table.len()
    );
    Ok(table)
}

/// The words in back quotes.
fn quoted(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

/// Everything that agents have sent so far, by name.
fn received(rig: &Rig) -> Result<BTreeMap<String, Metric>> {
    let file = rig.metrics_file();
    let text =
        std::fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
    let mut found: BTreeMap<String, Metric> = BTreeMap::new();
    // The last line may be in the middle of being written.
    for request in text
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
    {
        for resource in items(&request["request"]["resourceMetrics"]) {
            for scope in items(&resource["scopeMetrics"]) {
                if scope["scope"]["name"] != "rdmamesh-agent" {
                    continue;
                }
                for metric in items(&scope["metrics"]) {
                    add(&mut found, metric)?;
                }
            }
        }
    }
    Ok(found)
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

fn add(found: &mut BTreeMap<String, Metric>, metric: &Value) -> Result<()> {
    let name = metric["name"].as_str().context("a metric has a name")?;
    let (kind, data) = match (&metric["sum"], &metric["gauge"], &metric["histogram"]) {
        (Value::Object(sum), _, _) => {
            ensure!(metric["sum"]["isMonotonic"] == true, "{name} may fall");
            // 2 is AGGREGATION_TEMPORALITY_CUMULATIVE.
            ensure!(
                metric["sum"]["aggregationTemporality"] == 2,
                "{name} is not cumulative"
            );
            ("counter", sum)
        }
        (_, Value::Object(gauge), _) => ("gauge", gauge),
        (_, _, Value::Object(histogram)) => ("histogram", histogram),
        _ => bail!("{name} is neither sum nor gauge nor histogram: {metric}"),
    };
    let entry = found.entry(name.to_owned()).or_default();
    entry.kind = kind.to_owned();
    entry.unit = metric["unit"].as_str().unwrap_or_default().to_owned();
    for point in items(data.get("dataPoints").unwrap_or(&Value::Null)) {
        for attribute in items(&point["attributes"]) {
            let key = attribute["key"].as_str().unwrap_or_default();
            // On every data point, and said once above the table.
            if key != "k8s.node.name" {
                entry.attributes.insert(key.to_owned());
            }
        }
    }
    Ok(())
}

/// Names, kinds, units and attributes are those of the README, and every documented metric arrives.
pub async fn the_collector_receives_the_documented_metrics(rig: &mut Rig) -> Result<()> {
    let documented = documented()?;
    let deadline = Instant::now() + EXPORTED_WITHIN;
    loop {
        let received = received(rig)?;
        for (name, metric) in &received {
            let wanted = documented
                .get(name)
                .with_context(|| format!("{name} is not documented"))?;
            ensure!(
                (&metric.kind, &metric.unit) == (&wanted.kind, &wanted.unit),
                "{name} arrives as {metric:?}, documented is {wanted:?}"
            );
            let foreign: Vec<_> = metric.attributes.difference(&wanted.attributes).collect();
            ensure!(
                foreign.is_empty(),
                "{name} has undocumented attributes {foreign:?}"
            );
        }
        let missing: Vec<&String> = documented
            .iter()
            .filter(|(name, metric)| received.get(*name) != Some(metric))
            .map(|(name, _)| name)
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        ensure!(
            Instant::now() < deadline,
            "never arrived, or without all attributes: {missing:?}"
        );
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// A collector that was away takes up where the agents are: cumulative sums, nothing older than needed.
pub async fn metrics_go_on_after_the_collector_was_away(rig: &mut Rig) -> Result<()> {
    let away = "steps:\n  - fault: {id: c, kind: collectorDown, for: 8s}\n  - hold: {condition: FabricHealthy, status: \"True\", for: 12s}\n";
    let scenario = Scenario::parse(Path::new("collector away"), away)?;
    let report = play_on(rig, &scenario, &Progress::new()).await?;
    ensure!(report.passed, "{report:?}");
    let lines = || anyhow::Ok(std::fs::read_to_string(rig.metrics_file())?.lines().count());
    let before = lines()?;
    let deadline = Instant::now() + EXPORTED_WITHIN;
    // One request of each agent.
    while lines()? < before + rig.fabric().hosts().len() {
        ensure!(Instant::now() < deadline, "nothing arrives any more");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    Ok(())
}
