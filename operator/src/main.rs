//! Command line of the operator.
#![forbid(unsafe_code)]

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use rdmamesh_operator::args::{Cli, Command, LogFormat, VerifyArgs};
use rdmamesh_operator::verify::finding::Level;
use tracing_subscriber::EnvFilter;

/// The client libraries log every attempt of every request that fails; the operator says so once itself.
const DEFAULT_FILTER: &str = "info,kube_client=off,kube_runtime=error";

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    match Cli::parse().command {
        Command::Run(args) => {
            log(args.log_format);
            rdmamesh_operator::run::run(args).await?;
        }
        Command::Crds => crds()?,
        Command::Verify(args) => return verify(&args).await,
    }
    Ok(ExitCode::SUCCESS)
}

fn log(format: LogFormat) {
    let filter =
        EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(DEFAULT_FILTER));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    match format {
        LogFormat::Text => builder.init(),
        LogFormat::Json => builder.json().init(),
    }
}

fn crds() -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    for (_, crd) in rdmamesh_api::crds::all() {
        let yaml = rdmamesh_api::crds::yaml(&crd);
        write!(out, "---\n{yaml}").context("failed to write to stdout")?;
    }
    Ok(())
}

async fn verify(args: &VerifyArgs) -> anyhow::Result<ExitCode> {
    let findings = rdmamesh_operator::verify::verify(args).await?;
    let mut out = std::io::stdout().lock();
    for finding in &findings {
        writeln!(out, "{finding}").context("failed to write to stdout")?;
    }
    let failed = findings.iter().any(|finding| finding.level == Level::Fail);
    Ok(if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}
