//! A scenario's faults in the simulator's words.

use rdmamesh_fabric::simulate::{self, Direction, Fabric, Harm, Place};

use crate::fault::{self, Fault};

/// What `fault` is in the simulated fabric.
///
/// # Errors
/// A sentence for the person who wrote it.
pub(super) fn simulated(fabric: &Fabric, fault: &Fault) -> Result<simulate::Fault, String> {
    let link = |name: &str| Place::link(fabric, name);
    let switch = |name: &str| Place::switch(fabric, name);
    let rnic = |host: &str, rail: u16| Place::rnic(fabric, host, rail);
    let host = |name: &str| Place::host(fabric, name);
    let share = |percent: f64| percent / 100.0;
    let found = match fault {
        // A flipped bit fails the packet's checksum in the NIC that receives it.
        Fault::Loss {
            link: name,
            percent,
            direction,
        }
        | Fault::Corrupt {
            link: name,
            percent,
            direction,
        } => link(name).map(|at| (at, Harm::Loss(share(*percent), way(*direction)))),
        Fault::Delay {
            link: name,
            delay,
            jitter,
            direction,
        } => link(name).map(|at| {
            let harm = Harm::Delay {
                delay: *delay,
                jitter: *jitter,
                direction: way(*direction),
            };
            (at, harm)
        }),
        Fault::LinkDown {
            link: name,
            direction: fault::Direction::Both,
        } => link(name).map(|at| (at, Harm::Down)),
        // One direction alone: the carrier stays.
        Fault::LinkDown {
            link: name,
            direction,
        } => link(name).map(|at| (at, Harm::Loss(1.0, way(*direction)))),
        Fault::SwitchLoss {
            switch: name,
            percent,
        } => switch(name).map(|at| (at, Harm::Loss(share(*percent), Direction::Both))),
        Fault::SwitchDown { switch: name } => switch(name).map(|at| (at, Harm::Down)),
        Fault::NicDown { host, rail } => rnic(host, *rail).map(|at| (at, Harm::Down)),
        Fault::NicLoss {
            host,
            rail,
            percent,
        } => rnic(host, *rail).map(|at| (at, Harm::Loss(share(*percent), Direction::Both))),
        Fault::RdmaRemove { host, rail } => rnic(host, *rail).map(|at| (at, Harm::Removed)),
        Fault::AgentKill { host: name } => host(name).map(|at| (at, Harm::AgentDead)),
        Fault::AgentStop { host: name, .. } => host(name).map(|at| (at, Harm::AgentStopped)),
        Fault::CpuHog { host: name } => host(name).map(|at| (at, Harm::Hogged)),
        Fault::NodeReboot { host: name } => host(name).map(|at| (at, Harm::Off)),
        Fault::ApiServerDown { .. } => Ok((Place::Control, Harm::ApiServerDown)),
        Fault::OperatorKill { .. } => Ok((Place::Control, Harm::OperatorDown)),
        // Verdicts do not hang on it.
        Fault::CollectorDown { .. } => Ok((Place::Control, Harm::Nothing)),
    };
    found
        .map(|(place, harm)| simulate::Fault { place, harm })
        .map_err(|error| error.to_string())
}

const fn way(direction: fault::Direction) -> Direction {
    match direction {
        fault::Direction::Both => Direction::Both,
        fault::Direction::Forward => Direction::Up,
        fault::Direction::Backward => Direction::Down,
    }
}
