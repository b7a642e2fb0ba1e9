use rdmamesh_api::assignment::Timestamps;

use super::*;
use crate::doctor::machine::Clock;
use DoctorOutcome::{Fail, Pass, Warn};

#[test]
fn exclusive_network_namespaces_hide_devices() {
    let mut patient = Patient::healthy();
    patient.expect("NetnsMode", Pass, &["shared"]);
    patient.survey.machine.shared_netns = Some(false);
    patient.expect("NetnsMode", Pass, &["exclusive"]);
    patient.ports.clear();
    let said = ["exclusive", "rdma system set netns shared", "hostNetwork"];
    patient.expect("NetnsMode", Warn, &said);
    patient.survey.machine.shared_netns = None;
    assert!(
        patient.check("NetnsMode").is_none(),
        "no RDMA in the kernel"
    );
}

#[test]
fn little_lockable_memory_is_a_warning_unless_a_capability_lifts_it() {
    let mut patient = Patient::healthy();
    patient.expect("LockedMemory", Pass, &["not limited"]);
    patient.survey.machine.memlock = Some(MemLock::Bytes(8 << 20));
    patient.expect("LockedMemory", Pass, &["8192 KiB"]);
    patient.survey.machine.memlock = Some(MemLock::Bytes(16 << 10));
    patient.expect("LockedMemory", Warn, &["16384 bytes", "CAP_IPC_LOCK"]);
    patient.survey.machine.capabilities = Some(1 << 14);
    patient.expect("LockedMemory", Pass, &["CAP_IPC_LOCK"]);
}

#[test]
fn hardware_should_give_time_stamps() {
    let mut patient = Patient::healthy();
    assert!(patient.check("Timestamps").is_none(), "no port was opened");
    patient.ports[0].timestamps = Some(Timestamps::Hardware);
    patient.expect("Timestamps", Pass, &["taken by the device"]);
    patient.ports[0].timestamps = Some(Timestamps::Software);
    patient.expect(
        "Timestamps",
        Warn,
        &["a:1: the device gives no time stamps"],
    );
    patient.ports[0].pci = None;
    patient.expect("Timestamps", Pass, &["taken by software"]);
}

#[test]
fn a_slow_clock_is_told_with_the_faster_one() {
    let mut patient = Patient::healthy();
    assert!(patient.check("ClockSource").is_none(), "nothing is known");
    let mut set = |current: &str, available: &[&str]| {
        patient.survey.machine.clock = Some(Clock {
            current: current.to_owned(),
            available: available.iter().map(|name| (*name).to_owned()).collect(),
        });
        let result = patient.check("ClockSource").expect("a clock is known");
        (result.outcome, result.remedy.unwrap_or_default())
    };
    assert_eq!(set("tsc", &["tsc"]).0, Pass);
    let (outcome, remedy) = set("hpet", &["hpet", "tsc"]);
    assert_eq!(outcome, Warn);
    assert!(
        remedy.starts_with("echo tsc > /sys/devices/system/clocksource"),
        "{remedy}"
    );
    let (outcome, remedy) = set("acpi_pm", &["acpi_pm"]);
    assert_eq!(outcome, Warn);
    assert!(remedy.contains("tsc=reliable"), "{remedy}");
}

#[test]
fn tracing_needs_type_descriptions_and_no_lockdown() {
    let mut patient = Patient::healthy();
    patient.expect("EbpfKernel", Pass, &["kernel and ib_core", "not readable"]);
    patient.survey.machine.lockdown = Some("confidentiality".to_owned());
    patient.expect("EbpfKernel", Warn, &["lockdown", "boot without"]);
    patient.survey.machine.lockdown = Some("integrity".to_owned());
    patient.expect("EbpfKernel", Pass, &["lockdown: integrity"]);
    patient.survey.machine.ib_core_btf = Some(false);
    patient.expect(
        "EbpfKernel",
        Warn,
        &["ib_core", "CONFIG_DEBUG_INFO_BTF_MODULES"],
    );
    patient.survey.machine.kernel_btf = false;
    patient.expect("EbpfKernel", Warn, &["CONFIG_DEBUG_INFO_BTF=y"]);
}

#[test]
fn capabilities_are_examined_where_they_are_needed_only() {
    let mut patient = Patient::healthy();
    patient.survey.machine.capabilities = Some(0);
    assert!(patient.check("EbpfCapabilities").is_none());
    patient.tracing = true;
    patient.expect(
        "EbpfCapabilities",
        Fail,
        &["CAP_BPF and CAP_PERFMON", "add: [BPF, PERFMON]"],
    );
    patient.survey.machine.capabilities = Some(1 << 39);
    patient.expect("EbpfCapabilities", Fail, &["CAP_PERFMON is missing"]);
    patient.survey.machine.capabilities = Some((1 << 39) | (1 << 38));
    patient.expect("EbpfCapabilities", Pass, &[]);
    patient.survey.machine.perf_paranoid = Some(3);
    patient.expect("EbpfCapabilities", Fail, &["perf_event_paranoid=2"]);
    patient.survey.machine.capabilities = Some(1 << 21);
    patient.expect("EbpfCapabilities", Pass, &["CAP_SYS_ADMIN"]);
}
