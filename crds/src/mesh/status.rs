//! `RdmaMesh.status`: bounded whatever the mesh's size; numbers at full resolution go to OTLP.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::GoDuration;
use crate::condition::{Condition, conditions_schema};

/// Suspects kept in the status at most.
pub const MAX_SUSPECTS: usize = 20;
/// Workloads named per suspect at most.
pub const MAX_SUSPECT_WORKLOADS: usize = 5;
/// Worst pairs kept in the status at most.
pub const MAX_WORST_PAIRS: usize = 10;

/// What the operator knows about the mesh.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RdmaMeshStatus {
    /// Generation of the spec that this status is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// Ready, AssignmentsReady, AgentsReporting, FabricHealthy, CoverageMet.
    #[schemars(schema_with = "conditions_schema")]
    pub conditions: Vec<Condition>,

    /// Nodes that take part.
    pub nodes: u32,
    /// RNICs (ports) that take part.
    pub rnics: u32,
    /// Ordered pairs of RNICs that are probed.
    pub pairs: u32,
    /// Flows that are probed: a flow is a pair and a UDP source port.
    pub flows: u32,
    /// Probes per second, all nodes together.
    pub probes_per_second: u32,

    /// How much of the parallel paths between groups the flows cover.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub coverage: Option<Coverage>,

    /// The figures of the printer columns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summary: Option<Summary>,

    /// The pairs that lose most, worst first.
    #[schemars(extend("maxItems" = 10, "x-kubernetes-list-type" = "atomic"))]
    pub worst_pairs: Vec<PairSummary>,

    /// Who is suspected, most certain first.
    #[schemars(extend("maxItems" = 20, "x-kubernetes-list-type" = "atomic"))]
    pub suspects: Vec<Suspect>,
}

/// Coverage of parallel paths between groups.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Coverage {
    /// Probability that was asked for.
    pub wanted: f64,
    /// Lowest probability over the ordered group pairs; 1 where there is one group only.
    pub achieved: f64,
    /// Flows per ordered group pair that `wanted` takes.
    pub flows_wanted_per_pair: u32,
    /// Flows per ordered group pair that the worst pair gets.
    pub flows_per_pair: u32,
    /// Why `achieved` is below `wanted`, and what to change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shortfall: Option<String>,
}

/// Loss and round-trip times over the last reported windows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Summary {
    /// Lost share of judged probes, as people read it, for example `0.3%`.
    pub loss: String,
    /// Lost share of judged probes (0 to 1).
    pub loss_ratio: f64,
    /// Median over the RNICs of their median network round-trip time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p50: Option<GoDuration>,
    /// The worst RNIC's 99th percentile of network round-trip time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p99: Option<GoDuration>,
    /// The first suspect and how many more there are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suspect: Option<String>,
    /// Agents whose report is fresh.
    pub agents_reporting: u32,
    /// End of the newest window that is part of this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window_end: Option<Time>,
}

/// What was measured between two RNICs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PairSummary {
    /// RNIC that probes, `<node>/<device>`.
    pub source: String,
    /// RNIC that is probed, `<node>/<device>`.
    pub target: String,
    /// Probes of the window.
    pub sent: u64,
    /// Probes of the window that were lost.
    pub lost: u64,
    /// 99th percentile of network round-trip time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p99: Option<GoDuration>,
}

/// What kind of element is suspected.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub enum SuspectKind {
    /// An RNIC; with `peer`, the path between two RNICs, which element of it is not known.
    Rnic,
    /// A cable between two switches or a switch and a host; with `peer`, some link between two groups.
    Link,
    /// A switch.
    Switch,
    /// A host: all its RNICs.
    Host,
}

/// How much the suspect hurts.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
)]
pub enum Impact {
    /// A traced workload uses it and suffers.
    P0,
    /// A traced workload uses it.
    P1,
    /// No traced workload is known to use it.
    #[default]
    P2,
}

/// A workload that a suspect touches.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadRef {
    /// Namespace of the pod.
    pub namespace: String,
    /// Name of the pod.
    pub name: String,
}

/// An element that the evidence points at.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Suspect {
    /// What kind of element.
    pub kind: SuspectKind,
    /// Its name: `<node>/<device>`, `<a>-<b>` for a link, the switch's or the node's name.
    pub name: String,
    /// The other RNIC, where only the path between two RNICs is known to be ill; for a link, the other group, where only
    /// the two groups that the ill paths join are known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
    /// How sure the verdict is, in percent.
    #[schemars(range(min = 0, max = 100))]
    pub confidence: u8,
    /// How much it hurts.
    #[serde(default)]
    pub impact: Impact,
    /// Workloads that use it.
    #[schemars(extend("maxItems" = 5, "x-kubernetes-list-type" = "atomic"))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub workloads: Vec<WorkloadRef>,
    /// When it was first seen ill; kept while the case is open.
    pub since: Time,
    /// When it was last seen ill.
    pub last_seen: Time,
    /// One sentence with numbers.
    #[schemars(extend("maxLength" = 512))]
    pub evidence: String,
}
