//! Time to plan a mesh: what criterion found when `cargo bench -p rdmamesh-fabric` ran last.

use anyhow::{Context, Result};
use serde_json::Value;

use super::Figures;
use crate::layout::Layout;

/// Key here, benchmark there.
const BENCHES: [(&str, &str); 4] = [
    ("plan_1k_s", "plan_1k"),
    ("plan_1k_rails_s", "plan_1k_rails"),
    ("plan_10k_s", "plan_10k"),
    ("plan_10k_rails_s", "plan_10k_rails"),
];

/// Reads criterion's estimates.
///
/// # Errors
/// When the benchmark has not been run; the message says how.
pub(super) fn measure(layout: &Layout) -> Result<Figures> {
    BENCHES
        .into_iter()
        .map(|(key, bench)| {
            let file = layout
                .target()
                .join("criterion")
                .join(bench)
                .join("new/estimates.json");
            let text = std::fs::read(&file).with_context(|| {
                format!(
                    "{} is missing: run `cargo bench -p rdmamesh-fabric` first",
                    file.display()
                )
            })?;
            let estimates: Value =
                serde_json::from_slice(&text).context("parse criterion's estimates")?;
            let nanos = estimates["mean"]["point_estimate"]
                .as_f64()
                .context("a mean in criterion's estimates")?;
            Ok((key, nanos / 1e9))
        })
        .collect()
}
