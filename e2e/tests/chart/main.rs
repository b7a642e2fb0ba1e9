//! The Helm chart: what it documents, what it renders, and what a release of it does in a real cluster's API server.
//! Hermetic where only files are read; the rest is rung T1, because it needs Helm, kubeconform and kube-apiserver, which
//! the rig builds. Without `T1` in `RDMAMESH_RUNGS` those tests are listed as ignored.

mod access;
mod alerts;
mod documents;
mod examples;
mod flags;
mod kind;
mod pods;
mod release;
mod render;
mod verify;

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Result;
use libtest_mimic::Arguments;
use rdmamesh_e2e::suite::{self, SharedPlane};

type Test = fn(&SharedPlane) -> Result<()>;

const HERMETIC: &[(&str, Test)] = &[
    (
        "every_value_has_a_comment_a_schema_and_a_row_in_the_readme",
        documents::every_value_is_documented,
    ),
    (
        "the_schema_lists_what_there_is_and_nothing_else",
        documents::the_schema_is_closed,
    ),
    (
        "alerts_use_metrics_that_exist",
        documents::alerts_use_metrics_that_exist,
    ),
    (
        "the_kind_script_says_what_is_missing",
        kind::the_script_says_what_is_missing,
    ),
    (
        "the_kind_script_sets_everything_up",
        kind::the_script_sets_everything_up,
    ),
    (
        "the_workflow_for_users_calls_what_exists",
        kind::the_workflow_calls_what_exists,
    ),
];

const T1: &[(&str, Test)] = &[
    ("helm_lint_finds_nothing", render::lint_finds_nothing),
    (
        "what_it_renders_is_valid_for_every_set_of_values",
        render::what_it_renders_is_valid,
    ),
    (
        "a_mistake_in_values_is_refused_with_a_sentence",
        render::mistakes_are_refused,
    ),
    (
        "the_notes_say_the_next_three_commands",
        render::the_notes_say_what_is_next,
    ),
    (
        "every_alert_fires_when_it_should_and_only_then",
        alerts::alerts_fire_and_are_silent,
    ),
    ("flags_exist_in_the_programs", flags::flags_exist),
    (
        "pods_may_do_no_more_than_they_need",
        pods::pods_are_confined,
    ),
    (
        "device_access_is_what_its_mode_says",
        pods::device_access_is_what_its_mode_says,
    ),
    (
        "the_examples_are_accepted_by_the_api_server",
        examples::the_examples_are_accepted,
    ),
    (
        "an_agent_can_write_nothing_but_its_own_node",
        access::an_agent_is_held_to_its_node,
    ),
    (
        "kubectl_lists_what_the_service_accounts_may_do",
        access::kubectl_lists_the_rights,
    ),
    (
        "a_release_is_installed_upgraded_rotated_and_removed",
        release::a_release_lives,
    ),
    (
        "an_installation_that_cannot_work_is_refused",
        release::what_cannot_work_is_refused,
    ),
    (
        "helm_test_says_what_is_missing_in_one_sentence_each",
        verify::helm_test_says_what_is_missing,
    ),
    (
        "the_kind_configuration_is_read_by_kind",
        kind::the_configuration_is_read,
    ),
];

fn main() -> Result<ExitCode> {
    let arguments = Arguments::from_args();
    let shared = Arc::new(SharedPlane::new()?);
    let with_shared = |test: Test| {
        let shared = Arc::clone(&shared);
        move || test(&shared)
    };
    let hermetic = HERMETIC
        .iter()
        .map(|(name, test)| suite::hermetic(name, with_shared(*test)));
    let t1 = T1
        .iter()
        .map(|(name, test)| suite::of_rung("T1", name, with_shared(*test)));
    let conclusion = libtest_mimic::run(&arguments, hermetic.chain(t1).collect());
    // The control plane ends with the last owner, before the process does.
    drop(shared);
    Ok(conclusion.exit_code())
}
