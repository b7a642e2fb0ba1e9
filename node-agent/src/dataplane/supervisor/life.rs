//! What becomes of a port: opened when its device is there, let go of when it fails, taken up again.

use std::sync::Arc;

use rdmamesh_verbs::{AsyncEvents, DeviceEvent, DeviceInfo};
use tokio::sync::mpsc;

use super::choice::{Usable, queue_pairs, usable};
use super::slot::{self, Activity, Closed, Opened};
use super::{Ended, POLL_MISSING, Supervisor};
use crate::dataplane::counters::DataplaneCounters;
use crate::dataplane::mono::Mono;
use crate::dataplane::port::{self, Exit, PortOrder};
use crate::model::{GidIndex, LocalPort, PortActivity};

impl Supervisor {
    pub(super) fn reconcile(&mut self, devices: &[DeviceInfo]) {
        let plan = self.io.plan.borrow().clone();
        let wish = |local: &LocalPort| {
            let port = plan.ports.iter().find(|port| port.local == *local);
            port.map_or(GidIndex::Auto, |port| port.gid_index)
        };
        let found = usable(devices, wish);
        for local in found.keys() {
            if !self.slots.contains_key(local) {
                let reason = "just found".to_owned();
                self.add_slot(local, PortActivity::Waiting { reason });
            }
        }
        // A port that is neither there nor wanted any more is forgotten.
        self.slots.retain(|local, slot| {
            let closed = matches!(slot.activity, Activity::Closed(_));
            !closed || found.contains_key(local) || slot.plan.borrow().is_some()
        });
        let locals: Vec<LocalPort> = self.slots.keys().cloned().collect();
        for local in locals {
            match found.get(&local) {
                None => self.gone(
                    &local,
                    "the device is not in this network namespace, or not there",
                ),
                Some(Err(reason)) => self.gone(&local, reason),
                Some(Ok(usable)) => self.present(&local, usable),
            }
        }
    }

    /// The port cannot be used.
    fn gone(&mut self, local: &LocalPort, reason: &str) {
        let Some(slot) = self.slots.get_mut(local) else {
            return;
        };
        match &mut slot.activity {
            Activity::Opened(opened) if !opened.closing => {
                opened.closing = true;
                // Closed only when the loop has ended by itself.
                opened.orders.send(PortOrder::Close(reason.to_owned())).ok();
            }
            Activity::Opened(_) => {}
            Activity::Closed(Closed {
                activity: PortActivity::Released { .. },
                ..
            }) => {}
            Activity::Closed(closed) => {
                closed.activity = PortActivity::Waiting {
                    reason: reason.to_owned(),
                };
            }
        }
    }

    /// The port can be used: opens it, or opens it anew, or follows its link.
    fn present(&mut self, local: &LocalPort, usable: &Usable) {
        let most = self.io.config.max_qps;
        let Some(slot) = self.slots.get_mut(local) else {
            return;
        };
        let outdated = slot.outdated(usable, most);
        match &mut slot.activity {
            Activity::Opened(opened) if opened.closing => {}
            Activity::Opened(opened) => {
                if let Some(reason) = outdated {
                    opened.closing = true;
                    // Closed only when the loop has ended by itself.
                    opened.orders.send(PortOrder::Close(reason)).ok();
                } else {
                    opened.follow_link(usable.link_up);
                }
            }
            Activity::Closed(closed) if closed.retry_at > Mono::now() => {}
            Activity::Closed(_) => self.open(local, usable),
        }
    }

    fn open(&mut self, local: &LocalPort, usable: &Usable) {
        let Some(mut slot) = self.slots.remove(local) else {
            return;
        };
        let Activity::Closed(mut closed) = slot.activity else {
            return;
        };
        let qps = queue_pairs(
            usable.soft,
            slot.plan.borrow().as_ref(),
            self.io.config.max_qps,
        );
        let (rnic, heard) = (closed.engine.rnic(), closed.engine.heard());
        match slot::open(local, usable, qps, (rnic, heard)) {
            Ok(fresh) => {
                DataplaneCounters::add(&self.io.counters.port_openings, 1);
                let orders;
                (orders, closed.io.orders) = mpsc::unbounded_channel();
                closed.io.published = fresh.published;
                self.forward_events(
                    local,
                    fresh.facts.generation,
                    fresh.port.endpoint().events(),
                );
                let mut opened = Opened {
                    orders,
                    usable: usable.clone(),
                    qps,
                    facts: fresh.facts,
                    waits_for: None,
                    closing: false,
                };
                opened.follow_link(usable.link_up);
                let (name, mut port) = (local.clone(), fresh.port);
                self.io.registry.publish(Arc::clone(&closed.io.published));
                self.loops.spawn_local(async move {
                    let (mut engine, mut io) = (closed.engine, closed.io);
                    let exit = port::run(&mut port, &mut engine, &mut io).await;
                    // The device is let go of here, before anybody hears of the end.
                    drop(port);
                    (name, engine, io, exit)
                });
                slot.activity = Activity::Opened(opened);
            }
            Err(reason) => {
                let activity = PortActivity::Waiting { reason };
                if closed.activity != activity {
                    tracing::warn!(port = %local, reason = ?activity, "port cannot be opened");
                }
                closed.activity = activity;
                closed.retry_at = Mono::now().plus(POLL_MISSING / 2);
                slot.activity = Activity::Closed(closed);
            }
        }
        self.slots.insert(local.clone(), slot);
    }

    fn forward_events(&self, local: &LocalPort, generation: u32, mut events: AsyncEvents) {
        let (to, local) = (self.notices.0.clone(), local.clone());
        tokio::task::spawn_local(async move {
            while let Some(event) = events.next().await {
                if to.send((local.clone(), generation, event)).is_err() {
                    return;
                }
            }
        });
    }

    /// A device event. True when the inventory should be read.
    pub(super) fn noticed(
        &mut self,
        local: &LocalPort,
        generation: u32,
        event: DeviceEvent,
    ) -> bool {
        let Some(slot) = self.slots.get_mut(local) else {
            return false;
        };
        let Activity::Opened(opened) = &mut slot.activity else {
            return false;
        };
        if opened.facts.generation != generation {
            return false;
        }
        tracing::info!(port = %local, ?event, "device event");
        let ours = |port: rdmamesh_verbs::PortNum| port.get() == local.port;
        let look = match event {
            DeviceEvent::PortError { port } if ours(port) => {
                opened.follow_link(false);
                true
            }
            DeviceEvent::PortActive { port } if ours(port) => {
                opened.follow_link(true);
                true
            }
            DeviceEvent::GidChange { port } | DeviceEvent::LidChange { port } => ours(port),
            _ if event.ends_endpoint() => {
                opened.closing = true;
                // Closed only when the loop has ended by itself.
                opened
                    .orders
                    .send(PortOrder::Close(
                        "the device reported a fatal error".to_owned(),
                    ))
                    .ok();
                false
            }
            _ => false,
        };
        self.publish_health();
        look
    }

    /// A port loop has ended and its device is free.
    pub(super) fn ended(&mut self, ended: Result<Ended, tokio::task::JoinError>) {
        let (local, engine, io, exit) = match ended {
            Ok(ended) => ended,
            Err(error) => {
                tracing::error!(%error, "port loop failed");
                return;
            }
        };
        let Some(slot) = self.slots.get_mut(&local) else {
            return;
        };
        let reason = match exit {
            Exit::Stopped => "the agent stops".to_owned(),
            Exit::Ordered(reason) => reason,
            Exit::Gone(gone) => gone.to_string(),
        };
        tracing::info!(port = %local, reason, "port released");
        self.gathered.forget(&local);
        let activity = PortActivity::Released { reason };
        let retry_at = Mono::now();
        slot.activity = Activity::Closed(Closed {
            engine,
            io,
            activity,
            retry_at,
        });
        self.publish_health();
    }
}
