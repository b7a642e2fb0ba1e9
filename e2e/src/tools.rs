//! The programs and the kernel that the rig needs and that are not ours: built from pinned Go modules ([`go`]) and
//! taken from Debian's packages ([`kernel`]), once. What is complete and current is reused; what is missing, outdated
//! or damaged is made again.

use std::path::Path;

use anyhow::Result;

use crate::layout::Layout;
use crate::progress::Progress;

pub mod go;
pub mod initramfs;
pub mod kernel;
mod package;
pub mod promtool;
pub mod stamp;

pub use go::Tool;

/// Everything a fabric environment needs.
#[derive(Clone, Debug)]
pub struct Artefacts {
    /// The guest's kernel.
    pub kernel: kernel::Kernel,
    /// The initramfs image.
    pub initramfs: std::path::PathBuf,
}

/// Builds, downloads or repairs whatever is not there yet. Two rigs at once wait for each other.
///
/// # Errors
/// When a program on the machine is missing (`go`, `apt-get`, …), a build fails or nothing can be downloaded; the
/// message says which and what to do.
pub async fn ensure(layout: &Layout, progress: &Progress) -> Result<Artefacts> {
    ensure_with(layout, progress, Tool::ALL).await
}

/// The guest's kernel and initramfs, and these programs.
///
/// # Errors
/// As [`ensure`].
pub async fn ensure_with(
    layout: &Layout,
    progress: &Progress,
    tools: &[Tool],
) -> Result<Artefacts> {
    go::ensure(layout, progress, tools).await?;
    ensure_guest(layout, progress).await
}

/// The guest's kernel and initramfs alone.
///
/// # Errors
/// As [`ensure`].
pub async fn ensure_guest(layout: &Layout, progress: &Progress) -> Result<Artefacts> {
    let kernel = kernel::ensure(layout, progress).await?;
    let initramfs = initramfs::ensure(layout, &kernel).await?;
    Ok(Artefacts { kernel, initramfs })
}

/// Holds the lock file of a folder until dropped, waiting for another rig that holds it.
async fn lock(folder: &Path) -> Result<std::fs::File> {
    use anyhow::Context as _;
    std::fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    let path = folder.join(".lock");
    let file = std::fs::File::create(&path).with_context(|| format!("open {}", path.display()))?;
    tokio::task::spawn_blocking(move || file.lock().map(|()| file))
        .await
        .context("wait for the lock")?
        .with_context(|| format!("lock {}", path.display()))
}
