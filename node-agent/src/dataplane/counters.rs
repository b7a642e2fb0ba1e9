//! Cumulative counters of the data path, written from its threads and read by telemetry.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use rdmamesh_wire::DropReason;

type DropCounters = [AtomicU64; DropReason::ALL.len()];

/// Counters since the start of the process. All only grow, except the throttle step.
#[derive(Debug, Default)]
pub struct DataplaneCounters {
    pub(super) probe_drops: DropCounters,
    pub(super) control_drops: DropCounters,
    pub(super) probes_sent: AtomicU64,
    pub(super) probes_answered: AtomicU64,
    pub(super) late_acks: AtomicU64,
    pub(super) resolves_sent: AtomicU64,
    pub(super) resolves_answered: AtomicU64,
    pub(super) resolves_failed: AtomicU64,
    pub(super) resolves_served: AtomicU64,
    pub(super) reports_dropped: AtomicU64,
    pub(super) starvations: AtomicU64,
    pub(super) port_openings: AtomicU64,
    pub(super) throttle_permille: AtomicU32,
}

/// A copy of the counters at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CountersSnapshot {
    /// Datagrams refused on the fabric, by reason.
    pub probe_drops: Vec<(&'static str, u64)>,
    /// Datagrams refused on the control socket, by reason.
    pub control_drops: Vec<(&'static str, u64)>,
    /// Probes of others that were answered.
    pub probes_answered: u64,
    /// Probes sent to others.
    pub probes_sent: u64,
    /// Answers that came after their probe was judged.
    pub late_acks: u64,
    /// Control requests sent, retries included.
    pub resolves_sent: u64,
    /// Control exchanges that got their answer.
    pub resolves_answered: u64,
    /// Control exchanges given up.
    pub resolves_failed: u64,
    /// Control requests of others that were answered.
    pub resolves_served: u64,
    /// Reports dropped because their reader was slow.
    pub reports_dropped: u64,
    /// Times that this host was found starved of CPU.
    pub starvations: u64,
    /// Times a port was opened or opened again.
    pub port_openings: u64,
    /// Share of the planned probe rate in force: 1, 0.5, 0.25 or 0.1.
    pub throttle: f64,
}

impl DataplaneCounters {
    pub(super) fn add(counter: &AtomicU64, n: u64) {
        counter.fetch_add(n, Ordering::Relaxed);
    }

    pub(super) fn set_throttle(&self, rate: f64) {
        // Between 0 and 1, so the cast keeps the value.
        self.throttle_permille
            .store((rate * 1000.0).round() as u32, Ordering::Relaxed);
    }

    pub(super) fn drop_probe(&self, reason: DropReason) {
        count(&self.probe_drops, reason);
    }

    pub(super) fn drop_control(&self, reason: DropReason) {
        count(&self.control_drops, reason);
    }

    /// The counters now. Each is read on its own: they need not be of the same instant.
    pub fn snapshot(&self) -> CountersSnapshot {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        CountersSnapshot {
            probe_drops: drops(&self.probe_drops),
            control_drops: drops(&self.control_drops),
            probes_answered: read(&self.probes_answered),
            probes_sent: read(&self.probes_sent),
            late_acks: read(&self.late_acks),
            resolves_sent: read(&self.resolves_sent),
            resolves_answered: read(&self.resolves_answered),
            resolves_failed: read(&self.resolves_failed),
            resolves_served: read(&self.resolves_served),
            reports_dropped: read(&self.reports_dropped),
            starvations: read(&self.starvations),
            port_openings: read(&self.port_openings),
            throttle: f64::from(self.throttle_permille.load(Ordering::Relaxed)) / 1000.0,
        }
    }
}

fn count(drops: &DropCounters, reason: DropReason) {
    if let Some(counter) = drops.get(reason.index()) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// Every reason, those that never happened too: a series that is there from the start can be alerted on.
fn drops(counters: &DropCounters) -> Vec<(&'static str, u64)> {
    let read = counters
        .iter()
        .map(|counter| counter.load(Ordering::Relaxed));
    DropReason::ALL
        .iter()
        .map(|reason| reason.as_str())
        .zip(read)
        .collect()
}
