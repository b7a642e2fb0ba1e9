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
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use libtest_mimic::Arguments;
use rdmamesh_e2e::rig::{Rig, World};
use rdmamesh_e2e::scenario::Scenario;
use rdmamesh_e2e::suite::{self, RigTest, SharedRig, Wanted};
use rdmamesh_e2e::tests;

/// In this order: the last one takes the product away.
const TESTS: &[(&str, RigTest)] = tests![
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

/// Plays the steps of a scenario.
pub async fn play(rig: &mut Rig, text: &str) -> Result<()> {
    suite::play(rig, &Scenario::parse(Path::new("steps"), text)?).await
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
    let fabric = Scenario::parse(Path::new("healthy"), HEALTHY)?
        .fabric
        .spec();
    let shared = Arc::new(SharedRig::new(Wanted {
        name: "t3",
        product: true,
        world: World::Cluster,
        attach: std::env::var(ENVIRONMENT).ok(),
    })?);
    let trials = TESTS.iter().map(|(name, test)| {
        let shared = Arc::clone(&shared);
        suite::of_rung("T3", name, move || {
            shared.run(fabric, &async |rig| {
                play(rig, HEALTHY).await?;
                test(rig).await
            })
        })
    });
    let conclusion = libtest_mimic::run(&arguments, trials.collect());
    shared.stop()?;
    Ok(conclusion.exit_code())
}
