//! One target of an assignment: checked, and with everything it refers to filled in.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rdmamesh_api::assignment::{self, MeshAssignment};
use rdmamesh_api::mesh::ProbeClass as ApiClass;

use crate::model::{FabricAddress, LocalPort, Peer, ProbeClass, Target, TrafficClass};

/// Faster than this is a mistake, not a wish.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(1);
/// Longest timeout of a probe.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest window, in seconds.
const LONGEST_WINDOW_S: u64 = 300;
/// There are not more UDP source ports than this that a driver would use.
const MOST_FLOWS: u16 = 1 << 14;

/// Why a target cannot be probed. The sentence ends up in a condition.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadTarget {
    #[error("{0} is this RNIC itself")]
    Oneself(String),
    #[error("a target has no node, no device or port 0")]
    Nameless,
    #[error("class {0} has no settings in the assignment")]
    Class(&'static str),
    #[error("traffic class {0:?} is not in the assignment")]
    UnknownTrafficClass(String),
    #[error("traffic class {0:?} has a DSCP over 63 or a service level over 15")]
    TrafficClass(String),
    #[error("{0} has neither a GID in IPv6 notation nor a LID")]
    Address(String),
    #[error("{0} has no control address of the form address:port")]
    Control(String),
    #[error("{peer} has {flows} flows, 1 to {MOST_FLOWS} can be probed")]
    Flows { peer: String, flows: u16 },
    #[error("{0} has an interval under 1ms")]
    Interval(String),
    #[error("class {0} has a timeout of zero or over 1m")]
    Timeout(&'static str),
}

/// What all targets of a mesh share.
pub(super) struct Context<'a> {
    node: &'a str,
    mesh: &'a MeshAssignment,
    name: Arc<str>,
    id: u32,
    window: Duration,
    traffic: Vec<Arc<str>>,
}

impl<'a> Context<'a> {
    pub(super) fn new(node: &'a str, name: Arc<str>, mesh: &'a MeshAssignment) -> Self {
        Self {
            node,
            mesh,
            id: mesh_id(&name),
            name,
            window: whole_seconds(mesh.window.get()),
            traffic: mesh
                .traffic_classes
                .iter()
                .map(|class| Arc::from(class.name.as_str()))
                .collect(),
        }
    }

    /// The target `wanted` of the local port.
    pub(super) fn target(
        &self,
        local: &LocalPort,
        local_group: &Arc<str>,
        wanted: &assignment::Target,
    ) -> Result<Target, BadTarget> {
        let peer = self.peer(local, wanted)?;
        if wanted.flows == 0 || wanted.flows > MOST_FLOWS {
            return Err(BadTarget::Flows {
                peer: peer.rnic_name(),
                flows: wanted.flows,
            });
        }
        if wanted.interval.get() < SHORTEST_INTERVAL {
            return Err(BadTarget::Interval(peer.rnic_name()));
        }
        Ok(Target {
            mesh: Arc::clone(&self.name),
            mesh_id: self.id,
            class: wanted.class.into(),
            local_group: Arc::clone(local_group),
            traffic_class: self.traffic_class(&wanted.traffic_class)?,
            peer,
            flows: wanted.flows,
            seed: u64::from(wanted.seed),
            interval: wanted.interval.get(),
            timeout: self.timeout(wanted.class)?,
            window: self.window,
        })
    }

    /// The plain-IP baseline to the peer of `target`, where the mesh wants one. The planner lists no targets for it: it has
    /// budgeted an exchange per interval with every peer RNIC, slowed down as the RDMA probes are; one per peer host is enough.
    pub(super) fn control(&self, target: &Target) -> Option<Target> {
        let baseline = self.settings(ApiClass::Control)?;
        let planned = self.settings(target.class.into())?.interval.get();
        let stretch = target.interval.as_secs_f64() / planned.as_secs_f64();
        let interval = baseline.interval.get();
        let stretched = Duration::try_from_secs_f64(interval.as_secs_f64() * stretch.max(1.0));
        Some(Target {
            class: ProbeClass::Control,
            flows: 1,
            interval: stretched.unwrap_or(interval).max(SHORTEST_INTERVAL),
            timeout: self.timeout(ApiClass::Control).ok()?,
            ..target.clone()
        })
    }

    fn settings(&self, class: ApiClass) -> Option<&assignment::AssignedClass> {
        let classes = &self.mesh.classes;
        classes.iter().find(|settings| settings.class == class)
    }

    fn peer(&self, local: &LocalPort, wanted: &assignment::Target) -> Result<Peer, BadTarget> {
        if wanted.node.is_empty() || wanted.device.is_empty() || wanted.port == 0 {
            return Err(BadTarget::Nameless);
        }
        let name = || crate::model::rnic_name(&wanted.node, &wanted.device, wanted.port);
        let oneself = wanted.node == self.node
            && *wanted.device == *local.device
            && wanted.port == local.port;
        if oneself {
            return Err(BadTarget::Oneself(name()));
        }
        let gid = wanted.gid.as_deref().and_then(|gid| gid.parse().ok());
        let address = match (gid, wanted.lid) {
            (Some(gid), _) => FabricAddress::Gid(gid),
            (None, Some(lid)) if wanted.gid.is_none() && lid != 0 => FabricAddress::Lid(lid),
            (None, _) => return Err(BadTarget::Address(name())),
        };
        let control: SocketAddr = wanted
            .control_address
            .parse()
            .map_err(|_| BadTarget::Control(name()))?;
        Ok(Peer {
            node: Arc::from(wanted.node.as_str()),
            device: Arc::from(wanted.device.as_str()),
            port: wanted.port,
            group: Arc::from(wanted.group.as_str()),
            address,
            control: Some(control),
        })
    }

    fn traffic_class(&self, name: &str) -> Result<TrafficClass, BadTarget> {
        let (class, shared) = self
            .mesh
            .traffic_classes
            .iter()
            .zip(&self.traffic)
            .find(|(class, _)| class.name == name)
            .ok_or_else(|| BadTarget::UnknownTrafficClass(name.to_owned()))?;
        let bounded = |value: i32, most: u8| u8::try_from(value).ok().filter(|v| *v <= most);
        match (bounded(class.dscp, 63), bounded(class.service_level, 15)) {
            (Some(dscp), Some(service_level)) => Ok(TrafficClass {
                name: Arc::clone(shared),
                dscp,
                service_level,
            }),
            _ => Err(BadTarget::TrafficClass(name.to_owned())),
        }
    }

    fn timeout(&self, wanted: ApiClass) -> Result<Duration, BadTarget> {
        let settings = self
            .settings(wanted)
            .ok_or(BadTarget::Class(wanted.as_str()))?;
        let timeout = settings.timeout.get();
        if timeout.is_zero() || timeout > LONGEST_TIMEOUT {
            return Err(BadTarget::Timeout(wanted.as_str()));
        }
        Ok(timeout)
    }
}

/// Number of a mesh on the wire: the same on every node, since both ends derive it from the name.
fn mesh_id(name: &str) -> u32 {
    let [a, b, c, d, ..] = *blake3::hash(name.as_bytes()).as_bytes();
    u32::from_be_bytes([a, b, c, d])
}

/// Rounded up, because a window is made of one-second buckets.
fn whole_seconds(window: Duration) -> Duration {
    let up = window.as_secs() + u64::from(window.subsec_nanos() > 0);
    Duration::from_secs(up.clamp(1, LONGEST_WINDOW_S))
}
