//! Scenario files: a fabric, a mesh, and timed faults with expectations. The runner ([`crate::runner`]) carries them
//! out; the grammar is documented in `e2e/scenarios/README.md`.
//!
//! Parsing checks everything that can be known without a world: names, kinds, which key belongs to which kind, that a
//! cleared fault is in force. Every error carries the file and the line and says what to write.

mod expect;
mod fault;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde_saphyr::Spanned;

use crate::fabric::{Fabric, FabricSpec};

pub use expect::{
    ApiWriters, CounterBound, CounterBounds, Expectation, Goal, Hold, OUTCOMES, Status,
    SuspectPattern, WriteBound,
};
pub use fault::Fault;

/// A whole scenario.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    /// The file's name without folder and ending.
    pub name: String,
    /// One sentence for the person who watches it run.
    pub description: Option<String>,
    /// The fabric it runs on.
    pub fabric: Fabric,
    /// `spec` of the RdmaMesh, applied as it stands here; the API server fills in the defaults.
    pub mesh: serde_json::Value,
    /// What happens, in order.
    pub steps: Vec<Step>,
}

/// One step and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// Line in the file, from 1.
    pub line: u64,
    /// What to do.
    pub action: Action,
}

/// What a step does.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Waits until something holds.
    Expect(Expectation),
    /// Checks that something goes on holding.
    Hold(Hold),
    /// Breaks something.
    Fault(Fault),
    /// Mends what the fault of this id broke.
    Clear(String),
}

/// Why a scenario file cannot be run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}:{line}: {message}", file.display())]
pub struct ScenarioError {
    /// The file.
    pub file: PathBuf,
    /// Line of the mistake, from 1.
    pub line: u64,
    /// What is wrong and what to write instead.
    pub message: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct RawScenario {
    description: Option<String>,
    #[serde(default)]
    fabric: Option<Spanned<serde_json::Value>>,
    #[serde(default)]
    mesh: Option<Spanned<serde_json::Value>>,
    steps: Spanned<Vec<Spanned<RawStep>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
enum RawStep {
    Expect(expect::RawExpect),
    Hold(expect::RawExpect),
    Fault(serde_json::Map<String, serde_json::Value>),
    Clear(RawClear),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawClear {
    id: String,
}

impl Scenario {
    /// Reads and checks a scenario file.
    ///
    /// # Errors
    /// When the file cannot be read, is not the grammar's YAML, or asks for what the fabric it describes does not have.
    pub fn read(file: &Path) -> Result<Self, ScenarioError> {
        let text = std::fs::read_to_string(file).map_err(|error| ScenarioError {
            file: file.to_path_buf(),
            line: 1,
            message: format!("cannot be read: {error}"),
        })?;
        Self::parse(file, &text)
    }

    /// Checks the text of a scenario; `file` names it in errors.
    ///
    /// # Errors
    /// As [`Scenario::read`].
    pub fn parse(file: &Path, text: &str) -> Result<Self, ScenarioError> {
        let at = |line: u64, message: String| ScenarioError {
            file: file.to_path_buf(),
            line,
            message,
        };
        let raw: RawScenario = serde_saphyr::from_str(text).map_err(|error| {
            let line = error.location().map_or(1, |location| location.line());
            at(line, one_line(error.without_snippet()))
        })?;
        let fabric = match raw.fabric {
            Some(size) => {
                let line = size.referenced.line();
                fabric_of(size.value).map_err(|message| at(line, message))?
            }
            None => fabric_of(empty_object()).map_err(|message| at(1, message))?,
        };
        let mesh = match raw.mesh {
            Some(spec) if spec.value.is_object() => spec.value,
            Some(spec) if spec.value.is_null() => empty_object(),
            Some(spec) => {
                let message = "mesh must be the spec of a RdmaMesh, for example {probes: {torMesh: {interval: 100ms}}}";
                return Err(at(spec.referenced.line(), message.to_owned()));
            }
            None => empty_object(),
        };
        if raw.steps.value.is_empty() {
            let message = "steps is empty: write at least one, for example - expect: {condition: FabricHealthy, status: \"True\", within: 60s}";
            return Err(at(raw.steps.referenced.line(), message.to_owned()));
        }
        let mut in_force = InForce::default();
        let mut steps = Vec::with_capacity(raw.steps.value.len());
        for step in raw.steps.value {
            let line = step.referenced.line();
            let action = check_step(step.value, &fabric, &mut in_force)
                .map_err(|message| at(line, message))?;
            steps.push(Step { line, action });
        }
        let name = file.file_stem().unwrap_or_default().to_string_lossy();
        Ok(Self {
            name: name.into_owned(),
            description: raw.description,
            fabric,
            mesh,
            steps,
        })
    }

    /// Longest time its steps may take, without bringing the world up.
    pub fn longest(&self) -> Duration {
        self.steps
            .iter()
            .map(|step| match &step.action {
                Action::Expect(expect) => expect.within,
                Action::Hold(hold) => hold.within + hold.lasts,
                Action::Fault(_) | Action::Clear(_) => Duration::from_secs(1),
            })
            .sum()
    }
}

/// Ids of faults so far, and which of them a `clear` may still name.
#[derive(Default)]
struct InForce {
    seen: Vec<String>,
    open: Vec<String>,
}

fn check_step(step: RawStep, fabric: &Fabric, in_force: &mut InForce) -> Result<Action, String> {
    match step {
        RawStep::Expect(raw) => Ok(Action::Expect(raw.expect(fabric, &in_force.seen)?)),
        RawStep::Hold(raw) => Ok(Action::Hold(raw.hold(fabric, &in_force.seen)?)),
        RawStep::Fault(raw) => {
            let fault = Fault::from_keys(raw, fabric, in_force.seen.len() + 1)?;
            if in_force.seen.contains(&fault.id) {
                return Err(format!(
                    "fault id \"{}\" is taken: give this fault another id",
                    fault.id
                ));
            }
            in_force.seen.push(fault.id.clone());
            in_force.open.push(fault.id.clone());
            Ok(Action::Fault(fault))
        }
        RawStep::Clear(RawClear { id }) => {
            let Some(index) = in_force.open.iter().position(|open| *open == id) else {
                return Err(unknown_id(&id, in_force));
            };
            in_force.open.remove(index);
            Ok(Action::Clear(id))
        }
    }
}

fn unknown_id(id: &str, in_force: &InForce) -> String {
    if in_force.seen.iter().any(|seen| seen == id) {
        return format!("fault \"{id}\" has been cleared already: remove this step");
    }
    if in_force.open.is_empty() {
        return format!(
            "no fault is in force, so \"{id}\" cannot be cleared: put a fault step with id: {id} before this one"
        );
    }
    format!(
        "no fault has the id \"{id}\": write one of {}",
        in_force.open.join(", ")
    )
}

/// The fabric of a size of which any number may be left out.
fn fabric_of(written: serde_json::Value) -> Result<Fabric, String> {
    let serde_json::Value::Object(written) = written else {
        return Err(
            "fabric must be a size, for example {leaves: 2, spines: 2, hostsPerLeaf: 2}".to_owned(),
        );
    };
    let mut size = serde_json::json!({"leaves": 2, "spines": 2, "hostsPerLeaf": 2, "rails": 1});
    if let Some(size) = size.as_object_mut() {
        size.extend(written);
    }
    let spec: FabricSpec =
        serde_json::from_value(size).map_err(|error| format!("in fabric: {error}"))?;
    Fabric::new(spec).map_err(|error| error.to_string())
}

fn empty_object() -> serde_json::Value {
    serde_json::Value::Object(serde_json::Map::new())
}

/// The message alone: the location is printed by [`ScenarioError`].
fn one_line(error: &serde_saphyr::Error) -> String {
    let text = error.to_string();
    text.lines().next().unwrap_or(&text).to_owned()
}

#[cfg(test)]
mod tests;
