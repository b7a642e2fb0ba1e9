//! How long a suspect waits before it is named: until all who may have something to say about it have said it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::super::facts::Facts;
use super::super::network::{Illness, Model};
use super::super::state::{CaseKey, State};
use super::super::wiring::{Way, Wiring};
use super::{Accusation, Blamed, CERTAIN, LEAST_CONFIDENCE, is_open};
use crate::time::Timestamp;

/// So many lost probes are no accident.
const MANY_LOST: u64 = 20;
/// So few may have met on the ways of a large fabric by accident.
const LITTLE_LOST: u64 = 6;
/// Several links of one switch may be that switch, once all agents have reported.
const SETTLE: Duration = Duration::from_secs(1);
/// Others report what one agent sees, or what few have lost, within this time, if they see it too;
const ALONE: Duration = Duration::from_millis(600);
/// those at the other end of what agents of one leaf accuse within this one,
const ONE_SIDED: Duration = Duration::from_millis(1_000);
/// and that flows are slow, which takes more probes to tell, within this one.
const SLOW: Duration = Duration::from_secs(2);
/// What several new suspects have in common shows within this time.
const SEVERAL: Duration = Duration::from_millis(1_200);
/// Share of a suspect's ill flows that cross another one as well, from which on what they lost may be that one's doing.
const SAME_FLOWS: f64 = 0.8;

/// Whether others than a single agent send over it.
const fn is_shared(key: &CaseKey) -> bool {
    match key {
        CaseKey::Switch(_) | CaseKey::Link(_) | CaseKey::Groups(..) => true,
        CaseKey::Host(_) | CaseKey::Rnic(_) | CaseKey::Pair(..) => false,
    }
}

/// Elements that hang on one switch wait for each other, and so do several that are new at once: they may be one that is
/// not understood yet.
pub(super) fn for_each_other(
    wiring: &Wiring<'_>,
    state: &State,
    all: &mut BTreeMap<CaseKey, Blamed>,
) {
    let mut by_switch: BTreeMap<Arc<str>, BTreeSet<CaseKey>> = BTreeMap::new();
    for (key, blamed) in all.iter() {
        let ends = blamed.ways.iter().flat_map(|way| wiring.switches_of(way));
        for switch in ends {
            by_switch.entry(switch).or_default().insert(key.clone());
        }
    }
    for keys in by_switch.into_values().filter(|keys| keys.len() > 1) {
        keys.iter().for_each(|key| at_least(all, key, SETTLE));
    }
    let new = not_open(state, all);
    if new.len() > 1 {
        new.iter().for_each(|key| at_least(all, key, SEVERAL));
    }
}

/// Beside a case that is new itself, whoever is accused by flows that cross that one as well waits: some windows are full
/// of what it loses and others have just begun to be, which looks like a second fault.
pub(super) fn for_full_windows(
    (facts, wiring): (&Facts<'_>, &Wiring<'_>),
    (state, now): (&State, Timestamp),
    models: &[Model],
    all: &mut BTreeMap<CaseKey, Blamed>,
) {
    let full = full(facts);
    let is_new = |key: &&CaseKey| {
        let case = state.cases.get(*key).filter(|case| case.open);
        case.is_some_and(|case| now.since(case.since) < full)
    };
    let new: Vec<(&CaseKey, &Blamed)> = all.iter().filter(|(key, _)| is_new(key)).collect();
    if new.is_empty() {
        return;
    }
    let is_over = |way: &Way| {
        new.iter().any(|(key, blamed)| match key {
            CaseKey::Switch(switch) => wiring.switches_of(way).contains(switch),
            _ => blamed.ways.contains(way),
        })
    };
    let over = |model: &Model| model.ways().filter(|way| is_over(way)).cloned().collect();
    let over: Vec<Vec<Way>> = models.iter().map(over).collect();
    for key in not_open(state, all) {
        let own = &all[&key].ways;
        let share = |(model, over): (&Model, &Vec<Way>)| model.share_over(own, over);
        if models
            .iter()
            .zip(&over)
            .filter_map(share)
            .any(|share| share >= SAME_FLOWS)
        {
            at_least(all, &key, full);
        }
    }
}

/// The time by which all that a window contains has happened since now, and was reported.
fn full(facts: &Facts<'_>) -> Duration {
    let window = facts.evidence.thresholds.window;
    window.saturating_add(SETTLE.saturating_mul(2))
}

fn not_open(state: &State, all: &BTreeMap<CaseKey, Blamed>) -> Vec<CaseKey> {
    let new = all.keys().filter(|key| !is_open(state, key));
    new.cloned().collect()
}

fn at_least(all: &mut BTreeMap<CaseKey, Blamed>, key: &CaseKey, time: Duration) {
    if let Some(blamed) = all.get_mut(key) {
        blamed.finding.settle = blamed.finding.settle.max(time);
    }
}

impl Accusation<'_> {
    /// A suspect that is not sure yet waits: for all agents to report, or where little was lost so far, until the
    /// losses that made it one have left the window. So does even a sure one, for as long as it takes others to
    /// report, where a single agent or those of a single leaf accuse it or little was lost; for longer, where little was
    /// lost while another case is open, for what that one leaves behind when it ends is not told by all agents at once, and
    /// where a single agent, or all together, lost little over what many use: of what good links lose in a large fabric, some
    /// meets.
    pub(super) fn settle(&self, (key, sure): (&CaseKey, f64), ways: &[Way]) -> Duration {
        let gone = full(self.facts);
        let mut others = self.state.cases.iter();
        let is_beside = others.any(|(other, case)| case.open && other != key);
        // How many probes were slow is not told.
        let is_loss = self.illness == Illness::Loss;
        let is_much = is_loss && self.suspect.flows.lost >= MANY_LOST;
        let is_little = is_loss && self.suspect.flows.lost < LITTLE_LOST;
        let reporters = self.model.reporters(ways);
        let is_alone = reporters.len() < 2;
        let is_one_sided = is_loss && self.leaves(&reporters) == 1;
        match (sure >= CERTAIN, is_much) {
            (true, false) if is_beside || is_shared(key) && (is_alone || is_little) => gone,
            (true, _) if !is_loss => SLOW,
            (true, _) if is_one_sided => ONE_SIDED,
            (true, true) if !is_alone => Duration::ZERO,
            (true, _) => ALONE,
            (false, true) if sure >= LEAST_CONFIDENCE => SETTLE,
            (false, _) => gone,
        }
    }

    /// How many leaves those agents hang on that accuse it; those of unknown leaves count as one each.
    fn leaves(&self, reporters: &BTreeSet<usize>) -> usize {
        let heard = reporters.iter().filter_map(|nth| self.seen.heard.get(*nth));
        let planned = self.facts.evidence.planned.rnics();
        let leaves: BTreeSet<&str> = heard
            .flat_map(|heard| {
                let own = planned.iter().filter(|rnic| rnic.node == *heard.node);
                own.map(|rnic| match self.wiring.leaf(rnic) {
                    Some(leaf) => leaf.as_ref(),
                    None => rnic.node.as_str(),
                })
            })
            .collect();
        leaves.len()
    }
}
