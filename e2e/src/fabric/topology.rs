//! Hosts, switches and cables of a fabric by name, and who is connected to whom.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::address;
use super::spec::{FabricSpec, SpecError};

/// One end of a cable: an interface in a network namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct End {
    /// Network namespace: name of host or switch.
    pub netns: String,
    /// Interface there.
    pub device: String,
}

/// A cable. `lower` is the end that its name begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Name, e.g. `leaf1-spine2`.
    pub name: String,
    /// First end: the host of a host cable, the leaf of a spine cable.
    pub lower: End,
    /// Second end: the leaf of a host cable, the spine of a spine cable.
    pub upper: End,
    /// Addresses of the ends.
    pub addresses: address::Pair,
}

/// Which way packets go over a cable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Direction {
    /// Either way.
    #[default]
    Both,
    /// From the end its name begins with to the other: away from the hosts.
    Forward,
    /// Towards the end its name begins with: towards the hosts.
    Backward,
}

impl Link {
    /// The ends at which packets of this direction leave.
    pub fn senders(&self, direction: Direction) -> Vec<&End> {
        match direction {
            Direction::Both => vec![&self.lower, &self.upper],
            Direction::Forward => vec![&self.lower],
            Direction::Backward => vec![&self.upper],
        }
    }
}

/// A host's connection to one rail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostRail {
    /// Rail number from 1.
    pub rail: u16,
    /// RDMA device, e.g. `rxe1` or `rxe1.2`.
    pub rnic: String,
    /// Name of its cable.
    pub link: String,
    /// Name of the leaf it hangs on.
    pub leaf: String,
    /// The RNIC's address.
    pub address: Ipv4Addr,
    /// The leaf's address on the same cable.
    pub gateway: Ipv4Addr,
}

impl HostRail {
    /// Its netdev in the host's namespace.
    pub fn netdev(&self) -> String {
        format!("rail{}", self.rail)
    }
}

/// A host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Name of host, network namespace and node.
    pub name: String,
    /// Number from 1.
    pub number: u16,
    /// Leaf of its rail 1: what its rack label says.
    pub rack: String,
    /// Address on the management network.
    pub management: Ipv4Addr,
    /// Its RNICs, rail 1 first.
    pub rails: Vec<HostRail>,
}

/// Something in a scenario names what the fabric does not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the fabric has no {kind} {name:?}; it has {}", .valid.join(", "))]
pub struct UnknownName {
    kind: &'static str,
    name: String,
    valid: Vec<String>,
}

/// A fabric of a given size, worked out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fabric {
    spec: FabricSpec,
    hosts: Vec<Host>,
    links: BTreeMap<String, Link>,
}

impl Fabric {
    /// Works out names, addresses and cables.
    ///
    /// # Errors
    /// When the size is not one the rig can build.
    pub fn new(spec: FabricSpec) -> Result<Self, SpecError> {
        spec.validate()?;
        let mut links = BTreeMap::new();
        for leaf in 1..=spec.leaves * spec.rails {
            for spine in 1..=spec.spines {
                let link = spine_link(leaf, spine);
                links.insert(link.name.clone(), link);
            }
        }
        let mut hosts = Vec::new();
        for group in 1..=spec.leaves {
            for place in 0..spec.hosts_per_leaf {
                let number = (group - 1) * spec.hosts_per_leaf + place + 1;
                let host = host(spec, number, group, place);
                for rail in &host.rails {
                    let link = host_link(&host, rail);
                    links.insert(link.name.clone(), link);
                }
                hosts.push(host);
            }
        }
        Ok(Self { spec, hosts, links })
    }

    /// The size it was made from.
    pub fn spec(&self) -> FabricSpec {
        self.spec
    }

    /// All hosts by number.
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// All cables by name.
    pub fn links(&self) -> impl Iterator<Item = &Link> {
        self.links.values()
    }

    /// Names of all leaves.
    pub fn leaves(&self) -> Vec<String> {
        (1..=self.spec.leaves * self.spec.rails)
            .map(|leaf| format!("leaf{leaf}"))
            .collect()
    }

    /// Names of all spines.
    pub fn spines(&self) -> Vec<String> {
        (1..=self.spec.spines)
            .map(|spine| format!("spine{spine}"))
            .collect()
    }

    /// A host by name.
    ///
    /// # Errors
    /// Lists the hosts when there is none of this name.
    pub fn host(&self, name: &str) -> Result<&Host, UnknownName> {
        self.hosts
            .iter()
            .find(|host| host.name == name)
            .ok_or_else(|| UnknownName {
                kind: "host",
                name: name.to_owned(),
                valid: self.hosts.iter().map(|host| host.name.clone()).collect(),
            })
    }

    /// A host's connection to a rail (from 1).
    ///
    /// # Errors
    /// Lists the hosts or the rails when there is none of this name or number.
    pub fn rail(&self, host: &str, rail: u16) -> Result<&HostRail, UnknownName> {
        let rails = &self.host(host)?.rails;
        rails
            .iter()
            .find(|candidate| candidate.rail == rail)
            .ok_or_else(|| UnknownName {
                kind: "rail",
                name: rail.to_string(),
                valid: rails.iter().map(|rail| rail.rail.to_string()).collect(),
            })
    }

    /// A cable by name.
    ///
    /// # Errors
    /// Lists the cables when there is none of this name.
    pub fn link(&self, name: &str) -> Result<&Link, UnknownName> {
        self.links.get(name).ok_or_else(|| UnknownName {
            kind: "link",
            name: name.to_owned(),
            valid: self.links.keys().cloned().collect(),
        })
    }

    /// Every switch with all its addresses on the fabric: what routers answer a trace with.
    pub fn switch_addresses(&self) -> BTreeMap<String, Vec<Ipv4Addr>> {
        let mut switches: BTreeMap<String, Vec<Ipv4Addr>> = BTreeMap::new();
        for link in self.links() {
            let ends = [
                (&link.lower, link.addresses.lower),
                (&link.upper, link.addresses.upper),
            ];
            let of_switches = ends
                .into_iter()
                .filter(|(end, _)| self.host(&end.netns).is_err());
            for (end, address) in of_switches {
                switches.entry(end.netns.clone()).or_default().push(address);
            }
        }
        switches
    }

    /// A mesh's spec with the switches' names, unless it has some itself. What is no object is left as it is: the API server
    /// says what is wrong with it.
    pub fn with_switch_names(&self, spec: &serde_json::Value) -> serde_json::Value {
        let mut named = spec.clone();
        let topology = named
            .as_object_mut()
            .map(|spec| spec.entry("topology").or_insert_with(|| json!({})));
        if let Some(topology) = topology.and_then(serde_json::Value::as_object_mut) {
            let switches = self.switch_addresses().into_iter();
            let switches =
                switches.map(|(name, addresses)| json!({"name": name, "addresses": addresses}));
            topology
                .entry("switches")
                .or_insert_with(|| switches.collect());
        }
        named
    }

    /// A leaf's or spine's own ends of its cables.
    ///
    /// # Errors
    /// Lists the switches when there is none of this name.
    pub fn switch_ends(&self, name: &str) -> Result<Vec<&End>, UnknownName> {
        let switches = || self.leaves().into_iter().chain(self.spines());
        if !switches().any(|switch| switch == name) {
            let valid = switches().collect();
            return Err(UnknownName {
                kind: "switch",
                name: name.to_owned(),
                valid,
            });
        }
        let ends = self.links().flat_map(|link| [&link.lower, &link.upper]);
        Ok(ends.filter(|end| end.netns == name).collect())
    }
}

fn spine_link(leaf: u16, spine: u16) -> Link {
    let (leaf_name, spine_name) = (format!("leaf{leaf}"), format!("spine{spine}"));
    Link {
        name: format!("{leaf_name}-{spine_name}"),
        lower: End {
            netns: leaf_name.clone(),
            device: spine_name.clone(),
        },
        upper: End {
            netns: spine_name,
            device: leaf_name,
        },
        addresses: address::spine_cable(leaf, spine),
    }
}

fn host_link(host: &Host, rail: &HostRail) -> Link {
    Link {
        name: rail.link.clone(),
        lower: End {
            netns: host.name.clone(),
            device: rail.netdev(),
        },
        upper: End {
            netns: rail.leaf.clone(),
            device: on_rail(&host.name, rail.rail),
        },
        addresses: address::Pair {
            upper: rail.gateway,
            lower: rail.address,
        },
    }
}

fn host(spec: FabricSpec, number: u16, group: u16, place: u16) -> Host {
    let name = format!("host{number}");
    let rails = (1..=spec.rails).map(|rail| {
        let leaf = (rail - 1) * spec.leaves + group;
        let cable = address::host_cable(leaf, place);
        HostRail {
            rail,
            rnic: on_rail(&format!("rxe{number}"), rail),
            link: format!("{}-leaf{leaf}", on_rail(&name, rail)),
            leaf: format!("leaf{leaf}"),
            address: cable.lower,
            gateway: cable.upper,
        }
    });
    Host {
        rails: rails.collect(),
        rack: format!("leaf{group}"),
        management: address::management(number),
        name,
        number,
    }
}

/// `host1` on rail 1, `host1.2` on rail 2.
fn on_rail(name: &str, rail: u16) -> String {
    if rail == 1 {
        name.to_owned()
    } else {
        format!("{name}.{rail}")
    }
}

#[cfg(test)]
mod tests;
