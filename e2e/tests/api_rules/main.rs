//! Rung T1: the API as a real kube-apiserver serves it. One control plane for all tests; without `T1` in
//! `RDMAMESH_RUNGS` the tests that need it are listed as ignored.

mod access;
mod coverage;
mod kubectl;
mod objects;
mod rules;

use std::process::ExitCode;
use std::sync::{Arc, OnceLock};

use anyhow::{Context, Result};
use libtest_mimic::{Arguments, Failed, Trial};
use rdmamesh_e2e::control_plane::ControlPlane;
use rdmamesh_e2e::layout::Layout;
use rdmamesh_e2e::rungs;
use tokio::runtime::Runtime;

/// What the tests share.
pub struct Shared {
    runtime: Runtime,
    plane: OnceLock<Result<ControlPlane, String>>,
    layout: Layout,
}

impl Shared {
    /// The control plane, started at first use.
    fn plane(&self) -> Result<&ControlPlane> {
        let started = self.plane.get_or_init(|| {
            self.runtime
                .block_on(ControlPlane::start())
                .map_err(|error| format!("{error:#}"))
        });
        started
            .as_ref()
            .map_err(|error| anyhow::anyhow!("the control plane does not start: {error}"))
    }

    /// A client with the administrator's rights.
    fn client(&self) -> Result<kube::Client> {
        let plane = self.plane()?;
        self.runtime.block_on(plane.client())
    }

    /// Runs a future to its end.
    fn wait<T>(&self, future: impl Future<Output = Result<T>>) -> Result<T> {
        self.runtime.block_on(future)
    }
}

/// A test against the API server.
type Test = fn(&Shared) -> Result<()>;

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
    let shared = Arc::new(Shared {
        runtime: Runtime::new().context("start the async runtime")?,
        plane: OnceLock::new(),
        layout: Layout::of_workspace()?,
    });
    let mut trials = vec![
        hermetic(
            "every_rule_has_an_example",
            coverage::every_rule_has_an_example,
        ),
        hermetic(
            "every_message_is_a_sentence_that_helps",
            coverage::every_message_is_a_sentence_that_helps,
        ),
    ];
    for case in rules::CEL.iter().chain(rules::SCHEMA) {
        trials.push(needs_api(&case.name(), &shared, move |shared| {
            objects::rule_holds(shared, case)
        }));
    }
    for (name, test) in TESTS {
        trials.push(needs_api(name, &shared, test));
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    // The control plane ends with the last owner, before the process does.
    drop(shared);
    Ok(conclusion.exit_code())
}

fn hermetic(name: &str, test: fn()) -> Trial {
    Trial::test(name, move || {
        test();
        Ok(())
    })
}

fn needs_api(
    name: &str,
    shared: &Arc<Shared>,
    test: impl Fn(&Shared) -> Result<()> + Send + 'static,
) -> Trial {
    let shared = Arc::clone(shared);
    Trial::test(name, move || {
        test(&shared).map_err(|error| Failed::from(format!("{error:#}")))
    })
    .with_kind("T1")
    .with_ignored_flag(!rungs::asked("T1"))
}
