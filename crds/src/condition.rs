//! Names of the conditions that the three kinds carry, and the schema they share.

use schemars::{Schema, SchemaGenerator};

pub use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

/// RdmaMesh: the summary. True when the spec is valid, planned, and agents report.
pub const READY: &str = "Ready";
/// RdmaMesh: every selected node has its assignment written.
pub const ASSIGNMENTS_READY: &str = "AssignmentsReady";
/// RdmaMesh: the agents of the assigned nodes report results of this plan.
pub const AGENTS_REPORTING: &str = "AgentsReporting";
/// RdmaMesh: the verdict. False names a suspect; Unknown means not enough evidence.
pub const FABRIC_HEALTHY: &str = "FabricHealthy";
/// RdmaMesh: the wanted share of parallel paths is probed; False states the shortfall.
pub const COVERAGE_MET: &str = "CoverageMet";
/// RdmaMesh, only where there is something to say: suspect nodes are tainted as `spec.actions` asks for
/// (or would be); False when that was refused or would have gone too far.
pub const ACTIONS_APPLIED: &str = "ActionsApplied";
/// Node, only where there is or was a suspicion: False while one of its RNICs, or the node itself, is suspected.
pub const RDMA_FABRIC_READY: &str = "rdmamesh.io/RdmaFabricReady";
/// RdmaNode: every wanted RNIC of the node is probing.
pub const PROBING: &str = "Probing";
/// RdmaNode: no readiness check fails; the message of False says which does and what to do.
pub const DOCTOR_PASSED: &str = "DoctorPassed";

/// Schema of a `conditions` list: a list map keyed by `type`, so that writers do not clobber each other.
pub fn conditions_schema(generator: &mut SchemaGenerator) -> Schema {
    let mut schema = generator.subschema_for::<Vec<Condition>>();
    schema.insert("x-kubernetes-list-type".into(), "map".into());
    schema.insert("x-kubernetes-list-map-keys".into(), vec!["type"].into());
    schema.insert("maxItems".into(), 16.into());
    schema
}
