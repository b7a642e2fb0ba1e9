//! The open local ports as their peers may know them: written by the port loops, read by the control responder.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rdmamesh_wire::{Epoch, NEVER, NodeId, PortEntry, PortStatus, Question, RnicId, Sighting};

use super::mono::Mono;
use super::senders::Heard;

/// One opening of one port.
#[derive(Debug)]
pub struct PublishedPort {
    /// Identity of the port.
    pub rnic: RnicId,
    /// Queue pair that probes go to.
    pub qpn: u32,
    /// Number of queue pairs.
    pub qps: u16,
    /// Random number of this opening.
    pub generation: u32,
    heard: Heard,
    link_up: AtomicBool,
    next_wake_ns: AtomicU64,
    starved_until_ns: AtomicU64,
}

impl PublishedPort {
    /// A port that has just been opened; `heard` is what arrives there.
    pub fn new(rnic: RnicId, qpn: u32, qps: u16, generation: u32, heard: Heard) -> Self {
        Self {
            heard,
            rnic,
            qpn,
            qps,
            generation,
            link_up: AtomicBool::new(true),
            next_wake_ns: AtomicU64::new(u64::MAX),
            starved_until_ns: AtomicU64::new(0),
        }
    }

    /// Whether the link is active.
    pub fn set_link(&self, up: bool) {
        self.link_up.store(up, Ordering::Relaxed);
    }

    /// When the loop of this port wants to run next, and when it was last found starved.
    pub fn set_loop(&self, next_wake: Mono, starved_until: Option<Mono>) {
        self.next_wake_ns.store(ns(next_wake), Ordering::Relaxed);
        self.starved_until_ns
            .store(starved_until.map_or(0, ns), Ordering::Relaxed);
    }

    /// What a peer may know of the port. A loop that should have run by now is starved.
    fn entry(&self, now: Mono, bound: Duration) -> PortEntry {
        let next_wake = Mono(Duration::from_nanos(
            self.next_wake_ns.load(Ordering::Relaxed),
        ));
        let starved_until = self.starved_until_ns.load(Ordering::Relaxed);
        let starved_ms_ago = if now.since(next_wake) > bound {
            0
        } else if starved_until == 0 {
            NEVER
        } else {
            let ago = now.since(Mono(Duration::from_nanos(starved_until)));
            u32::try_from(ago.as_millis()).unwrap_or(NEVER)
        };
        let up = self.link_up.load(Ordering::Relaxed);
        PortEntry {
            rnic: self.rnic,
            qpn: self.qpn,
            qps: self.qps,
            status: if up {
                PortStatus::Answering
            } else {
                PortStatus::LinkDown
            },
            generation: self.generation,
            starved_ms_ago,
        }
    }
}

fn ns(at: Mono) -> u64 {
    u64::try_from(at.0.as_nanos()).unwrap_or(u64::MAX)
}

/// All open local ports, and when which peer node last answered over RDMA.
#[derive(Debug, Default)]
pub struct Registry {
    ports: Mutex<HashMap<RnicId, Arc<PublishedPort>>>,
    answered: Mutex<HashMap<NodeId, Mono>>,
}

impl Registry {
    /// Makes a port known: from now on peers can resolve it.
    pub fn publish(&self, port: Arc<PublishedPort>) {
        self.ports
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(port.rnic, port);
    }

    /// Takes a port back, before its endpoint goes: peers must not take its silence for loss.
    pub fn withdraw(&self, rnic: RnicId) {
        self.ports
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&rnic);
    }

    /// What a peer may know about `rnic` now.
    pub fn entry(&self, rnic: RnicId, now: Mono, bound: Duration) -> PortEntry {
        let ports = self.ports.lock().unwrap_or_else(PoisonError::into_inner);
        ports
            .get(&rnic)
            .map_or(PortEntry::absent(rnic), |port| port.entry(now, bound))
    }

    /// Whether the probe that `question` is about has arrived at `rnic`; it is of process `epoch`.
    pub fn sighting(&self, rnic: RnicId, epoch: Epoch, question: &Question) -> Sighting {
        let port = {
            let ports = self.ports.lock().unwrap_or_else(PoisonError::into_inner);
            ports.get(&rnic).cloned()
        };
        let tell = |port: Arc<PublishedPort>| {
            port.heard
                .with(|senders| senders.sighting(&question.from, epoch, question.sequence))
        };
        port.map_or(Sighting::Unknown, tell)
    }

    /// Notes when peer nodes last answered a probe.
    pub fn note_answers(&self, answers: impl Iterator<Item = (NodeId, Mono)>) {
        let mut answered = self.answered.lock().unwrap_or_else(PoisonError::into_inner);
        for (node, at) in answers {
            let newest = answered.entry(node).or_insert(at);
            *newest = (*newest).max(at);
        }
    }

    /// When `node` last answered a probe on any port.
    pub fn answered(&self, node: NodeId) -> Option<Mono> {
        self.answered
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&node)
            .copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUND: Duration = Duration::from_millis(50);

    fn at(ms: u64) -> Mono {
        Mono(Duration::from_millis(ms))
    }

    #[test]
    fn a_loop_that_should_have_run_is_starved_without_saying_so() {
        let (registry, rnic) = (Registry::default(), RnicId(1));
        assert_eq!(registry.entry(rnic, at(0), BOUND), PortEntry::absent(rnic));
        let port = Arc::new(PublishedPort::new(rnic, 17, 4, 9, Heard::default()));
        registry.publish(Arc::clone(&port));
        port.set_loop(at(1000), None);
        assert_eq!(registry.entry(rnic, at(1040), BOUND).starved_ms_ago, NEVER);
        assert_eq!(registry.entry(rnic, at(1051), BOUND).starved_ms_ago, 0);
        port.set_loop(at(2000), Some(at(1100)));
        assert_eq!(registry.entry(rnic, at(1400), BOUND).starved_ms_ago, 300);
        port.set_link(false);
        assert_eq!(
            registry.entry(rnic, at(1400), BOUND).status,
            PortStatus::LinkDown
        );
        registry.withdraw(rnic);
        assert_eq!(
            registry.entry(rnic, at(1400), BOUND).status,
            PortStatus::Absent
        );
    }

    #[test]
    fn the_newest_answer_of_a_node_counts() {
        let registry = Registry::default();
        let node = NodeId(3);
        registry.note_answers([(node, at(5)), (node, at(2))].into_iter());
        assert_eq!(registry.answered(node), Some(at(5)));
        assert_eq!(registry.answered(NodeId(4)), None);
    }
}
