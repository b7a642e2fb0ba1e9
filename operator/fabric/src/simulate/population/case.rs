//! One case: a fabric, faults with the times at which they begin and end, and the hosts that the noise hits.

use std::fmt;
use std::time::Duration;

use super::{Kinds, Lossy, Noise, Population};
use crate::simulate::draw::Draw;
use crate::simulate::fabric::{Fabric, HostId, Size};
use crate::simulate::fault::{Direction, Fault, Harm, Place};

/// What kind of fault, as a population file calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A cable loses packets.
    Loss,
    /// A cable delays packets.
    Delay,
    /// A cable carries nothing.
    LinkDown,
    /// A switch loses packets.
    SwitchLoss,
    /// A switch is off.
    SwitchDown,
    /// An RNIC loses packets.
    NicLoss,
    /// An RNIC's port is down.
    NicDown,
    /// A host is short of processor time.
    CpuHog,
    /// An agent is killed and comes back.
    AgentKill,
    /// A host is off for a while.
    NodeReboot,
}

impl Kind {
    /// As a population file writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Loss => "loss",
            Self::Delay => "delay",
            Self::LinkDown => "linkDown",
            Self::SwitchLoss => "switchLoss",
            Self::SwitchDown => "switchDown",
            Self::NicLoss => "nicLoss",
            Self::NicDown => "nicDown",
            Self::CpuHog => "cpuHog",
            Self::AgentKill => "agentKill",
            Self::NodeReboot => "nodeReboot",
        }
    }

    /// Whether it is the fabric's fault.
    #[must_use]
    pub const fn is_fabric(self) -> bool {
        !matches!(self, Self::CpuHog | Self::AgentKill | Self::NodeReboot)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A fault of a case.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Planted {
    /// Its kind.
    pub kind: Kind,
    /// Where, and what happens there.
    pub fault: Fault,
    /// When it begins, since the case's begin.
    pub begin: Duration,
    /// When it ends; at the end of the case it is in force still.
    pub end: Duration,
}

/// A case.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    /// Seed of everything random that happens in it.
    pub seed: u64,
    /// The fabric.
    pub fabric: Fabric,
    /// How long it is observed.
    pub duration: Duration,
    /// The faults, by begin.
    pub faults: Vec<Planted>,
    /// What goes wrong besides.
    pub noise: Noise,
    /// Hosts that are short of processor time throughout.
    pub starved: Vec<HostId>,
    /// Hosts whose agent restarts, when it goes and when it is back.
    pub restarts: Vec<(HostId, Duration, Duration)>,
    /// Hosts whose agent never was there.
    pub never_there: Vec<HostId>,
    /// Hosts whose agent died long before the case began.
    pub died_before: Vec<HostId>,
}

/// Nothing begins earlier.
const FIRST: Duration = Duration::from_secs(5);
/// How often faults are drawn again because one would hide the other.
const ATTEMPTS: u32 = 64;

impl<M> Population<M> {
    /// Case `number` of `seed`.
    ///
    /// # Errors
    /// When its fabric cannot be numbered; [`Population::validate`] finds that beforehand.
    pub fn case(&self, seed: u64, number: u64) -> Result<Case, super::SizeError> {
        let mut draw = Draw::new(seed, number);
        let size = self.fabrics[draw.below(self.fabrics.len() as u32) as usize];
        let fabric = Fabric::new(size, draw.bits())?;
        let mut case = Case {
            seed: draw.bits(),
            fabric,
            duration: self.duration,
            faults: Vec::new(),
            noise: self.noise,
            starved: Vec::new(),
            restarts: Vec::new(),
            never_there: Vec::new(),
            died_before: Vec::new(),
        };
        case.draw_noise(&mut draw);
        let counts: Vec<(u32, f64)> = self.faults_per_case.iter().map(|(n, w)| (*n, *w)).collect();
        let weights: Vec<f64> = counts.iter().map(|(_, weight)| *weight).collect();
        let number = draw.weighted(&weights).map_or(0, |at| counts[at].0);
        for _ in 0..number {
            case.plant(&self.kinds, &mut draw);
        }
        case.faults.sort_by_key(|fault| fault.begin);
        Ok(case)
    }
}

impl Case {
    fn draw_noise(&mut self, draw: &mut Draw) {
        let last = self.duration.mul_f64(0.8);
        for host in 0..self.fabric.size().hosts() {
            if draw.chance(self.noise.missing_agents) {
                if draw.chance(0.5) {
                    self.never_there.push(host);
                } else {
                    self.died_before.push(host);
                }
            } else if draw.chance(self.noise.restarting_agents) {
                let gone = draw.time_between(Duration::ZERO, last);
                let for_long = draw.time_between(Duration::from_secs(1), Duration::from_secs(4));
                self.restarts.push((host, gone, gone + for_long));
            } else if draw.chance(self.noise.starved_hosts) {
                self.starved.push(host);
            }
        }
    }

    /// Draws one fault more that neither hides another one nor is hidden by it.
    fn plant(&mut self, kinds: &Kinds, draw: &mut Draw) {
        let weights = kinds.weights();
        let only: Vec<f64> = weights.iter().map(|(_, weight)| *weight).collect();
        let Some(at) = draw.weighted(&only) else {
            return;
        };
        let kind = weights[at].0;
        for _ in 0..ATTEMPTS {
            let fault = fault(kind, kinds, &self.fabric, draw);
            if self.is_visible(fault.place) {
                let (begin, end) = self.times(kind, draw);
                self.faults.push(Planted {
                    kind,
                    fault,
                    begin,
                    end,
                });
                return;
            }
        }
    }

    fn times(&self, kind: Kind, draw: &mut Draw) -> (Duration, Duration) {
        let begin = draw.time_between(FIRST, self.duration / 2);
        let seconds = Duration::from_secs;
        let end = match kind {
            Kind::AgentKill => begin + draw.time_between(seconds(2), seconds(15)),
            Kind::NodeReboot => begin + draw.time_between(seconds(15), seconds(40)),
            _ if draw.chance(0.5) => {
                draw.time_between(self.duration.mul_f64(0.75), self.duration.mul_f64(0.9))
            }
            _ => self.duration,
        };
        (begin, end.min(self.duration))
    }

    /// Whether somebody can see what happens there: its agents are there, and no other fault is next to it.
    fn is_visible(&self, place: Place) -> bool {
        let gone = |host: HostId| {
            self.never_there.contains(&host)
                || self.died_before.contains(&host)
                || self.restarts.iter().any(|(other, ..)| *other == host)
        };
        !hosts_at(&self.fabric, place).into_iter().any(gone)
            && self
                .faults
                .iter()
                .all(|other| !are_near(&self.fabric, other.fault.place, place))
    }
}

/// The host that a place belongs to.
fn hosts_at(fabric: &Fabric, place: Place) -> Option<HostId> {
    match place {
        Place::Link(link) if fabric.spine_link_parts(link).is_none() => Some(fabric.host_of(link)),
        Place::Rnic(rnic) => Some(fabric.host_of(rnic)),
        Place::Host(host) => Some(host),
        Place::Link(_) | Place::Switch(_) | Place::Control => None,
    }
}

/// Whether one of two places is a part of the other or ends at it.
fn are_near(fabric: &Fabric, a: Place, b: Place) -> bool {
    let host = |place| hosts_at(fabric, place);
    if a == b || host(a).is_some() && host(a) == host(b) {
        return true;
    }
    let switches = |place| -> Vec<u32> {
        match place {
            Place::Switch(switch) => vec![switch],
            Place::Link(link) => {
                let (leaf, spine) = fabric.link_switches(link);
                std::iter::once(leaf).chain(spine).collect()
            }
            Place::Rnic(rnic) => vec![fabric.leaf_of(rnic)],
            Place::Host(host) => {
                let rails = fabric.rails();
                (host * rails..(host + 1) * rails)
                    .map(|rnic| fabric.leaf_of(rnic))
                    .collect()
            }
            Place::Control => Vec::new(),
        }
    };
    let ends_at = |place, switch| switches(place).contains(&switch);
    match (a, b) {
        (Place::Switch(switch), other) | (other, Place::Switch(switch)) => ends_at(other, switch),
        _ => false,
    }
}

fn fault(kind: Kind, kinds: &Kinds, fabric: &Fabric, draw: &mut Draw) -> Fault {
    let size = fabric.size();
    let link = |draw: &mut Draw| Place::Link(used_link(fabric, size, draw));
    let switch = |draw: &mut Draw| Place::Switch(used_switch(fabric, size, draw));
    let rnic = |draw: &mut Draw| Place::Rnic(draw.below(size.rnics()));
    let host = |draw: &mut Draw| Place::Host(draw.below(size.hosts()));
    let share = |lossy: Option<Lossy>, draw: &mut Draw| {
        let [low, high] = lossy.map_or([1.0, 1.0], |lossy| lossy.percent);
        logarithmic(low, high, draw) / 100.0
    };
    let both = Direction::Both;
    let (place, harm) = match kind {
        Kind::Loss => (
            link(draw),
            Harm::Loss(share(kinds.loss, draw), direction(draw)),
        ),
        Kind::Delay => {
            let [low, high] = kinds.delay.map_or([Duration::ZERO; 2], |slow| slow.delay);
            let nanos = logarithmic(low.as_nanos() as f64, high.as_nanos() as f64, draw);
            let delay = Duration::from_nanos(nanos as u64);
            let harm = Harm::Delay {
                delay,
                jitter: delay / 10,
                direction: direction(draw),
            };
            (link(draw), harm)
        }
        Kind::LinkDown => (link(draw), Harm::Down),
        Kind::SwitchLoss => (
            switch(draw),
            Harm::Loss(share(kinds.switch_loss, draw), both),
        ),
        Kind::SwitchDown => (switch(draw), Harm::Down),
        Kind::NicLoss => (rnic(draw), Harm::Loss(share(kinds.nic_loss, draw), both)),
        Kind::NicDown => (rnic(draw), Harm::Down),
        Kind::CpuHog => (host(draw), Harm::Hogged),
        Kind::AgentKill => (host(draw), Harm::AgentDead),
        Kind::NodeReboot => (host(draw), Harm::Off),
    };
    Fault { place, harm }
}

/// Any cable; with a single leaf nothing goes to the spines.
fn used_link(fabric: &Fabric, size: Size, draw: &mut Draw) -> u32 {
    if size.all_leaves() < 2 {
        draw.below(size.rnics())
    } else {
        draw.below(fabric.links())
    }
}

fn used_switch(fabric: &Fabric, size: Size, draw: &mut Draw) -> u32 {
    if size.all_leaves() < 2 {
        0
    } else {
        draw.below(fabric.switches())
    }
}

/// Half of the time both ways.
fn direction(draw: &mut Draw) -> Direction {
    match draw.below(4) {
        0 => Direction::Up,
        1 => Direction::Down,
        _ => Direction::Both,
    }
}

fn logarithmic(low: f64, high: f64, draw: &mut Draw) -> f64 {
    if low >= high {
        return low;
    }
    draw.between(low.ln(), high.ln()).exp()
}
