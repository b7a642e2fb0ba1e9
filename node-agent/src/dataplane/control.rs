//! The control exchange over plain IP: answers peers, resolves peers for the port loops, and probes the baseline.
//!
//! It runs on a thread of its own, so that load on the RDMA side cannot starve it: its answers decide whether silence means loss.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use rdmamesh_wire::{
    CONTROL_MAX_LEN, Control, DropReason, Epoch, KeyRing, NEVER, NodeId, Resolve, ResolveReply,
    RnicId, decode_control, encode_control,
};
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, watch};

use super::counters::DataplaneCounters;
use super::engine::starvation::Starvation;
use super::mono::Mono;
use super::port::{AskFrom, PortTick, TickSource, tick_after};
use super::registry::Registry;
use super::senders::Senders;
use crate::model::{ProbePlan, SeriesTable};
use baseline::Baseline;
use exchange::Exchanges;

mod baseline;
mod exchange;

/// The loop runs at least this often, so that it can tell a request that it was itself starved just before.
const HEARTBEAT: Duration = Duration::from_millis(100);

/// Who we are on the control socket, and the numbers that make each request unique.
#[derive(Debug)]
struct Identity {
    node: NodeId,
    epoch: Epoch,
    sequence: u64,
    counters: Arc<DataplaneCounters>,
}

impl Identity {
    fn new(node: NodeId, epoch: Epoch, counters: Arc<DataplaneCounters>) -> Self {
        Self {
            node,
            epoch,
            sequence: 0,
            counters,
        }
    }

    fn nonce(&self) -> u64 {
        rand::random()
    }

    fn request(&mut self, to: NodeId, nonce: u64, rnics: Vec<RnicId>) -> Resolve {
        self.sequence += 1;
        DataplaneCounters::add(&self.counters.resolves_sent, 1);
        Resolve::new((self.node, self.epoch), to, self.sequence, nonce, rnics)
    }

    fn failed(&self) {
        DataplaneCounters::add(&self.counters.resolves_failed, 1);
    }
}

/// Everything around the control loop.
#[derive(Debug)]
pub(super) struct ControlIo {
    pub(super) node: NodeId,
    pub(super) epoch: Epoch,
    pub(super) starved_after: Duration,
    pub(super) keys: watch::Receiver<Arc<KeyRing>>,
    pub(super) plan: watch::Receiver<ProbePlan>,
    pub(super) asks: mpsc::UnboundedReceiver<AskFrom>,
    pub(super) ticks: mpsc::UnboundedSender<PortTick>,
    pub(super) series: Arc<Mutex<SeriesTable>>,
    pub(super) registry: Arc<Registry>,
    pub(super) counters: Arc<DataplaneCounters>,
    pub(super) stop: watch::Receiver<bool>,
}

/// The state of the control loop.
struct ControlLoop {
    io: ControlIo,
    socket: UdpSocket,
    identity: Identity,
    exchanges: Exchanges,
    baseline: Baseline,
    senders: Senders<NodeId>,
    starvation: Starvation,
    out: [u8; CONTROL_MAX_LEN],
}

/// Runs until `io.stop` says so.
///
/// # Errors
/// When the socket cannot be driven by this runtime.
pub(super) async fn run(socket: std::net::UdpSocket, io: ControlIo) -> io::Result<()> {
    let socket = UdpSocket::from_std(socket)?;
    let identity = Identity::new(io.node, io.epoch, Arc::clone(&io.counters));
    let starvation = Starvation::new(io.starved_after);
    let mut control = ControlLoop {
        io,
        socket,
        identity,
        exchanges: Exchanges::default(),
        baseline: Baseline::default(),
        senders: Senders::default(),
        starvation,
        out: [0; CONTROL_MAX_LEN],
    };
    let plan = control.io.plan.borrow_and_update().clone();
    control.baseline.set_plan(&plan, Mono::now());
    control.serve().await;
    Ok(())
}

impl ControlLoop {
    async fn serve(&mut self) {
        // One byte more than the longest datagram, so that a longer one shows.
        let mut buffer = [0; CONTROL_MAX_LEN + 1];
        let mut next_tick = tick_after(Mono::now());
        while !*self.io.stop.borrow() {
            let now = Mono::now();
            let due = self.send_due(now);
            if now >= next_tick {
                self.tick(now);
                next_tick = tick_after(now);
            }
            let planned = due
                .unwrap_or(next_tick)
                .min(next_tick)
                .min(now.plus(HEARTBEAT));
            let wait = planned.since(Mono::now());
            let received = tokio::select! {
                biased;
                received = self.socket.recv_from(&mut buffer) => Some(received),
                Some(ask) = self.io.asks.recv() => {
                    self.exchanges.ask(ask, Mono::now());
                    None
                }
                Ok(()) = self.io.plan.changed() => {
                    let plan = self.io.plan.borrow_and_update().clone();
                    self.baseline.set_plan(&plan, Mono::now());
                    None
                }
                Ok(()) = self.io.stop.changed() => None,
                () = tokio::time::sleep(wait) => None,
            };
            // Before anything is answered: the answer must say if this loop has just been starved.
            self.noticed(planned);
            if let Some(received) = received {
                self.received(received, &buffer);
            }
        }
    }

    /// Sends all requests that are due; says when the next is.
    fn send_due(&mut self, now: Mono) -> Option<Mono> {
        let resolve = loop {
            match self.exchanges.next_request(&mut self.identity, now) {
                Ok((to, request)) => self.send(to, &Control::Resolve(request)),
                Err(due) => break due,
            }
        };
        let baseline = loop {
            let (identity, registry) = (&mut self.identity, &self.io.registry);
            match self
                .baseline
                .next_request(identity, &self.starvation, registry, now)
            {
                Ok((to, request)) => self.send(to, &Control::Resolve(request)),
                Err(due) => break due,
            }
        };
        resolve.into_iter().chain(baseline).min()
    }

    fn send(&mut self, to: SocketAddr, message: &Control) {
        let keys = Arc::clone(&self.io.keys.borrow());
        let bytes = encode_control(message, &keys, &mut self.out);
        // A datagram that cannot be sent is as good as lost; whoever waits for its answer tries again.
        if let Err(error) = self.socket.try_send_to(bytes, reachable(&self.socket, to)) {
            tracing::debug!(%error, %to, "control datagram not sent");
        }
    }

    /// The loop runs: remembers if that is later than it should.
    fn noticed(&mut self, planned: Mono) {
        if self.starvation.woken(planned, Mono::now()) {
            DataplaneCounters::add(&self.io.counters.starvations, 1);
        }
    }

    fn received(&mut self, received: io::Result<(usize, SocketAddr)>, buffer: &[u8]) {
        let (len, from) = match received {
            Ok(received) => received,
            Err(error) => {
                // Such as "connection refused" of an earlier datagram: says nothing about this socket.
                tracing::debug!(%error, "control socket");
                return;
            }
        };
        if let Err(reason) = self.handle(buffer.get(..len).unwrap_or_default(), from) {
            self.io.counters.drop_control(reason);
        }
    }

    fn handle(&mut self, bytes: &[u8], from: SocketAddr) -> Result<(), DropReason> {
        let keys = Arc::clone(&self.io.keys.borrow());
        let message = decode_control(bytes, &keys)?;
        let now = Mono::now();
        match message {
            Control::Resolve(request) => self.answer(&request, from, now),
            Control::Reply(reply) => self.take(&reply, now),
        }
    }

    fn answer(&mut self, request: &Resolve, from: SocketAddr, now: Mono) -> Result<(), DropReason> {
        if request.receiver != self.identity.node {
            return Err(DropReason::Receiver);
        }
        self.senders
            .admit(request.sender, request.sender_epoch, request.sequence, now)?;
        let starved_ms_ago = self.starvation.last_end().map_or(NEVER, |end| {
            u32::try_from(now.since(end).as_millis()).unwrap_or(NEVER)
        });
        let (registry, bound) = (&self.io.registry, self.io.starved_after);
        let entry = |rnic| registry.entry(rnic, now, bound);
        let epoch = request.sender_epoch;
        let reply = request
            .reply(self.identity.epoch, starved_ms_ago, entry)
            .telling(|rnic, question| registry.sighting(rnic, epoch, question));
        DataplaneCounters::add(&self.io.counters.resolves_served, 1);
        self.send(from, &Control::Reply(reply));
        Ok(())
    }

    fn take(&mut self, reply: &ResolveReply, now: Mono) -> Result<(), DropReason> {
        if reply.receiver != self.identity.node {
            return Err(DropReason::Receiver);
        }
        if reply.receiver_epoch != self.identity.epoch {
            return Err(DropReason::Epoch);
        }
        self.baseline
            .reply(reply, now)
            .or_else(|reason| match reason {
                DropReason::Unsolicited => self.exchanges.reply(reply, now),
                other => Err(other),
            })?;
        DataplaneCounters::add(&self.io.counters.resolves_answered, 1);
        Ok(())
    }

    fn tick(&mut self, now: Mono) {
        self.senders.forget_idle(now);
        let targets = {
            let mut series = self
                .io
                .series
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            self.baseline.report(now, SystemTime::now(), &mut series)
        };
        if !targets.is_empty() {
            // Nobody listens any more only when the whole data path ends.
            let source = TickSource::Control;
            self.io.ticks.send(PortTick { source, targets }).ok();
        }
    }
}

/// `to` as the socket can reach it: an IPv6 socket needs IPv4 addresses in their mapped form.
fn reachable(socket: &UdpSocket, to: SocketAddr) -> SocketAddr {
    match (socket.local_addr(), to.ip()) {
        (Ok(SocketAddr::V6(_)), IpAddr::V4(v4)) => (v4.to_ipv6_mapped(), to.port()).into(),
        _ => to,
    }
}
