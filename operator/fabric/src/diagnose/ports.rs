//! What agents say of their own ports: RNICs that are down or gone, and hosts and switches that took all
//! of theirs with them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::evidence::Evidence;
use super::facts::{Facts, Finding, Standing};
use super::sentence;
use super::state::{CaseKey, State};
use super::wiring::Wiring;
use crate::names::{NodeName, RnicName};
use crate::time::Timestamp;

/// Ports that fail together are not reported at the same moment: a switch's are waited for.
const SETTLE: Duration = Duration::from_secs(1);

/// A window is written this long after its end at most, while something is lost.
const WRITTEN_WITHIN: Duration = Duration::from_secs(6);

/// RNICs that once took part and whose own agent now reports their port down or gone; hosts and switches all of
/// whose RNICs are.
pub(super) fn ill(facts: &Facts<'_>, wiring: &Wiring<'_>) -> BTreeMap<CaseKey, Finding> {
    let mut by_host: BTreeMap<&NodeName, Members<'_>> = BTreeMap::new();
    let mut by_switch: BTreeMap<Arc<str>, Members<'_>> = BTreeMap::new();
    let mut ill = BTreeMap::new();
    for rnic in facts.expected() {
        let standing = facts.standing(rnic);
        let evidence = sentence::rnic(rnic, standing);
        let switch = switch_of(facts, wiring, rnic);
        let member = (rnic, standing != Standing::Left, evidence.is_some());
        by_host.entry(&rnic.node).or_default().add(member);
        if let Some(switch) = &switch {
            by_switch.entry(Arc::clone(switch)).or_default().add(member);
        }
        if let Some(evidence) = evidence {
            let settle = if switch.is_some() {
                SETTLE
            } else {
                Duration::ZERO
            };
            let finding = Finding {
                confidence: 99,
                evidence,
                settle,
            };
            ill.insert(CaseKey::Rnic(rnic.clone()), finding);
        }
    }
    let hosts = by_host
        .into_iter()
        .filter(|(_, members)| members.all_down());
    for (host, members) in hosts {
        let why = "check its power, its cables and the switch that it hangs on";
        let finding = members.finding(host.as_str(), why);
        ill.insert(CaseKey::Host(host.clone()), finding);
    }
    for (switch, members) in by_switch {
        if members.all_down() && members.hosts.len() > 1 {
            let finding = members.finding(&switch, "check this switch");
            ill.insert(CaseKey::Switch(switch), finding);
        }
    }
    ill
}

/// What is down, `ill` by the word of its own agents, or was so lately: what was lost meanwhile may still be in windows, and
/// in those that are about to be written.
pub(super) fn down_lately<'a>(
    evidence: &Evidence,
    state: &State,
    ill: impl Iterator<Item = &'a CaseKey>,
    now: Timestamp,
) -> BTreeMap<CaseKey, Timestamp> {
    let lately = evidence.thresholds.window.saturating_add(WRITTEN_WITHIN);
    let before = state.down.iter().map(|(key, at)| (key.clone(), *at));
    before
        .filter(|(_, at)| now.since(*at) < lately)
        .chain(ill.map(|key| (key.clone(), now)))
        .collect()
}

/// The switch of an RNIC: as traced, else as its group is called. Several RNICs of a host are of one group and may
/// each hang on the switch of their own rail, so what their group is called says nothing about a switch.
pub(super) fn switch_of(
    facts: &Facts<'_>,
    wiring: &Wiring<'_>,
    rnic: &RnicName,
) -> Option<Arc<str>> {
    let traced = wiring.leaf(rnic).map(Arc::clone);
    traced.or_else(|| {
        let is_only = facts.expected_of(&rnic.node).nth(1).is_none();
        let group = facts.group(rnic).filter(|_| is_only)?;
        Some(Arc::from(group.as_str()))
    })
}

/// RNICs of one host or switch.
#[derive(Default)]
struct Members<'a> {
    all: usize,
    down: Vec<&'a RnicName>,
    hosts: BTreeSet<&'a NodeName>,
}

impl<'a> Members<'a> {
    fn add(&mut self, (rnic, takes_part, is_down): (&'a RnicName, bool, bool)) {
        if takes_part {
            self.all += 1;
            self.hosts.insert(&rnic.node);
        }
        if is_down {
            self.down.push(rnic);
        }
    }

    fn all_down(&self) -> bool {
        self.all > 1 && self.down.len() == self.all
    }

    fn finding(&self, name: &str, advice: &str) -> Finding {
        let names: Vec<String> = self.down.iter().take(3).map(ToString::to_string).collect();
        let more = self.down.len().saturating_sub(names.len());
        let more = if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        };
        Finding {
            confidence: 95,
            evidence: sentence::bounded(format!(
                "{name}: the ports of all its {} RNICs ({}{more}) are reported down or gone by their own \
                 agents; {advice}",
                self.all,
                names.join(", ")
            )),
            settle: Duration::ZERO,
        }
    }
}
