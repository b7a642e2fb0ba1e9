//! Ports that go down again and again: planning them in and out with every turn would rewrite the assignments
//! of all their peers each time, so they are held out of the plan until they have stayed up for a while.
//!
//! Kept by the cache of inventories, in memory only: a restart of the operator forgives everybody.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use rdmamesh_api::node::{PORT_ACTIVE, PortStatus};

/// A port that stayed up for this long after it went down has no past.
const FORGET: Duration = Duration::from_secs(600);
/// How long a port has to stay up after it went down for the second time; twice as long after each further
/// time. After the first time it takes part again at once.
const FIRST_HOLD: Duration = Duration::from_secs(30);
/// However often it went down, no longer than this.
const LONGEST_HOLD: Duration = Duration::from_secs(300);

/// What is remembered of the ports of a node that went down.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flaps(BTreeMap<(String, u8), Flap>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Flap {
    /// Times that it went down, each within [`FORGET`] of the one before.
    times: u32,
    last_down: Timestamp,
    /// Since when it is up again; `None` while it is down.
    up_since: Option<Timestamp>,
}

impl Flaps {
    /// What is to be remembered once the ports `before` have become `after`.
    #[must_use]
    pub fn following(&self, before: &[PortStatus], after: &[PortStatus], now: Timestamp) -> Self {
        let mut flaps = self.clone();
        for port in before.iter().filter(|port| is_up(port)) {
            if !is_listed_up(after, port) {
                flaps.went_down(port, now);
            }
        }
        for port in after.iter().filter(|port| is_up(port)) {
            if !is_listed_up(before, port)
                && let Some(flap) = flaps.0.get_mut(&key(port))
            {
                flap.up_since = Some(now);
            }
        }
        flaps
            .0
            .retain(|_, flap| flap.up_since.is_none_or(|up| elapsed(up, now) < FORGET));
        flaps
    }

    fn went_down(&mut self, port: &PortStatus, now: Timestamp) {
        let flap = self.0.entry(key(port)).or_insert(Flap {
            times: 0,
            last_down: now,
            up_since: None,
        });
        let is_forgiven = elapsed(flap.last_down, now) >= FORGET;
        *flap = Flap {
            times: if is_forgiven { 1 } else { flap.times + 1 },
            last_down: now,
            up_since: None,
        };
    }

    /// How long `port` has to stay up before it takes part again, where that is not at once.
    fn hold(&self, port: &PortStatus) -> Option<Duration> {
        let repeats = self.0.get(&key(port))?.times.checked_sub(2)?;
        let doubled = 2_u32.checked_pow(repeats).unwrap_or(u32::MAX);
        Some(FIRST_HOLD.saturating_mul(doubled).min(LONGEST_HOLD))
    }

    /// Whether `port`, up or down, is kept out of the plan at `now` because it goes down again and again.
    #[must_use]
    pub fn is_held(&self, port: &PortStatus, now: Timestamp) -> bool {
        self.hold(port).is_some()
            && (!is_up(port) || self.release(&key(port)).is_some_and(|at| now < at))
    }

    /// How long `port` has to stay up, where it is kept out of the plan at `now`.
    #[must_use]
    pub fn hold_at(&self, port: &PortStatus, now: Timestamp) -> Option<Duration> {
        self.hold(port).filter(|_| self.is_held(port, now))
    }

    /// When the next port that is up takes part again.
    #[must_use]
    pub fn next_release(&self, now: Timestamp) -> Option<Timestamp> {
        let releases = self.0.keys().filter_map(|key| self.release(key));
        releases.filter(|at| now < *at).min()
    }

    fn release(&self, key: &(String, u8)) -> Option<Timestamp> {
        let flap = self.0.get(key)?;
        let port = PortStatus {
            device: key.0.clone(),
            port: key.1,
            ..PortStatus::default()
        };
        flap.up_since?.checked_add(self.hold(&port)?).ok()
    }
}

fn key(port: &PortStatus) -> (String, u8) {
    (port.device.clone(), port.port)
}

fn is_up(port: &PortStatus) -> bool {
    port.state == PORT_ACTIVE
}

fn is_listed_up(ports: &[PortStatus], port: &PortStatus) -> bool {
    ports
        .iter()
        .any(|listed| is_up(listed) && listed.device == port.device && listed.port == port.port)
}

fn elapsed(since: Timestamp, now: Timestamp) -> Duration {
    // A clock that was set back has not let any time pass.
    Duration::try_from(now.duration_since(since)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::at;

    fn ports(up: bool) -> Vec<PortStatus> {
        vec![PortStatus {
            device: "rxe0".to_owned(),
            port: 1,
            state: if up { PORT_ACTIVE } else { "Down" }.to_owned(),
            ..PortStatus::default()
        }]
    }

    /// The port goes down and comes up again at these seconds.
    fn after(turns: &[(i64, i64)]) -> Flaps {
        turns.iter().fold(Flaps::default(), |flaps, (down, up)| {
            flaps
                .following(&ports(true), &ports(false), at(*down))
                .following(&ports(false), &ports(true), at(*up))
        })
    }

    fn is_held(flaps: &Flaps, second: i64) -> bool {
        flaps.is_held(&ports(true)[0], at(second))
    }

    #[test]
    fn a_port_that_comes_back_once_takes_part_at_once() {
        let flaps = after(&[(100, 103)]);
        assert!(!is_held(&flaps, 103));
        assert_eq!(flaps.next_release(at(103)), None);
    }

    #[test]
    fn the_second_time_it_has_to_stay_up_and_longer_each_time() {
        let twice = after(&[(100, 103), (110, 113)]);
        assert!(is_held(&twice, 113) && is_held(&twice, 142));
        assert!(!is_held(&twice, 143));
        assert_eq!(twice.next_release(at(113)), Some(at(143)));
        let thrice = after(&[(100, 103), (110, 113), (120, 123)]);
        assert!(is_held(&thrice, 182) && !is_held(&thrice, 183));
    }

    #[test]
    fn however_often_it_flaps_five_minutes_are_enough() {
        let turns: Vec<_> = (0..50).map(|n| (100 + n * 10, 103 + n * 10)).collect();
        let flaps = after(&turns);
        let (_, up) = turns[49];
        assert!(is_held(&flaps, up + 299) && !is_held(&flaps, up + 300));
    }

    #[test]
    fn a_flapping_port_is_held_while_it_is_down_as_well() {
        let flaps = after(&[(100, 103), (110, 113)]);
        let down = flaps.following(&ports(true), &ports(false), at(120));
        assert!(down.is_held(&ports(false)[0], at(121)));
        assert_eq!(down.next_release(at(121)), None, "it has to come up first");
    }

    #[test]
    fn ten_minutes_up_make_everything_forgotten() {
        let flaps = after(&[(100, 103), (110, 113)]);
        let later = flaps.following(&ports(true), &ports(true), at(713));
        assert_eq!(later, Flaps::default());
        let again = after(&[(100, 103), (110, 113), (800, 803)]);
        assert!(!is_held(&again, 803));
    }

    #[test]
    fn a_device_that_is_removed_went_down_too() {
        let gone = |flaps: &Flaps, down, up| {
            flaps
                .following(&ports(true), &[], at(down))
                .following(&[], &ports(true), at(up))
        };
        let flaps = gone(&gone(&Flaps::default(), 100, 103), 110, 113);
        assert!(is_held(&flaps, 120));
    }
}
