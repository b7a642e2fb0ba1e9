//! What the evidence says about nodes and RNICs, ready to be asked by name.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::evidence::{
    AgentState, Anomaly, AnomalyKind, Evidence, NodeEvidence, PortState, Report, RnicTally,
};
use super::sentence;
use super::state::{CaseKey, State};
use super::verdict::Summary;
use crate::names::{GroupName, NodeName, RnicName};
use crate::plan::ProbeClass;

/// Where an RNIC stands, by the word of its own agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing<'a> {
    /// Its port is up.
    Active,
    /// Its port is not up.
    Down { state: &'a str, physical: &'a str },
    /// The agent lists its node's ports, and this is not among them or marked as absent.
    Gone,
    /// Nobody whose word holds says anything about it.
    Unknown,
    /// It is no part of the mesh any more.
    Left,
}

/// A case's figures and words as the evidence gives them now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    /// In percent, below 100.
    pub confidence: u8,
    /// One sentence with numbers.
    pub evidence: String,
    /// How long it must be seen before it is named: evidence that is still coming in may explain it better.
    pub settle: Duration,
}

/// The evidence, indexed.
pub(super) struct Facts<'a> {
    pub evidence: &'a Evidence,
    nodes: BTreeMap<&'a NodeName, &'a NodeEvidence>,
    expected: Arc<BTreeSet<RnicName>>,
    groups: Arc<BTreeMap<RnicName, GroupName>>,
}

impl<'a> Facts<'a> {
    pub fn read(evidence: &'a Evidence, state: &State) -> Self {
        let nodes = evidence
            .nodes
            .iter()
            .map(|node| (&node.node, node))
            .collect();
        let mut facts = Self {
            evidence,
            nodes,
            expected: state.expected.clone(),
            groups: state.groups.clone(),
        };
        facts.update_expected(state);
        facts
    }

    /// Adds what takes part now and what open cases are about, drops what left the mesh; copies the set
    /// only where that changes it.
    fn update_expected(&mut self, state: &State) {
        self.learn_groups();
        let cases = state.cases.keys().filter_map(|key| match key {
            CaseKey::Rnic(rnic) => Some(rnic),
            _ => None,
        });
        let planned = self.evidence.planned.rnics().iter();
        let new: Vec<_> = planned
            .chain(cases)
            .filter(|rnic| !self.expected.contains(*rnic) && self.standing(rnic) != Standing::Left)
            .cloned()
            .collect();
        let left: Vec<_> = self
            .expected
            .iter()
            .filter(|rnic| self.standing(rnic) == Standing::Left)
            .cloned()
            .collect();
        if new.is_empty() && left.is_empty() {
            return;
        }
        let expected = Arc::make_mut(&mut self.expected);
        expected.extend(new);
        for rnic in left {
            expected.remove(&rnic);
        }
    }

    /// Remembers the groups of planned RNICs, for when they are planned no longer.
    fn learn_groups(&mut self) {
        let planned = &self.evidence.planned;
        let news = planned.rnics().iter().filter_map(|rnic| {
            let group = &planned.place(rnic)?.group;
            (self.groups.get(rnic) != Some(group)).then(|| (rnic.clone(), group.clone()))
        });
        let news: Vec<_> = news.collect();
        if !news.is_empty() {
            Arc::make_mut(&mut self.groups).extend(news);
        }
    }

    /// What is remembered: the RNICs that take part, and their groups.
    pub fn into_memory(self) -> (Arc<BTreeSet<RnicName>>, Arc<BTreeMap<RnicName, GroupName>>) {
        let Self {
            expected,
            mut groups,
            ..
        } = self;
        if groups.keys().any(|rnic| !expected.contains(rnic)) {
            Arc::make_mut(&mut groups).retain(|rnic, _| expected.contains(rnic));
        }
        (expected, groups)
    }

    /// The group of an RNIC, as last planned.
    pub fn group(&self, rnic: &RnicName) -> Option<&GroupName> {
        self.groups.get(rnic)
    }

    /// The RNICs that take part or took part.
    pub fn expected(&self) -> &BTreeSet<RnicName> {
        &self.expected
    }

    /// The RNICs of a node that take part or took part.
    pub fn expected_of(&self, node: &NodeName) -> impl Iterator<Item = &RnicName> {
        let first = RnicName::new(node.clone(), "", 0);
        let own = self.expected.range(first..);
        own.take_while(move |rnic| rnic.node == *node)
    }

    pub fn standing(&self, rnic: &RnicName) -> Standing<'a> {
        let Some(node) = self.nodes.get(&rnic.node) else {
            return Standing::Left;
        };
        let Some(ports) = &node.ports else {
            return Standing::Unknown;
        };
        let port = ports
            .iter()
            .find(|port| port.device == rnic.device && port.port == rnic.port);
        match port {
            Some(port) if !port.selected => Standing::Left,
            _ if node.agent != AgentState::Reporting => Standing::Unknown,
            None => Standing::Gone,
            Some(port) => match &port.state {
                PortState::Active => Standing::Active,
                PortState::Absent => Standing::Gone,
                PortState::Down { state, physical } => Standing::Down { state, physical },
            },
        }
    }

    /// State of the agent of `node`; `None` where the node is no part of the mesh.
    pub fn agent(&self, node: &NodeName) -> Option<AgentState> {
        self.nodes.get(node).map(|node| node.agent)
    }

    /// The latest report of `node`, where its agent's word holds.
    pub fn report(&self, node: &NodeName) -> Option<&'a Report> {
        let node = self.nodes.get(node)?;
        (node.agent == AgentState::Reporting)
            .then_some(node.report.as_ref())
            .flatten()
    }

    /// Every report whose word holds, by node.
    pub fn reports(&self) -> impl Iterator<Item = (&'a NodeName, &'a Report)> {
        self.nodes
            .keys()
            .filter_map(|node| Some((*node, self.report(node)?)))
    }

    /// Whether somebody lists links now.
    pub fn has_links(&self) -> bool {
        self.reports().any(|(_, report)| !report.links.is_empty())
    }

    /// The figures of `rnic` from a settled window with judged probes.
    pub fn tally(&self, rnic: &RnicName) -> Option<&'a RnicTally> {
        let report = self.report(&rnic.node)?;
        report.window_end?;
        let own = |tally: &&RnicTally| tally.device == rnic.device && tally.port == rnic.port;
        report
            .rnics
            .iter()
            .find(own)
            .filter(|tally| tally.judged() > 0)
    }

    /// Every anomaly that is evidence about a path between two RNICs of the mesh: its reporter's word
    /// holds, it has figures, and neither end has left or is left out.
    pub fn anomalies(&self) -> impl Iterator<Item = (RnicName, &'a Anomaly)> {
        self.nodes.values().flat_map(move |node| {
            let report = self.report(&node.node);
            let anomalies = report.map_or(&[][..], |report| &report.anomalies);
            anomalies.iter().filter_map(move |anomaly| {
                let source = RnicName::new(node.node.clone(), anomaly.device.clone(), anomaly.port);
                let counts = has_figures(anomaly)
                    && anomaly.class != ProbeClass::Control
                    && source != anomaly.target
                    && self.standing(&source) != Standing::Left
                    && self.standing(&anomaly.target) != Standing::Left
                    && self.agent(&anomaly.target.node) != Some(AgentState::Excluded);
                counts.then_some((source, anomaly))
            })
        })
    }

    /// Whether somebody whose word holds traces paths.
    pub fn is_traced(&self) -> bool {
        let mut nodes = self.nodes.values();
        nodes.any(|node| node.traces && node.agent == AgentState::Reporting)
    }

    /// Figures over the mesh.
    pub fn summary(&self) -> Summary {
        let planned = &self.evidence.planned;
        let agents: BTreeSet<&NodeName> = planned.rnics().iter().map(|rnic| &rnic.node).collect();
        let mut summary = Summary {
            rnics: planned.rnics().len(),
            pairs: planned.pairs(),
            agents: agents.len(),
            ..Summary::default()
        };
        let (mut lost, mut judged) = (0_u64, 0_u64);
        let mut medians: Vec<Duration> = Vec::new();
        for node in agents {
            let Some(report) = self
                .report(node)
                .filter(|report| report.window_end.is_some())
            else {
                continue;
            };
            let before = judged;
            for tally in &report.rnics {
                lost = lost.saturating_add(tally.lost);
                judged = judged.saturating_add(tally.judged());
                medians.extend(tally.p50);
                summary.p99 = summary.p99.max(tally.p99);
            }
            if judged > before {
                summary.agents_reporting += 1;
                summary.window_end = summary.window_end.max(report.window_end);
            }
        }
        medians.sort_unstable();
        summary.p50 = medians.get(medians.len().saturating_sub(1) / 2).copied();
        summary.loss_ratio = sentence::ratio(lost, judged);
        summary
    }
}

/// An anomaly without numbers proves nothing.
fn has_figures(anomaly: &Anomaly) -> bool {
    match anomaly.kind {
        AnomalyKind::Loss => anomaly.sent > 0 && anomaly.lost > 0,
        AnomalyKind::Latency => anomaly.sent > 0 && anomaly.p99.is_some(),
    }
}
