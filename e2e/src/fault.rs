//! Faults: what a scenario breaks, and how it is broken and mended in the guest.
//!
//! Faults overlap. So nothing is undone step by step: the set of faults in force gives the state the fabric must be
//! in ([`desired::Desired`]), and going from one such state to the next is a list of guest commands
//! ([`transition::commands`]). Clearing the last fault leads back to the state without faults, exactly.

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub mod desired;
pub mod transition;

pub use crate::fabric::Direction;

/// Something broken on purpose. Field names are those of a scenario file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(
    tag = "kind",
    rename_all = "camelCase",
    rename_all_fields = "camelCase",
    deny_unknown_fields
)]
pub enum Fault {
    /// A cable loses packets at random.
    Loss {
        /// Name of the cable.
        link: String,
        /// Share of the packets of each direction, 0 to 100.
        percent: f64,
        /// Which way.
        #[serde(default)]
        direction: Direction,
    },
    /// A cable delays packets.
    Delay {
        /// Name of the cable.
        link: String,
        /// Added to each packet's way.
        #[serde(with = "humane")]
        delay: Duration,
        /// Random share of it, plus or minus.
        #[serde(default, with = "humane")]
        jitter: Duration,
        /// Which way.
        #[serde(default)]
        direction: Direction,
    },
    /// A cable flips a random bit in packets.
    Corrupt {
        /// Name of the cable.
        link: String,
        /// Share of the packets of each direction, 0 to 100.
        percent: f64,
        /// Which way.
        #[serde(default)]
        direction: Direction,
    },
    /// A cable carries nothing. Both directions: it has no carrier; one direction: the carrier stays. Routes stay as
    /// they are, as in a fabric whose routing does not notice.
    LinkDown {
        /// Name of the cable.
        link: String,
        /// Which way.
        #[serde(default)]
        direction: Direction,
    },
    /// A switch loses packets on their way through it.
    SwitchLoss {
        /// Name of leaf or spine.
        switch: String,
        /// Share of the packets, 0 to 100.
        percent: f64,
    },
    /// A switch is off: no carrier at the other ends of its cables.
    SwitchDown {
        /// Name of leaf or spine.
        switch: String,
    },
    /// An RNIC's netdev is set down in its host.
    NicDown {
        /// Name of the host.
        host: String,
        /// Rail of the RNIC, from 1.
        #[serde(default = "first_rail")]
        rail: u16,
    },
    /// An RNIC loses packets in both directions.
    NicLoss {
        /// Name of the host.
        host: String,
        /// Rail of the RNIC, from 1.
        #[serde(default = "first_rail")]
        rail: u16,
        /// Share of the packets of each direction, 0 to 100.
        percent: f64,
    },
    /// The RDMA device is taken away; its netdev stays.
    RdmaRemove {
        /// Name of the host.
        host: String,
        /// Rail of the RNIC, from 1.
        #[serde(default = "first_rail")]
        rail: u16,
    },
    /// The agent is killed; clearing starts it again.
    AgentKill {
        /// Name of the host.
        host: String,
    },
    /// The agent is frozen; clearing lets it go on.
    AgentStop {
        /// Name of the host.
        host: String,
        /// Cleared by itself after this time.
        #[serde(
            default,
            rename = "for",
            with = "humane_option",
            skip_serializing_if = "Option::is_none"
        )]
        duration: Option<Duration>,
    },
    /// Busy loops compete with everything of the host, which together gets a fifth of a processor.
    CpuHog {
        /// Name of the host.
        host: String,
    },
    /// The host is off: agent killed, RDMA devices gone, all its interfaces down. Clearing brings all of it back.
    NodeReboot {
        /// Name of the host.
        host: String,
    },
    /// The API server is killed; clearing starts it again.
    ApiServerDown {
        /// Cleared by itself after this time.
        #[serde(
            default,
            rename = "for",
            with = "humane_option",
            skip_serializing_if = "Option::is_none"
        )]
        duration: Option<Duration>,
    },
    /// The operator is killed; clearing starts it again.
    OperatorKill {
        /// Cleared by itself after this time.
        #[serde(
            default,
            rename = "for",
            with = "humane_option",
            skip_serializing_if = "Option::is_none"
        )]
        duration: Option<Duration>,
    },
    /// The OpenTelemetry Collector is killed; clearing starts it again.
    CollectorDown {
        /// Cleared by itself after this time.
        #[serde(
            default,
            rename = "for",
            with = "humane_option",
            skip_serializing_if = "Option::is_none"
        )]
        duration: Option<Duration>,
    },
}

fn first_rail() -> u16 {
    1
}

impl Fault {
    /// After which time whoever applied it must clear it, if the scenario says so.
    pub fn duration(&self) -> Option<Duration> {
        match self {
            Self::AgentStop { duration, .. }
            | Self::ApiServerDown { duration }
            | Self::OperatorKill { duration }
            | Self::CollectorDown { duration } => *duration,
            _ => None,
        }
    }
}

/// Durations as people write them: `4s`, `250us`.
mod humane {
    use std::time::Duration;

    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&humantime::format_duration(*time))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(from)?;
        humantime::parse_duration(&text).map_err(|error| {
            D::Error::custom(format!(
                "{text:?} is no time ({error}): write for example 20ms or 4s"
            ))
        })
    }
}

/// The same for a time that may be missing.
mod humane_option {
    use std::time::Duration;

    use serde::{Deserializer, Serializer};

    #[expect(clippy::ref_option, reason = "the signature that serde calls")]
    pub(super) fn serialize<S: Serializer>(
        time: &Option<Duration>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        match time {
            Some(time) => super::humane::serialize(time, to),
            None => to.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Duration>, D::Error> {
        super::humane::deserialize(from).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Fault, String> {
        serde_saphyr::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn a_fault_reads_as_a_scenario_file_writes_it() {
        let loss =
            parse("{kind: loss, link: leaf1-spine2, percent: 30, direction: both}").expect("valid");
        let expected = Fault::Loss {
            link: "leaf1-spine2".into(),
            percent: 30.0,
            direction: Direction::Both,
        };
        assert_eq!(loss, expected);
        let delay = parse("{kind: delay, link: leaf1-spine2, delay: 2ms, direction: forward}")
            .expect("valid");
        assert!(
            matches!(delay, Fault::Delay { delay, jitter: Duration::ZERO, .. } if delay == Duration::from_millis(2))
        );
        assert_eq!(
            parse("{kind: nicDown, host: host3}").expect("valid"),
            Fault::NicDown {
                host: "host3".into(),
                rail: 1
            }
        );
        let stop = parse("{kind: agentStop, host: host1, for: 4s}").expect("valid");
        assert_eq!(stop.duration(), Some(Duration::from_secs(4)));
        assert_eq!(
            parse("{kind: apiServerDown}").expect("valid").duration(),
            None
        );
    }

    #[test]
    fn a_fault_with_a_wrong_word_is_refused() {
        for wrong in [
            "{kind: meteor}",
            "{kind: loss, link: a, percent: 1, directoin: both}",
            "{kind: loss, link: a}",
            "{kind: agentStop, host: host1, for: long}",
        ] {
            parse(wrong).expect_err(wrong);
        }
    }

    #[test]
    fn a_fault_written_and_read_again_is_the_same() {
        for text in [
            "{kind: delay, link: leaf1-spine2, delay: 2ms, jitter: 300us}",
            "{kind: agentStop, host: host1, for: 4s}",
            "{kind: collectorDown}",
            "{kind: cpuHog, host: host2}",
        ] {
            let fault = parse(text).expect("valid");
            let json = serde_json::to_string(&fault).expect("it serialises");
            assert_eq!(
                serde_json::from_str::<Fault>(&json).expect("it parses"),
                fault
            );
        }
    }
}
