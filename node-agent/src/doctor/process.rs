//! May this process do what it needs to?

use rdmamesh_api::node::{DoctorOutcome, DoctorResult};

use super::machine::MemLock;
use super::{Subject, ill, pass};

/// What the kernel gives a process by default before 5.16; fine for a few ports (measured with soft-RoCE).
const LITTLE_MEMLOCK: u64 = 64 * 1024;
/// `CAP_IPC_LOCK`.
const IPC_LOCK: u32 = 14;

/// Whether devices of the host are seen in this network namespace.
pub(super) fn netns_mode(subject: &Subject<'_>) -> Option<DoctorResult> {
    let check = "NetnsMode";
    let shared = subject.survey.machine.shared_netns?;
    if shared {
        let message = "shared: devices are seen in every network namespace";
        return Some(pass(check, message));
    }
    if subject.has_ports() {
        let message = "exclusive, and this network namespace has devices";
        return Some(pass(check, message));
    }
    let message =
        "exclusive: a device is seen in one network namespace only, and in this one there is none";
    let remedy = "rdma system set netns shared (before any container with a device starts), or `rdma dev set <device> netns <name>`; run the agent with hostNetwork";
    Some(ill(check, DoctorOutcome::Warn, message, remedy))
}

/// Memory for queues and buffers must not be paged out.
pub(super) fn locked_memory(subject: &Subject<'_>) -> Option<DoctorResult> {
    let check = "LockedMemory";
    let machine = &subject.survey.machine;
    if machine.capabilities.is_some_and(|caps| has(caps, IPC_LOCK)) {
        return Some(pass(check, "not limited (CAP_IPC_LOCK)"));
    }
    Some(match machine.memlock? {
        MemLock::Bytes(bytes) if bytes < LITTLE_MEMLOCK => {
            let message = format!("only {bytes} bytes of memory may be locked");
            let remedy = "raise the limit (LimitMEMLOCK=infinity of the container runtime's service, ulimit -l) or grant CAP_IPC_LOCK";
            ill(check, DoctorOutcome::Warn, message, remedy)
        }
        MemLock::Bytes(bytes) => {
            let message = format!("{} KiB of memory may be locked", bytes / 1024);
            pass(check, message)
        }
        MemLock::Unlimited => pass(check, "locked memory is not limited"),
    })
}

/// Whether a capability is in the set.
pub(super) const fn has(capabilities: u64, capability: u32) -> bool {
    capabilities >> capability & 1 == 1
}
