//! Answers the probes of others: once each, to whom they came from, on the flow that the prober asked for.

use std::collections::VecDeque;
use std::num::NonZeroU8;
use std::time::Duration;

use rdmamesh_wire::{Ack2, Datagram, DropReason, Header, ReturnFlow, encode};

use super::{Route, Shared, Source, Token, Transmit};
use crate::dataplane::counters::DataplaneCounters;
use crate::dataplane::mono::Mono;
use crate::dataplane::senders::Heard;

/// Answers in flight.
const MAX_SLOTS: usize = 4096;

/// The answering half of an engine.
#[derive(Debug, Default)]
pub(super) struct Responder {
    pub(super) queue: VecDeque<Transmit>,
    heard: Heard,
    slots: Vec<Option<Reply>>,
    free: Vec<u32>,
}

/// An answer whose first half is on its way out.
#[derive(Debug, Clone, Copy)]
struct Reply {
    header: Header,
    received: Duration,
    hop_limit: Option<NonZeroU8>,
    route: Route,
    qp_index: u16,
    qpn: u32,
}

impl Responder {
    /// Handles a probe whose MAC, receiver and receiver epoch are right.
    pub(super) fn probe(
        &mut self,
        shared: &Shared,
        header: &Header,
        back: ReturnFlow,
        source: Source,
        stamp: Duration,
        now: Mono,
    ) -> Result<(), DropReason> {
        let address = source.address.ok_or(DropReason::Field)?;
        if usize::from(back.qp_index) >= shared.qps() {
            return Err(DropReason::Field);
        }
        self.heard.with(|senders| {
            senders.admit(header.sender, header.sender_epoch, header.sequence, now)
        })?;
        let reply = Reply {
            header: Header {
                sender: shared.rnic,
                receiver: header.sender,
                sender_epoch: shared.config.epoch,
                receiver_epoch: header.sender_epoch,
                ..*header
            },
            received: stamp,
            hop_limit: source.hop_limit,
            route: Route {
                address,
                flow_label: back.flow_label,
                dscp: back.dscp,
                service_level: back.service_level,
            },
            qp_index: back.qp_index,
            qpn: source.qpn,
        };
        let slot = self.claim(reply).ok_or(DropReason::Rate)?;
        let payload = encode(&Datagram::Ack1(reply.header), &shared.keys);
        self.queue
            .push_back(reply.transmit(Token::Ack1(slot), payload));
        Ok(())
    }

    /// The first answer was given to the device, or refused by it.
    pub(super) fn posted(&mut self, shared: &Shared, slot: u32, ok: bool, stamp: Mono) {
        if !ok {
            self.release(slot);
            return;
        }
        DataplaneCounters::add(&shared.counters.probes_answered, 1);
        if shared.software() {
            self.second(shared, slot, stamp.0, false);
        }
    }

    /// The first answer has left, or failed to.
    pub(super) fn sent(&mut self, shared: &Shared, slot: u32, ok: bool, stamp: Duration) {
        if !ok {
            self.release(slot);
        } else if !shared.software() {
            self.second(shared, slot, stamp, true);
        }
    }

    /// Forgets everything tied to the endpoint. What senders have sent stays known: replays stay replays.
    pub(super) fn close(&mut self) {
        self.queue.clear();
        self.slots.clear();
        self.free.clear();
    }

    /// Makes room when there are many senders.
    pub(super) fn forget_idle(&mut self, now: Mono) {
        self.heard.with(|senders| senders.forget_idle(now));
    }

    /// What has arrived here.
    pub(super) fn heard(&self) -> &Heard {
        &self.heard
    }

    /// Queues the second answer, which says how long the first one took.
    fn second(&mut self, shared: &Shared, slot: u32, replied: Duration, hardware: bool) {
        if let Some(reply) = self.release(slot) {
            let stamps = Ack2 {
                received: reply.received,
                replied,
                hardware,
                hop_limit: reply.hop_limit,
            };
            let payload = encode(&Datagram::Ack2(reply.header, stamps), &shared.keys);
            self.queue.push_back(reply.transmit(Token::Ack2, payload));
        }
    }

    fn claim(&mut self, reply: Reply) -> Option<u32> {
        if let Some(slot) = self.free.pop() {
            *self.slots.get_mut(usize::try_from(slot).ok()?)? = Some(reply);
            return Some(slot);
        }
        let slot = u32::try_from(self.slots.len())
            .ok()
            .filter(|_| self.slots.len() < MAX_SLOTS)?;
        self.slots.push(Some(reply));
        Some(slot)
    }

    fn release(&mut self, slot: u32) -> Option<Reply> {
        let reply = self.slots.get_mut(usize::try_from(slot).ok()?)?.take();
        if reply.is_some() {
            self.free.push(slot);
        }
        reply
    }
}

impl Reply {
    fn transmit(&self, token: Token, payload: [u8; rdmamesh_wire::DATAGRAM_LEN]) -> Transmit {
        Transmit {
            token: token.raw(),
            route: self.route,
            qp_index: self.qp_index,
            qpn: self.qpn,
            payload,
        }
    }
}
