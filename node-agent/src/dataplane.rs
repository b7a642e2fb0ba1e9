//! The data path: UD pings on every RNIC, answers to the pings of others, and the plain-IP exchange
//! that resolves peers. The rest of the agent hands in a [`ProbePlan`] and key ring and takes out
//! [`TickReport`]s, [`PortHealth`] and counters through a [`DataplaneHandle`].

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use crate::model::{LostProbe, PortHealth, ProbePlan, SeriesTable, TickReport};

pub use counters::{CountersSnapshot, DataplaneCounters};
pub use mono::Mono;
pub use threads::{DataplaneError, spawn};
pub use throttle::{Budget, Usage};

mod control;
mod counters;
pub mod engine;
mod mono;
pub mod port;
mod registry;
mod senders;
mod supervisor;
mod threads;
mod throttle;

/// How to run the data path.
#[derive(Debug, Clone)]
pub struct DataplaneConfig {
    /// Name of this node, as its peers know it from their plans.
    pub node: Arc<str>,
    /// Where the control responder listens.
    pub control_listen: SocketAddr,
    /// Most UD queue pairs per port where the queue pair makes the flow (soft-RoCE).
    pub max_qps: u16,
    /// What the whole process may use; above it probing slows down by steps.
    pub budget: Budget,
    /// A wake-up later than this means that this host is starved of CPU.
    pub starved_after: Duration,
}

/// The way to talk to a running data path. Cheap to clone.
#[derive(Debug, Clone)]
pub struct DataplaneHandle {
    plan: watch::Sender<ProbePlan>,
    reports: Arc<Mutex<Option<mpsc::Receiver<TickReport>>>>,
    losses: Arc<Mutex<Option<mpsc::Receiver<LostProbe>>>>,
    ports: watch::Receiver<Vec<PortHealth>>,
    counters: Arc<DataplaneCounters>,
    series: Arc<Mutex<SeriesTable>>,
    stop: watch::Sender<bool>,
    stopped: watch::Receiver<bool>,
}

impl DataplaneHandle {
    /// Replaces the plan. Targets that stay keep their windows.
    pub fn set_plan(&self, plan: ProbePlan) {
        self.plan.send_replace(plan);
    }

    /// The stream of reports, one per second. There is one: the first caller gets it, others `None`.
    /// When the reader is slow, reports are dropped and counted.
    pub fn reports(&self) -> Option<mpsc::Receiver<TickReport>> {
        self.reports
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    /// The stream of lost probes, ahead of the reports that count them. There is one: the first caller gets it, others
    /// `None`. When the reader is slow, some are left out.
    pub fn losses(&self) -> Option<mpsc::Receiver<LostProbe>> {
        self.losses
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    /// The local ports as the data path sees them.
    pub fn ports(&self) -> watch::Receiver<Vec<PortHealth>> {
        self.ports.clone()
    }

    /// Cumulative counters of the data path itself.
    pub fn counters(&self) -> Arc<DataplaneCounters> {
        Arc::clone(&self.counters)
    }

    /// A copy of the cumulative numbers per (mesh, class, local port, groups).
    pub fn series(&self) -> SeriesTable {
        self.series
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Stops sending, lets outstanding probes settle (at most their timeout), sends the final
    /// report and lets go of all devices.
    pub async fn shutdown(&self) {
        self.stop.send_replace(true);
        let mut stopped = self.stopped.clone();
        // An error means that the data path is gone already, which is what was wanted.
        stopped.wait_for(|done| *done).await.ok();
    }
}
