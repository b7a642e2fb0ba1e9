//! The root file system of an image, laid out by the script that the Dockerfiles use too, and a check that the program
//! finds everything it is linked with there.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::child::checked;

/// Lays the files of `packages` out in `root`.
pub(super) fn lay_out(workspace: &Path, packages: &[String], root: &Path) -> Result<()> {
    let script = workspace.join("e2e/images/rootfs.sh");
    let output = Command::new(&script)
        .arg(root)
        .args(packages)
        .output()
        .with_context(|| format!("run {}", script.display()))?;
    checked("laying out the root file system", &output)
}

/// Copies a program without its debugging information; function names stay, for backtraces.
pub(super) fn strip(program: &Path, out: &Path) -> Result<()> {
    let output = Command::new("strip")
        .arg("--strip-debug")
        .arg("-o")
        .arg(out)
        .arg(program)
        .output()
        .context("run strip: install the package binutils")?;
    checked("strip", &output)
}

/// Refuses a root file system that lacks a library of the program.
pub(super) fn check_libraries(program: &Path, root: &Path) -> Result<()> {
    let output = Command::new("ldd")
        .arg(program)
        .output()
        .context("run ldd")?;
    checked("ldd", &output)?;
    let missing: Vec<String> = libraries(&String::from_utf8_lossy(&output.stdout))
        .filter(|path| !in_root(root, path))
        .map(str::to_owned)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    bail!(
        "the image lacks {}: add the packages that own them to the Dockerfile (`dpkg -S FILE`)",
        missing.join(", ")
    )
}

/// Paths of the libraries in what ldd prints.
fn libraries(listing: &str) -> impl Iterator<Item = &str> {
    listing
        .lines()
        .filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')))
}

/// `/lib` of the image is a link to `/usr/lib`; links of libraries may be absolute, so that only their names count.
fn in_root(root: &Path, path: &str) -> bool {
    let path = path.trim_start_matches('/');
    root.join(path).symlink_metadata().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_that_is_not_in_the_image_is_found() {
        let listing = "\tlinux-vdso.so.1 (0x0)\n\tliba.so.1 => /lib/x/liba.so.1 (0x0)\n\t/lib64/ld.so.2 (0x0)\n";
        let found: Vec<&str> = libraries(listing).collect();
        assert_eq!(found, ["/lib/x/liba.so.1", "/lib64/ld.so.2"]);
        let root = tempfile::tempdir().expect("a temporary folder");
        std::fs::create_dir_all(root.path().join("usr/lib/x")).expect("create");
        std::os::unix::fs::symlink("usr/lib", root.path().join("lib")).expect("link");
        std::fs::write(root.path().join("usr/lib/x/liba.so.1"), "").expect("write");
        assert!(in_root(root.path(), found[0]));
        assert!(!in_root(root.path(), found[1]));
    }
}
