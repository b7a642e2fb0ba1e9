//! Command line.

use std::net::SocketAddr;

use clap::{Parser, Subcommand, ValueEnum};

pub use crate::verify::VerifyArgs;

/// Operator of RdmaMesh: plans meshes of RDMA probes and judges what their agents report.
#[derive(Debug, Parser)]
#[command(name = "rdmamesh-operator", version, about)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the operator against the cluster of KUBECONFIG, or the one that it runs in.
    Run(RunArgs),
    /// Print the CustomResourceDefinitions as YAML, ready for `kubectl apply --server-side -f -`.
    Crds,
    /// Look at an installation and say what is in place and what is not; `helm test` runs this.
    Verify(VerifyArgs),
}

/// Flags of `run`.
#[derive(Clone, Debug, Parser)]
pub struct RunArgs {
    /// Where /livez, /readyz and /metrics are served.
    #[arg(long, env = "RDMAMESH_HTTP_LISTEN", default_value = "127.0.0.1:8080")]
    pub http_listen: SocketAddr,

    /// Namespace of the Lease by which replicas elect who writes.
    #[arg(
        long,
        env = "RDMAMESH_LEASE_NAMESPACE",
        default_value = "rdmamesh-system"
    )]
    pub lease_namespace: String,

    /// Name of that Lease.
    #[arg(long, env = "RDMAMESH_LEASE_NAME", default_value = "rdmamesh-operator")]
    pub lease_name: String,

    /// Name of this replica in the Lease and in Events; unique among the replicas. Default: host name and a random part.
    #[arg(long, env = "RDMAMESH_IDENTITY")]
    pub identity: Option<String>,

    /// Form of the log lines; what is logged is chosen by RUST_LOG.
    #[arg(long, env = "RDMAMESH_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
}

/// Form of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn it_listens_on_loopback_unless_told_otherwise() {
        let cli = Cli::try_parse_from(["rdmamesh-operator", "run"]).expect("run needs no flag");
        let Command::Run(args) = cli.command else {
            unreachable!("run was asked for")
        };
        assert!(args.http_listen.ip().is_loopback());
    }
}
