//! Latency anomalies.

use std::time::Duration;

use super::{Context, Finding, Judgement, Kind};
use crate::model::{FlowWindow, ProbeClass, TargetWindow, TimestampMode};

/// Round trips that a 99th percentile of device stamps needs to mean something.
const FEWEST_FOR_P99: u64 = 20;
/// Round trips that a minimum of software stamps needs to mean something.
const FEWEST_FOR_MIN: u64 = 3;
/// A path is slow when it is this many times slower than the agent's other paths.
const TIMES_BASELINE: f64 = 3.0;

/// What a round trip of this agent typically takes with software stamps: the medians of all flows.
pub(super) struct Baseline {
    /// Per flow of the report, in order: its median, if it has one that counts.
    per_flow: Vec<Option<Duration>>,
    sorted: Vec<Duration>,
}

impl Baseline {
    pub(super) fn new(windows: &[TargetWindow]) -> Self {
        let median = |window: &TargetWindow, flow: &FlowWindow| {
            let counts = window.timestamps == TimestampMode::Software
                && window.target.class != ProbeClass::Control
                && flow.rtt.count > 0;
            counts.then_some(flow.rtt.p50)
        };
        let per_flow: Vec<_> = windows
            .iter()
            .flat_map(|window| window.flows.iter().map(move |flow| median(window, flow)))
            .collect();
        let mut sorted: Vec<_> = per_flow.iter().copied().flatten().collect();
        sorted.sort_unstable();
        Self { per_flow, sorted }
    }

    /// The median over all flows but the one at position `flow`; `None` when it is the only one.
    fn without(&self, flow: usize) -> Option<Duration> {
        let Some(own) = self.per_flow.get(flow).copied().flatten() else {
            return self.sorted.get(self.sorted.len() / 2).copied();
        };
        let others = self.sorted.len().checked_sub(1).filter(|n| *n > 0)?;
        let own_position = self.sorted.partition_point(|median| *median < own);
        let middle = others / 2;
        self.sorted
            .get(middle + usize::from(middle >= own_position))
            .copied()
    }
}

/// Judges one target; `first_flow` is the position of its first flow among all flows of the report.
pub(super) fn judge(
    context: &Context<'_>,
    limit: Duration,
    baseline: &Baseline,
    first_flow: usize,
    found: &mut Vec<Finding>,
) {
    match context.window.timestamps {
        TimestampMode::Hardware => by_percentile(context, limit, found),
        TimestampMode::Software => by_minimum(context, limit, baseline, first_flow, found),
    }
}

fn by_percentile(context: &Context<'_>, limit: Duration, found: &mut Vec<Finding>) {
    let verdict = |count: u64, p99: Option<Duration>, held: bool| match p99 {
        None => Judgement::NoEvidence,
        Some(p99) if p99 > limit && (held || count >= FEWEST_FOR_P99) => {
            Judgement::Ill(severity(p99, limit))
        }
        Some(_) => Judgement::Clean,
    };
    let held = context.held(Kind::Latency, None);
    let rtt = &context.window.rtt;
    match verdict(rtt.count(), rtt.quantile(0.99), held.is_some()) {
        Judgement::Ill(severity) => {
            return found.push(context.finding(Kind::Latency, None, severity));
        }
        Judgement::NoEvidence => {
            if let Some(held) = held {
                return found.push(held.clone());
            }
        }
        Judgement::Clean => {}
    }
    for (position, flow) in context.window.flows.iter().enumerate() {
        let held = context.held(Kind::Latency, Some(flow.flow));
        let p99 = (flow.rtt.count > 0).then_some(flow.rtt.p99);
        match verdict(flow.rtt.count, p99, held.is_some()) {
            Judgement::Ill(severity) => {
                found.push(context.finding(Kind::Latency, Some(position), severity));
            }
            Judgement::NoEvidence => found.extend(held.cloned()),
            Judgement::Clean => {}
        }
    }
}

fn by_minimum(
    context: &Context<'_>,
    limit: Duration,
    baseline: &Baseline,
    first_flow: usize,
    found: &mut Vec<Finding>,
) {
    let flows = &context.window.flows;
    let whole = context.held(Kind::Latency, None);
    let verdicts: Vec<Judgement> = flows
        .iter()
        .enumerate()
        .map(|(position, flow)| {
            let held = whole.is_some() || context.held(Kind::Latency, Some(flow.flow)).is_some();
            flow_verdict(flow, limit, baseline.without(first_flow + position), held)
        })
        .collect();
    let worst = verdicts.iter().filter_map(|verdict| match verdict {
        Judgement::Ill(severity) => Some(*severity),
        Judgement::Clean | Judgement::NoEvidence => None,
    });
    if let Some(worst) = worst.max_by(f64::total_cmp)
        && !verdicts.contains(&Judgement::Clean)
    {
        return found.push(context.finding(Kind::Latency, None, worst));
    }
    if let Some(whole) = whole
        && verdicts
            .iter()
            .all(|verdict| *verdict == Judgement::NoEvidence)
    {
        return found.push(whole.clone());
    }
    for (position, (flow, verdict)) in flows.iter().zip(&verdicts).enumerate() {
        match verdict {
            Judgement::Ill(severity) => {
                found.push(context.finding(Kind::Latency, Some(position), *severity));
            }
            Judgement::NoEvidence => {
                found.extend(context.held(Kind::Latency, Some(flow.flow)).cloned());
            }
            Judgement::Clean => {}
        }
    }
}

fn flow_verdict(
    flow: &FlowWindow,
    limit: Duration,
    baseline: Option<Duration>,
    held: bool,
) -> Judgement {
    if flow.rtt.count == 0 {
        return Judgement::NoEvidence;
    }
    let enough = held || flow.rtt.count >= FEWEST_FOR_MIN;
    let Some(baseline) = baseline.filter(|_| enough) else {
        // Nothing to compare with, or too little to compare.
        return if held {
            Judgement::NoEvidence
        } else {
            Judgement::Clean
        };
    };
    if flow.rtt.min > limit && flow.rtt.min > baseline.mul_f64(TIMES_BASELINE) {
        Judgement::Ill(severity(flow.rtt.min, limit))
    } else {
        Judgement::Clean
    }
}

/// From 0 (just over the limit) towards 1.
fn severity(value: Duration, limit: Duration) -> f64 {
    if value.is_zero() {
        return 0.0;
    }
    1.0 - limit.as_secs_f64() / value.as_secs_f64()
}
