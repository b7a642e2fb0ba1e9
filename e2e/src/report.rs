//! What came of a scenario: for the terminal and as JSON.

pub mod tally;

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

/// Result of a whole scenario.
#[derive(Clone, Debug, Serialize)]
pub struct ScenarioReport {
    /// Name of the scenario.
    pub scenario: String,
    /// The world it ran in, e.g. `fabric`.
    pub world: String,
    /// Whether every expectation held.
    pub passed: bool,
    /// Seconds from the first step to the end.
    pub elapsed_s: f64,
    /// One entry per step of the file.
    pub steps: Vec<StepReport>,
    /// Seconds from putting a fault in force to the next expected condition being seen, by id of the fault.
    pub fault_to_condition_s: BTreeMap<String, f64>,
    /// Seconds from clearing a fault to the next expected condition being seen, by id of the fault.
    pub clear_to_condition_s: BTreeMap<String, f64>,
}

/// Result of one step.
#[derive(Clone, Debug, Serialize)]
pub struct StepReport {
    /// Line in the scenario file.
    pub line: u64,
    /// What the step was.
    pub step: String,
    /// Seconds from the first step to the begin of this one; absent when it was not reached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_s: Option<f64>,
    /// Seconds it took.
    pub elapsed_s: f64,
    /// Whether it held; false also when it was not reached.
    pub passed: bool,
    /// What was found.
    pub detail: String,
}

impl ScenarioReport {
    /// Writes the JSON form.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_json(&self, file: &Path) -> Result<()> {
        let mut text = serde_json::to_string_pretty(self).context("write the report as JSON")?;
        text.push('\n');
        if let Some(folder) = file.parent() {
            std::fs::create_dir_all(folder)
                .with_context(|| format!("create {}", folder.display()))?;
        }
        std::fs::write(file, text).with_context(|| format!("write {}", file.display()))
    }

    /// The last line for the terminal.
    pub fn summary(&self) -> String {
        let held = self.steps.iter().filter(|step| step.passed).count();
        let verdict = if self.passed { "passed" } else { "FAILED" };
        let mut text = format!(
            "{}: {verdict} on {}, {held} of {} steps in {:.1} s",
            self.scenario,
            self.world,
            self.steps.len(),
            self.elapsed_s
        );
        for (id, seconds) in &self.fault_to_condition_s {
            text.push_str(&format!(", verdict {seconds:.1} s after {id}"));
        }
        text
    }

    /// The step that failed, if one did.
    pub fn failure(&self) -> Option<&StepReport> {
        self.steps.iter().find(|step| !step.passed)
    }
}
