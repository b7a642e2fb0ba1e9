//! `rig bench`: what the product costs and how fast it is, on the fabric VM, beside the tools people use today.
//!
//! Every figure comes with the raw values it was made of and with the number to reach. Nothing here
//! passes or fails: a missed number is printed as missed.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use serde_json::{Value, json};

use crate::child::Lifetime;
use crate::fabric::FabricSpec;
use crate::layout::Layout;
use crate::progress::Progress;
use crate::rig::{Options, Rig, World};
use crate::runner::fabric::FabricWorld;

mod cost;
mod planner;
mod rtt;
mod table;
mod verdict;

/// Measured values by key of the JSON file.
pub type Figures = BTreeMap<&'static str, f64>;

/// How long costs are measured.
const COST_OVER: Duration = Duration::from_secs(30);
/// How often a fault is put in force to see when it is named.
const FAULTS: usize = 10;

/// Measure round-trip times, cost, time to verdict and planning; print a table.
#[derive(Debug, Args)]
pub struct Bench {
    /// Write the figures to this file, flat keys.
    #[arg(long, value_name = "OUT")]
    json: Option<PathBuf>,
    /// Name of the environments.
    #[arg(long, default_value = "bench")]
    name: String,
}

impl Bench {
    /// Measures everything.
    ///
    /// # Errors
    /// When an environment does not come up, or a tool that is measured beside ours fails.
    pub async fn run(self) -> Result<ExitCode> {
        let progress = Progress::new();
        let mut figures = planner::measure(&Layout::of_workspace()?)?;
        figures.extend(
            self.small_fabric(&progress)
                .await
                .context("on 4 hosts with one rail")?,
        );
        figures.extend(
            self.eight_rails(&progress)
                .await
                .context("on 3 hosts with eight rails")?,
        );
        if let Some(file) = &self.json {
            let text = serde_json::to_string_pretty(&figures).context("write the figures")?;
            std::fs::write(file, text + "\n")
                .with_context(|| format!("write {}", file.display()))?;
        }
        print(&table::render(&figures));
        Ok(ExitCode::SUCCESS)
    }

    async fn up(&self, fabric: FabricSpec, progress: &Progress) -> Result<Rig> {
        let options = Options {
            name: self.name.clone(),
            fabric,
            lifetime: Lifetime::Tied,
            product: true,
            world: World::Fabric,
        };
        Rig::up(options, progress.clone()).await
    }

    /// Two leaves, two spines, two hosts below each leaf.
    async fn small_fabric(&self, progress: &Progress) -> Result<Figures> {
        let spec = FabricSpec {
            leaves: 2,
            spines: 2,
            hosts_per_leaf: 2,
            rails: 1,
        };
        let mut rig = self.up(spec, progress).await?;
        let mut figures = rtt::measure(&mut rig, progress).await?;
        progress.say(
            "cost of the default mesh: 4 agents, torMesh every 100 ms, 115 flows per group pair",
        );
        let world = healthy(&mut rig, &json!({}), progress).await?;
        let cost = cost::over(world.rig(), COST_OVER).await?;
        figures.insert("agent_cpu_us_per_probe", cost.cpu_us_per_probe());
        figures.insert("agent_mcpu_default_mesh", cost.mcpu_per_agent());
        figures.insert(
            "agent_probes_per_second_default_mesh",
            cost.probes_per_second_and_agent(),
        );
        figures.insert("agent_rss_mib_default_mesh", cost.rss_mib);
        drop(world);
        figures.extend(verdict::measure(&mut rig, FAULTS, progress).await?);
        rig.stop().await?;
        Ok(figures)
    }

    /// Eight RNICs per host with ten targets each: two peers, probed in five traffic classes at 1 Hz. An agent then
    /// sends 80 probes a second to 80 targets and answers as many, as one of eleven hosts would.
    async fn eight_rails(&self, progress: &Progress) -> Result<Figures> {
        let spec = FabricSpec {
            leaves: 1,
            spines: 1,
            hosts_per_leaf: 3,
            rails: 8,
        };
        let mut rig = self.up(spec, progress).await?;
        progress.say("cost of 8 rails x 10 targets at 1 Hz: 3 agents");
        let classes: Vec<Value> = (0..5)
            .map(|class| json!({"name": format!("class{class}"), "dscp": class * 8}))
            .collect();
        let mesh = json!({
            "topology": {"railOptimized": true},
            "trafficClasses": classes,
            "probes": {"torMesh": {"interval": "1s"}, "interTor": {"enabled": false}, "control": {"enabled": false}},
        });
        let world = healthy(&mut rig, &mesh, progress).await?;
        let cost = cost::over(world.rig(), COST_OVER).await?;
        let figures = Figures::from([
            ("agent_mcpu_8x10x1hz", cost.mcpu_per_agent()),
            ("agent_rss_mib", cost.rss_mib),
            (
                "agent_probes_per_second_8x10x1hz",
                cost.probes_per_second_and_agent(),
            ),
        ]);
        drop(world);
        rig.stop().await?;
        Ok(figures)
    }
}

/// Applies a mesh and waits until it is called healthy.
async fn healthy<'a>(
    rig: &'a mut Rig,
    mesh: &Value,
    progress: &Progress,
) -> Result<FabricWorld<'a>> {
    let mut world = FabricWorld::with_mesh(rig, mesh).await?;
    crate::runner::expect_healthy(&mut world, Duration::from_secs(180), progress).await?;
    Ok(world)
}

#[expect(clippy::print_stdout, reason = "the table is what was asked for")]
fn print(text: &str) {
    println!("{}", text.trim_end());
}
