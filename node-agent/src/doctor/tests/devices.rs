use nix::errno::Errno;

use super::*;
use crate::doctor::machine::NodeState;
use DoctorOutcome::{Fail, Pass, Warn};

#[test]
fn a_machine_without_rdma_fails_with_what_to_load() {
    let mut patient = Patient::healthy();
    patient.expect("RdmaDevice", Pass, &["2 RDMA ports"]);
    patient.ports.clear();
    patient.expect("RdmaDevice", Fail, &["no RDMA port here", "rdma link add"]);
    assert!(patient.check("PortActive").is_none(), "one cause, one Fail");
    patient.survey.error = Some("cannot list it".to_owned());
    patient.expect("RdmaDevice", Fail, &["cannot list it", "/sys"]);
}

#[test]
fn a_missing_provider_is_named_with_the_package() {
    let mut patient = Patient::healthy();
    patient.expect("VerbsProvider", Pass, &[]);
    patient.survey.provider_gap = Some("no provider for a".to_owned());
    let said = ["no provider for a", "apt-get install ibverbs-providers"];
    patient.expect("VerbsProvider", Fail, &said);
}

#[test]
fn device_nodes_must_open() {
    let mut patient = Patient::healthy();
    let mut node = |device: &str, state: NodeState| {
        let nodes = &mut patient.survey.machine.nodes;
        nodes.insert(device.to_owned(), state);
    };
    node("a", NodeState::Opens);
    node("b", NodeState::Missing);
    patient.expect(
        "DeviceNode",
        Warn,
        &["b: its device node", "delete the agent's pod"],
    );
    let nodes = &mut patient.survey.machine.nodes;
    nodes.insert("a".to_owned(), NodeState::Refused(Errno::EPERM));
    patient.expect("DeviceNode", Fail, &["a: the container may not open"]);
    // Whoever has a port open may open its device.
    patient.ports[0].timestamps = Some(rdmamesh_api::assignment::Timestamps::Hardware);
    patient.expect("DeviceNode", Warn, &["b: its device node"]);
    let nodes = &mut patient.survey.machine.nodes;
    nodes.insert("b".to_owned(), NodeState::Opens);
    patient.expect("DeviceNode", Pass, &[]);
}

#[test]
fn each_trouble_with_a_device_node_has_its_remedy() {
    let wrong = NodeState::Wrong {
        found: "231:193".to_owned(),
        wanted: "231:192".to_owned(),
    };
    for (state, said) in [
        (NodeState::Refused(Errno::EPERM), "device plugin's resource"),
        (NodeState::Refused(Errno::EACCES), "chmod 0666"),
        (NodeState::Refused(Errno::ENOMEM), "dmesg"),
        (wrong, "--hotplug-nodes"),
    ] {
        let mut patient = Patient::healthy();
        patient.ports.pop();
        patient.survey.machine.nodes.insert("a".to_owned(), state);
        patient.expect("DeviceNode", Fail, &[said]);
    }
    let mut patient = Patient::healthy();
    let leaving = NodeState::Refused(Errno::ENXIO);
    patient.survey.machine.nodes.insert("a".to_owned(), leaving);
    patient.expect("DeviceNode", Pass, &[]);
}

#[test]
fn iwarp_has_no_ud() {
    let mut patient = Patient::healthy();
    patient.expect("LinkLayer", Pass, &["Ethernet"]);
    let types = &mut patient.survey.machine.node_types;
    types.insert("a".to_owned(), "CA".to_owned());
    types.insert("b".to_owned(), "RNIC".to_owned());
    patient.expect("LinkLayer", Warn, &["b:1 is iWARP", "devices.exclude"]);
    patient.ports.remove(0);
    patient.expect("LinkLayer", Fail, &["iWARP"]);
    let mut patient = Patient::healthy();
    patient.ports[0].link_layer = "Unspecified".to_owned();
    patient.expect("LinkLayer", Warn, &["a:1 has link layer Unspecified"]);
    patient.ports[0].link_layer = "InfiniBand".to_owned();
    patient.expect("LinkLayer", Pass, &["Ethernet and InfiniBand"]);
}

#[test]
fn ports_must_be_active() {
    let mut patient = Patient::healthy();
    patient.expect("PortActive", Pass, &[]);
    patient.ports[1].state = "Down".to_owned();
    patient.expect(
        "PortActive",
        Warn,
        &["b:1 is Down", "cable", "ip link set net-b up"],
    );
    patient.ports[1].link_layer = "InfiniBand".to_owned();
    patient.expect("PortActive", Warn, &["subnet manager"]);
    patient.ports.remove(0);
    patient.expect("PortActive", Fail, &["b:1 is Down"]);
}

#[test]
fn a_port_that_is_missed_is_looked_for_and_not_brought_up() {
    let mut patient = Patient::healthy();
    patient.ports[1] = PortStatus {
        device: "b".to_owned(),
        port: 1,
        state: PORT_ABSENT.to_owned(),
        ..PortStatus::default()
    };
    patient.expect(
        "PortActive",
        Warn,
        &["b:1 is Absent", "is b still plugged in"],
    );
}
