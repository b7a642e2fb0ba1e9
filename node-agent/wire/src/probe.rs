//! The datagrams on the fabric: probe, first answer, second answer.
//!
//! Layout, big-endian, [`DATAGRAM_LEN`] bytes for every type:
//!
//! | at | bytes | field |
//! |---|---|---|
//! | 0 | 1 | version |
//! | 1 | 1 | type: 1 probe, 2 first answer, 3 second answer |
//! | 2 | 1 | key id |
//! | 3 | 1 | flags: bit 0 (second answer only) stamps come from the device |
//! | 4 | 4 | mesh id |
//! | 8 | 8 | sender's RNIC id |
//! | 16 | 8 | receiver's RNIC id |
//! | 24 | 8 | sender's epoch |
//! | 32 | 8 | receiver's epoch |
//! | 40 | 8 | sequence; an answer repeats the probe's |
//! | 48 | 8 | T3 in nanoseconds (second answer only) |
//! | 56 | 8 | T4 in nanoseconds (second answer only) |
//! | 64 | 2 | queue pair that shall answer (probe only) |
//! | 66 | 1 | probe: DSCP of the answer; second answer: hop limit that the probe arrived with, 0 when unknown |
//! | 67 | 1 | service level of the answer (probe only) |
//! | 68 | 4 | flow label of the answer, 20 bits (probe only) |
//! | 72 | 16 | MAC |

use std::num::NonZeroU8;
use std::time::Duration;

use crate::bytes::{Reader, Writer};
use crate::key::MAC_LEN;
use crate::{DropReason, Epoch, KeyRing, RnicId, VERSION};

/// Length of every datagram on the fabric, in bytes.
pub const DATAGRAM_LEN: usize = BODY_LEN + MAC_LEN;
const BODY_LEN: usize = 72;

const TYPE_PROBE: u8 = 1;
const TYPE_ACK1: u8 = 2;
const TYPE_ACK2: u8 = 3;

const FLAG_HARDWARE: u8 = 1;

const FLOW_LABEL_MAX: u32 = (1 << 20) - 1;
const DSCP_MAX: u8 = 63;
const SERVICE_LEVEL_MAX: u8 = 15;

/// What all three have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Mesh that the probe belongs to.
    pub mesh_id: u32,
    /// Who sends this datagram.
    pub sender: RnicId,
    /// Whom it is for.
    pub receiver: RnicId,
    /// Process that sends it.
    pub sender_epoch: Epoch,
    /// Process that it is for: a restarted one drops it.
    pub receiver_epoch: Epoch,
    /// Number of the probe among all of its sender's in its epoch.
    pub sequence: u64,
}

/// How the prober wants to be answered: the way back is a flow of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReturnFlow {
    /// Index of the responder's queue pair.
    pub qp_index: u16,
    /// IPv6 flow label, 20 bits; devices derive the UDP source port from it.
    pub flow_label: u32,
    /// Differentiated services code point, 6 bits.
    pub dscp: u8,
    /// InfiniBand service level, 4 bits.
    pub service_level: u8,
}

/// The stamps of the responder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ack2 {
    /// T3: when the probe was received, on the responder's clock.
    pub received: Duration,
    /// T4: when the first answer left, on the same clock.
    pub replied: Duration,
    /// Both come from the device.
    pub hardware: bool,
    /// Hop limit (TTL) that the probe arrived with: what is missing from what it was sent with are the
    /// routers on its way. `None` where the device does not show it.
    pub hop_limit: Option<NonZeroU8>,
}

/// One datagram on the fabric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Datagram {
    /// Asks for two answers.
    Probe(Header, ReturnFlow),
    /// Sent at once: its way and back is what is measured.
    Ack1(Header),
    /// Sent once T4 is known.
    Ack2(Header, Ack2),
}

impl Datagram {
    /// The common part.
    pub const fn header(&self) -> &Header {
        match self {
            Self::Probe(header, _) | Self::Ack1(header) | Self::Ack2(header, _) => header,
        }
    }
}

/// Writes and signs a datagram. Fields wider than their place on the wire are cut to it.
pub fn encode(datagram: &Datagram, keys: &KeyRing) -> [u8; DATAGRAM_LEN] {
    let none = (ReturnFlow::default(), 0, 0, 0);
    let (kind, (back, received, replied, flags), at_66) = match datagram {
        Datagram::Probe(_, back) => (TYPE_PROBE, (*back, 0, 0, 0), back.dscp & DSCP_MAX),
        Datagram::Ack1(_) => (TYPE_ACK1, none, 0),
        Datagram::Ack2(_, stamps) => {
            let flags = if stamps.hardware { FLAG_HARDWARE } else { 0 };
            let hop_limit = stamps.hop_limit.map_or(0, NonZeroU8::get);
            let stamps = (nanos(stamps.received), nanos(stamps.replied));
            let back = ReturnFlow::default();
            (TYPE_ACK2, (back, stamps.0, stamps.1, flags), hop_limit)
        }
    };
    let header = datagram.header();
    let mut out = [0; DATAGRAM_LEN];
    Writer::new(&mut out)
        .put([VERSION, kind, keys.active_id(), flags])
        .put(header.mesh_id.to_be_bytes())
        .put(header.sender.0.to_be_bytes())
        .put(header.receiver.0.to_be_bytes())
        .put(header.sender_epoch.0.to_be_bytes())
        .put(header.receiver_epoch.0.to_be_bytes())
        .put(header.sequence.to_be_bytes())
        .put(received.to_be_bytes())
        .put(replied.to_be_bytes())
        .put(back.qp_index.to_be_bytes())
        .put([at_66, back.service_level & SERVICE_LEVEL_MAX])
        .put((back.flow_label & FLOW_LABEL_MAX).to_be_bytes());
    keys.sign(&mut out);
    out
}

/// Reads a datagram and checks all that can be checked without state: length, version, type, key,
/// MAC, and that every field has a value it may have.
///
/// # Errors
/// The first thing that is wrong. Fields are looked at only after the MAC has been found right.
pub fn decode(bytes: &[u8], keys: &KeyRing) -> Result<Datagram, DropReason> {
    let bytes: &[u8; DATAGRAM_LEN] = bytes.try_into().map_err(|_| DropReason::Length)?;
    let mut read = Reader::new(bytes);
    let [version, kind, key_id, flags] = read.take();
    if version != VERSION {
        return Err(DropReason::Version);
    }
    if !(TYPE_PROBE..=TYPE_ACK2).contains(&kind) {
        return Err(DropReason::Type);
    }
    keys.verify(key_id, bytes)?;
    let header = Header {
        mesh_id: read.u32(),
        sender: RnicId(read.u64()),
        receiver: RnicId(read.u64()),
        sender_epoch: Epoch(read.u64()),
        receiver_epoch: Epoch(read.u64()),
        sequence: read.u64(),
    };
    let (received, replied) = (read.u64(), read.u64());
    let (qp_index, at_66, service_level, flow_label) =
        (read.u16(), read.u8(), read.u8(), read.u32());
    let second = kind == TYPE_ACK2;
    let back = ReturnFlow {
        qp_index,
        flow_label,
        dscp: if second { 0 } else { at_66 },
        service_level,
    };
    check(&header, &back)?;
    let unstamped = received == 0 && replied == 0 && flags == 0;
    match kind {
        TYPE_PROBE if unstamped => Ok(Datagram::Probe(header, back)),
        TYPE_ACK1 if unstamped && back == ReturnFlow::default() => Ok(Datagram::Ack1(header)),
        TYPE_ACK2 if flags & !FLAG_HARDWARE == 0 && back == ReturnFlow::default() => {
            let stamps = Ack2 {
                received: Duration::from_nanos(received),
                replied: Duration::from_nanos(replied),
                hardware: flags == FLAG_HARDWARE,
                hop_limit: NonZeroU8::new(at_66),
            };
            Ok(Datagram::Ack2(header, stamps))
        }
        _ => Err(DropReason::Field),
    }
}

fn check(header: &Header, back: &ReturnFlow) -> Result<(), DropReason> {
    let sane = header.sender_epoch != Epoch::UNKNOWN
        && header.receiver_epoch != Epoch::UNKNOWN
        && back.flow_label <= FLOW_LABEL_MAX
        && back.dscp <= DSCP_MAX
        && back.service_level <= SERVICE_LEVEL_MAX;
    if sane { Ok(()) } else { Err(DropReason::Field) }
}

fn nanos(stamp: Duration) -> u64 {
    u64::try_from(stamp.as_nanos()).unwrap_or(u64::MAX)
}
