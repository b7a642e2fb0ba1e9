//! Judges flow records that somebody else made, with the inference that judges our own probes.
//!
//! A [`Judge`] is made of a [`Fabric`] (nodes and links, as the records' owner names them), takes one
//! [`Judge::flow`] after the other, and gives a [`Ruling`]. Each link may lose in one direction or in
//! both; a switch is guilty when its links lose in a share, a host only where it has several links: a
//! host's only access link is a link. `rig judge` reads files for it.
//!
//! Methods compared over 800 generated cases (fat trees and leaf–spines): this one, Flock's model with its two
//! fixed rates, 007's votes, and NetBouncer's least-squares estimate of link success. This one won; the command
//! and its tables are in the crate's README.

mod fabric;
mod ruling;

use std::collections::HashMap;

use thiserror::Error;

pub use fabric::{Fabric, FabricError};
pub use ruling::{Element, Ruling, Verdict};

use crate::localise::{ComponentId, Network, NetworkError, Priors, localise};

/// Links of other people's records: good ones lose up to 0.01 %, bad ones 0.2 to 5 %. Several bad links come
/// together more often than a bad switch and a bad link; healthy fabrics are to have no suspect.
const PRIORS: Priors = Priors {
    background: 5e-5,
    mildest: 1.5e-3,
    usual: 0.06,
    outlier: 0.0,
    faults: 0.4,
    mixed: 0.15,
    named: 0.6,
};

/// Takes flows and gives the ruling.
#[derive(Clone, Debug)]
pub struct Judge {
    names: Vec<String>,
    nodes: HashMap<String, u32>,
    /// Component of a link in the direction from the first node to the second.
    links: HashMap<(u32, u32), ComponentId>,
    /// What a component, cable or group is called.
    elements: HashMap<ComponentId, Element>,
    network: Network,
    flows: u64,
    /// Nodes and components of the flow at hand, kept to save allocations.
    path: Vec<u32>,
    crossed: Vec<ComponentId>,
}

/// Why a flow cannot be.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FlowError {
    /// A node that the fabric does not have.
    #[error(
        "node {0:?} is not in the fabric; list it in `links` (and `hosts` or `switches`) of the first line"
    )]
    UnknownNode(String),
    /// Two nodes in a row without a link.
    #[error(
        "there is no link {0:?}–{1:?}; list it in `links` of the first line, or correct `path`"
    )]
    NoLink(String, String),
    /// More lost than sent.
    #[error(transparent)]
    Count(#[from] NetworkError),
}

impl Judge {
    /// Ready to take flows over `fabric`.
    ///
    /// # Errors
    /// When the fabric contradicts itself.
    pub fn new(fabric: &Fabric) -> Result<Self, FabricError> {
        fabric::judge(fabric)
    }

    /// Takes one flow: `sent` packets of which `lost` were lost, from `source` to `target` along `path`,
    /// which may or may not begin with the one and end with the other.
    ///
    /// # Errors
    /// When a node or link is unknown, or more was lost than sent.
    pub fn flow<S: AsRef<str>>(
        &mut self,
        source: &str,
        target: &str,
        path: &[S],
        sent: u64,
        lost: u64,
    ) -> Result<(), FlowError> {
        let (source, target) = (self.node(source)?, self.node(target)?);
        self.path.clear();
        self.path.push(source);
        for (position, name) in path.iter().enumerate() {
            let node = self.node(name.as_ref())?;
            if position > 0 || node != source {
                self.path.push(node);
            }
        }
        if self.path.last() != Some(&target) {
            self.path.push(target);
        }
        self.crossed.clear();
        for hop in self.path.windows(2) {
            let &[from, to] = hop else { continue };
            let link = self.links.get(&(from, to)).ok_or_else(|| {
                let name = |node: u32| self.names[node as usize].clone();
                FlowError::NoLink(name(from), name(to))
            })?;
            self.crossed.push(*link);
        }
        self.network.observe(&self.crossed, sent, lost, 1)?;
        self.flows += 1;
        Ok(())
    }

    fn node(&self, name: &str) -> Result<u32, FlowError> {
        let node = self.nodes.get(name).copied();
        node.ok_or_else(|| FlowError::UnknownNode(name.to_owned()))
    }

    /// Flows taken so far.
    #[must_use]
    pub const fn flows(&self) -> u64 {
        self.flows
    }

    /// Who is guilty.
    #[must_use]
    pub fn rule(&self) -> Ruling {
        let found = localise(&self.network, &PRIORS);
        ruling::of(&found, |component| self.elements.get(&component).cloned())
    }
}
