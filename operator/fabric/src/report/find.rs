//! Which paths are ill, judged from the windows of one tick. Pure: the same windows, thresholds and
//! earlier findings always give the same findings.
//!
//! * **Loss**: at least three probes lost and the lost share over the threshold, for the target as a
//!   whole or else for one of its flows (one bad path among several).
//! * **Latency**, device stamps: the 99th percentile over the threshold, from 20 round trips on.
//! * **Latency**, software stamps: even the *fastest* round trip of a flow over the threshold and over
//!   three times what this agent's other flows typically take, slower than their fastest by far more
//!   than round trips vary, and all that for two windows in a row. Host scheduling delays some round
//!   trips of all flows, or all of some for a moment; a slow path delays all round trips of some flows.
//!
//! A finding stays until its window is clean. A window without evidence neither opens nor closes one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::window::{LocalPort, TargetKey, Window};
use super::{latency, loss};
use crate::plan::ProbeClass;

impl Finding {
    /// The same, compared with this round-trip time.
    pub(super) fn against(mut self, baseline: Duration) -> Self {
        self.baseline = Some(baseline);
        self
    }
}

/// What is wrong with a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Probes are lost.
    Loss,
    /// Round trips take too long.
    Latency,
}

/// What makes two findings the same one across two windows.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FindingKey {
    /// Loss or latency.
    pub kind: Kind,
    /// The local port that probes.
    pub local: LocalPort,
    /// Mesh, class, traffic class and peer.
    pub target: TargetKey,
    /// Index of the one flow that is ill, `None` when the target as a whole is.
    pub flow: Option<u16>,
}

/// A path that is ill.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// Which path, and in what way.
    pub key: FindingKey,
    /// UDP source port of the flow, where the finding is about one flow and the port is known.
    pub source_port: Option<u16>,
    /// Probes of the window.
    pub sent: u64,
    /// Probes of the window that were lost.
    pub lost: u64,
    /// Those of them that the peer has never seen.
    pub lost_forward: u64,
    /// Those of them that the peer has seen: their answer was lost.
    pub lost_return: u64,
    /// Lost out of the probes that say something about the fabric, 0 to 1.
    pub loss_ratio: f64,
    /// Median network round-trip time; `None` without round trips.
    pub p50: Option<Duration>,
    /// 99th percentile of network round-trip time; `None` without round trips.
    pub p99: Option<Duration>,
    /// The round-trip time that it was compared with; latency only.
    pub baseline: Option<Duration>,
    /// How bad, for sorting among findings of one kind: larger is worse.
    pub severity: f64,
    /// End of the first window in which it was seen.
    pub since: SystemTime,
}

/// What counts as ill.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limit {
    /// Lost share (0 to 1) above which a path is an anomaly.
    pub loss_ratio: f64,
    /// Network round-trip time above which a path is an anomaly.
    pub p99: Duration,
}

/// Limits per mesh.
pub type Limits = BTreeMap<Arc<str>, Limit>;

/// The verdict on one path in one window.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Judgement {
    /// Over the limit, by this much (severity).
    Ill(f64),
    Clean,
    NoEvidence,
}

/// What one report leaves for the next.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Findings {
    /// Paths that are ill, worst first.
    pub open: Vec<Finding>,
    /// Paths that look ill for less than the time it takes to be sure, and since when.
    pub suspected: BTreeMap<FindingKey, SystemTime>,
}

/// What `windows` show, after what the windows before them showed.
pub fn find(windows: &[Window<'_>], limits: &Limits, before: &Findings) -> Findings {
    let before = Before::new(before);
    let baseline = latency::Baseline::new(windows);
    let mut found = Findings::default();
    let mut first_flow = 0;
    for window in windows {
        let first = first_flow;
        first_flow += window.flows.len();
        // Control probes say whether plain IP works; that is no verdict on the fabric.
        if window.target.class == ProbeClass::Control {
            continue;
        }
        let Some(limits) = limits.get(&window.target.mesh) else {
            continue;
        };
        let context = Context {
            window,
            key: window.target.clone(),
            before: &before,
        };
        loss::judge(&context, limits.loss_ratio, &mut found);
        latency::judge(&context, limits.p99, &baseline, first, &mut found);
    }
    found.open.sort_by(worst_first);
    found
}

fn worst_first(a: &Finding, b: &Finding) -> std::cmp::Ordering {
    a.key
        .kind
        .cmp(&b.key.kind)
        .then(b.severity.total_cmp(&a.severity))
        .then_with(|| a.key.cmp(&b.key))
}

/// Findings of the report before, by path.
pub(super) struct Before<'a> {
    open: BTreeMap<&'a FindingKey, &'a Finding>,
    pub suspected: &'a BTreeMap<FindingKey, SystemTime>,
}

impl<'a> Before<'a> {
    fn new(before: &'a Findings) -> Self {
        Self {
            open: before.open.iter().map(|f| (&f.key, f)).collect(),
            suspected: &before.suspected,
        }
    }

    fn get(&self, key: &FindingKey) -> Option<&'a Finding> {
        self.open.get(key).copied()
    }

    /// When the illness began: of this very path, or of the target that the flow belongs to, or of the
    /// first of the target's flows; from its first suspicion on.
    fn since(&self, key: &FindingKey) -> Option<SystemTime> {
        let open = self.get(key).map(|finding| finding.since);
        if let Some(since) = open.or_else(|| self.suspected.get(key).copied()) {
            return Some(since);
        }
        let whole = FindingKey {
            flow: None,
            ..key.clone()
        };
        if key.flow.is_some() {
            return self.get(&whole).map(|finding| finding.since);
        }
        let of_target = |other: &FindingKey| {
            FindingKey {
                flow: None,
                ..other.clone()
            } == whole
        };
        let open = self.open.range::<&FindingKey, _>(&whole..);
        let open = open
            .take_while(|(other, _)| of_target(other))
            .map(|(_, f)| f.since);
        let suspected = self.suspected.range(&whole..);
        let suspected = suspected
            .take_while(|(other, _)| of_target(other))
            .map(|(_, s)| *s);
        open.chain(suspected).min()
    }
}

/// One target's window and what was found on it before.
pub(super) struct Context<'a> {
    pub window: &'a Window<'a>,
    pub key: TargetKey,
    pub before: &'a Before<'a>,
}

impl Context<'_> {
    pub fn key(&self, kind: Kind, flow: Option<u16>) -> FindingKey {
        FindingKey {
            kind,
            local: self.window.local.clone(),
            target: self.key.clone(),
            flow,
        }
    }

    pub fn held(&self, kind: Kind, flow: Option<u16>) -> Option<&Finding> {
        // Most reports follow one without findings: no key is built for those.
        if self.before.open.is_empty() {
            return None;
        }
        self.before.get(&self.key(kind, flow))
    }

    /// A new or continued finding with this window's figures; `flow` is a position in the window's flows.
    pub fn finding(&self, kind: Kind, flow: Option<usize>, severity: f64) -> Finding {
        let flow = flow.and_then(|position| self.window.flows.get(position));
        let key = self.key(kind, flow.map(|flow| flow.flow));
        let tally = flow.map_or(self.window.tally, |flow| flow.tally);
        let (p50, p99) = match flow {
            Some(flow) if flow.rtt.count > 0 => (Some(flow.rtt.p50), Some(flow.rtt.p99)),
            Some(_) => (None, None),
            None => (
                self.window.rtt.quantile(0.5),
                self.window.rtt.quantile(0.99),
            ),
        };
        Finding {
            since: self.before.since(&key).unwrap_or(self.window.end),
            source_port: flow.and_then(|flow| flow.source_port),
            sent: tally.sent,
            lost: tally.lost,
            lost_forward: tally.lost_forward,
            lost_return: tally.lost_return,
            loss_ratio: tally.loss_ratio().unwrap_or(0.0),
            p50,
            p99,
            baseline: None,
            severity,
            key,
        }
    }
}
