//! Can the queue pairs of workloads be traced with eBPF? Nothing else needs it.

use rdmamesh_api::node::{DoctorOutcome, DoctorResult};

use super::process::has;
use super::{Subject, ill, pass};

const SYS_ADMIN: u32 = 21;
const PERFMON: u32 = 38;
const BPF: u32 = 39;
/// From this value of `kernel.perf_event_paranoid` on, `CAP_PERFMON` is not enough for kprobes (Debian's patch).
const PARANOID: i32 = 3;

/// What the kernel must have.
pub(super) fn kernel(subject: &Subject<'_>) -> DoctorResult {
    let check = "EbpfKernel";
    let machine = &subject.survey.machine;
    let warn = |message: &str, remedy: &str| ill(check, DoctorOutcome::Warn, message, remedy);
    if !machine.kernel_btf {
        let message = "the kernel does not describe its types (no /sys/kernel/btf/vmlinux): queue pairs of workloads cannot be traced";
        return warn(message, "use a kernel with CONFIG_DEBUG_INFO_BTF=y");
    }
    if machine.ib_core_btf == Some(false) {
        let message = "the module ib_core does not describe its types (no /sys/kernel/btf/ib_core): queue pairs of workloads cannot be traced";
        let remedy = "use a kernel with CONFIG_DEBUG_INFO_BTF_MODULES=y, or an ib_core built with BTF (MLNX_OFED: rebuild with dwarves installed)";
        return warn(message, remedy);
    }
    if machine.lockdown.as_deref() == Some("confidentiality") {
        let message = "kernel lockdown is in mode confidentiality, which forbids kprobes and reading kernel memory";
        return warn(message, "boot without lockdown=confidentiality");
    }
    let lockdown = machine.lockdown.as_deref().unwrap_or("not readable");
    let module = match machine.ib_core_btf {
        Some(_) => "kernel and ib_core describe their types",
        None => "the kernel describes its types",
    };
    pass(check, format!("{module}; lockdown: {lockdown}"))
}

/// What the process must be allowed; asked only where it is to trace.
pub(super) fn capabilities(subject: &Subject<'_>) -> Option<DoctorResult> {
    let check = "EbpfCapabilities";
    let caps = subject
        .survey
        .machine
        .capabilities
        .filter(|_| subject.tracing)?;
    if has(caps, SYS_ADMIN) {
        return Some(pass(check, "CAP_SYS_ADMIN"));
    }
    let missing: Vec<&str> = [(BPF, "BPF"), (PERFMON, "PERFMON")]
        .into_iter()
        .filter(|(capability, _)| !has(caps, *capability))
        .map(|(_, name)| name)
        .collect();
    if !missing.is_empty() {
        let message = format!("CAP_{} is missing", missing.join(" and CAP_"));
        let remedy =
            "securityContext: {capabilities: {add: [BPF, PERFMON]}} for the tracing container";
        return Some(ill(check, DoctorOutcome::Fail, message, remedy));
    }
    if subject
        .survey
        .machine
        .perf_paranoid
        .is_some_and(|level| level >= PARANOID)
    {
        let message = "kernel.perf_event_paranoid is 3 or more, so that kprobes need CAP_SYS_ADMIN";
        let remedy =
            "sysctl -w kernel.perf_event_paranoid=2, or grant SYS_ADMIN to the tracing container";
        return Some(ill(check, DoctorOutcome::Fail, message, remedy));
    }
    Some(pass(check, "CAP_BPF and CAP_PERFMON"))
}
