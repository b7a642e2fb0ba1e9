//! The agents: one process in each host's network namespace in the guest.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;

use super::Rig;
use crate::channel::Program;
use crate::control_plane::credentials::{self, Credential};
use crate::control_plane::pki::{HOST_AS_SEEN_BY_GUEST, write_secret};
use crate::fault::transition::cgroup;
use crate::layout::Layout;

const PROGRAM: &str = "rdmamesh-agent";
/// Port of /metrics, /livez and /readyz on each host's management address.
pub const AGENT_HTTP_PORT: u16 = 9464;
const CONTROL_PORT: u16 = 7475;
const METRIC_INTERVAL: Duration = Duration::from_secs(5);
const KILLED_WITHIN: Duration = Duration::from_secs(30);

pub(super) fn check_built(layout: &Layout) -> Result<()> {
    layout.product(PROGRAM).map(|_| ())
}

/// What the product logs: `RUST_LOG` of whoever runs the rig, else enough to follow a run.
pub(crate) fn log_filter() -> String {
    std::env::var("RUST_LOG").unwrap_or_else(|_| "info".to_owned())
}

fn unit(host: &str) -> String {
    format!("agent-{host}")
}

impl Rig {
    /// Puts program, probe key and each agent's credentials into the folder that the guest shares.
    pub(super) async fn install_agents(&self) -> Result<()> {
        let program = self.folder().join("bin").join(PROGRAM);
        Layout::place(&self.layout.product(PROGRAM)?, &program)?;
        let mut key = [0; 32];
        getrandom::fill(&mut key)
            .map_err(|error| anyhow::anyhow!("make the probe key: {error}"))?;
        let keys = self.folder().join("keys");
        std::fs::create_dir_all(&keys).context("create the folder of probe keys")?;
        write_secret(&keys.join("1"), &credentials::base64(&key))?;
        std::fs::create_dir_all(self.folder().join("agents"))
            .context("create the agents' folder")?;
        let server = format!(
            "https://{HOST_AS_SEEN_BY_GUEST}:{}",
            self.state.plane.api_port()
        );
        let authority = self.state.plane.authority_certificate()?;
        for host in self.fabric.hosts() {
            let token = credentials::agent_token(&self.client, &host.name).await?;
            let path = self.agent_kubeconfig(&host.name);
            credentials::write_kubeconfig(&path, &server, &authority, &Credential::Token(token))?;
        }
        Ok(())
    }

    /// Starts a host's agent. It need not be there already when this returns. In a cluster the kubelet starts it: this
    /// waits until it has.
    ///
    /// # Errors
    /// When it is running or cannot be started.
    pub async fn start_agent(&self, host: &str) -> Result<()> {
        if self.is_cluster() {
            return self
                .with_node(host, async |node| node.wait_agent(None).await.map(drop))
                .await;
        }
        let host = self.fabric.host(host)?;
        let folder = self.folder();
        let endpoint = format!(
            "http://{HOST_AS_SEEN_BY_GUEST}:{}",
            self.state.telemetry.port()
        );
        let program = Program {
            argv: vec![
                folder.join("bin").join(PROGRAM).display().to_string(),
                "run".to_owned(),
                format!("--http-listen=0.0.0.0:{AGENT_HTTP_PORT}"),
                format!("--control-listen=0.0.0.0:{CONTROL_PORT}"),
                format!("--control-address={}", host.management),
                format!("--probe-keys={}", folder.join("keys").display()),
                format!("--trace-socket={}", super::tracers::socket(&host.name)),
            ],
            env: [
                ("NODE_NAME", host.name.clone()),
                (
                    "KUBECONFIG",
                    self.agent_kubeconfig(&host.name).display().to_string(),
                ),
                ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint),
                (
                    "OTEL_METRIC_EXPORT_INTERVAL",
                    METRIC_INTERVAL.as_millis().to_string(),
                ),
                ("RUST_LOG", log_filter()),
            ]
            .map(|(name, value)| (name.to_owned(), value))
            .into(),
            netns: Some(host.name.clone()),
            cgroup: Some(cgroup(&host.name)),
        };
        self.guest()
            .start(&unit(&host.name), program, &self.agent_log(&host.name))
            .await?;
        Ok(())
    }

    /// Kills a host's agent, as a crash would.
    ///
    /// # Errors
    /// When it does not end.
    pub async fn kill_agent(&self, host: &str) -> Result<()> {
        let signal = Signal::SIGKILL;
        if self.is_cluster() {
            // Its kubelet starts it again at once: that it ended can only be told by its process id.
            return self.signal_agent(host, signal).await;
        }
        let unit = unit(&self.fabric.host(host)?.name);
        self.guest().signal(&unit, signal).await?;
        if self
            .guest()
            .wait(&unit, KILLED_WITHIN)
            .await?
            .exit
            .is_none()
        {
            bail!(
                "the agent of {host} does not end within {} s of {signal}",
                KILLED_WITHIN.as_secs()
            );
        }
        Ok(())
    }

    /// Sends a signal to a host's agent.
    ///
    /// # Errors
    /// When it was never started.
    pub async fn signal_agent(&self, host: &str, signal: Signal) -> Result<()> {
        if self.is_cluster() {
            return self
                .with_node(host, async |node| match node.agent_pid().await? {
                    Some(pid) => node.signal(pid, signal).await,
                    None => bail!("no agent runs on {host}"),
                })
                .await;
        }
        self.guest()
            .signal(&unit(&self.fabric.host(host)?.name), signal)
            .await
    }

    /// Process id of a host's agent in the guest; none when it does not run.
    ///
    /// # Errors
    /// When the guest does not answer.
    pub async fn agent_pid(&self, host: &str) -> Result<Option<i32>> {
        if self.is_cluster() {
            return self
                .with_node(host, async |node| node.agent_pid().await)
                .await;
        }
        let units = self.guest().units().await?;
        let state = units.get(&unit(&self.fabric.host(host)?.name));
        Ok(state
            .filter(|state| state.exit.is_none())
            .map(|state| state.pid))
    }

    /// What a host's agent serves at a path, e.g. `/metrics`.
    ///
    /// # Errors
    /// When it does not answer with success.
    pub async fn agent_http(&self, host: &str, path: &str) -> Result<String> {
        let address = self.fabric.host(host)?.management;
        let address = format!("http://{address}:{AGENT_HTTP_PORT}{path}");
        let curl = Program::new([
            "curl",
            "--silent",
            "--show-error",
            "--fail",
            "--max-time",
            "5",
        ]);
        let program = Program {
            argv: [curl.argv, vec![address]].concat(),
            ..curl
        };
        let what = format!("asking the agent of {host} for {path}");
        self.guest()
            .run(program, "", Duration::from_secs(10))
            .await?
            .checked(&what)
    }

    /// Log file of a host's agent, on the host machine.
    pub fn agent_log(&self, host: &str) -> PathBuf {
        self.folder().join(format!("logs/agent-{host}.log"))
    }

    fn agent_kubeconfig(&self, host: &str) -> PathBuf {
        self.folder().join(format!("agents/{host}.kubeconfig"))
    }

    /// Hosts whose agent was started and does not run.
    pub(super) async fn ended_agents(&self) -> Result<Vec<String>> {
        if !self.state.agents {
            return Ok(Vec::new());
        }
        if self.is_cluster() {
            let mut ended = Vec::new();
            for host in self.fabric.hosts() {
                if self.agent_pid(&host.name).await?.is_none() {
                    ended.push(unit(&host.name));
                }
            }
            return Ok(ended);
        }
        let units = self.guest().units().await?;
        let runs = |host: &str| {
            units
                .get(&unit(host))
                .is_some_and(|state| state.exit.is_none())
        };
        let hosts = self.fabric.hosts().iter().map(|host| &host.name);
        Ok(hosts
            .filter(|host| !runs(host))
            .map(|host| unit(host))
            .collect())
    }
}
