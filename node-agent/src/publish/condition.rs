//! Conditions and times in the API's form.

use std::time::SystemTime;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// A moment in the API's form.
pub(crate) fn kube_time(at: SystemTime) -> Time {
    // Out of range means a broken clock, which the reader will notice by this.
    Time::from(Timestamp::try_from(at).unwrap_or(Timestamp::UNIX_EPOCH))
}

/// The condition `wanted` whose transition time is that of `before`, unless the status changed.
pub(crate) fn condition(
    (kind, status): (&str, &str),
    (reason, message): (&str, String),
    generation: Option<i64>,
    now: SystemTime,
    before: &[Condition],
) -> Condition {
    let since = before
        .iter()
        .find(|condition| condition.type_ == kind && condition.status == status)
        .map(|condition| condition.last_transition_time.clone());
    Condition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message,
        observed_generation: generation,
        last_transition_time: since.unwrap_or_else(|| kube_time(now)),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_transition_time_moves_only_when_the_status_does() {
        let at = |s| SystemTime::UNIX_EPOCH + Duration::from_secs(s);
        let make = |status, second, before: &[Condition]| {
            condition(
                ("Probing", status),
                ("R", String::new()),
                None,
                at(second),
                before,
            )
        };
        let first = make("True", 1, &[]);
        let same = make("True", 2, std::slice::from_ref(&first));
        let other = make("False", 3, std::slice::from_ref(&same));
        assert_eq!(same.last_transition_time, kube_time(at(1)));
        assert_eq!(other.last_transition_time, kube_time(at(3)));
    }
}
