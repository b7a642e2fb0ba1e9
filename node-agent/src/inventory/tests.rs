use rdmamesh_api::node::{DoctorOutcome, PORT_ABSENT};
use rdmamesh_verbs::{
    Gid, GidEntry, GidKind, LinkLayer, Netdev, PhysicalState, PortInfo, PortNum, PortState, Rate,
};

use super::*;
use crate::doctor::machine::{Machine, MemLock};
use crate::model::{FlowSource, OpenPort, TimestampMode};

fn rxe(name: &str, state: PortState, here: bool) -> DeviceInfo {
    DeviceInfo {
        name: name.to_owned(),
        node_guid: String::new(),
        firmware: Some("16.35".to_owned()),
        driver: None,
        pci: None,
        numa_node: None,
        uverbs: Some("uverbs0".to_owned()),
        ports: vec![PortInfo {
            port: PortNum::FIRST,
            link_layer: LinkLayer::Ethernet,
            state,
            physical_state: PhysicalState::LinkUp,
            rate: Some(Rate {
                mbit_per_sec: 400_000,
            }),
            lid: None,
            netdev: Some(Netdev {
                name: "rail1".to_owned(),
                ifindex: Some(2),
                mtu: Some(1500),
            }),
            netdev_here: here,
            gids: vec![GidEntry {
                index: 1,
                gid: Gid::from_ipv4([10, 10, 1, 2].into()),
                kind: GidKind::RoceV2,
                netdev: None,
            }],
        }],
    }
}

fn health(device: &str, state: PortActivity, open: bool) -> PortHealth {
    PortHealth {
        local: LocalPort::new(device, 1),
        state,
        open: open.then(|| OpenPort {
            gid: None,
            gid_index: 1,
            flow_source: FlowSource::QpNumber,
            distinct_flows: Some(4),
            qpns: vec![17, 18],
            timestamps: TimestampMode::Software,
            generation: 1,
        }),
        planned: true,
    }
}

fn survey_of(devices: Vec<DeviceInfo>) -> Survey {
    Survey {
        devices,
        machine: Machine {
            memlock: Some(MemLock::Bytes(8 << 20)),
            kernel_btf: true,
            ..Machine::default()
        },
        ..Survey::default()
    }
}

fn status(survey: &Survey, health: &[PortHealth], planned: &[&str]) -> RdmaNodeStatus {
    let planned: Vec<_> = planned
        .iter()
        .map(|device| LocalPort::new(*device, 1))
        .collect();
    node_status(&Facts {
        survey,
        health,
        planned: &planned,
        dscps: &[],
        trace_workloads: false,
        epoch: "ab",
        control_address: "10.12.0.2:7475",
        tracing: &TracingState::Active,
        before: None,
        now: SystemTime::UNIX_EPOCH,
    })
}

fn outcome(status: &RdmaNodeStatus, check: &str) -> Option<DoctorOutcome> {
    status
        .doctor
        .iter()
        .find(|result| result.check == check)
        .map(|result| result.outcome)
}

#[test]
fn a_port_that_probes_is_usable_and_shows_its_facts() {
    let survey = survey_of(vec![rxe("rxe0", PortState::Active, true)]);
    let status = status(
        &survey,
        &[health("rxe0", PortActivity::Probing, true)],
        &["rxe0"],
    );
    let port = &status.ports[0];
    assert!(port.usable);
    assert_eq!(
        (port.reason.as_deref(), port.qpns.as_slice()),
        (None, &[17, 18][..])
    );
    assert_eq!(port.rate.as_deref(), Some("400 Gb/s"));
    assert_eq!(port.gids[0].gid, "::ffff:10.10.1.2");
    assert_eq!(status.conditions[0].status, "True");
    let failed = |result: &&rdmamesh_api::node::DoctorResult| result.outcome != DoctorOutcome::Pass;
    assert_eq!(status.doctor.iter().find(failed), None);
}

#[test]
fn a_port_that_is_down_is_listed_with_a_remedy() {
    let survey = survey_of(vec![rxe("rxe0", PortState::Down, true)]);
    let waiting = PortActivity::Waiting {
        reason: "port down".to_owned(),
    };
    let status = status(&survey, &[health("rxe0", waiting, true)], &["rxe0"]);
    assert_eq!(status.ports[0].state, "Down");
    assert!(!status.ports[0].usable);
    assert_eq!(status.conditions[0].message, "rxe0: port down");
    assert_eq!(outcome(&status, "PortActive"), Some(DoctorOutcome::Fail));
}

#[test]
fn ports_of_other_network_namespaces_are_not_ours() {
    let survey = survey_of(vec![
        rxe("rxe0", PortState::Active, true),
        rxe("rxe1", PortState::Active, false),
    ]);
    let status = status(&survey, &[], &[]);
    assert_eq!(status.ports.len(), 1);
    assert_eq!(
        status.doctor[0].message,
        "1 RDMA ports, 1 more in other network namespaces"
    );
}

#[test]
fn a_planned_port_that_vanished_is_listed_as_absent_with_the_reason() {
    let released = PortActivity::Released {
        reason: "the device was removed".to_owned(),
    };
    let status = status(
        &survey_of(vec![]),
        &[health("rxe0", released, false)],
        &["rxe0"],
    );
    assert_eq!(status.ports[0].state, PORT_ABSENT);
    assert_eq!(
        status.ports[0].reason.as_deref(),
        Some("the device was removed")
    );
    assert_eq!(status.conditions[0].reason, "PortNotProbing");
    assert_eq!(outcome(&status, "RdmaDevice"), Some(DoctorOutcome::Fail));
}

#[test]
fn a_missing_provider_is_named_as_such_with_the_package() {
    let mut survey = survey_of(vec![rxe("rxe0", PortState::Active, true)]);
    survey.provider_gap = Some("no provider for rxe0: install ibverbs-providers".to_owned());
    let status = status(&survey, &[], &["rxe0"]);
    assert_eq!(status.conditions[0].reason, "ProviderMissing");
    assert!(!status.ports[0].usable);
    assert_eq!(outcome(&status, "VerbsProvider"), Some(DoctorOutcome::Fail));
}

#[test]
fn a_node_without_plan_is_neither_probing_nor_failing() {
    let survey = survey_of(vec![rxe("rxe0", PortState::Active, true)]);
    let waiting = PortActivity::Waiting {
        reason: "no plan".to_owned(),
    };
    let status = status(&survey, &[health("rxe0", waiting, true)], &[]);
    assert!(status.ports[0].usable, "it answers, and would probe");
    let condition = &status.conditions[0];
    assert_eq!(
        (&*condition.status, &*condition.reason),
        ("Unknown", "NotAssigned")
    );
}

#[test]
fn a_port_without_rocev2_gid_cannot_be_used() {
    let mut device = rxe("rxe0", PortState::Active, true);
    device.ports[0].gids[0].kind = GidKind::RoceV1;
    let status = status(&survey_of(vec![device]), &[], &[]);
    assert!(!status.ports[0].usable);
    assert_eq!(outcome(&status, "GidType"), Some(DoctorOutcome::Fail));
}

#[test]
fn too_little_lockable_memory_is_a_warning() {
    let mut survey = survey_of(vec![rxe("rxe0", PortState::Active, true)]);
    survey.machine.memlock = Some(MemLock::Bytes(16 * 1024));
    let status = status(&survey, &[], &[]);
    assert_eq!(outcome(&status, "LockedMemory"), Some(DoctorOutcome::Warn));
}
