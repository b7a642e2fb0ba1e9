//! What can break in the simulated fabric, and what that does to packets.

use std::fmt;
use std::time::Duration;

use super::fabric::{Fabric, HostId, Lane, LinkId, RnicId, SwitchId, Way};

/// Which way packets go over a cable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    /// Either way.
    #[default]
    Both,
    /// Away from the hosts.
    Up,
    /// Towards the hosts.
    Down,
}

/// Something broken on purpose, by numbers of this fabric.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fault {
    /// Where.
    pub place: Place,
    /// What happens there.
    pub harm: Harm,
}

/// Where something is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// A cable.
    Link(LinkId),
    /// A leaf or a spine.
    Switch(SwitchId),
    /// An RNIC.
    Rnic(RnicId),
    /// A host.
    Host(HostId),
    /// The control plane.
    Control,
}

/// What is broken.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Harm {
    /// Packets are lost: this share of each direction (0 to 1).
    Loss(f64, Direction),
    /// Packets take longer.
    Delay {
        /// Added to each packet's way.
        delay: Duration,
        /// Evenly spread, plus or minus.
        jitter: Duration,
        /// Which way.
        direction: Direction,
    },
    /// Carries nothing, and the other ends see that it does not.
    Down,
    /// An RNIC's device is away.
    Removed,
    /// The agent is not there.
    AgentDead,
    /// The agent is frozen.
    AgentStopped,
    /// The host is short of processor time.
    Hogged,
    /// The host is off.
    Off,
    /// The API server is off.
    ApiServerDown,
    /// The operator is off.
    OperatorDown,
    /// Nothing that a verdict hangs on.
    Nothing,
}

/// A name that the fabric does not have, or harm that cannot be done there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FaultError {
    /// It names what is not there.
    #[error("the fabric has no {kind} \"{name}\"")]
    Unknown {
        /// What kind of element.
        kind: &'static str,
        /// The name.
        name: String,
    },
}

impl Place {
    /// The cable of this name.
    ///
    /// # Errors
    /// When there is none.
    pub fn link(fabric: &Fabric, name: &str) -> Result<Self, FaultError> {
        found(fabric.find_link(name).map(Self::Link), "link", name)
    }

    /// The switch of this name.
    ///
    /// # Errors
    /// When there is none.
    pub fn switch(fabric: &Fabric, name: &str) -> Result<Self, FaultError> {
        found(fabric.find_switch(name).map(Self::Switch), "switch", name)
    }

    /// A host's RNIC on a rail, from 1.
    ///
    /// # Errors
    /// When there is none.
    pub fn rnic(fabric: &Fabric, host: &str, rail: u16) -> Result<Self, FaultError> {
        found(
            fabric.find_rnic(host, rail).map(Self::Rnic),
            "host or rail of",
            host,
        )
    }

    /// The host of this name.
    ///
    /// # Errors
    /// When there is none.
    pub fn host(fabric: &Fabric, name: &str) -> Result<Self, FaultError> {
        found(fabric.find_host(name).map(Self::Host), "host", name)
    }

    /// As a person reads it.
    #[must_use]
    pub fn name(self, fabric: &Fabric) -> String {
        match self {
            Self::Link(link) => fabric.link_name(link),
            Self::Switch(switch) => fabric.switch_name(switch),
            Self::Rnic(rnic) => fabric.rnic_name(rnic).to_string(),
            Self::Host(host) => fabric.host_name(host).to_string(),
            Self::Control => "control plane".to_owned(),
        }
    }
}

fn found(place: Option<Place>, kind: &'static str, name: &str) -> Result<Place, FaultError> {
    place.ok_or_else(|| FaultError::Unknown {
        kind,
        name: name.to_owned(),
    })
}

impl fmt::Display for Harm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let way = |direction: Direction| match direction {
            Direction::Both => "",
            Direction::Up => " up",
            Direction::Down => " down",
        };
        match *self {
            Self::Loss(share, direction) => {
                write!(f, "loses {:.1} %{}", share * 100.0, way(direction))
            }
            Self::Delay {
                delay, direction, ..
            } => write!(f, "delays by {delay:?}{}", way(direction)),
            Self::Down => f.write_str("is down"),
            Self::Removed => f.write_str("device is removed"),
            Self::AgentDead => f.write_str("agent is dead"),
            Self::AgentStopped => f.write_str("agent is stopped"),
            Self::Hogged => f.write_str("is starved"),
            Self::Off => f.write_str("is off"),
            Self::ApiServerDown => f.write_str("API server is down"),
            Self::OperatorDown => f.write_str("operator is down"),
            Self::Nothing => f.write_str("is not affected"),
        }
    }
}

/// What happens to packets on each lane, switch and RNIC while some faults are in force.
#[derive(Clone, Debug)]
pub(super) struct Ills {
    lane_loss: Vec<f64>,
    lane_delay: Vec<(Duration, Duration)>,
    switch_loss: Vec<f64>,
    /// Share that each direction of an RNIC loses.
    rnic_loss: Vec<f64>,
    /// RNICs whose port is not up.
    pub port_down: Vec<bool>,
    /// RNICs whose device is away.
    pub removed: Vec<bool>,
    any: bool,
}

impl Ills {
    /// A fabric in order.
    pub fn none(fabric: &Fabric) -> Self {
        let (lanes, rnics) = (fabric.links() as usize * 2, fabric.size().rnics() as usize);
        Self {
            lane_loss: vec![0.0; lanes],
            lane_delay: vec![(Duration::ZERO, Duration::ZERO); lanes],
            switch_loss: vec![0.0; fabric.switches() as usize],
            rnic_loss: vec![0.0; rnics],
            port_down: vec![false; rnics],
            removed: vec![false; rnics],
            any: false,
        }
    }

    /// What all these faults together mean.
    pub fn of<'a>(fabric: &Fabric, faults: impl IntoIterator<Item = &'a Fault>) -> Self {
        let mut ills = Self::none(fabric);
        for fault in faults {
            ills.add(fabric, fault);
        }
        ills
    }

    fn add(&mut self, fabric: &Fabric, fault: &Fault) {
        self.any = true;
        match (fault.place, fault.harm) {
            (Place::Link(link), Harm::Loss(share, direction)) => {
                self.lose(link, share, direction);
            }
            (
                Place::Link(link),
                Harm::Delay {
                    delay,
                    jitter,
                    direction,
                },
            ) => {
                for lane in lanes(link, direction) {
                    let slow = &mut self.lane_delay[lane.index()];
                    *slow = (slow.0 + delay, slow.1 + jitter);
                }
            }
            (Place::Link(link), Harm::Down) => self.link_down(fabric, link),
            (Place::Switch(switch), Harm::Loss(share, _)) => {
                add_loss(&mut self.switch_loss[switch as usize], share);
            }
            (Place::Switch(switch), Harm::Down) => {
                add_loss(&mut self.switch_loss[switch as usize], 1.0);
                for link in 0..fabric.links() {
                    let (leaf, spine) = fabric.link_switches(link);
                    if leaf == switch || spine == Some(switch) {
                        self.link_down(fabric, link);
                    }
                }
            }
            (Place::Rnic(rnic), Harm::Loss(share, _)) => {
                add_loss(&mut self.rnic_loss[rnic as usize], share);
            }
            (Place::Rnic(rnic), Harm::Down) => {
                self.link_down(fabric, fabric.rnic_link(rnic));
            }
            (Place::Rnic(rnic), Harm::Removed) => self.remove(rnic),
            (Place::Host(host), Harm::Off) => {
                let rails = fabric.rails();
                for rnic in host * rails..(host + 1) * rails {
                    self.remove(rnic);
                    self.port_down[rnic as usize] = true;
                }
            }
            _ => {}
        }
    }

    fn remove(&mut self, rnic: RnicId) {
        self.removed[rnic as usize] = true;
        self.rnic_loss[rnic as usize] = 1.0;
    }

    fn lose(&mut self, link: LinkId, share: f64, direction: Direction) {
        for lane in lanes(link, direction) {
            add_loss(&mut self.lane_loss[lane.index()], share);
        }
    }

    fn link_down(&mut self, fabric: &Fabric, link: LinkId) {
        self.lose(link, 1.0, Direction::Both);
        if fabric.spine_link_parts(link).is_none() {
            self.port_down[link as usize] = true;
        }
    }

    /// Whether anything is broken at all.
    pub const fn any(&self) -> bool {
        self.any
    }

    /// What packets meet on a way, up to and with the `hops`-th switch or, with `None`, up to the far RNIC.
    pub fn on(&self, fabric: &Fabric, way: Way, hops: Option<usize>) -> Toll {
        let mut toll = Toll::default();
        toll.add_loss(self.rnic_loss[way.from as usize]);
        let most = hops.unwrap_or(usize::MAX);
        for lane in fabric.lanes(way).take(most) {
            toll.add_loss(self.lane_loss[lane.index()]);
            let (delay, jitter) = self.lane_delay[lane.index()];
            toll.delay += delay;
            toll.jitter += jitter;
        }
        // A switch that is asked to answer loses what it should only pass on as well.
        for switch in fabric.switches_on(way).take(most) {
            toll.add_loss(self.switch_loss[switch as usize]);
        }
        if hops.is_none() {
            toll.add_loss(self.rnic_loss[way.to as usize]);
        }
        toll
    }
}

impl Ills {
    /// What an answer of the router meets that is the `index`-th (from 0) on the way from `home.to`; `home` leads back.
    pub fn back_from(&self, fabric: &Fabric, home: Way, index: usize) -> Toll {
        let mut toll = Toll::default();
        let lanes: Vec<Lane> = fabric.lanes(home).collect();
        let switches: Vec<SwitchId> = fabric.switches_on(home).collect();
        // The last lane leads to the RNIC, each router more one lane further away.
        for lane in lanes.iter().rev().take(index + 1) {
            toll.add_loss(self.lane_loss[lane.index()]);
            let (delay, jitter) = self.lane_delay[lane.index()];
            toll.delay += delay;
            toll.jitter += jitter;
        }
        for switch in switches.iter().rev().take(index) {
            toll.add_loss(self.switch_loss[*switch as usize]);
        }
        toll.add_loss(self.rnic_loss[home.to as usize]);
        toll
    }
}

fn lanes(link: LinkId, direction: Direction) -> impl Iterator<Item = Lane> {
    let up = matches!(direction, Direction::Both | Direction::Up);
    let down = matches!(direction, Direction::Both | Direction::Down);
    [(true, up), (false, down)]
        .into_iter()
        .filter_map(move |(up, hit)| hit.then_some(Lane { link, up }))
}

/// What a way costs its packets.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Toll {
    /// Share lost, 0 to 1.
    pub loss: f64,
    /// Added to each packet's time.
    pub delay: Duration,
    /// Evenly spread, plus or minus.
    pub jitter: Duration,
}

impl Toll {
    fn add_loss(&mut self, share: f64) {
        add_loss(&mut self.loss, share);
    }

    /// Whether packets go as they should.
    pub fn is_free(&self) -> bool {
        self.loss == 0.0 && self.delay.is_zero()
    }
}

/// Both at once, as of independent events.
fn add_loss(loss: &mut f64, share: f64) {
    *loss = 1.0 - (1.0 - *loss) * (1.0 - share);
}
