//! One port of the inventory: what the kernel shows, what the data path does with it, and whether it
//! can be used.

use rdmamesh_api::node::{GidStatus, PORT_ABSENT, PortStatus};
use rdmamesh_verbs::{DeviceInfo, GidKind, LinkLayer, PortInfo, PortState};

use super::Facts;
use crate::model::{LocalPort, PortActivity, PortHealth};
use crate::publish::api_timestamps;

/// Longest GID table that the API takes.
const MAX_GIDS: usize = 32;
/// Longest list of queue pair numbers that the API takes.
const MAX_QPNS: usize = 64;

/// Whether `port` is the port `local`.
pub(super) fn is(port: &PortStatus, local: &LocalPort) -> bool {
    *port.device == *local.device && port.port == local.port
}

pub(super) fn status(facts: &Facts<'_>, device: &DeviceInfo, port: &PortInfo) -> PortStatus {
    let local = LocalPort::new(device.name.as_str(), port.port.get());
    let health = facts.health(&local);
    let open = health.and_then(|health| health.open.as_ref());
    let obstacle = obstacle(facts, device, port, health);
    PortStatus {
        device: device.name.clone(),
        port: port.port.get(),
        link_layer: port.link_layer.to_string(),
        state: port.state.to_string(),
        physical_state: port.physical_state.to_string(),
        rate: port.rate.map(|rate| rate.to_string()),
        mtu: port.netdev.as_ref().and_then(|netdev| netdev.mtu),
        netdev: port.netdev.as_ref().map(|netdev| netdev.name.clone()),
        lid: port.lid,
        gids: port.gids.iter().take(MAX_GIDS).map(gid).collect(),
        numa: device.numa_node,
        pci: device.pci.clone(),
        firmware: device.firmware.clone(),
        timestamps: open.map(|open| api_timestamps(open.timestamps)),
        qpns: open.map_or_else(Vec::new, |open| {
            open.qpns.iter().take(MAX_QPNS).copied().collect()
        }),
        usable: obstacle.is_none(),
        reason: obstacle,
    }
}

/// A port that the plan names and that is not there.
pub(super) fn absent(facts: &Facts<'_>, local: &LocalPort) -> PortStatus {
    let reason = match facts.health(local).map(|health| &health.state) {
        Some(PortActivity::Released { reason } | PortActivity::Waiting { reason }) => {
            reason.clone()
        }
        Some(PortActivity::Probing) | None => {
            format!("the kernel shows no port {local}: `rdma link` lists what there is")
        }
    };
    PortStatus {
        device: local.device.to_string(),
        port: local.port,
        state: PORT_ABSENT.to_owned(),
        usable: false,
        reason: Some(reason),
        ..PortStatus::default()
    }
}

fn gid(entry: &rdmamesh_verbs::GidEntry) -> GidStatus {
    GidStatus {
        index: entry.index,
        gid: entry.gid.to_string(),
        r#type: match &entry.kind {
            GidKind::RoceV1 => "RoCEv1".to_owned(),
            GidKind::RoceV2 => "RoCEv2".to_owned(),
            GidKind::Ib => "IB".to_owned(),
            GidKind::Unknown(raw) => raw.clone(),
        },
    }
}

/// Why the port cannot probe and what to do; `None` when it can.
fn obstacle(
    facts: &Facts<'_>,
    device: &DeviceInfo,
    port: &PortInfo,
    health: Option<&PortHealth>,
) -> Option<String> {
    let ethernet = port.link_layer == LinkLayer::Ethernet;
    if let Some(gap) = &facts.survey.provider_gap
        && gap.contains(device.name.as_str())
    {
        return Some(gap.clone());
    }
    if device.uverbs.is_none() {
        return Some("no user-space verbs device: load the kernel module ib_uverbs".to_owned());
    }
    if port.state != PortState::Active {
        let what = if ethernet {
            let netdev = port
                .netdev
                .as_ref()
                .map_or("", |netdev| netdev.name.as_str());
            format!("is the network interface {netdev} up and its cable plugged in?")
        } else {
            "is the cable plugged in and a subnet manager running?".to_owned()
        };
        return Some(format!("the port is {}: {what}", port.state));
    }
    if !port.gids.iter().any(|entry| usable_gid(&entry.kind)) && port.lid.is_none() {
        return Some("no GID of type RoCEv2: give the network interface an IP address".to_owned());
    }
    match &health?.state {
        PortActivity::Released { reason } => Some(reason.clone()),
        // Open and not sending is fine: it answers, and sends as soon as a plan says so.
        PortActivity::Waiting { reason } if health?.open.is_none() => Some(reason.clone()),
        PortActivity::Waiting { .. } | PortActivity::Probing => None,
    }
}

/// Whether probes can use a GID of this kind.
pub(super) const fn usable_gid(kind: &GidKind) -> bool {
    matches!(kind, GidKind::RoceV2 | GidKind::Ib)
}
