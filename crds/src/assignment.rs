//! `RdmaProbeAssignment`: what one node's agent has to probe (spec, by the operator) and what it found
//! (status, by the agent). Named after the node, so that an agent's watch is scoped by name.

mod status;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use status::{
    Anomaly, AnomalyKind, LinkTally, LossyPath, MAX_ANOMALIES, MAX_LINKS, MAX_LOSSY_PATHS,
    MAX_STATUS_BYTES, MAX_UNANSWERED, MeshReport, RdmaProbeAssignmentStatus, RnicReport,
    Timestamps, UnansweredPeer,
};

use crate::GoDuration;
use crate::mesh::{ProbeClass, TrafficClass};

/// What one node's agent has to probe. Written by the operator, one field manager per mesh.
#[expect(
    clippy::duplicated_attributes,
    reason = "printer columns repeat their type"
)]
#[derive(CustomResource, JsonSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "rdmamesh.io",
    version = "v1alpha1",
    kind = "RdmaProbeAssignment",
    plural = "rdmaprobeassignments",
    shortname = "rpa",
    category = "rdma",
    status = "RdmaProbeAssignmentStatus",
    derive = "PartialEq",
    doc = "What one node's agent has to probe, and what it found. Named after the node; written by RdmaMesh, not by people.",
    printcolumn(name = "Meshes", type_ = "string", json_path = ".spec.meshes[*].name"),
    printcolumn(name = "Reported", type_ = "date", json_path = ".status.reportedAt"),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[serde(rename_all = "camelCase", default)]
pub struct RdmaProbeAssignmentSpec {
    /// One entry per mesh that the node belongs to.
    #[schemars(extend("maxItems" = 32, "x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub meshes: Vec<MeshAssignment>,
}

/// The part of one mesh.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MeshAssignment {
    /// Name of the RdmaMesh.
    pub name: String,
    /// Changes exactly when the content of this entry does.
    pub plan_hash: String,
    /// Group (rack, top-of-rack switch) of this node in this mesh.
    pub group: String,
    /// Time over which probes are counted.
    pub window: GoDuration,
    /// Lost share above which a path is an anomaly (0 to 1).
    pub loss_ratio: f64,
    /// Network round-trip time above which a path is an anomaly.
    pub p99: GoDuration,
    /// Classes in force.
    #[schemars(extend("maxItems" = 6, "x-kubernetes-list-type" = "atomic"))]
    pub classes: Vec<AssignedClass>,
    /// Traffic classes in force; targets refer to them by name.
    #[schemars(extend("maxItems" = 8, "x-kubernetes-list-type" = "atomic"))]
    pub traffic_classes: Vec<TrafficClass>,
    /// What each local RNIC probes.
    #[schemars(extend("maxItems" = 64, "x-kubernetes-list-type" = "atomic"))]
    pub rnics: Vec<AssignedRnic>,
}

/// A probe class in force.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AssignedClass {
    /// Which class.
    pub class: ProbeClass,
    /// Between two probes of one flow.
    pub interval: GoDuration,
    /// How long an answer may take.
    pub timeout: GoDuration,
}

/// What one local RNIC probes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AssignedRnic {
    /// RDMA device, for example `mlx5_0`.
    pub device: String,
    /// Port number, from 1.
    pub port: u8,
    /// Index of the local GID to probe from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gid_index: Option<u16>,
    /// Group of the RNIC: the node's group, or group and rail in a rail-optimised fabric.
    pub group: String,
    /// Position of the RNIC among the selected ones of its node, from 0.
    pub rail: u16,
    /// Whom it probes.
    #[schemars(extend("maxItems" = 2048, "x-kubernetes-list-type" = "atomic"))]
    pub targets: Vec<Target>,
}

/// A peer RNIC to probe. No queue pair number: agents resolve those among themselves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Target {
    /// Why it is probed.
    pub class: ProbeClass,
    /// Node of the peer.
    pub node: String,
    /// RDMA device of the peer.
    pub device: String,
    /// Port of the peer's device, from 1.
    pub port: u8,
    /// Group of the peer RNIC.
    pub group: String,
    /// GID of the peer port, in IPv6 notation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gid: Option<String>,
    /// LID of the peer port; InfiniBand only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lid: Option<u16>,
    /// `address:port` at which the peer's agent answers over plain IP.
    pub control_address: String,
    /// Name of the traffic class.
    pub traffic_class: String,
    /// Distinct flows (UDP source ports) to probe it with.
    pub flows: u16,
    /// Seed of the flows' source ports and start times.
    pub seed: u32,
    /// Between two probes of one flow; differs from the class's interval where the budget stretches it.
    pub interval: GoDuration,
}
