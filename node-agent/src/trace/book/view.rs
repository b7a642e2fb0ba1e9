//! Hop probes summed up by link.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use super::Book;
use crate::dataplane::Mono;
use crate::model::LocalPort;

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

/// Hop probes of a window by directed link.
pub type Links = HashMap<(LinkStart, IpAddr), HopCount>;

impl Book {
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
