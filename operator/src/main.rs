//! Command line of the operator.
#![forbid(unsafe_code)]

use std::io::{IsTerminal, Write};

use anyhow::Context;
use clap::Parser;
use rdmamesh_operator::args::{Cli, Command, LogFormat};
use tracing_subscriber::EnvFilter;

/// The client libraries log every attempt of every request that fails; the operator says so once itself.
const DEFAULT_FILTER: &str = "info,kube_client=off,kube_runtime=error";

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Run(args) => {
            log(args.log_format);
            rdmamesh_operator::run::run(args).await
        }
        Command::Crds => crds(),
    }
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
