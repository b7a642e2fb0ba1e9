//! What the checks read beside the devices: small files of sysfs and procfs, and whether device nodes can be opened.
//! What cannot be read is `None`, which no check takes for wrong.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::stat::{major, minor};
use rdmamesh_verbs::{DeviceInfo, SysfsRoot};

use super::dcb::{self, Dcb};

/// Where a machine is read. Another root than the system's is a mount of a host's, or a copy in a test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roots {
    /// `/sys`.
    pub sysfs: SysfsRoot,
    /// `/proc`.
    pub proc: PathBuf,
    /// `/dev`.
    pub dev: PathBuf,
}

impl Roots {
    /// This machine, but for sysfs.
    pub fn system(sysfs: SysfsRoot) -> Self {
        Self {
            sysfs,
            proc: PathBuf::from("/proc"),
            dev: PathBuf::from("/dev"),
        }
    }
}

/// Limit of locked memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemLock {
    /// No limit.
    Unlimited,
    /// At most this many bytes.
    Bytes(u64),
}

/// A device node as this process sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeState {
    /// It can be opened.
    Opens,
    /// It is not there.
    Missing,
    /// It leads to another device (`major:minor`) than the kernel says.
    Wrong {
        /// What it leads to.
        found: String,
        /// What the kernel says.
        wanted: String,
    },
    /// It cannot be opened.
    Refused(Errno),
}

/// What was read.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Machine {
    /// Whether RDMA devices are seen in all network namespaces (`shared`) or in one (`exclusive`).
    pub shared_netns: Option<bool>,
    /// By device: what its verbs node is like.
    pub nodes: BTreeMap<String, NodeState>,
    /// By device: the kind of its transport as the kernel names it, such as `CA` or `RNIC` (iWARP).
    pub node_types: BTreeMap<String, String>,
    /// By device: the traffic class that the driver forces on all queue pairs.
    pub forced_classes: BTreeMap<String, String>,
    /// By network interface: priorities and flow control.
    pub dcb: BTreeMap<String, Dcb>,
    /// The clock that time stamps are taken with, and the others there are.
    pub clock: Option<Clock>,
    /// Limit of locked memory of this process.
    pub memlock: Option<MemLock>,
    /// Effective capabilities of this process, a bit each.
    pub capabilities: Option<u64>,
    /// Kernel lockdown in force: `none`, `integrity` or `confidentiality`.
    pub lockdown: Option<String>,
    /// Whether the kernel describes its own types.
    pub kernel_btf: bool,
    /// Whether it describes those of ib_core; `None` where ib_core is not loaded or no module.
    pub ib_core_btf: Option<bool>,
    /// `kernel.perf_event_paranoid`.
    pub perf_paranoid: Option<i32>,
}

/// The kernel's clock source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clock {
    /// In use.
    pub current: String,
    /// The ones that could be.
    pub available: Vec<String>,
}

impl Machine {
    /// Reads everything.
    pub fn read(roots: &Roots, devices: &[DeviceInfo]) -> Self {
        let sys = roots.sysfs.path();
        let names = || devices.iter().map(|device| device.name.clone());
        let of_each = |file: &str| {
            names()
                .filter_map(|name| {
                    let path = sys.join("class/infiniband").join(&name).join(file);
                    Some((name, text(&path)?))
                })
                .collect::<BTreeMap<_, _>>()
        };
        let module = sys.join("module/ib_core");
        let btf = sys.join("kernel/btf");
        Self {
            shared_netns: text(&module.join("parameters/netns_mode"))
                .map(|mode| matches!(&*mode, "Y" | "1")),
            nodes: devices
                .iter()
                .filter_map(|device| Some((device.name.clone(), node(roots, device)?)))
                .collect(),
            node_types: of_each("node_type")
                .into_iter()
                .map(|(name, kind)| (name, after_number(&kind)))
                .collect(),
            forced_classes: of_each("tc/1/traffic_class"),
            dcb: dcb_of(sys, devices),
            clock: clock(sys),
            memlock: text(&roots.proc.join("self/limits")).and_then(|text| memlock(&text)),
            capabilities: text(&roots.proc.join("self/status")).and_then(|text| effective(&text)),
            lockdown: text(&sys.join("kernel/security/lockdown")).and_then(|text| chosen(&text)),
            kernel_btf: btf.join("vmlinux").exists(),
            // A module has a state; what is built in does not, and is described with the kernel.
            ib_core_btf: module
                .join("initstate")
                .exists()
                .then(|| btf.join("ib_core").exists()),
            perf_paranoid: text(&roots.proc.join("sys/kernel/perf_event_paranoid"))
                .and_then(|text| text.parse().ok()),
        }
    }
}

fn text(path: &Path) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// `1: CA` is `CA`.
fn after_number(text: &str) -> String {
    let (_, name) = text.split_once(':').unwrap_or(("", text));
    name.trim().to_owned()
}

/// The word in brackets: `none [integrity] confidentiality` is `integrity`.
fn chosen(text: &str) -> Option<String> {
    let (_, rest) = text.split_once('[')?;
    rest.split_once(']').map(|(word, _)| word.to_owned())
}

/// What the verbs node of a device is like; `None` for a device that has none in the kernel either.
fn node(roots: &Roots, device: &DeviceInfo) -> Option<NodeState> {
    let name = device.uverbs.as_ref()?;
    let numbers = roots.sysfs.path().join("class/infiniband_verbs").join(name);
    let wanted = text(&numbers.join("dev"))?;
    let path = roots.dev.join("infiniband").join(name);
    let Ok(facts) = path.metadata() else {
        return Some(NodeState::Missing);
    };
    let found = format!("{}:{}", major(facts.rdev()), minor(facts.rdev()));
    if !facts.file_type().is_char_device() || found != wanted {
        return Some(NodeState::Wrong { found, wanted });
    }
    // Opening takes nothing from the device: a context is made by the first command only.
    Some(
        match OpenOptions::new().read(true).write(true).open(&path) {
            Ok(_) => NodeState::Opens,
            Err(error) => NodeState::Refused(Errno::from_raw(error.raw_os_error().unwrap_or(0))),
        },
    )
}

/// Asked only of the real sysfs's machine: a copy has no network interfaces.
fn dcb_of(sys: &Path, devices: &[DeviceInfo]) -> BTreeMap<String, Dcb> {
    let ports = devices.iter().flat_map(|device| &device.ports);
    let netdevs = ports
        .filter(|port| port.netdev_here)
        .filter_map(|port| port.netdev.as_ref());
    netdevs
        .filter(|netdev| sys.join("class/net").join(&netdev.name).exists())
        .filter_map(|netdev| Some((netdev.name.clone(), dcb::query(&netdev.name)?)))
        .collect()
}

fn clock(sys: &Path) -> Option<Clock> {
    let folder = sys.join("devices/system/clocksource/clocksource0");
    let available = text(&folder.join("available_clocksource")).unwrap_or_default();
    Some(Clock {
        current: text(&folder.join("current_clocksource"))?,
        available: available.split_whitespace().map(str::to_owned).collect(),
    })
}

/// The soft limit out of `/proc/self/limits`.
fn memlock(limits: &str) -> Option<MemLock> {
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max locked memory"))?;
    match line.split_whitespace().next()? {
        "unlimited" => Some(MemLock::Unlimited),
        bytes => bytes.parse().ok().map(MemLock::Bytes),
    }
}

/// The effective capabilities out of `/proc/self/status`.
fn effective(status: &str) -> Option<u64> {
    let bits = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(bits.trim(), 16).ok()
}

#[cfg(test)]
mod tests;
