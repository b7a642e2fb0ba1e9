//! The arguments that the chart gives to the programs are ones that they have.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::pods::pod_specs;
use crate::render::SETS;
use rdmamesh_e2e::suite::SharedPlane;

/// Every `--flag` of every container is in the `--help` of the program's subcommand.
pub fn flags_exist(shared: &SharedPlane) -> Result<()> {
    let chart = shared.chart()?;
    let mut given: BTreeMap<(String, String), BTreeSet<String>> = BTreeMap::new();
    for (_, values) in SETS {
        let rendered = shared.wait(chart.template(values, &[]))?.succeeded()?;
        for (_, spec) in pod_specs(&rendered)? {
            for container in spec["containers"].as_array().into_iter().flatten() {
                let (program, arguments) = invocation(container)?;
                let (verb, flags) = arguments.split_first().context("there is a subcommand")?;
                let all = given.entry((program, verb.clone())).or_default();
                all.extend(flags.iter().map(|flag| {
                    let name = flag.split('=').next();
                    name.unwrap_or_default().to_owned()
                }));
            }
        }
    }
    ensure!(given.len() >= 4, "invocations: {:?}", given.keys());
    for ((program, verb), flags) in given {
        let output = Command::new(shared.layout.product(&program)?)
            .args([verb.as_str(), "--help"])
            .output()
            .with_context(|| format!("run {program}"))?;
        let help = String::from_utf8_lossy(&output.stdout);
        ensure!(
            output.status.success(),
            "{program} has no subcommand {verb}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let has: BTreeSet<&str> = help
            .split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'))
            .filter(|word| word.starts_with("--"))
            .collect();
        for flag in flags {
            ensure!(
                has.contains(flag.as_str()),
                "the chart gives {flag} to `{program} {verb}`, which has {has:?}"
            );
        }
    }
    Ok(())
}

fn invocation(container: &Value) -> Result<(String, Vec<String>)> {
    let image = container["image"]
        .as_str()
        .context("a container has an image")?;
    let program = ["rdmamesh-operator", "rdmamesh-agent"]
        .into_iter()
        .find(|program| image.contains(program))
        .with_context(|| format!("{image} is none of ours"))?;
    let arguments: Vec<String> =
        serde_json::from_value(container["args"].clone()).context("a container has arguments")?;
    Ok((program.to_owned(), arguments))
}
