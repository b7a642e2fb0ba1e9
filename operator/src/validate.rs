//! The validate step: a mesh's spec as later steps want it, or a sentence that says what to write instead.
//!
//! The API server refuses most nonsense by schema and CEL. What is checked here is what those cannot say
//! (globs, selectors) and what an older schema may have let in.

use std::net::IpAddr;
use std::num::TryFromIntError;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::core::{ParseExpressionError, Selector};
use rdmamesh_api::RdmaMeshSpec;
use rdmamesh_api::mesh::{Actions, ProbeClass, ProbeClassSpec, TaintMode};
use rdmamesh_fabric::diagnose::Tolerance;
use rdmamesh_fabric::plan::{
    Budget, Classes, MeshPolicy, Probing, Thresholds, Topology, TrafficClass,
};

use crate::select::{DeviceFilter, DeviceFilterError, GidChoice, GidChoiceError};
use crate::watch::MeshView;

/// A mesh that can be planned.
#[derive(Clone, Debug)]
pub struct ValidMesh {
    /// Name.
    pub name: String,
    /// Identity of the object.
    pub uid: String,
    /// Generation of the spec that all this follows from.
    pub generation: i64,
    /// Nodes, by label.
    pub selector: Selector,
    /// Devices.
    pub devices: DeviceFilter,
    /// GID of a device.
    pub gid: GidChoice,
    /// Node label that names the group.
    pub group_label: String,
    /// How to probe.
    pub policy: MeshPolicy,
    /// How much illness is accepted.
    pub tolerance: Tolerance,
    /// Share of an RNIC's probes within its group that must be lost for the RNIC itself to be suspected.
    pub rnic_timeout_ratio: f64,
    /// Names of switches by the addresses that they answer from.
    pub switches: Arc<rdmamesh_fabric::diagnose::SwitchNames>,
    /// Whether Events are written.
    pub events: bool,
    /// What happens to suspect nodes.
    pub actions: NodeActions,
    /// Nothing is to be probed.
    pub suspended: bool,
}

/// What happens to suspect nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeActions {
    /// They get the condition `rdmamesh.io/RdmaFabricReady`.
    pub condition: bool,
    /// They get the taint `rdmamesh.io/fabric-suspect:NoSchedule`.
    pub taint: TaintMode,
    /// Percentage of the selected nodes that may have the taint at a time.
    pub max_tainted_percent: u8,
}

/// Why a mesh cannot be planned.
#[derive(Debug, thiserror::Error)]
pub enum InvalidMesh {
    /// The object does not fit the schema that this operator was built for.
    #[error(
        "the spec cannot be read: {0}; apply the mesh again, or run the operator of its version"
    )]
    Unreadable(String),
    /// `nodeSelector` is no selector.
    #[error(
        "nodeSelector is invalid: operators are In, NotIn, Exists, DoesNotExist, and In and NotIn need values"
    )]
    Selector(#[source] ParseExpressionError),
    /// `devices` is no filter.
    #[error(transparent)]
    Devices(#[from] DeviceFilterError),
    /// `gid` is no choice.
    #[error(transparent)]
    Gid(#[from] GidChoiceError),
    /// A number does not fit.
    #[error("{field} is out of range: write {allowed}")]
    Range {
        /// Which.
        field: &'static str,
        /// What may be written.
        allowed: &'static str,
        /// The conversion that failed.
        #[source]
        source: TryFromIntError,
    },
}

/// Checks a mesh.
///
/// # Errors
/// When the mesh cannot be planned; the message is for its author.
pub fn validate(view: &MeshView) -> Result<ValidMesh, InvalidMesh> {
    let spec = view
        .spec
        .as_ref()
        .map_err(|e| InvalidMesh::Unreadable(e.clone()))?;
    Ok(ValidMesh {
        name: view.name.clone(),
        uid: view.uid.clone(),
        generation: view.generation,
        selector: selector(spec.node_selector.as_ref())?,
        devices: DeviceFilter::new(&spec.devices)?,
        gid: GidChoice::new(&spec.gid)?,
        group_label: spec.topology.group_label.clone(),
        policy: policy(spec)?,
        tolerance: tolerance(spec)?,
        rnic_timeout_ratio: spec.thresholds.rnic_timeout_ratio,
        switches: Arc::new(switches(spec)),
        events: spec.actions.events,
        actions: actions(&spec.actions)?,
        suspended: spec.suspend,
    })
}

fn selector(selector: Option<&LabelSelector>) -> Result<Selector, InvalidMesh> {
    selector
        .cloned()
        .map_or_else(|| Ok(Selector::default()), Selector::try_from)
        .map_err(InvalidMesh::Selector)
}

fn policy(spec: &RdmaMeshSpec) -> Result<MeshPolicy, InvalidMesh> {
    let coverage = spec
        .probes
        .get(ProbeClass::InterTor.as_str())
        .and_then(|class| class.coverage)
        .or(ProbeClass::InterTor.defaults().coverage);
    Ok(MeshPolicy {
        classes: classes(spec),
        coverage: coverage.unwrap_or_default(),
        topology: Topology {
            rail_optimized: spec.topology.rail_optimized,
            parallel_paths: number(
                "topology.parallelPaths",
                "1 to 256",
                spec.topology.parallel_paths,
            )?,
        },
        budget: Budget {
            max_probes_per_second: number(
                "budget.maxProbesPerSecond",
                "1 to 100000",
                spec.budget.max_probes_per_second,
            )?,
            max_peers_per_rnic: number(
                "budget.maxPeersPerRnic",
                "2 to 1000",
                spec.budget.max_peers_per_rnic,
            )?,
        },
        traffic_classes: traffic_classes(spec)?,
        thresholds: Thresholds {
            window: spec.thresholds.window.get(),
            loss_ratio: spec.thresholds.loss_ratio,
            p99: spec.thresholds.p99.get(),
        },
    })
}

fn classes(spec: &RdmaMeshSpec) -> Classes {
    let listed = |class: ProbeClass| spec.probes.get(class.as_str());
    let in_force = ProbeClass::ALL
        .into_iter()
        .filter(|class| listed(*class).map_or(class.defaults().enabled, |listed| listed.enabled));
    let unlisted = ProbeClassSpec::default();
    in_force
        .map(|class| {
            let settings = listed(class).unwrap_or(&unlisted);
            let interval = settings.interval.map(rdmamesh_api::GoDuration::get);
            let probing = Probing {
                interval: interval.unwrap_or(class.defaults().interval),
                timeout: settings.timeout.get(),
            };
            (class.into(), probing)
        })
        .collect()
}

fn traffic_classes(spec: &RdmaMeshSpec) -> Result<Vec<TrafficClass>, InvalidMesh> {
    let class = |class: &rdmamesh_api::mesh::TrafficClass| {
        Ok(TrafficClass {
            name: Arc::from(class.name.as_str()),
            dscp: number("trafficClasses[].dscp", "0 to 63", class.dscp)?,
            service_level: number(
                "trafficClasses[].serviceLevel",
                "0 to 15",
                class.service_level,
            )?,
        })
    };
    spec.traffic_classes.iter().map(class).collect()
}

/// An address that cannot be read names nobody; the API server refuses those.
fn switches(spec: &RdmaMeshSpec) -> rdmamesh_fabric::diagnose::SwitchNames {
    let listed = spec.topology.switches.iter().flat_map(|switch| {
        let name: Arc<str> = Arc::from(switch.name.as_str());
        let addresses = switch.addresses.iter();
        let parsed = addresses.filter_map(|address| address.parse::<IpAddr>().ok());
        parsed.map(move |address| (address.to_canonical(), Arc::clone(&name)))
    });
    listed.collect()
}

fn tolerance(spec: &RdmaMeshSpec) -> Result<Tolerance, InvalidMesh> {
    let tolerance = &spec.tolerance;
    Ok(Tolerance {
        max_unhealthy_percent: number(
            "tolerance.maxUnhealthyPercent",
            "0 to 100",
            tolerance.max_unhealthy_percent,
        )?,
        raise_after: number("tolerance.raiseAfter", "1 to 100", tolerance.raise_after)?,
        clear_after: number("tolerance.clearAfter", "1 to 100", tolerance.clear_after)?,
    })
}

fn actions(actions: &Actions) -> Result<NodeActions, InvalidMesh> {
    Ok(NodeActions {
        condition: actions.node_condition,
        taint: actions.taint,
        max_tainted_percent: number(
            "actions.maxTaintedPercent",
            "0 to 100",
            actions.max_tainted_percent,
        )?,
    })
}

fn number<N: TryFrom<i32, Error = TryFromIntError>>(
    field: &'static str,
    allowed: &'static str,
    value: i32,
) -> Result<N, InvalidMesh> {
    N::try_from(value).map_err(|source| InvalidMesh::Range {
        field,
        allowed,
        source,
    })
}

#[cfg(test)]
mod tests;
