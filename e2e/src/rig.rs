//! One whole environment: VM with fabric, control plane, collector, operator and agents.
//!
//! [`Rig::up`] makes it, [`Rig::attach`] finds the one that an earlier `rig up` left running. Whatever changes is
//! written to `state.json` in the run folder, so that the next `rig` call knows it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};

use crate::channel::Guest;
use crate::child::Lifetime;
use crate::cluster::Cluster;
use crate::control_plane::ControlPlane;
use crate::fabric::{Fabric, FabricSpec};
use crate::fault::Fault;
use crate::layout::Layout;
use crate::progress::Progress;
use crate::telemetry::Telemetry;
use crate::vm::Vm;

mod agents;
mod faults;
mod nodes;
mod operator;
pub mod registry;
mod tracers;
mod up;

pub use agents::AGENT_HTTP_PORT;
pub(crate) use agents::log_filter;
pub use up::{Options, World};

/// Name of an environment when none is given.
pub const DEFAULT_NAME: &str = "default";

const STATE_FILE: &str = "state.json";

/// What a later `rig` call must know.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct State {
    name: String,
    lifetime: Lifetime,
    fabric: FabricSpec,
    vm: Vm,
    plane: ControlPlane,
    telemetry: Telemetry,
    /// Present when the product runs.
    operator: Option<operator::Operator>,
    agents: bool,
    /// Present in world cluster.
    cluster: Option<Cluster>,
    faults: BTreeMap<String, Fault>,
}

/// A running environment.
pub struct Rig {
    /// Whether it ends with this value when it is tied.
    owned: bool,
    layout: Layout,
    progress: Progress,
    fabric: Fabric,
    client: kube::Client,
    state: State,
}

impl Rig {
    /// The running environment of this name, whoever started it.
    ///
    /// # Errors
    /// When there is none, or its VM has ended.
    pub async fn attach(name: &str, progress: Progress) -> Result<Self> {
        let layout = Layout::of_workspace()?;
        let Some(state) = State::read(&layout, name)? else {
            bail!("no environment {name:?} is up: start one with `rig up FILE --name {name}`");
        };
        if !state.vm.is_alive() {
            bail!(
                "the VM of {name:?} has ended: run `rig down --name {name}`, then `rig up` again"
            );
        }
        Ok(Self {
            fabric: Fabric::new(state.fabric).context("the fabric was valid when it was built")?,
            client: state.plane.client().await?,
            owned: false,
            layout,
            progress,
            state,
        })
    }

    /// Names of all environments that have left a state file, running or not.
    ///
    /// # Errors
    /// When the folder of environments cannot be read.
    pub fn names() -> Result<Vec<String>> {
        let runs = Layout::of_workspace()?.runs();
        if !runs.is_dir() {
            return Ok(Vec::new());
        }
        let mut names: Vec<String> = std::fs::read_dir(&runs)
            .with_context(|| format!("list {}", runs.display()))?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|folder| folder.join(STATE_FILE).is_file())
            .filter_map(|folder| Some(folder.file_name()?.to_str()?.to_owned()))
            .collect();
        names.sort();
        Ok(names)
    }

    /// Ends everything of an environment, whatever is left of it. The logs stay until `rig clean`.
    ///
    /// # Errors
    /// When there is no such environment or something does not end.
    pub async fn down(name: &str) -> Result<()> {
        let layout = Layout::of_workspace()?;
        let Some(state) = State::read(&layout, name)? else {
            bail!("no environment {name:?} is up");
        };
        state.end().await
    }

    /// Ends this environment.
    ///
    /// # Errors
    /// When something does not end.
    pub async fn stop(mut self) -> Result<()> {
        self.owned = false;
        self.state.end().await
    }

    /// The fabric.
    pub fn fabric(&self) -> &Fabric {
        &self.fabric
    }

    /// A client of the API server with the administrator's rights.
    pub fn client(&self) -> kube::Client {
        self.client.clone()
    }

    /// Kubeconfig of the administrator, for the host machine.
    pub fn admin_kubeconfig(&self) -> PathBuf {
        self.state.plane.admin_kubeconfig()
    }

    /// The way into the VM.
    pub fn guest(&self) -> Guest {
        self.state.vm.guest()
    }

    /// The environment's folder; host and guest see it at this path.
    pub fn folder(&self) -> &Path {
        &self.state.vm.folder
    }

    /// What the collector has forwarded: one JSON object per line, see [`crate::telemetry::sink`].
    pub fn metrics_file(&self) -> PathBuf {
        self.state.telemetry.metrics_file()
    }

    /// Address of the operator's web server on the host machine, when the operator was started.
    pub fn operator_address(&self) -> Option<String> {
        self.state
            .operator
            .as_ref()
            .map(|operator| format!("127.0.0.1:{}", operator.http_port))
    }

    /// Log files by part: programs of the host, agents, the VM's console.
    pub fn logs(&self) -> Vec<(String, PathBuf)> {
        let mut logs = self.state.plane.logs();
        logs.extend(self.state.telemetry.logs());
        if let Some(operator) = &self.state.operator {
            logs.push((operator.process.name.clone(), operator.process.log.clone()));
        }
        if self.state.agents && !self.is_cluster() {
            let agents = self.fabric.hosts().iter();
            logs.extend(agents.map(|host| (host.name.clone(), self.agent_log(&host.name))));
        }
        if let Some(cluster) = &self.state.cluster {
            logs.extend(cluster.logs(self.folder(), &self.fabric));
            logs.extend(self.container_logs());
        }
        logs.push(("console".to_owned(), self.state.vm.console().to_path_buf()));
        logs
    }

    /// Programs that should run and do not, faults in force aside; empty when all is well.
    ///
    /// # Errors
    /// When the guest does not answer.
    pub async fn ended(&self) -> Result<Vec<String>> {
        let mut ended: Vec<String> = self
            .state
            .plane
            .ended()
            .iter()
            .map(|name| (*name).to_owned())
            .collect();
        ended.extend(
            self.state
                .telemetry
                .ended()
                .iter()
                .map(|name| (*name).to_owned()),
        );
        if let Some(operator) = &self.state.operator
            && !operator.process.is_alive()
        {
            ended.push(operator.process.name.clone());
        }
        if let Some(cluster) = &self.state.cluster {
            ended.extend(cluster.ended().into_iter().map(str::to_owned));
        }
        ended.extend(self.ended_agents().await?);
        Ok(ended)
    }

    fn save(&self) -> Result<()> {
        let path = self.folder().join(STATE_FILE);
        let unfinished = self.folder().join(".state.json.unfinished");
        let text = serde_json::to_vec_pretty(&self.state).context("serialise the state")?;
        std::fs::write(&unfinished, text).context("write the state file")?;
        std::fs::rename(&unfinished, &path).context("put the state file in place")
    }
}

impl State {
    fn read(layout: &Layout, name: &str) -> Result<Option<Self>> {
        let path = layout.run(name).join(STATE_FILE);
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("read {}", path.display())),
        };
        let state = serde_json::from_slice(&text).with_context(|| {
            format!(
                "{} is of another version of the rig: remove it",
                path.display()
            )
        })?;
        Ok(Some(state))
    }

    async fn end(&self) -> Result<()> {
        if let Some(operator) = &self.operator {
            operator.process.stop(Duration::from_secs(5)).await?;
        }
        self.vm.stop().await?;
        if let Some(cluster) = &self.cluster {
            cluster.stop().await?;
        }
        self.telemetry.stop().await?;
        self.plane.stop().await?;
        let path = self.vm.folder.join(STATE_FILE);
        std::fs::remove_file(&path).with_context(|| format!("remove {}", path.display()))
    }
}

impl Drop for Rig {
    /// A tied environment that nobody stopped (a failed test) ends here; the control plane ends by itself.
    fn drop(&mut self) {
        if !self.owned || self.state.lifetime == Lifetime::Detached {
            return;
        }
        // What cannot be signalled ends with this process, through the pipe it is tied with.
        if let Some(operator) = &self.state.operator {
            operator.process.signal(Signal::SIGTERM).ok();
        }
        self.state.vm.request_end();
        if let Some(cluster) = &self.state.cluster {
            cluster.request_end();
        }
        self.state.telemetry.request_end();
        std::fs::remove_file(self.state.vm.folder.join(STATE_FILE)).ok();
    }
}
