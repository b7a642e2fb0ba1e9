//! promtool, which checks alerting rules and plays them: out of the machine's own package `prometheus`, unpacked and
//! not installed. Building it from its Go module would compile every service discovery of Prometheus.

use std::path::PathBuf;

use anyhow::{Context, Result};
use tokio::process::Command;

use super::{lock, package};
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
    let folders = (unfinished.path(), unfinished.path());
    let packages = [PACKAGE.to_owned()];
    if package::unpack(apt_get(), &packages, folders)
        .await
        .is_err()
    {
        // A fresh machine has no package lists yet.
        let output = apt_get().arg("update").output().await;
        checked("`apt-get update`", &output.context("run apt-get")?)?;
        package::unpack(apt_get(), &packages, folders).await?;
    }
    let unpacked = unfinished.path().join("usr/bin/promtool");
    std::fs::rename(&unpacked, &program)
        .with_context(|| format!("the package {PACKAGE} has promtool"))?;
    Ok(program)
}

fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    // The package lands in a folder of root's: without this apt warns about its own user.
    command.args(["-o", "APT::Sandbox::User=root"]);
    command.kill_on_drop(true);
    command
}
