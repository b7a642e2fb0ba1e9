//! The command line of `rig`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Args, Parser, Subcommand};

use crate::channel::server;
use crate::layout::Layout;
use crate::progress::Progress;
use crate::rig::{DEFAULT_NAME, Rig, registry};
use crate::{telemetry, tools};

mod environment;
mod in_vm;
mod inside;

/// A real RoCE fabric with RdmaMesh on it, on this machine.
#[derive(Debug, Parser)]
#[command(name = "rig", version)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Build or download everything that is not ours: Kubernetes, etcd, collector, the VM's kernel.
    Tools,
    /// Write the container images of operator, agent and pause as OCI archives.
    Images(crate::images::Images),
    /// Bring an environment up and leave it running.
    Up(environment::Up),
    /// End an environment.
    Down {
        #[command(flatten)]
        which: Which,
        /// End all environments.
        #[arg(long, conflicts_with = "name")]
        all: bool,
    },
    /// Play a scenario file in a fresh environment; succeeds only if every expectation held.
    Run(crate::runner::command::Run),
    /// Measure round-trip times, cost, time to verdict and planning.
    Bench(crate::bench::Bench),
    /// Play simulated cases of a population and print how right the verdicts were.
    Score(crate::score::Score),
    /// Count the tests in logs of `cargo test`.
    Tally(crate::report::tally::Tally),
    /// Judge flow records that somebody else made.
    Judge(crate::judge::Judge),
    /// Show the product: healthy, a cable goes bad, the verdict, healthy again.
    Demo(crate::demo::Demo),
    /// Show what is up, what has ended and which faults are in force.
    Status(Which),
    /// Print what a part has logged: a host's agent, `operator`, `kube-apiserver`, `otelcol`, `console`, …
    Logs {
        #[command(flatten)]
        which: Which,
        /// The part, e.g. `host1`.
        part: String,
        /// How many lines from the end.
        #[arg(long, default_value_t = 200)]
        lines: usize,
    },
    /// Open a shell in a host's (or leaf's, spine's) network namespace.
    Shell {
        #[command(flatten)]
        which: Which,
        /// E.g. `host1`; `vm` is the guest itself.
        host: String,
    },
    /// Run a command in a host's (or leaf's, spine's) network namespace.
    Exec {
        #[command(flatten)]
        which: Which,
        /// E.g. `host1`; `vm` is the guest itself.
        host: String,
        /// How long it may take.
        #[arg(long, default_value = "10m", value_parser = humantime::parse_duration)]
        timeout: Duration,
        /// The command and its arguments.
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
    InVm(in_vm::InVm),
    /// Put a fault in force.
    Fault {
        #[command(flatten)]
        which: Which,
        /// What to call it.
        id: String,
        /// As in a scenario file, e.g. '{kind: loss, link: leaf1-spine2, percent: 30}'.
        fault: String,
    },
    /// End a fault.
    Clear {
        #[command(flatten)]
        which: Which,
        /// The fault's id.
        id: String,
    },
    /// Show every registered RNIC: node, device, GIDs, queue pairs, group, last seen.
    Registry(Which),
    /// Remove the files of environments that are not up; with --all also everything built and downloaded.
    Clean {
        /// Remove built programs and kernel too: the next run makes them again.
        #[arg(long)]
        all: bool,
    },
    /// The agent of the rig inside the VM.
    #[command(hide = true)]
    GuestAgent {
        #[arg(long)]
        listen: SocketAddr,
    },
    /// Keeps the metrics that the collector forwards.
    #[command(hide = true)]
    MetricsSink {
        #[arg(long)]
        listen: SocketAddr,
        #[arg(long)]
        out: PathBuf,
    },
}

/// Which environment.
#[derive(Debug, Args)]
struct Which {
    /// Name of the environment.
    #[arg(long, default_value = DEFAULT_NAME)]
    name: String,
}

impl Which {
    async fn attach(&self) -> Result<Rig> {
        Rig::attach(&self.name, Progress::new()).await
    }
}

impl Cli {
    /// Does what was asked; failure is told on standard error.
    #[expect(
        clippy::print_stderr,
        reason = "the last word to the person at the terminal"
    )]
    pub async fn run(self) -> ExitCode {
        match self.command.run().await {
            Ok(code) => code,
            Err(error) => {
                eprintln!("rig: {error:#}");
                ExitCode::FAILURE
            }
        }
    }
}

#[expect(clippy::print_stdout, reason = "what was asked for")]
fn print(text: &str) {
    println!("{}", text.trim_end());
}

impl Command {
    async fn run(self) -> Result<ExitCode> {
        match self {
            Self::Tools => {
                let layout = Layout::of_workspace()?;
                let progress = Progress::new();
                let artefacts = tools::ensure(&layout, &progress).await?;
                progress.say(format!("all there; kernel {}", artefacts.kernel.release));
            }
            Self::Images(images) => images.run().await?,
            Self::Up(up) => up.run().await?,
            Self::Run(run) => return run.run().await,
            Self::Demo(demo) => demo.run().await?,
            Self::Bench(bench) => return bench.run().await,
            Self::Judge(judge) => judge.run()?,
            Self::Score(score) => return score.run(),
            Self::Tally(tally) => return tally.run(),
            Self::Down { which, all } => environment::down(&which.name, all).await?,
            Self::Status(which) => return environment::status(&which).await,
            Self::Logs { which, part, lines } => environment::logs(&which, &part, lines).await?,
            Self::Shell { which, host } => inside::shell(&which, &host).await?,
            Self::Exec {
                which,
                host,
                timeout,
                command,
            } => {
                return inside::exec(&which, &host, timeout, command).await;
            }
            Self::InVm(program) => return program.run().await,
            Self::Fault { which, id, fault } => {
                let fault = serde_saphyr::from_str(&fault).context("parse the fault")?;
                which.attach().await?.apply_fault(&id, fault).await?;
            }
            Self::Clear { which, id } => which.attach().await?.clear_fault(&id).await?,
            Self::Registry(which) => {
                print(&registry::table(&which.attach().await?.registry().await?));
            }
            Self::Clean { all } => environment::clean(all)?,
            Self::GuestAgent { listen } => server::serve(listen).await?,
            Self::MetricsSink { listen, out } => telemetry::sink::serve(listen, &out).await?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The network namespace that a person means; none for the VM itself.
fn netns(rig: &Rig, place: &str) -> Result<Option<String>> {
    if place == "vm" {
        return Ok(None);
    }
    let fabric = rig.fabric();
    let hosts = fabric.hosts().iter().map(|host| host.name.clone());
    let places: Vec<String> = hosts
        .chain(fabric.leaves())
        .chain(fabric.spines())
        .collect();
    if places.iter().any(|known| known == place) {
        return Ok(Some(place.to_owned()));
    }
    bail!("there is no {place:?}; there are vm, {}", places.join(", "))
}
