//! What is probed: devices, GIDs, topology, traffic classes.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::rule::rule;

/// Which RDMA devices of a node take part. A device takes part when an `include` glob matches (or none is given), no
/// `exclude` glob does, and `viaRoute` (if given) leads through its network interface.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct DeviceSelection {
    /// Globs on device names, for example `mlx5_*`. Default: every device.
    #[schemars(extend("x-kubernetes-validations" = [rule("self.all(g, g != '')", "an empty glob matches nothing: write a device name or a pattern such as mlx5_*, or remove the entry")]))]
    #[schemars(extend("maxItems" = 32, "items" = {"type": "string", "maxLength": 64}))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub include: Vec<String>,

    /// Globs on device names that stay out, for example the storage NIC.
    #[schemars(extend("x-kubernetes-validations" = [rule("self.all(g, g != '')", "an empty glob matches nothing: write a device name or a pattern such as mlx5_bond_*, or remove the entry")]))]
    #[schemars(extend("maxItems" = 32, "items" = {"type": "string", "maxLength": 64}))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<String>,

    /// Only devices whose network interface has an address in this prefix, for example `10.10.0.0/16`.
    #[schemars(extend("x-kubernetes-validations" = [rule("isCIDR(self)", "viaRoute must be an address prefix, for example 10.10.0.0/16 or fd00::/48")]))]
    #[schemars(extend("maxLength" = 64))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub via_route: Option<String>,

    /// Only this port number (1 to 255) of multi-port devices. Default: every usable port.
    #[schemars(extend("x-kubernetes-validations" = [rule("self >= 1 && self <= 255", "port numbers start at 1: write a number from 1 to 255, or leave port out for every port")]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<i32>,
}

/// Kind of GID, as the kernel names it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum GidType {
    /// RoCEv2 on Ethernet ports, IB on InfiniBand ports.
    #[default]
    Auto,
    /// RoCE version 2 (UDP 4791).
    RoCEv2,
    /// InfiniBand.
    IB,
}

/// Address family of a RoCEv2 GID.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum GidFamily {
    /// IPv4 where the port has an IPv4-mapped GID, else global IPv6.
    #[default]
    Auto,
    /// An IPv4-mapped GID.
    IPv4,
    /// A global IPv6 GID.
    IPv6,
}

/// Which GID of a port the probes use.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = [rule("self.type != 'IB' || type(self.index) == string || self.index == 0", "gid.index contradicts gid.type: an InfiniBand port is addressed by its LID and GID 0; set index to Auto or 0, or type to RoCEv2"), rule("self.type != 'IB' || self.family == 'Auto'", "gid.family contradicts gid.type: InfiniBand GIDs have no address family; set family to Auto, or type to RoCEv2"), rule("self.family == 'Auto' || type(self.index) == string", "gid.index contradicts gid.family: a fixed index already decides the family; set index to Auto, or family to Auto")]))]
pub struct GidSelection {
    /// Kind of GID.
    pub r#type: GidType,

    /// Address family of a RoCEv2 GID.
    pub family: GidFamily,

    /// `Auto` picks the right entry on every port; a number (0 to 255) forces one, which is rarely the same on two machines.
    #[schemars(extend("x-kubernetes-validations" = [rule("type(self) == string ? self == 'Auto' : (self >= 0 && self <= 255)", "gid.index must be Auto or a number from 0 to 255")]))]
    pub index: IntOrString,
}

impl Default for GidSelection {
    fn default() -> Self {
        Self {
            r#type: GidType::Auto,
            family: GidFamily::Auto,
            index: IntOrString::String("Auto".to_owned()),
        }
    }
}

/// How nodes are grouped under switches, and how many parallel paths join the groups.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Topology {
    /// Node label whose value names the group (rack, top-of-rack switch). Nodes without it form one group together, and a
    /// condition says so.
    #[schemars(extend("x-kubernetes-validations" = [rule("self != ''", "groupLabel must be the key of a node label, for example topology.kubernetes.io/rack")]))]
    #[schemars(extend("maxLength" = 316))]
    pub group_label: String,

    /// Rail-optimised fabric: RNIC n of every host hangs under a switch of its own rail, so a group is label times rail.
    pub rail_optimized: bool,

    /// Parallel paths between two groups (spines, times parallel cables). Decides how many flows cover them all.
    #[schemars(extend("x-kubernetes-validations" = [rule("self >= 1 && self <= 256", "parallelPaths must be a number from 1 to 256: the number of spine switches, times parallel cables")]))]
    pub parallel_paths: i32,

    /// Names for the addresses that traced hops answer from. Optional.
    #[schemars(extend("x-kubernetes-validations" = [rule("self.all(a, self.exists_one(b, b.addresses.exists(x, x in a.addresses)))", "duplicate switch address: an address belongs to one switch; remove it from the others")]))]
    #[schemars(extend("maxItems" = 128, "x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub switches: Vec<SwitchSpec>,
}

impl Default for Topology {
    fn default() -> Self {
        Self {
            group_label: crate::DEFAULT_GROUP_LABEL.to_owned(),
            rail_optimized: false,
            parallel_paths: 16,
            switches: Vec::new(),
        }
    }
}

/// A switch and the addresses it answers from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SwitchSpec {
    /// Name to show in verdicts.
    #[schemars(extend("x-kubernetes-validations" = [rule("self != ''", "a switch needs a name: it is what verdicts will show")]))]
    #[schemars(extend("maxLength" = 63))]
    pub name: String,

    /// Addresses of its interfaces and loopback.
    #[schemars(extend("x-kubernetes-validations" = [rule("self.all(a, isIP(a))", "a switch address must be an IPv4 or IPv6 address without prefix length, for example 10.11.0.1")]))]
    #[schemars(extend("minItems" = 1, "maxItems" = 16, "x-kubernetes-list-type" = "set", "items" = {"type": "string", "maxLength": 45}))]
    pub addresses: Vec<String>,
}

/// A class of traffic as the fabric sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TrafficClass {
    /// Name in results and metrics.
    #[schemars(extend("x-kubernetes-validations" = [rule("self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')", "a traffic class name consists of lower-case letters, digits and '-', for example roce")]))]
    #[schemars(extend("maxLength" = 32))]
    pub name: String,

    /// DSCP of the probes, 0 to 63 (RoCE is often 26).
    #[schemars(extend("x-kubernetes-validations" = [rule("self >= 0 && self <= 63", "dscp must be a number from 0 to 63; a traffic class byte (ToS) is four times the DSCP")]))]
    #[serde(default)]
    pub dscp: i32,

    /// InfiniBand service level or RoCE priority, 0 to 15.
    #[schemars(extend("x-kubernetes-validations" = [rule("self >= 0 && self <= 15", "serviceLevel must be a number from 0 to 15")]))]
    #[serde(default)]
    pub service_level: i32,
}

impl Default for TrafficClass {
    fn default() -> Self {
        Self {
            name: "default".to_owned(),
            dscp: 0,
            service_level: 0,
        }
    }
}
