//! The prober's side of path tracing: keeps in touch with the tracer, asks for what the [`Book`] wants to know.
//!
//! Probing never waits for this. Without a tracer the paths known so far stay, the state says why nothing new is learnt, and
//! the tracer is looked for about every second.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::{FutureExt, SinkExt, StreamExt};
use rdmamesh_api::RdmaNodeStatus;
use rdmamesh_fabric::diagnose::Hop;
use rdmamesh_fabric::report::{self, HopTally};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_util::bytes::{Bytes, BytesMut};
use tokio_util::codec::{Framed, LengthDelimitedCodec};
use tokio_util::sync::CancellationToken;

use super::book::{Book, HopCount, LinkStart, Links, LocalRoute, LocalRoutes};
use super::protocol::{FromTracer, PROTOCOL, codec};
use crate::anomaly::Kind;
use crate::dataplane::Mono;
use crate::logging::Repeats;
use crate::model::{FlowWindow, LocalPort, LostProbe, PortHealth, TargetKey};
use crate::passive::netdev;
use crate::reporter::Tick;

/// Between two attempts to reach the tracer.
const RECONNECT: Duration = Duration::from_secs(1);
/// A tracer greets within this.
const GREETED_WITHIN: Duration = Duration::from_secs(2);
/// While nothing is due, overdue answers are looked for this often.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Hop probes are summed up anew after this.
const SHELF_LIFE: Duration = Duration::from_millis(250);

/// Whether paths are traced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TracingState {
    /// The tracer answers.
    Active,
    /// It does not, for this reason: one sentence.
    Unavailable(String),
}

impl Default for TracingState {
    fn default() -> Self {
        Self::Unavailable("no --trace-socket is given: path tracing is off".to_owned())
    }
}

/// Numbers of the prober's side, cumulative.
#[derive(Debug, Default)]
pub struct TraceCounters {
    packets: AtomicU64,
    answers: AtomicU64,
    refused: AtomicU64,
}

/// A copy of [`TraceCounters`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TraceSnapshot {
    /// Packets that the tracer has sent for us.
    pub packets: u64,
    /// Of those, packets that a router answered.
    pub answers: u64,
    /// Requests that the tracer refused.
    pub refused: u64,
}

impl TraceCounters {
    fn told(&self, message: &FromTracer) {
        match message {
            FromTracer::Hello { .. } => {}
            FromTracer::Traced { hops, .. } => {
                let sent = hops.iter().map(|hop| u64::from(hop.sent)).sum();
                let answered = hops.iter().map(|hop| u64::from(hop.answered)).sum();
                self.packets.fetch_add(sent, Ordering::Relaxed);
                self.answers.fetch_add(answered, Ordering::Relaxed);
            }
            FromTracer::Refused { .. } => {
                self.refused.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// A copy.
    pub fn snapshot(&self) -> TraceSnapshot {
        TraceSnapshot {
            packets: self.packets.load(Ordering::Relaxed),
            answers: self.answers.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
        }
    }
}

/// What is known of paths, for whoever reports. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Paths {
    book: Arc<Mutex<Book>>,
    counters: Arc<TraceCounters>,
    /// Hop probes by link, and when they were summed up: one report asks for many links.
    links: Arc<Mutex<Option<(Mono, Links)>>>,
}

impl Paths {
    /// The book, locked.
    pub fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Cumulative numbers.
    pub fn counters(&self) -> TraceSnapshot {
        self.counters.snapshot()
    }

    fn hop_at(&self, from: &LinkStart, to: IpAddr, now: Mono) -> HopCount {
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = |(made, _): &&(Mono, Links)| now.since(*made) < SHELF_LIFE;
        if links.as_ref().filter(fresh).is_none() {
            let book = self.book();
            *links = Some((now, book.hop_links(book.begin(now))));
        }
        let known = links
            .as_ref()
            .and_then(|(_, links)| links.get(&(from.clone(), to)));
        known.copied().unwrap_or_default()
    }
}

impl report::Paths for Paths {
    fn path(
        &self,
        local: &LocalPort,
        target: &TargetKey,
        flow: &FlowWindow,
    ) -> Option<report::Path> {
        let book = self.book();
        book.path(local, target, flow, book.begin(Mono::now()))
    }

    fn hop(&self, from: &Hop, to: &Hop) -> HopTally {
        let from = match from {
            Hop::Rnic(rnic) => LinkStart::Local(LocalPort::new(rnic.device.as_str(), rnic.port)),
            Hop::Router(address) => LinkStart::Router(*address),
            Hop::Unknown => return HopTally::default(),
        };
        let Hop::Router(to) = to else {
            return HopTally::default();
        };
        let count = self.hop_at(&from, *to, Mono::now());
        let number = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
        HopTally {
            sent: number(count.sent),
            answered: number(count.answered),
            rtt: count.rtt,
        }
    }
}

/// What the tracing task follows.
#[derive(Debug)]
pub struct Inputs {
    /// Where the tracer listens; none means that tracing is off.
    pub socket: Option<PathBuf>,
    /// Judged reports: flows, and which of them are slow.
    pub tick: watch::Receiver<Option<Arc<Tick>>>,
    /// Probes found lost.
    pub losses: mpsc::Receiver<LostProbe>,
    /// The local ports: their addresses.
    pub ports: watch::Receiver<Vec<PortHealth>>,
    /// The inventory: network interfaces of the ports.
    pub inventory: watch::Receiver<Option<Arc<RdmaNodeStatus>>>,
    /// Whether paths are traced.
    pub state: watch::Sender<TracingState>,
}

/// Follows flows and asks the tracer until `stop`.
pub async fn run(paths: Paths, inputs: Inputs, stop: CancellationToken) {
    let Some(socket) = inputs.socket.clone() else {
        return stop.cancelled().await;
    };
    let mut client = Client {
        paths,
        inputs,
        repeats: Repeats::default(),
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = client.stay_in_touch(&socket) => {}
    }
}

struct Client {
    paths: Paths,
    inputs: Inputs,
    repeats: Repeats,
}

type Frames = Framed<UnixStream, LengthDelimitedCodec>;

impl Client {
    async fn stay_in_touch(&mut self, socket: &Path) {
        loop {
            let reason = match self.connect(socket).await {
                Ok(mut frames) => self.converse(&mut frames).await,
                Err(reason) => reason,
            };
            self.paths.book().disconnected(Mono::now());
            self.repeats.failed(|failures| {
                tracing::warn!(failures, reason, "tracer not available");
            });
            self.set_state(TracingState::Unavailable(reason));
            let pause = tokio::time::sleep(RECONNECT);
            tokio::pin!(pause);
            loop {
                tokio::select! {
                    () = &mut pause => break,
                    () = self.news() => {}
                }
            }
        }
    }

    fn set_state(&self, state: TracingState) {
        self.inputs.state.send_if_modified(|current| {
            let changed = *current != state;
            *current = state;
            changed
        });
    }

    async fn connect(&mut self, socket: &Path) -> Result<Frames, String> {
        let shown = socket.display();
        let stream = UnixStream::connect(socket).await.map_err(|error| {
            format!("no tracer answers at {shown}: {error}; is its container running?")
        })?;
        let mut frames = Framed::new(stream, codec());
        let greeting = timeout(GREETED_WITHIN, frames.next()).await;
        let greeting = match greeting {
            Ok(Some(Ok(frame))) => serde_json::from_slice(&frame).ok(),
            _ => None,
        };
        let Some(hello @ FromTracer::Hello { protocol, .. }) = greeting else {
            return Err(format!("what listens at {shown} is no tracer"));
        };
        if protocol != PROTOCOL {
            return Err(format!(
                "the tracer speaks protocol {protocol}, this agent {PROTOCOL}: run both from one image"
            ));
        }
        self.paths.book().told(&hello, Mono::now());
        self.repeats.recovered(|failures| {
            tracing::info!(failures, "tracer found");
        });
        self.set_state(TracingState::Active);
        Ok(frames)
    }

    /// Asks and listens until the connection ends; says why it did.
    async fn converse(&mut self, frames: &mut Frames) -> String {
        loop {
            let now = Mono::now();
            loop {
                let request = self.paths.book().next_request(now);
                let Some(request) = request else { break };
                let Ok(json) = serde_json::to_vec(&request) else {
                    return "a request cannot be written".to_owned();
                };
                if frames.send(Bytes::from(json)).await.is_err() {
                    return "the tracer has ended".to_owned();
                }
            }
            let (due, overdue) = {
                let book = self.paths.book();
                (book.next_due(), book.is_overdue(now))
            };
            if overdue {
                // On a starved host the answers may be there, waiting for this very process.
                match frames.next().now_or_never() {
                    Some(frame) => {
                        if let Err(reason) = self.heard(frame) {
                            return reason;
                        }
                        continue;
                    }
                    None => return "the tracer does not answer".to_owned(),
                }
            }
            let wait = due.map_or(LOOK_EVERY, |due| due.since(now)).min(LOOK_EVERY);
            tokio::select! {
                frame = frames.next() => {
                    if let Err(reason) = self.heard(frame) {
                        return reason;
                    }
                }
                () = self.news() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Takes a frame over; says why the connection is of no more use, if so.
    fn heard(&self, frame: Option<std::io::Result<BytesMut>>) -> Result<(), String> {
        let Some(Ok(frame)) = frame else {
            return Err("the tracer has ended".to_owned());
        };
        let message = serde_json::from_slice(&frame)
            .map_err(|_| "the tracer says what this agent does not understand".to_owned())?;
        self.told(&message);
        Ok(())
    }

    fn told(&self, message: &FromTracer) {
        if let FromTracer::Refused { reason, .. } = message {
            tracing::debug!(reason, "tracer refused");
        }
        self.paths.counters.told(message);
        self.paths.book().told(message, Mono::now());
    }

    /// Waits for a report or a lost probe and takes it over. Cancel safe.
    async fn news(&mut self) {
        tokio::select! {
            Some(lost) = self.inputs.losses.recv() => {
                let tick = self.inputs.tick.borrow().clone();
                let port = tick.and_then(|tick| source_port(&tick, &lost));
                self.paths.book().lost(&lost, port, Mono::now());
            }
            Ok(()) = self.inputs.tick.changed() => {
                let tick = self.inputs.tick.borrow_and_update().clone();
                if let Some(tick) = tick {
                    self.follow(&tick);
                }
            }
            else => std::future::pending().await,
        }
    }

    fn follow(&self, tick: &Tick) {
        let now = Mono::now();
        let locals = locals(
            &self.inputs.ports.borrow(),
            self.inputs.inventory.borrow().as_deref(),
        );
        let mut book = self.paths.book();
        book.follow(&tick.report.targets, &locals, now);
        // Slow flows lose nothing: they are known by their finding only.
        let slow = tick.findings.iter().filter(|f| f.key.kind == Kind::Latency);
        for finding in slow {
            let key = (finding.key.local.clone(), finding.key.target.clone());
            let window = tick
                .report
                .targets
                .iter()
                .find(|window| window.local == key.0 && window.target.key() == key.1);
            let Some(window) = window else { continue };
            let of_finding =
                |flow: &&FlowWindow| finding.key.flow.is_none_or(|index| index == flow.flow);
            for flow in window.flows.iter().filter(of_finding) {
                book.heat(&key, flow.source_port, window.target.window, now);
            }
        }
    }
}

/// The source port of the flow of a lost probe, as the newest report has it.
fn source_port(tick: &Tick, lost: &LostProbe) -> Option<u16> {
    let windows = tick.report.targets.iter();
    let mut of_target =
        windows.filter(|window| window.local == lost.local && window.target == lost.target);
    let flows = &of_target.next()?.flows;
    flows
        .iter()
        .find(|flow| flow.flow == lost.flow)?
        .source_port
}

/// The addresses and interfaces of the local ports.
fn locals(ports: &[PortHealth], inventory: Option<&RdmaNodeStatus>) -> LocalRoutes {
    let route = |port: &PortHealth| {
        let gid = port.open.as_ref()?.gid?;
        let route = LocalRoute {
            source: gid.to_canonical(),
            netdev: netdev(inventory, &port.local),
        };
        Some((port.local.clone(), route))
    };
    ports.iter().filter_map(route).collect()
}

#[cfg(test)]
mod tests;
