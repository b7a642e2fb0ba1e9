//! The device nodes that a container gets.
//!
//! Linux gives the first 32 user-space verbs devices fixed numbers (`IB_UVERBS_MAJOR` 231, minor 192 + N in
//! `drivers/infiniband/core/uverbs_main.c`), so that nodes for devices which are not there yet can be made beforehand.
//! They are made in a folder of our own, where the container runtime only reads the numbers from them.

use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use rdmamesh_verbs::SysfsRoot;

use super::api::DeviceSpec;
use super::args::DevicePluginArgs;

/// How many verbs devices have fixed numbers.
pub(super) const FIXED: u16 = 32;
const MAJOR: u64 = 231;
const FIRST_MINOR: u64 = 192;
/// Where programs look for devices.
const FOLDER: &str = "/dev/infiniband";
/// Everybody may open them, as the rules of rdma-core have it on the host: the cgroup is what decides.
const MODE: u32 = 0o666;

/// Makes device nodes.
pub(super) trait Maker: Send + Sync + 'static {
    /// Makes sure that `path` is the character device with this number.
    fn make(&self, path: &Path, major: u64, minor: u64) -> io::Result<()>;
}

/// The real one; needs `CAP_MKNOD`.
#[derive(Debug)]
pub(super) struct SystemMaker;

impl Maker for SystemMaker {
    fn make(&self, path: &Path, major: u64, minor: u64) -> io::Result<()> {
        let number = makedev(major, minor);
        match path.symlink_metadata() {
            Ok(there) if there.file_type().is_char_device() && there.rdev() == number => {}
            Ok(_) => {
                std::fs::remove_file(path)?;
                mknod(path, SFlag::S_IFCHR, Mode::from_bits_truncate(MODE), number)?;
            }
            Err(_) => mknod(path, SFlag::S_IFCHR, Mode::from_bits_truncate(MODE), number)?,
        }
        // The mode above is subject to the umask.
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(MODE))
    }
}

/// What is handed out.
#[derive(Debug)]
pub(super) struct Nodes<M> {
    folder: PathBuf,
    hotplug: u16,
    rdma_cm: bool,
    maker: M,
}

impl<M: Maker> Nodes<M> {
    pub(super) fn new(args: &DevicePluginArgs, maker: M) -> Self {
        Self {
            folder: args.node_dir.clone(),
            hotplug: args.hotplug_nodes,
            rdma_cm: args.rdma_cm,
            maker,
        }
    }

    /// The nodes for a container that starts now. The nodes of our own folder are preferred also for devices that are
    /// there: a container can then start again while its device is gone.
    pub(super) fn hand_out(&self, sysfs: &SysfsRoot) -> Vec<DeviceSpec> {
        let present = present(sysfs);
        let made = self.make_all(&present);
        let mut specs: Vec<DeviceSpec> = (0..made)
            .map(|number| spec(&uverbs(number), &self.folder.join(uverbs(number))))
            .collect();
        let rest = present.iter().filter(|device| device.number >= made);
        specs.extend(rest.map(|device| {
            let name = uverbs(device.number);
            spec(&name, &Path::new(FOLDER).join(&name))
        }));
        if self.rdma_cm && sysfs.path().join("class/misc/rdma_cm").exists() {
            specs.push(spec("rdma_cm", &Path::new(FOLDER).join("rdma_cm")));
        }
        specs
    }

    /// Makes the nodes of the first numbers; returns of how many.
    fn make_all(&self, present: &[Uverbs]) -> u16 {
        if self.hotplug == 0 {
            return 0;
        }
        // Were the numbers not the fixed ones on some kernel, a made node would be the wrong device.
        if let Some(odd) = present.iter().find(|device| device.is_odd()) {
            let name = uverbs(odd.number);
            tracing::warn!(
                device = name,
                numbers = odd.numbers,
                "verbs devices have unusual numbers: only those that are there now are given out"
            );
            return 0;
        }
        match self.try_make_all() {
            Ok(()) => self.hotplug,
            Err(error) => {
                tracing::warn!(%error, folder = %self.folder.display(), "no device nodes made: a device that comes later under a new number needs a restart of the pod; grant CAP_MKNOD to the device plugin");
                0
            }
        }
    }

    fn try_make_all(&self) -> io::Result<()> {
        std::fs::create_dir_all(&self.folder)?;
        for number in 0..self.hotplug {
            let path = self.folder.join(uverbs(number));
            self.maker
                .make(&path, MAJOR, FIRST_MINOR + u64::from(number))?;
        }
        Ok(())
    }
}

fn uverbs(number: u16) -> String {
    format!("uverbs{number}")
}

fn spec(name: &str, host: &Path) -> DeviceSpec {
    DeviceSpec {
        container_path: format!("{FOLDER}/{name}"),
        host_path: host.display().to_string(),
        permissions: "rw".to_owned(),
    }
}

/// A verbs device of the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Uverbs {
    number: u16,
    /// `major:minor`.
    numbers: String,
}

impl Uverbs {
    /// Whether it is one of the first and has another number than these have.
    fn is_odd(&self) -> bool {
        let minor = FIRST_MINOR + u64::from(self.number);
        self.number < FIXED && self.numbers != format!("{MAJOR}:{minor}")
    }
}

/// Verbs devices that the kernel shows, in order of their number.
fn present(sysfs: &SysfsRoot) -> Vec<Uverbs> {
    let folder = sysfs.path().join("class/infiniband_verbs");
    let Ok(entries) = std::fs::read_dir(&folder) else {
        // No RDMA in this kernel.
        return Vec::new();
    };
    let mut found: Vec<Uverbs> = entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let number = entry
                .file_name()
                .to_str()?
                .strip_prefix("uverbs")?
                .parse()
                .ok()?;
            let numbers = std::fs::read_to_string(entry.path().join("dev")).ok()?;
            let numbers = numbers.trim().to_owned();
            Some(Uverbs { number, numbers })
        })
        .collect();
    found.sort_by_key(|device| device.number);
    found
}

#[cfg(test)]
mod tests;
