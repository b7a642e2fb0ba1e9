//! Node agent of RdmaMesh: UD pings on every RNIC, status and telemetry.
#![forbid(unsafe_code)]

pub mod anomaly;
pub mod dataplane;
pub mod inventory;
pub mod keys;
pub mod model;
pub mod plan;
pub mod publish;
