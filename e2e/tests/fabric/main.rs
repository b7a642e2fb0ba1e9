//! Rung T2: the product on real soft-RoCE over a real leaf–spine fabric, with a real API server and collector. One
//! environment for all tests, one after another; without `T2` in `RDMAMESH_RUNGS` they are listed as ignored.
//!
//! Every shipped scenario is a test; the other tests look at what a scenario cannot say.

mod agents;
mod datagrams;
mod telemetry;
mod tracing;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result};
use libtest_mimic::Arguments;
use rdmamesh_e2e::rig::World;
use rdmamesh_e2e::scenario::Scenario;
use rdmamesh_e2e::suite::{self, RigTest, SharedRig, Wanted, play};
use rdmamesh_e2e::tests;

const TESTS: &[(&str, RigTest)] = tests![
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

/// Scenarios whose faults are among those of others, above all of `eight-hosts` and `starved-hosts`: of a rung of their own,
/// `make scenarios`, so that all of `make test` fits CI.
const REPEATED: &[&str] = &[
    "eight-hosts-innocent",
    "four-hosts",
    "leaf-down",
    "lossy-nic",
    "one-way-loss",
];

/// Reached before each test that is not a scenario of its own.
const HEALTHY: &str = "
mesh: {}
steps:
  - expect: {condition: FabricHealthy, status: \"True\", suspects: [], within: 120s}
";

fn healthy() -> Result<Scenario> {
    Ok(Scenario::parse(
        Path::new("healthy before the test"),
        HEALTHY,
    )?)
}

/// Those of one fabric after another, so that each fabric is made once.
fn scenarios() -> Result<Vec<Scenario>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let mut scenarios = Vec::new();
    for folder in [folder.clone(), folder.join("diagnosis")] {
        let entries =
            std::fs::read_dir(&folder).with_context(|| format!("list {}", folder.display()))?;
        for entry in entries {
            let path = entry?.path();
            if path.extension().is_some_and(|ending| ending == "yaml") {
                scenarios.push(Scenario::read(&path)?);
            }
        }
    }
    scenarios.sort_by_key(|scenario| (scenario.fabric.spec().hosts(), scenario.name.clone()));
    Ok(scenarios)
}

fn main() -> Result<ExitCode> {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    let shared = Arc::new(SharedRig::new(Wanted {
        name: "t2-product",
        product: true,
        world: World::Fabric,
        attach: None,
    })?);
    let mut trials = Vec::new();
    for (name, test) in TESTS {
        let shared = Arc::clone(&shared);
        trials.push(suite::of_rung("T2", name, move || {
            let healthy = healthy()?;
            shared.run(healthy.fabric.spec(), &async |rig| {
                play(rig, &healthy).await?;
                test(rig).await
            })
        }));
    }
    for scenario in scenarios()? {
        let shared = Arc::clone(&shared);
        let name = format!("scenario::{}", scenario.name);
        let is_repeated = REPEATED.contains(&scenario.name.as_str());
        let rung = if is_repeated { "SCENARIOS" } else { "T2" };
        trials.push(suite::of_rung(rung, &name, move || {
            let fabric = scenario.fabric.spec();
            shared.run(fabric, &async |rig| play(rig, &scenario).await)
        }));
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    shared.stop()?;
    Ok(conclusion.exit_code())
}
