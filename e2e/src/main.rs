//! The `rig` program: see `rig --help` and the crate's documentation.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser as _;
use rdmamesh_e2e::cli::Cli;
use tracing_subscriber::EnvFilter;

#[tokio::main]
async fn main() -> ExitCode {
    // The client library reports every refused connection; the rig waits for servers and says itself what fails.
    let filter = EnvFilter::try_from_env("RIG_LOG")
        .unwrap_or_else(|_| EnvFilter::new("warn,kube_client=off"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    Cli::parse().run().await
}
