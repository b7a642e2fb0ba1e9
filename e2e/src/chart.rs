//! The product's Helm chart, as a user's Helm sees it: what it renders, and a release of it in a cluster. Everybody who
//! needs the product's roles takes them from here, so that there is one copy of them.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::control_plane::credentials::NAMESPACE;
use crate::layout::Layout;
use crate::progress::Progress;
use crate::tools::{Tool, go};

pub mod rights;
pub mod schemas;

/// Name of the release, wherever the rig installs the chart.
pub const RELEASE: &str = "rdmamesh";
/// What the processes of the rig need of the chart while there are no pods.
const ACCESS: &[&str] = &["operator-rbac", "agent-rbac", "admission-policy"];

/// The chart of this work tree and the Helm that handles it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Chart {
    helm: PathBuf,
    folder: PathBuf,
    home: PathBuf,
    kubeconfig: Option<PathBuf>,
}

/// What a Helm command came to.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Whether it succeeded.
    pub success: bool,
    /// Its standard output.
    pub output: String,
    /// Its standard error, without what it says about symbolic links.
    pub errors: String,
}

impl Answer {
    /// The output of a command that had to succeed.
    ///
    /// # Errors
    /// When it did not, with Helm's words.
    pub fn succeeded(self) -> Result<String> {
        if !self.success {
            bail!("helm: {}", self.errors.trim());
        }
        Ok(self.output)
    }

    /// The words of a command that had to fail.
    ///
    /// # Errors
    /// When it did not.
    pub fn refused(self) -> Result<String> {
        if self.success {
            bail!("helm accepted what it had to refuse");
        }
        Ok(self.errors)
    }
}

impl Chart {
    /// The chart of the work tree; Helm is built when it is not there yet (minutes, once).
    ///
    /// # Errors
    /// When Helm cannot be built.
    pub async fn of_workspace(layout: &Layout, progress: &Progress) -> Result<Self> {
        go::ensure(layout, progress, &[Tool::Helm]).await?;
        Ok(Self {
            helm: Tool::Helm.path(layout),
            folder: layout.workspace().join("charts/rdmamesh"),
            home: layout.rig().join("helm"),
            kubeconfig: None,
        })
    }

    /// The same chart, for commands that talk to the cluster of `kubeconfig`.
    #[must_use]
    pub fn in_cluster(&self, kubeconfig: &Path) -> Self {
        Self {
            kubeconfig: Some(kubeconfig.to_owned()),
            ..self.clone()
        }
    }

    /// Another chart folder with the same Helm.
    #[must_use]
    pub fn in_folder(&self, folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            ..self.clone()
        }
    }

    /// The chart's folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Runs `helm` with these arguments; `values` is a values file given on standard input where `arguments` say
    /// `--values -`.
    ///
    /// # Errors
    /// When Helm cannot be run. That it refuses is an answer.
    pub async fn helm(&self, arguments: &[&str], values: &str) -> Result<Answer> {
        let mut command = Command::new(&self.helm);
        command
            .args(arguments)
            .env("HELM_CACHE_HOME", self.home.join("cache"))
            .env("HELM_CONFIG_HOME", self.home.join("config"))
            .env("HELM_DATA_HOME", self.home.join("data"))
            .env_remove("KUBECONFIG")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        if let Some(kubeconfig) = &self.kubeconfig {
            command.env("KUBECONFIG", kubeconfig);
        }
        let mut child = command
            .spawn()
            .with_context(|| format!("run {}", self.helm.display()))?;
        if let Some(mut stdin) = child.stdin.take() {
            // A Helm that fails early does not read its values; its own words say why.
            stdin.write_all(values.as_bytes()).await.ok();
        }
        let done = child.wait_with_output().await.context("wait for helm")?;
        let errors = String::from_utf8_lossy(&done.stderr);
        let told: Vec<&str> = errors
            .lines()
            .filter(|line| !line.contains("found symbolic link in path"))
            .collect();
        Ok(Answer {
            success: done.status.success(),
            output: String::from_utf8_lossy(&done.stdout).into_owned(),
            errors: told.join("\n"),
        })
    }

    /// Renders the chart without a cluster, with `values` (YAML) and further arguments.
    ///
    /// # Errors
    /// As [`Self::helm`].
    pub async fn template(&self, values: &str, more: &[&str]) -> Result<Answer> {
        self.with_chart(&["template"], values, more).await
    }

    /// Installs the chart, or upgrades it, with `values` (YAML); waits for nothing unless `more` says so.
    ///
    /// # Errors
    /// As [`Self::helm`].
    pub async fn upgrade(&self, values: &str, more: &[&str]) -> Result<Answer> {
        self.with_chart(
            &["upgrade", "--install", "--create-namespace"],
            values,
            more,
        )
        .await
    }

    /// Removes the release.
    ///
    /// # Errors
    /// As [`Self::helm`].
    pub async fn uninstall(&self) -> Result<Answer> {
        self.helm(&["uninstall", RELEASE, "--namespace", NAMESPACE], "")
            .await
    }

    async fn with_chart(&self, verb: &[&str], values: &str, more: &[&str]) -> Result<Answer> {
        let folder = self.folder.display().to_string();
        let release = [RELEASE, folder.as_str(), "--namespace", NAMESPACE];
        let given = ["--values", "-"];
        let arguments = [verb, &release, &given, more].concat();
        self.helm(&arguments, values).await
    }

    /// Namespace, service accounts, roles and admission policy, as manifests: what operator and agents need where they
    /// run as processes. Taints are allowed, because tests use them.
    ///
    /// # Errors
    /// When the chart does not render.
    pub async fn access_manifests(&self) -> Result<String> {
        let files: Vec<String> = ACCESS
            .iter()
            .map(|name| format!("--show-only=templates/{name}.yaml"))
            .collect();
        let files: Vec<&str> = files.iter().map(String::as_str).collect();
        let rendered = self
            .template("operator: {allowTaints: true}", &files)
            .await?
            .succeeded()
            .context("render the chart's roles")?;
        let namespace =
            format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {NAMESPACE}}}\n");
        Ok(format!("{namespace}{rendered}"))
    }
}
