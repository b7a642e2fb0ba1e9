//! Command line of the node agent; everything else is in the library.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use rdmamesh_agent::config::{Cli, Command};
use rdmamesh_agent::doctor::command::{self, DoctorArgs};

/// Threads for what blocks: reading the inventory, rendering `/metrics`, the last export.
const BLOCKING_THREADS: usize = 4;

fn main() -> ExitCode {
    let command = Cli::parse().command;
    if let Err(error) = rdmamesh_agent::logging::init(command.log_format()) {
        tracing_subscriber::fmt()
            .with_writer(std::io::stderr)
            .init();
        tracing::error!(%error, "RUST_LOG is not a valid filter: write for example info,kube=debug");
        return ExitCode::from(2);
    }
    let outcome = match command {
        Command::Run(args) => run(rdmamesh_agent::run::run(*args)),
        Command::Trace(args) => run(rdmamesh_agent::run::trace(args)),
        Command::DevicePlugin(args) => run(rdmamesh_agent::device_plugin::run(*args)),
        Command::Doctor(args) => match doctor(&args) {
            Ok(passed) => {
                return if passed {
                    ExitCode::SUCCESS
                } else {
                    ExitCode::FAILURE
                };
            }
            Err(error) => Err(error),
        },
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "agent failed");
            ExitCode::FAILURE
        }
    }
}

/// Prints the report; whether nothing has failed.
#[expect(clippy::print_stdout, reason = "what was asked for")]
fn doctor(args: &DoctorArgs) -> Result<bool> {
    let report = command::report(args);
    if args.json {
        println!(
            "{}",
            serde_json::to_string_pretty(&report).context("cannot write JSON")?
        );
    } else {
        print!("{}", command::text(&report));
    }
    Ok(report.passed)
}

fn run(part: impl Future<Output = Result<()>>) -> Result<()> {
    end_on_panic();
    // One thread is plenty: the data path has threads of its own.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .build()
        .context("cannot start the runtime")?;
    let outcome = runtime.block_on(part);
    // Whatever still blocks (a last export, say) must not hold up the end.
    runtime.shutdown_background();
    outcome
}

/// A part that panicked is gone, and nobody else would notice on every thread: restarting is better than
/// half an agent, and costs the peers nothing.
fn end_on_panic() {
    let say = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        say(panic);
        tracing::error!(%panic, "agent panicked");
        std::process::abort();
    }));
}
