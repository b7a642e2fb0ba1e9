//! Leader election over a `coordination.k8s.io` Lease: at most one replica writes.
//!
//! This file is the pure half: given what the API server shows and the local monotonic clock, what is
//! the next step? [`campaign`] does the requests. Clocks of two machines are never compared: a holder
//! counts as gone when *we* have seen its record unchanged for the record's duration. Every write is a
//! compare-and-swap on the record's `resourceVersion`, so two replicas can never both succeed.

pub mod campaign;

use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::ObjectMeta;

/// How long a lease holds and how often it is renewed.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// Written into the record: how long others wait after the last renewal they saw.
    pub duration: Duration,
    /// The holder stops writing when it could not renew for this long; below `duration`, so that it
    /// stops before anybody else may start.
    pub renew_deadline: Duration,
    /// Between two attempts.
    pub retry: Duration,
}

impl Default for Timing {
    /// What client-go's controllers use.
    fn default() -> Self {
        Self {
            duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry: Duration::from_secs(2),
        }
    }
}

/// What to do next.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// No record exists: create this one.
    Create(Lease),
    /// The record is ours, free or expired: replace it by this one.
    Replace(Lease),
    /// Somebody else holds it.
    Wait,
}

/// One replica's view of the election.
#[derive(Debug)]
pub struct Election {
    name: String,
    namespace: String,
    identity: String,
    timing: Timing,
    seen: Option<Seen>,
}

/// A record as last seen, and since when it has not changed.
#[derive(Debug)]
struct Seen {
    holder: Option<String>,
    renewed: Option<MicroTime>,
    since: Instant,
}

impl Election {
    /// A replica called `identity` that runs for the lease `namespace/name`.
    #[must_use]
    pub fn new(namespace: &str, name: &str, identity: &str, timing: Timing) -> Self {
        Self {
            name: name.to_owned(),
            namespace: namespace.to_owned(),
            identity: identity.to_owned(),
            timing,
            seen: None,
        }
    }

    /// The next step, given the record as just read (`None`: there is none), the local monotonic time
    /// and the wall clock (written into the record for people, never compared).
    pub fn step(&mut self, record: Option<&Lease>, now: Instant, wall: Timestamp) -> Step {
        let Some(record) = record else {
            self.seen = None;
            return Step::Create(self.record(None, wall));
        };
        let spec = record.spec.clone().unwrap_or_default();
        let holder = spec.holder_identity.clone().filter(|h| !h.is_empty());
        let unchanged_for = self.observe(holder.clone(), spec.renew_time.clone(), now);
        let ours = holder.as_deref() == Some(self.identity.as_str());
        let lasts = spec
            .lease_duration_seconds
            .and_then(|s| u64::try_from(s).ok())
            .map_or(self.timing.duration, Duration::from_secs);
        if ours || holder.is_none() || unchanged_for >= lasts {
            Step::Replace(self.record(Some(record), wall))
        } else {
            Step::Wait
        }
    }

    /// The record that gives the lease up, if it is ours.
    #[must_use]
    pub fn release(&self, record: &Lease, wall: Timestamp) -> Option<Lease> {
        let spec = record.spec.as_ref()?;
        if spec.holder_identity.as_deref() != Some(self.identity.as_str()) {
            return None;
        }
        let mut free = record.clone();
        free.spec = Some(LeaseSpec {
            holder_identity: Some(String::new()),
            lease_duration_seconds: Some(1),
            renew_time: Some(MicroTime(wall)),
            ..spec.clone()
        });
        Some(free)
    }

    /// Who holds the lease as far as this replica has seen.
    #[must_use]
    pub fn holder(&self) -> Option<&str> {
        self.seen.as_ref()?.holder.as_deref()
    }

    fn observe(
        &mut self,
        holder: Option<String>,
        renewed: Option<MicroTime>,
        now: Instant,
    ) -> Duration {
        match &self.seen {
            Some(seen) if seen.holder == holder && seen.renewed == renewed => {
                now.saturating_duration_since(seen.since)
            }
            _ => {
                self.seen = Some(Seen {
                    holder,
                    renewed,
                    since: now,
                });
                Duration::ZERO
            }
        }
    }

    fn record(&self, old: Option<&Lease>, wall: Timestamp) -> Lease {
        let old_spec = old.and_then(|lease| lease.spec.clone()).unwrap_or_default();
        let held = old_spec.holder_identity.as_deref() == Some(self.identity.as_str());
        let transitions = old_spec.lease_transitions.unwrap_or(0);
        let metadata = old.map_or_else(
            || ObjectMeta {
                name: Some(self.name.clone()),
                namespace: Some(self.namespace.clone()),
                ..ObjectMeta::default()
            },
            |lease| lease.metadata.clone(),
        );
        Lease {
            metadata,
            spec: Some(LeaseSpec {
                holder_identity: Some(self.identity.clone()),
                lease_duration_seconds: i32::try_from(self.timing.duration.as_secs()).ok(),
                acquire_time: if held {
                    old_spec.acquire_time
                } else {
                    Some(MicroTime(wall))
                },
                renew_time: Some(MicroTime(wall)),
                lease_transitions: Some(if held || old.is_none() {
                    transitions
                } else {
                    transitions.saturating_add(1)
                }),
                preferred_holder: old_spec.preferred_holder,
                strategy: old_spec.strategy,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn election(identity: &str) -> Election {
        Election::new("ns", "lease", identity, Timing::default())
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).expect("a small number of seconds is a time")
    }

    fn held_by(identity: &str, seconds: i64) -> Lease {
        let Step::Create(lease) = election(identity).step(None, Instant::now(), at(seconds)) else {
            unreachable!("without a record the step is to create one")
        };
        lease
    }

    fn spec(step: &Step) -> &LeaseSpec {
        match step {
            Step::Create(lease) | Step::Replace(lease) => {
                lease.spec.as_ref().expect("a record always has a spec")
            }
            Step::Wait => unreachable!("expected a write, got Wait"),
        }
    }

    #[test]
    fn the_first_replica_creates_the_record() {
        let step = election("a").step(None, Instant::now(), at(1));
        assert!(matches!(step, Step::Create(_)));
        assert_eq!(spec(&step).holder_identity.as_deref(), Some("a"));
        assert_eq!(spec(&step).lease_transitions, Some(0));
    }

    #[test]
    fn the_holder_renews_and_keeps_its_acquire_time() {
        let record = held_by("a", 1);
        let step = election("a").step(Some(&record), Instant::now(), at(3));
        assert_eq!(spec(&step).acquire_time, Some(MicroTime(at(1))));
        assert_eq!(spec(&step).renew_time, Some(MicroTime(at(3))));
        assert_eq!(spec(&step).lease_transitions, Some(0));
    }

    #[test]
    fn a_standby_waits_while_the_record_changes_whatever_its_clock_says() {
        let mut standby = election("b");
        let start = Instant::now();
        for tick in 0..20u32 {
            // The holder's clock is years behind ours.
            let record = held_by("a", i64::from(tick));
            let now = start + Duration::from_secs(10) * tick;
            assert_eq!(
                standby.step(Some(&record), now, at(2_000_000_000)),
                Step::Wait
            );
        }
    }

    #[test]
    fn a_standby_takes_over_once_it_has_seen_no_change_for_the_duration() {
        let mut standby = election("b");
        let (record, start) = (held_by("a", 1), Instant::now());
        assert_eq!(standby.step(Some(&record), start, at(5)), Step::Wait);
        let early = start + Duration::from_millis(14_999);
        assert_eq!(standby.step(Some(&record), early, at(5)), Step::Wait);
        let step = standby.step(Some(&record), start + Duration::from_secs(15), at(5));
        assert_eq!(spec(&step).holder_identity.as_deref(), Some("b"));
        assert_eq!(spec(&step).lease_transitions, Some(1));
        assert_eq!(spec(&step).acquire_time, Some(MicroTime(at(5))));
    }

    #[test]
    fn a_released_lease_is_taken_at_once() {
        let holder = election("a");
        let record = held_by("a", 1);
        let free = holder.release(&record, at(2)).expect("a holds the lease");
        assert_eq!(
            election("b").release(&record, at(2)),
            None,
            "only the holder releases"
        );
        let step = election("b").step(Some(&free), Instant::now(), at(2));
        assert_eq!(spec(&step).holder_identity.as_deref(), Some("b"));
    }

    #[test]
    fn a_write_keeps_the_resource_version_that_it_was_based_on() {
        let mut record = held_by("a", 1);
        record.metadata.resource_version = Some("42".to_owned());
        let Step::Replace(lease) = election("a").step(Some(&record), Instant::now(), at(2)) else {
            unreachable!("the holder renews")
        };
        assert_eq!(lease.metadata.resource_version.as_deref(), Some("42"));
    }
}
