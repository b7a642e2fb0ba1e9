//! One port's prober and responder as a state machine: no I/O, no clock, no task.
//!
//! The port loop ([`super::port`]) feeds it completions, answers of the control exchange and the time, posts the
//! [`Transmit`]s it asks for, and sleeps until [`Engine::next_deadline`]. Everything a probe needs sits in one timer heap and
//! one ring by sequence number, so a thousand flows cost no more than their packets.

use std::num::NonZeroU8;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rdmamesh_verbs::{Completion, CompletionStatus, Gid};
use rdmamesh_wire::{Datagram, DropReason, KeyRing, NodeId, RnicId, decode};

use super::counters::DataplaneCounters;
use super::mono::Mono;
use super::senders::Heard;
use crate::model::{
    FabricAddress, LocalPort, LostProbe, PortPlan, SeriesTable, TargetWindow, TimestampMode,
};

pub use flows::FlowFacts;
pub use interface::{
    Answer, Ask, EngineConfig, Inquiry, PortFacts, PostFailure, Present, Route, Transmit,
};
use prober::Prober;
use responder::Responder;
use starvation::Starvation;

pub mod flows;
mod interface;
mod pending;
mod prober;
mod responder;
pub(super) mod starvation;
mod target;
pub mod window;

/// What prober and responder share.
#[derive(Debug)]
struct Shared {
    config: EngineConfig,
    rnic: RnicId,
    keys: Arc<KeyRing>,
    counters: Arc<DataplaneCounters>,
    facts: Option<PortFacts>,
    starvation: Starvation,
    /// The current wake-up was late: stamps taken in it say nothing about the fabric.
    late_wake: bool,
}

impl Shared {
    fn software(&self) -> bool {
        self.facts
            .as_ref()
            .is_none_or(|facts| facts.timestamps == TimestampMode::Software)
    }

    fn qps(&self) -> usize {
        self.facts
            .as_ref()
            .map_or(0, |facts| facts.flows.qp_ports.len())
    }
}

/// See the module.
#[derive(Debug)]
pub struct Engine {
    shared: Shared,
    prober: Prober,
    responder: Responder,
    /// Datagrams whose way is being found.
    parked: Vec<Transmit>,
}

/// So many datagrams wait for their way at most.
const MAX_PARKED: usize = 1024;

impl Engine {
    /// An engine without endpoint and plan.
    pub fn new(config: EngineConfig, keys: Arc<KeyRing>, counters: Arc<DataplaneCounters>) -> Self {
        let rnic = RnicId::of(&config.node, &config.local.device, config.local.port);
        let starvation = Starvation::new(config.starved_after);
        let facts = None;
        let shared = Shared {
            config,
            rnic,
            keys,
            counters,
            facts,
            starvation,
            late_wake: false,
        };
        let (prober, responder) = (Prober::default(), Responder::default());
        Self {
            shared,
            prober,
            responder,
            parked: Vec::new(),
        }
    }

    /// The identity of the port.
    pub fn rnic(&self) -> RnicId {
        self.shared.rnic
    }

    /// The port.
    pub fn local(&self) -> &LocalPort {
        &self.shared.config.local
    }

    /// Replaces the keys.
    pub fn set_keys(&mut self, keys: Arc<KeyRing>) {
        self.shared.keys = keys;
    }

    /// Replaces the plan; `None` means to answer only. Targets that stay keep their windows.
    pub fn set_plan(&mut self, plan: Option<&PortPlan>, now: Mono) {
        self.prober.set_plan(&mut self.shared, plan, now);
    }

    /// Sends at this share of the planned rate (0 to 1, exclusive of 0).
    pub fn set_rate(&mut self, rate: f64) {
        self.prober.set_rate(rate);
    }

    /// The endpoint is open (again).
    pub fn open(&mut self, facts: PortFacts, now: Mono) {
        self.shared.facts = Some(facts);
        self.prober.open(&mut self.shared, now);
    }

    /// The endpoint is gone. What was outstanding on it ends as a send error: it says nothing about the fabric.
    pub fn close(&mut self, now: Mono) {
        self.prober.close(&mut self.shared, now);
        self.responder.close();
        self.parked.clear();
        self.shared.facts = None;
    }

    /// Whether the port's link is active. While it is not, nothing is sent: absence of data, not loss.
    pub fn set_link(&mut self, up: bool, now: Mono) {
        self.prober.set_link(&mut self.shared, up, now);
    }

    /// Sends no more probes, for good; answers go on.
    pub fn stop_sending(&mut self) {
        self.prober.stop_sending();
    }

    /// Probes whose outcome is open.
    pub fn outstanding(&self) -> usize {
        self.prober.outstanding()
    }

    /// The loop runs: it wanted to at `planned` (now, if something else than the timer woke it).
    pub fn woken(&mut self, planned: Mono, now: Mono) {
        self.shared.late_wake = self.shared.starvation.woken(planned, now);
        if self.shared.late_wake {
            DataplaneCounters::add(&self.shared.counters.starvations, 1);
        }
    }

    /// The device lost datagrams by its own doing in this span: like a starved host, no alibi for the fabric.
    pub fn interrupted(&mut self, from: Mono, to: Mono) {
        self.shared.starvation.note(from, to);
        DataplaneCounters::add(&self.shared.counters.starvations, 1);
    }

    /// When this host was last found starved.
    pub fn starved_until(&self) -> Option<Mono> {
        self.shared.starvation.last_end()
    }

    /// Handles one completion.
    pub fn completed(&mut self, completion: &Completion, now: Mono) {
        match completion {
            Completion::Sent {
                token,
                status,
                stamp,
            } => {
                let ok = *status == CompletionStatus::Success;
                match Token::of(*token) {
                    Token::Probe(seq) => self.prober.sent(&mut self.shared, seq, ok, stamp.0, now),
                    Token::Ack1(slot) => self.responder.sent(&self.shared, slot, ok, stamp.0),
                    Token::Ack2 => {}
                }
            }
            Completion::Received {
                source_qpn,
                source_gid,
                source_lid,
                hop_limit,
                payload,
                stamp,
                ..
            } => {
                let source = Source {
                    address: source_address(*source_gid, *source_lid),
                    hop_limit: hop_limit.and_then(NonZeroU8::new),
                    qpn: *source_qpn,
                };
                if let Err(reason) = self.received(source, payload, stamp.0, now) {
                    self.shared.counters.drop_probe(reason);
                }
            }
        }
    }

    fn received(
        &mut self,
        source: Source,
        payload: &[u8],
        stamp: Duration,
        now: Mono,
    ) -> Result<(), DropReason> {
        let datagram = decode(payload, &self.shared.keys)?;
        let header = datagram.header();
        if header.receiver != self.shared.rnic {
            return Err(DropReason::Receiver);
        }
        if header.receiver_epoch != self.shared.config.epoch {
            return Err(DropReason::Epoch);
        }
        match datagram {
            Datagram::Probe(header, back) => {
                self.responder
                    .probe(&self.shared, &header, back, source, stamp, now)
            }
            Datagram::Ack1(header) => self.prober.ack1(&mut self.shared, &header, stamp, now),
            Datagram::Ack2(header, stamps) => {
                self.prober.ack2(&mut self.shared, &header, stamps, now)
            }
        }
    }

    /// Handles an answer of the control exchange.
    pub fn answered(&mut self, answer: &Answer, now: Mono) {
        self.prober.answered(&mut self.shared, answer, now);
    }

    /// Does all that is due. Feed completions first: an answer that waits in the queue is not a timeout.
    pub fn advance(&mut self, now: Mono) {
        self.prober.advance(&mut self.shared, now);
    }

    /// The next datagram to post, answers first. Give it back with [`Engine::posted`].
    pub fn next_transmit(&mut self) -> Option<Transmit> {
        self.responder
            .queue
            .pop_front()
            .or_else(|| self.prober.queue.pop_front())
    }

    /// What came of posting `transmit`; `stamp` was taken on `CLOCK_MONOTONIC` just before.
    pub fn posted(&mut self, transmit: Transmit, result: Result<(), PostFailure>, stamp: Mono) {
        match (Token::of(transmit.token), result) {
            (Token::Probe(_), Err(PostFailure::Busy)) => self.prober.queue.push_front(transmit),
            (_, Err(PostFailure::Busy)) => self.responder.queue.push_front(transmit),
            (_, Err(PostFailure::Unrouted)) if self.parked.len() < MAX_PARKED => {
                self.parked.push(transmit);
            }
            (Token::Probe(seq), result) => {
                self.prober
                    .posted(&mut self.shared, seq, result.is_ok(), stamp);
            }
            (Token::Ack1(slot), result) => {
                self.responder
                    .posted(&self.shared, slot, result.is_ok(), stamp);
            }
            (Token::Ack2, _) => {}
        }
    }

    /// Ways have been found, or found closed: what waited for one is posted again.
    pub fn routes_changed(&mut self) {
        for transmit in self.parked.drain(..) {
            match Token::of(transmit.token) {
                Token::Probe(seq) => {
                    if self.prober.waits(seq) {
                        self.prober.queue.push_back(transmit);
                    }
                }
                Token::Ack1(_) | Token::Ack2 => self.responder.queue.push_back(transmit),
            }
        }
    }

    /// Moves the wanted control exchanges out.
    pub fn drain_asks(&mut self) -> std::vec::Drain<'_, Inquiry> {
        self.prober.asks.drain(..)
    }

    /// Moves out what has been found lost since the last time.
    pub fn drain_lost(&mut self) -> std::vec::Drain<'_, LostProbe> {
        self.prober.lost.drain(..)
    }

    /// What arrives at this port, for those who ask over IP.
    pub fn heard(&self) -> Heard {
        self.responder.heard().clone()
    }

    /// When [`Engine::advance`] has something to do next; `None` when only a completion, answer or plan can change that.
    pub fn next_deadline(&mut self) -> Option<Mono> {
        self.prober.next_deadline()
    }

    /// The windows of all targets. To be called once per second; also settles cumulative numbers into `series`.
    pub fn report(
        &mut self,
        now: Mono,
        wall: SystemTime,
        series: &mut SeriesTable,
        out: &mut Vec<TargetWindow>,
    ) {
        self.responder.forget_idle(now);
        self.prober.report(&mut self.shared, now, wall, series, out);
    }

    /// Adds everything settled to `series`, final or not: for the end of the process.
    pub fn flush(&mut self, now: Mono, series: &mut SeriesTable) {
        self.prober.flush(&mut self.shared, now, series);
    }

    /// For every peer node that answered a probe: when last. The baseline over IP takes its alibi from it.
    pub fn answered_nodes(&self) -> impl Iterator<Item = (NodeId, Mono)> + '_ {
        self.prober.answered_nodes()
    }
}

/// Where a received datagram came from.
#[derive(Debug, Clone, Copy)]
struct Source {
    address: Option<FabricAddress>,
    hop_limit: Option<NonZeroU8>,
    qpn: u32,
}

fn source_address(gid: Option<Gid>, lid: Option<u16>) -> Option<FabricAddress> {
    let by_gid = gid
        .filter(|gid| !gid.is_zero())
        .map(|gid| FabricAddress::Gid(gid.bytes().into()));
    // On InfiniBand without a GRH there is only the LID, and within a subnet it is the shorter way anyway.
    lid.filter(|lid| *lid != 0)
        .map(FabricAddress::Lid)
        .or(by_gid)
}

/// What a work request's token stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    Probe(u64),
    Ack1(u32),
    Ack2,
}

impl Token {
    const fn of(raw: u64) -> Self {
        match raw & 3 {
            0 => Self::Probe(raw >> 2),
            // Slots are numbered with 32 bits.
            1 => Self::Ack1((raw >> 2) as u32),
            _ => Self::Ack2,
        }
    }

    const fn raw(self) -> u64 {
        match self {
            Self::Probe(seq) => seq << 2,
            Self::Ack1(slot) => ((slot as u64) << 2) | 1,
            Self::Ack2 => 2,
        }
    }
}
