//! How good are the time stamps?

use rdmamesh_api::assignment::Timestamps;
use rdmamesh_api::node::{DoctorOutcome, DoctorResult, PortStatus};

use super::{Subject, ill, name, pass};

/// Clocks that are read in nanoseconds, without leaving the processor.
const FAST: [&str; 5] = [
    "tsc",
    "kvm-clock",
    "hyperv_clocksource_tsc_page",
    "arch_sys_counter",
    "xen",
];

/// Where stamps are taken. Known once a port was opened.
pub(super) fn timestamps(subject: &Subject<'_>) -> Option<DoctorResult> {
    let check = "Timestamps";
    let open: Vec<(&PortStatus, Timestamps)> = subject
        .present()
        .filter_map(|port| Some((port, port.timestamps?)))
        .collect();
    if open.is_empty() {
        return None;
    }
    let soft = open
        .iter()
        .filter(|(_, kind)| *kind == Timestamps::Software)
        .map(|(port, _)| *port);
    // Only of hardware more can be expected.
    let bad: Vec<String> = soft
        .clone()
        .filter(|port| port.pci.is_some())
        .map(name)
        .collect();
    if bad.is_empty() {
        let kind = if soft.count() == 0 {
            "taken by the device"
        } else {
            "taken by software: round-trip times hold the scheduling of both hosts"
        };
        return Some(pass(check, kind));
    }
    let message = format!(
        "{}: the device gives no time stamps, round-trip times hold the scheduling of both hosts",
        bad.join(", ")
    );
    let remedy = "use a driver and firmware with completion time stamps (`ibv_devinfo -v` shows a device core clock)";
    Some(ill(check, DoctorOutcome::Warn, message, remedy))
}

/// The clock of this host.
pub(super) fn clock(subject: &Subject<'_>) -> Option<DoctorResult> {
    let check = "ClockSource";
    let clock = subject.survey.machine.clock.as_ref()?;
    if FAST.contains(&clock.current.as_str()) {
        return Some(pass(check, clock.current.clone()));
    }
    let better = FAST
        .iter()
        .find(|fast| clock.available.iter().any(|available| available == *fast));
    let remedy = better.map_or_else(
        || "boot with `tsc=reliable` where the processor's TSC is (the kernel's log says why it was given up: `dmesg | grep -i tsc`)".to_owned(),
        |fast| format!("echo {fast} > /sys/devices/system/clocksource/clocksource0/current_clocksource"),
    );
    let message = format!(
        "{} is slow to read: every software time stamp costs a microsecond or more",
        clock.current
    );
    Some(ill(check, DoctorOutcome::Warn, message, remedy))
}
