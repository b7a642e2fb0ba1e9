//! Agents that do not answer their peers, by the word of those peers. Pure.
//!
//! An agent with nothing new to say writes only every few minutes, so its silence towards the API server is
//! noticed late. Its peers notice within seconds, and say so in their reports. A majority of them is
//! believed, so that one node that cannot reach anybody accuses nobody but itself.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::jiff::Timestamp;
use rdmamesh_fabric::NodeName;

use crate::evidence::is_fresh;
use crate::planning::InForce;
use crate::watch::{AssignmentView, Views};

/// Agents that do not answer their peers, by node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unanswered(BTreeMap<String, Silence>);

/// An agent that does not answer its peers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Silence {
    /// Since when, by the clocks of its peers.
    pub since: Timestamp,
    /// Peers that say so.
    pub complaints: usize,
    /// Peers that were asked: they probe the node and report.
    pub asked: usize,
    /// The agent has reported since, or finds in turn that its peers do not answer: it runs, but cannot be
    /// reached.
    pub runs: bool,
}

/// What one peer says.
struct Complaint<'a> {
    by: &'a str,
    since: Timestamp,
    /// When it was first seen, by our own clock.
    seen: Timestamp,
}

type Complaints<'a> = BTreeMap<&'a str, Vec<Complaint<'a>>>;

impl Unanswered {
    /// Whom the peers in the mesh of `in_force` miss at `now`.
    #[must_use]
    pub fn find(in_force: &InForce, assignments: &Views<AssignmentView>, now: Timestamp) -> Self {
        let mesh = in_force.mesh.name.as_str();
        let fresh = |node: &str| {
            let view = assignments.get(node)?;
            let is_word = view.reported_at.is_some_and(|at| is_fresh(at, now));
            (is_word && view.report(mesh).is_some()).then_some(view)
        };
        let mut complaints = Complaints::new();
        for (member, _) in &in_force.members {
            let Some(view) = fresh(member.as_str()) else {
                continue;
            };
            for peer in view
                .report(mesh)
                .into_iter()
                .flat_map(|report| &report.unanswered)
            {
                complaints.entry(&peer.node).or_default().push(Complaint {
                    by: member.as_str(),
                    since: peer.since.0,
                    seen: view.complained(mesh, &peer.node).unwrap_or(now),
                });
            }
        }
        if complaints.is_empty() {
            return Self::default();
        }
        let missed: BTreeSet<NodeName> = complaints.keys().map(|node| (*node).into()).collect();
        let probers = in_force.planned.probers(&missed);
        let silences = complaints.iter().filter_map(|(node, complaints_of)| {
            let probers = probers.get(&NodeName::from(*node))?;
            let reporting = || {
                probers
                    .iter()
                    .map(NodeName::as_str)
                    .filter(|by| fresh(by).is_some())
            };
            // The word of who is missed itself counts only where there is no other.
            let mut asked: BTreeSet<&str> = reporting()
                .filter(|by| !complaints.contains_key(by))
                .collect();
            if asked.is_empty() {
                asked = reporting().collect();
            }
            let believed: Vec<_> = complaints_of
                .iter()
                .filter(|c| asked.contains(c.by))
                .collect();
            if believed.len() * 2 <= asked.len() {
                return None;
            }
            let silence = Silence {
                since: believed.iter().map(|complaint| complaint.since).min()?,
                complaints: believed.len(),
                asked: asked.len(),
                runs: runs(node, &believed, &complaints, assignments),
            };
            Some(((*node).to_owned(), silence))
        });
        Self(silences.collect())
    }

    /// What is held against the agent of `node`.
    #[must_use]
    pub fn get(&self, node: &str) -> Option<&Silence> {
        self.0.get(node)
    }

    /// Whether the agent of `node` does not even run: what it last wrote says nothing about now.
    #[must_use]
    pub fn is_gone(&self, node: &str) -> bool {
        self.get(node).is_some_and(|silence| !silence.runs)
    }
}

fn runs(
    node: &str,
    believed: &[&Complaint<'_>],
    complaints: &Complaints<'_>,
    assignments: &Views<AssignmentView>,
) -> bool {
    let first_seen = believed.iter().map(|complaint| complaint.seen).min();
    let reported = assignments.get(node).and_then(|view| view.reported_at);
    let has_reported = reported.zip(first_seen).is_some_and(|(at, seen)| at > seen);
    // Both sides miss each other: the way between them is cut.
    let misses = |by: &str| {
        complaints
            .get(by)
            .into_iter()
            .flatten()
            .any(|c| c.by == node)
    };
    has_reported || believed.iter().any(|complaint| misses(complaint.by))
}

impl Silence {
    /// What is wrong, and where to look; for a message that names the node.
    #[must_use]
    pub fn sentence(&self) -> String {
        let Self {
            since,
            complaints,
            asked,
            runs,
        } = self;
        let look = if *runs {
            "it reports, so look for a firewall or network policy in front of its control address"
        } else {
            "is the rdmamesh-agent running there?"
        };
        format!(
            "does not answer its peers since {since:.0}, {complaints} of {asked} say so; {look}"
        )
    }
}

#[cfg(test)]
mod tests;
