//! The task that keeps the inventory up to date.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rdmamesh_api::RdmaNodeStatus;
use rdmamesh_verbs::SysfsRoot;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{Facts, Survey, node_status, survey};
use crate::doctor::machine::Roots;
use crate::model::{LocalPort, PortHealth};
use crate::plan::AgentPlan;
use crate::trace::client::TracingState;

/// What changes without an event (addresses, firmware, a device that nobody opened) is seen this late.
const POLL: Duration = Duration::from_secs(10);
/// Several events of one cause make one inventory.
const DEBOUNCE: Duration = Duration::from_millis(200);

/// Where the facts come from.
#[derive(Debug, Clone)]
pub struct Sources {
    /// Where sysfs is.
    pub sysfs: SysfsRoot,
    /// Identifies this process.
    pub epoch: Arc<str>,
    /// The local ports as the data path sees them.
    pub health: watch::Receiver<Vec<PortHealth>>,
    /// The plan in force.
    pub plan: watch::Receiver<Arc<AgentPlan>>,
    /// Where peers resolve this agent, once known.
    pub control: watch::Receiver<Option<Arc<str>>>,
    /// Whether paths are traced.
    pub tracing: watch::Receiver<TracingState>,
}

/// Publishes a new status into `out` whenever something but the time has changed, until stopped.
pub async fn run(
    mut sources: Sources,
    out: watch::Sender<Option<Arc<RdmaNodeStatus>>>,
    stop: CancellationToken,
) {
    let mut poll = tokio::time::interval(POLL);
    let mut before = None;
    poll.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let changed = tokio::select! {
            () = stop.cancelled() => return,
            _ = poll.tick() => Ok(()),
            changed = sources.health.changed() => changed,
            changed = sources.plan.changed() => changed,
            changed = sources.control.changed() => changed,
            changed = sources.tracing.changed() => changed,
        };
        if changed.is_err() {
            // A source has ended: the agent is shutting down, or its supervisor is about to say why.
            return stop.cancelled().await;
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(DEBOUNCE) => {}
        }
        let roots = Roots::system(sources.sysfs.clone());
        let last = before.take();
        let look = tokio::task::spawn_blocking(move || survey(&roots, last.as_ref()));
        let Ok(found) = look.await else {
            tracing::error!("reading the inventory panicked");
            continue;
        };
        let status = assemble(&mut sources, &found, out.borrow().as_deref());
        publish(&out, status);
        before = Some(found);
    }
}

fn assemble(
    sources: &mut Sources,
    found: &Survey,
    before: Option<&RdmaNodeStatus>,
) -> RdmaNodeStatus {
    let health = sources.health.borrow_and_update().clone();
    let plan = Arc::clone(&sources.plan.borrow_and_update());
    let control = sources.control.borrow_and_update().clone();
    let tracing = sources.tracing.borrow_and_update().clone();
    let planned: Vec<LocalPort> = plan
        .probes
        .ports
        .iter()
        .map(|port| port.local.clone())
        .collect();
    let targets = plan.probes.ports.iter().flat_map(|port| &port.targets);
    let dscps: BTreeSet<u8> = targets.map(|target| target.traffic_class.dscp).collect();
    let dscps: Vec<u8> = dscps.into_iter().collect();
    node_status(&Facts {
        survey: found,
        health: &health,
        planned: &planned,
        dscps: &dscps,
        trace_workloads: false,
        epoch: &sources.epoch,
        control_address: control.as_deref().unwrap_or_default(),
        tracing: &tracing,
        before,
        now: SystemTime::now(),
    })
}

fn publish(out: &watch::Sender<Option<Arc<RdmaNodeStatus>>>, status: RdmaNodeStatus) {
    out.send_if_modified(|current| {
        let same = current
            .as_ref()
            .is_some_and(|old| same_but_time(old, &status));
        if !same {
            *current = Some(Arc::new(status));
        }
        !same
    });
}

/// Whether two statuses differ in nothing but when they were made.
pub fn same_but_time(a: &RdmaNodeStatus, b: &RdmaNodeStatus) -> bool {
    let timeless = |status: &RdmaNodeStatus| RdmaNodeStatus {
        reported_at: None,
        ..status.clone()
    };
    timeless(a) == timeless(b)
}
