//! Debian packages, downloaded by apt (which checks signature and hash) and unpacked without being installed.

use std::path::Path;

use anyhow::{Context, Result};
use tokio::process::Command;

use crate::child::checked;

/// Downloads `packages` by `apt_get`, an `apt-get` without its action, to a folder of its own in `scratch`, and unpacks
/// them to `folder`.
///
/// # Errors
/// When apt knows no such package or cannot reach its archive.
pub(super) async fn unpack(
    mut apt_get: Command,
    packages: &[String],
    (scratch, folder): (&Path, &Path),
) -> Result<()> {
    let download = tempfile::tempdir_in(scratch).context("make a download folder")?;
    let output = apt_get
        .arg("download")
        .args(packages)
        .current_dir(download.path())
        .output()
        .await
        .context("run apt-get")?;
    checked("`apt-get download`", &output)?;
    for entry in std::fs::read_dir(download.path()).context("list the packages")? {
        let output = Command::new("dpkg-deb")
            .arg("-x")
            .arg(entry.context("list the packages")?.path())
            .arg(folder)
            .output()
            .await
            .context("run dpkg-deb")?;
        checked("`dpkg-deb -x`", &output)?;
    }
    Ok(())
}
