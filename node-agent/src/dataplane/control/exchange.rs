//! Control exchanges with peers: at most one in flight per peer, a few tries, one answer to everyone who asked. No I/O.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use rdmamesh_wire::{
    CONTROL_MAX_PORTS, DropReason, NEVER, NodeId, PortEntry, Question, Resolve, ResolveReply,
    RnicId, Sighting,
};
use tokio::sync::mpsc;

use super::Identity;
use crate::dataplane::engine::{Answer, Present};
use crate::dataplane::mono::Mono;
use crate::dataplane::port::AskFrom;

/// Between two tries.
const RETRY_EVERY: Duration = Duration::from_millis(250);
/// The first try and its repetitions.
const TRIES: usize = 4;

/// Where a peer's agent is.
type PeerKey = (NodeId, SocketAddr);

#[derive(Debug)]
struct Waiting {
    rnic: RnicId,
    /// Whose probes the questions are about.
    from: RnicId,
    /// Sequence numbers of the probes.
    unanswered: Vec<u64>,
    reply: mpsc::UnboundedSender<Answer>,
}

#[derive(Debug, Default)]
struct Exchange {
    /// Who is told the answer of the exchange in flight.
    current: Vec<Waiting>,
    /// Who waits for the next one.
    next: Vec<Waiting>,
    /// Nonce and time of each try, oldest first.
    tries: Vec<(u64, Mono)>,
    due: Mono,
}

/// All exchanges in flight.
#[derive(Debug, Default)]
pub(super) struct Exchanges {
    peers: HashMap<PeerKey, Exchange>,
}

impl Exchanges {
    /// Somebody wants to know about a port of a peer.
    pub(super) fn ask(&mut self, from: AskFrom, now: Mono) {
        let AskFrom { inquiry, reply } = from;
        let ask = inquiry.ask;
        let exchange = self.peers.entry((ask.node, ask.control)).or_default();
        exchange.next.push(Waiting {
            rnic: ask.rnic,
            from: inquiry.from,
            unanswered: inquiry.unanswered,
            reply,
        });
        if exchange.current.is_empty() {
            exchange.begin(now);
        }
    }

    /// The next request to send now, if any. Exchanges that have run out of tries end here.
    pub(super) fn next_request(
        &mut self,
        identity: &mut Identity,
        now: Mono,
    ) -> Result<(SocketAddr, Resolve), Option<Mono>> {
        let mut ended = Vec::new();
        let mut found = None;
        for (key, exchange) in self.peers.iter_mut().filter(|(_, e)| e.due <= now) {
            if exchange.tries.len() == TRIES {
                exchange.silent();
                identity.failed();
                if !exchange.begin(now) {
                    ended.push(*key);
                    continue;
                }
            }
            found = Some((key.1, exchange.request(identity, key.0, now)));
            break;
        }
        for key in ended {
            self.peers.remove(&key);
        }
        found.ok_or_else(|| self.peers.values().map(|exchange| exchange.due).min())
    }

    /// Tells everyone who waits for `reply`.
    ///
    /// # Errors
    /// [`DropReason::Unsolicited`] when it answers none of our requests in flight.
    pub(super) fn reply(&mut self, reply: &ResolveReply, now: Mono) -> Result<(), DropReason> {
        let nonce = reply.nonce;
        let mut of_sender = self
            .peers
            .iter_mut()
            .filter(|(key, _)| key.0 == reply.sender);
        let found = of_sender.find_map(|(key, exchange)| {
            let asked = exchange.tries.iter().find(|(sent, _)| *sent == nonce)?.1;
            Some((*key, exchange, asked))
        });
        let Some((key, exchange, asked_at)) = found else {
            return Err(DropReason::Unsolicited);
        };
        exchange.present(reply, asked_at, now);
        if !exchange.begin(now) {
            self.peers.remove(&key);
        }
        Ok(())
    }
}

impl Exchange {
    /// Starts the exchange for those who wait; false when nobody does.
    fn begin(&mut self, now: Mono) -> bool {
        self.tries.clear();
        self.due = now;
        // A request has room for so many ports; whoever asks about others waits for the exchange after.
        let mut rnics: Vec<RnicId> = Vec::new();
        for waiting in std::mem::take(&mut self.next) {
            let listed = rnics.contains(&waiting.rnic);
            if listed || rnics.len() < CONTROL_MAX_PORTS {
                if !listed {
                    rnics.push(waiting.rnic);
                }
                self.current.push(waiting);
            } else {
                self.next.push(waiting);
            }
        }
        !self.current.is_empty()
    }

    fn request(&mut self, identity: &mut Identity, to: NodeId, now: Mono) -> Resolve {
        let nonce = identity.nonce();
        self.tries.push((nonce, now));
        self.due = now.plus(RETRY_EVERY);
        let mut rnics: Vec<RnicId> = self.current.iter().map(|waiting| waiting.rnic).collect();
        rnics.sort_unstable();
        rnics.dedup();
        let questions = self.current.iter().flat_map(|waiting| {
            let port = rnics.iter().position(|rnic| *rnic == waiting.rnic);
            let port = port.and_then(|port| u8::try_from(port).ok());
            let about = move |sequence: &u64| {
                Some(Question {
                    from: waiting.from,
                    sequence: *sequence,
                    port: port?,
                })
            };
            waiting.unanswered.iter().filter_map(about)
        });
        let questions: Vec<Question> = questions.collect();
        identity.request(to, nonce, rnics).asking(questions)
    }

    fn silent(&mut self) {
        let asked_at = self.tries.first().map_or(Mono::default(), |(_, at)| *at);
        for waiting in self.current.drain(..) {
            // Whoever has gone needs no answer.
            waiting
                .reply
                .send(Answer {
                    rnic: waiting.rnic,
                    asked_at,
                    present: None,
                    sightings: Vec::new(),
                })
                .ok();
        }
    }

    fn present(&mut self, reply: &ResolveReply, asked_at: Mono, now: Mono) {
        for waiting in self.current.drain(..) {
            let rnic = waiting.rnic;
            let listed = reply
                .ports()
                .iter()
                .find(|entry| entry.rnic == rnic)
                .copied();
            let entry = listed.unwrap_or(PortEntry::absent(rnic));
            let starved_ms = match entry.status {
                rdmamesh_wire::PortStatus::Absent => reply.starved_ms_ago,
                _ => reply.starved_ms_ago.min(entry.starved_ms_ago),
            };
            let sightings = reply.sightings().filter_map(|(port, question, sighting)| {
                let arrived = match sighting {
                    Sighting::Seen => true,
                    Sighting::Unseen => false,
                    Sighting::Unknown => return None,
                };
                let ours = port == rnic && question.from == waiting.from;
                ours.then_some((question.sequence, arrived))
            });
            let sightings = sightings.collect();
            let ago = Duration::from_millis(u64::from(starved_ms));
            let starved_until = (starved_ms != NEVER).then(|| Mono(now.0.saturating_sub(ago)));
            let present = Some(Present {
                epoch: reply.sender_epoch,
                entry,
                starved_until,
            });
            waiting
                .reply
                .send(Answer {
                    rnic,
                    asked_at,
                    present,
                    sightings,
                })
                .ok();
        }
    }
}

#[cfg(test)]
mod tests;
