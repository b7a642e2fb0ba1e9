//! The tracer's work as a state machine: what to send next, which answer belongs to what, when a request is done. No socket,
//! no clock.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use super::pace::Pace;
use crate::dataplane::Mono;
use crate::trace::packet::Quote;
use crate::trace::protocol::{Flow, FromTracer, Hop, Request};

/// A router that has not answered by then does not.
pub const ANSWER_WITHIN: Duration = Duration::from_millis(500);
/// Packets that wait to be sent; a request that would make it more is refused.
const MAX_QUEUE: usize = 16_384;

/// Which connection a request came over.
pub type Asker = u64;

/// A packet to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Send {
    /// Of which flow.
    pub flow: Flow,
    /// Where it ends.
    pub ttl: u8,
    /// Finds its answer again.
    pub token: u16,
}

#[derive(Debug)]
struct Job {
    asker: Asker,
    request: Request,
    hops: Vec<Hop>,
    /// Packets without an outcome.
    open: usize,
}

#[derive(Debug)]
struct Sent {
    job: u64,
    ttl: u8,
    at: Mono,
    deadline: Mono,
    /// This process stood still meanwhile: that no answer was seen says nothing.
    excused: bool,
}

/// See the module.
#[derive(Debug)]
pub struct Work {
    pace: Pace,
    jobs: HashMap<u64, Job>,
    next_job: u64,
    queue: VecDeque<(u64, u8)>,
    sent: HashMap<u16, Sent>,
    /// Tokens by deadline: they are given and end in the same order.
    deadlines: VecDeque<(Mono, u16)>,
    next_token: u16,
    done: Vec<(Asker, FromTracer)>,
}

impl Work {
    /// Nothing to do yet; tokens begin with `first_token`, which should be random.
    pub fn new(pace: Pace, first_token: u16) -> Self {
        Self {
            pace,
            jobs: HashMap::new(),
            next_job: 0,
            queue: VecDeque::new(),
            sent: HashMap::new(),
            deadlines: VecDeque::new(),
            next_token: first_token,
            done: Vec::new(),
        }
    }

    /// Takes a request on, or refuses it.
    pub fn submit(&mut self, asker: Asker, request: Request) {
        let refused = match request.check() {
            Ok(()) if self.queue.len() + request.packets() > MAX_QUEUE => {
                "too many packets wait already".to_owned()
            }
            Ok(()) => return self.accept(asker, request),
            Err(reason) => reason,
        };
        let (id, reason) = (request.id, refused);
        self.done.push((asker, FromTracer::Refused { id, reason }));
    }

    fn accept(&mut self, asker: Asker, request: Request) {
        let job = self.next_job;
        self.next_job += 1;
        let ttls = || request.first..=request.last;
        // One packet to each router in turn: what happens meanwhile happens to all.
        for _ in 0..request.each {
            self.queue.extend(ttls().map(|ttl| (job, ttl)));
        }
        let hop = |ttl| Hop {
            ttl,
            ..Hop::default()
        };
        let (hops, open) = (ttls().map(hop).collect(), request.packets());
        self.jobs.insert(
            job,
            Job {
                asker,
                request,
                hops,
                open,
            },
        );
    }

    /// The asker is gone: what it asked for is dropped.
    pub fn forget(&mut self, asker: Asker) {
        self.jobs.retain(|_, job| job.asker != asker);
        self.done.retain(|(of, _)| *of != asker);
        self.queue.retain(|(job, _)| self.jobs.contains_key(job));
    }

    /// The next packet to send now; give its outcome back with [`Work::failed`] when it was not sent.
    pub fn next_send(&mut self, now: Mono) -> Option<Send> {
        while let Some((id, ttl)) = self.queue.front().copied() {
            let Some(job) = self.jobs.get_mut(&id) else {
                self.queue.pop_front();
                continue;
            };
            let token = self.next_token;
            // All tokens in use: as many packets as there are numbers are under way.
            if self.sent.contains_key(&token) || !self.pace.take(now) {
                return None;
            }
            self.queue.pop_front();
            self.next_token = self.next_token.wrapping_add(1);
            if let Some(hop) = job.hops.iter_mut().find(|hop| hop.ttl == ttl) {
                hop.sent += 1;
            }
            let deadline = now.plus(ANSWER_WITHIN);
            let sent = Sent {
                job: id,
                ttl,
                at: now,
                deadline,
                excused: false,
            };
            self.sent.insert(token, sent);
            self.deadlines.push_back((deadline, token));
            let flow = job.request.flow.clone();
            return Some(Send { flow, ttl, token });
        }
        None
    }

    /// The packet with this token was not sent: the request as a whole is refused.
    pub fn failed(&mut self, token: u16, reason: &str) {
        let Some(job) = self.sent.remove(&token).map(|sent| sent.job) else {
            return;
        };
        if let Some(job) = self.jobs.remove(&job) {
            let (id, reason) = (job.request.id, reason.to_owned());
            self.done
                .push((job.asker, FromTracer::Refused { id, reason }));
        }
    }

    /// A router has spoken. False when it is about none of our packets.
    pub fn answered(&mut self, quote: &Quote, now: Mono) -> bool {
        let Some(sent) = self.sent.get(&quote.token) else {
            return false;
        };
        let Some(job) = self.jobs.get_mut(&sent.job) else {
            return false;
        };
        let flow = &job.request.flow;
        let ours = (flow.source, flow.target, flow.source_port)
            == (quote.source, quote.target, quote.source_port);
        if !ours {
            return false;
        }
        let (id, ttl) = (sent.job, sent.ttl);
        let rtt = u64::try_from(now.since(sent.at).as_nanos()).unwrap_or(u64::MAX);
        if let Some(hop) = job.hops.iter_mut().find(|hop| hop.ttl == ttl) {
            hop.answered += 1;
            hop.address = Some(quote.router);
            hop.rtt_ns = Some(hop.rtt_ns.map_or(rtt, |fastest| fastest.min(rtt)));
        }
        self.sent.remove(&quote.token);
        self.settle(id);
        true
    }

    /// Gives up on answers that are overdue.
    pub fn expire(&mut self, now: Mono) {
        while let Some((deadline, token)) = self.deadlines.front().copied() {
            if deadline > now {
                break;
            }
            self.deadlines.pop_front();
            let due = self
                .sent
                .get(&token)
                .is_some_and(|sent| sent.deadline <= now);
            if due && let Some(sent) = self.sent.remove(&token) {
                if sent.excused {
                    self.uncount(&sent);
                }
                self.settle(sent.job);
            }
        }
    }

    /// This process stood still until now: of the packets under way, those that stay without an answer were never sent, as far as
    /// anybody is told.
    pub fn stood_still(&mut self) {
        self.sent.values_mut().for_each(|sent| sent.excused = true);
    }

    fn uncount(&mut self, sent: &Sent) {
        let job = self.jobs.get_mut(&sent.job);
        let hop = job.and_then(|job| job.hops.iter_mut().find(|hop| hop.ttl == sent.ttl));
        if let Some(hop) = hop {
            hop.sent = hop.sent.saturating_sub(1);
        }
    }

    /// One packet of the request has its outcome.
    fn settle(&mut self, id: u64) {
        let Some(job) = self.jobs.get_mut(&id) else {
            return;
        };
        job.open = job.open.saturating_sub(1);
        if job.open == 0
            && let Some(job) = self.jobs.remove(&id)
        {
            let (id, hops) = (job.request.id, job.hops);
            self.done.push((job.asker, FromTracer::Traced { id, hops }));
        }
    }

    /// When [`Work::next_send`] or [`Work::expire`] has something to do next; `None` when nothing is under way.
    pub fn next_due(&self, now: Mono) -> Option<Mono> {
        let send = (!self.queue.is_empty()).then(|| self.pace.next(now));
        let expire = self.deadlines.front().map(|(deadline, _)| *deadline);
        send.into_iter().chain(expire).min()
    }

    /// Moves out what is to be told, by connection.
    pub fn drain_done(&mut self) -> BTreeMap<Asker, Vec<FromTracer>> {
        let mut told: BTreeMap<Asker, Vec<FromTracer>> = BTreeMap::new();
        for (asker, message) in self.done.drain(..) {
            told.entry(asker).or_default().push(message);
        }
        told
    }
}

#[cfg(test)]
mod tests;
