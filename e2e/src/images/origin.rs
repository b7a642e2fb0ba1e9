//! Which commit the images are made from, and its time, which all files carry.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use k8s_openapi::jiff::Timestamp;

/// Where the content comes from.
#[derive(Debug, Clone)]
pub(super) struct Origin {
    /// The commit, `-dirty` appended where the work tree differs; `unknown` outside of git.
    pub(super) revision: String,
    /// Seconds since 1970 that files carry.
    pub(super) epoch: u64,
}

impl Origin {
    /// The time in the form that image configurations have.
    pub(super) fn created(&self) -> Result<String> {
        let seconds = i64::try_from(self.epoch).context("SOURCE_DATE_EPOCH is too large")?;
        let time = Timestamp::from_second(seconds).context("SOURCE_DATE_EPOCH is too large")?;
        Ok(time.to_string())
    }
}

/// Asks the environment and git.
pub(super) fn of(workspace: &Path) -> Result<Origin> {
    let git = |arguments: &[&str]| {
        let output = Command::new("git")
            .arg("-C")
            .arg(workspace)
            .args(arguments)
            .output()
            .ok()?;
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        output.status.success().then_some(text)
    };
    let commit = git(&["rev-parse", "HEAD"]);
    let changed = git(&["status", "--porcelain", "--untracked-files=no"]);
    let revision = match (commit, changed.as_deref()) {
        (Some(commit), Some("")) => commit,
        (Some(commit), _) => format!("{commit}-dirty"),
        (None, _) => "unknown".to_owned(),
    };
    let epoch = match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(seconds) => seconds
            .parse()
            .context("SOURCE_DATE_EPOCH: write seconds since 1970")?,
        Err(_) => git(&["log", "-1", "--format=%ct"])
            .and_then(|seconds| seconds.parse().ok())
            .unwrap_or(0),
    };
    Ok(Origin { revision, epoch })
}
