//! What probing may cost, what counts as ill, and what follows.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::GoDuration;
use crate::rule::rule;

/// Upper bounds on what probing may cost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = [rule("self.maxProbesPerSecond >= self.maxPeersPerRnic", "the budget cannot carry one probe per peer: maxProbesPerSecond must be at least maxPeersPerRnic; raise the first or lower the second")]))]
pub struct Budget {
    /// Probes per second that one node may send, over all its RNICs and all meshes.
    #[schemars(extend("x-kubernetes-validations" = [rule("self >= 1 && self <= 100000", "maxProbesPerSecond must be a number from 1 to 100000; to stop probing set suspend: true")]))]
    pub max_probes_per_second: i32,

    /// Peers that one RNIC may probe in one class.
    #[schemars(extend("x-kubernetes-validations" = [rule("self >= 2 && self <= 1000", "maxPeersPerRnic must be a number from 2 to 1000: with a single peer nobody can tell which of the two is ill")]))]
    pub max_peers_per_rnic: i32,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            max_probes_per_second: 500,
            max_peers_per_rnic: 16,
        }
    }
}

/// What counts as ill.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Thresholds {
    /// Share of probes lost on a path above which it is ill.
    #[schemars(extend("x-kubernetes-validations" = [rule("self > 0.0 && self < 1.0", "lossRatio is a share and must lie between 0 and 1, both excluded, for example 0.02 for 2 %")]))]
    pub loss_ratio: f64,

    /// Network round-trip time (99th percentile) above which a path is ill. With software timestamps a path must also be
    /// three times slower than the agent's other paths, because host scheduling then is part of every measurement.
    #[schemars(extend("x-kubernetes-validations" = [rule("self.matches('^([0-9]+([.][0-9]+)?(ns|us|ms|s|m|h))+$') && duration(self) >= duration('1us') && duration(self) <= duration('10s')", "p99 must be a duration from 1us to 10s, for example 500us")]))]
    pub p99: GoDuration,

    /// Share of the probes over an RNIC that time out from which on the RNIC is suspected as soon as it is the most likely
    /// culprit. One that loses less is suspected only where the evidence leaves no doubt (95 %).
    #[schemars(extend("x-kubernetes-validations" = [rule("self > 0.0 && self < 1.0", "rnicTimeoutRatio is a share and must lie between 0 and 1, both excluded, for example 0.1 for 10 %")]))]
    pub rnic_timeout_ratio: f64,

    /// Time over which probes are counted.
    #[schemars(extend("x-kubernetes-validations" = [rule("self.matches('^([0-9]+([.][0-9]+)?(ns|us|ms|s|m|h))+$') && duration(self) >= duration('1s') && duration(self) <= duration('5m')", "window must be a duration from 1s to 5m, for example 5s")]))]
    pub window: GoDuration,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            loss_ratio: 0.02,
            p99: GoDuration::from_micros(500),
            rnic_timeout_ratio: 0.10,
            window: GoDuration::from_millis(5_000),
        }
    }
}

/// How much illness is accepted, and how long it must last.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Tolerance {
    /// Percentage of RNICs that may be ill before FabricHealthy turns False.
    #[schemars(extend("x-kubernetes-validations" = [rule("self >= 0 && self <= 100", "maxUnhealthyPercent must be a number from 0 to 100")]))]
    pub max_unhealthy_percent: i32,

    /// Windows for which an illness must last before it is named.
    #[schemars(extend("x-kubernetes-validations" = [rule("self >= 1 && self <= 100", "raiseAfter must be a number of windows from 1 to 100")]))]
    pub raise_after: i32,

    /// Windows for which the path must be clean before the suspect is dropped; for longer, up to six times as many, where it was
    /// dropped and came back in the last 15 minutes.
    #[schemars(extend("x-kubernetes-validations" = [rule("self >= 1 && self <= 100", "clearAfter must be a number of windows from 1 to 100")]))]
    pub clear_after: i32,
}

impl Default for Tolerance {
    fn default() -> Self {
        Self {
            max_unhealthy_percent: 0,
            raise_after: 1,
            clear_after: 2,
        }
    }
}

/// Key of the taint of suspect nodes; its effect is `NoSchedule`.
pub const FABRIC_SUSPECT_TAINT: &str = "rdmamesh.io/fabric-suspect";

/// Whether suspect nodes are tainted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TaintMode {
    /// Never.
    #[default]
    Off,
    /// Say what would be tainted.
    DryRun,
    /// Taint, up to `maxTaintedPercent`.
    Enforce,
}

/// What happens besides the status when something is ill.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Actions {
    /// Set the condition `rdmamesh.io/RdmaFabricReady` on suspect nodes.
    pub node_condition: bool,

    /// Write Events when a suspect appears or goes.
    pub events: bool,

    /// Taint suspect nodes.
    pub taint: TaintMode,

    /// Never taint more than this percentage of the selected nodes.
    #[schemars(extend("x-kubernetes-validations" = [rule("self >= 0 && self <= 100", "maxTaintedPercent must be a number from 0 to 100")]))]
    pub max_tainted_percent: i32,
}

impl Default for Actions {
    fn default() -> Self {
        Self {
            node_condition: true,
            events: true,
            taint: TaintMode::Off,
            max_tainted_percent: 10,
        }
    }
}
