//! `RdmaMesh`: which RNICs to probe, how hard, and what counts as ill. Written by the cluster operator,
//! judged by the operator's reconcilers, refused by the API server where it can never work.

mod policy;
mod probes;
mod selection;
mod status;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::rule::rule;

pub use policy::{Actions, Budget, FABRIC_SUSPECT_TAINT, TaintMode, Thresholds, Tolerance};
pub use probes::{ClassDefaults, ProbeClass, ProbeClassSpec, ProbeClasses};
pub use selection::{
    DeviceSelection, GidFamily, GidSelection, GidType, SwitchSpec, Topology, TrafficClass,
};
pub use status::{
    Coverage, Impact, MAX_SUSPECT_WORKLOADS, MAX_SUSPECTS, MAX_WORST_PAIRS, PairSummary,
    RdmaMeshStatus, Summary, Suspect, SuspectKind, WorkloadRef,
};

/// A mesh of probes over the RDMA NICs of the selected nodes, and the verdict on the fabric between them.
#[derive(CustomResource, JsonSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "rdmamesh.io",
    version = "v1alpha1",
    kind = "RdmaMesh",
    plural = "rdmameshes",
    shortname = "rmesh",
    category = "rdma",
    status = "RdmaMeshStatus",
    derive = "PartialEq",
    doc = "A mesh of RDMA probes over the NICs of the selected nodes, and the verdict on the fabric between them.",
    validation = Rule::new("self.metadata.name.size() <= 63").message("the name of a RdmaMesh has at most 63 characters: it is part of labels and field managers; choose a shorter one"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status", description = "The mesh is planned and its agents report."),
    printcolumn(name = "Healthy", type_ = "string", json_path = ".status.conditions[?(@.type==\"FabricHealthy\")].status", description = "The verdict on the fabric; Unknown means not enough evidence."),
    printcolumn(name = "Nodes", type_ = "integer", json_path = ".status.nodes"),
    printcolumn(name = "RNICs", type_ = "integer", json_path = ".status.rnics"),
    printcolumn(name = "Loss", type_ = "string", json_path = ".status.summary.loss"),
    printcolumn(name = "P99", type_ = "string", json_path = ".status.summary.p99"),
    printcolumn(name = "Suspect", type_ = "string", json_path = ".status.summary.suspect"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = [rule("!has(self.probes) || self.probes.all(k, self.probes[k].enabled == false || !has(self.probes[k].interval) || !self.probes[k].interval.matches('^([0-9]+([.][0-9]+)?(ns|us|ms|s|m|h))+$') || duration(self.probes[k].interval).getMilliseconds() * self.budget.maxProbesPerSecond >= 1000)", "the budget cannot carry one probe per peer: maxProbesPerSecond times the interval of every enabled class must be at least one probe; raise budget.maxProbesPerSecond or lengthen the interval (a class with interval 100ms needs at least 10)"),
    rule("(has(self.probes) && 'torMesh' in self.probes && (self.probes['torMesh'].enabled == false || has(self.probes['torMesh'].interval))) || self.budget.maxProbesPerSecond >= 10", "the budget cannot carry one probe per peer: torMesh probes every 100ms by default, which takes maxProbesPerSecond of at least 10; raise it, or set a longer probes.torMesh.interval")
]))]
pub struct RdmaMeshSpec {
    /// Nodes whose RNICs are probed, by label. Default: every node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_selector: Option<LabelSelector>,

    /// Which RDMA devices of a node take part. Default: all that have a usable port.
    pub devices: DeviceSelection,

    /// Which GID of a port the probes use.
    pub gid: GidSelection,

    /// How nodes are grouped under switches, and how many parallel paths join the groups.
    pub topology: Topology,

    /// Probe classes by name: torMesh, interTor, rail, hostMesh, service, control. A class that is listed is on unless
    /// `enabled: false`; torMesh, interTor and control are on without being listed.
    #[schemars(extend("x-kubernetes-validations" = [rule("self.all(k, k in ['torMesh', 'interTor', 'rail', 'hostMesh', 'service', 'control'])", "unknown probe class: write one of torMesh, interTor, rail, hostMesh, service, control"), rule("self.all(k, k == 'interTor' || !has(self[k].coverage))", "coverage belongs to interTor only: remove it from the other classes")]))]
    #[schemars(extend("maxProperties" = 6))]
    #[serde(skip_serializing_if = "ProbeClasses::is_empty")]
    pub probes: ProbeClasses,

    /// Traffic classes to probe: the fabric's RoCE class is what workloads use, not the default one. Default: one, DSCP 0.
    #[schemars(extend("minItems" = 1, "maxItems" = 8, "x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub traffic_classes: Vec<TrafficClass>,

    /// Upper bounds on what probing may cost.
    pub budget: Budget,

    /// What counts as ill.
    pub thresholds: Thresholds,

    /// How much illness is accepted, and how long it must last.
    pub tolerance: Tolerance,

    /// What happens besides the status when something is ill.
    pub actions: Actions,

    /// Stop probing for this mesh; its last verdict is dropped, its assignments are withdrawn.
    pub suspend: bool,
}

impl Default for RdmaMeshSpec {
    fn default() -> Self {
        Self {
            node_selector: None,
            devices: DeviceSelection::default(),
            gid: GidSelection::default(),
            topology: Topology::default(),
            probes: ProbeClasses::new(),
            traffic_classes: vec![TrafficClass::default()],
            budget: Budget::default(),
            thresholds: Thresholds::default(),
            tolerance: Tolerance::default(),
            actions: Actions::default(),
            suspend: false,
        }
    }
}
