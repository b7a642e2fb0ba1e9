//! Node agent of RdmaMesh: UD pings on every RNIC, status and telemetry.
#![forbid(unsafe_code)]

pub mod anomaly;
pub mod cluster;
pub mod config;
pub mod dataplane;
pub mod device_plugin;
pub mod doctor;
pub mod http;
pub mod inventory;
pub mod keys;
pub mod logging;
pub mod metrics;
pub mod model;
pub mod passive;
pub mod plan;
pub mod publish;
pub mod reporter;
pub mod run;
pub mod trace;
