//! A target: its flows, and the peer's process that it is resolved to.

use std::time::Duration;

use super::super::draw::Draw;
use super::super::fabric::RnicId;
use super::super::life::{Life, Time};
use crate::plan::AssignedTarget;

/// From here on a peer that was found silent is asked again, and resolved, this late at most.
const RESOLVED_WITHIN: Duration = Duration::from_millis(900);
/// First exchange with a peer that answers.
const FIRST_EXCHANGE: Duration = Duration::from_millis(150);
/// A peer that does not answer the first exchange is known to be silent after this.
const KNOWN_SILENT: Duration = Duration::from_secs(1);

/// One target with its flows.
#[derive(Clone, Debug)]
pub(in super::super) struct Target {
    pub local: RnicId,
    pub peer: RnicId,
    pub assigned: AssignedTarget,
    /// Positions of its flows.
    pub flows: std::ops::Range<usize>,
    /// Second in which it began.
    pub since: u64,
    /// First second that has not settled.
    pub settled_until: u64,
    /// The peer's process that it is resolved to, by when that began.
    session: Option<Time>,
    /// When it will be resolved to the process that began then.
    resolving: Option<(Time, Time)>,
    /// When this agent first asked.
    began: Time,
}

impl Target {
    /// A target that begins now.
    pub fn new(
        (local, peer): (RnicId, RnicId),
        assigned: AssignedTarget,
        flows: std::ops::Range<usize>,
        now: Time,
    ) -> Self {
        Self {
            local,
            peer,
            assigned,
            flows,
            since: now.as_secs(),
            settled_until: now.as_secs(),
            session: None,
            resolving: None,
            began: now,
        }
    }

    /// Whether it has been resolved at all.
    pub const fn is_resolved(&self) -> bool {
        self.session.is_some()
    }
}

/// What a prober knows about the process behind a target.
pub(super) enum Resolved {
    /// Its first exchange is under way: nothing is sent.
    Unheard,
    /// It does not answer, or another process does.
    Silent,
    /// Resolved to the process that began then.
    Session(Time),
}

impl Target {
    /// What is known about the process behind it.
    pub(super) fn resolve(&mut self, now: Time, peer: &Life, draw: &mut Draw) -> Resolved {
        let there = peer.born(now);
        if let Some(session) = self.session {
            // Gone without a word, or still there: the probe will tell. Another process has to be resolved first.
            let Some(born) = there.filter(|born| *born > session) else {
                return Resolved::Session(session);
            };
            let (_, at) = *self.resolving.get_or_insert_with(|| {
                (
                    born,
                    born + draw.time_between(Duration::from_millis(100), RESOLVED_WITHIN),
                )
            });
            if now < at {
                // Probes still go to the queue pairs of before, which nobody has any more.
                return Resolved::Session(session);
            }
            self.resolving = None;
            self.session = Some(born);
            return Resolved::Session(born);
        }
        match there {
            Some(born) if now >= born.max(self.began) + FIRST_EXCHANGE => {
                self.session = Some(born);
                Resolved::Session(born)
            }
            _ if now < self.began + KNOWN_SILENT => Resolved::Unheard,
            _ => Resolved::Silent,
        }
    }
}

/// Whether the flows and windows of the one can go on as those of the other.
pub(super) fn same_but_interval(a: &AssignedTarget, b: &AssignedTarget) -> bool {
    a.class == b.class
        && a.peer == b.peer
        && a.traffic_class == b.traffic_class
        && a.flows == b.flows
        && a.seed == b.seed
        && a.timeout == b.timeout
}

/// The UDP source ports of a target's flows: distinct, from the range that RoCE drivers use.
pub(super) fn source_ports(flows: u16, seed: u32) -> Vec<u16> {
    let mut ports = Vec::with_capacity(usize::from(flows));
    let mut next = 0u64;
    while ports.len() < usize::from(flows.min(1 << 13)) {
        let hash = crate::hash::pair(0x706f_7274, u64::from(seed), next);
        let port = 0xC000 | (hash & 0x3FFF) as u16;
        if !ports.contains(&port) {
            ports.push(port);
        }
        next += 1;
    }
    ports
}

/// Where in its interval a flow starts, 0 to 1.
pub(super) fn phase(seed: u32, peer: RnicId, flow: usize) -> f64 {
    let hash = crate::hash::pair(u64::from(peer), u64::from(seed), flow as u64);
    (hash >> 11) as f64 / (1u64 << 53) as f64
}
