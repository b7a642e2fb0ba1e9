//! Starts the data path: one thread for all port loops, one for the control exchange.

use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};
use std::thread;

use rdmamesh_verbs::SysfsRoot;
use rdmamesh_wire::{Epoch, KeyRing, NodeId};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{mpsc, watch};
use tokio::task::LocalSet;

use super::control::{self, ControlIo};
use super::counters::DataplaneCounters;
use super::registry::Registry;
use super::supervisor::{Supervisor, SupervisorIo};
use super::{DataplaneConfig, DataplaneHandle};
use crate::model::{ProbePlan, SeriesTable};

/// Reports that wait for a slow reader.
const REPORTS: usize = 4;
/// Lost probes that wait for a slow reader.
const LOSSES: usize = 1024;
/// Threads that make address handles and read the inventory.
const BLOCKING_THREADS: usize = 2;

/// The data path could not be started.
#[derive(Debug, thiserror::Error)]
pub enum DataplaneError {
    /// The control socket cannot be bound.
    #[error(
        "cannot listen on {address} for control datagrams: is another agent running, or the address not of this host?"
    )]
    Bind {
        /// The address asked for.
        address: SocketAddr,
        /// What the kernel answered.
        #[source]
        source: std::io::Error,
    },
    /// A thread or its runtime cannot be started.
    #[error("cannot start thread {name}")]
    Thread {
        /// Name of the thread.
        name: &'static str,
        /// What the kernel answered.
        #[source]
        source: std::io::Error,
    },
}

/// Starts the data path. It runs until [`DataplaneHandle::shutdown`], or to the end of the process.
///
/// # Errors
/// When the control socket cannot be bound or a thread cannot be started. A host without RDMA devices is no error.
pub fn spawn(
    config: DataplaneConfig,
    sysfs: SysfsRoot,
    keys: watch::Receiver<Arc<KeyRing>>,
) -> Result<DataplaneHandle, DataplaneError> {
    let address = config.control_listen;
    let socket = bind(address).map_err(|source| DataplaneError::Bind { address, source })?;
    let epoch = Epoch(rand::random_range(1..=u64::MAX));
    let counters = Arc::new(DataplaneCounters::default());
    counters.set_throttle(1.0);
    let registry = Arc::new(Registry::default());
    let series = Arc::new(Mutex::new(SeriesTable::new()));
    let (plan, stop) = (
        watch::channel(ProbePlan::default()).0,
        watch::channel(false).0,
    );
    let (control_stop, control_stops) = watch::channel(false);
    let (stopped, is_stopped) = watch::channel(false);
    let (asks, asked) = mpsc::unbounded_channel();
    let (reports, reported) = mpsc::channel(REPORTS);
    let (lost, losses) = mpsc::channel(LOSSES);
    let (health, ports) = watch::channel(Vec::new());
    let ticks = mpsc::unbounded_channel();
    let control = ControlIo {
        node: NodeId::of(&config.node),
        epoch,
        starved_after: config.starved_after,
        keys: keys.clone(),
        plan: plan.subscribe(),
        asks: asked,
        ticks: ticks.0.clone(),
        series: Arc::clone(&series),
        registry: Arc::clone(&registry),
        counters: Arc::clone(&counters),
        stop: control_stops,
    };
    let supervisor = SupervisorIo {
        config,
        sysfs,
        epoch,
        keys,
        plan: plan.subscribe(),
        stop: stop.subscribe(),
        asks,
        ticks,
        lost,
        reports,
        health,
        registry,
        series: Arc::clone(&series),
        counters: Arc::clone(&counters),
    };
    start("rdma-control", move |runtime| {
        if let Err(error) = runtime.block_on(control::run(socket, control)) {
            tracing::error!(%error, "control exchange ended");
        }
    })?;
    start("rdma-ports", move |runtime| {
        LocalSet::new().block_on(runtime, Supervisor::new(supervisor).run());
        // Peers may ask until the last port has been withdrawn.
        control_stop.send_replace(true);
        stopped.send_replace(true);
    })?;
    tracing::info!(%epoch, %address, "data path started");
    Ok(DataplaneHandle {
        plan,
        reports: Arc::new(Mutex::new(Some(reported))),
        losses: Arc::new(Mutex::new(Some(losses))),
        ports,
        counters,
        series,
        stop,
        stopped: is_stopped,
    })
}

fn bind(address: SocketAddr) -> std::io::Result<UdpSocket> {
    let socket = UdpSocket::bind(address)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn start(
    name: &'static str,
    body: impl FnOnce(&Runtime) + Send + 'static,
) -> Result<(), DataplaneError> {
    let failed = |source| DataplaneError::Thread { name, source };
    let runtime = Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .build()
        .map_err(failed)?;
    let thread = thread::Builder::new().name(name.to_owned());
    thread
        .spawn(move || body(&runtime))
        .map(drop)
        .map_err(failed)
}
