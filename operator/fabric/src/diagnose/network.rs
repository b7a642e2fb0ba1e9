//! The reports as a [`Network`] of elements and observations, for [`crate::localise`] to find the guilty in.
//!
//! Flows that lost probes are given whole, by the paths that agents report. What did not lose anything is
//! added up per element: from the links that agents list, and from those that they do not list
//! ([`super::silence`]).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::evidence::{Anomaly, AnomalyKind, Hop, LinkTally};
use super::facts::Facts;
use super::seen::{Heard, Number, Seen, Sums, takes_part};
use super::silence;
use super::trip::Trip;
use super::wiring::{Way, Wiring};
use crate::localise::{ComponentId, Kind, Network, OneOf};
use crate::names::{NodeName, RnicName};

/// What a component of the network stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// One direction.
    Way(Way),
    /// Both directions of an RNIC's access.
    Rnic(RnicName),
    /// Both directions of a link between named switches.
    Cable(Arc<str>, Arc<str>),
    /// A switch.
    Switch(Arc<str>),
    /// A host with several RNICs.
    Host(NodeName),
}

/// The network and what its components are called.
pub(super) struct Model {
    pub network: Network,
    ids: BTreeMap<Way, ComponentId>,
    /// By number of a way that is listed.
    numbered: Vec<ComponentId>,
    whats: Vec<Option<What>>,
    /// What ill flows cross, by number of the report that lists them.
    ill: Vec<(usize, Vec<ComponentId>)>,
}

/// Which flows count as ill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Illness {
    Loss,
    Latency,
}

/// Ill flows on one path: what they crossed, flows, probes, ill probes.
struct Ill {
    trip: Trip,
    flows: u64,
    sent: u64,
    lost: u64,
}

impl Model {
    /// What the reports say about `illness`; `None` where nobody reports any.
    pub fn build(
        facts: &Facts<'_>,
        wiring: &Wiring<'_>,
        seen: &Seen<'_>,
        illness: Illness,
    ) -> Option<Self> {
        let ill: Vec<(usize, Ill)> = match illness {
            Illness::Loss => lossy(facts, wiring, seen),
            Illness::Latency => slow(facts, wiring, seen),
        };
        if ill.is_empty() {
            return None;
        }
        let crossed = ill.iter().flat_map(|(_, ill)| ill.trip.all());
        let mut ways: BTreeSet<Way> = crossed.cloned().collect();
        ways.extend(seen.all().map(|(way, _)| way.clone()));
        // A host is judged by all its RNICs, also by those over which nobody has anything to tell.
        let hosts: BTreeSet<NodeName> = ways.iter().filter_map(host).cloned().collect();
        let planned = facts.evidence.planned.rnics().iter();
        for rnic in planned.filter(|rnic| hosts.contains(&rnic.node)) {
            ways.extend([Way::Out(rnic.clone()), Way::Into(rnic.clone())]);
        }
        let mut model = Self {
            network: Network::new(),
            ids: BTreeMap::new(),
            numbered: Vec::new(),
            whats: Vec::new(),
            ill: Vec::new(),
        };
        model.name(wiring, &ways);
        let numbered = seen.all().filter_map(|(way, _)| model.ids.get(way));
        model.numbered = numbered.copied().collect();
        model.observe(facts, wiring, seen, &ill, illness);
        Some(model)
    }

    /// What a component stands for.
    pub fn what(&self, id: ComponentId) -> Option<&What> {
        self.whats.get(id.index())?.as_ref()
    }

    fn note(&mut self, id: ComponentId, what: What) {
        if self.whats.len() <= id.index() {
            self.whats.resize(id.index() + 1, None);
        }
        self.whats[id.index()] = Some(what);
    }

    fn name(&mut self, wiring: &Wiring<'_>, ways: &BTreeSet<Way>) {
        for way in ways {
            let kind = match way {
                Way::Out(_) | Way::Into(_) => Kind::Rnic,
                Way::Tor(_) => Kind::Switch,
                _ => Kind::Link,
            };
            let id = self.network.component(kind);
            self.ids.insert(way.clone(), id);
            self.note(id, What::Way(way.clone()));
        }
        let mut switches: BTreeMap<Arc<str>, (Vec<ComponentId>, Vec<ComponentId>)> =
            BTreeMap::new();
        let mut hosts: BTreeMap<NodeName, Vec<ComponentId>> = BTreeMap::new();
        let rnics: BTreeSet<&RnicName> = ways
            .iter()
            .filter_map(|way| match way {
                Way::Out(rnic) | Way::Into(rnic) => Some(rnic),
                _ => None,
            })
            .collect();
        for rnic in rnics {
            let pair = (Way::Out(rnic.clone()), Way::Into(rnic.clone()));
            let Some(id) = self.both(&pair, What::Rnic(rnic.clone())) else {
                continue;
            };
            hosts.entry(rnic.node.clone()).or_default().push(id);
            if let Some(leaf) = wiring.leaf(rnic) {
                switches.entry(Arc::clone(leaf)).or_default().0.push(id);
            }
        }
        for way in ways {
            let Way::Link(a, b) = way else { continue };
            let back = Way::Link(Arc::clone(b), Arc::clone(a));
            if b < a && ways.contains(&back) {
                continue;
            }
            let what = What::Cable(Arc::clone(a), Arc::clone(b));
            if let Some(id) = self.both(&(way.clone(), back), what) {
                for end in [a, b] {
                    switches.entry(Arc::clone(end)).or_default().1.push(id);
                }
            }
        }
        for (switch, (access, trunks)) in switches {
            let all: Vec<_> = access.iter().chain(&trunks).copied().collect();
            self.group(Kind::Switch, &all, &trunks, What::Switch(switch));
        }
        for (host, rnics) in hosts.into_iter().filter(|(_, rnics)| rnics.len() > 1) {
            self.group(Kind::Host, &rnics, &[], What::Host(host));
        }
    }

    /// The two directions as one; the one that there is, where the other is not crossed.
    fn both(&mut self, (forth, back): &(Way, Way), what: What) -> Option<ComponentId> {
        match (self.ids.get(forth).copied(), self.ids.get(back).copied()) {
            (Some(forth), Some(back)) => {
                let id = self.network.cable(forth, back).ok()?;
                self.note(id, what);
                Some(id)
            }
            (one, other) => one.or(other),
        }
    }

    fn group(&mut self, kind: Kind, members: &[ComponentId], narrow: &[ComponentId], what: What) {
        // Members are components and cables of this very network, so both calls succeed.
        let Ok(id) = self.network.group(kind, members) else {
            return;
        };
        self.note(id, what.clone());
        if narrow.len() > 1 && narrow.len() < members.len() {
            let narrower = self.network.narrower(id, narrow).ok();
            if let Some(id) = narrower {
                self.note(id, what);
            }
        }
    }

    fn observe(
        &mut self,
        facts: &Facts<'_>,
        wiring: &Wiring<'_>,
        seen: &Seen<'_>,
        ill: &[(usize, Ill)],
        illness: Illness,
    ) {
        // By who lists them, with what they crossed as the network calls it.
        let mut by: Vec<Vec<Listed>> = vec![Vec::new(); seen.heard.len()];
        for (nth, ill) in ill {
            let ids = self.ids_of(&ill.trip.certain);
            let either = ill.trip.either.iter().map(|ways| self.ids_of(ways));
            let ways: Vec<Vec<ComponentId>> = either.collect();
            let one_of = OneOf {
                ways: &ways,
                of: ill.trip.of,
            };
            // Sums of reports are bounded before they get here, and these ids are of this very network.
            let (sent, lost) = (ill.sent, ill.lost.min(ill.sent));
            let observed = self
                .network
                .observe_one_of(&ids, one_of, sent, lost, ill.flows);
            observed.ok();
            let crossed = ids.iter().chain(ways.iter().flatten()).copied();
            self.ill.push((*nth, crossed.collect()));
            if let Some(own) = by.get_mut(*nth) {
                let (flows, sent) = (ill.flows, ill.sent);
                own.push(Listed { ids, flows, sent });
            }
        }
        let mut backs = Backs::new(facts, wiring, seen);
        for (heard, own) in seen.heard.iter().zip(&by) {
            // A leaf has an address for each of its spines, so several links of a list may be one way to an RNIC. What
            // was well over it is what all of them carried without the ill flows of all of them.
            let mut tallies: BTreeMap<&[Number], Sums> = BTreeMap::new();
            for (link, numbers) in seen.links(heard) {
                tallies.entry(numbers).or_default().add(&Sums::of(link));
            }
            for (numbers, tally) in tallies {
                let ids: Vec<ComponentId> = numbers
                    .iter()
                    .filter_map(|number| self.numbered.get(*number as usize).copied())
                    .collect();
                let (sent, flows) = clean(&tally, &ids, own, illness);
                for id in &ids {
                    self.seen(std::slice::from_ref(id), sent, 0, flows);
                }
                if illness == Illness::Latency {
                    let ways = numbers.iter().filter_map(|number| seen.way(*number));
                    ways.for_each(|way| backs.add(way, sent));
                    let back: Vec<Way> = numbers
                        .iter()
                        .filter_map(|number| back(seen.way(*number)?))
                        .collect();
                    self.seen(&self.ids_of(&back), sent, 0, 0);
                }
            }
        }
        for presumed in silence::clean(facts, wiring, (seen, self), illness) {
            let (sent, flows) = (presumed.sent, presumed.flows);
            backs.add(&presumed.way, sent);
            if let Some(id) = self.ids.get(&presumed.way) {
                // The way is a component of this very network.
                self.network.presume(*id, sent, flows).ok();
            }
        }
        if illness == Illness::Latency {
            self.observe_backs(&backs);
        }
    }

    /// A round trip that was fast was so on its way back as well, over one of the links of each of the two leaves.
    fn observe_backs(&mut self, backs: &Backs<'_>) {
        let mut links: BTreeMap<(&Arc<str>, bool), Vec<Vec<ComponentId>>> = BTreeMap::new();
        for (way, id) in &self.ids {
            if let Way::Link(from, to) = way {
                links.entry((from, false)).or_default().push(vec![*id]);
                links.entry((to, true)).or_default().push(vec![*id]);
            }
        }
        for (end, sent) in &backs.sent {
            let Some(ways) = links.get(&(end.0, end.1)) else {
                continue;
            };
            let one_of = OneOf {
                ways,
                of: backs.parallels,
            };
            self.network.observe_one_of(&[], one_of, *sent, 0, 0).ok();
        }
    }

    fn ids_of(&self, ways: &[Way]) -> Vec<ComponentId> {
        let ids = ways.iter().filter_map(|way| self.ids.get(way));
        ids.copied().collect()
    }

    /// The ways of the network, in order.
    pub fn ways(&self) -> impl Iterator<Item = &Way> {
        self.ids.keys()
    }

    /// Positions among the heard of the agents that list ill flows over some of `ways`.
    pub fn reporters(&self, ways: &[Way]) -> BTreeSet<usize> {
        let ids = self.ids_of(ways);
        let crosses = |(_, crossed): &&(usize, Vec<ComponentId>)| {
            crossed.iter().any(|crossed| ids.contains(crossed))
        };
        let reporters = self.ill.iter().filter(crosses).map(|(nth, _)| *nth);
        reporters.collect()
    }

    /// Share (0 to 1) of the lists of ill flows over some of `ways` that are over some of `others` too; `None` where there
    /// are none.
    pub fn share_over(&self, ways: &[Way], others: &[Way]) -> Option<f64> {
        let (ids, others) = (self.ids_of(ways), self.ids_of(others));
        let crossing = |ids: &[ComponentId], crossed: &[ComponentId]| {
            crossed.iter().any(|crossed| ids.contains(crossed))
        };
        let own = self
            .ill
            .iter()
            .filter(|(_, crossed)| crossing(&ids, crossed));
        let both = own
            .clone()
            .filter(|(_, crossed)| crossing(&others, crossed));
        let (own, both) = (own.count(), both.count());
        (own > 0).then(|| as_f64(both as u64) / as_f64(own as u64))
    }

    /// Whether a way is part of the network.
    pub fn has(&self, way: &Way) -> bool {
        self.ids.contains_key(way)
    }

    /// Whether paths are traced.
    pub fn is_traced(&self) -> bool {
        let untraced = |way: &Way| matches!(way, Way::Tor(_) | Way::Between(..));
        !self.ids.keys().any(untraced)
    }

    fn seen(&mut self, ids: &[ComponentId], sent: u64, lost: u64, flows: u64) {
        // Sums of reports are bounded before they get here, and these ids are of this very network.
        self.network.observe(ids, sent, lost.min(sent), flows).ok();
    }
}

/// The host that a way leads to or from.
const fn host(way: &Way) -> Option<&NodeName> {
    match way {
        Way::Out(rnic) | Way::Into(rnic) => Some(&rnic.node),
        _ => None,
    }
}

/// What answers to the probes over an access link cross for certain.
fn back(way: &Way) -> Option<Way> {
    match way {
        Way::Out(rnic) => Some(Way::Into(rnic.clone())),
        Way::Into(rnic) => Some(Way::Out(rnic.clone())),
        _ => None,
    }
}

/// Probes (flows) that came back fast, by the leaf next to which they crossed some link: to it, or from it.
struct Backs<'a> {
    leaves: BTreeSet<&'a Arc<str>>,
    parallels: usize,
    sent: BTreeMap<(&'a Arc<str>, bool), u64>,
}

impl<'a> Backs<'a> {
    fn new(facts: &'a Facts<'_>, wiring: &'a Wiring<'_>, seen: &Seen<'_>) -> Self {
        let rnics = facts.evidence.planned.rnics().iter();
        let leaves: BTreeSet<_> = rnics.filter_map(|rnic| wiring.leaf(rnic)).collect();
        Self {
            parallels: seen.parallels(&leaves),
            leaves,
            sent: BTreeMap::new(),
        }
    }

    /// Counts what crossed `way` and came back fast.
    fn add(&mut self, way: &Way, sent: u64) {
        let Way::Link(from, to) = way else { return };
        for (leaf, is_into) in [(from, true), (to, false)] {
            if let Some(leaf) = self.leaves.get(leaf) {
                let all = self.sent.entry((leaf, is_into)).or_default();
                *all = all.saturating_add(sent);
            }
        }
    }
}

/// Ill flows that somebody lists, by what they cross.
#[derive(Clone)]
struct Listed {
    ids: Vec<ComponentId>,
    flows: u64,
    sent: u64,
}

fn lossy(facts: &Facts<'_>, wiring: &Wiring<'_>, seen: &Seen<'_>) -> Vec<(usize, Ill)> {
    let mut ill = Vec::new();
    let heard = seen.heard.iter().enumerate();
    for (nth, heard) in heard.filter(|(_, heard)| heard.is_of_age) {
        for path in heard.report.lossy_paths.iter().filter(|path| path.lost > 0) {
            let positions = path.links.iter().map(|position| usize::from(*position));
            let is_evidence = positions.clone().all(|at| heard.is_evidence(at));
            let links: Vec<&LinkTally> = positions
                .filter_map(|position| heard.report.links.get(position))
                .collect();
            let starved = links.iter().any(|link| match &link.from {
                Hop::Rnic(rnic) => is_starved(facts, rnic),
                Hop::Router(_) | Hop::Unknown => false,
            });
            if starved || !is_evidence {
                continue;
            }
            let hops: Vec<_> = links.iter().map(|link| (&link.from, &link.to)).collect();
            let ways = wiring.chain(&hops, &|from, to| seen.alternatives(from, to));
            let one = Ill {
                trip: Trip::certain(ways),
                flows: u64::from(path.flows.max(1)),
                sent: path.sent.max(path.lost),
                lost: path.lost,
            };
            ill.push((nth, one));
        }
    }
    ill
}

/// Whether so many probes of an RNIC were not judged for want of CPU that its losses may be the host's fault.
fn is_starved(facts: &Facts<'_>, rnic: &RnicName) -> bool {
    const STARVED_SHARE: u64 = 10;
    facts
        .tally(rnic)
        .is_some_and(|tally| tally.host_delayed.saturating_mul(STARVED_SHARE) > tally.sent)
}

/// Slow flows. A round trip is slow on its way there or back, and of the way back only the ends are known.
fn slow(facts: &Facts<'_>, wiring: &Wiring<'_>, seen: &Seen<'_>) -> Vec<(usize, Ill)> {
    let mut ill = Vec::new();
    let parallels = Backs::new(facts, wiring, seen).parallels;
    // Without the flows that are well, slow ones prove nothing.
    let tallied = |heard: &Heard<'_>| !heard.report.links.is_empty() && heard.is_of_age;
    let heard = seen.heard.iter().enumerate();
    for (nth, heard) in heard.filter(|(_, heard)| tallied(heard)) {
        let latency = |anomaly: &&Anomaly| anomaly.kind == AnomalyKind::Latency;
        for anomaly in heard.report.anomalies.iter().filter(latency) {
            let source = RnicName::new(heard.node.clone(), anomaly.device.clone(), anomaly.port);
            // Where it is not known what answers cross, slow ones would accuse what is known.
            let known = |rnic| !wiring.is_traced() || wiring.leaf(rnic).is_some();
            let is_evidence = anomaly.p99.is_some()
                && source != anomaly.target
                && known(&source)
                && known(&anomaly.target)
                && takes_part(facts, &source)
                && takes_part(facts, &anomaly.target);
            if is_evidence {
                let trip = Trip::round(wiring, (&source, anomaly), seen, parallels);
                let (flows, sent, lost) = (1, 1, 1);
                ill.push((
                    nth,
                    Ill {
                        trip,
                        flows,
                        sent,
                        lost,
                    },
                ));
            }
        }
    }
    ill
}

/// Probes and flows of a way's tally that were well. Where a report had no room for all ill flows, only as large
/// a part of the others counts, so that the share stays what it is.
fn clean(link: &Sums, ids: &[ComponentId], own: &[Listed], illness: Illness) -> (u64, u64) {
    let crossing = |ill: &&Listed| ids.iter().any(|id| ill.ids.contains(id));
    let listed: Vec<&Listed> = own.iter().filter(crossing).collect();
    let listed_flows: u64 = listed.iter().map(|ill| ill.flows).sum();
    let ill = match illness {
        Illness::Loss => link.lossy,
        Illness::Latency => link.slow,
    };
    let flows = link.crossed - ill;
    let part = if ill == 0 || listed_flows >= ill {
        1.0
    } else {
        as_f64(listed_flows) / as_f64(ill)
    };
    let sent = match illness {
        Illness::Latency => as_f64(flows),
        Illness::Loss if part >= 1.0 => {
            let lossy: u64 = listed.iter().map(|ill| ill.sent).sum();
            as_f64(link.sent.saturating_sub(lossy.max(link.lost)))
        }
        Illness::Loss => as_f64(link.sent) * as_f64(flows) / as_f64(link.crossed),
    };
    (rounded(sent * part), rounded(as_f64(flows) * part))
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts of probes and flows of one window"
)]
pub(super) const fn as_f64(count: u64) -> f64 {
    count as f64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts that were scaled down"
)]
pub(super) fn rounded(count: f64) -> u64 {
    count.max(0.0).round() as u64
}
