//! Readiness checks: each looks at something real, says what it found and, when that is wrong, what to do about it.
//!
//! [`machine::Machine`] is read by the inventory together with the devices (blocking); [`examine`] is pure. The results
//! stand in `RdmaNode.status.doctor`, their summary in its condition `DoctorPassed`, and [`command`] prints them.

use rdmamesh_api::node::{DoctorOutcome, DoctorResult, PORT_ABSENT, PortStatus};

use crate::inventory::Survey;

pub mod command;
pub mod machine;
pub mod verdict;

mod address;
mod dcb;
mod device;
mod ebpf;
mod fabric;
mod process;
mod time;

/// What is examined.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// What the machine shows.
    pub survey: &'a Survey,
    /// This node's ports, absent ones too.
    pub ports: &'a [PortStatus],
    /// How many ports of other network namespaces were left out.
    pub elsewhere: usize,
    /// DSCP values that probes carry.
    pub dscps: &'a [u8],
    /// Whether workload queue pairs are to be traced, which needs capabilities.
    pub tracing: bool,
}

impl<'a> Subject<'a> {
    /// Ports that the kernel shows.
    fn present(&self) -> impl Iterator<Item = &'a PortStatus> {
        let ports = self.ports.iter();
        ports.filter(|port| port.state != PORT_ABSENT)
    }

    fn has_ports(&self) -> bool {
        self.present().next().is_some()
    }
}

/// Runs all checks, in the order in which their causes build on each other.
pub fn examine(subject: &Subject<'_>) -> Vec<DoctorResult> {
    let mut results = vec![device::device(subject)];
    results.extend(process::netns_mode(subject));
    if subject.has_ports() {
        results.push(device::provider(subject));
        results.push(device::node(subject));
        results.push(device::link_layer(subject));
        results.push(device::port_state(subject));
        results.extend(address::gid_type(subject));
        results.extend(address::gid_address(subject));
        results.extend(fabric::mtu(subject));
        results.extend(fabric::traffic_class(subject));
        results.extend(time::timestamps(subject));
    }
    results.extend(time::clock(subject));
    results.extend(process::locked_memory(subject));
    results.push(ebpf::kernel(subject));
    results.extend(ebpf::capabilities(subject));
    results
}

/// A check that is fine.
fn pass(check: &str, message: impl Into<String>) -> DoctorResult {
    result(check, DoctorOutcome::Pass, message, None)
}

/// A check with something wrong and what to do about it.
fn ill(
    check: &str,
    outcome: DoctorOutcome,
    message: impl Into<String>,
    remedy: impl Into<String>,
) -> DoctorResult {
    result(check, outcome, message, Some(remedy.into()))
}

fn result(
    check: &str,
    outcome: DoctorOutcome,
    message: impl Into<String>,
    remedy: Option<String>,
) -> DoctorResult {
    DoctorResult {
        check: check.to_owned(),
        outcome,
        message: message.into(),
        remedy,
    }
}

/// `Fail` when none of so many is good, else `Warn`.
const fn severity(bad: usize, all: usize) -> DoctorOutcome {
    if bad < all {
        DoctorOutcome::Warn
    } else {
        DoctorOutcome::Fail
    }
}

/// `device:port`, as people write it.
fn name(port: &PortStatus) -> String {
    format!("{}:{}", port.device, port.port)
}

/// The network interface of a port, or a placeholder for a remedy.
fn netdev(port: &PortStatus) -> &str {
    port.netdev.as_deref().unwrap_or("<interface>")
}

#[cfg(test)]
mod tests;
