//! Which case explains which: a switch its links, a host its RNICs, and every element the pairs whose
//! probes may have crossed it.

use std::collections::{BTreeMap, BTreeSet};

use super::blame::Blamed;
use super::facts::Facts;
use super::ports::switch_of;
use super::seen::Seen;
use super::state::CaseKey;
use super::trip::Trip;
use super::wiring::{Way, Wiring};

/// Answers whether one case explains another.
pub(super) struct Explain<'a> {
    facts: &'a Facts<'a>,
    wiring: &'a Wiring<'a>,
    /// Elements that are to blame for ill pairs now.
    pairs: BTreeSet<(CaseKey, CaseKey)>,
}

impl<'a> Explain<'a> {
    pub fn new(
        facts: &'a Facts<'a>,
        wiring: &'a Wiring<'a>,
        seen: &Seen<'_>,
        blamed: &BTreeMap<CaseKey, Blamed>,
    ) -> Self {
        let mut pairs = BTreeSet::new();
        if !blamed.is_empty() {
            for (source, anomaly) in facts.anomalies() {
                let trip = Trip::round(wiring, (&source, anomaly), seen, 0);
                let crossed: BTreeSet<&Way> = trip.all().collect();
                // Where it is not known which switch an end hangs on, any link may have been crossed.
                let ends = [&source, &anomaly.target];
                let somewhere =
                    wiring.is_traced() && ends.iter().any(|end| wiring.leaf(end).is_none());
                let pair = CaseKey::pair(source, anomaly.target.clone());
                for (key, blamed) in blamed {
                    let is_inside = matches!(key, CaseKey::Link(_) | CaseKey::Switch(_));
                    let crosses = blamed.ways.iter().any(|way| crossed.contains(way));
                    if crosses || (somewhere && is_inside) {
                        pairs.insert((key.clone(), pair.clone()));
                    }
                }
            }
        }
        Self {
            facts,
            wiring,
            pairs,
        }
    }

    /// Whether `by` explains `key`.
    pub fn covers(&self, by: &CaseKey, key: &CaseKey) -> bool {
        if by == key {
            return false;
        }
        let of_pair = match key {
            CaseKey::Pair(a, b) => [Some(a), Some(b)],
            _ => [None, None],
        };
        match (by, key) {
            (CaseKey::Host(node), CaseKey::Rnic(rnic)) => rnic.node == *node,
            (CaseKey::Switch(switch), CaseKey::Rnic(rnic)) => {
                let own = switch_of(self.facts, self.wiring, rnic);
                own.is_some_and(|own| own == *switch)
            }
            (CaseKey::Switch(switch), CaseKey::Link(link)) => {
                let rest = |rest: &str, by: char| rest.starts_with(by) || rest.ends_with(by);
                let after = link.strip_prefix(&**switch);
                let before = link.strip_suffix(&**switch);
                after.is_some_and(|text| rest(text, '-'))
                    || before.is_some_and(|text| rest(text, '-'))
            }
            (CaseKey::Switch(switch), CaseKey::Groups(a, b)) => {
                [a, b].iter().any(|group| *group.as_str() == **switch)
            }
            (CaseKey::Switch(switch), CaseKey::Host(host)) => self.hangs_on(host, switch),
            (CaseKey::Host(node), CaseKey::Pair(..))
                if of_pair.into_iter().flatten().any(|rnic| rnic.node == *node) =>
            {
                true
            }
            (CaseKey::Rnic(rnic), CaseKey::Pair(..))
                if of_pair.into_iter().flatten().any(|end| end == rnic) =>
            {
                true
            }
            (_, CaseKey::Pair(..)) => self.pairs.contains(&(by.clone(), key.clone())),
            _ => false,
        }
    }

    fn hangs_on(&self, host: &crate::NodeName, switch: &str) -> bool {
        let own = self.facts.expected_of(host);
        let mut switches = own.filter_map(|rnic| switch_of(self.facts, self.wiring, rnic));
        switches.any(|own| *own == *switch)
    }
}
