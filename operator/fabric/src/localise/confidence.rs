//! How sure it is that a suspect is the guilty one, and who else it may be.
//!
//! Each suspect is taken out of the guilty set in turn, the others' rates are fitted anew, and everything
//! that might stand in its place is weighed by prior times likelihood: the suspect itself, every other
//! component, and nobody. The suspect's share of that sum is its confidence.

use std::collections::BTreeMap;

use super::network::{Kind, Lossy, Network, Shape};
use super::search::{Candidate, Guilty, Search, Share};
use super::{ComponentId, Crossing, Localisation, Suspect};

/// Alternatives listed at most.
const MOST_ALTERNATIVES: usize = 8;

/// Alternatives less likely than this (ratio) are not listed.
const LEAST_ALTERNATIVE: f64 = 1e-3;

/// ln odds below which a candidate weighs nothing.
const NOTHING: f64 = -12.0;

/// What is this likely, compared with a suspect, can hardly be told from it: one of them is guilty.
const NEARLY: f64 = 0.5;

/// What a suspect is made of.
struct Accused {
    entity: u32,
    units: Vec<Guilty>,
    share: Option<Share>,
}

pub(super) fn explain(network: &Network, mut search: Search<'_>, named: f64) -> Localisation {
    let accused = accused(&search);
    let mut suspects: Vec<(Suspect, Vec<u32>)> = Vec::new();
    for accused in accused {
        let weighed = weigh(&mut search, &accused);
        if let Some(suspect) = name(network, &search, &accused, weighed, named) {
            let mut plain: Vec<u32> = accused
                .units
                .iter()
                .flat_map(|guilty| network.units[guilty.unit as usize].plain.iter().copied())
                .collect();
            if accused.share.is_some() {
                plain.clone_from(&network.units[accused.entity as usize].plain);
            }
            plain.sort_unstable();
            plain.dedup();
            suspects.push((suspect, plain));
        }
    }
    suspects.sort_by(|(a, _), (b, _)| {
        b.confidence
            .total_cmp(&a.confidence)
            .then(a.component.cmp(&b.component))
    });
    count(network, &mut suspects);
    Localisation {
        suspects: suspects.into_iter().map(|(suspect, _)| suspect).collect(),
        background: search.field.background(),
    }
}

fn accused(search: &Search<'_>) -> Vec<Accused> {
    let pick = |wanted: &dyn Fn(u32) -> bool| -> Vec<Guilty> {
        let all = search.guilty.iter().copied();
        all.filter(|guilty| wanted(guilty.unit)).collect()
    };
    let mut accused: Vec<Accused> = search
        .shares
        .iter()
        .map(|share| {
            let entities: Vec<u32> = share.members.iter().map(|u| search.entity(*u)).collect();
            Accused {
                entity: search.entity(share.group),
                units: pick(&|unit| entities.contains(&search.entity(unit))),
                share: Some(share.clone()),
            }
        })
        .collect();
    for unit in search.alone() {
        let entity = search.entity(unit);
        // What loses more than its guilty switch does, or besides its share, is still that switch's.
        let groups = &search.prior.groups[unit as usize];
        let guilty = |group: &u32| {
            let whole = search.entity(*group);
            search.guilty.iter().any(|g| search.entity(g.unit) == whole)
                || search
                    .shares
                    .iter()
                    .any(|share| search.entity(share.group) == whole)
        };
        if !groups.iter().any(guilty) {
            accused.push(Accused {
                entity,
                units: pick(&|unit| search.entity(unit) == entity),
                share: None,
            });
        }
    }
    accused
}

/// Probabilities of all that may stand in a suspect's place, per component; the rest is nobody's.
fn weigh(search: &mut Search<'_>, accused: &Accused) -> Vec<(u32, f64)> {
    let (share_odds, share_group) = best_share(search, accused);
    let before = search.score();
    let units: Vec<u32> = accused.units.iter().map(|guilty| guilty.unit).collect();
    let taken = search.take(&units);
    let without = search.score();
    let whole = before - without;
    let split = match units.as_slice() {
        [group] if search.prior.is_group(*group) => split(search, accused.entity, without),
        _ => None,
    };
    let mut weights: Vec<(u32, f64)> = Vec::new();
    let mut add =
        |component: u32, odds: f64| match weights.iter_mut().find(|(known, _)| *known == component)
        {
            Some((_, known)) => *known = ln_sum(*known, odds),
            None => weights.push((component, odds)),
        };
    let candidates = search.candidates(NOTHING);
    for candidate in &candidates {
        let entity = search.entity(candidate.unit);
        if !search.prior.is_nuisance(candidate.unit) {
            add(entity, candidate.odds);
        }
    }
    if let (Some((component, odds)), None) = (split, &accused.share) {
        add(component, odds);
    }
    if let Some(share) = &accused.share {
        add(accused.entity, whole);
        if let Some(member) = share.members.first() {
            // Its members each by itself, under the name of the first.
            add(search.entity(*member), whole - share.odds);
        }
    } else {
        if units.len() > 1 {
            // Both directions, each at its own rate: so may others lose.
            add(accused.entity, whole);
            for (other, odds) in both_ways(search, &candidates, accused.entity, without) {
                add(other, odds);
            }
        }
        let own = weights_of(&weights, accused.entity);
        if let Some(group) = share_group {
            match weights.iter_mut().find(|(known, _)| *known == group) {
                Some((_, known)) => *known = ln_sum(*known, own + share_odds),
                None => weights.push((group, own + share_odds)),
            }
        }
    }
    search.put(&taken);
    normalise(weights)
}

/// Other cables than `entity` that may lose in both directions, each at its own rate, with the ln odds of that
/// against nobody.
fn both_ways(
    search: &mut Search<'_>,
    candidates: &[Candidate],
    entity: u32,
    without: f64,
) -> Vec<(u32, f64)> {
    let mut cables: BTreeMap<u32, Vec<&Candidate>> = BTreeMap::new();
    for candidate in candidates {
        let cable = search.entity(candidate.unit);
        if candidate.unit != cable && cable != entity && !search.prior.is_group(candidate.unit) {
            cables.entry(cable).or_default().push(candidate);
        }
    }
    let pairs = cables.into_iter().filter(|(_, ways)| ways.len() == 2);
    let mut pairs: Vec<(u32, Vec<&Candidate>)> = pairs.collect();
    let hope = |ways: &[&Candidate]| ways.iter().map(|way| way.odds).sum::<f64>();
    pairs.sort_by(|(_, a), (_, b)| hope(b).total_cmp(&hope(a)));
    let mut weights = Vec::new();
    for (cable, ways) in pairs.into_iter().take(MOST_ALTERNATIVES) {
        let units: Vec<u32> = ways.iter().map(|way| way.unit).collect();
        let both = ways.iter().map(|way| Guilty {
            unit: way.unit,
            rate: way.rate,
        });
        search.put(&both.collect::<Vec<_>>());
        weights.push((cable, search.score() - without));
        search.take(&units);
    }
    weights
}

/// With a whole group taken out: the members that explain its losses, several of them, as the group's own
/// share or under the name of the first, and the ln odds of that against nobody.
fn split(search: &mut Search<'_>, entity: u32, without: f64) -> Option<(u32, f64)> {
    let members = search.grow_single();
    let odds = search.score() - without;
    let own = search
        .shares
        .iter()
        .any(|share| search.entity(share.group) == entity);
    let name = members.first().map(|first| search.entity(*first));
    search.take(&members);
    let component = if own { Some(entity) } else { name };
    // A single member is among the candidates already.
    (members.len() > 1).then_some((component?, odds))
}

/// The group that most likely explains a lone suspect, with ln odds against the suspect alone.
fn best_share(search: &Search<'_>, accused: &Accused) -> (f64, Option<u32>) {
    let mut best = (f64::NEG_INFINITY, None);
    if accused.share.is_none() {
        for &group in &search.prior.groups[accused.entity as usize] {
            let (odds, _) = search.share_odds_of(group);
            if odds > best.0 {
                best = (odds, Some(search.entity(group)));
            }
        }
    }
    best
}

fn weights_of(weights: &[(u32, f64)], component: u32) -> f64 {
    weights
        .iter()
        .find(|(known, _)| *known == component)
        .map_or(f64::NEG_INFINITY, |(_, odds)| *odds)
}

fn ln_sum(a: f64, b: f64) -> f64 {
    let (high, low) = if a > b { (a, b) } else { (b, a) };
    if high == f64::NEG_INFINITY {
        return high;
    }
    high + (low - high).exp().ln_1p()
}

/// ln odds to probabilities, nobody (ln odds 0) included in the sum; most likely first.
fn normalise(weights: Vec<(u32, f64)>) -> Vec<(u32, f64)> {
    let sum = weights
        .iter()
        .fold(0.0, |sum, (_, odds)| ln_sum(sum, *odds));
    let mut shares: Vec<(u32, f64)> = weights
        .into_iter()
        .map(|(component, odds)| (component, (odds - sum).exp()))
        .collect();
    shares.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    shares
}

fn name(
    network: &Network,
    search: &Search<'_>,
    accused: &Accused,
    weighed: Vec<(u32, f64)>,
    named: f64,
) -> Option<Suspect> {
    let confidence = weighed
        .iter()
        .find(|(component, _)| *component == accused.entity)
        .map_or(0.0, |(_, probability)| *probability);
    let class: f64 = weighed
        .iter()
        .filter(|(_, probability)| *probability >= confidence * NEARLY)
        .map(|(_, probability)| probability)
        .sum();
    if class < named {
        return None;
    }
    let (component, loss, members) = what(network, search, accused);
    Some(Suspect {
        component,
        kind: network.units[component.index()].kind,
        loss,
        members,
        confidence,
        flows: Crossing::default(),
        alternatives: weighed
            .into_iter()
            .filter(|(other, p)| *other != accused.entity && *p >= LEAST_ALTERNATIVE)
            .take(MOST_ALTERNATIVES)
            .map(|(other, p)| (ComponentId(other), p))
            .collect(),
    })
}

/// The component to name, its loss, and the losing members of it.
fn what(
    network: &Network,
    search: &Search<'_>,
    accused: &Accused,
) -> (ComponentId, f64, Vec<(ComponentId, f64)>) {
    let lost = |rate: f64| -(-rate).exp_m1();
    let members: Vec<(ComponentId, f64)> = match accused.units.as_slice() {
        [one] => match &network.units[one.unit as usize].shape {
            Shape::Plain => return (ComponentId(one.unit), lost(one.rate), Vec::new()),
            Shape::Cable => network.units[one.unit as usize]
                .plain
                .iter()
                .map(|plain| (ComponentId(*plain), lost(one.rate)))
                .collect(),
            Shape::Group(_) => search.prior.parts[one.unit as usize]
                .iter()
                .map(|part| (ComponentId(*part), lost(one.rate)))
                .collect(),
        },
        many => many
            .iter()
            .map(|guilty| (ComponentId(guilty.unit), lost(guilty.rate)))
            .collect(),
    };
    let mean = members.iter().map(|(_, loss)| loss).sum::<f64>() / members.len().max(1) as f64;
    (ComponentId(accused.entity), mean, members)
}

/// Counts flows for all suspects in one pass over the observations.
fn count(network: &Network, suspects: &mut [(Suspect, Vec<u32>)]) {
    let mut owners: Vec<Vec<usize>> = vec![Vec::new(); network.units.len()];
    for (index, (suspect, plain)) in suspects.iter_mut().enumerate() {
        suspect.flows.clean = network.clean_flows[suspect.component.index()];
        for plain in plain.iter() {
            owners[*plain as usize].push(index);
        }
    }
    let mut elsewhere = 0;
    let mut unknown: Vec<bool> = vec![true; suspects.len()];
    for lossy in &network.lossy {
        let mut crossed = owned(&owners, network.crossed(lossy).iter());
        if crossed.is_empty() {
            // What may have crossed a suspect did, where no other is known to be on its way.
            crossed = owned(&owners, maybe(network, lossy));
        }
        if crossed.is_empty() {
            elsewhere += lossy.flows;
        }
        for &index in &crossed {
            unknown[index] = false;
            suspects[index].0.flows.add(lossy);
        }
    }
    // A suspect beside others on the ways of all its flows.
    for lossy in network.lossy.iter().filter(|_| unknown.contains(&true)) {
        let crossed = owned(&owners, maybe(network, lossy)).into_iter();
        for index in crossed.filter(|index| unknown[*index]) {
            suspects[index].0.flows.add(lossy);
        }
    }
    for (suspect, _) in suspects {
        suspect.flows.lossy_elsewhere = elsewhere;
    }
}

/// What an observation may have crossed.
fn maybe<'a>(network: &'a Network, lossy: &Lossy) -> impl Iterator<Item = &'a u32> {
    let ways = network.one_of(lossy).into_iter();
    ways.flat_map(|ways| ways.ways.iter().flatten())
}

/// The suspects that plain components are of, each once.
fn owned<'a>(owners: &[Vec<usize>], plain: impl Iterator<Item = &'a u32>) -> Vec<usize> {
    let mut owned: Vec<usize> = Vec::new();
    for id in plain {
        owned.extend_from_slice(&owners[*id as usize]);
    }
    owned.sort_unstable();
    owned.dedup();
    owned
}

impl Crossing {
    const fn add(&mut self, lossy: &Lossy) {
        self.lossy += lossy.flows;
        self.sent += lossy.sent;
        self.lost += lossy.lost;
    }
}

impl Kind {
    /// As people write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Link => "Link",
            Self::Rnic => "Rnic",
            Self::Switch => "Switch",
            Self::Host => "Host",
            Self::Nuisance => "Nuisance",
        }
    }
}
