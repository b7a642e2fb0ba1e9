//! Readiness checks: each looks at something real and says what to do when it is wrong.

use rdmamesh_api::node::{DoctorOutcome, DoctorResult, PortStatus};

use super::{Facts, elsewhere, port};
use crate::inventory::survey::MemLock;

/// What the kernel gives a process by default before 5.16; fine for a few ports (measured with soft-RoCE).
const LITTLE_MEMLOCK: u64 = 64 * 1024;

/// Runs all checks.
pub(super) fn examine(facts: &Facts<'_>, ports: &[PortStatus]) -> Vec<DoctorResult> {
    let mut results = vec![device(facts, ports)];
    if !facts.survey.devices.is_empty() {
        results.push(provider(facts));
        results.push(port_state(ports));
        results.push(gid_type(ports));
    }
    results.extend(memlock(facts));
    results
}

fn result(
    check: &str,
    outcome: DoctorOutcome,
    message: impl Into<String>,
    remedy: Option<&str>,
) -> DoctorResult {
    DoctorResult {
        check: check.to_owned(),
        outcome,
        message: message.into(),
        remedy: remedy.map(str::to_owned),
    }
}

fn device(facts: &Facts<'_>, ports: &[PortStatus]) -> DoctorResult {
    let check = "RdmaDevice";
    if let Some(error) = &facts.survey.error {
        let remedy = "mount the host's /sys read-only into the agent";
        return result(check, DoctorOutcome::Fail, error, Some(remedy));
    }
    let present = ports
        .iter()
        .filter(|port| port.state != port::ABSENT)
        .count();
    let others = match elsewhere(&facts.survey.devices) {
        0 => String::new(),
        n => format!(", {n} more in other network namespaces"),
    };
    if present == 0 {
        let remedy = "load the driver of the RNIC, or run `rdma link add rxe0 type rxe netdev <interface>`; run the agent in the host's network namespace";
        let message = format!("no RDMA port here{others}");
        return result(check, DoctorOutcome::Fail, message, Some(remedy));
    }
    let message = format!("{present} RDMA ports{others}");
    result(check, DoctorOutcome::Pass, message, None)
}

fn provider(facts: &Facts<'_>) -> DoctorResult {
    match &facts.survey.provider_gap {
        Some(gap) => {
            let remedy = "apt-get install ibverbs-providers";
            result("VerbsProvider", DoctorOutcome::Fail, gap, Some(remedy))
        }
        None => {
            let message = "libibverbs drives every device";
            result("VerbsProvider", DoctorOutcome::Pass, message, None)
        }
    }
}

fn port_state(ports: &[PortStatus]) -> DoctorResult {
    let down: Vec<String> = ports
        .iter()
        .filter(|port| port.state != "Active")
        .map(|port| format!("{}:{} is {}", port.device, port.port, port.state))
        .collect();
    if down.is_empty() {
        return result(
            "PortActive",
            DoctorOutcome::Pass,
            "every port is Active",
            None,
        );
    }
    let remedy = "check cable and switch port; ip link set <interface> up";
    let all = down.len() == ports.len();
    let outcome = if all {
        DoctorOutcome::Fail
    } else {
        DoctorOutcome::Warn
    };
    result("PortActive", outcome, down.join(", "), Some(remedy))
}

fn gid_type(ports: &[PortStatus]) -> DoctorResult {
    let lacking: Vec<&str> = ports
        .iter()
        .filter(|port| port.state != port::ABSENT && port.lid.is_none())
        .filter(|port| {
            !port
                .gids
                .iter()
                .any(|gid| matches!(&*gid.r#type, "RoCEv2" | "IB"))
        })
        .map(|port| port.device.as_str())
        .collect();
    if lacking.is_empty() {
        return result(
            "GidType",
            DoctorOutcome::Pass,
            "every port has a usable GID",
            None,
        );
    }
    let message = format!("no RoCEv2 GID on {}", lacking.join(", "));
    let remedy = "give the network interface an IP address";
    result("GidType", DoctorOutcome::Warn, message, Some(remedy))
}

fn memlock(facts: &Facts<'_>) -> Option<DoctorResult> {
    let check = "LockedMemory";
    Some(match facts.survey.memlock? {
        MemLock::Bytes(bytes) if bytes < LITTLE_MEMLOCK => {
            let message = format!("only {bytes} bytes of memory may be locked");
            let remedy = "raise the limit (LimitMEMLOCK, ulimit -l) or grant CAP_IPC_LOCK";
            result(check, DoctorOutcome::Warn, message, Some(remedy))
        }
        MemLock::Bytes(bytes) => {
            let message = format!("{} KiB of memory may be locked", bytes / 1024);
            result(check, DoctorOutcome::Pass, message, None)
        }
        MemLock::Unlimited => {
            let message = "locked memory is not limited";
            result(check, DoctorOutcome::Pass, message, None)
        }
    })
}
