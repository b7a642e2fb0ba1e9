//! Everything that talks to the API server: the watch of the node's assignment, the agent's two
//! statuses, and the facts about the Node object.
//!
//! Probing never waits for any of this. A server that is down, not there yet or slow costs retries with
//! jittered exponential backoff, one request in flight per object and no growing queue: whoever writes
//! holds only the newest state and writes that when the server is back.

use std::future::Future;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use kube::Client;
use rdmamesh_api::RdmaProbeAssignmentStatus;

pub(crate) use assignment::error_chain;

pub use apply::StatusApi;
pub use assignment::{Assigned, watch_assignment};
pub use host::{HostNode, watch_host};
pub use node::{Inputs as NodeInputs, publish_node};

mod apply;
mod assignment;
mod host;
mod node;

/// Field manager of everything that the agent applies.
pub const FIELD_MANAGER: &str = "rdmamesh-agent";
/// A request that takes longer is given up and repeated.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a status was not written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The object does not exist.
    #[error("the object does not exist")]
    Gone,
    /// The server did not answer in time.
    #[error("the API server did not answer within {REQUEST_TIMEOUT:?}")]
    Timeout,
    /// The server refused or could not be reached.
    #[error(transparent)]
    Api(Box<kube::Error>),
}

impl From<kube::Error> for WriteError {
    fn from(error: kube::Error) -> Self {
        match &error {
            kube::Error::Api(status) if status.code == 404 => Self::Gone,
            _ => Self::Api(Box::new(error)),
        }
    }
}

/// Where an assignment's status goes.
pub trait AssignmentSink: Send + Sync + 'static {
    /// Replaces the status. At most one call at a time.
    fn write(
        &self,
        status: RdmaProbeAssignmentStatus,
    ) -> impl Future<Output = Result<(), WriteError>> + Send;
}

/// Delays between attempts: from a quarter of a second to ten seconds, with jitter, without end.
pub(crate) fn delays() -> impl Iterator<Item = Duration> + Send {
    backoff_builder().build()
}

fn backoff_builder() -> ExponentialBuilder {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(250))
        .with_max_delay(Duration::from_secs(10))
        .with_factor(2.0)
        .with_jitter()
        .without_max_times()
}

/// A client by `KUBECONFIG`, `~/.kube/config` or the pod's service account. Opens no connection yet.
///
/// # Errors
/// When none of them is there or readable.
pub async fn connect() -> Result<Client, ConnectError> {
    let mut config = kube::Config::infer().await.map_err(ConnectError::Config)?;
    config.connect_timeout = Some(Duration::from_secs(5));
    // The watch is idle most of the time: its own timeout, not the connection's, ends it.
    config.write_timeout = Some(REQUEST_TIMEOUT);
    Client::try_from(config).map_err(|error| ConnectError::Client(Box::new(error)))
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Nothing says where the API server is.
    #[error(
        "no cluster configuration: set KUBECONFIG, or run in a pod with a service account token"
    )]
    Config(#[source] kube::config::InferConfigError),
    /// The configuration cannot be used.
    #[error("the cluster configuration cannot be used")]
    Client(#[source] Box<kube::Error>),
}

#[cfg(test)]
mod tests;
