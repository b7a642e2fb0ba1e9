//! Hop probes summed up by link.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::Book;
use super::flow::FlowState;
use crate::dataplane::Mono;
use crate::model::LocalPort;
use crate::trace::protocol::Flow;

/// What a link begins at.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum LinkStart {
    /// The local port.
    Local(LocalPort),
    /// A router, by the address it answers from.
    Router(IpAddr),
}

/// Packets that ended at the far end of a link.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HopCount {
    /// Sent.
    pub sent: u64,
    /// Answered.
    pub answered: u64,
    /// Fastest answer.
    pub rtt: Option<Duration>,
}

/// A flow and its path, as the page `/paths` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Listed {
    /// Local RDMA device.
    pub device: String,
    /// Local port.
    pub port: u8,
    /// The five-tuple and class.
    #[serde(flatten)]
    pub flow: Flow,
    /// Routers on the way.
    pub routers: u8,
    /// Their addresses, nearest first, "" for one that does not answer; absent while nothing is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<Vec<String>>,
}

/// Hop probes of a window by directed link.
pub type Links = HashMap<(LinkStart, IpAddr), HopCount>;

impl Book {
    /// All flows with their last good paths, in order.
    pub fn list(&self) -> Vec<Listed> {
        let flows: BTreeMap<_, _> = self.flows.iter().collect();
        let listed = |(flow, state): (&Arc<Flow>, &FlowState)| {
            let hop = |hop: &Option<IpAddr>| hop.map_or_else(String::new, |at| at.to_string());
            let path = state.path.as_ref();
            Listed {
                device: state.local.device.to_string(),
                port: state.local.port,
                flow: Flow::clone(flow),
                routers: state.routers,
                path: path.map(|(_, path)| path.iter().map(hop).collect()),
            }
        };
        flows.into_iter().map(listed).collect()
    }

    /// Sums the hop probes up since `begin`, over all flows, by the links that they ended on. What went to a router that does not
    /// answer belongs to no link.
    pub fn hop_links(&self, begin: Mono) -> Links {
        let mut links = Links::new();
        for state in self.flows.values() {
            let mut seconds = state.seconds_since(begin).peekable();
            if seconds.peek().is_none() {
                continue;
            }
            let Some(path) = state.path_at(begin) else {
                continue;
            };
            for second in seconds {
                let mut from = Some(LinkStart::Local(state.local.clone()));
                for (hop, router) in second.hops.iter().zip(&*path) {
                    let start = std::mem::replace(&mut from, router.map(LinkStart::Router));
                    let (Some(start), Some(router)) = (start, *router) else {
                        continue;
                    };
                    let count = links.entry((start, router)).or_default();
                    count.sent += hop.sent;
                    count.answered += hop.answered;
                    count.rtt = count.rtt.into_iter().chain(hop.rtt).min();
                }
            }
        }
        links
    }
}
