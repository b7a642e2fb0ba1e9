//! What an ill flow crossed: for certain, and one of several ways.

use std::sync::Arc;

use super::evidence::{Anomaly, Hop};
use super::seen::Seen;
use super::wiring::{Router, Way, Wiring};
use crate::names::RnicName;

/// Ways that are kept apart at most; of more, each is too unlikely to matter.
const MOST: usize = 64;

/// What a flow crossed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Trip {
    /// For certain.
    pub certain: Vec<Way>,
    /// On each of the ways of which it took one.
    pub either: Vec<Vec<Way>>,
    /// How many such ways there are, known or not.
    pub of: usize,
}

impl Trip {
    pub const fn certain(certain: Vec<Way>) -> Self {
        Self {
            certain,
            either: Vec::new(),
            of: 0,
        }
    }

    /// Everything that may have been crossed.
    pub fn all(&self) -> impl Iterator<Item = &Way> {
        self.certain.iter().chain(self.either.iter().flatten())
    }

    /// Round trips of a slow path. Of the way back only the ends are known; between two leaves it is one of as many
    /// ways as a leaf has links to other switches: `parallels`.
    pub fn round(
        wiring: &Wiring<'_>,
        (source, anomaly): (&RnicName, &Anomaly),
        seen: &Seen<'_>,
        parallels: usize,
    ) -> Self {
        let target = &anomaly.target;
        let is_traced = wiring.leaf(source).is_some() || !anomaly.path.is_empty();
        let some_way = |from: &RnicName, to: &RnicName| {
            if !is_traced {
                let hops = (&Hop::Rnic(from.clone()), &Hop::Rnic(to.clone()));
                return Self::certain(wiring.ways(hops));
            }
            let mut trip = Self::certain(vec![Way::Out(from.clone()), Way::Into(to.clone())]);
            if let (Some(a), Some(b)) = (wiring.leaf(from), wiring.leaf(to))
                && a != b
            {
                trip.either = between(seen, a, b);
                trip.either.truncate(MOST);
                trip.of = trip.either.len().max(parallels);
            }
            trip
        };
        let mut trip = some_way(target, source);
        if anomaly.path.is_empty() {
            trip.join(some_way(source, target));
        } else {
            let routers = anomaly.path.iter();
            let routers = routers.map(|hop| hop.map_or(Hop::Unknown, Hop::Router));
            let mut hops = vec![Hop::Rnic(source.clone())];
            hops.extend(routers);
            hops.push(Hop::Rnic(target.clone()));
            let links: Vec<_> = hops.windows(2).map(|pair| (&pair[0], &pair[1])).collect();
            let known = wiring.chain(&links, &|from, to| seen.alternatives(from, to));
            trip.certain.extend(known);
        }
        trip.certain.sort_unstable();
        trip.certain.dedup();
        trip
    }

    /// Adds a way forth that is not known either. Each of its ways is paired with another one back, for the two are
    /// chosen apart from each other.
    fn join(&mut self, forth: Self) {
        self.certain.extend(forth.certain);
        self.of = self.of.max(forth.of);
        let ways = forth.either.len();
        for (nth, way) in forth.either.into_iter().enumerate() {
            match self.either.get_mut((nth + 1) % ways) {
                Some(back) => back.extend(way),
                None => self.either.push(way),
            }
        }
    }
}

/// The known ways between two leaves: by the switch that they lead over, or where several are between them, one link
/// from the first with one to the second.
fn between(seen: &Seen<'_>, from: &Arc<str>, to: &Arc<str>) -> Vec<Vec<Way>> {
    let ends = [from, to].map(|leaf| Router::Named(Arc::clone(leaf)));
    let known = seen.alternatives(&ends[0], &ends[1]);
    let (up, mut down): (Vec<Way>, Vec<Way>) = known
        .into_iter()
        .partition(|way| matches!(way, Way::Link(a, _) if a == from));
    let leads_on = |up: &Way, down: &Way| match (up, down) {
        (Way::Link(_, a), Way::Link(b, _)) => a == b,
        _ => false,
    };
    let meet = |up: &Way| down.iter().any(|down| leads_on(up, down));
    if !up.iter().any(meet) {
        let most = up.len().max(down.len());
        let nth = |of: &[Way], nth: usize| of.get(nth % of.len().max(1)).cloned();
        return (0..most)
            .map(|at| nth(&up, at).into_iter().chain(nth(&down, at)).collect())
            .collect();
    }
    let mut ways: Vec<Vec<Way>> = Vec::new();
    for up in up {
        let on = down.iter().position(|down| leads_on(&up, down));
        let on = on.map(|position| down.swap_remove(position));
        ways.push([up].into_iter().chain(on).collect());
    }
    ways.extend(down.into_iter().map(|down| vec![down]));
    ways
}
