//! The pure core of RdmaMesh: who probes whom ([`plan`]) and what the results mean ([`diagnose`]).
//!
//! The operator feeds both with plain values that it reads from the API server and writes the results
//! back. Nothing in here knows Kubernetes, reads a clock or draws random numbers: time and seeds are
//! passed in, so the same input always gives the same output, on every machine and in every order.
#![forbid(unsafe_code)]

pub mod coverage;
pub mod diagnose;
mod hash;
pub mod judge;
pub mod localise;
mod names;
pub mod plan;
mod rate;
pub mod report;
#[cfg(feature = "simulate")]
pub mod simulate;
mod time;

pub use names::{DeviceName, GroupName, MeshName, NodeName, RnicName, RnicNameError};
pub use rate::ProbeRate;
pub use time::Timestamp;
