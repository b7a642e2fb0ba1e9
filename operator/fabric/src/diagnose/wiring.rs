//! What flows cross, by name: which element a traced hop belongs to, and what a person calls it.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use super::evidence::{Hop, LinkTally, Report, SwitchNames};
use super::planned::Planned;
use super::state::{CaseKey, State};
use crate::names::{GroupName, RnicName};

/// A router: by the name that the mesh gives it, else by its address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Router {
    /// All its addresses are one.
    Named(Arc<str>),
    /// An interface of some router: it stands for the link that leads to it.
    Address(IpAddr),
}

impl Router {
    pub fn text(&self) -> Arc<str> {
        match self {
            Self::Named(name) => Arc::clone(name),
            Self::Address(address) => Arc::from(address.to_string()),
        }
    }
}

/// One direction of something that flows cross.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Way {
    /// Out of an RNIC, over its access link.
    Out(RnicName),
    /// Into an RNIC, over its access link.
    Into(RnicName),
    /// From one named switch to another.
    Link(Arc<str>, Arc<str>),
    /// The link to an interface of a router; where it comes from has no name that is always the same.
    Towards(Router),
    /// From one router to another through one that does not answer.
    Hole(Router, Router),
    /// The switch that joins a group, where paths are not traced.
    Tor(GroupName),
    /// From one group to another, where paths are not traced.
    Between(GroupName, GroupName),
}

/// How far a path has been followed.
struct Last {
    /// The last router that answered.
    known: Option<Router>,
    /// Those behind it that did not.
    unknown: usize,
}

impl Last {
    const fn at(router: Router) -> Self {
        Self {
            known: Some(router),
            unknown: 0,
        }
    }
}

/// Who is who.
pub(super) struct Wiring<'a> {
    switches: &'a SwitchNames,
    planned: &'a Planned,
    /// Router next to an RNIC, as far as it is known by name.
    access: Arc<BTreeMap<RnicName, Arc<str>>>,
    /// The only named switch that RNICs of a group have been seen on: the others of the group are behind it as well.
    by_group: BTreeMap<&'a GroupName, Option<Arc<str>>>,
    /// Named switches next to RNICs.
    leaves: BTreeSet<Arc<str>>,
    /// Where links to a router's interface come from; the smallest name.
    origins: BTreeMap<Router, Arc<str>>,
}

impl<'a> Wiring<'a> {
    /// What the reports show, besides what was known before.
    pub fn read(
        (switches, planned): (&'a SwitchNames, &'a Planned),
        before: &State,
        reports: impl Iterator<Item = &'a Report>,
    ) -> Self {
        let mut wiring = Self {
            switches,
            planned,
            access: Arc::clone(&before.leaves),
            by_group: BTreeMap::new(),
            leaves: before.leaves.values().cloned().collect(),
            origins: BTreeMap::new(),
        };
        // Many agents list the same links.
        let mut read: HashSet<(&Hop, &Hop)> = HashSet::new();
        for link in reports.flat_map(|report| &report.links) {
            if read.insert((&link.from, &link.to)) {
                wiring.learn(link);
            }
        }
        for (rnic, place) in planned.placed() {
            if let Some(leaf) = wiring.access.get(rnic) {
                let only = wiring.by_group.entry(&place.group);
                let only = only.or_insert_with(|| Some(Arc::clone(leaf)));
                only.take_if(|only| *only != *leaf);
            }
        }
        wiring
    }

    /// An RNIC that two agents see behind different switches is behind the smaller one, whoever reports first.
    fn learn(&mut self, link: &LinkTally) {
        match (&link.from, &link.to) {
            (Hop::Rnic(rnic), Hop::Router(at)) | (Hop::Router(at), Hop::Rnic(rnic)) => {
                if let Router::Named(name) = self.router(*at) {
                    self.leaves.insert(Arc::clone(&name));
                    if self.access.get(rnic) != Some(&name) {
                        Arc::make_mut(&mut self.access).insert(rnic.clone(), name);
                    }
                }
            }
            (Hop::Router(from), Hop::Router(to)) => {
                let from = self.router(*from).text();
                let origin = self.origins.entry(self.router(*to));
                let origin = origin.or_insert_with(|| Arc::clone(&from));
                if from < *origin {
                    *origin = from;
                }
            }
            _ => {}
        }
    }

    fn router(&self, at: IpAddr) -> Router {
        let name = self.switches.get(&at.to_canonical());
        name.map_or(Router::Address(at), |name| Router::Named(Arc::clone(name)))
    }

    /// Whether anybody traces paths.
    pub fn is_traced(&self) -> bool {
        !self.access.is_empty() || !self.origins.is_empty()
    }

    /// The leaf that an RNIC hangs on, where traces have shown it, or that of its group, by name.
    pub fn leaf(&self, rnic: &RnicName) -> Option<&Arc<str>> {
        let of_group = || {
            self.by_group
                .get(&self.planned.place(rnic)?.group)?
                .as_ref()
        };
        self.access.get(rnic).or_else(of_group)
    }

    /// Which RNIC hangs on which switch, of those RNICs that take part.
    pub fn into_leaves(self, expected: &BTreeSet<RnicName>) -> Arc<BTreeMap<RnicName, Arc<str>>> {
        let mut access = self.access;
        if access.keys().any(|rnic| !expected.contains(rnic)) {
            Arc::make_mut(&mut access).retain(|rnic, _| expected.contains(rnic));
        }
        access
    }

    /// The switches at the ends of a way, as far as they are known by name.
    pub fn switches_of(&self, way: &Way) -> Vec<Arc<str>> {
        match way {
            Way::Out(rnic) | Way::Into(rnic) => self.leaf(rnic).cloned().into_iter().collect(),
            Way::Link(a, b) => vec![Arc::clone(a), Arc::clone(b)],
            Way::Hole(a, b) => vec![a.text(), b.text()],
            Way::Towards(to) => vec![to.text()],
            Way::Tor(group) => vec![Arc::from(group.as_str())],
            Way::Between(a, b) => [a, b].map(|group| Arc::from(group.as_str())).into(),
        }
    }

    /// What a link stands for; empty where an end of it does not answer.
    pub fn ways(&self, (from, to): (&Hop, &Hop)) -> Vec<Way> {
        match (from, to) {
            (Hop::Rnic(a), Hop::Rnic(b)) if self.leaf(a).is_some() && self.leaf(b).is_some() => {
                vec![Way::Out(a.clone()), Way::Into(b.clone())]
            }
            (Hop::Rnic(a), Hop::Rnic(b)) => self.untraced(a, b),
            (Hop::Rnic(rnic), _) => vec![Way::Out(rnic.clone())],
            (_, Hop::Rnic(rnic)) => vec![Way::Into(rnic.clone())],
            (Hop::Router(a), Hop::Router(b)) => {
                vec![self.between(&self.router(*a), &self.router(*b))]
            }
            (Hop::Unknown, _) | (_, Hop::Unknown) => Vec::new(),
        }
    }

    fn between(&self, from: &Router, to: &Router) -> Way {
        match (from, to) {
            (Router::Named(a), Router::Named(b)) => Way::Link(Arc::clone(a), Arc::clone(b)),
            (_, to) => Way::Towards(to.clone()),
        }
    }

    /// What lies between two RNICs, as far as the plan tells.
    fn untraced(&self, a: &RnicName, b: &RnicName) -> Vec<Way> {
        let group = |rnic: &RnicName| self.planned.place(rnic).map(|place| place.group.clone());
        let mut ways = vec![Way::Out(a.clone())];
        if let (Some(from), Some(to)) = (group(a), group(b)) {
            ways.push(Way::Tor(from.clone()));
            if from != to {
                ways.push(Way::Tor(to.clone()));
                ways.push(Way::Between(from, to));
            }
        }
        ways.push(Way::Into(b.clone()));
        ways
    }

    /// Everything that a flow over these links crosses. Where hops do not answer, or links were left out of the
    /// report, `alternatives` names the known links that may have been crossed there.
    pub fn chain(
        &self,
        links: &[(&Hop, &Hop)],
        alternatives: &dyn Fn(&Router, &Router) -> Vec<Way>,
    ) -> Vec<Way> {
        let mut ways = Vec::new();
        let mut last = Last {
            known: None,
            unknown: 0,
        };
        if let [(Hop::Rnic(a), Hop::Rnic(b))] = links {
            return self.whole(a, b, alternatives);
        }
        for &(from, to) in links {
            match from {
                Hop::Rnic(rnic) => {
                    ways.push(Way::Out(rnic.clone()));
                    // The nearest router may be known from other flows.
                    if matches!(to, Hop::Unknown) {
                        last.known = self.leaf(rnic).cloned().map(Router::Named);
                    }
                    if last.known.is_some() {
                        continue;
                    }
                }
                Hop::Router(at) => {
                    let here = self.router(*at);
                    ways.extend(self.step(&last, &here, alternatives));
                    last = Last::at(here);
                }
                Hop::Unknown => {}
            }
            match to {
                Hop::Router(at) => {
                    let there = self.router(*at);
                    ways.extend(self.step(&last, &there, alternatives));
                    last = Last::at(there);
                }
                Hop::Unknown => last.unknown += 1,
                Hop::Rnic(rnic) => {
                    if let Some(leaf) = self.leaf(rnic).cloned().map(Router::Named) {
                        // The router next to the target counts as the one that did not answer.
                        last.unknown = last.unknown.saturating_sub(1);
                        ways.extend(self.step(&last, &leaf, alternatives));
                    }
                    ways.push(Way::Into(rnic.clone()));
                }
            }
        }
        ways.sort_unstable();
        ways.dedup();
        ways
    }

    /// A flow of which only the ends are known.
    fn whole(
        &self,
        a: &RnicName,
        b: &RnicName,
        alternatives: &dyn Fn(&Router, &Router) -> Vec<Way>,
    ) -> Vec<Way> {
        let (Some(from), Some(to)) = (self.leaf(a), self.leaf(b)) else {
            return self.untraced(a, b);
        };
        let mut ways = vec![Way::Out(a.clone()), Way::Into(b.clone())];
        if from != to {
            let ends = [from, to].map(|leaf| Router::Named(Arc::clone(leaf)));
            ways.extend(self.hole(&ends[0], &ends[1], alternatives));
        }
        ways.sort_unstable();
        ways
    }

    /// What leads from the last known router to this one.
    fn step(
        &self,
        last: &Last,
        here: &Router,
        alternatives: &dyn Fn(&Router, &Router) -> Vec<Way>,
    ) -> Vec<Way> {
        match &last.known {
            Some(known) if known == here => Vec::new(),
            Some(known) if last.unknown == 0 => vec![self.between(known, here)],
            Some(known) => self.hole(known, here, alternatives),
            None => Vec::new(),
        }
    }

    fn hole(
        &self,
        from: &Router,
        to: &Router,
        alternatives: &dyn Fn(&Router, &Router) -> Vec<Way>,
    ) -> Vec<Way> {
        let known = alternatives(from, to);
        if known.is_empty() {
            vec![Way::Hole(from.clone(), to.clone())]
        } else {
            known
        }
    }

    /// Name of the link that joins two ends: what is nearer to the hosts comes first.
    pub fn link_name(&self, a: &str, b: &str, state: &State) -> Arc<str> {
        let (forth, back) = (format!("{a}-{b}"), format!("{b}-{a}"));
        let is_open = |name: &str| state.cases.contains_key(&CaseKey::Link(Arc::from(name)));
        if is_open(&forth) {
            return Arc::from(forth);
        }
        if is_open(&back) {
            return Arc::from(back);
        }
        let leaf = |name: &str| self.leaves.contains(name);
        let back_first = match (leaf(a), leaf(b)) {
            (true, false) => false,
            (false, true) => true,
            _ => b < a,
        };
        Arc::from(if back_first { back } else { forth })
    }

    /// What a person is told about `way`.
    pub fn key(&self, way: &Way, state: &State) -> CaseKey {
        match way {
            Way::Out(rnic) | Way::Into(rnic) => CaseKey::Rnic(rnic.clone()),
            Way::Link(a, b) => CaseKey::Link(self.link_name(a, b, state)),
            Way::Towards(to) => CaseKey::Link(self.towards(to, state)),
            Way::Hole(a, b) => CaseKey::Link(self.link_name(&a.text(), &b.text(), state)),
            Way::Tor(group) => CaseKey::Switch(Arc::from(group.as_str())),
            Way::Between(a, b) => CaseKey::groups(a.clone(), b.clone()),
        }
    }

    fn towards(&self, to: &Router, state: &State) -> Arc<str> {
        let end = format!("-{}", to.text());
        let open = state.cases.keys().find_map(|key| match key {
            CaseKey::Link(name) if name.ends_with(&end) => Some(Arc::clone(name)),
            _ => None,
        });
        open.unwrap_or_else(|| {
            let from = self.origins.get(to);
            let from = from.map_or("?", |from| from);
            Arc::from(format!("{from}{end}"))
        })
    }
}
