//! Rung T2: the product on real soft-RoCE over a real leaf–spine fabric, with a real API server and collector. One
//! environment for all tests, one after another; without `T2` in `RDMAMESH_RUNGS` they are listed as ignored.
//!
//! Every shipped scenario is a test; the other tests look at what a scenario cannot say.

mod agents;
mod datagrams;
mod telemetry;
mod tracing;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, bail};
use libtest_mimic::{Arguments, Failed, Trial};
use rdmamesh_e2e::child::Lifetime;
use rdmamesh_e2e::fabric::FabricSpec;
use rdmamesh_e2e::progress::Progress;
use rdmamesh_e2e::rig::{Options, Rig, World};
use rdmamesh_e2e::rungs;
use rdmamesh_e2e::runner::command::play_on;
use rdmamesh_e2e::scenario::Scenario;
use tokio::runtime::Runtime;

/// What the tests share; whoever holds the lock has the environment to itself.
struct Shared {
    runtime: Runtime,
    up: Mutex<Option<(FabricSpec, Result<Rig, String>)>>,
}

/// A test on a healthy mesh.
type Test = for<'a> fn(&'a mut Rig) -> futures::future::LocalBoxFuture<'a, Result<()>>;

macro_rules! tests {
    ($($module:ident :: $name:ident),* $(,)?) => {
        &[$((stringify!($name), |rig| Box::pin($module::$name(rig)))),*]
    };
}

const TESTS: &[(&str, Test)] = tests![
    datagrams::probes_cross_both_spines_and_each_flow_stays_on_its_path,
    datagrams::forged_and_random_datagrams_are_dropped_counted_and_not_answered,
    agents::an_rdma_device_is_let_go_of_at_once_and_taken_up_again,
    agents::an_agent_that_is_asked_to_end_does_so_within_5_seconds,
    agents::the_registry_names_every_rnic_with_its_queue_pairs,
    tracing::traced_paths_equal_the_true_ones,
    tracing::without_a_tracer_probing_goes_on_and_the_node_says_why,
    telemetry::the_collector_receives_the_documented_metrics,
    telemetry::metrics_go_on_after_the_collector_was_away,
];

/// Reached before each test that is not a scenario of its own.
const HEALTHY: &str = "
mesh: {}
steps:
  - expect: {condition: FabricHealthy, status: \"True\", suspects: [], within: 120s}
";

impl Shared {
    /// Hands over the environment with this fabric, made if it is not the one that is up.
    fn with_rig(
        &self,
        spec: FabricSpec,
        test: impl AsyncFnOnce(&mut Rig) -> Result<()>,
    ) -> Result<()> {
        let mut up = self.up.lock().unwrap_or_else(PoisonError::into_inner);
        self.runtime.block_on(async {
            if let Some((_, Ok(rig))) = up.take_if(|(shape, _)| *shape != spec) {
                rig.stop()
                    .await
                    .context("end the environment with another fabric")?;
            }
            if up.is_none() {
                *up = Some((spec, bring_up(spec).await));
            }
            match up.as_mut() {
                Some((_, Ok(rig))) => {
                    clear_all(rig)
                        .await
                        .context("clear an earlier test's faults")?;
                    test(rig).await
                }
                Some((_, Err(error))) => bail!("the environment does not come up: {error}"),
                None => bail!("the environment was just brought up"),
            }
        })
    }

    fn stop(&self) -> Result<()> {
        let up = self
            .up
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        match up {
            Some((_, Ok(rig))) => self
                .runtime
                .block_on(rig.stop())
                .context("end the environment"),
            _ => Ok(()),
        }
    }
}

async fn bring_up(fabric: FabricSpec) -> Result<Rig, String> {
    let options = Options {
        name: format!("t2-product-{}", std::process::id()),
        fabric,
        lifetime: Lifetime::Tied,
        product: true,
        world: World::Fabric,
    };
    Rig::up(options, Progress::new())
        .await
        .map_err(|error| format!("{error:#}"))
}

/// What a test that panicked has left.
async fn clear_all(rig: &mut Rig) -> Result<()> {
    let ids: Vec<String> = rig.faults().map(|(id, _)| id.to_owned()).collect();
    for id in ids {
        rig.clear_fault(&id).await?;
    }
    Ok(())
}

/// Plays a scenario and fails with the step that failed; the runner has printed the state of everything by then.
pub async fn play(rig: &mut Rig, scenario: &Scenario) -> Result<()> {
    let report = play_on(rig, scenario, &Progress::new()).await?;
    match report.failure() {
        None => Ok(()),
        Some(step) => bail!(
            "{} line {}: {}: {}",
            scenario.name,
            step.line,
            step.step,
            step.detail
        ),
    }
}

fn healthy() -> Result<Scenario> {
    Ok(Scenario::parse(
        Path::new("healthy before the test"),
        HEALTHY,
    )?)
}

fn scenario_files() -> Result<Vec<PathBuf>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let entries =
        std::fs::read_dir(&folder).with_context(|| format!("list {}", folder.display()))?;
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|ending| ending == "yaml"))
        .collect();
    files.sort();
    Ok(files)
}

fn main() -> Result<ExitCode> {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    let shared = Arc::new(Shared {
        runtime: Runtime::new().context("start the async runtime")?,
        up: Mutex::new(None),
    });
    let mut trials = Vec::new();
    for file in scenario_files()? {
        let scenario = Scenario::read(&file)?;
        trials.push(trial(
            &format!("scenario::{}", scenario.name),
            &shared,
            move |shared| {
                let spec = scenario.fabric.spec();
                shared.with_rig(spec, async |rig| play(rig, &scenario).await)
            },
        ));
    }
    for (name, test) in TESTS {
        trials.push(trial(name, &shared, move |shared| {
            let healthy = healthy()?;
            shared.with_rig(healthy.fabric.spec(), async |rig| {
                play(rig, &healthy).await?;
                test(rig).await
            })
        }));
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    shared.stop()?;
    Ok(conclusion.exit_code())
}

fn trial(
    name: &str,
    shared: &Arc<Shared>,
    test: impl FnOnce(&Shared) -> Result<()> + Send + 'static,
) -> Trial {
    let shared = Arc::clone(shared);
    Trial::test(name, move || {
        test(&shared).map_err(|error| Failed::from(format!("{error:#}")))
    })
    .with_kind("T2")
    .with_ignored_flag(!rungs::asked("T2"))
}
