//! The datagrams of the control exchange over plain IP: who are you now, and how do you feel?
//!
//! Layout, big-endian; 80 bytes plus 24 per port. A request lists the ports it asks about, the
//! reply lists the same ports in the same order, so both have the same length.
//!
//! | at | bytes | field |
//! |---|---|---|
//! | 0 | 1 | version |
//! | 1 | 1 | type: 16 request, 17 reply |
//! | 2 | 1 | key id |
//! | 3 | 1 | number of ports, at most [`CONTROL_MAX_PORTS`] |
//! | 4 | 4 | milliseconds since the replying process was last found starved ([`NEVER`]); 0 in a request |
//! | 8 | 8 | sender's node id |
//! | 16 | 8 | receiver's node id |
//! | 24 | 8 | sender's epoch |
//! | 32 | 8 | receiver's epoch; 0 in a request when not known |
//! | 40 | 8 | sequence of the request |
//! | 48 | 8 | nonce of the request |
//! | 56 | 24 each | port: RNIC id, QPN (4), queue pairs (2), status (1), zero (1), generation (4), milliseconds since starved (4) |
//! | end | 8 + 16 | eight zero bytes, MAC |

use crate::bytes::{Reader, Writer};
use crate::key::MAC_LEN;
use crate::{DropReason, Epoch, KeyRing, NodeId, RnicId, VERSION};

/// Most ports in one exchange.
pub const CONTROL_MAX_PORTS: usize = 16;
/// Longest control datagram, in bytes.
pub const CONTROL_MAX_LEN: usize = control_len(CONTROL_MAX_PORTS);
/// "Never, or too long ago to matter" as a number of milliseconds.
pub const NEVER: u32 = u32::MAX;

const HEAD_LEN: usize = 56;
const ENTRY_LEN: usize = 24;
const TAIL_LEN: usize = 8;
const QPN_MAX: u32 = (1 << 24) - 1;

const TYPE_RESOLVE: u8 = 16;
const TYPE_REPLY: u8 = 17;

/// Length in bytes of a control datagram about `ports` ports.
pub const fn control_len(ports: usize) -> usize {
    HEAD_LEN + ENTRY_LEN * ports + TAIL_LEN + MAC_LEN
}

/// What a port is good for at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PortStatus {
    /// Not open here, or no such port. The only status in a request.
    #[default]
    Absent,
    /// Open and answering.
    Answering,
    /// Open, but its link is not active.
    LinkDown,
}

/// One port in a control exchange. A request fills in `rnic` only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortEntry {
    /// Which port.
    pub rnic: RnicId,
    /// Queue pair to send probes to.
    pub qpn: u32,
    /// Number of queue pairs that can answer (indices of [`crate::ReturnFlow::qp_index`]).
    pub qps: u16,
    /// State.
    pub status: PortStatus,
    /// Random number of this opening of the port: another one means other queue pairs.
    pub generation: u32,
    /// Milliseconds since the loop of this port was last found starved, or [`NEVER`].
    pub starved_ms_ago: u32,
}

impl PortEntry {
    /// Asks about `rnic`, or says that there is no such port.
    pub const fn absent(rnic: RnicId) -> Self {
        let status = PortStatus::Absent;
        Self {
            rnic,
            qpn: 0,
            qps: 0,
            status,
            generation: 0,
            starved_ms_ago: 0,
        }
    }
}

/// A list of ports that lives on the stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ports {
    entries: [PortEntry; CONTROL_MAX_PORTS],
    len: usize,
}

impl Ports {
    fn from_entries(entries: impl IntoIterator<Item = PortEntry>) -> Self {
        let mut ports = Self {
            entries: [PortEntry::absent(RnicId(0)); CONTROL_MAX_PORTS],
            len: 0,
        };
        for (slot, entry) in ports.entries.iter_mut().zip(entries) {
            *slot = entry;
            ports.len += 1;
        }
        ports
    }

    fn as_slice(&self) -> &[PortEntry] {
        self.entries.get(..self.len).unwrap_or_default()
    }
}

/// Asks a node about some of its ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resolve {
    /// Who asks.
    pub sender: NodeId,
    /// Who is asked.
    pub receiver: NodeId,
    /// Process that asks.
    pub sender_epoch: Epoch,
    /// Number of the request among all of its sender's in its epoch.
    pub sequence: u64,
    /// Random; the reply repeats it.
    pub nonce: u64,
    ports: Ports,
}

impl Resolve {
    /// A request about `rnics`; at most [`CONTROL_MAX_PORTS`] of them, the rest is left out.
    pub fn new(
        (sender, sender_epoch): (NodeId, Epoch),
        receiver: NodeId,
        sequence: u64,
        nonce: u64,
        rnics: impl IntoIterator<Item = RnicId>,
    ) -> Self {
        let ports = Ports::from_entries(rnics.into_iter().map(PortEntry::absent));
        Self {
            sender,
            receiver,
            sender_epoch,
            sequence,
            nonce,
            ports,
        }
    }

    /// The ports asked about.
    pub fn rnics(&self) -> impl Iterator<Item = RnicId> + '_ {
        self.ports.as_slice().iter().map(|entry| entry.rnic)
    }

    /// The reply of process `epoch` with one entry per port asked about.
    pub fn reply(
        &self,
        epoch: Epoch,
        starved_ms_ago: u32,
        mut entry: impl FnMut(RnicId) -> PortEntry,
    ) -> ResolveReply {
        ResolveReply {
            sender: self.receiver,
            receiver: self.sender,
            sender_epoch: epoch,
            receiver_epoch: self.sender_epoch,
            sequence: self.sequence,
            nonce: self.nonce,
            starved_ms_ago,
            ports: Ports::from_entries(self.rnics().map(|rnic| PortEntry {
                rnic,
                ..entry(rnic)
            })),
        }
    }
}

/// The answer to a [`Resolve`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResolveReply {
    /// Who answers.
    pub sender: NodeId,
    /// Who asked.
    pub receiver: NodeId,
    /// Process that answers.
    pub sender_epoch: Epoch,
    /// Process that asked.
    pub receiver_epoch: Epoch,
    /// Of the request.
    pub sequence: u64,
    /// Of the request.
    pub nonce: u64,
    /// Milliseconds since the process was last found starved of CPU, or [`NEVER`].
    pub starved_ms_ago: u32,
    ports: Ports,
}

impl ResolveReply {
    /// One entry per port asked about, in the same order.
    pub fn ports(&self) -> &[PortEntry] {
        self.ports.as_slice()
    }
}

/// One datagram on the control socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    /// A request.
    Resolve(Resolve),
    /// An answer.
    Reply(ResolveReply),
}

/// Writes and signs a control datagram into `out`; the filled part is returned.
pub fn encode_control<'a>(
    message: &Control,
    keys: &KeyRing,
    out: &'a mut [u8; CONTROL_MAX_LEN],
) -> &'a [u8] {
    let (kind, starved, ids, epochs, sequence, nonce, ports) = match message {
        Control::Resolve(m) => {
            let epochs = (m.sender_epoch, Epoch::UNKNOWN);
            (
                TYPE_RESOLVE,
                0,
                (m.sender, m.receiver),
                epochs,
                m.sequence,
                m.nonce,
                &m.ports,
            )
        }
        Control::Reply(m) => {
            let epochs = (m.sender_epoch, m.receiver_epoch);
            let ids = (m.sender, m.receiver);
            (
                TYPE_REPLY,
                m.starved_ms_ago,
                ids,
                epochs,
                m.sequence,
                m.nonce,
                &m.ports,
            )
        }
    };
    *out = [0; CONTROL_MAX_LEN];
    let used = out.get_mut(..control_len(ports.len)).unwrap_or_default();
    let mut write = Writer::new(used);
    write
        .put([
            VERSION,
            kind,
            keys.active_id(),
            u8::try_from(ports.len).unwrap_or(0),
        ])
        .put(starved.to_be_bytes())
        .put(ids.0.0.to_be_bytes())
        .put(ids.1.0.to_be_bytes())
        .put(epochs.0.0.to_be_bytes())
        .put(epochs.1.0.to_be_bytes())
        .put(sequence.to_be_bytes())
        .put(nonce.to_be_bytes());
    for entry in ports.as_slice() {
        let status = match entry.status {
            PortStatus::Absent => 0,
            PortStatus::Answering => 1,
            PortStatus::LinkDown => 2,
        };
        write
            .put(entry.rnic.0.to_be_bytes())
            .put((entry.qpn & QPN_MAX).to_be_bytes())
            .put(entry.qps.to_be_bytes())
            .put([status, 0])
            .put(entry.generation.to_be_bytes())
            .put(entry.starved_ms_ago.to_be_bytes());
    }
    keys.sign(used);
    used
}

/// Reads a control datagram and checks all that can be checked without state.
///
/// # Errors
/// The first thing that is wrong. Fields are looked at only after the MAC has been found right.
pub fn decode_control(bytes: &[u8], keys: &KeyRing) -> Result<Control, DropReason> {
    if !(control_len(0)..=CONTROL_MAX_LEN).contains(&bytes.len()) {
        return Err(DropReason::Length);
    }
    let mut read = Reader::new(bytes);
    let [version, kind, key_id, count] = read.take();
    if version != VERSION {
        return Err(DropReason::Version);
    }
    if !(TYPE_RESOLVE..=TYPE_REPLY).contains(&kind) {
        return Err(DropReason::Type);
    }
    let count = usize::from(count);
    if count > CONTROL_MAX_PORTS || bytes.len() != control_len(count) {
        return Err(DropReason::Length);
    }
    keys.verify(key_id, bytes)?;
    let starved_ms_ago = read.u32();
    let (sender, receiver) = (NodeId(read.u64()), NodeId(read.u64()));
    let (sender_epoch, receiver_epoch) = (Epoch(read.u64()), Epoch(read.u64()));
    let (sequence, nonce) = (read.u64(), read.u64());
    let mut ports = Ports::from_entries([]);
    for slot in ports.entries.iter_mut().take(count) {
        *slot = read_entry(&mut read)?;
    }
    ports.len = count;
    if read.u64() != 0 || sender_epoch == Epoch::UNKNOWN {
        return Err(DropReason::Field);
    }
    if kind == TYPE_REPLY {
        if receiver_epoch == Epoch::UNKNOWN {
            return Err(DropReason::Field);
        }
        return Ok(Control::Reply(ResolveReply {
            sender,
            receiver,
            sender_epoch,
            receiver_epoch,
            sequence,
            nonce,
            starved_ms_ago,
            ports,
        }));
    }
    let only_ids = ports
        .as_slice()
        .iter()
        .all(|e| *e == PortEntry::absent(e.rnic));
    if !only_ids || starved_ms_ago != 0 || receiver_epoch != Epoch::UNKNOWN {
        return Err(DropReason::Field);
    }
    Ok(Control::Resolve(Resolve {
        sender,
        receiver,
        sender_epoch,
        sequence,
        nonce,
        ports,
    }))
}

fn read_entry(read: &mut Reader<'_>) -> Result<PortEntry, DropReason> {
    let rnic = RnicId(read.u64());
    let (qpn, qps) = (read.u32(), read.u16());
    let [status, zero] = read.take();
    let (generation, starved_ms_ago) = (read.u32(), read.u32());
    let status = match status {
        0 => PortStatus::Absent,
        1 => PortStatus::Answering,
        2 => PortStatus::LinkDown,
        _ => return Err(DropReason::Field),
    };
    let unusable = status == PortStatus::Answering && (qps == 0 || qpn == 0);
    if qpn > QPN_MAX || zero != 0 || unusable {
        return Err(DropReason::Field);
    }
    Ok(PortEntry {
        rnic,
        qpn,
        qps,
        status,
        generation,
        starved_ms_ago,
    })
}
