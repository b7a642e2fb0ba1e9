//! Which RDMA devices there are, what their ports are like and which of them are ours to use.
//!
//! Facts come from sysfs, which sees ports that are down and needs no device to be opened. What
//! sysfs cannot say (whose network namespace a netdev is in, and the driver of a virtual device)
//! comes from RDMA netlink, with a rule of thumb where that is missing. Called by the agent at
//! start, on device events and while it waits for a device to come back.

mod nldev;
mod sysfs;

use std::path::{Path, PathBuf};

use nix::sys::statfs::{SYSFS_MAGIC, statfs};

use crate::error::{InventoryError, VerbsError};
use crate::gid::GidEntry;
use crate::port::{LinkLayer, PhysicalState, PortNum, PortState, Rate};
use crate::sys;

use self::nldev::{LinkFacts, Links};

/// Where sysfs is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SysfsRoot(PathBuf);

impl SysfsRoot {
    /// `/sys`.
    #[must_use]
    pub fn system() -> Self {
        Self(PathBuf::from("/sys"))
    }

    /// Another mount point of sysfs (such as a host's in a container), or a copy of it in a test.
    /// RDMA netlink is asked only where this really is sysfs; of a copy, everything comes from the
    /// files.
    #[must_use]
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// The mount point.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }
}

/// The netdev behind a RoCE port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Netdev {
    /// Its name in its own network namespace.
    pub name: String,
    /// Its index, known only when it lives in our network namespace.
    pub ifindex: Option<u32>,
    /// Its MTU in bytes, known only when it lives in our network namespace.
    pub mtu: Option<u32>,
}

/// A port as the kernel shows it now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortInfo {
    /// Number.
    pub port: PortNum,
    /// Ethernet or InfiniBand.
    pub link_layer: LinkLayer,
    /// Logical state.
    pub state: PortState,
    /// Physical state.
    pub physical_state: PhysicalState,
    /// Speed, where the kernel says it.
    pub rate: Option<Rate>,
    /// LID, on InfiniBand once the subnet manager has given one.
    pub lid: Option<u16>,
    /// The netdev, on Ethernet.
    pub netdev: Option<Netdev>,
    /// Whether the port can be used from our network namespace: its netdev lives here. InfiniBand
    /// ports, which have no netdev, are usable wherever they are seen.
    pub netdev_here: bool,
    /// The used entries of the GID table, in order of their index.
    pub gids: Vec<GidEntry>,
}

/// A device as the kernel shows it now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceInfo {
    /// Name, such as `mlx5_0`.
    pub name: String,
    /// Node GUID as sysfs writes it (`0002:c903:00ab:cdef`), empty where unreadable.
    pub node_guid: String,
    /// Firmware version.
    pub firmware: Option<String>,
    /// Kernel driver, such as `mlx5_core` or `rxe`.
    pub driver: Option<String>,
    /// PCI address, `None` for virtual devices.
    pub pci: Option<String>,
    /// NUMA node, where the platform has them.
    pub numa_node: Option<u16>,
    /// Name of the character device, such as `uverbs0`; `None` while the device is being removed.
    pub uverbs: Option<String>,
    /// Ports in order of their number.
    pub ports: Vec<PortInfo>,
}

/// Every device that sysfs shows, ports that are down too, in order of the names. A machine without
/// RDMA has none: that is an empty list, no error.
///
/// # Errors
/// When `class/infiniband` exists and cannot be listed.
pub fn devices(root: &SysfsRoot) -> Result<Vec<DeviceInfo>, InventoryError> {
    devices_with(root, netlink(root).as_ref())
}

/// Whether libibverbs can drive every device that the kernel shows.
///
/// # Errors
/// [`VerbsError::ProviderMissing`] names the devices that it cannot, and the package to install.
pub fn provider_gap(root: &SysfsRoot) -> Result<(), VerbsError> {
    let listed = sys::device_names();
    missing_providers(root, &listed)
}

fn missing_providers(root: &SysfsRoot, listed: &[String]) -> Result<(), VerbsError> {
    // A device without a character device is on its way out (or in), and libibverbs rightly does
    // not list it.
    let usable = sysfs::uverbs(root.path()).unwrap_or_default();
    let mut devices: Vec<String> = usable.into_iter().map(|(device, _)| device).collect();
    devices.retain(|device| !listed.contains(device));
    devices.sort_unstable();
    if devices.is_empty() {
        return Ok(());
    }
    Err(VerbsError::ProviderMissing {
        devices,
        package: "ibverbs-providers (Debian, Ubuntu) or libibverbs (Fedora, RHEL)",
    })
}

/// The kernel's answers, `None` where the root is a copy of sysfs or netlink cannot be used.
fn netlink(root: &SysfsRoot) -> Option<Links> {
    let is_sysfs = statfs(root.path()).is_ok_and(|fs| fs.filesystem_type() == SYSFS_MAGIC);
    if !is_sysfs || !root.path().join("class/infiniband").exists() {
        return None;
    }
    match nldev::links() {
        Ok(links) => Some(links),
        Err(error) => {
            tracing::warn!(%error, "rdma netlink unavailable, matching netdevs by address");
            None
        }
    }
}

fn devices_with(
    root: &SysfsRoot,
    links: Option<&Links>,
) -> Result<Vec<DeviceInfo>, InventoryError> {
    let uverbs = sysfs::uverbs(root.path())?;
    let mut devices = Vec::new();
    for name in sysfs::names(&root.path().join("class/infiniband"))? {
        let facts = links.map(|links| links.get(&name).cloned().unwrap_or_default());
        let uverbs = uverbs
            .iter()
            .find(|(device, _)| *device == name)
            .map(|(_, uverbs)| uverbs.clone());
        let path = sysfs::device_path(root.path(), &name);
        let ports = ports(root.path(), &path, facts.as_ref())?;
        devices.push(DeviceInfo {
            node_guid: sysfs::attribute(&path.join("node_guid")).unwrap_or_default(),
            firmware: sysfs::attribute(&path.join("fw_ver")),
            driver: driver(&path, facts.as_ref()),
            pci: sysfs::link_target(&path.join("device"))
                .filter(|target| sysfs::is_pci_address(target)),
            numa_node: sysfs::number(&path.join("device/numa_node")),
            uverbs,
            ports,
            name,
        });
    }
    Ok(devices)
}

/// The driver's name: what netlink says, else the PCI driver, else soft-RoCE's own attribute
/// (`parent`, the name of its netdev). Never guessed from the device's name, which anyone can
/// change.
fn driver(device: &Path, facts: Option<&LinkFacts>) -> Option<String> {
    facts
        .and_then(|facts| facts.driver)
        .map(str::to_owned)
        .or_else(|| sysfs::link_target(&device.join("device/driver")))
        .or_else(|| device.join("parent").exists().then(|| "rxe".to_owned()))
}

/// Driver of one device; used by an endpoint that has just opened it.
pub(crate) fn driver_of(root: &SysfsRoot, name: &str) -> Option<String> {
    let facts = netlink(root).and_then(|links| links.get(name).cloned());
    driver(&sysfs::device_path(root.path(), name), facts.as_ref())
}

fn ports(
    root: &Path,
    device: &Path,
    facts: Option<&LinkFacts>,
) -> Result<Vec<PortInfo>, InventoryError> {
    let mut ports = Vec::new();
    for name in sysfs::names(&device.join("ports"))? {
        if let Some(number) = name.parse().ok().and_then(PortNum::new) {
            ports.push(port(root, &device.join("ports").join(&name), number, facts));
        }
    }
    ports.sort_unstable_by_key(|port| port.port);
    Ok(ports)
}

fn port(root: &Path, path: &Path, number: PortNum, facts: Option<&LinkFacts>) -> PortInfo {
    let text = |name: &str| sysfs::attribute(&path.join(name)).unwrap_or_default();
    let link_layer = LinkLayer::from_sysfs(&text("link_layer"));
    let gids = sysfs::gids(path);
    let (netdev, netdev_here) = match (&link_layer, facts) {
        (LinkLayer::InfiniBand, _) => (None, true),
        (_, Some(facts)) => netdev_by_netlink(root, &gids, facts.netdevs.get(&number.get())),
        (_, None) => netdev_by_address(root, &gids),
    };
    PortInfo {
        port: number,
        state: PortState::from_sysfs(&text("state")),
        physical_state: PhysicalState::from_sysfs(&text("phys_state")),
        rate: Rate::from_sysfs(&text("rate")),
        lid: lid(&text("lid")),
        link_layer,
        netdev,
        netdev_here,
        gids,
    }
}

/// A LID as sysfs writes it (`0x1f`); 0 means none.
fn lid(text: &str) -> Option<u16> {
    u16::from_str_radix(text.strip_prefix("0x")?, 16)
        .ok()
        .filter(|&lid| lid != 0)
}

fn netdev_by_netlink(
    root: &Path,
    gids: &[GidEntry],
    here: Option<&(u32, String)>,
) -> (Option<Netdev>, bool) {
    if let Some((ifindex, name)) = here {
        // The sysfs that is mounted may show the netdevs of another namespace, so another one of
        // the same name.
        let path = root.join("class/net").join(name);
        let same = sysfs::number(&path.join("ifindex")) == Some(*ifindex);
        let mtu = sysfs::number(&path.join("mtu")).filter(|_| same);
        return (
            Some(Netdev {
                name: name.clone(),
                ifindex: Some(*ifindex),
                mtu,
            }),
            true,
        );
    }
    (
        gids.iter()
            .find_map(|gid| gid.netdev.clone())
            .map(elsewhere),
        false,
    )
}

/// Without netlink: the netdev is ours when one of the same name here has the hardware address that
/// the port's link-local GID was made from. The name alone proves nothing: every namespace may have
/// an `eth0`.
fn netdev_by_address(root: &Path, gids: &[GidEntry]) -> (Option<Netdev>, bool) {
    let Some(name) = gids.iter().find_map(|gid| gid.netdev.clone()) else {
        return (None, false);
    };
    let path = root.join("class/net").join(&name);
    let ours = sysfs::attribute(&path.join("address")).and_then(|mac| interface_id(&mac));
    let matches = |gid: &GidEntry| {
        gid.gid.is_link_local() && ours.is_some_and(|id| gid.gid.bytes()[8..] == id)
    };
    if !gids.iter().any(matches) {
        return (Some(elsewhere(name)), false);
    }
    let netdev = Netdev {
        name,
        ifindex: sysfs::number(&path.join("ifindex")),
        mtu: sysfs::number(&path.join("mtu")),
    };
    (Some(netdev), true)
}

fn elsewhere(name: String) -> Netdev {
    Netdev {
        name,
        ifindex: None,
        mtu: None,
    }
}

/// The modified EUI-64 interface identifier of an Ethernet address, of which default GIDs are made
/// (RFC 4291, appendix A).
fn interface_id(mac: &str) -> Option<[u8; 8]> {
    let mut bytes = [0; 6];
    let mut parts = mac.split(':');
    for byte in &mut bytes {
        *byte = u8::from_str_radix(parts.next()?, 16).ok()?;
    }
    let [a, b, c, d, e, f] = bytes;
    parts
        .next()
        .is_none()
        .then_some([a ^ 2, b, c, 0xff, 0xfe, d, e, f])
}

#[cfg(test)]
mod tests;
