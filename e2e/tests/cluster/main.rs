//! Rung T3: the product as a user installs it. Helm puts operator, agents and device plugin on four real kubelets over
//! the RoCE fabric, and what happens to clusters happens to this one: upgrades, reboots, drains, lost devices. One
//! environment for all tests, in this order; without `T3` in `RDMAMESH_RUNGS` they are listed as ignored.
//!
//! With `RDMAMESH_T3_ENVIRONMENT=NAME` they run in the environment that `rig up FILE --world cluster --name NAME` left.

mod devices;
mod nodes;
mod operator;
mod release;
mod watch;

use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use libtest_mimic::{Arguments, Failed, Trial};
use rdmamesh_e2e::child::Lifetime;
use rdmamesh_e2e::progress::Progress;
use rdmamesh_e2e::rig::{Options, Rig, World};
use rdmamesh_e2e::rungs;
use rdmamesh_e2e::runner::command::play_on;
use rdmamesh_e2e::scenario::Scenario;
use tokio::runtime::Runtime;

/// A test on a healthy mesh.
type Test = for<'a> fn(&'a mut Rig) -> futures::future::LocalBoxFuture<'a, Result<()>>;

macro_rules! tests {
    ($($module:ident :: $name:ident),* $(,)?) => {
        &[$((stringify!($name), |rig| Box::pin($module::$name(rig)))),*]
    };
}

/// In this order: the last one takes the product away.
const TESTS: &[(&str, Test)] = tests![
    release::a_fresh_install_probes_every_node_without_more_rights_than_it_says,
    release::kubectl_logs_and_exec_reach_the_agents,
    nodes::a_lossy_link_is_told_of_by_the_pods,
    release::an_upgrade_with_a_changed_value_reaches_every_agent_without_a_false_loss,
    release::probe_keys_are_rotated_without_a_lost_probe,
    devices::a_restarted_kubelet_keeps_agents_and_devices,
    devices::an_rdma_device_that_goes_and_comes_back_needs_no_new_pod,
    devices::a_node_without_rdma_is_told_of_and_its_agent_is_not_pending,
    operator::the_second_operator_takes_over_when_the_leader_is_killed,
    nodes::a_drained_node_accuses_nobody,
    nodes::a_rebooted_node_comes_back_by_itself,
    nodes::a_removed_node_is_forgotten,
    release::uninstalling_leaves_what_is_documented_and_nothing_else,
];

/// Reached before each test.
const HEALTHY: &str = "
mesh: {}
steps:
  - expect: {condition: FabricHealthy, status: \"True\", suspects: [], within: 300s}
";

/// Names an environment that is up already.
const ENVIRONMENT: &str = "RDMAMESH_T3_ENVIRONMENT";

/// Whoever holds the lock has the environment to itself.
struct Shared {
    runtime: Runtime,
    up: Mutex<Option<Result<Rig, String>>>,
}

impl Shared {
    fn with_rig(&self, test: Test) -> Result<()> {
        let mut up = self.up.lock().unwrap_or_else(PoisonError::into_inner);
        self.runtime.block_on(async {
            if up.is_none() {
                *up = Some(bring_up().await.map_err(|error| format!("{error:#}")));
            }
            match up.as_mut() {
                Some(Ok(rig)) => {
                    clear_all(rig).await?;
                    play(rig, HEALTHY).await?;
                    test(rig).await
                }
                Some(Err(error)) => bail!("the environment does not come up: {error}"),
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
            Some(Ok(rig)) if std::env::var_os(ENVIRONMENT).is_none() => self
                .runtime
                .block_on(rig.stop())
                .context("end the environment"),
            _ => Ok(()),
        }
    }
}

async fn bring_up() -> Result<Rig> {
    if let Ok(name) = std::env::var(ENVIRONMENT) {
        let mut rig = Rig::attach(&name, Progress::new()).await?;
        rig.ensure_release().await?;
        return Ok(rig);
    }
    let options = Options {
        name: format!("t3-{}", std::process::id()),
        fabric: healthy()?.fabric.spec(),
        lifetime: Lifetime::Tied,
        product: true,
        world: World::Cluster,
    };
    Rig::up(options, Progress::new()).await
}

fn healthy() -> Result<Scenario> {
    Ok(Scenario::parse(Path::new("healthy"), HEALTHY)?)
}

/// What a test that failed has left.
async fn clear_all(rig: &mut Rig) -> Result<()> {
    let ids: Vec<String> = rig.faults().map(|(id, _)| id.to_owned()).collect();
    for id in ids {
        rig.clear_fault(&id)
            .await
            .context("clear an earlier test's faults")?;
    }
    Ok(())
}

/// Plays the steps of a scenario.
pub async fn play(rig: &mut Rig, text: &str) -> Result<()> {
    let scenario = Scenario::parse(Path::new("steps"), text)?;
    let report = play_on(rig, &scenario, &Progress::new()).await?;
    match report.failure() {
        None => Ok(()),
        Some(step) => bail!("line {}: {}: {}", step.line, step.step, step.detail),
    }
}

/// Asks again until the answer is some, at most this long; the last refusal is the error.
pub async fn until<T>(
    what: &str,
    within: Duration,
    mut ask: impl AsyncFnMut() -> Result<T>,
) -> Result<T> {
    let deadline = tokio::time::Instant::now() + within;
    loop {
        match ask().await {
            Ok(answer) => return Ok(answer),
            Err(error) if tokio::time::Instant::now() >= deadline => {
                return Err(error.context(format!("{what}: not within {} s", within.as_secs())));
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(700)).await,
        }
    }
}

fn main() -> Result<ExitCode> {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    let shared = Arc::new(Shared {
        runtime: Runtime::new().context("start the async runtime")?,
        up: Mutex::new(None),
    });
    let trials = TESTS.iter().map(|(name, test)| {
        let shared = Arc::clone(&shared);
        Trial::test(*name, move || {
            shared
                .with_rig(*test)
                .map_err(|error| Failed::from(format!("{error:#}")))
        })
        .with_kind("T3")
        .with_ignored_flag(!rungs::asked("T3"))
    });
    let conclusion = libtest_mimic::run(&arguments, trials.collect());
    shared.stop()?;
    Ok(conclusion.exit_code())
}
