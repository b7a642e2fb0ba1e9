//! Which paths are ill, judged from one report of the data path by the rules that the simulator runs too
//! ([`rdmamesh_fabric::report`]).

pub use rdmamesh_fabric::report::{Finding, FindingKey, Findings, Kind, Limit, Limits};
use rdmamesh_fabric::report::{Rtts, Window};

use crate::model::{RttHistogram, TargetWindow, TickReport};

impl Rtts for RttHistogram {
    fn count(&self) -> u64 {
        self.count()
    }

    fn quantile(&self, q: f64) -> Option<std::time::Duration> {
        self.quantile(q)
    }
}

/// What `report` shows, after what the report before it showed.
pub fn find(report: &TickReport, limits: &Limits, before: &Findings) -> Findings {
    rdmamesh_fabric::report::find(&windows(report), limits, before)
}

/// The windows of a report as the rules want them.
pub fn windows(report: &TickReport) -> Vec<Window<'_>> {
    report.targets.iter().map(window).collect()
}

fn window(window: &TargetWindow) -> Window<'_> {
    Window {
        local: &window.local,
        target: window.target.key(),
        end: window.end,
        length: window.target.window,
        timestamps: window.timestamps,
        flows: &window.flows,
        tally: window.tally,
        rtt: &window.rtt,
    }
}

#[cfg(test)]
mod tests;
