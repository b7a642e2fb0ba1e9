//! The datagrams of the control exchange over plain IP: who are you now, and how do you feel?
//!
//! Layout, big-endian; 80 bytes plus 24 per port and question. A request lists the ports it asks about
//! and the probes it has questions about, the reply lists the same in the same order, so both have the
//! same length.
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
//! | 56 | 1 | number of questions, at most [`CONTROL_MAX_QUESTIONS`] |
//! | 57 | 7 | zero |
//! | 64 | 24 each | port: RNIC id, QPN (4), queue pairs (2), status (1), zero (1), generation (4), milliseconds since starved (4) |
//! | then | 24 each | question: RNIC id of the probe's sender, sequence of the probe (8), position of the port (1), sighting (1), zero (6) |
//! | end | 16 | MAC |

use bounded::Bounded;
use sighting::{Entry, Questions};

use crate::key::MAC_LEN;
use crate::{Epoch, NodeId, RnicId};

pub use codec::{decode_control, encode_control};
pub use sighting::{CONTROL_MAX_QUESTIONS, Question, Sighting};

mod bounded;
mod codec;
mod sighting;

/// Most ports in one exchange.
pub const CONTROL_MAX_PORTS: usize = 16;
/// Longest control datagram, in bytes.
pub const CONTROL_MAX_LEN: usize = control_len(CONTROL_MAX_PORTS, CONTROL_MAX_QUESTIONS);
/// "Never, or too long ago to matter" as a number of milliseconds.
pub const NEVER: u32 = u32::MAX;

const HEAD_LEN: usize = 64;
const ENTRY_LEN: usize = 24;
const QUESTION_LEN: usize = 24;

/// Length in bytes of a control datagram about `ports` ports with `questions` questions.
pub const fn control_len(ports: usize, questions: usize) -> usize {
    HEAD_LEN + ENTRY_LEN * ports + QUESTION_LEN * questions + MAC_LEN
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

/// The ports of one exchange.
type Ports = Bounded<PortEntry, CONTROL_MAX_PORTS>;

fn ports(entries: impl IntoIterator<Item = PortEntry>) -> Ports {
    Bounded::new(PortEntry::absent(RnicId(0)), entries)
}

fn questions(entries: impl IntoIterator<Item = Entry>) -> Questions {
    Bounded::new(Entry::EMPTY, entries)
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
    questions: Questions,
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
        Self {
            sender,
            receiver,
            sender_epoch,
            sequence,
            nonce,
            ports: ports(rnics.into_iter().map(PortEntry::absent)),
            questions: questions([]),
        }
    }

    /// The same request with questions; at most [`CONTROL_MAX_QUESTIONS`], the rest is left out.
    #[must_use]
    pub fn asking(self, asked: impl IntoIterator<Item = Question>) -> Self {
        let sighting = Sighting::Unknown;
        let entry = |question| Entry { question, sighting };
        Self {
            questions: questions(asked.into_iter().map(entry)),
            ..self
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
            ports: ports(self.rnics().map(|rnic| PortEntry {
                rnic,
                ..entry(rnic)
            })),
            questions: self.questions,
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
    questions: Questions,
}

impl ResolveReply {
    /// One entry per port asked about, in the same order.
    pub fn ports(&self) -> &[PortEntry] {
        self.ports.as_slice()
    }

    /// The same reply with its questions answered by `tell`, which is given the port that a question is about.
    #[must_use]
    pub fn telling(mut self, mut tell: impl FnMut(RnicId, &Question) -> Sighting) -> Self {
        let ports = self.ports;
        for entry in self.questions.as_mut_slice() {
            let port = ports.as_slice().get(usize::from(entry.question.port));
            entry.sighting =
                port.map_or(Sighting::Unknown, |port| tell(port.rnic, &entry.question));
        }
        self
    }

    /// The questions of the request, in the same order, with their answers; each with the port it is about.
    pub fn sightings(&self) -> impl Iterator<Item = (RnicId, Question, Sighting)> + '_ {
        self.questions.as_slice().iter().filter_map(|entry| {
            let port = self.ports().get(usize::from(entry.question.port))?;
            Some((port.rnic, entry.question, entry.sighting))
        })
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
