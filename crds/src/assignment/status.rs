//! What an agent found: small, bounded, written on change.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::GoDuration;
use crate::condition::{Condition, conditions_schema};
use crate::mesh::ProbeClass;

/// Anomalies kept per mesh at most.
pub const MAX_ANOMALIES: usize = 32;
/// Link tallies kept per mesh at most.
pub const MAX_LINKS: usize = 64;
/// Paths of lossy flows kept per mesh at most.
pub const MAX_LOSSY_PATHS: usize = 64;
/// Peers without an answer that are told of at most, per mesh.
pub const MAX_UNANSWERED: usize = 16;
/// Size of a whole status at most, in bytes of JSON.
pub const MAX_STATUS_BYTES: usize = 8 * 1024;

/// What the node's agent found, per mesh.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RdmaProbeAssignmentStatus {
    /// When the agent wrote this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reported_at: Option<Time>,
    /// Identifies the agent process; changes when it restarts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epoch: Option<String>,
    /// One report per mesh of the spec.
    #[schemars(extend("maxItems" = 32, "x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub meshes: Vec<MeshReport>,
}

/// Results of one mesh on this node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct MeshReport {
    /// Name of the RdmaMesh.
    pub name: String,
    /// The plan that the results belong to.
    pub plan_hash: String,
    /// Whether the plan is carried out, and why not.
    #[schemars(schema_with = "conditions_schema")]
    pub conditions: Vec<Condition>,
    /// End of the window that the figures are of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window_end: Option<Time>,
    /// Figures per local RNIC.
    #[schemars(extend("maxItems" = 64, "x-kubernetes-list-type" = "atomic"))]
    pub rnics: Vec<RnicReport>,
    /// Paths that are ill, worst first.
    #[schemars(extend("maxItems" = 32, "x-kubernetes-list-type" = "atomic"))]
    pub anomalies: Vec<Anomaly>,
    /// Anomalies that did not fit.
    #[serde(skip_serializing_if = "is_zero")]
    pub anomalies_omitted: u32,
    /// Links on the paths of lossy or slow flows, worst first; filled where paths are traced.
    #[schemars(extend("maxItems" = 64, "x-kubernetes-list-type" = "atomic"))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<LinkTally>,
    /// Distinct paths of flows that lost probes on their way to the target, worst first.
    #[schemars(extend("maxItems" = 64, "x-kubernetes-list-type" = "atomic"))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lossy_paths: Vec<LossyPath>,
    /// Peers whose agents have answered nothing for a while: nobody can say whether probes to them arrive.
    #[schemars(extend("maxItems" = 16, "x-kubernetes-list-type" = "atomic"))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unanswered: Vec<UnansweredPeer>,
}

/// A peer whose agent answers nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UnansweredPeer {
    /// Its node.
    pub node: String,
    /// Since when, by the reporting agent's clock.
    pub since: Time,
}

fn is_zero<N: Default + PartialEq>(number: &N) -> bool {
    *number == N::default()
}

/// Where network round-trip times come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Timestamps {
    /// Stamped by the NIC.
    Hardware,
    /// Stamped by the agent; host scheduling is part of every figure.
    #[default]
    Software,
}

/// Probes of one window, by outcome; their sum is `sent`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RnicReport {
    /// RDMA device, for example `mlx5_0`.
    pub device: String,
    /// Port number, from 1.
    pub port: u8,
    /// Probes sent in the window.
    pub sent: u64,
    /// Answered in time.
    pub ok: u64,
    /// Not answered although the peer's agent was alive: the fabric's or an RNIC's fault.
    pub lost: u64,
    /// Answered after the timeout.
    pub late: u64,
    /// Not judged because this host or the peer's was starved of CPU.
    pub host_delayed: u64,
    /// Not judged because the peer's agent could not be reached or had restarted.
    pub unresolved: u64,
    /// Median network round-trip time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p50: Option<GoDuration>,
    /// 99th percentile of network round-trip time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p99: Option<GoDuration>,
    /// Where the times come from.
    pub timestamps: Timestamps,
    /// Distinct UDP source ports that the device really gives.
    pub flow_sources: u16,
    /// Error counters of the port that grew lately, and by how much; the kernel's names.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub errors: BTreeMap<String, u64>,
}

/// What is wrong with a path.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum AnomalyKind {
    /// Probes are lost.
    #[default]
    Loss,
    /// Round trips take too long.
    Latency,
}

/// A path that is ill.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Anomaly {
    /// Loss or latency.
    pub kind: AnomalyKind,
    /// Local RDMA device.
    pub device: String,
    /// Local port.
    pub port: u8,
    /// Class of the probes.
    pub class: ProbeClass,
    /// Peer RNIC, `<node>/<device>`.
    pub target: String,
    /// UDP source port of the one flow that is ill; absent when the target as a whole is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flow: Option<u16>,
    /// Probes of the window.
    pub sent: u64,
    /// Probes of the window that were lost.
    pub lost: u64,
    /// Those of them that never reached the target.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub lost_forward: u64,
    /// Those of them that the target has seen: their answer was lost.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub lost_return: u64,
    /// Median network round-trip time in the window; latency only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p50: Option<GoDuration>,
    /// 99th percentile of network round-trip time in the window.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p99: Option<GoDuration>,
    /// The round-trip time that it was compared with; latency only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline: Option<GoDuration>,
    /// Whether the peer answered over plain IP meanwhile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip_reachable: Option<bool>,
    /// Hops of the flow's last good path, nearest first, without the target; `""` is a hop that does not answer.
    #[schemars(extend("maxItems" = 16, "x-kubernetes-list-type" = "atomic"))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub path: Vec<String>,
    /// When the anomaly began.
    pub since: Time,
}

/// What this node's flows over one link met, in one direction.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LinkTally {
    /// Where probes come from: a router's address as traced, or the local RNIC `<node>/<device>`.
    pub from: String,
    /// Where they go: a router's address as traced, or the target RNIC.
    pub to: String,
    /// Flows whose last good path crosses the link.
    pub crossed: u32,
    /// Those of them that lost a probe on their way to the target, or nobody knows on which way.
    pub lossy: u32,
    /// Those of them whose round trips take too long.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub slow: u32,
    /// Probes of those flows in the window.
    pub sent: u64,
    /// Those of them that were lost on their way to the target, or nobody knows on which way.
    pub lost: u64,
    /// Hop probes of the window that ended at `to`.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub hop_sent: u32,
    /// Those of them that `to` answered.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub hop_answered: u32,
    /// Fastest round trip of those hop probes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hop_rtt: Option<GoDuration>,
}

/// A path and what the lossy flows on it lost; flows with one and the same path are one entry.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LossyPath {
    /// Its links, in order, as positions in `links`; links that did not fit there are left out.
    #[schemars(extend("maxItems" = 16, "x-kubernetes-list-type" = "atomic"))]
    pub links: Vec<u8>,
    /// Lossy flows on this path.
    pub flows: u32,
    /// Probes of the lossy flows in the window.
    pub sent: u64,
    /// Those of them that were lost on their way to the target, or nobody knows on which way.
    pub lost: u64,
}
