//! promtool, which checks alerting rules and plays them: out of the machine's own package `prometheus`, unpacked and
//! not installed. Building it from its Go module would compile every service discovery of Prometheus.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tokio::process::Command;

use super::lock;
use crate::child::checked;
use crate::layout::Layout;
use crate::progress::Progress;

const PACKAGE: &str = "prometheus";

/// Path of the program, downloaded if it is not there yet.
///
/// # Errors
/// When the machine's apt has no such package or cannot reach its archive.
pub async fn ensure(layout: &Layout, progress: &Progress) -> Result<PathBuf> {
    let folder = layout.bin();
    let _lock = lock(&folder).await?;
    let program = folder.join("promtool");
    if program.is_file() {
        return Ok(program);
    }
    progress.say("downloading promtool");
    let unfinished = tempfile::tempdir_in(&folder).context("make a folder for promtool")?;
    if apt_get(&["download", PACKAGE], unfinished.path())
        .await
        .is_err()
    {
        // A fresh machine has no package lists yet.
        apt_get(&["update"], unfinished.path()).await?;
        apt_get(&["download", PACKAGE], unfinished.path()).await?;
    }
    let output = Command::new("dpkg-deb")
        .arg("-x")
        .args(downloaded(unfinished.path())?)
        .arg(unfinished.path())
        .output()
        .await
        .context("run dpkg-deb")?;
    checked("`dpkg-deb -x`", &output)?;
    let unpacked = unfinished.path().join("usr/bin/promtool");
    std::fs::rename(&unpacked, &program)
        .with_context(|| format!("the package {PACKAGE} has promtool"))?;
    Ok(program)
}

async fn apt_get(arguments: &[&str], folder: &Path) -> Result<()> {
    let output = Command::new("apt-get")
        // The package lands in a folder of root's: without this apt warns about its own user.
        .args(["-o", "APT::Sandbox::User=root"])
        .args(arguments)
        .current_dir(folder)
        .output()
        .await
        .context("run apt-get")?;
    checked(&format!("`apt-get {}`", arguments.join(" ")), &output)
}

fn downloaded(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).context("list the download")?;
    let paths = entries.map(|entry| Ok(entry.context("list the download")?.path()));
    paths.collect()
}
