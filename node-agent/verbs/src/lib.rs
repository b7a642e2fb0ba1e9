//! RDMA devices and unreliable-datagram endpoints. Knows neither Kubernetes nor the probe protocol.
//!
//! Two halves that share only the types of addresses and ports:
//!
//! * **inventory**: [`devices`] reads sysfs and asks the kernel over RDMA netlink. It sees ports
//!   that are down and says which netdevs live in our own network namespace. [`provider_gap`] finds
//!   devices that libibverbs cannot drive.
//! * **data path**: [`UdEndpoint`] owns one opened device context with its queue pairs, completion
//!   queue, registered memory and address handles. The agent's scheduler posts and polls it, waits
//!   on [`UdEndpoint::ready`], and follows [`AsyncEvents`].
//!
//! This is the only crate of the workspace with `unsafe` code: everything above it is checked by
//! the compiler. Tests against real devices (`tests/device.rs`) run in the fabric VM with
//! `RDMAMESH_DEVICE_TESTS=1` and are reported as ignored elsewhere.

mod address;
mod completion;
mod endpoint;
mod error;
mod events;
mod flow;
mod gid;
mod inventory;
mod port;
mod sys;

pub use address::{AddressHandle, AddressMaker, PeerAddress, PeerRoute};
pub use completion::{Completion, CompletionStatus, INLINE_PAYLOAD, Payload, Stamp, TimestampMode};
pub use endpoint::{EndpointConfig, UdEndpoint};
pub use error::{InventoryError, PostError, Result, VerbsError};
pub use events::{AsyncEvents, DeviceEvent};
pub use flow::{FlowSource, flow_label_source_port, rxe_source_port};
pub use gid::{Gid, GidEntry, GidKind, ParseGidError};
pub use inventory::{DeviceInfo, Netdev, PortInfo, SysfsRoot, devices, provider_gap};
pub use port::{LinkLayer, PhysicalState, PortNum, PortState, Rate};
