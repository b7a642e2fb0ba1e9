//! Latency anomalies.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::find::{Context, Finding, Findings, Judgement, Kind};
use super::window::{FlowWindow, TimestampMode, Window};
use crate::plan::ProbeClass;

/// Round trips that a 99th percentile of device stamps needs to mean something.
const FEWEST_FOR_P99: u64 = 20;
/// Round trips that a minimum of software stamps needs to mean something.
const FEWEST_FOR_MIN: u64 = 3;
/// A path is slow when it is this many times slower than the agent's other paths,
const TIMES_BASELINE: f64 = 3.0;
/// and slower by this many times what round trips of one flow vary by.
const TIMES_NOISE: f64 = 4.0;

/// One flow in so many is taken to be well. Not half of them: between two spines three of four flows cross a link that is slow
/// both ways, on their way there or back.
const HEALTHY_SHARE: usize = 5;

/// What round trips of this agent typically are like: of every flow its median, its fastest, and how far the
/// median is from the fastest; of those with device stamps by class, for classes go different ways.
pub(super) struct Baseline {
    median: Figures,
    fastest: Figures,
    spread: Figures,
    device: BTreeMap<ProbeClass, (Figures, Figures)>,
}

/// What round trips of a class typically are like.
#[derive(Clone, Copy)]
struct Typical {
    median: Duration,
    spread: Duration,
}

/// One figure of every flow of a report, in order, where the flow has one that counts.
struct Figures {
    per_flow: Vec<Option<Duration>>,
    sorted: Vec<Duration>,
}

impl Figures {
    fn new(flows: &[Option<&FlowWindow>], figure: impl Fn(&FlowWindow) -> Duration) -> Self {
        let per_flow: Vec<_> = flows.iter().map(|flow| flow.map(&figure)).collect();
        let mut sorted: Vec<_> = per_flow.iter().copied().flatten().collect();
        sorted.sort_unstable();
        Self { per_flow, sorted }
    }

    /// What one in `share` of all flows but the one at position `flow` stays below (2: the median); `None` when it is
    /// the only one.
    fn of_others(&self, flow: usize, share: usize) -> Option<Duration> {
        let Some(own) = self.per_flow.get(flow).copied().flatten() else {
            return self.sorted.get(self.sorted.len() / share).copied();
        };
        let others = self.sorted.len().checked_sub(1).filter(|n| *n > 0)?;
        let own_position = self.sorted.partition_point(|figure| *figure < own);
        let position = others / share;
        self.sorted
            .get(position + usize::from(position >= own_position))
            .copied()
    }
}

impl Baseline {
    pub(super) fn new(windows: &[Window<'_>]) -> Self {
        let device = |class: ProbeClass| {
            let flows = windows.iter().flat_map(|window| {
                let counts =
                    window.timestamps == TimestampMode::Hardware && window.target.class == class;
                let figures = move |flow| counts.then_some(flow).filter(has_figures);
                window.flows.iter().map(figures)
            });
            let flows: Vec<Option<&FlowWindow>> = flows.collect();
            (
                Figures::new(&flows, |flow| flow.rtt.p50),
                Figures::new(&flows, spread),
            )
        };
        let classes: BTreeSet<ProbeClass> = windows
            .iter()
            .filter(|window| window.timestamps == TimestampMode::Hardware)
            .map(|window| window.target.class)
            .filter(|class| *class != ProbeClass::Control)
            .collect();
        let counts = |window: &Window<'_>, flow: &FlowWindow| {
            window.timestamps == TimestampMode::Software
                && window.target.class != ProbeClass::Control
                && flow.rtt.count > 0
        };
        let flows: Vec<Option<&FlowWindow>> = windows
            .iter()
            .flat_map(|window| {
                window
                    .flows
                    .iter()
                    .map(move |flow| counts(window, flow).then_some(flow))
            })
            .collect();
        Self {
            median: Figures::new(&flows, |flow| flow.rtt.p50),
            fastest: Figures::new(&flows, |flow| flow.rtt.min),
            spread: Figures::new(&flows, spread),
            device: classes
                .into_iter()
                .map(|class| (class, device(class)))
                .collect(),
        }
    }

    /// A finding about the flow at `position`, by software stamps, with what others' round trips typically take.
    fn beside(&self, finding: Finding, position: usize) -> Finding {
        match self.median.of_others(position, HEALTHY_SHARE) {
            Some(typical) => finding.against(typical),
            None => finding,
        }
    }

    /// What flows of `class` other than the one at `position` typically are like.
    fn of_class(&self, class: ProbeClass, position: usize) -> Option<Typical> {
        let (median, spread) = self.device.get(&class)?;
        Some(Typical {
            median: median.of_others(position, HEALTHY_SHARE)?,
            spread: spread.of_others(position, 2)?,
        })
    }
}

fn has_figures(flow: &&FlowWindow) -> bool {
    flow.rtt.count > 0
}

/// How much the round trips of a flow vary, whatever its slowest half does.
fn spread(flow: &FlowWindow) -> Duration {
    flow.rtt.p50.saturating_sub(flow.rtt.min)
}

/// Judges one target; `first_flow` is the position of its first flow among all flows of the report.
pub(super) fn judge(
    context: &Context<'_>,
    limit: Duration,
    baseline: &Baseline,
    first_flow: usize,
    found: &mut Findings,
) {
    match context.window.timestamps {
        TimestampMode::Hardware => {
            by_percentile(context, limit, baseline, first_flow, found);
        }
        TimestampMode::Software => by_minimum(context, limit, baseline, first_flow, found),
    }
}

/// Device stamps. A flow is slow when its typical round trip is: three times what the agent's flows of this class
/// typically take, by far more than theirs vary, and not one of its round trips as fast as twice theirs. Else
/// the slowest round trips count, of the target as a whole or of a flow of many.
fn by_percentile(
    context: &Context<'_>,
    limit: Duration,
    baseline: &Baseline,
    first_flow: usize,
    found: &mut Findings,
) {
    let flows = &context.window.flows;
    let class = context.window.target.class;
    let slow: Vec<Option<(f64, Duration)>> = (first_flow..)
        .zip(flows.iter())
        .map(|(position, flow)| typically_slow(flow, baseline.of_class(class, position)?))
        .collect();
    if slow.iter().any(Option::is_some) {
        let all = slow.iter().all(Option::is_some);
        let typical = slow.iter().flatten().copied();
        if let Some((severity, typical)) = typical.max_by(|a, b| a.0.total_cmp(&b.0))
            && all
        {
            let finding = context.finding(Kind::Latency, None, severity);
            return found.open.push(finding.against(typical));
        }
        for (position, slow) in slow.iter().enumerate() {
            if let Some((severity, typical)) = slow {
                let finding = context.finding(Kind::Latency, Some(position), *severity);
                found.open.push(finding.against(*typical));
            }
        }
        return;
    }
    by_slowest(context, limit, found);
}

/// How slow a flow typically is, and the typical round trip of others that it is compared with.
fn typically_slow(flow: &FlowWindow, typical: Typical) -> Option<(f64, Duration)> {
    let bound = typical.median.mul_f64(TIMES_BASELINE);
    let noise = typical.spread.mul_f64(TIMES_NOISE);
    let is_slow = flow.rtt.count >= FEWEST_FOR_MIN
        && flow.rtt.p50 > bound
        && flow.rtt.p50.saturating_sub(typical.median) > noise
        && flow.rtt.min > typical.median * 2;
    is_slow.then(|| (severity(flow.rtt.p50, bound), typical.median))
}

fn by_slowest(context: &Context<'_>, limit: Duration, found: &mut Findings) {
    let verdict = |count: u64, p99: Option<Duration>, held: bool| match p99 {
        None => Judgement::NoEvidence,
        Some(p99) if p99 > limit && (held || count >= FEWEST_FOR_P99) => {
            Judgement::Ill(severity(p99, limit))
        }
        Some(_) => Judgement::Clean,
    };
    let flows = &context.window.flows;
    let held = context.held(Kind::Latency, None);
    let rtt = &context.window.rtt;
    // A few slow flows of many make the target's slowest round trips slow; it is they that are ill then.
    let slow = flows.iter().filter(|flow| flow.rtt.p99 > limit).count();
    match verdict(rtt.count(), rtt.quantile(0.99), held.is_some()) {
        Judgement::Ill(severity) if slow == flows.len() => {
            return found
                .open
                .push(context.finding(Kind::Latency, None, severity));
        }
        // All round trips together are enough to be sure, but only those of the slow flows are slow.
        Judgement::Ill(_) if slow * 2 > flows.len() => {
            for (position, flow) in flows.iter().enumerate().filter(|(_, f)| f.rtt.p99 > limit) {
                let severity = severity(flow.rtt.p99, limit);
                let finding = context.finding(Kind::Latency, Some(position), severity);
                found.open.push(finding);
            }
            return;
        }
        Judgement::NoEvidence => {
            if let Some(held) = held {
                return found.open.push(held.clone());
            }
        }
        Judgement::Ill(_) | Judgement::Clean => {}
    }
    for (position, flow) in context.window.flows.iter().enumerate() {
        let held = context.held(Kind::Latency, Some(flow.flow));
        let p99 = (flow.rtt.count > 0).then_some(flow.rtt.p99);
        match verdict(flow.rtt.count, p99, held.is_some()) {
            Judgement::Ill(severity) => {
                found
                    .open
                    .push(context.finding(Kind::Latency, Some(position), severity));
            }
            Judgement::NoEvidence => found.open.extend(held.cloned()),
            Judgement::Clean => {}
        }
    }
}

fn by_minimum(
    context: &Context<'_>,
    limit: Duration,
    baseline: &Baseline,
    first_flow: usize,
    found: &mut Findings,
) {
    let flows = &context.window.flows;
    let whole = context.held(Kind::Latency, None);
    let verdicts: Vec<Judgement> = flows
        .iter()
        .enumerate()
        .map(|(position, flow)| {
            let held = whole.is_some() || context.held(Kind::Latency, Some(flow.flow)).is_some();
            let verdict = flow_verdict(flow, limit, baseline, first_flow + position, held);
            match verdict {
                Judgement::Ill(_) if !held && !persists(context, flow, found) => Judgement::Clean,
                other => other,
            }
        })
        .collect();
    let worst = verdicts.iter().filter_map(|verdict| match verdict {
        Judgement::Ill(severity) => Some(*severity),
        Judgement::Clean | Judgement::NoEvidence => None,
    });
    if let Some(worst) = worst.max_by(f64::total_cmp)
        && !verdicts.contains(&Judgement::Clean)
    {
        let finding = context.finding(Kind::Latency, None, worst);
        return found.open.push(baseline.beside(finding, first_flow));
    }
    if let Some(whole) = whole
        && verdicts
            .iter()
            .all(|verdict| *verdict == Judgement::NoEvidence)
    {
        return found.open.push(whole.clone());
    }
    for (position, (flow, verdict)) in flows.iter().zip(&verdicts).enumerate() {
        match verdict {
            Judgement::Ill(severity) => {
                let finding = context.finding(Kind::Latency, Some(position), *severity);
                found
                    .open
                    .push(baseline.beside(finding, first_flow + position));
            }
            Judgement::NoEvidence => {
                let held = context.held(Kind::Latency, Some(flow.flow)).cloned();
                found.open.extend(held);
            }
            Judgement::Clean => {}
        }
    }
}

/// Whether the flow has looked ill for a whole window since it first did, so that two windows without a
/// common round trip say the same.
fn persists(context: &Context<'_>, flow: &FlowWindow, found: &mut Findings) -> bool {
    let key = context.key(Kind::Latency, Some(flow.flow));
    let end = context.window.end;
    let since = context.before.suspected.get(&key).copied().unwrap_or(end);
    found.suspected.insert(key, since);
    end.duration_since(since)
        .is_ok_and(|age| age >= context.window.length)
}

fn flow_verdict(
    flow: &FlowWindow,
    limit: Duration,
    baseline: &Baseline,
    position: usize,
    held: bool,
) -> Judgement {
    // What is held stays where there is nothing to compare, too little of it, or too much noise.
    let unclear = if held {
        Judgement::NoEvidence
    } else {
        Judgement::Clean
    };
    let fastest = flow.rtt.min;
    if flow.rtt.count == 0 {
        return Judgement::NoEvidence;
    }
    let figures = [
        (&baseline.median, HEALTHY_SHARE),
        (&baseline.fastest, HEALTHY_SHARE),
        (&baseline.spread, 2),
    ];
    let [Some(median), Some(others_fastest), Some(others_spread)] =
        figures.map(|(figures, share)| figures.of_others(position, share))
    else {
        return unclear;
    };
    if fastest <= limit || fastest <= median.mul_f64(TIMES_BASELINE) {
        return Judgement::Clean;
    }
    let noise = others_spread.max(spread(flow));
    let excess = fastest.saturating_sub(others_fastest);
    if flow.rtt.count >= FEWEST_FOR_MIN && excess > noise.mul_f64(TIMES_NOISE) {
        Judgement::Ill(severity(fastest, limit))
    } else {
        unclear
    }
}

/// From 0 (just over the limit) towards 1.
fn severity(value: Duration, limit: Duration) -> f64 {
    if value.is_zero() {
        return 0.0;
    }
    1.0 - limit.as_secs_f64() / value.as_secs_f64()
}
