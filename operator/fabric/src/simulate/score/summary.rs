//! All outcomes of a population added up.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::super::truth::Relation;
use super::figures::{Share, quantile};
use super::{Outcome, is_innocent};

/// The score of a population. Keys of the JSON are the names of the fields.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Summary {
    /// Cases played.
    pub cases: u64,
    /// Faults in them, of the fabric or not.
    pub faults: u64,
    /// True verdicts among all (0 to 1); none where there was no verdict.
    pub precision: Option<f64>,
    /// Found faults among those that count (0 to 1).
    pub recall: Option<f64>,
    /// Faults whose element was named rightly among the found ones that count (0 to 1).
    pub right_element: Option<f64>,
    /// Verdicts that name nothing broken.
    pub false_verdicts: u64,
    /// False verdicts per hour of a mesh without a fault of the fabric.
    pub false_per_healthy_hour: Option<f64>,
    /// Hours of meshes without a fault of the fabric.
    pub healthy_hours: f64,
    /// From a fault's begin to the first verdict that names it rightly, seconds.
    pub time_to_verdict_p50_s: Option<f64>,
    /// 90th percentile.
    pub time_to_verdict_p90_s: Option<f64>,
    /// 99th percentile.
    pub time_to_verdict_p99_s: Option<f64>,
    /// Verdicts that name exactly what is broken, or cannot be told from it, among all (0 to 1).
    pub precision_exact: Option<f64>,
    /// Wilson's 95 % intervals.
    pub intervals: Intervals,
    /// By kind of fault.
    pub by_kind: BTreeMap<String, Row>,
    /// By size of the fabric.
    pub by_fabric: BTreeMap<String, Row>,
    /// How often verdicts of a confidence are right.
    pub calibration: Vec<Calibration>,
    #[serde(skip)]
    pub(super) verdicts: Share,
    #[serde(skip)]
    pub(super) exact: Share,
    #[serde(skip)]
    pub(super) all: Row,
}

/// Wilson's 95 % intervals of the shares.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Intervals {
    /// Of the precision.
    pub precision: (f64, f64),
    /// Of the recall.
    pub recall: (f64, f64),
    /// Of the right elements.
    pub right_element: (f64, f64),
}

/// Faults of one kind, or in fabrics of one size.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Row {
    /// Faults.
    pub faults: u64,
    /// Faults found, among those that count.
    pub recall: Share,
    /// Faults found, among weaker ones.
    pub recall_weak: Share,
    /// Faults whose element was named rightly, among the found ones that count.
    pub right_element: Share,
    /// Verdicts about such faults that are false; in rows of fabrics, all false ones.
    pub false_verdicts: u64,
    /// Median time to verdict, seconds.
    pub time_to_verdict_p50_s: Option<f64>,
    /// 90th percentile, seconds.
    pub time_to_verdict_p90_s: Option<f64>,
    #[serde(skip)]
    times: Vec<Duration>,
}

/// Verdicts of some confidence.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Calibration {
    /// Least confidence, percent.
    pub from: u8,
    /// Largest confidence, percent.
    pub to: u8,
    /// Mean confidence of the verdicts, percent.
    pub confidence: f64,
    /// Those that name exactly what is broken, among all.
    pub right: Share,
}

/// Borders of the classes of confidence.
const CLASSES: [(u8, u8); 6] = [(0, 49), (50, 69), (70, 79), (80, 89), (90, 95), (96, 100)];

impl Summary {
    /// Adds up.
    #[must_use]
    pub fn of(outcomes: &[Outcome]) -> Self {
        let mut summary = Self {
            cases: outcomes.len() as u64,
            calibration: CLASSES
                .map(|(from, to)| Calibration {
                    from,
                    to,
                    ..Calibration::default()
                })
                .to_vec(),
            ..Self::default()
        };
        let mut false_healthy = 0;
        for outcome in outcomes {
            summary.healthy_hours += outcome.healthy.as_secs_f64() / 3600.0;
            for fault in &outcome.faults {
                summary.faults += 1;
                let rows = [
                    summary
                        .by_kind
                        .entry(fault.planted.kind.to_string())
                        .or_default(),
                    summary
                        .by_fabric
                        .entry(outcome.size.to_string())
                        .or_default(),
                    &mut summary.all,
                ];
                for row in rows {
                    row.add(fault);
                }
            }
            for judged in &outcome.verdicts {
                let about = judged.fault.map(|at| outcome.faults[at].planted.kind);
                summary.verdict(judged);
                if !judged.is_true {
                    let row = summary
                        .by_fabric
                        .entry(outcome.size.to_string())
                        .or_default();
                    row.false_verdicts += 1;
                    if let Some(kind) = about {
                        let row = summary.by_kind.entry(kind.to_string()).or_default();
                        row.false_verdicts += 1;
                    }
                    let is_lonely = outcome.faults.iter().all(|fault| {
                        let planted = &fault.planted;
                        is_innocent(planted.kind)
                            || judged.opened.at < planted.begin
                            || judged.opened.at > planted.end + super::GRACE
                    });
                    false_healthy += u64::from(is_lonely);
                }
            }
        }
        summary.finish(false_healthy);
        summary
    }

    fn verdict(&mut self, judged: &super::Judged) {
        let is_right = judged.is_true && judged.relation == Relation::Right;
        self.verdicts.add(judged.is_true);
        self.exact.add(is_right);
        self.false_verdicts += u64::from(!judged.is_true);
        let confidence = judged.opened.confidence;
        let class = self
            .calibration
            .iter_mut()
            .find(|class| (class.from..=class.to).contains(&confidence));
        if let Some(class) = class {
            class.confidence += f64::from(confidence);
            class.right.add(is_right);
        }
    }

    fn finish(&mut self, false_healthy: u64) {
        self.precision = self.verdicts.ratio();
        self.precision_exact = self.exact.ratio();
        self.recall = self.all.recall.ratio();
        self.right_element = self.all.right_element.ratio();
        self.intervals = Intervals {
            precision: self.verdicts.interval(),
            recall: self.all.recall.interval(),
            right_element: self.all.right_element.interval(),
        };
        if self.healthy_hours > 0.0 {
            self.false_per_healthy_hour = Some(false_healthy as f64 / self.healthy_hours);
        }
        self.calibration.retain(|class| class.right.all > 0);
        for class in &mut self.calibration {
            class.confidence /= class.right.all as f64;
        }
        let rows = self.by_kind.values_mut().chain(self.by_fabric.values_mut());
        for row in rows.chain([&mut self.all]) {
            row.finish();
        }
        let all = |rank| quantile(&self.all.times, rank).map(|time| time.as_secs_f64());
        self.time_to_verdict_p50_s = all(0.5);
        self.time_to_verdict_p90_s = all(0.9);
        self.time_to_verdict_p99_s = all(0.99);
    }
}

impl Row {
    fn add(&mut self, fault: &super::FaultOutcome) {
        self.faults += 1;
        if is_innocent(fault.planted.kind) {
            return;
        }
        if !fault.counts {
            self.recall_weak.add(fault.found);
            return;
        }
        self.recall.add(fault.found);
        if fault.found {
            self.right_element.add(fault.right);
        }
        self.times.extend(fault.took);
    }

    fn finish(&mut self) {
        self.times.sort_unstable();
        let time = |rank| quantile(&self.times, rank).map(|time| time.as_secs_f64());
        self.time_to_verdict_p50_s = time(0.5);
        self.time_to_verdict_p90_s = time(0.9);
    }
}
