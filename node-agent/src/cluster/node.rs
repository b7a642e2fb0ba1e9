//! Publishes the `RdmaNode`: creates it, owned by the Node, and keeps its status up to date.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use rdmamesh_api::RdmaNodeStatus;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::assignment::error_chain;
use super::host::HostNode;
use super::{StatusApi, WriteError, delays};
use crate::inventory::same_but_time;
use crate::logging::Repeats;
use crate::metrics::AgentCounters;
use crate::publish::{Change, Pacer, Pacing, jitter, kube_time};

/// What the publisher follows.
#[derive(Debug)]
pub struct Inputs {
    /// The Node object, once known.
    pub host: watch::Receiver<Option<HostNode>>,
    /// The inventory, once made.
    pub inventory: watch::Receiver<Option<Arc<RdmaNodeStatus>>>,
    /// Asks for another look at the Node object.
    pub recheck: Arc<Notify>,
    /// Counts the writes.
    pub counters: Arc<AgentCounters>,
}

/// Publishes until stopped.
pub async fn publish_node(api: StatusApi, mut inputs: Inputs, stop: CancellationToken) {
    let mut pacer: Pacer<Arc<RdmaNodeStatus>> = Pacer::new(Pacing::default());
    let mut ensured: Option<HostNode> = None;
    let (mut repeats, mut backoff) = (Repeats::default(), delays());
    loop {
        let due = due(&pacer, &inputs);
        let wait = async {
            match due {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            changed = inputs.host.changed() => {
                if changed.is_err() { return stop.cancelled().await; }
                continue;
            }
            changed = inputs.inventory.changed() => {
                if changed.is_err() { return stop.cancelled().await; }
                continue;
            }
            () = wait => {}
        }
        let started = now();
        let (host, inventory) = (
            inputs.host.borrow().clone(),
            inputs.inventory.borrow().clone(),
        );
        let (Some(host), Some(inventory)) = (host, inventory) else {
            continue;
        };
        let write = write(&api, &host, &inventory, &mut ensured);
        let outcome = tokio::select! {
            () = stop.cancelled() => return,
            outcome = write => outcome,
        };
        inputs.counters.node_write(outcome.is_ok());
        match outcome {
            Ok(()) => {
                repeats.recovered(|failures| tracing::info!(failures, "node status written again"));
                backoff = delays();
                pacer.succeeded(started, inventory, Change::News, jitter());
            }
            Err(error) => {
                ensured = None;
                if matches!(error, WriteError::Gone) {
                    // Garbage-collected: perhaps the Node is a new one of the same name.
                    inputs.recheck.notify_one();
                }
                repeats.failed(|failures| {
                    tracing::warn!(failures, error = %error_chain(&error), "node status not written");
                });
                pacer.failed(started, backoff.next().unwrap_or_default());
            }
        }
    }
}

/// Creates the object first when it may be missing or owned by an older Node of the same name.
async fn write(
    api: &StatusApi,
    host: &HostNode,
    inventory: &RdmaNodeStatus,
    ensured: &mut Option<HostNode>,
) -> Result<(), WriteError> {
    if ensured.as_ref() != Some(host) {
        api.ensure_node(host).await?;
        *ensured = Some(host.clone());
    }
    let status = RdmaNodeStatus {
        reported_at: Some(kube_time(SystemTime::now())),
        ..inventory.clone()
    };
    api.write_node(&status).await
}

/// Now, on the clock that tokio's timers run by.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

fn due(pacer: &Pacer<Arc<RdmaNodeStatus>>, inputs: &Inputs) -> Option<Instant> {
    let inventory = inputs.inventory.borrow();
    let change = match (inventory.as_ref(), inputs.host.borrow().is_some()) {
        (Some(inventory), true) => match pacer.written() {
            Some(written) if same_but_time(written, inventory) => Change::Same,
            _ => Change::News,
        },
        _ => Change::Silent,
    };
    pacer.due(now(), change)
}
