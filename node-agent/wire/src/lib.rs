//! The datagrams of the probe protocol: layout, authentication and replay protection.
//!
//! * On the fabric ([`Datagram`], UD): `Probe`, `Ack1`, `Ack2`, all of [`DATAGRAM_LEN`] bytes.
//! * Over plain IP ([`Control`], UDP): `Resolve` and `ResolveReply`, equally long for the same
//!   number of ports and questions, so that an answer never amplifies.
//!
//! Nothing here does I/O, allocates per datagram or panics on any input. Whatever is not exactly
//! right is a [`DropReason`], which the agent counts and never answers. Every datagram carries a
//! MAC: BLAKE3 in keyed mode, cut to 16 bytes, compared in constant time. BLAKE3 because one
//! library gives the MAC, the derivation of its key from the operator's secret and the hash
//! behind [`RnicId`]; its cost ([`encode`] or [`decode`] of one probe, `cargo bench -p rdmamesh-wire`)
//! is far below that of one system call.
#![forbid(unsafe_code)]

mod bytes;
mod control;
mod drop_reason;
mod id;
mod key;
mod probe;
mod replay;

pub use control::{
    CONTROL_MAX_LEN, CONTROL_MAX_PORTS, CONTROL_MAX_QUESTIONS, Control, NEVER, PortEntry,
    PortStatus, Question, Resolve, ResolveReply, Sighting, control_len, decode_control,
    encode_control,
};
pub use drop_reason::DropReason;
pub use id::{Epoch, NodeId, RnicId};
pub use key::{KeyError, KeyRing, MIN_SECRET_LEN};
pub use probe::{Ack2, DATAGRAM_LEN, Datagram, Header, ReturnFlow, decode, encode};
pub use replay::ReplayWindow;

/// Version of both layouts. A receiver drops every other version.
pub const VERSION: u8 = 2;
