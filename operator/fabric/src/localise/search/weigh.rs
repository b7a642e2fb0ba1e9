//! Priors and evidence put together: candidates, shares of a switch, and the score of a whole set.

use std::collections::BTreeMap;

use super::super::prior::Count;
use super::{Candidate, Search, Share};

/// Groups tried at most when nothing is found one by one.
const TRIED_GROUPS: usize = 3;

impl Search<'_> {
    pub(in crate::localise) fn entity(&self, unit: u32) -> u32 {
        self.prior.entity[unit as usize]
    }

    fn is_guilty(&self, entity: u32) -> bool {
        self.guilty.iter().any(|g| self.entity(g.unit) == entity)
    }

    /// Whether a share accounts for a guilty unit.
    fn shared(&self, unit: u32) -> bool {
        self.shares
            .iter()
            .any(|share| share.members.contains(&unit))
    }

    /// Whether a group is guilty in one form or another.
    fn is_taken(&self, group: u32) -> bool {
        let whole = self.entity(group);
        let shared = |share: &Share| self.entity(share.group) == whole;
        self.is_guilty(whole) || self.shares.iter().any(shared)
    }

    /// Guilty components that no share accounts for, the first unit of each.
    pub(in crate::localise) fn alone(&self) -> Vec<u32> {
        let mut entities = Vec::new();
        let mut alone = Vec::new();
        for guilty in &self.guilty {
            let entity = self.entity(guilty.unit);
            let counts = !self.prior.is_nuisance(guilty.unit) && !self.shared(guilty.unit);
            if counts && !entities.contains(&entity) {
                entities.push(entity);
                alone.push(guilty.unit);
            }
        }
        alone
    }

    /// Faults there are: shares, and components by themselves.
    fn count(&self) -> Count {
        let alone = self.alone();
        let whole = alone
            .iter()
            .filter(|unit| self.prior.is_group(**unit))
            .count();
        Count {
            faults: self.shares.len() + alone.len(),
            groups: self.shares.len() + whole,
        }
    }

    /// Whatever may be guilty besides those that are, with odds above `least`.
    pub(in crate::localise) fn candidates(&self, least: f64) -> Vec<Candidate> {
        let near = self.near();
        let count = self.count();
        let mut candidates = Vec::new();
        for id in 0..self.field.data.carried.len() {
            let unit = u32::try_from(id).unwrap_or(u32::MAX);
            let Some(prior) = self.prior_of(unit, count, &near) else {
                continue;
            };
            if let Some(worth) = self.field.worth(unit, least - prior) {
                let odds = worth.evidence + prior;
                if odds > least {
                    candidates.push(Candidate {
                        unit,
                        rate: worth.rate,
                        odds,
                    });
                }
            }
        }
        candidates
    }

    /// ln prior odds of one more guilty unit; `None` where it cannot be one.
    fn prior_of(&self, unit: u32, count: Count, near: &BTreeMap<u32, f64>) -> Option<f64> {
        if !self.field.data.seen[unit as usize] {
            return None;
        }
        let entity = self.entity(unit);
        if self.is_guilty(entity) {
            // The other direction of a link that loses in one.
            let other = unit != entity
                && !self
                    .guilty
                    .iter()
                    .any(|g| g.unit == unit || g.unit == entity);
            return other.then(|| self.prior.mode(unit));
        }
        let by_itself = self.prior.unit(unit);
        if self.prior.is_nuisance(unit) {
            return Some(by_itself);
        }
        if self.prior.is_group(unit) && self.is_taken(unit) {
            return None;
        }
        for &group in &self.prior.groups[unit as usize] {
            if let Some(parts) = self.members_guilty(group) {
                return Some(parts + self.prior.mode(unit));
            }
        }
        let more = Count {
            faults: count.faults + 1,
            groups: count.groups + usize::from(self.prior.is_group(unit)),
        };
        let alone = by_itself + self.prior.number(more) - self.prior.number(count);
        let joined = near
            .get(&entity)
            .map(|joined| joined + self.prior.mode(unit));
        let prior = joined.map_or(alone, |joined| joined.max(alone));
        (prior > f64::NEG_INFINITY).then_some(prior)
    }

    /// ln prior odds of one more member of a group that is guilty in this form or another; `None` where it
    /// is not.
    fn members_guilty(&self, group: u32) -> Option<f64> {
        let parts = self.prior.parts[group as usize].len() as f64;
        let whole = self.entity(group);
        if self.is_guilty(whole) {
            return Some(-parts.ln());
        }
        let same = |share: &&Share| self.entity(share.group) == whole;
        let share = self.shares.iter().find(same)?;
        let found = share.members.len() as f64;
        Some(((found + 1.0) / (parts - found).max(1.0)).ln())
    }

    /// Components that would make a switch guilty together with one that is: ln of what the prior gains.
    fn near(&self) -> BTreeMap<u32, f64> {
        let mut near = BTreeMap::new();
        let mut tried = Vec::new();
        for unit in self.alone() {
            for &group in &self.prior.groups[unit as usize] {
                if tried.contains(&group) || self.is_taken(group) {
                    continue;
                }
                tried.push(group);
                let members = self.members_alone(group);
                let hidden = self.hidden(group);
                for position in 0..hidden.len() {
                    let mut rest: Vec<f64> = hidden.iter().map(|(_, evidence)| *evidence).collect();
                    rest.swap_remove(position);
                    let joined = self.share_odds(group, &members, 1, &rest);
                    let known = near.entry(hidden[position].0).or_insert(f64::NEG_INFINITY);
                    *known = known.max(joined);
                }
            }
        }
        near
    }

    /// Guilty units of a group that no share accounts for.
    pub(super) fn members_alone(&self, group: u32) -> Vec<u32> {
        let parts = &self.prior.parts[group as usize];
        self.alone()
            .into_iter()
            .filter(|unit| parts.binary_search(&self.entity(*unit)).is_ok())
            .collect()
    }

    /// Parts of a group that are not guilty, with the evidence for each (likelihood ratio).
    pub(in crate::localise) fn hidden(&self, group: u32) -> Vec<(u32, f64)> {
        self.prior.parts[group as usize]
            .iter()
            .filter(|part| !self.is_guilty(**part))
            .map(|&part| (part, self.part_evidence(part).exp()))
            .collect()
    }

    /// ln likelihood ratio of a part's guilt, over its directions.
    fn part_evidence(&self, part: u32) -> f64 {
        self.prior.variants[part as usize]
            .iter()
            .filter_map(|&unit| {
                let worth = self.field.worth(unit, -30.0)?;
                Some((worth.evidence + self.prior.mode(unit)).exp())
            })
            .sum::<f64>()
            .ln()
    }

    /// ln prior odds of a group losing in `members` and `more` others, against `members` guilty by
    /// themselves.
    fn share_odds(&self, group: u32, members: &[u32], more: usize, hidden: &[f64]) -> f64 {
        let count = self.count();
        let shared = Count {
            faults: count.faults + 1 - members.len(),
            groups: count.groups + 1,
        };
        let modes: f64 = members.iter().map(|unit| self.prior.mode(*unit)).sum();
        let alone: f64 = members.iter().map(|unit| self.prior.unit(*unit)).sum();
        self.prior.share(group, members.len() + more, hidden) + modes + self.prior.number(shared)
            - alone
            - self.prior.number(count)
    }

    /// ln odds of each group losing in a share of its members against its guilty members each by itself.
    pub(in crate::localise) fn share_odds_of(&self, group: u32) -> (f64, Vec<u32>) {
        let members = self.members_alone(group);
        if members.is_empty() {
            return (f64::NEG_INFINITY, members);
        }
        let hidden: Vec<f64> = self.hidden(group).iter().map(|(_, e)| *e).collect();
        (self.share_odds(group, &members, 0, &hidden), members)
    }

    /// Sees which guilty components are one switch's or host's.
    pub(super) fn find_shares(&mut self) {
        self.shares.clear();
        loop {
            let mut best: Option<Share> = None;
            let mut tried = Vec::new();
            for unit in self.alone() {
                for &group in &self.prior.groups[unit as usize] {
                    if tried.contains(&group) || self.is_taken(group) {
                        continue;
                    }
                    tried.push(group);
                    let (odds, members) = self.share_odds_of(group);
                    let better = best.as_ref().is_none_or(|best| odds > best.odds);
                    if members.len() > 1 && odds > 0.0 && better {
                        best = Some(Share {
                            group,
                            members,
                            odds,
                        });
                    }
                }
            }
            let Some(share) = best else {
                return;
            };
            self.shares.push(share);
        }
    }

    /// Groups whose members' evidence together might do what none of them does alone, best first.
    pub(super) fn promising_groups(&self) -> Vec<u32> {
        let mut promising: Vec<(f64, u32)> = Vec::new();
        // Most members are in more than one group.
        let mut known: BTreeMap<u32, f64> = BTreeMap::new();
        for id in 0..self.prior.parts.len() {
            let group = u32::try_from(id).unwrap_or(u32::MAX);
            if !self.prior.is_group(group) || self.is_taken(group) {
                continue;
            }
            let evidence: f64 = self.prior.parts[id]
                .iter()
                .filter(|part| !self.is_guilty(**part))
                .map(|&part| {
                    let evidence = known.entry(part);
                    *evidence.or_insert_with(|| self.part_evidence(part).max(0.0))
                })
                .sum();
            let hope = evidence + self.prior.unit(group);
            if hope > 0.0 {
                promising.push((hope, group));
            }
        }
        promising.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        promising
            .into_iter()
            .take(TRIED_GROUPS)
            .map(|(_, group)| group)
            .collect()
    }

    /// The innocent member of a group with the best evidence, if that speaks for its guilt given the group's.
    pub(super) fn best_part(&self, group: u32) -> Option<Candidate> {
        let parts = &self.prior.parts[group as usize];
        let mut best: Option<Candidate> = None;
        for &part in parts.iter().filter(|part| !self.is_guilty(**part)) {
            for &unit in &self.prior.variants[part as usize] {
                let Some(worth) = self.field.worth(unit, -1.0) else {
                    continue;
                };
                let odds = worth.evidence + self.prior.mode(unit);
                if odds > 0.0 && best.is_none_or(|best| odds > best.odds) {
                    best = Some(Candidate {
                        unit,
                        rate: worth.rate,
                        odds,
                    });
                }
            }
        }
        best
    }

    /// ln of prior times likelihood of the guilty set, rates integrated out.
    pub(in crate::localise) fn score(&self) -> f64 {
        let mut score = self.field.lossy_likelihood() + self.prior.number(self.count());
        for guilty in &self.guilty {
            score += self.field.clean_likelihood(guilty.unit, guilty.rate);
            score += self.field.occam(guilty.unit, guilty.rate);
        }
        let alone = self.alone();
        for guilty in &self.guilty {
            score += if alone.contains(&guilty.unit) || self.prior.is_nuisance(guilty.unit) {
                self.prior.unit(guilty.unit)
            } else {
                self.prior.mode(guilty.unit)
            };
        }
        for share in &self.shares {
            let hidden: Vec<f64> = self.hidden(share.group).iter().map(|(_, e)| *e).collect();
            score += self.prior.share(share.group, share.members.len(), &hidden);
        }
        score
    }
}
