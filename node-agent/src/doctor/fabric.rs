//! Is the port set up as the fabric expects: packet size, priorities, flow control?

use rdmamesh_api::node::{DoctorOutcome, DoctorResult, PortStatus};

use super::dcb::Dcb;
use super::{Subject, ill, name, netdev, pass};

/// What RoCEv2 takes of an Ethernet packet: the kernel subtracts so much before it rounds down
/// (`iboe_get_mtu` in `rdma/ib_addr.h`).
const OVERHEAD: u32 = 96;
/// Smallest MTU of the interface with which RoCE carries 4096 bytes per packet, rounded up to what people set.
const FULL: u32 = 4200;

/// RDMA payload per packet for an interface of this MTU; 0 when it is too small for RoCE.
pub(super) const fn payload(mtu: u32) -> u32 {
    match mtu.saturating_sub(OVERHEAD) {
        4096.. => 4096,
        2048.. => 2048,
        1024.. => 1024,
        512.. => 512,
        256.. => 256,
        _ => 0,
    }
}

/// Packet size. The size that the path allows is learnt by the probes; here is what can be seen of the port.
pub(super) fn mtu(subject: &Subject<'_>) -> Option<DoctorResult> {
    let check = "PathMtu";
    let ports: Vec<(&PortStatus, u32)> = subject
        .present()
        .filter_map(|port| Some((port, port.mtu?)))
        .collect();
    let smallest = ports.iter().min_by_key(|(_, mtu)| *mtu)?;
    let largest = ports.iter().max_by_key(|(_, mtu)| *mtu)?;
    let (low, high) = (payload(smallest.1), payload(largest.1));
    let told = |(port, mtu): &(&PortStatus, u32)| {
        format!(
            "{} has MTU {mtu} (RoCE carries {} bytes)",
            name(port),
            payload(*mtu)
        )
    };
    let raise = |to: u32| {
        format!(
            "ip link set {} mtu {to}, on peers and switches too",
            netdev(smallest.0)
        )
    };
    if low == 0 {
        let message = format!("{}: too small for RoCE", told(smallest));
        return Some(ill(check, DoctorOutcome::Fail, message, raise(1500)));
    }
    if low != high {
        let message = format!(
            "{}, {}: they should be equal",
            told(smallest),
            told(largest)
        );
        return Some(ill(check, DoctorOutcome::Warn, message, raise(largest.1)));
    }
    // Soft-RoCE has no PCI address, and no throughput to lose.
    if low < 4096 && smallest.0.pci.is_some() {
        let message = format!("{}: less throughput than with 4096", told(smallest));
        return Some(ill(check, DoctorOutcome::Warn, message, raise(FULL)));
    }
    Some(pass(check, format!("RoCE carries {low} bytes per packet")))
}

/// Trust and flow control for the DSCP values that probes carry.
pub(super) fn traffic_class(subject: &Subject<'_>) -> Option<DoctorResult> {
    let check = "TrafficClass";
    let machine = &subject.survey.machine;
    let mut told = Vec::new();
    let mut trouble = Vec::new();
    let mut remedy = String::new();
    for port in subject.present() {
        if let Some(class) = machine.forced_classes.get(&port.device) {
            told.push(format!("{}: the driver sets {class}", port.device));
        }
        let Some((netdev, dcb)) = port
            .netdev
            .as_ref()
            .and_then(|netdev| Some((netdev, machine.dcb.get(netdev)?)))
        else {
            continue;
        };
        told.push(format!("{netdev}: {}", describe(dcb)));
        for dscp in subject.dscps.iter().filter(|dscp| **dscp != 0) {
            if let Some((what, todo)) = gap(netdev, dcb, *dscp) {
                trouble.push(format!("{netdev}: {what}"));
                remedy = todo;
            }
        }
    }
    if !trouble.is_empty() {
        return Some(ill(check, DoctorOutcome::Warn, trouble.join("; "), remedy));
    }
    if told.is_empty() {
        return None;
    }
    Some(pass(check, told.join("; ")))
}

fn describe(dcb: &Dcb) -> String {
    let lossless: Vec<String> = dcb
        .lossless()
        .map(|priority| priority.to_string())
        .collect();
    let flow_control = match lossless.len() {
        0 => "no flow control (PFC)".to_owned(),
        _ => format!("flow control (PFC) on priority {}", lossless.join(", ")),
    };
    let trust = if dcb.trusts_dscp() {
        "DSCP"
    } else {
        "VLAN priority"
    };
    format!("trusts {trust}, {flow_control}")
}

/// Why packets with this DSCP are not carried as wanted, and what to do.
fn gap(netdev: &str, dcb: &Dcb, dscp: u8) -> Option<(String, String)> {
    let lossless: Vec<u8> = dcb.lossless().collect();
    // Without any lossless priority the fabric is meant to be lossy.
    let wanted = *lossless.first()?;
    match dcb.priority(dscp) {
        Some(priority) if lossless.contains(&priority) => None,
        Some(priority) => Some((
            format!(
                "DSCP {dscp} goes to priority {priority}, which has no flow control (PFC); priority {wanted} has"
            ),
            format!("dcb app replace dev {netdev} dscp-prio {dscp}:{wanted}"),
        )),
        None => Some((
            format!("DSCP {dscp} is not mapped to a priority, so that it shares the default one"),
            format!("dcb app add dev {netdev} dscp-prio {dscp}:{wanted}"),
        )),
    }
}
