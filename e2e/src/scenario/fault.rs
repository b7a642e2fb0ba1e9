//! Faults: one flat YAML mapping, whose `kind` decides which other keys it takes.

use std::fmt;
use std::time::Duration;

use rdmamesh_api::GoDuration;
use serde::Deserialize;

use super::fabric::{FabricShape, HostPort, LinkName};

/// Something broken on purpose.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// What a `clear` step calls it.
    pub id: String,
    /// What is broken, and how.
    pub kind: FaultKind,
    /// Mends itself after this time.
    pub lasts: Option<Duration>,
}

/// Which way packets suffer on a link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Both ways.
    #[default]
    Both,
    /// From the end named first to the end named second.
    Forward,
    /// From the end named second to the end named first.
    Reverse,
}

/// What is broken, and how.
#[derive(Clone, Debug, PartialEq)]
pub enum FaultKind {
    /// A link drops packets.
    Loss {
        /// Where.
        link: LinkName,
        /// How many of a hundred.
        percent: f64,
        /// Which way.
        direction: Direction,
    },
    /// A link holds packets back.
    Delay {
        /// Where.
        link: LinkName,
        /// For how long.
        delay: Duration,
        /// Give or take.
        jitter: Duration,
        /// Which way.
        direction: Direction,
    },
    /// A link flips bits.
    Corrupt {
        /// Where.
        link: LinkName,
        /// In how many packets of a hundred.
        percent: f64,
        /// Which way.
        direction: Direction,
    },
    /// A cable is pulled: its ends go down. One way only, it swallows every packet.
    LinkDown {
        /// Where.
        link: LinkName,
        /// Which way.
        direction: Direction,
    },
    /// A switch drops packets on every port.
    SwitchLoss {
        /// Which one.
        switch: String,
        /// How many of a hundred.
        percent: f64,
    },
    /// A switch forwards nothing.
    SwitchDown {
        /// Which one.
        switch: String,
    },
    /// The RNIC's network interface is set down.
    NicDown {
        /// Which one.
        nic: HostPort,
    },
    /// The RNIC drops packets.
    NicLoss {
        /// Which one.
        nic: HostPort,
        /// How many of a hundred.
        percent: f64,
    },
    /// The RDMA device is removed.
    RdmaRemove {
        /// Which one.
        nic: HostPort,
    },
    /// The agent is killed; clearing starts it again.
    AgentKill {
        /// On which host.
        host: String,
    },
    /// The agent is frozen; clearing lets it run on.
    AgentStop {
        /// On which host.
        host: String,
    },
    /// Something takes all the processor time there is.
    CpuHog {
        /// On which host.
        host: String,
    },
    /// The host loses power and comes back.
    NodeReboot {
        /// Which one.
        host: String,
    },
    /// The API server is killed; clearing starts it again.
    ApiServerDown,
    /// The operator is killed; clearing starts it again.
    OperatorKill,
    /// The OpenTelemetry Collector is killed; clearing starts it again.
    CollectorDown,
}

/// The keys as written, before it is known which of them the kind takes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct RawFault {
    id: Option<String>,
    kind: String,
    link: Option<String>,
    switch: Option<String>,
    host: Option<String>,
    rail: Option<u32>,
    percent: Option<f64>,
    direction: Option<Direction>,
    delay: Option<GoDuration>,
    jitter: Option<GoDuration>,
    r#for: Option<GoDuration>,
}

/// Every kind with the keys that it takes besides `id`, `kind` and `for`.
const KINDS: [(&str, &[&str]); 16] = [
    ("loss", &["link", "direction", "percent"]),
    ("delay", &["link", "direction", "delay", "jitter"]),
    ("corrupt", &["link", "direction", "percent"]),
    ("linkDown", &["link", "direction", "percent"]),
    ("switchLoss", &["switch", "percent"]),
    ("switchDown", &["switch"]),
    ("nicDown", &["host", "rail"]),
    ("nicLoss", &["host", "rail", "percent"]),
    ("rdmaRemove", &["host", "rail"]),
    ("agentKill", &["host"]),
    ("agentStop", &["host"]),
    ("cpuHog", &["host"]),
    ("nodeReboot", &["host"]),
    ("apiServerDown", &[]),
    ("operatorKill", &[]),
    ("collectorDown", &[]),
];

impl RawFault {
    /// The fault that the keys describe; `number` names it when it has no id.
    ///
    /// # Errors
    /// A sentence for the person who wrote it.
    pub(super) fn check(self, fabric: &FabricShape, number: usize) -> Result<Fault, String> {
        self.refuse_foreign_keys()?;
        let kind = self.kind(fabric)?;
        let lasts = self.r#for.map(GoDuration::get);
        if lasts == Some(Duration::ZERO) {
            return Err("for is 0: write how long the fault lasts, for example 20s, or leave it out and clear it".to_owned());
        }
        Ok(Fault {
            id: self.id.unwrap_or_else(|| format!("fault{number}")),
            kind,
            lasts,
        })
    }

    fn kind(&self, fabric: &FabricShape) -> Result<FaultKind, String> {
        Ok(match self.kind.as_str() {
            "loss" => FaultKind::Loss {
                link: self.link(fabric)?,
                percent: self.percent()?,
                direction: self.direction.unwrap_or_default(),
            },
            "delay" => FaultKind::Delay {
                link: self.link(fabric)?,
                delay: self.delay()?,
                jitter: self.jitter.map(GoDuration::get).unwrap_or_default(),
                direction: self.direction.unwrap_or_default(),
            },
            "corrupt" => FaultKind::Corrupt {
                link: self.link(fabric)?,
                percent: self.percent()?,
                direction: self.direction.unwrap_or_default(),
            },
            "linkDown" => self.link_down(fabric)?,
            "switchLoss" => FaultKind::SwitchLoss {
                switch: self.switch(fabric)?,
                percent: self.percent()?,
            },
            "switchDown" => FaultKind::SwitchDown {
                switch: self.switch(fabric)?,
            },
            "nicDown" => FaultKind::NicDown {
                nic: self.nic(fabric)?,
            },
            "nicLoss" => FaultKind::NicLoss {
                nic: self.nic(fabric)?,
                percent: self.percent()?,
            },
            "rdmaRemove" => FaultKind::RdmaRemove {
                nic: self.nic(fabric)?,
            },
            "agentKill" => FaultKind::AgentKill {
                host: self.host(fabric)?,
            },
            "agentStop" => FaultKind::AgentStop {
                host: self.host(fabric)?,
            },
            "cpuHog" => FaultKind::CpuHog {
                host: self.host(fabric)?,
            },
            "nodeReboot" => FaultKind::NodeReboot {
                host: self.host(fabric)?,
            },
            "apiServerDown" => FaultKind::ApiServerDown,
            "operatorKill" => FaultKind::OperatorKill,
            "collectorDown" => FaultKind::CollectorDown,
            other => return Err(unknown_kind(other)),
        })
    }

    fn refuse_foreign_keys(&self) -> Result<(), String> {
        let Some((_, takes)) = KINDS.iter().find(|(kind, _)| *kind == self.kind) else {
            return Err(unknown_kind(&self.kind));
        };
        let written = [
            ("link", self.link.is_some()),
            ("switch", self.switch.is_some()),
            ("host", self.host.is_some()),
            ("rail", self.rail.is_some()),
            ("percent", self.percent.is_some()),
            ("direction", self.direction.is_some()),
            ("delay", self.delay.is_some()),
            ("jitter", self.jitter.is_some()),
        ];
        match written
            .iter()
            .find(|(key, there)| *there && !takes.contains(key))
        {
            None => Ok(()),
            Some((key, _)) if takes.is_empty() => Err(format!(
                "a fault of kind {} takes no {key}: it takes only id and for",
                self.kind
            )),
            Some((key, _)) => Err(format!(
                "a fault of kind {} takes no {key}: it takes {}, id and for",
                self.kind,
                takes.join(", ")
            )),
        }
    }

    fn missing(&self, key: &str, example: &str) -> String {
        format!(
            "a fault of kind {} needs {key}: write for example {key}: {example}",
            self.kind
        )
    }

    fn link(&self, fabric: &FabricShape) -> Result<LinkName, String> {
        let name = self
            .link
            .as_deref()
            .ok_or_else(|| self.missing("link", "leaf1-spine1"))?;
        fabric.link(name)
    }

    fn link_down(&self, fabric: &FabricShape) -> Result<FaultKind, String> {
        if self.percent.is_some_and(|percent| percent < 100.0) {
            return Err(
                "linkDown stops every packet: remove percent, or write kind: loss".to_owned(),
            );
        }
        Ok(FaultKind::LinkDown {
            link: self.link(fabric)?,
            direction: self.direction.unwrap_or_default(),
        })
    }

    fn switch(&self, fabric: &FabricShape) -> Result<String, String> {
        let name = self
            .switch
            .as_deref()
            .ok_or_else(|| self.missing("switch", "spine1"))?;
        fabric.switch(name)
    }

    fn host(&self, fabric: &FabricShape) -> Result<String, String> {
        let name = self
            .host
            .as_deref()
            .ok_or_else(|| self.missing("host", "host1"))?;
        fabric.host(name)
    }

    fn nic(&self, fabric: &FabricShape) -> Result<HostPort, String> {
        let host = self.host(fabric)?;
        match self.rail.unwrap_or(1) {
            rail if (1..=fabric.rails).contains(&rail) => Ok(HostPort { host, rail }),
            rail => Err(format!(
                "{host} has no rail {rail}: write a number from 1 to {}",
                fabric.rails
            )),
        }
    }

    fn percent(&self) -> Result<f64, String> {
        match self.percent.ok_or_else(|| self.missing("percent", "30"))? {
            percent if percent > 0.0 && percent <= 100.0 => Ok(percent),
            percent => Err(format!(
                "percent is {percent}: write a number above 0, up to 100"
            )),
        }
    }

    fn delay(&self) -> Result<Duration, String> {
        let delay = self
            .delay
            .ok_or_else(|| self.missing("delay", "20ms"))?
            .get();
        if delay.is_zero() {
            return Err(
                "delay is 0: write how long packets are held back, for example 20ms".to_owned(),
            );
        }
        Ok(delay)
    }
}

fn unknown_kind(kind: &str) -> String {
    let kinds: Vec<&str> = KINDS.iter().map(|(kind, _)| *kind).collect();
    format!(
        "unknown fault kind \"{kind}\": write one of {}",
        kinds.join(", ")
    )
}

impl FaultKind {
    /// The name of the kind as written in a scenario.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Loss { .. } => "loss",
            Self::Delay { .. } => "delay",
            Self::Corrupt { .. } => "corrupt",
            Self::LinkDown { .. } => "linkDown",
            Self::SwitchLoss { .. } => "switchLoss",
            Self::SwitchDown { .. } => "switchDown",
            Self::NicDown { .. } => "nicDown",
            Self::NicLoss { .. } => "nicLoss",
            Self::RdmaRemove { .. } => "rdmaRemove",
            Self::AgentKill { .. } => "agentKill",
            Self::AgentStop { .. } => "agentStop",
            Self::CpuHog { .. } => "cpuHog",
            Self::NodeReboot { .. } => "nodeReboot",
            Self::ApiServerDown => "apiServerDown",
            Self::OperatorKill => "operatorKill",
            Self::CollectorDown => "collectorDown",
        }
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        match self {
            Self::Loss { link, percent, .. } | Self::Corrupt { link, percent, .. } => {
                write!(f, " {percent} % on {link}")
            }
            Self::Delay { link, delay, .. } => write!(f, " {} on {link}", GoDuration(*delay)),
            Self::LinkDown { link, .. } => write!(f, " {link}"),
            Self::SwitchLoss { switch, percent } => write!(f, " {percent} % on {switch}"),
            Self::SwitchDown { switch } => write!(f, " {switch}"),
            Self::NicLoss { nic, percent } => write!(f, " {percent} % on {nic}"),
            Self::NicDown { nic } | Self::RdmaRemove { nic } => write!(f, " {nic}"),
            Self::AgentKill { host }
            | Self::AgentStop { host }
            | Self::CpuHog { host }
            | Self::NodeReboot { host } => write!(f, " {host}"),
            Self::ApiServerDown | Self::OperatorKill | Self::CollectorDown => Ok(()),
        }
    }
}
