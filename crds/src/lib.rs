//! The Kubernetes API of RdmaMesh: group `rdmamesh.io`, version `v1alpha1`, three cluster-scoped kinds.
//!
//! * [`RdmaMesh`]: written by the user, says which RNICs to probe; its status is the operator's verdict.
//! * [`RdmaProbeAssignment`]: one per node and named after it; spec by the operator, status by that
//!   node's agent.
//! * [`RdmaNode`]: one per node and named after it; inventory and readiness, by that node's agent.
//!
//! Types, schema defaults and CEL rules only: no logic, no client. The operator, the agent and the
//! end-to-end tests all import this crate. `crds/yaml` is generated from it and a test fails when the
//! two drift apart.
#![forbid(unsafe_code)]

pub mod assignment;
pub mod condition;
pub mod crds;
pub mod duration;
pub mod mesh;
pub mod node;
mod rule;

pub use assignment::{RdmaProbeAssignment, RdmaProbeAssignmentSpec, RdmaProbeAssignmentStatus};
pub use duration::GoDuration;
pub use mesh::{RdmaMesh, RdmaMeshSpec, RdmaMeshStatus};
pub use node::{RdmaNode, RdmaNodeSpec, RdmaNodeStatus};

/// API group of every kind in this crate.
pub const GROUP: &str = "rdmamesh.io";
/// API version of every kind in this crate.
pub const VERSION: &str = "v1alpha1";
/// Default node label that names the group (rack, top-of-rack switch) of a node.
pub const DEFAULT_GROUP_LABEL: &str = "topology.kubernetes.io/rack";
