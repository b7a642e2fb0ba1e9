//! Control datagrams as bytes.

use super::sighting::Entry;
use super::{
    CONTROL_MAX_LEN, CONTROL_MAX_PORTS, CONTROL_MAX_QUESTIONS, Control, PortEntry, PortStatus,
    Question, Resolve, ResolveReply, Sighting, control_len, ports, questions,
};
use crate::bytes::{Reader, Writer};
use crate::{DropReason, Epoch, KeyRing, NodeId, RnicId, VERSION};

/// Where the number of questions is.
const QUESTIONS_AT: usize = 56;
const QPN_MAX: u32 = (1 << 24) - 1;

const TYPE_RESOLVE: u8 = 16;
const TYPE_REPLY: u8 = 17;

/// Writes and signs a control datagram into `out`; the filled part is returned.
pub fn encode_control<'a>(
    message: &Control,
    keys: &KeyRing,
    out: &'a mut [u8; CONTROL_MAX_LEN],
) -> &'a [u8] {
    let (kind, starved, ids, epochs, sequence, nonce, lists) = match message {
        Control::Resolve(m) => {
            let epochs = (m.sender_epoch, Epoch::UNKNOWN);
            (
                TYPE_RESOLVE,
                0,
                (m.sender, m.receiver),
                epochs,
                m.sequence,
                m.nonce,
                (m.ports.as_slice(), m.questions.as_slice()),
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
                (m.ports.as_slice(), m.questions.as_slice()),
            )
        }
    };
    *out = [0; CONTROL_MAX_LEN];
    let (ports, questions) = lists;
    let count = |len: usize| u8::try_from(len).unwrap_or(0);
    let len = control_len(ports.len(), questions.len());
    let used = out.get_mut(..len).unwrap_or_default();
    let mut write = Writer::new(used);
    write
        .put([VERSION, kind, keys.active_id(), count(ports.len())])
        .put(starved.to_be_bytes())
        .put(ids.0.0.to_be_bytes())
        .put(ids.1.0.to_be_bytes())
        .put(epochs.0.0.to_be_bytes())
        .put(epochs.1.0.to_be_bytes())
        .put(sequence.to_be_bytes())
        .put(nonce.to_be_bytes())
        .put([count(questions.len()), 0, 0, 0, 0, 0, 0, 0]);
    for entry in ports {
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
    for Entry { question, sighting } in questions {
        write
            .put(question.from.0.to_be_bytes())
            .put(question.sequence.to_be_bytes())
            .put([question.port, sighting.to_wire(), 0, 0, 0, 0, 0, 0]);
    }
    keys.sign(used);
    used
}

/// Reads a control datagram and checks all that can be checked without state.
///
/// # Errors
/// The first thing that is wrong. Fields are looked at only after the MAC has been found right.
pub fn decode_control(bytes: &[u8], keys: &KeyRing) -> Result<Control, DropReason> {
    if !(control_len(0, 0)..=CONTROL_MAX_LEN).contains(&bytes.len()) {
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
    let (count, asked) = (
        usize::from(count),
        bytes.get(QUESTIONS_AT).copied().map_or(0, usize::from),
    );
    let fit = count <= CONTROL_MAX_PORTS && asked <= CONTROL_MAX_QUESTIONS;
    if !fit || bytes.len() != control_len(count, asked) {
        return Err(DropReason::Length);
    }
    keys.verify(key_id, bytes)?;
    let starved_ms_ago = read.u32();
    let (sender, receiver) = (NodeId(read.u64()), NodeId(read.u64()));
    let (sender_epoch, receiver_epoch) = (Epoch(read.u64()), Epoch(read.u64()));
    let (sequence, nonce) = (read.u64(), read.u64());
    let [_, zeros @ ..] = read.take::<8>();
    let mut ports = ports((0..count).map(|_| PortEntry::absent(RnicId(0))));
    for slot in ports.as_mut_slice() {
        *slot = read_entry(&mut read)?;
    }
    let mut questions = questions((0..asked).map(|_| Entry::EMPTY));
    for slot in questions.as_mut_slice() {
        *slot = read_question(&mut read, count)?;
    }
    if zeros != [0; 7] || sender_epoch == Epoch::UNKNOWN {
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
            questions,
        }));
    }
    let only_ids = ports
        .as_slice()
        .iter()
        .all(|e| *e == PortEntry::absent(e.rnic))
        && questions
            .as_slice()
            .iter()
            .all(|e| e.sighting == Sighting::Unknown);
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
        questions,
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

fn read_question(read: &mut Reader<'_>, ports: usize) -> Result<Entry, DropReason> {
    let (from, sequence) = (RnicId(read.u64()), read.u64());
    let [port, sighting, zeros @ ..] = read.take::<8>();
    let sighting = Sighting::from_wire(sighting).ok_or(DropReason::Field)?;
    if usize::from(port) >= ports || zeros != [0; 6] {
        return Err(DropReason::Field);
    }
    let question = Question {
        from,
        sequence,
        port,
    };
    Ok(Entry { question, sighting })
}
