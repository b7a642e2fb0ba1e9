//! World cluster: the nodes, the release that Helm installs on them, and faults of both.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;

use super::Rig;
use crate::cluster::node::Node;
use crate::cluster::release::Tools;
use crate::control_plane::credentials::NAMESPACE;
use crate::fault::desired::Desired;

/// Replicas of the operator come and go; under software emulation on a busy machine.
const SCALED_WITHIN: Duration = Duration::from_secs(180);
const OPERATOR: &str = "deployment/rdmamesh-operator";

impl Rig {
    /// Whether the hosts are Kubernetes nodes.
    pub fn is_cluster(&self) -> bool {
        self.state.cluster.is_some()
    }

    /// Helm and kubectl, with the administrator's rights.
    pub fn tools(&self) -> Tools {
        Tools::new(&self.layout, self.admin_kubeconfig(), self.folder())
    }

    /// Runs something with a host's node.
    ///
    /// # Errors
    /// When there is no such host, the environment is no cluster, or the work fails.
    pub async fn with_node<T>(
        &self,
        host: &str,
        work: impl AsyncFnOnce(Node<'_>) -> Result<T>,
    ) -> Result<T> {
        if !self.is_cluster() {
            bail!("the hosts of this environment are no nodes: bring it up with --world cluster");
        }
        let host = self.fabric.host(host)?;
        let guest = self.guest();
        work(Node::of(&guest, self.folder(), &host.name)).await
    }

    /// Installs the product and waits until all of it is ready.
    pub(super) async fn install_release(&mut self) -> Result<()> {
        self.progress.say("installing the chart");
        let tools = self.tools();
        tools.write_values(self.state.telemetry.port())?;
        tools.install(&[]).await?;
        self.progress.say("operator and agents are ready");
        self.state.agents = true;
        self.save()
    }

    /// Port of the OTLP collector: at 10.0.2.2 in the guest.
    pub fn collector_port(&self) -> u16 {
        self.state.telemetry.port()
    }

    /// Installs the product where it is not installed yet.
    ///
    /// # Errors
    /// When the environment is no cluster, or something does not get ready.
    pub async fn ensure_release(&mut self) -> Result<()> {
        if !self.is_cluster() {
            bail!("the hosts of this environment are no nodes: bring it up with --world cluster");
        }
        if self.state.agents {
            return Ok(());
        }
        self.install_release().await
    }

    /// Tells the rig whether the product is installed, after a test has uninstalled or installed it.
    ///
    /// # Errors
    /// When the state cannot be written.
    pub fn set_installed(&mut self, installed: bool) -> Result<()> {
        self.state.agents = installed;
        self.save()
    }

    /// Log files of all containers that the nodes have run, by `pod/container`; new ones appear with new pods.
    pub(super) fn container_logs(&self) -> Vec<(String, PathBuf)> {
        let mut logs = Vec::new();
        for host in self.fabric.hosts() {
            // <namespace>_<pod>_<uid>/<container>/<restarts>.log
            let pods = crate::cluster::pod_logs(self.folder(), &host.name);
            for pod in folders(&pods) {
                let name = pod.file_name().unwrap_or_default().to_string_lossy();
                let name = name.split('_').nth(1).unwrap_or_default().to_owned();
                for container in folders(&pod) {
                    let kind = container.file_name().unwrap_or_default().to_string_lossy();
                    let latest = folders(&container).into_iter().next_back();
                    logs.extend(latest.map(|log| (format!("{name}/{kind}"), log)));
                }
            }
        }
        logs
    }

    /// Switches hosts off that a fault has just switched off.
    pub(super) async fn power_off(&self, from: &Desired, to: &Desired) -> Result<()> {
        for host in to.off.difference(&from.off) {
            if self.is_cluster() {
                self.with_node(host, async |node| node.power_off().await)
                    .await?;
            }
        }
        Ok(())
    }

    /// Switches hosts on that no fault keeps off any more.
    pub(super) async fn power_on(&self, from: &Desired, to: &Desired) -> Result<()> {
        for host in from.off.difference(&to.off) {
            if self.is_cluster() {
                self.with_node(host, async |node| node.power_on().await)
                    .await?;
            }
        }
        Ok(())
    }

    /// Kills all replicas of the operator and keeps them away.
    pub(super) async fn remove_operator_pods(&self) -> Result<()> {
        let tools = self.tools();
        tools
            .kubectl(&["-n", NAMESPACE, "scale", OPERATOR, "--replicas=0"])
            .await?;
        for host in self.fabric.hosts() {
            self.with_node(&host.name, async |node| match node.operator_pid().await? {
                Some(pid) => node.signal(pid, Signal::SIGKILL).await,
                None => Ok(()),
            })
            .await?;
        }
        Ok(())
    }

    /// Lets the operator's replicas come back and waits for them.
    pub(super) async fn restore_operator_pods(&self) -> Result<()> {
        let tools = self.tools();
        let timeout = format!("--timeout={}s", SCALED_WITHIN.as_secs());
        tools
            .kubectl(&["-n", NAMESPACE, "scale", OPERATOR, "--replicas=2"])
            .await?;
        tools
            .kubectl(&["-n", NAMESPACE, "rollout", "status", OPERATOR, &timeout])
            .await
            .context("wait for the operator")?;
        Ok(())
    }
}

/// Entries of a folder in order; none when it is not there.
fn folders(path: &std::path::Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(path) else {
        return Vec::new();
    };
    let mut paths: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    paths.sort();
    paths
}
