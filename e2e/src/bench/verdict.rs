//! Seconds from a fault to the condition that names it.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Result, ensure};

use super::Figures;
use crate::progress::Progress;
use crate::rig::Rig;
use crate::runner::command::play_on;
use crate::scenario::Scenario;

/// Links that become lossy one after the other: a link that fails again soon is taken for one that comes and goes, and
/// cleared later each time.
const LINKS: [&str; 4] = [
    "leaf1-spine2",
    "leaf2-spine1",
    "leaf1-spine1",
    "leaf2-spine2",
];

/// Makes spine links lossy again and again; the watch sees `FabricHealthy` turn and the link named, alone.
pub(super) async fn measure(rig: &mut Rig, times: usize, progress: &Progress) -> Result<Figures> {
    let scenario = Scenario::parse(Path::new("fault to condition"), &steps(times))?;
    let report = play_on(rig, &scenario, progress).await?;
    ensure!(report.passed, "{:?}", report.failure());
    let seconds = |by_fault: &std::collections::BTreeMap<String, f64>| {
        let mut all: Vec<f64> = by_fault.values().copied().collect();
        all.sort_by(f64::total_cmp);
        all
    };
    let named = seconds(&report.fault_to_condition_s);
    let cleared = seconds(&report.clear_to_condition_s);
    Ok(Figures::from([
        ("fault_to_condition_p50_s", median(&named)),
        (
            "fault_to_condition_max_s",
            named.last().copied().unwrap_or(f64::NAN),
        ),
        ("clear_to_condition_p50_s", median(&cleared)),
    ]))
}

fn steps(times: usize) -> String {
    let mut text = String::from("steps:\n");
    let healthy =
        "  - expect: {condition: FabricHealthy, status: \"True\", suspects: [], within: 180s}\n";
    text.push_str(healthy);
    for (time, link) in (1..=times).zip(LINKS.iter().cycle()) {
        writeln!(
            text,
            "  - fault: {{id: f{time}, kind: loss, link: {link}, percent: 30}}
  - expect: {{condition: FabricHealthy, status: \"False\", suspects: [{{kind: Link, name: {link}}}], within: 60s}}"
        )
        .ok();
        writeln!(text, "  - clear: {{id: f{time}}}").ok();
        text.push_str(healthy);
    }
    text
}

/// Middle of sorted numbers; NaN when there are none.
fn median(sorted: &[f64]) -> f64 {
    match sorted.len() {
        0 => f64::NAN,
        odd if odd % 2 == 1 => sorted[odd / 2],
        even => f64::midpoint(sorted[even / 2 - 1], sorted[even / 2]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_steps_are_a_scenario() {
        let scenario = Scenario::parse(Path::new("x"), &steps(5)).expect("the grammar");
        assert_eq!(scenario.steps.len(), 21);
    }

    #[test]
    fn the_median_is_the_middle() {
        assert!((median(&[1.0, 2.0, 9.0]) - 2.0).abs() < f64::EPSILON);
        assert!((median(&[1.0, 2.0, 4.0, 9.0]) - 3.0).abs() < f64::EPSILON);
        assert!(median(&[]).is_nan());
    }
}
