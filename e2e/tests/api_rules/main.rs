//! Rung T1: the API as a real kube-apiserver serves it. One control plane for all tests; without `T1` in
//! `RDMAMESH_RUNGS` the tests that need it are listed as ignored.

mod access;
mod coverage;
mod kubectl;
mod objects;
mod rules;

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Result;
use libtest_mimic::Arguments;
use rdmamesh_e2e::suite::{self, SharedPlane};

/// A test against the API server.
type Test = fn(&SharedPlane) -> Result<()>;

const TESTS: &[(&str, Test)] = &[
    (
        "defaults_are_filled_in_by_the_api_server",
        objects::defaults_are_filled_in,
    ),
    (
        "a_class_that_is_listed_gets_its_defaults",
        objects::class_defaults_are_filled_in,
    ),
    (
        "a_status_is_written_through_its_subresource_only",
        objects::status_is_isolated,
    ),
    (
        "one_field_manager_per_mesh_shares_an_assignment",
        objects::meshes_share_an_assignment,
    ),
    (
        "an_assignment_is_watched_by_its_name",
        objects::assignment_is_watched_by_name,
    ),
    (
        "kubectl_explain_describes_the_probes",
        kubectl::explain_describes_the_probes,
    ),
    (
        "kubectl_get_shows_the_printer_columns",
        kubectl::get_shows_the_columns,
    ),
    (
        "kubectl_knows_the_short_names",
        kubectl::knows_the_short_names,
    ),
    (
        "kubectl_wait_sees_the_conditions",
        kubectl::wait_sees_the_conditions,
    ),
    (
        "kubectl_apply_warns_about_nothing",
        kubectl::apply_warns_about_nothing,
    ),
    (
        "an_agent_writes_only_its_own_node",
        access::an_agent_writes_only_its_own_node,
    ),
    (
        "objects_survive_an_api_server_restart",
        access::objects_survive_an_api_server_restart,
    ),
];

fn main() -> Result<ExitCode> {
    let arguments = Arguments::from_args();
    let shared = Arc::new(SharedPlane::new()?);
    let mut trials = vec![
        suite::hermetic("every_rule_has_an_example", || {
            coverage::every_rule_has_an_example();
            Ok(())
        }),
        suite::hermetic("every_message_is_a_sentence_that_helps", || {
            coverage::every_message_is_a_sentence_that_helps();
            Ok(())
        }),
    ];
    for case in rules::CEL.iter().chain(rules::SCHEMA) {
        let shared = Arc::clone(&shared);
        trials.push(suite::of_rung("T1", &case.name(), move || {
            objects::rule_holds(&shared, case)
        }));
    }
    for (name, test) in TESTS {
        let shared = Arc::clone(&shared);
        trials.push(suite::of_rung("T1", name, move || test(&shared)));
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    // The control plane ends with the last owner, before the process does.
    drop(shared);
    Ok(conclusion.exit_code())
}
