//! The product in a cluster: a Helm release, as a user has it, with the rig's values.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::process::Command;

use crate::control_plane::credentials::NAMESPACE;
use crate::control_plane::pki::HOST_AS_SEEN_BY_GUEST;
use crate::layout::Layout;
use crate::tools::Tool;

/// Name of the release.
pub const RELEASE: &str = "rdmamesh";
/// Everything of the chart runs and is ready; under software emulation on a busy machine.
const INSTALLED_WITHIN: Duration = Duration::from_secs(900);

/// Runs the real `helm` and `kubectl` against a cluster.
#[derive(Clone, Debug)]
pub struct Tools {
    layout: Layout,
    kubeconfig: PathBuf,
    folder: PathBuf,
}

impl Tools {
    /// For the environment with this folder.
    pub fn new(layout: &Layout, kubeconfig: PathBuf, folder: &Path) -> Self {
        Self {
            layout: layout.clone(),
            kubeconfig,
            folder: folder.to_path_buf(),
        }
    }

    /// Runs kubectl; returns what it printed.
    ///
    /// # Errors
    /// When it fails; the message has what it printed.
    pub async fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        self.run(Tool::Kubectl, arguments).await
    }

    /// Runs helm; returns what it printed.
    ///
    /// # Errors
    /// When it fails; the message has what it printed.
    pub async fn helm(&self, arguments: &[&str]) -> Result<String> {
        self.run(Tool::Helm, arguments).await
    }

    async fn run(&self, tool: Tool, arguments: &[&str]) -> Result<String> {
        let helm_home = self.folder.join("helm");
        let output = Command::new(tool.path(&self.layout))
            .args(arguments)
            .env("KUBECONFIG", &self.kubeconfig)
            .env("HELM_CACHE_HOME", &helm_home)
            .env("HELM_CONFIG_HOME", &helm_home)
            .env("HELM_DATA_HOME", &helm_home)
            .stdin(std::process::Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .with_context(|| format!("run {}", tool.program()))?;
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            return Ok(stdout);
        }
        bail!(
            "`{} {}` ended with {}: {stdout}{}",
            tool.program(),
            arguments.join(" "),
            output.status,
            String::from_utf8_lossy(&output.stderr)
        )
    }

    /// The chart.
    pub fn chart(&self) -> PathBuf {
        self.layout.workspace().join("charts/rdmamesh")
    }

    /// Writes the rig's values, once per environment.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_values(&self, collector_port: u16) -> Result<PathBuf> {
        let file = self.values();
        let text = format!(
            "# What the rig sets; everything else is the chart's default.
log: {{filter: {}}}
telemetry: {{otlp: {{endpoint: 'http://{HOST_AS_SEEN_BY_GUEST}:{collector_port}', intervalMs: 5000}}}}
tracer: {{enabled: true}}
# Kubelets and agents share two emulated processors: what probes goes first.
agent: {{resources: {{requests: {{cpu: 400m}}}}}}
",
            crate::rig::log_filter()
        );
        std::fs::write(&file, text).context("write the chart's values")?;
        Ok(file)
    }

    /// The rig's values file.
    pub fn values(&self) -> PathBuf {
        self.folder.join("values.yaml")
    }

    /// Installs the chart, or upgrades the release, with the rig's values and more `--set` pairs; returns when
    /// everything is ready.
    ///
    /// # Errors
    /// When Helm refuses or something does not get ready.
    pub async fn install(&self, more: &[&str]) -> Result<String> {
        let (chart, values) = (self.chart(), self.values());
        let (chart, values) = (path(&chart)?, path(&values)?);
        let timeout = format!("{}s", INSTALLED_WITHIN.as_secs());
        let mut arguments = vec![
            "upgrade",
            "--install",
            RELEASE,
            chart,
            "--namespace",
            NAMESPACE,
            "--create-namespace",
            "--values",
            values,
            "--wait",
            "--timeout",
            &timeout,
        ];
        for pair in more {
            arguments.extend(["--set", pair]);
        }
        self.helm(&arguments).await
    }
}

fn path(path: &Path) -> Result<&str> {
    path.to_str().context("the path is text")
}
