//! The task between the data path and the API server: judges every report, keeps the newest state for
//! the metrics, and writes the assignment's status when [`crate::publish`] says so.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use rdmamesh_api::RdmaProbeAssignmentStatus;
use rdmamesh_fabric::NodeName;
use rdmamesh_fabric::report::{Paths, Unanswered};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::anomaly::{self, Finding, Findings, Limits};
use crate::cluster::{AssignmentSink, WriteError, delays};
use crate::logging::Repeats;
use crate::metrics::AgentCounters;
use crate::model::{PortHealth, TickReport};
use crate::passive::PortErrors;
use crate::plan::AgentPlan;
use crate::publish::{
    Change, Essence, Idle, Pacer, Pacing, Settled, View, assignment_status, jitter,
};

/// How long the last status may take when the agent stops.
const LAST_WRITE: Duration = Duration::from_secs(1);

/// The newest judged report.
#[derive(Debug, Clone)]
pub struct Tick {
    /// As the data path gave it.
    pub report: TickReport,
    /// What is ill, worst first.
    pub findings: Vec<Finding>,
    /// When the reporter took it.
    pub taken: Instant,
}

/// What the reporter follows.
#[derive(Debug)]
pub struct Inputs {
    /// Reports of the data path.
    pub reports: mpsc::Receiver<TickReport>,
    /// The plan in force.
    pub plan: watch::Receiver<Arc<AgentPlan>>,
    /// The local ports.
    pub ports: watch::Receiver<Vec<PortHealth>>,
    /// The newest judged report, for the metrics.
    pub tick: watch::Sender<Option<Arc<Tick>>>,
    /// Counts the writes.
    pub counters: Arc<AgentCounters>,
    /// This node.
    pub node: NodeName,
    /// Where flows go, as far as they are traced.
    pub paths: Arc<dyn Paths + Send + Sync>,
    /// Error counters of the local ports.
    pub errors: watch::Receiver<Arc<PortErrors>>,
    /// Identifies this process.
    pub epoch: Arc<str>,
}

type Write = Pin<Box<dyn Future<Output = Result<(), WriteError>> + Send>>;

/// One write on its way.
struct InFlight {
    started: Instant,
    essence: Essence,
    change: Change,
    status: RdmaProbeAssignmentStatus,
    done: Write,
}

/// Reports until the data path ends its stream of reports, then writes what is news a last time.
/// After `stop` the ports are no longer followed: that they close then is no news.
pub async fn run<S: AssignmentSink>(sink: Arc<S>, inputs: Inputs, stop: CancellationToken) {
    let ports = inputs.ports.borrow().clone();
    let mut reporter = Reporter {
        sink,
        ports,
        inputs,
        findings: Findings::default(),
        settled: Settled::default(),
        idle: Idle::default(),
        unanswered: Unanswered::default(),
        errors: Arc::default(),
        pacer: Pacer::new(Pacing::default()),
        before: None,
        latest: None,
        in_flight: None,
        repeats: Repeats::default(),
        backoff: Box::new(delays()),
    };
    loop {
        let due = reporter.due();
        tokio::select! {
            report = reporter.inputs.reports.recv() => match report {
                Some(report) => reporter.take(report, stop.is_cancelled()),
                None => break,
            },
            outcome = finished(&mut reporter.in_flight) => reporter.written(outcome),
            () = until(due) => reporter.write(),
        }
    }
    reporter.last_write().await;
}

struct Reporter<S> {
    sink: Arc<S>,
    inputs: Inputs,
    ports: Vec<PortHealth>,
    findings: Findings,
    settled: Settled,
    idle: Idle,
    unanswered: Unanswered,
    errors: Arc<PortErrors>,
    pacer: Pacer<Essence>,
    /// The status of the last write, for transition times.
    before: Option<RdmaProbeAssignmentStatus>,
    latest: Option<Latest>,
    in_flight: Option<InFlight>,
    repeats: Repeats,
    backoff: Box<dyn Iterator<Item = Duration> + Send>,
}

/// What would be written now.
struct Latest {
    plan: Arc<AgentPlan>,
    tick: Arc<Tick>,
    essence: Essence,
    change: Change,
}

impl<S: AssignmentSink> Reporter<S> {
    fn take(&mut self, report: TickReport, stopping: bool) {
        let plan = Arc::clone(&self.inputs.plan.borrow());
        self.errors = Arc::clone(&self.inputs.errors.borrow());
        if !stopping {
            self.ports.clone_from(&self.inputs.ports.borrow());
        }
        let limits: Limits = plan
            .meshes
            .iter()
            .map(|mesh| (Arc::clone(&mesh.name), mesh.thresholds))
            .collect();
        self.findings = anomaly::find(&report, &limits, &self.findings);
        self.idle.update(&plan, &self.ports, now());
        self.settled.update(&plan, &report, &self.idle);
        self.unanswered.update(&anomaly::windows(&report));
        let tick = Arc::new(Tick {
            report,
            findings: self.findings.open.clone(),
            taken: now(),
        });
        self.inputs.tick.send_replace(Some(Arc::clone(&tick)));
        // Without an assignment there is nothing to report to.
        self.latest = plan.generation.map(|_| {
            let essence = Essence::new(&self.view(&plan, &tick));
            Latest {
                change: essence.change_since(self.pacer.written()),
                essence,
                plan,
                tick,
            }
        });
    }

    fn view<'a>(&'a self, plan: &'a AgentPlan, tick: &'a Tick) -> View<'a> {
        View {
            node: &self.inputs.node,
            paths: &*self.inputs.paths,
            epoch: &self.inputs.epoch,
            plan,
            settled: &self.settled,
            report: &tick.report,
            findings: &tick.findings,
            idle: &self.idle,
            unanswered: &self.unanswered,
            errors: &self.errors,
            before: self.before.as_ref(),
            now: SystemTime::now(),
        }
    }

    fn due(&self) -> Option<Instant> {
        let latest = self.latest.as_ref().filter(|_| self.in_flight.is_none())?;
        self.pacer.due(now(), latest.change)
    }

    fn write(&mut self) {
        let Some(latest) = self.latest.take() else {
            return;
        };
        let status = assignment_status(&self.view(&latest.plan, &latest.tick));
        let (sink, copy) = (Arc::clone(&self.sink), status.clone());
        self.in_flight = Some(InFlight {
            started: now(),
            essence: latest.essence,
            change: latest.change,
            status,
            done: Box::pin(async move { sink.write(copy).await }),
        });
    }

    fn written(&mut self, (write, outcome): (InFlight, Result<(), WriteError>)) {
        self.inputs.counters.assignment_write(outcome.is_ok());
        match outcome {
            Ok(()) => {
                self.repeats.recovered(|failures| {
                    tracing::info!(failures, "assignment status written again");
                });
                self.backoff = Box::new(delays());
                self.pacer
                    .succeeded(write.started, write.essence, write.change, jitter());
                self.before = Some(write.status);
                if let Some(latest) = &mut self.latest {
                    latest.change = latest.essence.change_since(self.pacer.written());
                }
            }
            Err(error) => {
                if matches!(error, WriteError::Gone) {
                    // Deleted and perhaps made anew: whatever was written is not there any more.
                    self.pacer.forget();
                }
                let error = crate::cluster::error_chain(&error);
                self.repeats.failed(|failures| {
                    tracing::warn!(failures, error, "assignment status not written");
                });
                let backoff = self.backoff.next().unwrap_or_default();
                self.pacer.failed(write.started, backoff);
            }
        }
    }

    /// Finishes a write on its way and writes what is news, without regard to pacing.
    async fn last_write(mut self) {
        let all = async {
            if let Some(write) = self.in_flight.take() {
                let outcome = finish(write).await;
                self.written(outcome);
            }
            if self
                .latest
                .as_ref()
                .is_some_and(|latest| latest.change >= Change::Drift)
            {
                self.write();
            }
            if let Some(write) = self.in_flight.take() {
                let outcome = finish(write).await;
                self.written(outcome);
            }
        };
        if tokio::time::timeout(LAST_WRITE, all).await.is_err() {
            tracing::warn!("the last status was not written in time");
        }
    }
}

async fn finish(mut write: InFlight) -> (InFlight, Result<(), WriteError>) {
    let outcome = (&mut write.done).await;
    (write, outcome)
}

/// The outcome of the write on its way; pending for ever while there is none. Cancel safe.
async fn finished(slot: &mut Option<InFlight>) -> (InFlight, Result<(), WriteError>) {
    let outcome = match slot {
        Some(write) => (&mut write.done).await,
        None => std::future::pending().await,
    };
    match slot.take() {
        Some(write) => (write, outcome),
        None => std::future::pending().await,
    }
}

/// Now, on the clock that tokio's timers run by.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

async fn until(due: Option<Instant>) {
    match due {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
