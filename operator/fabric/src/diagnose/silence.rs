//! What agents do not list. An agent lists the links on the paths of its ill flows only, so over every other link
//! its probes were well: without them, one lost probe among the ten of its flow would look like a tenth.
//!
//! How many probes that were follows from the plan (who is probed how often) and, for links between
//! switches, from how those agents that do list a link spread theirs over it and its parallels. A round trip
//! that was fast was so on its way back as well, of which the two ends are known.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::evidence::{Hop, LinkTally, Report, RnicTally};
use super::facts::Facts;
use super::network::{Illness, Model, as_f64, rounded};
use super::seen::{Heard, Number, Seen, Sums};
use super::wiring::{Way, Wiring};
use crate::names::RnicName;

/// From so many links on a report may have had no room for more. What it leaves out is the mildest: over a link that
/// it does not list no more flows are ill than over the last one that it does.
const MAYBE_CUT: usize = 32;
/// Links that are left when a report has to be cut far down.
const CUT_DOWN: usize = 12;

/// Probes (flows, for latency) over the ways of `model` that nobody lists.
pub(super) fn clean(
    facts: &Facts<'_>,
    wiring: &Wiring<'_>,
    (seen, model): (&Seen<'_>, &Model),
    illness: Illness,
) -> Vec<Presumed> {
    let lists: Vec<Listed<'_>> = seen
        .heard
        .iter()
        .map(|heard| Listed::of(seen, heard, illness))
        .collect();
    let agents = agents(facts, seen, &lists, illness);
    let leaves = Leaves::of(facts, wiring);
    let trunks = Trunks::of(facts, &leaves, (seen, model), &agents);
    let rnics = facts.evidence.planned.rnics();
    let number = |way: fn(RnicName) -> Way| -> Vec<Option<Number>> {
        let numbers = rnics.iter().map(|rnic| seen.number(&way(rnic.clone())));
        numbers.collect()
    };
    let mut clean = Clean {
        facts,
        wiring,
        seen,
        leaves: &leaves,
        is_traced: model.is_traced(),
        numbers: [number(Way::Out), number(Way::Into)],
        out: vec![0.0; rnics.len()],
        into: vec![0.0; rnics.len()],
        from_leaf: vec![0.0; leaves.names.len()],
        to_leaf: vec![0.0; leaves.names.len()],
        trunks: vec![0.0; trunks.all.len()],
        others: BTreeMap::new(),
        illness,
    };
    for agent in &agents {
        clean.add(agent, &trunks);
    }
    let mut sums = clean.others;
    for (trunk, listed) in trunks.all.iter().zip(&clean.trunks) {
        let all = match trunk.end {
            End::From(leaf) => clean.from_leaf[leaf as usize],
            End::To(leaf) => clean.to_leaf[leaf as usize],
        };
        sums.insert(trunk.way.clone(), (all - listed) * trunk.share);
    }
    for (rnic, (out, into)) in rnics.iter().zip(clean.out.iter().zip(&clean.into)) {
        *sums.entry(Way::Out(rnic.clone())).or_default() += out;
        *sums.entry(Way::Into(rnic.clone())).or_default() += into;
    }
    let each = match illness {
        Illness::Loss => probes_per_flow(seen),
        Illness::Latency => 1.0,
    };
    sums.into_iter()
        .map(|(way, sent)| Presumed {
            way,
            sent: rounded(sent),
            flows: rounded(sent / each).max(1),
        })
        .filter(|presumed| presumed.sent > 0 && model.has(&presumed.way))
        .collect()
}

/// What nobody says was not well.
pub(super) struct Presumed {
    pub way: Way,
    /// Probes (flows, for latency) over it.
    pub sent: u64,
    /// Flows that they are of.
    pub flows: u64,
}

/// Probes of a flow in a window, typically: by what all list between switches.
fn probes_per_flow(seen: &Seen<'_>) -> f64 {
    let trunks = seen.all().filter(|(way, _)| matches!(way, Way::Link(..)));
    let mut all = Sums::default();
    trunks.for_each(|(_, sums)| all.add(sums));
    as_f64(all.sent.max(1)) / as_f64(all.crossed.max(1))
}

/// Sums over agents of what each sent over what it does not list.
struct Clean<'a> {
    facts: &'a Facts<'a>,
    wiring: &'a Wiring<'a>,
    seen: &'a Seen<'a>,
    leaves: &'a Leaves,
    is_traced: bool,
    /// Numbers of the ways out of each RNIC of the plan and into it, where somebody lists them.
    numbers: [Vec<Option<Number>>; 2],
    /// Out of each RNIC of the plan, and into it.
    out: Vec<f64>,
    into: Vec<f64>,
    /// From each leaf to others, and to each leaf from others, listed or not.
    from_leaf: Vec<f64>,
    to_leaf: Vec<f64>,
    /// What of it does not count, as the agent lists the trunk or may have had no room for it.
    trunks: Vec<f64>,
    /// Over everything else.
    others: BTreeMap<Way, f64>,
    illness: Illness,
}

impl Clean<'_> {
    fn add(&mut self, agent: &Agent<'_>, trunks: &Trunks) {
        let planned = &self.facts.evidence.planned;
        let list = agent.list;
        let position = agent.position as usize;
        let is_listed = |number: Option<Number>| number.is_some_and(|number| list.has(number));
        let own_pairs = list.pairs.contains_key(agent.rnic);
        if !own_pairs && !is_listed(self.numbers[0][position]) {
            self.add_access(position, (agent.sent - list.unknown).max(0.0), true);
        }
        let own = self.leaves.at(agent.position);
        let mut per_leaf: BTreeMap<u32, f64> = BTreeMap::new();
        for (to, share) in planned.shares_at(agent.position) {
            let Some(target) = planned.rnics().get(to as usize) else {
                continue;
            };
            let sent = agent.sent * share;
            if self.is_traced {
                if !is_listed(self.numbers[1][to as usize]) {
                    self.add_access(to as usize, (sent - list.unknown).max(0.0), false);
                }
            } else if !(own_pairs && list.pairs[agent.rnic].contains(target)) {
                let hops = (&Hop::Rnic(agent.rnic.clone()), &Hop::Rnic(target.clone()));
                for way in self.wiring.ways(hops).into_iter().skip(1) {
                    if list.numbers.is_empty() || !is_listed(self.seen.number(&way)) {
                        *self.others.entry(way).or_default() += (sent - list.unknown).max(0.0);
                    }
                }
            }
            if let Some(leaf) = self.leaves.at(to).filter(|leaf| Some(*leaf) != own) {
                *per_leaf.entry(leaf).or_default() += sent;
            }
        }
        let across: f64 = per_leaf.values().sum();
        if let Some(own) = own {
            self.from_leaf[own as usize] += across;
        }
        for (leaf, sent) in &per_leaf {
            self.to_leaf[*leaf as usize] += sent;
        }
        let over = |trunk: &Trunk| match trunk.end {
            End::From(leaf) if own == Some(leaf) => across,
            End::From(_) => 0.0,
            End::To(leaf) => per_leaf.get(&leaf).copied().unwrap_or(0.0),
        };
        for number in &list.numbers {
            if let Some(position) = trunks.position(*number) {
                self.trunks[position] += over(&trunks.all[position]);
            }
        }
        let unknown = list.unknown + list.unanswered;
        if unknown == 0.0 {
            return;
        }
        let reached = own.iter().map(|own| &trunks.from[*own as usize]);
        let reached = reached.chain(per_leaf.keys().map(|leaf| &trunks.to[*leaf as usize]));
        for position in reached.flatten() {
            let trunk = &trunks.all[*position];
            if trunk.share > 0.0 && !is_listed(trunk.number) {
                self.trunks[*position] += over(trunk).min(unknown / trunk.share);
            }
        }
    }

    /// Counts what was sent out of an RNIC, or into it. What came back went the other way.
    fn add_access(&mut self, position: usize, sent: f64, out: bool) {
        let both = self.illness == Illness::Latency;
        if out || both {
            self.out[position] += sent;
        }
        if !out || both {
            self.into[position] += sent;
        }
    }
}

/// What a node lists.
#[derive(Default)]
struct Listed<'a> {
    /// Numbers of the ways, in order.
    numbers: Vec<Number>,
    /// Probes over each of them (flows, for latency), per RNIC of the node.
    sent: Vec<f64>,
    /// By RNIC of the node, targets that are listed without a path.
    pairs: BTreeMap<&'a RnicName, BTreeSet<&'a RnicName>>,
    /// Most probes (flows, for latency) that may have been on ill flows over anything that it does not list.
    unknown: f64,
    /// Most probes (flows, for latency) that were on ill flows over routers which did not answer.
    unanswered: f64,
    /// Flows that leave each RNIC of the node.
    flows: BTreeMap<&'a RnicName, u32>,
}

impl<'a> Listed<'a> {
    fn of(seen: &Seen<'a>, heard: &Heard<'a>, illness: Illness) -> Self {
        let mut listed = Self {
            unknown: unknown(heard.report, illness),
            ..Self::default()
        };
        // The list is the node's: each of its RNICs counts for a part.
        let rnics = as_f64(heard.report.rnics.len().max(1) as u64);
        let mut tallies: BTreeMap<Number, f64> = BTreeMap::new();
        for (link, numbers) in seen.links(heard) {
            if let (Hop::Rnic(from), Hop::Rnic(to)) = (&link.from, &link.to) {
                listed.pairs.entry(from).or_default().insert(to);
                continue;
            }
            if link.from == Hop::Unknown || link.to == Hop::Unknown {
                listed.unanswered = listed.unanswered.max(ill(link, illness));
            }
            if let Hop::Rnic(from) = &link.from {
                *listed.flows.entry(from).or_default() += link.crossed;
            }
            let sent = match illness {
                Illness::Loss => link.sent,
                Illness::Latency => u64::from(link.crossed),
            };
            for number in numbers {
                *tallies.entry(*number).or_default() += as_f64(sent) / rnics;
            }
        }
        listed.numbers = tallies.keys().copied().collect();
        listed.sent = tallies.into_values().collect();
        listed
    }

    fn has(&self, number: Number) -> bool {
        self.numbers.binary_search(&number).is_ok()
    }
}

/// One RNIC of an agent whose word holds.
struct Agent<'a> {
    rnic: &'a RnicName,
    position: u32,
    /// Probes of the window that were judged; for latency, what it probes.
    sent: f64,
    list: &'a Listed<'a>,
}

fn agents<'a>(
    facts: &Facts<'a>,
    seen: &Seen<'a>,
    lists: &'a [Listed<'a>],
    illness: Illness,
) -> Vec<Agent<'a>> {
    let planned = &facts.evidence.planned;
    let mut agents = Vec::new();
    for (position, rnic) in (0..).zip(planned.rnics()) {
        let Some((nth, heard)) = seen.by(&rnic.node).filter(|(_, heard)| heard.is_settled) else {
            continue;
        };
        let own = |tally: &&RnicTally| tally.device == rnic.device && tally.port == rnic.port;
        let tally = heard.report.rnics.iter().find(own);
        let tally = tally.filter(|tally| tally.judged() > 0);
        let (Some(list), Some(tally)) = (lists.get(nth), tally) else {
            continue;
        };
        let sent = match illness {
            Illness::Loss => as_f64(tally.judged()),
            Illness::Latency => {
                let flows = list.flows.get(rnic).map(|flows| u64::from(*flows));
                as_f64(flows.unwrap_or_else(|| planned.targets_at(position) as u64))
            }
        };
        agents.push(Agent {
            rnic,
            position,
            sent,
            list,
        });
    }
    agents
}

/// Most probes (flows, for latency) that may have been on ill flows over a link that a report leaves out.
fn unknown(report: &Report, illness: Illness) -> f64 {
    let cut = match illness {
        Illness::Loss => report.links.len() >= MAYBE_CUT || report.links.len() == CUT_DOWN,
        // Slow flows are listed by themselves.
        Illness::Latency => report.anomalies_omitted > 0,
    };
    let ill = |link: &LinkTally| link.lossy.saturating_add(link.slow).max(1);
    let Some(mildest) = report.links.iter().map(ill).min().filter(|_| cut) else {
        return 0.0;
    };
    let sum = |of: fn(&LinkTally) -> u64| report.links.iter().map(of).sum::<u64>();
    let probes_per_flow = match illness {
        Illness::Loss => {
            let flows = sum(|link| u64::from(link.crossed)).max(1);
            as_f64(sum(|link| link.sent)) / as_f64(flows)
        }
        Illness::Latency => 1.0,
    };
    as_f64(u64::from(mildest)) * probes_per_flow
}

/// Probes (flows, for latency) of ill flows over a link.
fn ill(link: &LinkTally, illness: Illness) -> f64 {
    match illness {
        Illness::Loss => {
            let flows = as_f64(u64::from(link.crossed.max(1)));
            as_f64(link.sent) * as_f64(u64::from(link.lossy)) / flows
        }
        Illness::Latency => as_f64(u64::from(link.slow)),
    }
}

/// Leaves by position of their RNICs.
struct Leaves {
    names: BTreeMap<Arc<str>, u32>,
    of: Vec<Option<u32>>,
}

impl Leaves {
    fn of(facts: &Facts<'_>, wiring: &Wiring<'_>) -> Self {
        let mut names: BTreeMap<Arc<str>, u32> = BTreeMap::new();
        let mut number = |leaf: &Arc<str>| {
            let next = u32::try_from(names.len()).unwrap_or(u32::MAX);
            *names.entry(Arc::clone(leaf)).or_insert(next)
        };
        let rnics = facts.evidence.planned.rnics().iter();
        let of = rnics.map(|rnic| wiring.leaf(rnic).map(&mut number));
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
    /// Where somebody lists it.
    number: Option<Number>,
    end: End,
    share: f64,
}

/// All of the network.
struct Trunks {
    all: Vec<Trunk>,
    /// Their positions by number.
    numbered: BTreeMap<Number, usize>,
    /// Their positions by the leaf that they come from, and by the one that they go to.
    from: Vec<Vec<usize>>,
    to: Vec<Vec<usize>>,
}

impl Trunks {
    fn of(
        facts: &Facts<'_>,
        leaves: &Leaves,
        (seen, model): (&Seen<'_>, &Model),
        agents: &[Agent<'_>],
    ) -> Self {
        let none = vec![Vec::new(); leaves.names.len()];
        let mut trunks = Self {
            all: Vec::new(),
            numbered: BTreeMap::new(),
            from: none.clone(),
            to: none,
        };
        for way in model.ways() {
            let Way::Link(from, to) = way else { continue };
            let position = trunks.all.len();
            let end = match (leaves.names.get(from), leaves.names.get(to)) {
                (Some(leaf), None) => {
                    trunks.from[*leaf as usize].push(position);
                    End::From(*leaf)
                }
                (None, Some(leaf)) => {
                    trunks.to[*leaf as usize].push(position);
                    End::To(*leaf)
                }
                _ => continue,
            };
            let number = seen.number(way);
            trunks
                .numbered
                .extend(number.map(|number| (number, position)));
            trunks.all.push(Trunk {
                way: way.clone(),
                number,
                end,
                share: 0.0,
            });
        }
        trunks.measure(facts, leaves, agents);
        trunks
    }

    fn measure(&mut self, facts: &Facts<'_>, leaves: &Leaves, agents: &[Agent<'_>]) {
        let planned = &facts.evidence.planned;
        let mut listed = vec![(0.0, 0.0); self.all.len()];
        for agent in agents.iter().filter(|agent| !agent.list.numbers.is_empty()) {
            let own = leaves.at(agent.position);
            let mut per_leaf: BTreeMap<u32, f64> = BTreeMap::new();
            for (to, share) in planned.shares_at(agent.position) {
                if let Some(leaf) = leaves.at(to).filter(|leaf| Some(*leaf) != own) {
                    *per_leaf.entry(leaf).or_default() += agent.sent * share;
                }
            }
            for (number, over) in agent.list.numbers.iter().zip(&agent.list.sent) {
                let Some(position) = self.position(*number) else {
                    continue;
                };
                let all = match self.all[position].end {
                    End::From(_) => per_leaf.values().sum(),
                    End::To(leaf) => per_leaf.get(&leaf).copied().unwrap_or(0.0),
                };
                listed[position].0 += over;
                listed[position].1 += all;
            }
        }
        // What nobody lists takes its part beside as many parallels as any leaf is known to have.
        let parallels = self.from.iter().chain(&self.to).map(Vec::len).max();
        let even = 1.0 / as_f64(parallels.unwrap_or(1).max(1) as u64);
        for (trunk, (over, all)) in self.all.iter_mut().zip(listed) {
            trunk.share = if all > 0.0 {
                f64::min(over / all, 1.0)
            } else {
                even
            };
        }
    }

    fn position(&self, number: Number) -> Option<usize> {
        self.numbered.get(&number).copied()
    }
}
