//! The operator of RdmaMesh: turns meshes into assignments and reports into verdicts.
//!
//! ```text
//! RdmaMesh ─┐                         ┌─► RdmaProbeAssignment.spec   (one field manager per mesh)
//! Node ─────┼─► watch ─► planning ────┤
//! RdmaNode ─┘     │     (rdmamesh_fabric::plan)
//!                 └───► judging ──────┬─► RdmaMesh.status
//! RdmaProbeAssignment.status ─────────┘─► Events
//!                       (rdmamesh_fabric::diagnose)
//!                                     └─► actions ─► conditions and taints of Nodes
//! ```
//!
//! * [`watch`] keeps a compact copy of the four kinds and tells the loops what changed.
//! * [`planning`] is one pass over *all* meshes, because nodes share a budget and an assignment object:
//!   read → [`validate`] → [`input`] (with [`select`]) → plan → [`desired`] → [`diff`] → [`apply`].
//! * [`judging`] is a pass per mesh: [`evidence`] (with [`unanswered`]) → diagnose → [`status`] → write, [`events`].
//! * [`actions`] leaves conditions and taints on nodes that verdicts suspect.
//! * [`lease`] decides which replica writes; the others keep their copies warm and write nothing.
//! * [`http`] and [`metrics`] are for probes and Prometheus.
//! * [`verify`] is a command of its own: it looks at an installation from outside.
//!
//! Everything between reading and writing is a pure function with the time passed in. Planning and
//! judging themselves live in `rdmamesh-fabric`; this crate knows Kubernetes and no verbs.
#![forbid(unsafe_code)]

pub mod actions;
pub mod apply;
pub mod args;
pub mod conditions;
pub mod desired;
pub mod diff;
pub mod events;
pub mod evidence;
#[cfg(test)]
mod fixtures;
pub mod http;
pub mod input;
pub mod judging;
pub mod lease;
pub mod metrics;
pub mod planning;
pub mod reporting;
pub mod run;
pub mod select;
pub mod status;
pub mod unanswered;
pub mod validate;
pub mod verify;
pub mod watch;

/// Field manager of everything the operator writes that is not one mesh's entry of an assignment.
pub const FIELD_MANAGER: &str = "rdmamesh-operator";

/// Field manager of the entry of `mesh` in assignments.
#[must_use]
pub fn mesh_field_manager(mesh: &str) -> String {
    format!("rdmamesh-mesh-{mesh}")
}

/// An error with its causes, for logs and messages: `Display` of an error never repeats its source.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        // Some libraries print their source as well; saying it once is enough.
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}
