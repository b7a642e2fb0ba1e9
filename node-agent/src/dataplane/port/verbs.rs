//! A real device as a [`ProbePort`].

use std::collections::HashMap;
use std::time::Duration;

use rdmamesh_verbs::{
    AddressHandle, Completion, FlowSource as VerbsFlowSource, Gid, PeerAddress, PeerRoute,
    PostError, Stamp, TimestampMode as VerbsTimestampMode, UdEndpoint, VerbsError,
};

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
#[derive(Debug)]
pub struct VerbsPort {
    endpoint: UdEndpoint,
    handles: HashMap<Route, Cached>,
}

#[derive(Debug)]
struct Cached {
    handle: Option<AddressHandle>,
    until: Mono,
}

impl VerbsPort {
    /// Wraps an open endpoint.
    pub fn new(endpoint: UdEndpoint) -> Self {
        Self {
            endpoint,
            handles: HashMap::new(),
        }
    }

    /// The endpoint.
    pub fn endpoint(&self) -> &UdEndpoint {
        &self.endpoint
    }

    /// The handle of a route, made if there is none that is young enough.
    fn handle(&mut self, route: &Route) -> Option<AddressHandle> {
        let now = self.now();
        if let Some(cached) = self.handles.get(route)
            && now < cached.until
        {
            return cached.handle.clone();
        }
        if self.handles.len() >= MAX_HANDLES {
            self.handles.clear();
        }
        let made = self.endpoint.address(&peer_address(route));
        let lifetime = if made.is_ok() {
            HANDLE_LIFETIME
        } else {
            RETRY_AFTER
        };
        if let Err(error) = &made {
            tracing::warn!(%error, address = %route.address, "no way to the peer");
        }
        let handle = made.ok();
        let until = self.now().plus(lifetime);
        self.handles.insert(
            *route,
            Cached {
                handle: handle.clone(),
                until,
            },
        );
        handle
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
        let handle = self.handle(&transmit.route).ok_or(PostFailure::Refused)?;
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
        self.endpoint.ready().await.map_err(gone)
    }

    fn now(&self) -> Mono {
        Mono(Stamp::monotonic().0)
    }
}

#[expect(clippy::needless_pass_by_value, reason = "used as a map_err function")]
fn gone(error: VerbsError) -> PortGone {
    PortGone(error.to_string())
}
