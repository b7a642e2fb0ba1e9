//! The loop of one port: moves completions, time and orders into its [`Engine`] and datagrams out of it.
//!
//! It is one task. It never waits for a single completion, and it sleeps until the engine's next deadline or until the device,
//! the control exchange or the supervisor has something for it. [`ProbePort`] is all it needs of a device, so that
//! tests run the very same loop on a fabric in memory.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use rdmamesh_verbs::Completion;
use rdmamesh_wire::{KeyRing, RnicId};
use tokio::sync::{mpsc, watch};

use super::engine::{Answer, Engine, Inquiry, PortFacts, PostFailure, Transmit};
use super::mono::Mono;
use super::registry::{PublishedPort, Registry};
use super::senders::Heard;
use crate::model::{LocalPort, LostProbe, PortPlan, SeriesTable, TargetWindow};

pub use verbs::VerbsPort;

mod verbs;

/// Reports are made at this point of every second: by then a probe sent at the end of the second before
/// has had its default timeout of 500 ms and its judgement.
pub const TICK_PHASE: Duration = Duration::from_millis(800);

/// Deadlines within the same millisecond share one wake-up.
const GRID: Duration = Duration::from_millis(1);

/// The device is gone or broken: let go of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PortGone(pub String);

/// What the loop needs of a device.
pub trait ProbePort {
    /// Facts of the endpoint; they do not change while it is open.
    fn facts(&self) -> PortFacts;

    /// Posts a datagram, without waiting.
    ///
    /// # Errors
    /// [`PostFailure`]; nothing was sent then and no completion will come.
    fn post(&mut self, transmit: &Transmit) -> Result<(), PostFailure>;

    /// Moves all completions into `out`, without waiting.
    ///
    /// # Errors
    /// The device is gone.
    fn poll(&mut self, out: &mut Vec<Completion>) -> Result<(), PortGone>;

    /// Returns when there may be completions or new ways. Must be cancel safe.
    fn ready(&self) -> impl Future<Output = Result<(), PortGone>>;

    /// True when ways have been found since the last call: datagrams that were [`PostFailure::Unrouted`] can be tried again.
    fn routes_changed(&mut self) -> bool;

    /// True when the device has lost datagrams by its own doing since the last call (a failed queue pair was brought
    /// back): what was under way then says nothing about the fabric.
    fn interrupted(&mut self) -> bool;

    /// The clock that software stamps are on.
    fn now(&self) -> Mono;
}

/// An order of the supervisor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PortOrder {
    /// The link went up or down.
    Link(bool),
    /// Leave the loop, for this reason.
    Close(String),
}

/// A control exchange wanted by a port loop.
#[derive(Debug, Clone)]
pub struct AskFrom {
    /// What to ask.
    pub inquiry: Inquiry,
    /// Whom to tell.
    pub reply: mpsc::UnboundedSender<Answer>,
}

/// Which loop a tick is of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum TickSource {
    /// The control exchange.
    Control,
    /// A port.
    Port(LocalPort),
}

/// One second's windows of one loop.
#[derive(Debug)]
pub struct PortTick {
    /// Which loop.
    pub source: TickSource,
    /// Windows of all its targets.
    pub targets: Vec<TargetWindow>,
}

/// Everything around a port loop but its device and its engine.
#[derive(Debug)]
pub struct PortIo {
    /// The port's part of the plan; `None` means to answer only.
    pub plan: watch::Receiver<Option<PortPlan>>,
    /// Valid keys.
    pub keys: watch::Receiver<Arc<KeyRing>>,
    /// Share of the planned rate.
    pub rate: watch::Receiver<f64>,
    /// True once probing shall end.
    pub stop: watch::Receiver<bool>,
    /// Orders of the supervisor.
    pub orders: mpsc::UnboundedReceiver<PortOrder>,
    /// To the control exchange.
    pub asks: mpsc::UnboundedSender<AskFrom>,
    /// From the control exchange; one answer per question at most.
    pub answers: (
        mpsc::UnboundedSender<Answer>,
        mpsc::UnboundedReceiver<Answer>,
    ),
    /// Probes found lost, at once.
    pub lost: mpsc::Sender<LostProbe>,
    /// Windows, once per second.
    pub ticks: mpsc::UnboundedSender<PortTick>,
    /// Cumulative numbers of all ports.
    pub series: Arc<Mutex<SeriesTable>>,
    /// For the control responder.
    pub published: Arc<PublishedPort>,
    /// For the control responder.
    pub registry: Arc<Registry>,
}

/// Stands in for what is published of a port until it is opened for the first time.
pub(super) fn unpublished(rnic: RnicId) -> Arc<PublishedPort> {
    Arc::new(PublishedPort::new(rnic, 0, 0, 0, Heard::default()))
}

/// Why a port loop ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exit {
    /// Probing was stopped and everything has settled.
    Stopped,
    /// The supervisor ordered it.
    Ordered(String),
    /// The device is gone.
    Gone(PortGone),
}

/// Runs the loop until the device goes, the supervisor orders the end, or probing is stopped and settled.
pub async fn run<P: ProbePort>(port: &mut P, engine: &mut Engine, io: &mut PortIo) -> Exit {
    let now = port.now();
    engine.open(port.facts(), now);
    engine.set_keys(Arc::clone(&io.keys.borrow_and_update()));
    engine.set_rate(*io.rate.borrow_and_update());
    engine.set_plan(io.plan.borrow_and_update().as_ref(), now);
    let exit = serve(port, engine, io).await;
    io.registry.withdraw(io.published.rnic);
    let now = port.now();
    engine.close(now);
    if exit == Exit::Stopped {
        report(engine, io, now);
        engine.flush(
            now,
            &mut io.series.lock().unwrap_or_else(PoisonError::into_inner),
        );
    }
    exit
}

async fn serve<P: ProbePort>(port: &mut P, engine: &mut Engine, io: &mut PortIo) -> Exit {
    let mut completions = Vec::with_capacity(256);
    let mut next_tick = tick_after(port.now());
    let sleep = tokio::time::sleep(Duration::ZERO);
    tokio::pin!(sleep);
    let mut stopping = false;
    let mut before = port.now();
    loop {
        if let Err(gone) = port.poll(&mut completions) {
            return Exit::Gone(gone);
        }
        // Taken after the poll: it is T6 of what was just read, and must not lie before its T5.
        let now = port.now();
        if port.interrupted() {
            engine.interrupted(before, now);
        }
        before = now;
        for completion in completions.drain(..) {
            engine.completed(&completion, now);
        }
        while let Ok(answer) = io.answers.1.try_recv() {
            engine.answered(&answer, now);
        }
        if *io.stop.borrow() && !stopping {
            stopping = true;
            engine.stop_sending();
        }
        engine.advance(now);
        if port.routes_changed() {
            engine.routes_changed();
        }
        flush(port, engine);
        for inquiry in engine.drain_asks() {
            // Without a control task there are no answers, and probes without an answer end as unresolved.
            io.asks
                .send(AskFrom {
                    inquiry,
                    reply: io.answers.0.clone(),
                })
                .ok();
        }
        for lost in engine.drain_lost() {
            // Only news ahead of the report: when nobody reads it, the report still counts it.
            io.lost.try_send(lost).ok();
        }
        if stopping && engine.outstanding() == 0 {
            return Exit::Stopped;
        }
        if now >= next_tick {
            report(engine, io, now);
            next_tick = tick_after(now);
        }
        let planned = on_grid(
            engine
                .next_deadline()
                .map_or(next_tick, |due| due.min(next_tick)),
        );
        io.published.set_loop(planned, engine.starved_until());
        sleep
            .as_mut()
            .reset(tokio::time::Instant::now() + planned.since(port.now()));
        // Orders first: completions under load must not keep them waiting.
        tokio::select! {
            biased;
            Some(order) = io.orders.recv() => {
                if let Some(exit) = obey(engine, io, order, port.now()) {
                    return exit;
                }
            }
            Ok(()) = io.plan.changed() => {
                engine.set_plan(io.plan.borrow_and_update().as_ref(), port.now());
            }
            Ok(()) = io.keys.changed() => engine.set_keys(Arc::clone(&io.keys.borrow_and_update())),
            Ok(()) = io.rate.changed() => engine.set_rate(*io.rate.borrow_and_update()),
            Ok(()) = io.stop.changed() => {}
            Some(answer) = io.answers.1.recv() => engine.answered(&answer, port.now()),
            ready = port.ready() => if let Err(gone) = ready {
                return Exit::Gone(gone);
            },
            () = &mut sleep => {}
        }
        engine.woken(planned, port.now());
    }
}

fn obey(engine: &mut Engine, io: &PortIo, order: PortOrder, now: Mono) -> Option<Exit> {
    match order {
        PortOrder::Link(up) => {
            io.published.set_link(up);
            engine.set_link(up, now);
            None
        }
        PortOrder::Close(reason) => Some(Exit::Ordered(reason)),
    }
}

/// Posts all that waits, as far as there are send slots.
fn flush<P: ProbePort>(port: &mut P, engine: &mut Engine) {
    while let Some(transmit) = engine.next_transmit() {
        let stamp = port.now();
        let result = port.post(&transmit);
        engine.posted(transmit, result, stamp);
        if result == Err(PostFailure::Busy) {
            break;
        }
    }
}

fn report(engine: &mut Engine, io: &PortIo, now: Mono) {
    let mut targets = Vec::new();
    {
        let mut series = io.series.lock().unwrap_or_else(PoisonError::into_inner);
        engine.report(now, SystemTime::now(), &mut series, &mut targets);
    }
    io.registry.note_answers(engine.answered_nodes());
    // Nobody listens any more only when the whole data path ends.
    let source = TickSource::Port(engine.local().clone());
    io.ticks.send(PortTick { source, targets }).ok();
}

/// The first tick after `now`.
pub(super) fn tick_after(now: Mono) -> Mono {
    let this = Mono::of_second(now.second()).plus(TICK_PHASE);
    if now < this {
        this
    } else {
        this.plus(Duration::from_secs(1))
    }
}

/// `at`, rounded up to the grid of wake-ups.
fn on_grid(at: Mono) -> Mono {
    let grid = GRID.as_nanos();
    let rounded = at.0.as_nanos().div_ceil(grid) * grid;
    Mono(Duration::from_nanos(
        u64::try_from(rounded).unwrap_or(u64::MAX),
    ))
}

#[cfg(test)]
mod tests;
