//! `rig run`: one scenario from an empty machine to its report.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};

use super::fabric::FabricWorld;
use super::{check, play};
use crate::child::Lifetime;
use crate::progress::Progress;
use crate::report::ScenarioReport;
use crate::rig::{Options, Rig, World};
use crate::scenario::Scenario;

/// Where to play a scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum WorldKind {
    /// Agents on soft-RoCE devices in a virtual machine, a real API server, the operator as a process.
    Fabric,
    /// The same fabric with kubelets and the Helm chart.
    Cluster,
    /// The simulator.
    Sim,
}

/// Play a scenario file; succeeds only if every expectation held.
#[derive(Debug, Args)]
pub struct Run {
    /// The scenario, see e2e/scenarios/README.md.
    file: PathBuf,
    /// Where to play it.
    #[arg(long, value_enum, default_value_t = WorldKind::Fabric)]
    world: WorldKind,
    /// Write the result to this file.
    #[arg(long, value_name = "OUT")]
    json: Option<PathBuf>,
    /// Name of the environment; two runs at once need two names.
    #[arg(long, default_value = "run")]
    name: String,
}

impl Run {
    /// Brings the world up, plays the scenario, ends the world.
    ///
    /// # Errors
    /// When the file is wrong or the world cannot be brought up.
    pub async fn run(self) -> Result<ExitCode> {
        let scenario = Scenario::read(&self.file)?;
        let report = match self.world {
            WorldKind::Fabric => self.on_rig(&scenario, World::Fabric).await?,
            WorldKind::Cluster => self.on_rig(&scenario, World::Cluster).await?,
            WorldKind::Sim => simulate(scenario).await?,
        };
        if let Some(file) = &self.json {
            report.write_json(file)?;
        }
        print(&report);
        Ok(if report.passed {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }

    async fn on_rig(&self, scenario: &Scenario, world: World) -> Result<ScenarioReport> {
        let progress = Progress::new();
        if let Some(description) = &scenario.description {
            progress.say(description);
        }
        let options = Options {
            name: self.name.clone(),
            fabric: scenario.fabric.spec(),
            lifetime: Lifetime::Tied,
            product: true,
            world,
        };
        let mut rig = Rig::up(options, progress.clone()).await?;
        let report = play_on(&mut rig, scenario, &progress).await;
        progress.say("ending the environment");
        rig.stop().await?;
        report
    }
}

/// Plays a scenario on a rig that is up; its mesh stays.
///
/// # Errors
/// When the API server refuses the mesh, or the scenario asks for what the fabric world cannot do.
pub async fn play_on(
    rig: &mut Rig,
    scenario: &Scenario,
    progress: &Progress,
) -> Result<ScenarioReport> {
    let mut world = FabricWorld::with_mesh(rig, &scenario.mesh).await?;
    check(scenario, &world).map_err(anyhow::Error::msg)?;
    Ok(play(&mut world, scenario, progress).await)
}

/// Plays a scenario in the simulator, on a thread of its own: its clock stands still while it computes.
async fn simulate(scenario: Scenario) -> Result<ScenarioReport> {
    let progress = Progress::new();
    if let Some(description) = &scenario.description {
        progress.say(description);
    }
    let play = move || super::sim::play_simulated(&scenario, &progress);
    tokio::task::spawn_blocking(play)
        .await
        .context("the simulation broke")?
}

#[expect(clippy::print_stdout, reason = "the result is what was asked for")]
fn print(report: &ScenarioReport) {
    println!("{}", report.summary());
    if let Some(step) = report.failure() {
        println!("  line {}: {}\n  {}", step.line, step.step, step.detail);
    }
}
