//! Peers whose agents answer nothing: no probe to any of their RNICs could be judged, because nobody there
//! says whether it arrived. That is no loss, but somebody has to be told that nobody watches there.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::window::{Tally, Window};
use crate::plan::ProbeClass;

/// An agent that restarts is back sooner; its peers must not write about it.
const HOLD: Duration = Duration::from_secs(10);
/// Unanswered peers that are told of at most, per mesh.
pub const MAX_UNANSWERED: usize = 16;

/// Which peers answer nothing, by mesh and node, and since when.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unanswered(BTreeMap<(Arc<str>, Arc<str>), Silence>);

type MeshAndNode<'a> = (&'a Arc<str>, &'a Arc<str>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Silence {
    /// Begin of the first window without an answer.
    since: SystemTime,
    /// It has lasted long enough to be told of.
    told: bool,
}

impl Unanswered {
    /// Takes the newest windows into account. Windows in which nothing was sent to a peer change nothing.
    pub fn update(&mut self, windows: &[Window<'_>]) {
        let mut peers: BTreeMap<MeshAndNode<'_>, (Tally, SystemTime, Duration)> = BTreeMap::new();
        let probes = |window: &&Window<'_>| window.target.class != ProbeClass::Control;
        for window in windows.iter().filter(probes) {
            let key = (&window.target.mesh, &window.target.peer_node);
            let (tally, end, length) =
                peers
                    .entry(key)
                    .or_insert((Tally::default(), window.end, window.length));
            *tally += window.tally;
            *end = window.end.max(*end);
            *length = window.length.max(*length);
        }
        // Who is no target any more is nobody's concern.
        self.0
            .retain(|(mesh, node), _| peers.contains_key(&(mesh, node)));
        for ((mesh, node), (tally, end, length)) in peers {
            let key = (Arc::clone(mesh), Arc::clone(node));
            if tally.judged() + tally.invalid > 0 {
                self.0.remove(&key);
            } else if tally.unresolved > 0 && tally.unresolved * 2 > tally.sent {
                let since = end.checked_sub(length).unwrap_or(end);
                let silence = self.0.entry(key).or_insert(Silence { since, told: false });
                let lasted = end.duration_since(silence.since).unwrap_or_default();
                silence.told |= lasted >= HOLD + length;
            }
        }
    }

    /// The peers in `mesh` that answer nothing, and since when, by name; at most [`MAX_UNANSWERED`].
    pub fn of<'a>(&'a self, mesh: &'a str) -> impl Iterator<Item = (&'a Arc<str>, SystemTime)> {
        self.0
            .iter()
            .filter(move |((of, _), silence)| &**of == mesh && silence.told)
            .map(|((_, node), silence)| (node, silence.since))
            .take(MAX_UNANSWERED)
    }
}

#[cfg(test)]
mod tests {
    use super::super::window::{LocalPort, Rtts, TargetKey, TimestampMode};
    use super::*;

    struct NoRtts;

    impl Rtts for NoRtts {
        fn count(&self) -> u64 {
            0
        }

        fn quantile(&self, _: f64) -> Option<Duration> {
            None
        }
    }

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    /// Windows of five seconds that end at `end`: to each peer 50 probes, so many of them unresolved, the
    /// others answered.
    fn update(unanswered: &mut Unanswered, end: u64, peers: &[(&str, &str, u64)]) {
        let local = LocalPort::new("rxe0", 1);
        let windows: Vec<_> = peers
            .iter()
            .map(|(node, device, unresolved)| Window {
                local: &local,
                target: TargetKey {
                    mesh: "m".into(),
                    class: ProbeClass::TorMesh,
                    traffic_class: "default".into(),
                    peer_node: (*node).into(),
                    peer_device: (*device).into(),
                    peer_port: 1,
                },
                end: at(end),
                length: Duration::from_secs(5),
                timestamps: TimestampMode::Software,
                flows: &[],
                tally: Tally {
                    sent: 50,
                    ok: 50 - unresolved,
                    unresolved: *unresolved,
                    ..Tally::default()
                },
                rtt: &NoRtts,
            })
            .collect();
        unanswered.update(&windows);
    }

    fn told(unanswered: &Unanswered) -> Vec<(&str, SystemTime)> {
        let told = unanswered.of("m");
        told.map(|(node, since)| (&**node, since)).collect()
    }

    #[test]
    fn a_peer_that_answers_nothing_is_told_of_after_ten_seconds_and_until_it_answers() {
        let mut unanswered = Unanswered::default();
        for end in 100..110 {
            update(
                &mut unanswered,
                end,
                &[("host2", "rxe0", 50), ("host3", "rxe0", 0)],
            );
            assert!(told(&unanswered).is_empty(), "at {end}");
        }
        update(
            &mut unanswered,
            110,
            &[("host2", "rxe0", 50), ("host3", "rxe0", 0)],
        );
        assert_eq!(told(&unanswered), [("host2", at(95))]);
        update(
            &mut unanswered,
            111,
            &[("host2", "rxe0", 40), ("host3", "rxe0", 0)],
        );
        assert!(told(&unanswered).is_empty());
    }

    #[test]
    fn a_restart_of_a_few_seconds_is_not_told_of() {
        let mut unanswered = Unanswered::default();
        for end in 100..104 {
            update(&mut unanswered, end, &[("host2", "rxe0", 50)]);
        }
        for end in 104..130 {
            update(&mut unanswered, end, &[("host2", "rxe0", 10)]);
        }
        assert!(told(&unanswered).is_empty());
    }

    #[test]
    fn one_rnic_that_answers_speaks_for_its_node() {
        let mut unanswered = Unanswered::default();
        for end in 100..120 {
            update(
                &mut unanswered,
                end,
                &[("host2", "rxe0", 50), ("host2", "rxe1", 0)],
            );
        }
        assert!(told(&unanswered).is_empty());
    }

    #[test]
    fn who_is_no_target_any_more_is_forgotten() {
        let mut unanswered = Unanswered::default();
        for end in 100..120 {
            update(&mut unanswered, end, &[("host2", "rxe0", 50)]);
        }
        assert_eq!(told(&unanswered).len(), 1);
        update(&mut unanswered, 120, &[("host3", "rxe0", 0)]);
        assert!(told(&unanswered).is_empty());
    }

    #[test]
    fn what_is_told_stays_bounded() {
        let mut unanswered = Unanswered::default();
        let names: Vec<_> = (0..40).map(|n| format!("host{n}")).collect();
        let peers: Vec<_> = names
            .iter()
            .map(|name| (name.as_str(), "rxe0", 50))
            .collect();
        for end in 100..120 {
            update(&mut unanswered, end, &peers);
        }
        assert_eq!(told(&unanswered).len(), MAX_UNANSWERED);
    }
}
