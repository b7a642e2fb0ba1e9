//! How much of what an agent found is news.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::find::{Finding, FindingKey};
use super::pacer::Change;
use super::window::{LocalPort, Tally, TargetKey, Window};
use crate::plan::ProbeClass;

/// A loss ratio that moves by more than this factor is drift.
const RATIO_FACTOR: f64 = 2.0;

/// So many lost probes of one target are more than chance.
const SEVERAL: u64 = 3;

/// Two numbers of lost probes differ by more than chance from so many standard deviations of their difference on,
const CHANCE: f64 = 3.0;

/// or from as many as chance makes for one of all targets in one of so many windows, where that is less: a report of few
/// targets is told sooner what changed.
const WINDOWS: f64 = 5.0;

/// Findings and losses, without the figures that change every second.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct News {
    anomalies: BTreeMap<FindingKey, f64>,
    /// Per mesh, probes of the window that were lost on their way there.
    lost: BTreeMap<Arc<str>, u64>,
    /// The same per target, where several were.
    targets: BTreeMap<(LocalPort, TargetKey), u64>,
    /// So many probes were not judged that the figures prove little.
    doubtful: bool,
}

impl News {
    /// What is worth telling of a tick's windows and findings.
    #[must_use]
    pub fn new(windows: &[Window<'_>], findings: &[Finding]) -> Self {
        let mut lost: BTreeMap<Arc<str>, u64> = BTreeMap::new();
        let mut targets = BTreeMap::new();
        for window in windows.iter().filter(|window| is_rdma(window)) {
            let on_the_way = window.tally.lost_on_the_way();
            if on_the_way > 0 {
                *lost.entry(Arc::clone(&window.target.mesh)).or_default() += on_the_way;
            }
            if on_the_way >= SEVERAL {
                targets.insert((window.local.clone(), window.target.clone()), on_the_way);
            }
        }
        let anomalies = findings.iter();
        Self {
            anomalies: anomalies.map(|f| (f.key.clone(), f.loss_ratio)).collect(),
            lost,
            targets,
            doubtful: doubtful(windows),
        }
    }

    /// Whether some path is ill.
    #[must_use]
    pub fn has_anomalies(&self) -> bool {
        !self.anomalies.is_empty()
    }

    /// How this differs from what was written before: `News`, `Hint`, `Drift` or `Same`.
    #[must_use]
    pub fn change_since(&self, written: &Self) -> Change {
        // Figures that prove nothing must not stand until the next refresh once there are better ones.
        let better = written.doubtful && !self.doubtful;
        if better || !self.anomalies.keys().eq(written.anomalies.keys()) {
            return Change::News;
        }
        let lost = |news: &Self, mesh: &Arc<str>| news.lost.get(mesh).copied().unwrap_or(0);
        let meshes = || self.lost.keys().chain(written.lost.keys());
        let hints = |now: u64, then: u64| (now == 0) != (then == 0) || now > then * 3 + 2;
        if meshes().any(|mesh| hints(lost(self, mesh), lost(written, mesh))) {
            return Change::Hint;
        }
        // While one fault goes on, the begin and the end of another one show only in what single targets lose.
        let lost = |news: &Self, target| news.targets.get(target).copied().unwrap_or(0);
        let targets: BTreeSet<_> = self.targets.keys().chain(written.targets.keys()).collect();
        let chance = chance(targets.len());
        let mut targets = targets.into_iter();
        if targets.any(|target| differs(lost(self, target), lost(written, target), chance)) {
            return Change::Hint;
        }
        let moved = self
            .anomalies
            .values()
            .zip(written.anomalies.values())
            .any(|(now, then)| *now > then * RATIO_FACTOR || *then > now * RATIO_FACTOR);
        // What goes on losing is told again and again, so that it can be told from what was lost once.
        if moved || !self.lost.is_empty() {
            Change::Drift
        } else {
            Change::Same
        }
    }
}

/// Whether a target that lost `then` probes of a window and `now` of a later one has another fault now: more than chance
/// makes of one rate, or hardly any are left.
fn differs(now: u64, then: u64, chance: f64) -> bool {
    let difference = as_f64(now.abs_diff(then));
    now * 3 < then || difference > chance * as_f64(now + then).sqrt()
}

/// Standard deviations that the largest of so many differences reaches by chance about once in [`WINDOWS`]: the bound
/// √(2 ln n) of the largest of n normal numbers.
fn chance(targets: usize) -> f64 {
    let tries = as_f64(u64::try_from(targets).unwrap_or(u64::MAX)) * WINDOWS;
    (2.0 * tries.max(1.0).ln()).sqrt().min(CHANCE)
}

#[expect(clippy::cast_precision_loss, reason = "counts of probes of one window")]
fn as_f64(number: u64) -> f64 {
    number as f64
}

fn is_rdma(window: &Window<'_>) -> bool {
    window.target.class != ProbeClass::Control
}

/// Whether on some RNIC the unresolved probes could be all those to one of its targets, or more than a
/// quarter of the probes were not judged at all.
fn doubtful(windows: &[Window<'_>]) -> bool {
    let mut sums: BTreeMap<(&str, &LocalPort), (Tally, u64)> = BTreeMap::new();
    for window in windows.iter().filter(|window| is_rdma(window)) {
        let sum = sums.entry((&window.target.mesh, window.local)).or_default();
        sum.0 += window.tally;
        sum.1 += 1;
    }
    sums.values().any(|(tally, targets)| {
        let a_target_lacks = tally.unresolved > 0 && tally.unresolved * targets * 2 >= tally.sent;
        a_target_lacks || (tally.unresolved + tally.host_delayed) * 4 > tally.sent
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So many probes of each of some targets were lost.
    fn news(lost: [u64; 2]) -> News {
        let target = |nth: usize| TargetKey {
            mesh: Arc::from("m"),
            class: ProbeClass::TorMesh,
            traffic_class: Arc::from(""),
            peer_node: Arc::from(format!("host{nth}")),
            peer_device: Arc::from("rxe0"),
            peer_port: 1,
        };
        let several = lost
            .iter()
            .enumerate()
            .filter(|(_, lost)| **lost >= SEVERAL);
        News {
            lost: BTreeMap::from([(Arc::from("m"), lost.iter().sum())]),
            targets: several
                .map(|(nth, lost)| ((LocalPort::new("rxe0", 1), target(nth)), *lost))
                .collect(),
            ..News::default()
        }
    }

    #[test]
    fn a_target_that_no_longer_loses_is_told_although_another_one_still_does() {
        assert_eq!(news([9, 0]).change_since(&news([9, 8])), Change::Hint);
        assert_eq!(news([9, 2]).change_since(&news([9, 8])), Change::Hint);
    }

    #[test]
    fn a_target_that_loses_much_more_or_less_is_told_although_it_lost_before() {
        assert_eq!(news([9, 28]).change_since(&news([9, 70])), Change::Hint);
        assert_eq!(news([40, 70]).change_since(&news([40, 28])), Change::Hint);
    }

    #[test]
    fn among_many_targets_a_difference_must_be_larger_to_be_none_of_chance() {
        assert!(differs(40, 20, chance(2)));
        assert!(!differs(40, 20, chance(100)));
        assert!(differs(40, 12, chance(100)));
    }

    #[test]
    fn losses_that_go_on_are_no_news() {
        for (now, then) in [
            ([9, 8], [9, 8]),
            ([7, 6], [9, 8]),
            ([12, 4], [9, 8]),
            ([36, 72], [42, 60]),
        ] {
            assert_eq!(
                news(now).change_since(&news(then)),
                Change::Drift,
                "{now:?}"
            );
        }
    }
}
