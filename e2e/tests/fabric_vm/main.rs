//! Rung T2, without the product: the fabric in the VM is what it claims to be, faults do what they say and leave
//! nothing behind. One VM for all tests, one after another; without `T2` in `RDMAMESH_RUNGS` they are listed as
//! ignored.

mod faults;
mod paths;
mod snapshot;

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result};
use libtest_mimic::Arguments;
use rdmamesh_e2e::fabric::FabricSpec;
use rdmamesh_e2e::rig::World;
use rdmamesh_e2e::suite::{self, RigTest, SharedRig, Wanted};
use rdmamesh_e2e::tests;

/// Two hosts with two rails below each of two leaves per rail, two spines: the smallest fabric that has it all.
const FABRIC: FabricSpec = FabricSpec {
    leaves: 2,
    spines: 2,
    hosts_per_leaf: 2,
    rails: 2,
};

const TESTS: &[(&str, RigTest)] = tests![
    paths::datagrams_cross_the_fabric_on_every_rail,
    paths::queue_pairs_spread_over_both_spines,
    paths::every_hop_answers_expired_datagrams,
    paths::every_host_reaches_the_api_server,
    faults::a_lossy_link_loses_its_share_and_no_other_link_does,
    faults::one_direction_of_a_link_can_be_lost,
    faults::a_delayed_link_delays,
    faults::an_rnic_without_carrier_is_down,
    faults::a_removed_rnic_is_gone_and_comes_back_with_its_gids,
    faults::a_hogged_host_gets_little_processor_time,
    faults::the_api_server_comes_back_at_its_address,
    faults::every_cleared_fault_leaves_no_trace,
    faults::overlapping_faults_cleared_in_any_order_leave_no_trace,
];

fn main() -> Result<ExitCode> {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    let shared = Arc::new(SharedRig::new(Wanted {
        name: "t2",
        product: false,
        world: World::Fabric,
        attach: None,
    })?);
    let trials = TESTS.iter().map(|(name, test)| {
        let shared = Arc::clone(&shared);
        suite::of_rung("T2", name, move || {
            shared.run(FABRIC, &async |rig| test(rig).await)
        })
    });
    let conclusion = libtest_mimic::run(&arguments, trials.collect());
    // Logs are kept for whoever looks into a failure; `rig clean` removes them.
    if let Some(folder) = shared.stop()?.filter(|_| !conclusion.has_failed()) {
        std::fs::remove_dir_all(&folder).context("remove the environment's files")?;
    }
    Ok(conclusion.exit_code())
}
