//! What goes into an engine and comes out of it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rdmamesh_wire::{DATAGRAM_LEN, Epoch, NodeId, PortEntry, RnicId};

use super::flows::FlowFacts;
use crate::dataplane::mono::Mono;
use crate::model::{FabricAddress, LocalPort, TimestampMode};

/// Who an engine is.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// Name of this node.
    pub node: Arc<str>,
    /// The port it works for.
    pub local: LocalPort,
    /// Random number of this process.
    pub epoch: Epoch,
    /// A wake-up later than this means that this host is starved of CPU.
    pub starved_after: Duration,
}

/// What an engine must know of the endpoint it works with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortFacts {
    /// For the choice of flows; also says how many queue pairs there are.
    pub flows: FlowFacts,
    /// Whose clock the stamps of completions are on.
    pub timestamps: TimestampMode,
}

/// Everything that goes into an address handle; equal routes share one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Route {
    /// Where to.
    pub address: FabricAddress,
    /// Flow label, 20 bits.
    pub flow_label: u32,
    /// Differentiated services code point.
    pub dscp: u8,
    /// InfiniBand service level.
    pub service_level: u8,
}

/// A datagram to post.
#[derive(Debug, Clone)]
pub struct Transmit {
    /// Names the datagram in [`super::Engine::posted`] and in the send completion.
    pub token: u64,
    /// Which way.
    pub route: Route,
    /// Local queue pair to send from.
    pub qp_index: u16,
    /// Queue pair number of the receiver.
    pub qpn: u32,
    /// The bytes.
    pub payload: [u8; DATAGRAM_LEN],
}

/// Asks for a control exchange with a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ask {
    /// Where the peer's agent listens.
    pub control: SocketAddr,
    /// The peer's node.
    pub node: NodeId,
    /// The peer's port.
    pub rnic: RnicId,
}

/// An [`Ask`] with questions about probes that timed out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inquiry {
    /// Whom to ask.
    pub ask: Ask,
    /// The port that sent the probes.
    pub from: RnicId,
    /// Their sequence numbers, oldest first.
    pub unanswered: Vec<u64>,
}

/// What came of an [`Ask`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The peer's port.
    pub rnic: RnicId,
    /// When the request that got the answer was sent (of a silent peer: the first one).
    pub asked_at: Mono,
    /// The answer; `None` when all tries went unanswered.
    pub present: Option<Present>,
    /// Of the probes in question, those of which the peer could tell whether they have arrived there.
    pub sightings: Vec<(u64, bool)>,
}

/// The peer answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Present {
    /// Process that answers.
    pub epoch: Epoch,
    /// What it says about the port.
    pub entry: PortEntry,
    /// When the peer's newest starvation ended, on our clock; `None` if there was none.
    pub starved_until: Option<Mono>,
}

/// Why a datagram could not be posted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PostFailure {
    /// All send slots are in use: try again after the next send completion.
    Busy,
    /// The way there is being found: try again after [`super::Engine::routes_changed`].
    Unrouted,
    /// The device or the route refused this datagram.
    Refused,
}
