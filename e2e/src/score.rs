//! `rig score`: how right the diagnosis is on a population of simulated cases.
//!
//! Cases are drawn, played and added up by `rdmamesh_fabric::simulate`; here are the command, the population file and
//! the mesh's spec, which is that of a RdmaMesh and goes through the operator's own checks.

mod mesh;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Args;
use rdmamesh_fabric::simulate::population::Population;
use rdmamesh_fabric::simulate::score::{Outcome, Summary, play_all};

pub use mesh::{MeshError, mesh_of};

use crate::progress::Progress;

/// Play simulated cases and print how right the verdicts were; always succeeds once the file is valid.
#[derive(Debug, Args)]
pub struct Score {
    /// The population, see e2e/populations/README.md.
    population: PathBuf,
    /// Decides every random choice: the same seed gives the same score.
    #[arg(long)]
    seed: u64,
    /// How many cases to draw, instead of what the file says.
    #[arg(long)]
    cases: Option<u64>,
    /// Write the score to this file.
    #[arg(long, value_name = "OUT")]
    json: Option<PathBuf>,
    /// Print every fault and every verdict.
    #[arg(long)]
    verbose: bool,
}

impl Score {
    /// Plays the cases.
    ///
    /// # Errors
    /// When the population cannot be read or the score cannot be written.
    #[expect(clippy::print_stdout, reason = "the result is what was asked for")]
    pub fn run(self) -> Result<ExitCode> {
        let population = read(&self.population)?;
        let mesh = mesh_of(&population.mesh)
            .with_context(|| format!("{}: in mesh", self.population.display()))?;
        let cases = self.cases.unwrap_or_else(|| u64::from(population.cases));
        let workers = std::thread::available_parallelism().map_or(1, usize::from);
        let progress = Progress::new();
        let every = (cases / 10).max(1);
        let outcomes = play_all(&population, &mesh, (self.seed, cases), workers, |done| {
            if done % every == 0 && done < cases {
                progress.say(format!("{done} of {cases} cases"));
            }
        });
        if self.verbose {
            for line in outcomes.iter().flat_map(Outcome::lines) {
                println!("{line}");
            }
        }
        let summary = Summary::of(&outcomes);
        if let Some(file) = &self.json {
            let json = serde_json::to_vec_pretty(&summary).context("make the score's JSON")?;
            std::fs::write(file, json).with_context(|| format!("write {}", file.display()))?;
        }
        print!("{summary}");
        Ok(ExitCode::SUCCESS)
    }
}

/// Reads and checks a population file.
fn read(file: &Path) -> Result<Population<serde_json::Value>> {
    let text = std::fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
    parse(&text).with_context(|| file.display().to_string())
}

fn parse(text: &str) -> Result<Population<serde_json::Value>> {
    let population: Population<serde_json::Value> = serde_saphyr::from_str(text)?;
    population.validate()?;
    Ok(population)
}

#[cfg(test)]
mod tests;
