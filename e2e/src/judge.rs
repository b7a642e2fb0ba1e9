//! `rig judge`: who is guilty according to flow records that somebody else made.
//!
//! The first line of the file says what the fabric is, every other one is a flow:
//!
//! ```text
//! {"fabric": {"links": [["h1", "leaf1"], ["leaf1", "spine1"], …], "hosts": ["h1", …], "switches": ["leaf1", …]}}
//! {"src": "h1", "dst": "h2", "path": ["leaf1", "spine1", "leaf2"], "sent": 1200, "lost": 3}
//! ```
//!
//! `path` may or may not begin with `src` and end with `dst`. A `truth` in the first line (link pairs, node
//! names, or `{"kind", "nodes"}`) is used for nothing but precision and recall. The file may be gzipped.
//! Judging is `rdmamesh_fabric::judge`'s work; this module reads, prints and writes JSON.

mod read;
mod record;
mod truth;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Args;
use rdmamesh_fabric::judge::Ruling;
use serde::Serialize;

use read::Records;
use truth::{Agreement, Truth};

/// Judge flow records that somebody else made.
#[derive(Debug, Args)]
pub struct Judge {
    /// Flow records, a JSON object a line, plain or gzipped; `-` reads standard input.
    flows: PathBuf,
    /// Write the suspects here as JSON; `-` writes them to standard output, and nothing else.
    #[arg(long, value_name = "OUT")]
    json: Option<PathBuf>,
}

/// What is written as JSON.
#[derive(Debug, Serialize)]
struct Report {
    flows: u64,
    seconds: f64,
    /// Estimated loss of a good link (ratio).
    background: f64,
    suspects: Vec<Suspect>,
    #[serde(skip_serializing_if = "Option::is_none")]
    agreement: Option<Agreement>,
}

#[derive(Debug, Serialize)]
struct Suspect {
    kind: &'static str,
    nodes: Vec<String>,
    /// Percent, below 100.
    confidence: f64,
    /// Estimated loss (ratio).
    loss: f64,
    evidence: String,
}

impl Judge {
    /// Reads, judges, prints.
    ///
    /// # Errors
    /// When a file cannot be read or written, or a line is not what it should be.
    pub fn run(&self) -> Result<()> {
        let start = Instant::now();
        let records = Records::read(&self.flows)
            .with_context(|| format!("judge {}", self.flows.display()))?;
        let ruling = records.judge.rule();
        let took = start.elapsed();
        let agreement = records.truth.as_ref().map(|truth| truth.agree(&ruling));
        let report = report(&ruling, records.judge.flows(), took, agreement);
        if let Some(out) = &self.json {
            write(out, &report)?;
            if out == Path::new("-") {
                return Ok(());
            }
        }
        print(&text(&report, records.truth.as_ref()));
        Ok(())
    }
}

fn report(ruling: &Ruling, flows: u64, took: Duration, agreement: Option<Agreement>) -> Report {
    let suspects = ruling.verdicts.iter().map(|verdict| Suspect {
        kind: verdict.element.kind.as_str(),
        nodes: verdict.element.nodes.clone(),
        // Nothing is certain that was inferred from losses.
        confidence: ((verdict.confidence * 1e3).round() / 10.0).min(99.9),
        loss: verdict.loss,
        evidence: verdict.evidence.clone(),
    });
    Report {
        flows,
        seconds: took.as_secs_f64(),
        background: ruling.background,
        suspects: suspects.collect(),
        agreement,
    }
}

fn text(report: &Report, truth: Option<&Truth>) -> String {
    let mut lines: Vec<String> = report
        .suspects
        .iter()
        .map(|suspect| {
            format!(
                "{} {} ({} % sure): {}",
                suspect.kind,
                suspect.nodes.join("–"),
                suspect.confidence,
                suspect.evidence
            )
        })
        .collect();
    if lines.is_empty() {
        lines.push("no suspect: the losses are those of a healthy fabric".to_owned());
    }
    lines.push(format!(
        "{} flows judged in {:.3} s",
        report.flows, report.seconds
    ));
    if let (Some(agreement), Some(truth)) = (&report.agreement, truth) {
        lines.push(agreement.text(truth));
    }
    lines.join("\n")
}

fn write(out: &Path, report: &Report) -> Result<()> {
    let json = serde_json::to_string_pretty(report).context("serialise the suspects")?;
    if out == Path::new("-") {
        print(&json);
        return Ok(());
    }
    std::fs::write(out, json + "\n").with_context(|| format!("write {}", out.display()))
}

#[expect(clippy::print_stdout, reason = "what was asked for")]
fn print(text: &str) {
    println!("{text}");
}

#[cfg(test)]
mod tests;
