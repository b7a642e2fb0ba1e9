//! The watch of the node's own assignment, by name only: the API server indexes names, so that ten
//! thousand agents do not each receive every change.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use kube::Client;
use kube::api::Api;
use kube::runtime::WatchStreamExt;
use kube::runtime::utils::ResetTimerBackoff;
use kube::runtime::watcher::{ExponentialBackoff, watch_object};
use rdmamesh_api::{RdmaProbeAssignment, RdmaProbeAssignmentSpec};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::logging::Repeats;

/// What the API server says of the node's assignment.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Assigned {
    /// Nothing yet: the server has not been reached since the start.
    #[default]
    Unknown,
    /// There is none: nothing is to be probed.
    Absent,
    /// This is it.
    Present {
        /// What to probe.
        spec: Arc<RdmaProbeAssignmentSpec>,
        /// Counts the changes of the spec.
        generation: Option<i64>,
        /// Tells the object from an earlier one of the same name.
        uid: Option<Arc<str>>,
    },
}

/// Follows the assignment called `node` until stopped. Errors of the server change nothing: the last
/// known assignment stays in force.
pub async fn watch_assignment(
    client: Client,
    node: Arc<str>,
    out: watch::Sender<Assigned>,
    stop: CancellationToken,
) {
    let api: Api<RdmaProbeAssignment> = Api::all(client);
    let backoff = ResetTimerBackoff::new(
        ExponentialBackoff::from(super::backoff_builder()),
        Duration::from_secs(60),
    );
    let mut objects = std::pin::pin!(watch_object(api, &node).backoff(backoff));
    let mut repeats = Repeats::default();
    loop {
        let next = tokio::select! {
            () = stop.cancelled() => return,
            next = objects.next() => next,
        };
        match next {
            Some(Ok(object)) => {
                repeats.recovered(|failures| {
                    tracing::info!(failures, "watch of the assignment works again");
                });
                adopt(&out, object);
            }
            Some(Err(error)) => repeats.failed(|failures| {
                tracing::warn!(failures, error = %error_chain(&error), "watch of the assignment failed");
            }),
            // The stream of kube's watcher has no end.
            None => return,
        }
    }
}

fn adopt(out: &watch::Sender<Assigned>, object: Option<RdmaProbeAssignment>) {
    let now = object.map_or(Assigned::Absent, |object| Assigned::Present {
        generation: object.metadata.generation,
        uid: object.metadata.uid.map(Arc::from),
        spec: Arc::new(object.spec),
    });
    // Every status write of our own comes back through the watch: only a changed spec counts.
    out.send_if_modified(|current| {
        let changed = *current != now;
        if changed {
            *current = now;
        }
        changed
    });
}

/// An error with everything that caused it, on one line.
pub(crate) fn error_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}
