//! The shares that the node offers. Pure but for [`watch_devices`], which looks at sysfs from time to time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rdmamesh_verbs::{DeviceInfo, LinkLayer, PortInfo, PortState, SysfsRoot, devices};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::api;
use crate::logging::Repeats;

/// Shares with this name belong to the node itself.
const NODE: &str = "node";
/// Longest id that the kubelet takes.
const LONGEST_ID: usize = 63;

/// What can be given out now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stock {
    shares: u16,
    /// Every RNIC seen since the start, and why it cannot be used now.
    rnics: BTreeMap<String, Result<(), String>>,
}

impl Stock {
    /// The node's own shares only.
    pub(super) const fn new(shares: u16) -> Self {
        Self {
            shares,
            rnics: BTreeMap::new(),
        }
    }

    /// After another look at the devices. A RNIC that has vanished stays, as unhealthy: the kubelet shows the
    /// difference between what the node has and what can be given out.
    fn after(&self, devices: &[DeviceInfo]) -> Self {
        let mut rnics: BTreeMap<String, Result<(), String>> = self
            .rnics
            .keys()
            .map(|name| (name.clone(), Err("the device is gone".to_owned())))
            .collect();
        for device in devices.iter().filter(|device| is_here(device)) {
            rnics.insert(device.name.clone(), health(device));
        }
        Self {
            shares: self.shares,
            rnics,
        }
    }

    /// As the kubelet takes it. The node's own shares are always healthy: an agent must run where RDMA is broken or
    /// missing, to say so. The others follow the state of their RNIC's ports.
    pub(super) fn list(&self) -> Vec<api::Device> {
        let node = (NODE, api::HEALTHY);
        let rnics = self.rnics.iter().map(|(name, health)| {
            let health = if health.is_ok() {
                api::HEALTHY
            } else {
                api::UNHEALTHY
            };
            (name.as_str(), health)
        });
        std::iter::once(node)
            .chain(rnics)
            .flat_map(|(name, health)| {
                (0..self.shares).map(move |share| api::Device {
                    id: id(name, share),
                    health: health.to_owned(),
                    topology: None,
                })
            })
            .collect()
    }

    /// Why this share cannot be given out; `None` when it can.
    pub(super) fn refusal(&self, wanted: &str) -> Option<String> {
        let known = |name: &str| (0..self.shares).any(|share| id(name, share) == wanted);
        if known(NODE) {
            return None;
        }
        match self.rnics.iter().find(|(name, _)| known(name)) {
            Some((_, Ok(()))) => None,
            Some((name, Err(reason))) => Some(format!("{name}: {reason}")),
            None => Some(format!("there is no share {wanted:?} on this node")),
        }
    }

    /// Says what differs from the stock before.
    fn tell(&self, before: &Self) {
        for (rnic, health) in &self.rnics {
            match health {
                same if before.rnics.get(rnic) == Some(same) => {}
                Ok(()) => tracing::info!(rnic, "RNIC can be given out"),
                Err(reason) => tracing::warn!(rnic, reason, "RNIC cannot be given out"),
            }
        }
    }
}

/// Whether a share belongs to the node itself: these are given out first.
pub(super) fn is_nodes(id: &str) -> bool {
    id.strip_prefix(NODE)
        .is_some_and(|rest| rest.starts_with('-'))
}

fn id(name: &str, share: u16) -> String {
    let number = format!("-{share}");
    // Names of RDMA devices are ASCII and at most 63 bytes long.
    let room = LONGEST_ID - number.len();
    let name: String = name.chars().take(room).collect();
    format!("{name}{number}")
}

/// Soft-RoCE devices are seen in every network namespace; only those whose netdev is in this one are this node's.
fn is_here(device: &DeviceInfo) -> bool {
    device.ports.iter().any(port_is_here)
}

fn port_is_here(port: &PortInfo) -> bool {
    port.netdev_here || port.link_layer != LinkLayer::Ethernet
}

fn health(device: &DeviceInfo) -> Result<(), String> {
    if device.uverbs.is_none() {
        return Err("no user-space verbs device: load the kernel module ib_uverbs".to_owned());
    }
    let here = device.ports.iter().filter(|port| port_is_here(port));
    let states: Vec<String> = here
        .map(|port| match &port.state {
            PortState::Active => Ok(()),
            state => Err(format!("port {} is {state}", port.port)),
        })
        .filter_map(Result::err)
        .collect();
    let ports = device
        .ports
        .iter()
        .filter(|port| port_is_here(port))
        .count();
    if states.len() < ports {
        return Ok(());
    }
    Err(states.join(", "))
}

/// Looks at the devices and publishes what has changed, until stopped.
pub(super) async fn watch_devices(
    sysfs: SysfsRoot,
    stock: watch::Sender<Arc<Stock>>,
    poll: Duration,
    stop: CancellationToken,
) {
    let mut ticks = tokio::time::interval(poll);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut repeats = Repeats::default();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let root = sysfs.clone();
        let found = match tokio::task::spawn_blocking(move || devices(&root)).await {
            Ok(Ok(found)) => found,
            Ok(Err(error)) => {
                // What is not seen is neither healthy nor gone: the last list stays.
                repeats.failed(|n| tracing::warn!(failures = n, %error, "devices not listed"));
                continue;
            }
            Err(error) => {
                tracing::error!(%error, "listing the devices broke");
                continue;
            }
        };
        repeats.recovered(|failures| tracing::info!(failures, "devices listed again"));
        stock.send_if_modified(|before| {
            let now = before.after(&found);
            let changed = now != **before;
            if changed {
                now.tell(before);
                *before = Arc::new(now);
            }
            changed
        });
    }
}

#[cfg(test)]
mod tests;
