//! What the planner answers: assignments, coverage, figures, reasons.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::assignment::PlanHash;
use super::findings::Finding;
use super::index::Index;
use super::input::{Address, MeshPolicy};
use super::share::Shares;
use super::summary::Figures;
use super::targets::Targets;
use crate::diagnose::Place;
use crate::names::{GroupName, MeshName, NodeName, RnicName};
use crate::rate::ProbeRate;

/// What a probe is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProbeClass {
    /// Everyone under the same switch but one's own host.
    TorMesh,
    /// Across groups, with enough flows to cover the parallel paths.
    InterTor,
    /// Same rail, other groups.
    Rail,
    /// RNICs of one host (opt-in).
    HostMesh,
    /// Along traced workload flows; agents find those targets themselves.
    Service,
    /// Plain IP to the same peers; has no targets of its own.
    Control,
}

impl ProbeClass {
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
}

impl std::fmt::Display for ProbeClass {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A plan for all meshes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// Plans by mesh.
    pub meshes: BTreeMap<MeshName, MeshPlan>,
}

/// The plan of one mesh.
#[derive(Clone, Debug, PartialEq)]
pub struct MeshPlan {
    /// How much is probed.
    pub counts: Counts,
    /// Probes per second of all nodes together, `control` exchanges included.
    pub rate: ProbeRate,
    /// Coverage of the parallel paths between groups.
    pub coverage: Coverage,
    /// What the reader of a status should know, in a stable order.
    pub findings: Vec<Finding>,
    pub(super) policy: MeshPolicy,
    pub(super) index: Index,
    pub(super) targets: Targets,
    /// Per host: factor on every interval.
    pub(super) stretch: Vec<u32>,
    /// Per host.
    pub(super) rates: Vec<ProbeRate>,
    /// Per host.
    pub(super) hashes: Vec<PlanHash>,
}

/// How much is probed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Nodes that take part.
    pub nodes: u32,
    /// RNICs that take part.
    pub rnics: u32,
    /// Groups that they form.
    pub groups: u32,
    /// Ordered pairs of RNICs that are probed.
    pub pairs: u64,
    /// Flows: pairs times UDP source ports times traffic classes.
    pub flows: u64,
}

/// How surely the flows cover all parallel paths between groups.
#[derive(Clone, Debug, PartialEq)]
pub struct Coverage {
    /// Probability that the mesh asks for.
    pub wanted: f64,
    /// Lowest probability over the ordered group pairs; 1 where there are none.
    pub achieved: f64,
    /// Mean probability over the ordered group pairs; 1 where there are none.
    pub mean: f64,
    /// Flows per ordered group pair that `wanted` takes; 0 where interTor is off.
    pub flows_wanted: u32,
    /// Flows of the ordered group pair that has fewest.
    pub flows: u32,
    /// Ordered pairs of groups that could probe each other.
    pub group_pairs: u64,
    /// Those of them with fewer flows than wanted.
    pub short: u64,
    /// How many ordered group pairs got how many flows.
    pub spread: BTreeMap<u32, u64>,
    /// The ordered group pairs with fewest flows, at most ten.
    pub worst: Vec<GroupPairCoverage>,
}

impl Default for Coverage {
    fn default() -> Self {
        Self {
            wanted: 0.0,
            achieved: 1.0,
            mean: 1.0,
            flows_wanted: 0,
            flows: 0,
            group_pairs: 0,
            short: 0,
            spread: BTreeMap::new(),
            worst: Vec::new(),
        }
    }
}

/// Coverage from one group to another.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupPairCoverage {
    /// Group that probes.
    pub from: GroupName,
    /// Group that is probed.
    pub to: GroupName,
    /// Flows planned.
    pub flows: u32,
    /// Probability that they cover all parallel paths.
    pub probability: f64,
}

impl MeshPlan {
    pub(super) fn new(
        policy: MeshPolicy,
        index: Index,
        shares: &Shares,
        targets: Targets,
        figures: Figures,
        coverage: Coverage,
        findings: Vec<Finding>,
    ) -> Self {
        let mut plan = Self {
            counts: figures.counts,
            rate: figures.rates.iter().copied().sum(),
            coverage,
            findings,
            policy,
            index,
            targets,
            stretch: shares.stretch.clone(),
            rates: figures.rates,
            hashes: Vec::new(),
        };
        plan.hashes = plan.hash_all();
        plan
    }

    /// The nodes that take part, by name, with the hash of their entry.
    pub fn nodes(&self) -> impl Iterator<Item = (&NodeName, PlanHash)> {
        let names = self.index.hosts.iter().map(|host| &host.name);
        names.zip(self.hashes.iter().copied())
    }

    /// Hash of the entry of `node`; `None` where it takes no part.
    #[must_use]
    pub fn plan_hash(&self, node: &NodeName) -> Option<PlanHash> {
        Some(self.hashes[self.host(node)?])
    }

    /// The RNICs that take part, in order.
    pub fn rnics(&self) -> impl Iterator<Item = RnicName> + '_ {
        (0..)
            .zip(&self.index.rnics)
            .map(|(rnic, _)| self.index.name(rnic))
    }

    /// Where each RNIC of [`Self::rnics`] is, in the same order.
    pub fn places(&self) -> impl Iterator<Item = Place> + '_ {
        self.index.rnics.iter().map(|port| Place {
            group: self.index.cells[port.cell as usize].group.clone(),
            rail: port.rail,
            address: match port.address {
                Address::Roce(gid) => Some(IpAddr::V6(gid).to_canonical()),
                Address::InfiniBand { .. } => None,
            },
        })
    }

    /// Who probes whom: positions in [`Self::rnics`], in order, each pair once.
    pub fn pairs(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        let mut peers = Vec::new();
        (0..).zip(&self.index.rnics).flat_map(move |(rnic, _)| {
            self.targets.peers_into(rnic, &mut peers);
            peers.iter().map(|&peer| (rnic, peer)).collect::<Vec<_>>()
        })
    }

    /// How often each of [`Self::pairs`] is probed, in the same order: probes per thousand seconds.
    pub fn pair_rates(&self) -> impl Iterator<Item = u32> + '_ {
        let traffic = u64::try_from(self.policy.traffic_classes.len().max(1)).unwrap_or(1);
        (0..).zip(&self.index.rnics).flat_map(move |(rnic, port)| {
            let stretch = u128::from(self.stretch.get(port.host as usize).copied().unwrap_or(1));
            let mut rates: BTreeMap<u32, u64> = BTreeMap::new();
            for target in self.targets.of(rnic) {
                let probing = self.policy.classes.get(&target.class);
                let interval = probing.map_or(0, |probing| probing.interval.as_micros() * stretch);
                let flows = u128::from(target.flows) * u128::from(traffic);
                let rate = (flows * 1_000_000_000).checked_div(interval).unwrap_or(0);
                *rates.entry(target.peer).or_default() += u64::try_from(rate).unwrap_or(u64::MAX);
            }
            let narrow = |rate: u64| u32::try_from(rate).unwrap_or(u32::MAX);
            rates.into_values().map(narrow).collect::<Vec<_>>()
        })
    }

    pub(super) fn host(&self, node: &NodeName) -> Option<usize> {
        self.index
            .hosts
            .binary_search_by(|host| host.name.cmp(node))
            .ok()
    }
}
