//! The fabric simulator: agents that probe, hosts that starve, cables that lose, and the operator's own planner and
//! judge on top, all in simulated time.
//!
//! Apart from the diagnosis that it judges: nothing in [`crate::diagnose`] knows it. It uses the real planner,
//! the agent's own rules and the real [`crate::diagnose::diagnose`], called as the operator calls it, so a verdict
//! is based on what it would be based on in a cluster and on nothing else. [`population`] draws cases, [`truth`]
//! says whether a verdict is right, [`score`] adds up.

mod agent;
mod cluster;
mod draw;
mod fabric;
mod fault;
mod life;
mod operator;
pub mod population;
mod rtt;
pub mod score;
mod setup;
mod traffic;
pub mod truth;

pub use cluster::{Cluster, Counted, Write, Writer};
pub use draw::Draw;
pub use fabric::{Fabric, Size, SizeError};
pub use fault::{Direction, Fault, FaultError, Harm, Place};
pub use setup::{Mesh, Setup};
