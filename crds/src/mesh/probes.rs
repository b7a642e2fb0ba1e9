//! Probe classes and their settings. The one table of per-class defaults lives here, because a schema
//! default cannot depend on the key of a map.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::GoDuration;
use crate::rule::rule;

/// Settings by class name; keys are those of [`ProbeClass`], the API server refuses others.
pub type ProbeClasses = BTreeMap<String, ProbeClassSpec>;

/// What a probe is for; decides who probes whom and how often.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "camelCase")]
pub enum ProbeClass {
    /// Every RNIC under the same top-of-rack switch but those of one's own host: tells sick RNICs.
    TorMesh,
    /// Across groups, with enough flows to cover all parallel paths: tells sick links and switches.
    InterTor,
    /// Between RNICs of the same rail.
    Rail,
    /// Between RNICs of one host (opt-in).
    HostMesh,
    /// Along the flows of traced workload queue pairs.
    Service,
    /// Plain IP to the same peers: tells "IP is fine, RDMA is not".
    Control,
}

/// What holds for a class where the mesh says nothing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClassDefaults {
    /// On although the mesh does not list it.
    pub enabled: bool,
    /// Between two probes of one flow.
    pub interval: Duration,
    /// Probability that every parallel path is probed; interTor only.
    pub coverage: Option<f64>,
}

impl ProbeClass {
    /// Every class, in the order in which a budget serves them.
    pub const ALL: [Self; 6] = [
        Self::TorMesh,
        Self::InterTor,
        Self::Rail,
        Self::HostMesh,
        Self::Service,
        Self::Control,
    ];

    /// The name used in specs, statuses and metric attributes.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TorMesh => "torMesh",
            Self::InterTor => "interTor",
            Self::Rail => "rail",
            Self::HostMesh => "hostMesh",
            Self::Service => "service",
            Self::Control => "control",
        }
    }

    /// Defaults of the class: torMesh 100 ms, others 1 s, coverage 0.99.
    #[must_use]
    pub const fn defaults(self) -> ClassDefaults {
        let second = Duration::from_secs(1);
        match self {
            Self::TorMesh => ClassDefaults {
                enabled: true,
                interval: Duration::from_millis(100),
                coverage: None,
            },
            Self::InterTor => ClassDefaults {
                enabled: true,
                interval: second,
                coverage: Some(0.99),
            },
            Self::Control => ClassDefaults {
                enabled: true,
                interval: second,
                coverage: None,
            },
            Self::Rail | Self::HostMesh | Self::Service => ClassDefaults {
                enabled: false,
                interval: second,
                coverage: None,
            },
        }
    }
}

impl fmt::Display for ProbeClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The planner's class of the same name.
#[cfg(feature = "fabric")]
impl From<ProbeClass> for rdmamesh_fabric::plan::ProbeClass {
    fn from(class: ProbeClass) -> Self {
        match class {
            ProbeClass::TorMesh => Self::TorMesh,
            ProbeClass::InterTor => Self::InterTor,
            ProbeClass::Rail => Self::Rail,
            ProbeClass::HostMesh => Self::HostMesh,
            ProbeClass::Service => Self::Service,
            ProbeClass::Control => Self::Control,
        }
    }
}

/// The API's class of the same name.
#[cfg(feature = "fabric")]
impl From<rdmamesh_fabric::plan::ProbeClass> for ProbeClass {
    fn from(class: rdmamesh_fabric::plan::ProbeClass) -> Self {
        use rdmamesh_fabric::plan::ProbeClass as Planned;
        match class {
            Planned::TorMesh => Self::TorMesh,
            Planned::InterTor => Self::InterTor,
            Planned::Rail => Self::Rail,
            Planned::HostMesh => Self::HostMesh,
            Planned::Service => Self::Service,
            Planned::Control => Self::Control,
        }
    }
}

/// A name that is none of the probe classes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "unknown probe class \"{0}\": write one of torMesh, interTor, rail, hostMesh, service, control"
)]
pub struct UnknownProbeClass(pub String);

impl FromStr for ProbeClass {
    type Err = UnknownProbeClass;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|class| class.as_str() == name)
            .ok_or_else(|| UnknownProbeClass(name.to_owned()))
    }
}

/// Settings of one probe class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ProbeClassSpec {
    /// Time between two probes of one flow, from 10ms to 1h. Default: 100ms for torMesh, 1s for the others.
    #[schemars(extend("x-kubernetes-validations" = [rule("self.matches('^([0-9]+([.][0-9]+)?(ns|us|ms|s|m|h))+$') && duration(self) >= duration('10ms') && duration(self) <= duration('1h')", "interval must be a duration from 10ms to 1h, for example 100ms")]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<GoDuration>,

    /// How long an answer may take before the probe counts as timed out, from 1ms to 10s.
    #[schemars(extend("x-kubernetes-validations" = [rule("self.matches('^([0-9]+([.][0-9]+)?(ns|us|ms|s|m|h))+$') && duration(self) >= duration('1ms') && duration(self) <= duration('10s')", "timeout must be a duration from 1ms to 10s, for example 500ms")]))]
    pub timeout: GoDuration,

    /// Whether the class is probed.
    pub enabled: bool,

    /// interTor only: probability, above 0 and below 1, that every parallel path between two groups is probed. Default 0.99.
    #[schemars(extend("x-kubernetes-validations" = [rule("self > 0.0 && self < 1.0", "coverage is a probability and must lie between 0 and 1, both excluded, for example 0.99")]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub coverage: Option<f64>,
}

impl Default for ProbeClassSpec {
    fn default() -> Self {
        Self {
            interval: None,
            timeout: GoDuration::from_millis(500),
            enabled: true,
            coverage: None,
        }
    }
}

#[cfg(all(test, feature = "fabric"))]
mod tests {
    use super::ProbeClass;

    #[test]
    fn the_planner_calls_every_class_the_same() {
        for class in ProbeClass::ALL {
            let planned = rdmamesh_fabric::plan::ProbeClass::from(class);
            assert_eq!(planned.as_str(), class.as_str());
            assert_eq!(ProbeClass::from(planned), class);
        }
    }
}
