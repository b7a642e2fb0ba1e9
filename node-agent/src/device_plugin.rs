//! Device plugin: gives containers the node's RDMA devices without any privilege.
//!
//! ```text
//!  sysfs ──► stock (shares and their health) ──► service ◄── kubelet: ListAndWatch, Allocate
//!            nodes (device nodes to hand out) ──►    ▲
//!                              registration ── kubelet.sock, again after every restart of the kubelet
//! ```
//!
//! The agent's own pod asks for one share, so this runs as a pod of its own. A node always offers shares, RDMA or not:
//! an agent that finds no device says so in its `RdmaNode`, an agent that cannot be scheduled says nothing.
//!
//! What a container may open is settled when it is made (device nodes, and the cgroup's list of device numbers), but a
//! RNIC that is removed and comes back may have another number, and one whose driver is loaded later has a new one. So
//! a container gets the first `--hotplug-nodes` numbers from the start, whether there is a device behind them or not.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use rdmamesh_verbs::SysfsRoot;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::http::listen;
use nodes::{Nodes, SystemMaker};
use registration::Kubelet;
use service::Plugin;
use stock::Stock;

pub use args::DevicePluginArgs;
pub use registration::State;

mod api;
mod args;
mod nodes;
mod pages;
mod registration;
mod service;
mod stock;

/// Between two looks at the kubelet.
const POLL: Duration = Duration::from_secs(1);
/// A look at the devices reads hundreds of small files, so it is taken once in this many of those. Waiting for news
/// instead would not do: sysfs has no inotify, uevents tell of devices and not of the state of ports, and the kernel's own
/// notifications (`rdma monitor`) are too young to be counted on.
const LOOKS_PER_INVENTORY: u32 = 5;

/// Runs the plugin until SIGTERM or SIGINT.
///
/// # Errors
/// When the page cannot be served or signals cannot be handled; everything else is waited for.
pub async fn run(args: DevicePluginArgs) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot handle signals")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot handle signals")?;
    let listener = listen(args.http_listen).await?;
    let stop = CancellationToken::new();
    tracing::info!(
        resource = args.resource,
        version = env!("CARGO_PKG_VERSION"),
        "device plugin started"
    );
    let (state, seen) = watch::channel(State::default());
    let pages = tokio::spawn(pages::serve(listener, seen, stop.clone()));
    let work = tokio::spawn(work(args, POLL, state, stop.clone()));
    tokio::select! {
        _ = terminate.recv() => tracing::info!(signal = "SIGTERM", "device plugin stops"),
        _ = interrupt.recv() => tracing::info!(signal = "SIGINT", "device plugin stops"),
    }
    stop.cancel();
    work.await.context("the device plugin broke")?;
    pages.await.context("the page broke")??;
    Ok(())
}

/// Watches the devices and serves the kubelet until stopped.
async fn work(
    args: DevicePluginArgs,
    poll: Duration,
    state: watch::Sender<State>,
    stop: CancellationToken,
) {
    let sysfs = SysfsRoot::at(&args.sysfs_root);
    let nodes = Nodes::new(&args, SystemMaker);
    let (stock, devices) = watch::channel(Arc::new(Stock::new(args.shares)));
    let plugin = Plugin::new(devices, nodes, sysfs.clone());
    let kubelet = Kubelet {
        folder: args.kubelet_dir,
        resource: args.resource,
        poll,
    };
    tokio::join!(
        stock::watch_devices(sysfs, stock, poll * LOOKS_PER_INVENTORY, stop.clone()),
        registration::keep_registered(kubelet, plugin, state, stop),
    );
}

#[cfg(test)]
mod tests;
