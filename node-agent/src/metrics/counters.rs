//! What the agent counts of its own doings outside the data path.

use std::sync::atomic::{AtomicU64, Ordering};

/// Two counters, one per outcome.
#[derive(Debug, Default)]
struct Outcomes {
    ok: AtomicU64,
    error: AtomicU64,
}

impl Outcomes {
    fn add(&self, ok: bool) {
        let counter = if ok { &self.ok } else { &self.error };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    fn read(&self) -> [(&'static str, u64); 2] {
        [
            ("ok", self.ok.load(Ordering::Relaxed)),
            ("error", self.error.load(Ordering::Relaxed)),
        ]
    }
}

/// Counters since the start of the process.
#[derive(Debug, Default)]
pub struct AgentCounters {
    assignment_writes: Outcomes,
    node_writes: Outcomes,
    exports: Outcomes,
}

impl AgentCounters {
    /// A write of the assignment's status came to its end.
    pub fn assignment_write(&self, ok: bool) {
        self.assignment_writes.add(ok);
    }

    /// A write of the `RdmaNode` came to its end.
    pub fn node_write(&self, ok: bool) {
        self.node_writes.add(ok);
    }

    /// An OTLP export came to its end.
    pub fn export(&self, ok: bool) {
        self.exports.add(ok);
    }

    /// Writes by object and outcome.
    pub fn writes(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
        let of = |object, outcomes: &Outcomes| {
            outcomes
                .read()
                .map(|(outcome, count)| (object, outcome, count))
        };
        let assignments = of("RdmaProbeAssignment", &self.assignment_writes);
        assignments
            .into_iter()
            .chain(of("RdmaNode", &self.node_writes))
    }

    /// Exports by outcome.
    pub fn exports(&self) -> [(&'static str, u64); 2] {
        self.exports.read()
    }
}
