//! What the agent needs to know of the Node object it runs on: its uid (the owner of the `RdmaNode`) and
//! its internal address (where peers reach the agent over plain IP).

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use kube::Client;
use kube::api::Api;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::assignment::error_chain;
use super::{REQUEST_TIMEOUT, delays};
use crate::logging::Repeats;

/// A node keeps uid and address for life, but it can be deleted and come back under the same name.
const RECHECK: Duration = Duration::from_secs(300);

/// Facts of the Node object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostNode {
    /// Unique id of the object.
    pub uid: Arc<str>,
    /// First `InternalIP` of its addresses.
    pub internal_ip: Option<IpAddr>,
}

impl HostNode {
    fn of(node: &Node) -> Option<Self> {
        let addresses = node.status.as_ref()?.addresses.iter().flatten();
        let mut internal = addresses.filter(|address| address.type_ == "InternalIP");
        Some(Self {
            uid: Arc::from(node.metadata.uid.as_deref()?),
            internal_ip: internal.find_map(|address| address.address.parse().ok()),
        })
    }
}

/// Publishes the facts of the Node called `name`, first as soon as the server answers, until stopped.
/// `recheck` asks for a look ahead of time.
pub async fn watch_host(
    client: Client,
    name: Arc<str>,
    out: watch::Sender<Option<HostNode>>,
    recheck: Arc<tokio::sync::Notify>,
    stop: CancellationToken,
) {
    let api: Api<Node> = Api::all(client);
    let (mut repeats, mut backoff) = (Repeats::default(), delays());
    loop {
        let answer = tokio::select! {
            () = stop.cancelled() => return,
            answer = tokio::time::timeout(REQUEST_TIMEOUT, api.get(&name)) => answer,
        };
        let problem = match answer {
            Ok(Ok(node)) => match HostNode::of(&node) {
                Some(host) => {
                    out.send_if_modified(|current| current.replace(host.clone()) != Some(host));
                    None
                }
                None => Some("the Node object has no uid or no status".to_owned()),
            },
            Ok(Err(error)) => Some(error_chain(&error)),
            Err(_) => Some(format!("no answer within {REQUEST_TIMEOUT:?}")),
        };
        let pause = match problem {
            None => {
                repeats.recovered(|failures| tracing::info!(failures, "node object read"));
                backoff = delays();
                RECHECK
            }
            Some(error) => {
                repeats.failed(|failures| {
                    tracing::warn!(failures, node = %name, error, "node object cannot be read");
                });
                backoff.next().unwrap_or(RECHECK)
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
            () = recheck.notified() => {}
        }
    }
}
