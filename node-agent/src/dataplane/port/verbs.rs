//! A real device as a [`ProbePort`].

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use rdmamesh_verbs::{
    AddressHandle, Completion, FlowSource as VerbsFlowSource, Gid, PeerAddress, PeerRoute,
    PostError, Stamp, TimestampMode as VerbsTimestampMode, UdEndpoint, VerbsError,
};

use tokio::sync::{Notify, mpsc};

use super::{PortGone, ProbePort};
use crate::dataplane::engine::{FlowFacts, PortFacts, PostFailure, Route, Transmit};
use crate::dataplane::mono::Mono;
use crate::model::{FabricAddress, FlowSource, TimestampMode};

/// An address handle holds the next hop's MAC address: after so long it is made anew.
const HANDLE_LIFETIME: Duration = Duration::from_secs(60);
/// Making a handle for an unreachable next hop can block in the kernel: it is not tried again before this.
const RETRY_AFTER: Duration = Duration::from_secs(5);
/// Handles kept at once. With more routes than this all are made anew: slow, never unbounded.
const MAX_HANDLES: usize = 16_384;

/// An endpoint with its address handles.
///
/// Handles are made on tokio's blocking threads, because the kernel may have to resolve a neighbour for one: the
/// first datagram of a route waits for it, an old handle serves until its successor is there.
#[derive(Debug)]
pub struct VerbsPort {
    endpoint: UdEndpoint,
    handles: HashMap<Route, Cached>,
    made: mpsc::UnboundedReceiver<Made>,
    making: mpsc::UnboundedSender<Made>,
    notify: Arc<Notify>,
    changed: bool,
    recoveries: u64,
}

type Made = (Route, Result<AddressHandle, VerbsError>);

#[derive(Debug)]
enum Cached {
    /// Being made for the first time.
    Making,
    /// Good until then, and usable while the next is being made.
    Ready { handle: AddressHandle, until: Mono },
    /// No way; not tried again before then.
    Closed { until: Mono },
}

impl VerbsPort {
    /// Wraps an open endpoint.
    pub fn new(endpoint: UdEndpoint) -> Self {
        let (making, made) = mpsc::unbounded_channel();
        let notify = Arc::new(Notify::new());
        Self {
            endpoint,
            handles: HashMap::new(),
            made,
            making,
            notify,
            changed: false,
            recoveries: 0,
        }
    }

    /// The endpoint.
    pub fn endpoint(&self) -> &UdEndpoint {
        &self.endpoint
    }

    /// The handle of a route, if it can be used now.
    fn handle(&mut self, route: &Route) -> Result<AddressHandle, PostFailure> {
        let now = self.now();
        match self.handles.get_mut(route) {
            Some(Cached::Making) => return Err(PostFailure::Unrouted),
            Some(Cached::Closed { until }) if now < *until => return Err(PostFailure::Refused),
            Some(Cached::Ready { handle, until }) => {
                let usable = handle.clone();
                if now >= *until {
                    // One attempt at a time.
                    *until = now.plus(RETRY_AFTER);
                    self.make(*route);
                }
                return Ok(usable);
            }
            Some(Cached::Closed { .. }) | None => {}
        }
        if self.handles.len() >= MAX_HANDLES {
            self.handles.clear();
        }
        self.handles.insert(*route, Cached::Making);
        self.make(*route);
        Err(PostFailure::Unrouted)
    }

    fn make(&self, route: Route) {
        let (maker, to, notify) = (
            self.endpoint.address_maker(),
            self.making.clone(),
            Arc::clone(&self.notify),
        );
        // The result comes over the channel; the task itself is not waited for.
        drop(tokio::task::spawn_blocking(move || {
            let handle = maker.create(&peer_address(&route));
            // Closed when the port went meanwhile: then nobody needs the handle.
            to.send((route, handle)).ok();
            notify.notify_one();
        }));
    }

    fn take_made(&mut self) {
        while let Ok((route, made)) = self.made.try_recv() {
            self.changed = true;
            let now = Mono(Stamp::monotonic().0);
            let cached = match made {
                Ok(handle) => Cached::Ready {
                    handle,
                    until: now.plus(HANDLE_LIFETIME),
                },
                // The old handle still leads to where the peer was: what gets lost there is lost.
                Err(_) if matches!(self.handles.get(&route), Some(Cached::Ready { .. })) => {
                    continue;
                }
                Err(error) => {
                    tracing::warn!(%error, address = %route.address, "no way to the peer");
                    Cached::Closed {
                        until: now.plus(RETRY_AFTER),
                    }
                }
            };
            self.handles.insert(route, cached);
        }
    }
}

fn peer_address(route: &Route) -> PeerAddress {
    let to = match route.address {
        FabricAddress::Gid(gid) => PeerRoute::Gid(Gid::from_ipv6(gid)),
        FabricAddress::Lid(lid) => PeerRoute::Lid { lid, gid: None },
    };
    PeerAddress {
        route: to,
        flow_label: route.flow_label,
        dscp: route.dscp,
        service_level: route.service_level,
        hop_limit: PeerAddress::DEFAULT_HOP_LIMIT,
    }
}

impl ProbePort for VerbsPort {
    fn facts(&self) -> PortFacts {
        let endpoint = &self.endpoint;
        let source = match endpoint.flow_source() {
            VerbsFlowSource::QpNumber => FlowSource::QpNumber,
            VerbsFlowSource::FlowLabel => FlowSource::FlowLabel,
            VerbsFlowSource::LidPath => FlowSource::LidPath,
        };
        let label = u32::from(source == FlowSource::FlowLabel);
        let ports = (0..endpoint.qpns().len()).map(|qp| endpoint.source_port(qp, label));
        let ports: Vec<_> = ports.collect();
        let label_ports = label != 0 && ports.iter().all(Option::is_some);
        let timestamps = match endpoint.timestamps() {
            VerbsTimestampMode::Hardware => TimestampMode::Hardware,
            VerbsTimestampMode::Software => TimestampMode::Software,
        };
        PortFacts {
            flows: FlowFacts {
                source,
                qp_ports: ports,
                label_ports,
            },
            timestamps,
        }
    }

    fn post(&mut self, transmit: &Transmit) -> Result<(), PostFailure> {
        let handle = self.handle(&transmit.route)?;
        let posted = self.endpoint.post(
            usize::from(transmit.qp_index),
            &handle,
            transmit.qpn,
            &transmit.payload,
            transmit.token,
        );
        posted.map_err(|error| match error {
            PostError::NoSlot => PostFailure::Busy,
            other => {
                tracing::debug!(error = %other, "datagram refused");
                PostFailure::Refused
            }
        })
    }

    fn poll(&mut self, out: &mut Vec<Completion>) -> Result<(), PortGone> {
        self.endpoint.poll(out).map(|_| ()).map_err(gone)
    }

    async fn ready(&self) -> Result<(), PortGone> {
        tokio::select! {
            ready = self.endpoint.ready() => ready.map_err(gone),
            () = self.notify.notified() => Ok(()),
        }
    }

    fn routes_changed(&mut self) -> bool {
        self.take_made();
        std::mem::take(&mut self.changed)
    }

    fn interrupted(&mut self) -> bool {
        let recoveries = self.endpoint.recoveries();
        std::mem::replace(&mut self.recoveries, recoveries) != recoveries
    }

    fn now(&self) -> Mono {
        Mono(Stamp::monotonic().0)
    }
}

#[expect(clippy::needless_pass_by_value, reason = "used as a map_err function")]
fn gone(error: VerbsError) -> PortGone {
    PortGone(error.to_string())
}
