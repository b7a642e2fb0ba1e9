//! The chart's roles against what operator and agents really asked of the API server while the other rungs ran: nothing
//! missing, nothing unused. It reads the audit logs that every control plane of the rig leaves, so it has to run last;
//! `make test` does that. Without `RIGHTS` in `RDMAMESH_RUNGS` it is listed as ignored.

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};
use libtest_mimic::Arguments;
use rdmamesh_e2e::chart::Chart;
use rdmamesh_e2e::chart::rights::{self, Requests, Right};
use rdmamesh_e2e::control_plane::audit;
use rdmamesh_e2e::layout::Layout;
use rdmamesh_e2e::progress::Progress;
use rdmamesh_e2e::{rungs, suite};
use tokio::runtime::Runtime;

/// Accounts, and the rungs in which the program that has them runs: in T1 agents are imitated. An account whose rungs did not run is reported as not compared.
const RUNS_IN: &[(&str, &[&str])] = &[
    ("rdmamesh-operator", &["T1", "T2", "T3"]),
    ("rdmamesh-agent", &["T2", "T3"]),
    ("rdmamesh-verify", &["T1"]),
];

fn main() -> Result<ExitCode> {
    let arguments = Arguments::from_args();
    let test = suite::of_rung("RIGHTS", "the_roles_are_what_is_used", compare);
    Ok(libtest_mimic::run(&arguments, vec![test]).exit_code())
}

#[expect(
    clippy::print_stdout,
    reason = "the comparison is what the test is asked to show"
)]
fn compare() -> Result<()> {
    let layout = Layout::of_workspace()?;
    let chart = Runtime::new()?.block_on(async {
        let chart = Chart::of_workspace(&layout, &Progress::new()).await?;
        let verify = ["--show-only=templates/tests/verify.yaml"];
        let verify = chart.template("{}", &verify).await?.succeeded()?;
        anyhow::Ok(format!(
            "{}\n---\n{verify}",
            chart.access_manifests().await?
        ))
    })?;
    let granted = rights::granted(&chart)?;
    let (used, logs) = requests(&layout)?;
    println!("compared with {logs} audit logs");
    let mut wrong = Vec::new();
    for (account, granted) in &granted {
        let requests = used.get(account).cloned().unwrap_or_default();
        if requests == Requests::default() && !must_have_run(account)? {
            println!("\n{account}: not compared, the rungs in which it runs were not asked for");
            continue;
        }
        println!(
            "\n{account}: granted {}, used {}",
            granted.len(),
            requests.allowed.len()
        );
        for right in granted {
            let mark = if requests.allowed.contains(right) {
                "used  "
            } else {
                "UNUSED"
            };
            println!("  {mark} {right}");
        }
        wrong.extend(verdict(account, granted, &requests));
    }
    if wrong.is_empty() {
        return Ok(());
    }
    bail!(
        "the chart's roles are not what is used:\n{}",
        wrong.join("\n")
    )
}

fn must_have_run(account: &str) -> Result<bool> {
    let known = RUNS_IN.iter().find(|(name, _)| *name == account);
    let (_, runs_in) = known.with_context(|| format!("{account} is not in RUNS_IN"))?;
    Ok(runs_in.iter().any(|rung| rungs::asked(rung)))
}

fn verdict(account: &str, granted: &BTreeSet<Right>, requests: &Requests) -> Vec<String> {
    let unused = rights::unused(granted, &requests.allowed)
        .map(|right| format!("{account} has a right that it never used: {right}"));
    let missing = requests
        .forbidden
        .difference(granted)
        .map(|right| format!("{account} lacks a right that it asked for: {right}"));
    let refused = requests
        .refused
        .iter()
        .map(|right| format!("{account} was refused by the admission policy: {right}"));
    let beyond = requests
        .allowed
        .difference(granted)
        .map(|right| format!("{account} did what no role of the chart gives it: {right}"));
    unused.chain(missing).chain(refused).chain(beyond).collect()
}

fn requests(layout: &Layout) -> Result<(BTreeMap<String, Requests>, usize)> {
    let folder = audit::folder(layout);
    let (mut used, mut logs) = (BTreeMap::new(), 0);
    for entry in std::fs::read_dir(&folder).with_context(|| {
        format!(
            "no audit logs in {}: run the other rungs first",
            folder.display()
        )
    })? {
        let path = entry?.path();
        if path
            .extension()
            .is_none_or(|extension| extension != "jsonl")
        {
            continue;
        }
        let log =
            std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        rights::used(&log, &mut used);
        logs += 1;
    }
    ensure!(
        logs > 0,
        "no audit logs in {}: run the other rungs first",
        folder.display()
    );
    Ok((used, logs))
}
