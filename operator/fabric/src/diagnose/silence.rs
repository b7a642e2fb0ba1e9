//! What agents do not list. An agent lists the links on the paths of its ill flows only, so over every other link
//! its probes were well: without them, one lost probe among the ten of its flow would look like a tenth.
//!
//! How many probes that were follows from the plan (who is probed how often) and, for links between
//! switches, from how those agents that do list a link spread theirs over it and its parallels.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::evidence::{Hop, Report};
use super::facts::Facts;
use super::network::{Illness, Model, as_f64, counts, rounded};
use super::wiring::{Way, Wiring};
use crate::names::RnicName;

/// From so many links on a report may have had no room for more: what it does not list may be ill as well.
const MAYBE_CUT: usize = 32;
/// Links that are left when a report has to be cut far down.
const CUT_DOWN: usize = 12;

/// Probes (flows, for latency) over the ways of `model` that nobody lists.
pub(super) fn clean(
    facts: &Facts<'_>,
    wiring: &Wiring<'_>,
    model: &Model,
    illness: Illness,
) -> Vec<(Way, u64)> {
    let agents = agents(facts, wiring, illness);
    let leaves = Leaves::of(facts, wiring);
    let trunks = trunks(&leaves, wiring, model, &agents);
    let mut clean: BTreeMap<&Way, f64> = BTreeMap::new();
    let planned = &facts.evidence.planned;
    for agent in agents.iter().filter(|agent| agent.is_complete) {
        let mut per_leaf: BTreeMap<u32, f64> = BTreeMap::new();
        let own = leaves.at(agent.position);
        let mut add = |way: &Way, sent: f64| {
            if let Some((way, _)) = model.id(way).filter(|_| !agent.listed.contains(way)) {
                *clean.entry(way).or_default() += sent;
            }
        };
        add(&Way::Out(agent.rnic.clone()), agent.sent);
        for (to, share) in planned.shares_at(agent.position) {
            let Some(target) = planned.rnics().get(to as usize) else {
                continue;
            };
            let sent = agent.sent * share;
            if model.is_traced() {
                add(&Way::Into(target.clone()), sent);
            } else if !agent.pairs.contains(target) {
                let hops = (&Hop::Rnic(agent.rnic.clone()), &Hop::Rnic(target.clone()));
                let ways = wiring.ways(hops);
                ways.iter().skip(1).for_each(|way| add(way, sent));
            }
            if let Some(leaf) = leaves.at(to).filter(|leaf| Some(*leaf) != own) {
                *per_leaf.entry(leaf).or_default() += sent;
            }
        }
        let across: f64 = per_leaf.values().sum();
        for trunk in &trunks {
            let sent = match trunk.end {
                End::From(leaf) if own == Some(leaf) => across,
                End::From(_) => 0.0,
                End::To(leaf) => per_leaf.get(&leaf).copied().unwrap_or(0.0),
            };
            if sent > 0.0 {
                add(&trunk.way, sent * trunk.share);
            }
        }
    }
    let clean = clean.into_iter();
    clean
        .map(|(way, sent)| (way.clone(), rounded(sent)))
        .collect()
}

/// One RNIC of an agent whose word holds.
struct Agent<'a> {
    rnic: &'a RnicName,
    position: u32,
    /// Probes of the window that were judged; for latency, what it probes.
    sent: f64,
    listed: BTreeSet<Way>,
    /// Targets that are listed without a path.
    pairs: BTreeSet<RnicName>,
    /// By way, probes that are listed.
    tallies: BTreeMap<Way, f64>,
    /// Whether it lists all that is ill.
    is_complete: bool,
}

fn agents<'a>(facts: &Facts<'a>, wiring: &Wiring<'_>, illness: Illness) -> Vec<Agent<'a>> {
    let planned = &facts.evidence.planned;
    let mut agents = Vec::new();
    for (position, rnic) in (0..).zip(planned.rnics()) {
        let (Some(report), Some(tally)) = (facts.report(&rnic.node), facts.tally(rnic)) else {
            continue;
        };
        let sent = match illness {
            Illness::Loss => as_f64(tally.judged()),
            Illness::Latency => as_f64(planned.targets(rnic) as u64),
        };
        let mut agent = Agent {
            rnic,
            position,
            sent,
            listed: BTreeSet::new(),
            pairs: BTreeSet::new(),
            tallies: BTreeMap::new(),
            is_complete: is_complete(report),
        };
        agent.read(facts, wiring, report, illness);
        agents.push(agent);
    }
    agents
}

fn is_complete(report: &Report) -> bool {
    report.links.len() < MAYBE_CUT && report.links.len() != CUT_DOWN
}

impl Agent<'_> {
    fn read(&mut self, facts: &Facts<'_>, wiring: &Wiring<'_>, report: &Report, illness: Illness) {
        for link in report.links.iter().filter(|link| counts(facts, link)) {
            if let (Hop::Rnic(from), Hop::Rnic(to)) = (&link.from, &link.to) {
                if from == self.rnic {
                    self.pairs.insert(to.clone());
                    self.listed.insert(Way::Out(from.clone()));
                }
                continue;
            }
            let sent = match illness {
                Illness::Loss => link.sent,
                Illness::Latency => u64::from(link.crossed),
            };
            // The list is the node's: each of its RNICs counts for a part.
            let rnics = report.rnics.len().max(1) as u64;
            for way in wiring.ways((&link.from, &link.to)) {
                *self.tallies.entry(way.clone()).or_default() += as_f64(sent) / as_f64(rnics);
                self.listed.insert(way);
            }
        }
    }
}

/// Leaves by position of their RNICs.
struct Leaves {
    names: BTreeMap<Arc<str>, u32>,
    of: Vec<Option<u32>>,
}

impl Leaves {
    /// As traced; an RNIC that nobody traced is behind the leaf of its group where that has just one.
    fn of(facts: &Facts<'_>, wiring: &Wiring<'_>) -> Self {
        let planned = &facts.evidence.planned;
        let mut by_group = BTreeMap::new();
        for rnic in planned.rnics() {
            if let (Some(leaf), Some(place)) = (wiring.leaf(rnic), planned.place(rnic)) {
                let known: &mut BTreeSet<&Arc<str>> = by_group.entry(&place.group).or_default();
                known.insert(leaf);
            }
        }
        let mut names: BTreeMap<Arc<str>, u32> = BTreeMap::new();
        let mut number = |leaf: &Arc<str>| {
            let next = u32::try_from(names.len()).unwrap_or(u32::MAX);
            *names.entry(Arc::clone(leaf)).or_insert(next)
        };
        let leaf = |rnic: &RnicName| {
            let of_group = || {
                let known = by_group.get(&planned.place(rnic)?.group)?;
                known.first().filter(|_| known.len() == 1).copied()
            };
            wiring.leaf(rnic).or_else(of_group)
        };
        let of = planned
            .rnics()
            .iter()
            .map(|rnic| leaf(rnic).map(&mut number));
        let of = of.collect();
        Self { names, of }
    }

    fn at(&self, position: u32) -> Option<u32> {
        self.of.get(position as usize).copied().flatten()
    }
}

/// Which end of a link between switches is a leaf.
#[derive(Clone, Copy, Debug)]
enum End {
    From(u32),
    To(u32),
}

/// A link next to a leaf, and the share of the probes from or to that leaf which cross it.
struct Trunk {
    way: Way,
    end: End,
    share: f64,
}

fn trunks(leaves: &Leaves, wiring: &Wiring<'_>, model: &Model, agents: &[Agent<'_>]) -> Vec<Trunk> {
    let mut trunks = Vec::new();
    for way in model.ways() {
        let Way::Link(from, to) = way else { continue };
        let end = match (leaves.names.get(from), leaves.names.get(to)) {
            (Some(leaf), None) => End::From(*leaf),
            (None, Some(leaf)) => End::To(*leaf),
            _ => continue,
        };
        trunks.push(Trunk {
            way: way.clone(),
            end,
            share: 0.0,
        });
    }
    let planned = wiring.planned();
    let mut listed = vec![(0.0, 0.0); trunks.len()];
    for agent in agents.iter().filter(|agent| !agent.tallies.is_empty()) {
        let own = leaves.at(agent.position);
        let mut per_leaf: BTreeMap<u32, f64> = BTreeMap::new();
        for (to, share) in planned.shares_at(agent.position) {
            if let Some(leaf) = leaves.at(to).filter(|leaf| Some(*leaf) != own) {
                *per_leaf.entry(leaf).or_default() += agent.sent * share;
            }
        }
        for (trunk, sums) in trunks.iter().zip(&mut listed) {
            let Some(over) = agent.tallies.get(&trunk.way) else {
                continue;
            };
            let all = match trunk.end {
                End::From(_) => per_leaf.values().sum(),
                End::To(leaf) => per_leaf.get(&leaf).copied().unwrap_or(0.0),
            };
            sums.0 += over;
            sums.1 += all;
        }
    }
    for (trunk, (over, all)) in trunks.iter_mut().zip(listed) {
        if all > 0.0 {
            trunk.share = f64::min(over / all, 1.0);
        }
    }
    trunks
}
