//! The fabric that flow records are about.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use thiserror::Error;

use super::{Element, Judge};
use crate::localise::{ComponentId, Kind, Network, NetworkError};

/// Nodes and links, as the owner of the records names them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fabric {
    /// Links; each may lose in either direction. Parallel links between the same nodes count as one.
    pub links: Vec<(String, String)>,
    /// Hosts.
    pub hosts: Vec<String>,
    /// Switches.
    pub switches: Vec<String>,
}

/// Why a fabric cannot be.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FabricError {
    /// A link from a node to itself.
    #[error("link [{0:?}, {0:?}] joins a node with itself; a link joins two nodes")]
    Loop(String),
    /// Host and switch at once.
    #[error("{0:?} is listed in `hosts` and in `switches`; list it once")]
    HostAndSwitch(String),
    /// Neither host nor switch.
    #[error("{0:?} of `links` is neither in `hosts` nor in `switches`; list it in one of them")]
    Unlisted(String),
    /// Never: components are made in the order that they need.
    #[error(transparent)]
    Network(#[from] NetworkError),
}

struct Builder<'a> {
    judge: Judge,
    hosts: BTreeSet<&'a str>,
    switches: BTreeSet<&'a str>,
    /// Cables of each node, with the node at the other end.
    cables: BTreeMap<u32, Vec<(ComponentId, u32)>>,
}

pub(super) fn judge(fabric: &Fabric) -> Result<Judge, FabricError> {
    let mut builder = Builder {
        judge: Judge {
            names: Vec::new(),
            nodes: HashMap::new(),
            links: HashMap::new(),
            elements: HashMap::new(),
            network: Network::new(),
            flows: 0,
            path: Vec::new(),
            crossed: Vec::new(),
        },
        hosts: fabric.hosts.iter().map(String::as_str).collect(),
        switches: fabric.switches.iter().map(String::as_str).collect(),
        cables: BTreeMap::new(),
    };
    if let Some(both) = builder.hosts.intersection(&builder.switches).next() {
        return Err(FabricError::HostAndSwitch((*both).to_owned()));
    }
    // Sorted, so that the ruling does not depend on the order of the list; each as it was written first.
    let mut links: BTreeMap<(&str, &str), (&str, &str)> = BTreeMap::new();
    for (a, b) in &fabric.links {
        let ends = (a.as_str().min(b), a.as_str().max(b));
        links.entry(ends).or_insert((a, b));
    }
    for name in fabric.hosts.iter().chain(&fabric.switches) {
        builder.node(name);
    }
    for (a, b) in links.into_values() {
        builder.link(a, b)?;
    }
    builder.groups()?;
    Ok(builder.judge)
}

impl Builder<'_> {
    fn is_host(&self, name: &str) -> bool {
        if self.hosts.is_empty() && !self.switches.is_empty() {
            return !self.switches.contains(name);
        }
        self.hosts.contains(name)
    }

    fn node(&mut self, name: &str) -> u32 {
        if let Some(&node) = self.judge.nodes.get(name) {
            return node;
        }
        // Four billion names do not fit into memory.
        let node = u32::try_from(self.judge.names.len()).unwrap_or(u32::MAX);
        self.judge.names.push(name.to_owned());
        self.judge.nodes.insert(name.to_owned(), node);
        node
    }

    fn link(&mut self, a: &str, b: &str) -> Result<(), FabricError> {
        if a == b {
            return Err(FabricError::Loop(a.to_owned()));
        }
        // One of the two lists may be left out: who is not in the other one is in it.
        let listed = !self.hosts.is_empty() && !self.switches.is_empty();
        for name in [a, b] {
            if listed && !self.hosts.contains(name) && !self.switches.contains(name) {
                return Err(FabricError::Unlisted(name.to_owned()));
            }
        }
        let (from, to) = (self.node(a), self.node(b));
        let judge = &mut self.judge;
        let forth = judge.network.component(Kind::Link);
        let back = judge.network.component(Kind::Link);
        let cable = judge.network.cable(forth, back)?;
        judge.links.insert((from, to), forth);
        judge.links.insert((to, from), back);
        let element = |from: &str, to: &str| Element {
            kind: Kind::Link,
            nodes: vec![a.to_owned(), b.to_owned()],
            direction: (!from.is_empty()).then(|| (from.to_owned(), to.to_owned())),
        };
        judge.elements.insert(forth, element(a, b));
        judge.elements.insert(back, element(b, a));
        judge.elements.insert(cable, element("", ""));
        self.cables.entry(from).or_default().push((cable, to));
        self.cables.entry(to).or_default().push((cable, from));
        Ok(())
    }

    /// A switch may lose on a share of all its links, or of those to other switches.
    fn groups(&mut self) -> Result<(), FabricError> {
        for (node, cables) in &self.cables {
            let name = self.judge.names[*node as usize].clone();
            let is_host = self.is_host(&name);
            let kind = if is_host { Kind::Host } else { Kind::Switch };
            let all: Vec<ComponentId> = cables.iter().map(|(cable, _)| *cable).collect();
            let to_switches: Vec<ComponentId> = cables
                .iter()
                .filter(|(_, peer)| {
                    !self
                        .hosts
                        .contains(self.judge.names[*peer as usize].as_str())
                })
                .map(|(cable, _)| *cable)
                .collect();
            if all.len() < 2 {
                continue;
            }
            let group = self.judge.network.group(kind, &all)?;
            if !is_host && to_switches.len() > 1 && to_switches.len() < all.len() {
                self.judge.network.narrower(group, &to_switches)?;
            }
            let element = Element {
                kind,
                nodes: vec![name],
                direction: None,
            };
            self.judge.elements.insert(group, element);
        }
        Ok(())
    }
}
