//! `RdmaNode`: RDMA inventory and readiness of one node, written by its agent and owned by the Node.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::condition::{Condition, conditions_schema};
use crate::mesh::WorkloadRef;

/// [`PortStatus::state`] of a port that is up.
pub const PORT_ACTIVE: &str = "Active";
/// [`PortStatus::state`] of a port that the plan names and the kernel does not show to the agent.
pub const PORT_ABSENT: &str = "Absent";

/// Nothing is asked of a node: everything is in the status.
#[expect(
    clippy::duplicated_attributes,
    reason = "printer columns repeat their type"
)]
#[derive(CustomResource, JsonSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "rdmamesh.io",
    version = "v1alpha1",
    kind = "RdmaNode",
    plural = "rdmanodes",
    shortname = "rnode",
    category = "rdma",
    status = "RdmaNodeStatus",
    derive = "PartialEq",
    doc = "RDMA inventory and readiness of one node, written by its agent.",
    printcolumn(
        name = "Probing",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Probing\")].status"
    ),
    printcolumn(
        name = "Devices",
        type_ = "string",
        json_path = ".status.ports[*].device"
    ),
    printcolumn(name = "State", type_ = "string", json_path = ".status.ports[*].state"),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Probing\")].reason"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
pub struct RdmaNodeSpec {}

/// What the agent found on its node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RdmaNodeStatus {
    /// Whether every wanted RNIC probes.
    #[schemars(schema_with = "conditions_schema")]
    pub conditions: Vec<Condition>,
    /// When the agent wrote this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reported_at: Option<Time>,
    /// Version of the agent.
    pub agent_version: String,
    /// Identifies the agent process; changes when it restarts.
    pub epoch: String,
    /// `address:port` at which the agent answers its peers over plain IP.
    pub control_address: String,
    /// Every RDMA port that the kernel shows to this node, usable or not.
    #[schemars(extend("maxItems" = 64, "x-kubernetes-list-type" = "atomic"))]
    pub ports: Vec<PortStatus>,
    /// Results of the readiness checks.
    #[schemars(extend("maxItems" = 64, "x-kubernetes-list-type" = "atomic"))]
    pub doctor: Vec<DoctorResult>,
    /// Whether the paths of flows are traced: without it, links and switches cannot be told apart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_tracing: Option<Tracing>,
    /// Whether workload queue pairs are traced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tracing: Option<Tracing>,
    /// Workload queue pairs per pod.
    #[schemars(extend("maxItems" = 128, "x-kubernetes-list-type" = "atomic"))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub workloads: Vec<WorkloadQueuePairs>,
}

/// One RDMA port.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PortStatus {
    /// RDMA device, for example `mlx5_0`.
    pub device: String,
    /// Port number, from 1.
    pub port: u8,
    /// `Ethernet`, `InfiniBand`, or what the kernel says.
    pub link_layer: String,
    /// `Active`, `Down`, `Init`, `Armed`, or what the kernel says; `Absent` where it shows no such port.
    pub state: String,
    /// `LinkUp`, `Polling`, `Disabled`, or what the kernel says; empty where the port is absent.
    pub physical_state: String,
    /// Signalling rate, for example `400 Gb/sec`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<String>,
    /// MTU of the network interface, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// Network interface of a RoCE port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub netdev: Option<String>,
    /// LID of an InfiniBand port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lid: Option<u16>,
    /// GID table, empty entries left out.
    #[schemars(extend("maxItems" = 32, "x-kubernetes-list-type" = "atomic"))]
    pub gids: Vec<GidStatus>,
    /// NUMA node of the device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub numa: Option<u16>,
    /// PCI address of the device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pci: Option<String>,
    /// Firmware version of the device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub firmware: Option<String>,
    /// `Hardware` or `Software`; absent while the port was never opened.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timestamps: Option<super::assignment::Timestamps>,
    /// Queue pair numbers the agent answers on; informative, peers resolve them over IP.
    #[schemars(extend("maxItems" = 64, "x-kubernetes-list-type" = "atomic"))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub qpns: Vec<u32>,
    /// Whether the agent can probe with this port.
    pub usable: bool,
    /// Why not, and what to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// One entry of a port's GID table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GidStatus {
    /// Index in the table.
    pub index: u16,
    /// The GID, in IPv6 notation.
    pub gid: String,
    /// `RoCEv1`, `RoCEv2`, `IB`, or what the kernel says.
    pub r#type: String,
}

/// Outcome of a readiness check.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DoctorOutcome {
    /// Fine.
    #[default]
    Pass,
    /// Works, but worse than it could.
    Warn,
    /// Does not work.
    Fail,
}

/// Result of one readiness check.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DoctorResult {
    /// Name of the check.
    pub check: String,
    /// What came of it.
    pub outcome: DoctorOutcome,
    /// What was found.
    pub message: String,
    /// What to do; can be pasted where it is a command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

/// Value of [`Tracing::state`] where something is traced.
pub const TRACING_ACTIVE: &str = "Active";

/// Whether something is traced.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Tracing {
    /// `Active` or `Unavailable`.
    pub state: String,
    /// Why it is not active.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Queue pairs of one pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadQueuePairs {
    /// The pod.
    pub workload: WorkloadRef,
    /// Queue pairs that it has.
    pub count: u32,
    /// Queue pairs that went to the error state.
    pub errors: u32,
}
