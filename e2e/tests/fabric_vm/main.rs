//! Rung T2, without the product: the fabric in the VM is what it claims to be, faults do what they say and leave
//! nothing behind. One VM for all tests, one after another; without `T2` in `RDMAMESH_RUNGS` they are listed as
//! ignored.

mod faults;
mod paths;
mod snapshot;

use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, bail};
use libtest_mimic::{Arguments, Failed, Trial};
use rdmamesh_e2e::child::Lifetime;
use rdmamesh_e2e::fabric::FabricSpec;
use rdmamesh_e2e::progress::Progress;
use rdmamesh_e2e::rig::{Options, Rig, World};
use rdmamesh_e2e::rungs;
use tokio::runtime::Runtime;

/// Two hosts with two rails below each of two leaves per rail, two spines: the smallest fabric that has it all.
const FABRIC: FabricSpec = FabricSpec {
    leaves: 2,
    spines: 2,
    hosts_per_leaf: 2,
    rails: 2,
};

/// What the tests share; whoever holds the lock has the fabric to itself.
struct Shared {
    runtime: Runtime,
    rig: Mutex<Option<Result<Rig, String>>>,
}

/// A test on a fabric without faults.
type Test = for<'a> fn(&'a mut Rig) -> futures::future::LocalBoxFuture<'a, Result<()>>;

macro_rules! tests {
    ($($module:ident :: $name:ident),* $(,)?) => {
        &[$((stringify!($name), |rig| Box::pin($module::$name(rig)))),*]
    };
}

const TESTS: &[(&str, Test)] = tests![
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

impl Shared {
    fn run(&self, test: Test) -> Result<()> {
        // A test that panicked has left its faults to be seen as such by the next one's check below.
        let mut rig = self.rig.lock().unwrap_or_else(PoisonError::into_inner);
        let rig = rig.get_or_insert_with(|| {
            let options = Options {
                name: format!("t2-{}", std::process::id()),
                fabric: FABRIC,
                lifetime: Lifetime::Tied,
                product: false,
                world: World::Fabric,
            };
            let up = Rig::up(options, Progress::new());
            self.runtime
                .block_on(up)
                .map_err(|error| format!("{error:#}"))
        });
        match rig {
            Ok(rig) => self.runtime.block_on(async {
                clear_all(rig)
                    .await
                    .context("clear an earlier test's faults")?;
                test(rig).await
            }),
            Err(error) => bail!("the fabric does not come up: {error}"),
        }
    }
}

async fn clear_all(rig: &mut Rig) -> Result<()> {
    let ids: Vec<String> = rig.faults().map(|(id, _)| id.to_owned()).collect();
    for id in ids {
        rig.clear_fault(&id).await?;
    }
    Ok(())
}

fn main() -> Result<ExitCode> {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    let runtime = Runtime::new().context("start the async runtime")?;
    let shared = Arc::new(Shared {
        runtime,
        rig: Mutex::new(None),
    });
    let trials = TESTS.iter().map(|(name, test)| {
        let shared = Arc::clone(&shared);
        let run = move || {
            shared
                .run(*test)
                .map_err(|error| Failed::from(format!("{error:#}")))
        };
        Trial::test(*name, run)
            .with_kind("T2")
            .with_ignored_flag(!rungs::asked("T2"))
    });
    let conclusion = libtest_mimic::run(&arguments, trials.collect());
    let rig = shared
        .rig
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take();
    if let Some(Ok(rig)) = rig {
        let folder = rig.folder().to_path_buf();
        shared
            .runtime
            .block_on(rig.stop())
            .context("end the environment")?;
        // Logs are kept for whoever looks into a failure; `rig clean` removes them.
        if !conclusion.has_failed() {
            std::fs::remove_dir_all(&folder).context("remove the environment's files")?;
        }
    }
    Ok(conclusion.exit_code())
}
