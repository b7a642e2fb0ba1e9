//! The guest's kernel: the newest one of Debian's trixie-backports from 7.1 on, where soft-RoCE works in network
//! namespaces. Its packages are unpacked, never installed, through an apt root of the rig's own.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use super::lock;
use crate::layout::Layout;
use crate::progress::Progress;

mod apt;

/// Oldest version in which rxe works across network namespaces.
const OLDEST: Version = Version(7, 1, 0);
/// What the guest loads at boot, with what it depends on: kept uncompressed, since xz is slow without KVM.
const LOADED: &[&str] = &[
    "9p",
    "9pnet_virtio",
    "overlay",
    "virtio_net",
    "veth",
    "bridge",
    "sch_netem",
    "rdma_rxe",
    "ib_uverbs",
    "rdma_ucm",
    "nft_chain_nat",
    "nft_masq",
];

/// An unpacked kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Kernel {
    /// As `uname -r` says it, e.g. `7.3.4+deb13-amd64`.
    pub release: String,
    /// The folder that its packages were unpacked to.
    pub root: PathBuf,
}

impl Kernel {
    /// The boot image.
    pub fn image(&self) -> PathBuf {
        let inside = self.modules().join(&self.release).join("vmlinuz");
        if inside.is_file() {
            inside
        } else {
            self.root
                .join("boot")
                .join(format!("vmlinuz-{}", self.release))
        }
    }

    /// What belongs at `/lib/modules` in the guest.
    pub fn modules(&self) -> PathBuf {
        self.root.join("lib/modules")
    }

    /// The file of one module, uncompressed.
    ///
    /// # Errors
    /// When this kernel has no such module.
    pub fn module_file(&self, module: &str) -> Result<PathBuf> {
        let folder = self.modules().join(&self.release);
        let index =
            std::fs::read_to_string(folder.join("modules.dep")).context("read modules.dep")?;
        let file = format!("{module}.ko");
        index
            .lines()
            .filter_map(|line| line.split_once(':'))
            .map(|(path, _)| Path::new(path))
            .find(|path| path.file_name().is_some_and(|name| name == file.as_str()))
            .map(|path| folder.join(path))
            .with_context(|| format!("kernel {} has no module {module}", self.release))
    }

    fn is_whole(&self) -> bool {
        self.image().is_file()
            && LOADED
                .iter()
                .all(|module| self.module_file(module).is_ok_and(|file| file.is_file()))
    }
}

/// Upstream version; only compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Version(u32, u32, u32);

impl Version {
    /// From a release like `7.3.4+deb13-amd64` (or `7.1+deb13-amd64`).
    fn of_release(release: &str) -> Option<Self> {
        let upstream = release.split(['+', '-', '~']).next()?;
        let mut numbers = upstream.split('.').map(str::parse);
        let version = Self(
            numbers.next()?.ok()?,
            numbers.next()?.ok()?,
            numbers.next().unwrap_or(Ok(0)).ok()?,
        );
        Some(version)
    }
}

/// The cached kernel if there is a whole one, else the newest of the archive.
///
/// # Errors
/// When no Debian archive is known or reachable, or it offers no kernel that is new enough.
pub async fn ensure(layout: &Layout, progress: &Progress) -> Result<Kernel> {
    let folder = layout.kernel();
    let _lock = lock(&folder).await?;
    // Written last: a kernel named here was complete once; whether it still is gets checked.
    let record = folder.join("current.json");
    if let Ok(text) = std::fs::read(&record)
        && let Ok(kernel) = serde_json::from_slice::<Kernel>(&text)
        && kernel.is_whole()
    {
        return Ok(kernel);
    }
    remove_unfinished(&folder)?;
    let apt = apt::Apt::of_machine(layout)?;
    progress.say("looking for the newest kernel in Debian's trixie-backports");
    apt.update().await?;
    let packages = apt.package_names("linux-").await?;
    let choice = choose(&packages)?;
    progress.say(format!(
        "downloading kernel {} ({} packages)",
        choice.release,
        choice.packages.len()
    ));
    let unfinished = tempfile::tempdir_in(&folder).context("make a folder for the kernel")?;
    apt.unpack(&choice.packages, unfinished.path()).await?;
    prepare(unfinished.path(), &choice.release).await?;
    let kernel = Kernel {
        root: folder.join(&choice.release),
        release: choice.release,
    };
    if kernel.root.exists() {
        std::fs::remove_dir_all(&kernel.root).context("remove the damaged kernel")?;
    }
    std::fs::rename(unfinished.keep(), &kernel.root).context("put the kernel in place")?;
    if !kernel.is_whole() {
        bail!(
            "the packages of kernel {} lack the boot image or a module the rig needs",
            kernel.release
        );
    }
    let text = serde_json::to_vec(&kernel).context("serialise the kernel's record")?;
    std::fs::write(&record, text).context("write the kernel's record")?;
    Ok(kernel)
}

/// Removes what a killed rig had begun to unpack.
fn remove_unfinished(folder: &Path) -> Result<()> {
    for entry in std::fs::read_dir(folder).context("list the kernels")? {
        let path = entry.context("list the kernels")?.path();
        let is_temporary = path
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with(".tmp"));
        if is_temporary && path.is_dir() {
            std::fs::remove_dir_all(&path).with_context(|| format!("remove {}", path.display()))?;
        }
    }
    Ok(())
}

#[derive(Debug, PartialEq, Eq)]
struct Choice {
    release: String,
    packages: Vec<String>,
}

/// The newest plain amd64 kernel. Newer ones come as linux-binary + linux-modules, older ones as one linux-image.
fn choose(packages: &[String]) -> Result<Choice> {
    let newest = packages
        .iter()
        .filter_map(|package| {
            let release = package
                .strip_prefix("linux-binary-")
                .or_else(|| package.strip_prefix("linux-image-"))?;
            let flavour = release.split_once('-')?.1;
            Some((Version::of_release(release)?, flavour == "amd64", release))
        })
        .filter(|(version, plain, _)| *version >= OLDEST && *plain)
        .max();
    let Some((_, _, release)) = newest else {
        bail!(
            "the archive offers no amd64 kernel from 7.1 on: check that it carries trixie-backports"
        );
    };
    let has = |package: &String| packages.contains(package);
    let split = ["binary", "modules"].map(|part| format!("linux-{part}-{release}"));
    let packages = if split.iter().all(has) {
        split.to_vec()
    } else {
        vec![format!("linux-image-{release}")]
    };
    Ok(Choice {
        release: release.to_owned(),
        packages,
    })
}

const PREPARE: &str = r#"set -euo pipefail
root=$1 release=$2; shift 2
[ -e "$root/lib" ] || ln -s usr/lib "$root/lib"
index() { depmod --basedir "$root" "$release" 2>&1 | grep -v 'could not open modules\.' || true; }
index
for module in "$@"; do
  modprobe --dirname "$root" --set-version "$release" --show-depends "$module"
done | awk '$1 == "insmod" {print $2}' | sort -u | { grep '\.xz$' || true; } | xargs --no-run-if-empty xz --decompress
index"#;

/// Makes the module index and decompresses the modules of the boot.
async fn prepare(root: &Path, release: &str) -> Result<()> {
    let output = tokio::process::Command::new("bash")
        .args(["-c", PREPARE, "prepare"])
        .arg(root)
        .arg(release)
        .args(LOADED)
        .output()
        .await
        .context("run bash")?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        bail!("preparing the modules failed (it needs the packages kmod and xz-utils): {text}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn the_newest_plain_kernel_is_chosen_by_number() {
        let offered = names(&[
            "linux-image-6.19.14+deb13-amd64",
            "linux-binary-7.2.9+deb13-amd64",
            "linux-modules-7.2.9+deb13-amd64",
            "linux-binary-7.2.12+deb13-amd64",
            "linux-modules-7.2.12+deb13-amd64",
            "linux-binary-7.3.4+deb13-cloud-amd64",
            "linux-binary-7.3.4+deb13-rt-amd64",
        ]);
        let choice = choose(&offered).expect("there is one");
        assert_eq!(choice.release, "7.2.12+deb13-amd64");
        let wanted = [
            "linux-binary-7.2.12+deb13-amd64",
            "linux-modules-7.2.12+deb13-amd64",
        ];
        assert_eq!(choice.packages, names(&wanted));
    }

    #[test]
    fn a_kernel_in_one_package_is_taken_as_that() {
        let offered = names(&[
            "linux-image-7.1.3+deb13-amd64",
            "linux-binary-7.1.3+deb13-amd64",
        ]);
        let choice = choose(&offered).expect("there is one");
        assert_eq!(choice.packages, names(&["linux-image-7.1.3+deb13-amd64"]));
    }

    #[test]
    fn an_archive_with_old_kernels_only_is_refused_with_the_reason() {
        let error = choose(&names(&["linux-image-6.12.1+deb13-amd64"])).expect_err("too old");
        assert!(error.to_string().contains("7.1"), "{error}");
    }
}
