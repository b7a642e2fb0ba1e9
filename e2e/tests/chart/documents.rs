//! Hermetic: values, their schema, their documentation and the alerts agree with each other and with the programs.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use rdmamesh_e2e::suite::SharedPlane;
use serde_json::Value;

fn read(shared: &SharedPlane, path: &str) -> Result<String> {
    let path = shared.layout.workspace().join(path);
    std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
}

/// One value: its path, its default as written, and the comment above it.
struct Documented {
    path: String,
    default: String,
    comment: String,
}

/// Reads `values.yaml` by its layout: a comment, then the key that it is about; two blanks per level.
fn documented(values: &str) -> Result<Vec<Documented>> {
    let (mut found, mut parents, mut comment) = (Vec::new(), Vec::<String>::new(), String::new());
    let lines: Vec<&str> = values.lines().collect();
    let mut skip_deeper_than = None;
    for (number, line) in lines.iter().enumerate() {
        let depth = (line.len() - line.trim_start().len()) / 2;
        let text = line.trim();
        if text.is_empty() {
            comment.clear();
            continue;
        }
        if skip_deeper_than.is_some_and(|limit| depth > limit) {
            continue;
        }
        skip_deeper_than = None;
        if let Some(words) = text.strip_prefix("# ") {
            comment = format!("{comment} {words}").trim().to_owned();
            continue;
        }
        let (key, default) = text
            .split_once(':')
            .with_context(|| format!("line {} is no key: {text}", number + 1))?;
        parents.truncate(depth);
        parents.push(key.to_owned());
        let has_children = default.trim().is_empty();
        if has_children && comment.is_empty() {
            continue;
        }
        let default = if has_children {
            skip_deeper_than = Some(depth);
            let indent = |line: &str| line.len() - line.trim_start().len();
            let children: Vec<&str> = lines[number + 1..]
                .iter()
                .take_while(|child| indent(child) > indent(line))
                .map(|child| child.trim())
                .collect();
            children.join(", ")
        } else {
            default.trim().to_owned()
        };
        found.push(Documented {
            path: parents.join("."),
            default,
            comment: std::mem::take(&mut comment),
        });
    }
    Ok(found)
}

fn table(values: &[Documented]) -> String {
    let cell = |text: &str| text.replace('|', "\\|");
    let rows = values.iter().map(|value| {
        format!(
            "| `{}` | `{}` | {} |\n",
            value.path,
            cell(&value.default),
            cell(&value.comment)
        )
    });
    format!(
        "| value | default | meaning |\n|---|---|---|\n{}",
        rows.collect::<String>()
    )
}

const BEGIN: &str =
    "<!-- values: written by UPDATE_CHART=1 cargo test -p rdmamesh-e2e --test chart -->\n";
const END: &str = "<!-- end of values -->";

/// The README's table is what `values.yaml` says; `UPDATE_CHART=1` writes it anew.
pub fn every_value_is_documented(shared: &SharedPlane) -> Result<()> {
    let values = documented(&read(shared, "charts/rdmamesh/values.yaml")?)?;
    for value in &values {
        ensure!(
            !value.comment.is_empty(),
            "{} has no comment above it",
            value.path
        );
    }
    let path = "charts/rdmamesh/README.md";
    let readme = read(shared, path)?;
    let (before, rest) = readme
        .split_once(BEGIN)
        .context("the README has a table of values")?;
    let (_, after) = rest.split_once(END).context("the README's table ends")?;
    let wanted = format!("{before}{BEGIN}{}{END}{after}", table(&values));
    if std::env::var_os("UPDATE_CHART").is_some() {
        std::fs::write(shared.layout.workspace().join(path), &wanted)?;
    }
    let now = read(shared, path)?;
    ensure!(
        now == wanted,
        "{path} differs from values.yaml: run `UPDATE_CHART=1 cargo test -p rdmamesh-e2e --test chart`"
    );
    let leaves: BTreeSet<String> = values.into_iter().map(|value| value.path).collect();
    let schema: Value = serde_json::from_str(&read(shared, "charts/rdmamesh/values.schema.json")?)?;
    let mut listed = BTreeSet::new();
    leaves_of(&schema, &schema, "", &mut listed)?;
    listed.remove("global");
    let differences: Vec<_> = leaves.symmetric_difference(&listed).collect();
    ensure!(
        differences.is_empty(),
        "only in one of values.yaml and values.schema.json: {differences:?}"
    );
    Ok(())
}

fn resolve<'a>(root: &'a Value, schema: &'a Value) -> Result<&'a Value> {
    match schema["$ref"].as_str() {
        Some(reference) => root
            .pointer(reference.trim_start_matches('#'))
            .with_context(|| format!("{reference} is not there")),
        None => Ok(schema),
    }
}

/// Paths of all properties that are no group of others. Quantities and tolerations are Kubernetes' own shapes.
fn leaves_of(root: &Value, schema: &Value, path: &str, into: &mut BTreeSet<String>) -> Result<()> {
    let schema = resolve(root, schema)?;
    let own = path.ends_with(".resources");
    match schema["properties"].as_object() {
        Some(properties) if !own => {
            for (name, property) in properties {
                let deeper = if path.is_empty() {
                    name.clone()
                } else {
                    format!("{path}.{name}")
                };
                leaves_of(root, property, &deeper, into)?;
            }
        }
        _ => {
            into.insert(path.to_owned());
        }
    }
    Ok(())
}

/// An object with properties that takes others too would let a typo pass.
pub fn the_schema_is_closed(shared: &SharedPlane) -> Result<()> {
    fn closed(schema: &Value, path: &str) -> Result<()> {
        if schema["properties"].is_object() && schema["additionalProperties"] != false {
            bail!("{path} takes properties that are not listed");
        }
        let fields = schema.as_object().into_iter().flatten();
        for (name, field) in fields {
            closed(field, &format!("{path}/{name}"))?;
        }
        Ok(())
    }
    let schema = serde_json::from_str(&read(shared, "charts/rdmamesh/values.schema.json")?)?;
    closed(&schema, "")
}

/// Names in the README's table of metrics, as Prometheus has them.
fn agent_metrics(readme: &str) -> BTreeSet<String> {
    let rows = readme
        .lines()
        .filter(|line| line.starts_with("| `rdmamesh.") || line.starts_with("| `process."));
    rows.flat_map(|row| {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let name = cells[1].trim_matches('`').replace('.', "_");
        let unit = match cells[3].trim_matches('`') {
            "s" => "_seconds",
            "By" => "_bytes",
            "1" => "_ratio",
            _ => "",
        };
        series(&format!("{name}{unit}"), cells[2])
    })
    .collect()
}

fn operator_metrics(readme: &str) -> BTreeSet<String> {
    let rows = readme
        .lines()
        .filter(|line| line.starts_with("| `rdmamesh_operator_"));
    rows.flat_map(|row| {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let name = cells[1].trim_matches('`');
        series(name.trim_end_matches("_total"), cells[2])
    })
    .collect()
}

fn series(name: &str, kind: &str) -> Vec<String> {
    match kind {
        "counter" => vec![format!("{name}_total")],
        "histogram" => ["bucket", "sum", "count"]
            .map(|part| format!("{name}_{part}"))
            .to_vec(),
        _ => vec![name.to_owned()],
    }
}

/// The tables in the READMEs are held to the programs by tests of theirs; the alerts are held to the tables.
pub fn alerts_use_metrics_that_exist(shared: &SharedPlane) -> Result<()> {
    let mut known = agent_metrics(&read(shared, "node-agent/README.md")?);
    known.extend(operator_metrics(&read(shared, "operator/README.md")?));
    ensure!(known.len() > 20, "the tables of metrics were not found");
    let path = Path::new("charts/rdmamesh/files/alerts.yaml");
    let rules: Value = serde_saphyr::from_str(&read(shared, &path.display().to_string())?)?;
    let groups = rules["groups"].as_array().context("there are groups")?;
    let mut count = 0;
    for rule in groups
        .iter()
        .flat_map(|group| group["rules"].as_array().into_iter().flatten())
    {
        let alert = &rule["alert"];
        let text = rule["expr"].as_str().context("a rule has an expression")?;
        let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        let labels = ["rdmamesh_mesh", "rdmamesh_outcome"];
        let used: Vec<&str> = words
            .filter(|word| word.starts_with("rdmamesh_") && !labels.contains(word))
            .collect();
        ensure!(!used.is_empty(), "{alert} uses no metric of ours");
        for metric in used {
            ensure!(
                known.contains(metric),
                "{alert} uses {metric}, which nobody exports"
            );
        }
        for word in ["summary", "description"] {
            ensure!(
                rule["annotations"][word].is_string(),
                "{alert} has no {word}"
            );
        }
        count += 1;
    }
    ensure!(count >= 8, "only {count} alerts were found");
    Ok(())
}
