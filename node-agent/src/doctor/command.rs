//! `rdmamesh-agent doctor`: the checks for people, without a cluster.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::SystemTime;

use clap::Args;
use rdmamesh_api::node::{DoctorOutcome, DoctorResult};
use rdmamesh_verbs::SysfsRoot;

use super::machine::Roots;
use crate::inventory::{Facts, node_status, survey};
use crate::logging::LogFormat;
use crate::trace::client::TracingState;

/// Flags of `doctor`.
#[derive(Debug, Clone, Args)]
pub struct DoctorArgs {
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
    /// Also examine what tracing the queue pairs of workloads needs of this process.
    #[arg(long)]
    pub tracing: bool,
    /// DSCP that RoCE traffic carries, to be compared with the ports' priorities; may be repeated.
    #[arg(long, value_parser = clap::value_parser!(u8).range(0..=63))]
    pub dscp: Vec<u8>,
    /// Where sysfs is mounted.
    #[arg(long, default_value = "/sys")]
    pub sysfs_root: PathBuf,
    /// Where procfs is mounted.
    #[arg(long, default_value = "/proc")]
    pub proc_root: PathBuf,
    /// Where the device nodes are.
    #[arg(long, default_value = "/dev")]
    pub dev_root: PathBuf,
    /// How log lines look.
    #[arg(long, value_enum, default_value_t)]
    pub log_format: LogFormat,
}

/// What came of all checks.
#[derive(Debug, serde::Serialize)]
pub struct Report {
    /// Whether none has failed.
    pub passed: bool,
    /// In the order in which their causes build on each other.
    pub checks: Vec<DoctorResult>,
}

/// Examines this machine. Blocking.
pub fn report(args: &DoctorArgs) -> Report {
    let roots = Roots {
        sysfs: SysfsRoot::at(&args.sysfs_root),
        proc: args.proc_root.clone(),
        dev: args.dev_root.clone(),
    };
    let survey = survey(&roots, None);
    let status = node_status(&Facts {
        survey: &survey,
        health: &[],
        planned: &[],
        dscps: &args.dscp,
        trace_workloads: args.tracing,
        epoch: "",
        control_address: "",
        tracing: &TracingState::Unavailable(String::new()),
        before: None,
        now: SystemTime::now(),
    });
    Report {
        passed: status
            .doctor
            .iter()
            .all(|result| result.outcome != DoctorOutcome::Fail),
        checks: status.doctor,
    }
}

/// The report as lines for people.
pub fn text(report: &Report) -> String {
    let mut text = String::new();
    for result in &report.checks {
        let outcome = match result.outcome {
            DoctorOutcome::Pass => "pass",
            DoctorOutcome::Warn => "WARN",
            DoctorOutcome::Fail => "FAIL",
        };
        // Writing to a string cannot fail.
        writeln!(text, "{outcome}  {:<16}  {}", result.check, result.message).ok();
        if let Some(remedy) = &result.remedy {
            writeln!(text, "{:24}to do: {remedy}", "").ok();
        }
    }
    let verdict = if report.passed {
        "This node is ready to probe."
    } else {
        "This node cannot probe as it is: see FAIL."
    };
    writeln!(text, "{verdict}").ok();
    text
}
