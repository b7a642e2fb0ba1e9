//! One accepted and one rejected example per CEL rule, and per schema constraint a user can run into.

use serde_json::{Value, json};

/// Which definition a rule belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    RdmaMesh,
    RdmaProbeAssignment,
}

/// An example pair for one rule.
pub struct Case {
    pub kind: Kind,
    /// Where the rule stands in the schema: `[]` is an item, `{}` a value of a map.
    pub path: &'static str,
    /// How the rule's message begins; for a schema constraint its keyword.
    pub rule: &'static str,
    /// Part of what the API server must answer where that is not the rule's message itself.
    pub answer: &'static str,
    /// A spec (YAML) that passes.
    pub accepted: &'static str,
    /// A spec (YAML) that this rule refuses.
    pub rejected: &'static str,
}

const fn mesh(
    path: &'static str,
    rule: &'static str,
    accepted: &'static str,
    rejected: &'static str,
) -> Case {
    Case {
        kind: Kind::RdmaMesh,
        path,
        rule,
        answer: "",
        accepted,
        rejected,
    }
}

const fn schema(
    path: &'static str,
    rule: &'static str,
    answer: &'static str,
    accepted: &'static str,
    rejected: &'static str,
) -> Case {
    Case {
        kind: Kind::RdmaMesh,
        path,
        rule,
        answer,
        accepted,
        rejected,
    }
}

const fn assignment(
    path: &'static str,
    rule: &'static str,
    accepted: &'static str,
    rejected: &'static str,
) -> Case {
    Case {
        kind: Kind::RdmaProbeAssignment,
        path,
        rule,
        answer: "",
        accepted,
        rejected,
    }
}

/// Every CEL rule.
#[rustfmt::skip]
pub const CEL: &[Case] = &[
    mesh("", "the name of a RdmaMesh has at most 63 characters", "{}", "{}"),
    mesh("spec", "the budget cannot carry one probe per peer: maxProbesPerSecond times the interval",
        "{probes: {torMesh: {interval: 100ms}}, budget: {maxProbesPerSecond: 10, maxPeersPerRnic: 2}}",
        "{probes: {torMesh: {interval: 100ms}}, budget: {maxProbesPerSecond: 9, maxPeersPerRnic: 2}}"),
    mesh("spec", "the budget cannot carry one probe per peer: torMesh probes every 100ms by default",
        "{probes: {torMesh: {enabled: false}}, budget: {maxProbesPerSecond: 9, maxPeersPerRnic: 2}}",
        "{probes: {interTor: {interval: 1s}}, budget: {maxProbesPerSecond: 9, maxPeersPerRnic: 2}}"),
    mesh("spec.budget", "the budget cannot carry one probe per peer: maxProbesPerSecond must be at least",
        "{budget: {maxProbesPerSecond: 20, maxPeersPerRnic: 20}}",
        "{budget: {maxProbesPerSecond: 20, maxPeersPerRnic: 21}}"),
    mesh("spec.budget.maxPeersPerRnic", "maxPeersPerRnic must be a number from 2 to 1000",
        "{budget: {maxPeersPerRnic: 2}}", "{budget: {maxPeersPerRnic: 1}}"),
    mesh("spec.budget.maxProbesPerSecond", "maxProbesPerSecond must be a number from 1 to 100000",
        "{budget: {maxProbesPerSecond: 100000}}", "{budget: {maxProbesPerSecond: 100001}}"),
    mesh("spec.devices.include", "an empty glob matches nothing: write a device name or a pattern such as mlx5_*",
        "{devices: {include: ['mlx5_*', 'rxe0']}}", "{devices: {include: ['mlx5_*', '']}}"),
    mesh("spec.devices.exclude", "an empty glob matches nothing: write a device name or a pattern such as mlx5_bond_*",
        "{devices: {exclude: ['mlx5_bond_*']}}", "{devices: {exclude: ['']}}"),
    mesh("spec.devices.viaRoute", "viaRoute must be an address prefix",
        "{devices: {viaRoute: 10.10.0.0/16}}", "{devices: {viaRoute: 10.10.0.1}}"),
    mesh("spec.devices.port", "port numbers start at 1",
        "{devices: {port: 1}}", "{devices: {port: 0}}"),
    mesh("spec.gid", "gid.index contradicts gid.type",
        "{gid: {type: IB, index: 0}}", "{gid: {type: IB, index: 3}}"),
    mesh("spec.gid", "gid.family contradicts gid.type",
        "{gid: {type: RoCEv2, family: IPv6}}", "{gid: {type: IB, family: IPv6}}"),
    mesh("spec.gid", "gid.index contradicts gid.family",
        "{gid: {family: Auto, index: 3}}", "{gid: {family: IPv4, index: 3}}"),
    mesh("spec.gid.index", "gid.index must be Auto or a number from 0 to 255",
        "{gid: {index: 255}}", "{gid: {index: first}}"),
    mesh("spec.topology.groupLabel", "groupLabel must be the key of a node label",
        "{topology: {groupLabel: example.com/rack}}", "{topology: {groupLabel: ''}}"),
    mesh("spec.topology.parallelPaths", "parallelPaths must be a number from 1 to 256",
        "{topology: {parallelPaths: 256}}", "{topology: {parallelPaths: 0}}"),
    mesh("spec.topology.switches", "duplicate switch address",
        "{topology: {switches: [{name: a, addresses: [10.11.0.1]}, {name: b, addresses: [10.11.0.2]}]}}",
        "{topology: {switches: [{name: a, addresses: [10.11.0.1]}, {name: b, addresses: [10.11.0.2, 10.11.0.1]}]}}"),
    mesh("spec.topology.switches[].addresses", "a switch address must be an IPv4 or IPv6 address",
        "{topology: {switches: [{name: a, addresses: ['fd00::1']}]}}",
        "{topology: {switches: [{name: a, addresses: [10.11.0.1/24]}]}}"),
    mesh("spec.topology.switches[].name", "a switch needs a name",
        "{topology: {switches: [{name: leaf1, addresses: [10.11.0.1]}]}}",
        "{topology: {switches: [{name: '', addresses: [10.11.0.1]}]}}"),
    mesh("spec.probes", "unknown probe class",
        "{probes: {torMesh: {}, interTor: {}, rail: {}, hostMesh: {}, service: {}, control: {}}}",
        "{probes: {torMash: {}}}"),
    mesh("spec.probes", "coverage belongs to interTor only",
        "{probes: {interTor: {coverage: 0.9}}}", "{probes: {torMesh: {coverage: 0.9}}}"),
    mesh("spec.probes{}.coverage", "coverage is a probability",
        "{probes: {interTor: {coverage: 0.999}}}", "{probes: {interTor: {coverage: 1}}}"),
    mesh("spec.probes{}.interval", "interval must be a duration from 10ms to 1h",
        "{probes: {torMesh: {interval: 1h}}}", "{probes: {torMesh: {interval: 9ms}}}"),
    mesh("spec.probes{}.timeout", "timeout must be a duration from 1ms to 10s",
        "{probes: {torMesh: {timeout: 10s}}}", "{probes: {torMesh: {timeout: '10'}}}"),
    mesh("spec.trafficClasses[].name", "a traffic class name consists of",
        "{trafficClasses: [{name: roce-26}]}", "{trafficClasses: [{name: RoCE}]}"),
    mesh("spec.trafficClasses[].dscp", "dscp must be a number from 0 to 63",
        "{trafficClasses: [{name: roce, dscp: 63}]}", "{trafficClasses: [{name: roce, dscp: 104}]}"),
    mesh("spec.trafficClasses[].serviceLevel", "serviceLevel must be a number from 0 to 15",
        "{trafficClasses: [{name: roce, serviceLevel: 15}]}", "{trafficClasses: [{name: roce, serviceLevel: -1}]}"),
    mesh("spec.thresholds.lossRatio", "lossRatio is a share",
        "{thresholds: {lossRatio: 0.5}}", "{thresholds: {lossRatio: 2}}"),
    mesh("spec.thresholds.p99", "p99 must be a duration from 1us to 10s",
        "{thresholds: {p99: 1.5ms}}", "{thresholds: {p99: 11s}}"),
    mesh("spec.thresholds.rnicTimeoutRatio", "rnicTimeoutRatio is a share",
        "{thresholds: {rnicTimeoutRatio: 0.2}}", "{thresholds: {rnicTimeoutRatio: 0}}"),
    mesh("spec.thresholds.window", "window must be a duration from 1s to 5m",
        "{thresholds: {window: 5m}}", "{thresholds: {window: 1 day}}"),
    mesh("spec.tolerance.maxUnhealthyPercent", "maxUnhealthyPercent must be a number from 0 to 100",
        "{tolerance: {maxUnhealthyPercent: 100}}", "{tolerance: {maxUnhealthyPercent: 101}}"),
    mesh("spec.tolerance.raiseAfter", "raiseAfter must be a number of windows from 1 to 100",
        "{tolerance: {raiseAfter: 1}}", "{tolerance: {raiseAfter: 0}}"),
    mesh("spec.tolerance.clearAfter", "clearAfter must be a number of windows from 1 to 100",
        "{tolerance: {clearAfter: 100}}", "{tolerance: {clearAfter: 101}}"),
    mesh("spec.actions.maxTaintedPercent", "maxTaintedPercent must be a number from 0 to 100",
        "{actions: {maxTaintedPercent: 0}}", "{actions: {maxTaintedPercent: -1}}"),
    assignment("spec.meshes[].trafficClasses[].name", "a traffic class name consists of",
        "{name: roce}", "{name: '-'}"),
    assignment("spec.meshes[].trafficClasses[].dscp", "dscp must be a number from 0 to 63",
        "{name: roce, dscp: 26}", "{name: roce, dscp: 64}"),
    assignment("spec.meshes[].trafficClasses[].serviceLevel", "serviceLevel must be a number from 0 to 15",
        "{name: roce, serviceLevel: 3}", "{name: roce, serviceLevel: 16}"),
];

/// Constraints of the schema itself, as far as a user's spec can violate them.
#[rustfmt::skip]
pub const SCHEMA: &[Case] = &[
    schema("spec.actions.taint", "enum", "supported values: \"Off\", \"DryRun\", \"Enforce\"",
        "{actions: {taint: DryRun}}", "{actions: {taint: Always}}"),
    schema("spec.gid.type", "enum", "supported values: \"Auto\", \"RoCEv2\", \"IB\"",
        "{gid: {type: RoCEv2}}", "{gid: {type: RoCEv1}}"),
    schema("spec.gid.family", "enum", "supported values: \"Auto\", \"IPv4\", \"IPv6\"",
        "{gid: {family: IPv4}}", "{gid: {family: v4}}"),
    schema("spec.trafficClasses", "minItems", "should have at least 1 items",
        "{trafficClasses: [{name: a}]}", "{trafficClasses: []}"),
    schema("spec.trafficClasses", "list-type map", "duplicate",
        "{trafficClasses: [{name: a}, {name: b}]}", "{trafficClasses: [{name: a}, {name: a}]}"),
    schema("spec.trafficClasses[]", "required", "name",
        "{trafficClasses: [{name: a}]}", "{trafficClasses: [{dscp: 3}]}"),
    schema("spec.topology.switches", "list-type map", "duplicate",
        "{topology: {switches: [{name: a, addresses: [10.0.0.1]}, {name: b, addresses: [10.0.0.2]}]}}",
        "{topology: {switches: [{name: a, addresses: [10.0.0.1]}, {name: a, addresses: [10.0.0.2]}]}}"),
    schema("spec.topology.switches[]", "required", "addresses",
        "{topology: {switches: [{name: a, addresses: [10.0.0.1]}]}}", "{topology: {switches: [{name: a}]}}"),
    schema("spec.topology.switches[].addresses", "minItems", "should have at least 1 items",
        "{topology: {switches: [{name: a, addresses: [10.0.0.1]}]}}",
        "{topology: {switches: [{name: a, addresses: []}]}}"),
    schema("spec.topology.switches[].addresses", "list-type set", "duplicate",
        "{topology: {switches: [{name: a, addresses: [10.0.0.1, 10.0.0.2]}]}}",
        "{topology: {switches: [{name: a, addresses: [10.0.0.1, 10.0.0.1]}]}}"),
    schema("spec", "unknown field", "spec.probez",
        "{probes: {}}", "{probez: {}}"),
    schema("spec.probes{}", "unknown field", "intervall",
        "{probes: {torMesh: {interval: 1s}}}", "{probes: {torMesh: {intervall: 1s}}}"),
];

impl Case {
    /// Name of the test.
    pub fn name(&self) -> String {
        let place = if self.path.is_empty() {
            "metadata.name"
        } else {
            self.path
        };
        let kind = match self.kind {
            Kind::RdmaMesh => "",
            Kind::RdmaProbeAssignment => "assignment ",
        };
        format!("rule::{kind}{place}: {}", self.rule)
    }

    /// The object to create from one of the two examples.
    pub fn object(&self, example: &str, accepted: bool) -> Value {
        let example: Value = serde_saphyr::from_str(example).expect("the table is YAML");
        let name = match (self.path, accepted) {
            ("", true) => "a".repeat(63),
            ("", false) => "a".repeat(64),
            _ => "example".to_owned(),
        };
        let (kind, spec) = match self.kind {
            Kind::RdmaMesh => ("RdmaMesh", example),
            Kind::RdmaProbeAssignment => ("RdmaProbeAssignment", assignment_spec(&example)),
        };
        json!({
            "apiVersion": "rdmamesh.io/v1alpha1", "kind": kind,
            "metadata": {"name": name}, "spec": spec,
        })
    }
}

fn assignment_spec(traffic_class: &Value) -> Value {
    json!({"meshes": [{
        "name": "m", "planHash": "1", "group": "g", "window": "5s", "lossRatio": 0.02, "p99": "500us",
        "classes": [], "trafficClasses": [traffic_class], "rnics": [],
    }]})
}
