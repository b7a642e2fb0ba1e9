//! Population files: from what fabrics, faults and noise the cases of a score are drawn.

mod case;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

use super::fabric::{Size, SizeError};

pub use case::{Case, Kind, Planted};

/// A population of cases. `M` is the mesh's spec, which this crate does not know.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Population<M> {
    /// How many cases are drawn unless something else is asked for.
    pub cases: u32,
    /// Simulated time of each case.
    #[serde(with = "humane")]
    pub duration: Duration,
    /// Fabrics, each as likely as the others.
    pub fabrics: Vec<Size>,
    /// How likely a case has so many faults; weights.
    pub faults_per_case: BTreeMap<u32, f64>,
    /// Kinds of faults.
    pub kinds: Kinds,
    /// What goes wrong besides.
    #[serde(default)]
    pub noise: Noise,
    /// Spec of the mesh; defaults apply.
    #[serde(default)]
    pub mesh: M,
}

/// Kinds of faults; one that is left out does not happen.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Kinds {
    /// A cable loses packets, both ways or one way.
    pub loss: Option<Lossy>,
    /// A cable delays packets, both ways or one way.
    pub delay: Option<Slow>,
    /// A cable carries nothing.
    pub link_down: Option<Plain>,
    /// A switch loses packets.
    pub switch_loss: Option<Lossy>,
    /// A switch is off.
    pub switch_down: Option<Plain>,
    /// An RNIC loses packets both ways.
    pub nic_loss: Option<Lossy>,
    /// An RNIC's port is down.
    pub nic_down: Option<Plain>,
    /// A host is short of processor time.
    pub cpu_hog: Option<Plain>,
    /// An agent is killed and comes back.
    pub agent_kill: Option<Plain>,
    /// A host is off for a while.
    pub node_reboot: Option<Plain>,
}

/// A kind without a measure.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Plain {
    /// How likely, compared to the other kinds.
    pub weight: f64,
}

/// A kind that loses packets.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Lossy {
    /// How likely, compared to the other kinds.
    pub weight: f64,
    /// Least and largest share of packets lost, in percent; drawn evenly on a logarithmic scale.
    pub percent: [f64; 2],
}

/// A kind that delays packets.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Slow {
    /// How likely, compared to the other kinds.
    pub weight: f64,
    /// Least and largest delay; drawn evenly on a logarithmic scale.
    #[serde(with = "humane_pair")]
    pub delay: [Duration; 2],
}

/// What goes wrong besides the faults.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Noise {
    /// Share of packets that every cable loses in each direction.
    pub background_loss: f64,
    /// Share of hosts that are short of processor time throughout.
    pub starved_hosts: f64,
    /// Share of agents that restart once.
    pub restarting_agents: f64,
    /// Share of hosts whose agent is missing throughout.
    pub missing_agents: f64,
    /// Share of hops of traced paths that do not answer.
    pub unanswered_hops: f64,
}

/// A population that no case can be drawn from.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum PopulationError {
    /// A list or map that must hold something does not.
    #[error("{0} is empty: write at least one")]
    Empty(&'static str),
    /// A number is out of its range.
    #[error("{key} is {value}: write {allowed}")]
    Range {
        /// Where.
        key: String,
        /// What was written.
        value: String,
        /// What may be written.
        allowed: &'static str,
    },
    /// A fabric that cannot be numbered.
    #[error(transparent)]
    Size(#[from] SizeError),
}

/// Shortest case in which a fault can begin, be seen and be judged.
const SHORTEST: Duration = Duration::from_secs(20);
const LONGEST: Duration = Duration::from_secs(3600);

impl<M> Population<M> {
    /// Checks what the grammar alone does not.
    ///
    /// # Errors
    /// Names the key and what may be written there.
    pub fn validate(&self) -> Result<(), PopulationError> {
        if self.fabrics.is_empty() {
            return Err(PopulationError::Empty("fabrics"));
        }
        for size in &self.fabrics {
            size.validate()?;
        }
        if self.duration < SHORTEST || self.duration > LONGEST {
            let value = humantime::format_duration(self.duration).to_string();
            return Err(range("duration", value, "20s to 1h"));
        }
        if self.faults_per_case.is_empty() {
            return Err(PopulationError::Empty("faultsPerCase"));
        }
        for (number, weight) in &self.faults_per_case {
            check_weight(&format!("faultsPerCase.{number}"), *weight)?;
            if *number > 8 {
                let key = "faultsPerCase".to_owned();
                return Err(range(&key, number.to_string(), "at most 8 faults"));
            }
        }
        if self.faults_per_case.values().sum::<f64>() <= 0.0 {
            return Err(range(
                "faultsPerCase",
                "all zero".to_owned(),
                "a weight above 0",
            ));
        }
        self.kinds.validate()?;
        let wants_faults = self
            .faults_per_case
            .iter()
            .any(|(n, weight)| *n > 0 && *weight > 0.0);
        if wants_faults
            && self
                .kinds
                .weights()
                .iter()
                .all(|(_, weight)| *weight <= 0.0)
        {
            return Err(PopulationError::Empty("kinds"));
        }
        self.noise.validate()
    }
}

impl Kinds {
    fn validate(&self) -> Result<(), PopulationError> {
        for (kind, weight) in self.weights() {
            check_weight(&format!("kinds.{kind}.weight"), weight)?;
        }
        for (name, lossy) in [
            ("loss", self.loss),
            ("switchLoss", self.switch_loss),
            ("nicLoss", self.nic_loss),
        ] {
            let Some(Lossy {
                percent: [low, high],
                ..
            }) = lossy
            else {
                continue;
            };
            if !(low > 0.0 && low <= high && high <= 100.0) {
                return Err(range(
                    &format!("kinds.{name}.percent"),
                    format!("[{low}, {high}]"),
                    "two numbers above 0, up to 100, the smaller one first",
                ));
            }
        }
        if let Some(Slow {
            delay: [low, high], ..
        }) = self.delay
            && (low.is_zero() || low > high)
        {
            return Err(range(
                "kinds.delay.delay",
                format!("[{low:?}, {high:?}]"),
                "two times above 0, the shorter one first",
            ));
        }
        Ok(())
    }

    /// Weight of each kind, 0 where it is left out.
    #[must_use]
    pub fn weights(&self) -> [(Kind, f64); 10] {
        let plain = |plain: Option<Plain>| plain.map_or(0.0, |plain| plain.weight);
        let lossy = |lossy: Option<Lossy>| lossy.map_or(0.0, |lossy| lossy.weight);
        [
            (Kind::Loss, lossy(self.loss)),
            (Kind::Delay, self.delay.map_or(0.0, |slow| slow.weight)),
            (Kind::LinkDown, plain(self.link_down)),
            (Kind::SwitchLoss, lossy(self.switch_loss)),
            (Kind::SwitchDown, plain(self.switch_down)),
            (Kind::NicLoss, lossy(self.nic_loss)),
            (Kind::NicDown, plain(self.nic_down)),
            (Kind::CpuHog, plain(self.cpu_hog)),
            (Kind::AgentKill, plain(self.agent_kill)),
            (Kind::NodeReboot, plain(self.node_reboot)),
        ]
    }
}

impl Noise {
    fn validate(&self) -> Result<(), PopulationError> {
        for (key, share) in [
            ("backgroundLoss", self.background_loss),
            ("starvedHosts", self.starved_hosts),
            ("restartingAgents", self.restarting_agents),
            ("missingAgents", self.missing_agents),
            ("unansweredHops", self.unanswered_hops),
        ] {
            if !(0.0..=1.0).contains(&share) {
                return Err(range(
                    &format!("noise.{key}"),
                    share.to_string(),
                    "a share from 0 to 1",
                ));
            }
        }
        Ok(())
    }
}

fn check_weight(key: &str, weight: f64) -> Result<(), PopulationError> {
    if weight >= 0.0 && weight.is_finite() {
        Ok(())
    } else {
        Err(range(key, weight.to_string(), "a weight of 0 or more"))
    }
}

fn range(key: &str, value: String, allowed: &'static str) -> PopulationError {
    PopulationError::Range {
        key: key.to_owned(),
        value,
        allowed,
    }
}

/// Times as people write them: `60s`, `100us`.
mod humane {
    use std::time::Duration;

    use serde::{Deserialize as _, Deserializer, de::Error as _};

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        parse(&String::deserialize(from)?).map_err(D::Error::custom)
    }

    pub(super) fn parse(text: &str) -> Result<Duration, String> {
        humantime::parse_duration(text).map_err(|error| {
            format!("{text:?} is no time ({error}): write for example 100us or 60s")
        })
    }
}

/// Two of them.
mod humane_pair {
    use std::time::Duration;

    use serde::{Deserialize as _, Deserializer, de::Error as _};

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<[Duration; 2], D::Error> {
        let [low, high] = <[String; 2]>::deserialize(from)?;
        let parse = |text: &str| super::humane::parse(text).map_err(D::Error::custom);
        Ok([parse(&low)?, parse(&high)?])
    }
}
