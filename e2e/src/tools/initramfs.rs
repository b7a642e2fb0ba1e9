//! The guest's initramfs: busybox, one script and the five modules that mount the host's root over 9p.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use tokio::process::Command;

use super::kernel::Kernel;
use super::{lock, stamp};
use crate::layout::Layout;

const INIT: &str = include_str!("../../guest/initramfs.sh");
/// In the order in which they must be loaded.
const MODULES: &[&str] = &["netfs", "9pnet", "9pnet_virtio", "9p", "overlay"];
const PACK: &str = r#"set -euo pipefail
cd "$1"
find . | sort | cpio --create --format=newc --quiet --reproducible | gzip -1 > "$2""#;

/// Packs the image when it is not current; returns where it is.
///
/// # Errors
/// When busybox-static or cpio is missing, or the kernel lacks a module.
pub async fn ensure(layout: &Layout, kernel: &Kernel) -> Result<PathBuf> {
    let _lock = lock(&layout.kernel()).await?;
    let image = layout.kernel().join("initramfs.img");
    let busybox = std::fs::read("/bin/busybox")
        .context("read /bin/busybox: install the package busybox-static")?;
    let recipe = stamp::recipe([
        ("init", INIT.as_bytes()),
        ("kernel", kernel.release.as_bytes()),
        ("busybox", busybox.as_slice()),
        ("pack", PACK.as_bytes()),
    ]);
    if stamp::is_current(&image, &recipe) {
        return Ok(image);
    }
    let root = tempfile::tempdir_in(layout.kernel()).context("make a folder for the initramfs")?;
    fill(root.path(), kernel, &busybox)?;
    let unfinished = layout.kernel().join(".initramfs.unfinished");
    let output = Command::new("bash")
        .args(["-c", PACK, "pack"])
        .arg(root.path())
        .arg(&unfinished)
        .stdin(Stdio::null())
        .output()
        .await
        .context("run bash")?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        bail!("packing the initramfs failed (it needs the package cpio): {text}");
    }
    std::fs::rename(&unfinished, &image).context("put the initramfs in place")?;
    stamp::write(&image, &recipe)?;
    Ok(image)
}

fn fill(root: &Path, kernel: &Kernel, busybox: &[u8]) -> Result<()> {
    std::fs::create_dir(root.join("bin")).context("create bin")?;
    std::fs::create_dir(root.join("modules")).context("create modules")?;
    write_program(&root.join("bin/busybox"), busybox)?;
    write_program(&root.join("init"), INIT.as_bytes())?;
    for (index, module) in MODULES.iter().enumerate() {
        let source = kernel.module_file(module)?;
        // The number keeps the order of loading under the shell's sorted wildcard.
        let name = format!("{index}-{module}.ko");
        std::fs::copy(&source, root.join("modules").join(name))
            .with_context(|| format!("copy {}", source.display()))?;
    }
    Ok(())
}

fn write_program(path: &Path, content: &[u8]) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::write(path, content).with_context(|| format!("write {}", path.display()))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))
        .with_context(|| format!("make {} executable", path.display()))
}
