//! Errors of the crate. Each says what was asked, what the kernel answered and, where it helps,
//! what to do.

use std::io;
use std::path::PathBuf;

use crate::port::PortNum;

/// Result of a verbs operation.
pub type Result<T, E = VerbsError> = std::result::Result<T, E>;

/// The inventory could not be read at all. Single unreadable attributes are no errors: they read as
/// absent or unknown.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InventoryError {
    /// A directory that must be readable is not.
    #[error("cannot list {path}: is sysfs mounted there and readable?", path = path.display())]
    List {
        /// The directory.
        path: PathBuf,
        /// What the kernel answered.
        #[source]
        source: io::Error,
    },
}

/// An endpoint could not be opened or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerbsError {
    /// The kernel shows devices that libibverbs does not list: the user-space driver (provider) is
    /// not installed.
    #[error(
        "libibverbs has no provider for {}: install {package}, of the same version as libibverbs",
        devices.join(", ")
    )]
    ProviderMissing {
        /// Devices under `/sys/class/infiniband` that libibverbs leaves out.
        devices: Vec<String>,
        /// The package that holds the providers.
        package: &'static str,
    },
    /// No such device.
    #[error("no RDMA device {device}: `rdma link` lists what there is")]
    DeviceNotFound {
        /// The name asked for.
        device: String,
    },
    /// The device exists and cannot be opened.
    #[error("cannot open RDMA device {device}: {hint}")]
    Open {
        /// The device.
        device: String,
        /// What to do.
        hint: &'static str,
        /// What the kernel answered.
        #[source]
        source: io::Error,
    },
    /// The GID table of the port has nothing usable at this index.
    #[error(
        "GID index {index} of {device} port {port} is empty: choose one that the inventory lists"
    )]
    GidEmpty {
        /// The device.
        device: String,
        /// Its port.
        port: PortNum,
        /// The index asked for.
        index: u16,
    },
    /// The configuration asks for what no device can do.
    #[error("endpoint configuration: {0}")]
    Config(String),
    /// Registered memory is over the limit of locked memory.
    #[error(
        "cannot register {bytes} bytes: raise the memlock limit (ulimit -l) or grant CAP_IPC_LOCK"
    )]
    MemoryLock {
        /// Bytes that were to be pinned.
        bytes: usize,
        /// What the kernel answered.
        #[source]
        source: io::Error,
    },
    /// A peer's address cannot be used from here: no route, no neighbour, or a GID of another kind
    /// than ours.
    #[error("no address handle for {route}: {source}")]
    Address {
        /// The peer's GID or LID.
        route: String,
        /// What the kernel answered.
        #[source]
        source: io::Error,
    },
    /// The device is gone or broken; drop the endpoint.
    #[error("RDMA device {device} is gone")]
    DeviceGone {
        /// The device.
        device: String,
    },
    /// A verb failed.
    #[error("{verb} on {device} failed")]
    Verb {
        /// The verb, as its manual page is called.
        verb: &'static str,
        /// The device.
        device: String,
        /// What the kernel or the provider answered.
        #[source]
        source: io::Error,
    },
}

/// A datagram could not be posted. Nothing was sent and no completion will come for it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PostError {
    /// Every send slot is in flight; poll first.
    #[error("no free send slot")]
    NoSlot,
    /// The payload is longer than the slots.
    #[error("payload of {len} bytes, at most {max} fit")]
    TooLong {
        /// Bytes given.
        len: usize,
        /// Bytes that fit.
        max: usize,
    },
    /// No such queue pair.
    #[error("no queue pair {index}, there are {count}")]
    NoSuchQp {
        /// The index asked for.
        index: usize,
        /// How many there are.
        count: usize,
    },
    /// The queue pair has failed and is being brought back, which takes milliseconds.
    #[error("queue pair is being brought back")]
    Recovering,
    /// The address handle was made by another endpoint, or its endpoint was opened again since.
    #[error("address handle of another endpoint")]
    ForeignAddress,
    /// The device refused.
    #[error("post_send failed")]
    Device(#[source] io::Error),
}
