//! The state that a set of faults means for the fabric and the processes, worked out without touching either.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::Fault;
use crate::fabric::topology::UnknownName;
use crate::fabric::{End, Fabric, Link};

/// What happens to packets that leave by one interface.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Impairment {
    /// Share lost, 0 to 1.
    pub loss: f64,
    /// Share with a flipped bit, 0 to 1.
    pub corrupt: f64,
    /// Added to each packet's way.
    pub delay: Duration,
    /// Random share of the delay, plus or minus.
    pub jitter: Duration,
}

impl Impairment {
    /// Both at once: chances as of independent events, times added.
    fn and(self, other: Self) -> Self {
        let either = |one: f64, two: f64| 1.0 - (1.0 - one) * (1.0 - two);
        Self {
            loss: either(self.loss, other.loss),
            corrupt: either(self.corrupt, other.corrupt),
            delay: self.delay + other.delay,
            jitter: self.jitter + other.jitter,
        }
    }
}

/// What an agent does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AgentState {
    /// Frozen.
    Stopped,
    /// Not there.
    Dead,
}

/// The state without faults is the default.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Desired {
    /// Interfaces whose outgoing packets suffer.
    pub impaired: BTreeMap<End, Impairment>,
    /// Interfaces that are set down.
    pub down: BTreeSet<End>,
    /// RDMA devices that are taken away, with the host that has them, its netdev for them.
    pub removed: BTreeMap<String, End>,
    /// Hosts whose agent does not run normally.
    pub agents: BTreeMap<String, AgentState>,
    /// Hosts that are switched off; their agents are dead, their devices and interfaces gone besides.
    pub off: BTreeSet<String>,
    /// Hosts that are short of processor time.
    pub hogged: BTreeSet<String>,
    /// The API server is off.
    pub api_server_down: bool,
    /// The operator is off.
    pub operator_down: bool,
    /// The collector is off.
    pub collector_down: bool,
}

/// A fault that this fabric cannot have.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum FaultError {
    /// It names what is not there.
    #[error(transparent)]
    UnknownName(#[from] UnknownName),
    /// A share is not one.
    #[error("percent is {0}: write a number above 0, up to 100")]
    Percent(f64),
    /// Jitter without or above the delay it is part of.
    #[error(
        "jitter is {jitter:?} and delay {delay:?}: write a jitter that is not longer than the delay"
    )]
    Jitter {
        /// What was given.
        jitter: Duration,
        /// What it belongs to.
        delay: Duration,
    },
}

impl Desired {
    /// The state under all these faults.
    ///
    /// # Errors
    /// When one of them is impossible in this fabric; the message says what would be possible.
    pub fn of<'a>(
        fabric: &Fabric,
        faults: impl IntoIterator<Item = &'a Fault>,
    ) -> Result<Self, FaultError> {
        let mut desired = Self::default();
        for fault in faults {
            desired.add(fabric, fault)?;
        }
        // A device that is away cannot be set to anything else; its end stays as other faults want it.
        Ok(desired)
    }

    fn add(&mut self, fabric: &Fabric, fault: &Fault) -> Result<(), FaultError> {
        match fault {
            Fault::Loss {
                link,
                percent,
                direction,
            } => {
                let loss = Impairment {
                    loss: share(*percent)?,
                    ..Impairment::default()
                };
                self.impair(fabric.link(link)?.senders(*direction), loss);
            }
            Fault::Corrupt {
                link,
                percent,
                direction,
            } => {
                let corrupt = Impairment {
                    corrupt: share(*percent)?,
                    ..Impairment::default()
                };
                self.impair(fabric.link(link)?.senders(*direction), corrupt);
            }
            Fault::Delay {
                link,
                delay,
                jitter,
                direction,
            } => {
                if jitter > delay {
                    return Err(FaultError::Jitter {
                        jitter: *jitter,
                        delay: *delay,
                    });
                }
                let slow = Impairment {
                    delay: *delay,
                    jitter: *jitter,
                    ..Impairment::default()
                };
                self.impair(fabric.link(link)?.senders(*direction), slow);
            }
            Fault::LinkDown { link, direction } => self.link_down(fabric.link(link)?, *direction),
            Fault::SwitchLoss { switch, percent } => {
                // On the way out only: each packet meets one of these interfaces once.
                let loss = Impairment {
                    loss: share(*percent)?,
                    ..Impairment::default()
                };
                self.impair(fabric.switch_ends(switch)?, loss);
            }
            Fault::SwitchDown { switch } => {
                self.down
                    .extend(fabric.switch_ends(switch)?.into_iter().cloned());
            }
            Fault::NicDown { host, rail } => {
                let link = fabric.link(&fabric.rail(host, *rail)?.link)?;
                self.down.insert(link.lower.clone());
            }
            Fault::NicLoss {
                host,
                rail,
                percent,
            } => {
                let loss = Impairment {
                    loss: share(*percent)?,
                    ..Impairment::default()
                };
                let link = fabric.link(&fabric.rail(host, *rail)?.link)?;
                self.impair(vec![&link.lower, &link.upper], loss);
            }
            Fault::RdmaRemove { host, rail } => {
                let rail = fabric.rail(host, *rail)?;
                let netdev = End {
                    netns: host.clone(),
                    device: rail.netdev(),
                };
                self.removed.insert(rail.rnic.clone(), netdev);
            }
            Fault::AgentKill { host } => self.agent(fabric, host, AgentState::Dead)?,
            Fault::AgentStop { host, .. } => self.agent(fabric, host, AgentState::Stopped)?,
            Fault::CpuHog { host } => {
                self.hogged.insert(fabric.host(host)?.name.clone());
            }
            Fault::NodeReboot { host } => self.reboot(fabric, host)?,
            Fault::ApiServerDown { .. } => self.api_server_down = true,
            Fault::OperatorKill { .. } => self.operator_down = true,
            Fault::CollectorDown { .. } => self.collector_down = true,
        }
        Ok(())
    }

    fn impair(&mut self, ends: Vec<&End>, more: Impairment) {
        for end in ends {
            let impairment = self.impaired.entry(end.clone()).or_default();
            *impairment = impairment.and(more);
        }
    }

    fn link_down(&mut self, link: &Link, direction: super::Direction) {
        match direction {
            // The end away from the hosts goes down: the other end, be it an RNIC or a leaf, sees its carrier go
            // and keeps its routes.
            super::Direction::Both => {
                self.down.insert(link.upper.clone());
            }
            one_way => {
                let all = Impairment {
                    loss: 1.0,
                    ..Impairment::default()
                };
                self.impair(link.senders(one_way), all);
            }
        }
    }

    fn agent(&mut self, fabric: &Fabric, host: &str, state: AgentState) -> Result<(), FaultError> {
        let host = fabric.host(host)?.name.clone();
        let entry = self.agents.entry(host).or_insert(state);
        if state == AgentState::Dead {
            *entry = AgentState::Dead;
        }
        Ok(())
    }

    fn reboot(&mut self, fabric: &Fabric, name: &str) -> Result<(), FaultError> {
        self.agent(fabric, name, AgentState::Dead)?;
        let host = fabric.host(name)?;
        self.off.insert(host.name.clone());
        for rail in &host.rails {
            let netdev = End {
                netns: host.name.clone(),
                device: rail.netdev(),
            };
            self.removed.insert(rail.rnic.clone(), netdev.clone());
            self.down.insert(netdev);
        }
        self.down.insert(End {
            netns: host.name.clone(),
            device: "mgmt0".to_owned(),
        });
        Ok(())
    }
}

fn share(percent: f64) -> Result<f64, FaultError> {
    if percent > 0.0 && percent <= 100.0 {
        Ok(percent / 100.0)
    } else {
        Err(FaultError::Percent(percent))
    }
}
