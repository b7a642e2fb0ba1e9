//! Rung T1: the operator against a real kube-apiserver. Nodes and agents are imitated by plain API writes; the
//! operator is the real program with the rights that the product gives it. Without `T1` in `RDMAMESH_RUNGS` the
//! tests are listed as ignored.

mod actions;
mod agents;
mod cluster;
mod life;
mod members;
mod meshes;
mod verdicts;

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result};
use futures::future::LocalBoxFuture;
use libtest_mimic::Arguments;
use rdmamesh_e2e::{suite, tests};
use tokio::runtime::Runtime;
use tokio::sync::Mutex;

use cluster::Cluster;

/// A test; the cluster is empty when it begins, and the operator does not run.
type Test = for<'a> fn(&'a mut Cluster) -> LocalBoxFuture<'a, Result<()>>;

const TESTS: &[(&str, Test)] = tests![
    meshes::a_mesh_becomes_assignments_and_five_conditions,
    meshes::two_meshes_share_the_assignments_of_their_nodes,
    meshes::an_edited_mesh_replaces_what_it_wanted_before,
    meshes::a_deleted_mesh_leaves_nothing_over,
    meshes::a_suspended_mesh_withdraws_and_comes_back,
    meshes::a_mesh_that_selects_nothing_says_so,
    meshes::a_gid_index_that_does_not_exist_is_named,
    meshes::what_others_write_into_an_assignment_is_mended,
    members::a_node_that_joins_is_probed_by_its_peers,
    members::a_node_that_is_removed_leaves_no_assignment,
    members::a_cordoned_node_is_left_out_and_comes_back,
    members::a_node_that_is_not_ready_is_left_out,
    members::a_relabelled_node_moves_between_meshes,
    members::a_port_that_flaps_is_held_out_of_the_plan,
    members::a_quiet_cluster_is_not_written_to,
    members::one_node_of_many_touches_only_its_peers,
    life::what_happened_while_it_was_down_is_mended,
    life::a_standby_takes_over_from_a_leader_that_ends,
    life::it_survives_an_api_server_that_is_down,
    life::it_ends_within_five_seconds_and_frees_the_lease,
    verdicts::no_report_is_neither_health_nor_illness,
    verdicts::a_lossy_pair_is_named_and_cleared,
    verdicts::an_open_case_survives_a_restart_of_the_operator,
    verdicts::an_agent_that_does_not_answer_its_peers_is_named_at_once,
    verdicts::a_port_that_goes_down_is_named_by_its_own_agent,
    actions::a_suspect_node_gets_a_condition_and_loses_it,
    actions::a_lossy_path_is_no_ground_for_marking_nodes,
    actions::several_meshes_share_the_condition_of_a_node,
    actions::taints_keep_within_the_breaker_and_go_with_the_case,
    actions::a_dry_run_says_what_it_would_taint,
    actions::nothing_is_left_of_a_mesh_that_went_while_the_operator_was_down,
    actions::tolerance_keeps_the_fabric_healthy_but_hides_nobody,
];

fn main() -> Result<ExitCode> {
    let arguments = Arguments::from_args();
    let runtime = Arc::new(Runtime::new().context("start the async runtime")?);
    // One cluster for all: starting an API server takes longer than most of the tests.
    let cluster: Arc<Mutex<Option<Cluster>>> = Arc::default();
    let trials = TESTS
        .iter()
        .map(|(name, test)| {
            let (cluster, runtime) = (Arc::clone(&cluster), Arc::clone(&runtime));
            suite::of_rung("T1", name, move || runtime.block_on(run(&cluster, *test)))
        })
        .collect();
    let conclusion = libtest_mimic::run(&arguments, trials);
    // The control plane ends before the process does.
    runtime.block_on(async { cluster.lock().await.take() });
    Ok(conclusion.exit_code())
}

async fn run(shared: &Mutex<Option<Cluster>>, test: Test) -> Result<()> {
    let mut shared = shared.lock().await;
    if shared.is_none() {
        *shared = Some(Cluster::start().await.context("start the control plane")?);
    }
    let cluster = shared.as_mut().context("the cluster was just started")?;
    cluster.clear().await.context("clear the cluster")?;
    match test(cluster).await {
        Ok(()) => Ok(()),
        Err(error) => Err(error).context(cluster.account().await),
    }
}
