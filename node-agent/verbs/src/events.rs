//! Asynchronous events of an opened device as a typed stream.

use crate::port::PortNum;

/// Something happened to the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeviceEvent {
    /// A port went down.
    PortError {
        /// Which.
        port: PortNum,
    },
    /// A port carries traffic (again).
    PortActive {
        /// Which.
        port: PortNum,
    },
    /// The GID table of a port changed; check that the index in use still holds the GID in use.
    GidChange {
        /// Which.
        port: PortNum,
    },
    /// The device is broken or being removed: drop the endpoint at once.
    DeviceFatal,
    /// The subnet manager gave the port another LID.
    LidChange {
        /// Which.
        port: PortNum,
    },
    /// Any other event, by its number in `enum ibv_event_type`.
    Other(u32),
}

/// The event stream of one endpoint.
#[derive(Debug)]
pub struct AsyncEvents {}

impl AsyncEvents {
    /// The next event; `None` once the endpoint has been dropped. Cancel safe.
    pub async fn next(&mut self) -> Option<DeviceEvent> {
        None
    }
}
