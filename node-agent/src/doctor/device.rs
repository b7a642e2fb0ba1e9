//! Are there devices, can they be opened, are their ports up?

use nix::errno::Errno;
use rdmamesh_api::node::{DoctorOutcome, DoctorResult, PORT_ABSENT, PORT_ACTIVE, PortStatus};

use super::machine::NodeState;
use super::{Subject, ill, name, netdev, pass, severity};

pub(super) fn device(subject: &Subject<'_>) -> DoctorResult {
    let check = "RdmaDevice";
    if let Some(error) = &subject.survey.error {
        let remedy = "mount the host's /sys read-only into the agent";
        return ill(check, DoctorOutcome::Fail, error, remedy);
    }
    let present = subject.present().count();
    let others = match subject.elsewhere {
        0 => String::new(),
        n => format!(", {n} more in other network namespaces"),
    };
    if present == 0 {
        let remedy = "load the driver of the RNIC, or run `rdma link add rxe0 type rxe netdev <interface>`; run the agent in the host's network namespace";
        let message = format!("no RDMA port here{others}");
        return ill(check, DoctorOutcome::Fail, message, remedy);
    }
    pass(check, format!("{present} RDMA ports{others}"))
}

pub(super) fn provider(subject: &Subject<'_>) -> DoctorResult {
    let check = "VerbsProvider";
    match &subject.survey.provider_gap {
        Some(gap) => ill(
            check,
            DoctorOutcome::Fail,
            gap,
            "apt-get install ibverbs-providers",
        ),
        None => pass(check, "libibverbs drives every device"),
    }
}

/// Whether the verbs nodes can be opened. A port that the data path has open needs no proof.
pub(super) fn node(subject: &Subject<'_>) -> DoctorResult {
    let check = "DeviceNode";
    let nodes = &subject.survey.machine.nodes;
    let mut seen: Vec<&str> = Vec::new();
    let mut bad = Vec::new();
    let mut remedy = "";
    for port in subject.present() {
        if seen.contains(&port.device.as_str()) {
            continue;
        }
        seen.push(&port.device);
        let Some(state) = nodes.get(&port.device) else {
            continue;
        };
        let open = port.timestamps.is_some();
        if let Some((what, todo)) = trouble(state).filter(|_| !open) {
            bad.push(format!("{}: {what}", port.device));
            remedy = todo;
        }
    }
    if bad.is_empty() {
        return pass(check, "the device nodes can be opened");
    }
    ill(
        check,
        severity(bad.len(), seen.len()),
        bad.join("; "),
        remedy,
    )
}

/// What is wrong with a node, and what to do.
fn trouble(state: &NodeState) -> Option<(String, &'static str)> {
    const AGAIN: &str = "delete the agent's pod on this node: the new one gets the nodes of the devices that are there (the device plugin's --hotplug-nodes avoids that)";
    match state {
        NodeState::Opens => None,
        NodeState::Missing => Some((
            "its device node under /dev/infiniband is missing".to_owned(),
            AGAIN,
        )),
        NodeState::Wrong { found, wanted } => Some((
            format!("its device node is that of device {found}, the device is {wanted}"),
            AGAIN,
        )),
        NodeState::Refused(Errno::EPERM) => Some((
            "the container may not open its device node (EPERM from the cgroup)".to_owned(),
            "ask for the device plugin's resource in the pod (deviceAccess.mode plugin or external), or make the container privileged (hostPath)",
        )),
        NodeState::Refused(Errno::EACCES) => Some((
            "its device node is not readable and writable for this user".to_owned(),
            "chmod 0666 /dev/infiniband/uverbs* (a udev rule of rdma-core does it)",
        )),
        // It has just gone, or is on its way back.
        NodeState::Refused(Errno::ENXIO | Errno::ENODEV | Errno::EIO) => None,
        NodeState::Refused(error) => Some((
            format!("its device node cannot be opened: {}", error.desc()),
            "look at `dmesg` on the node for the driver's messages",
        )),
    }
}

/// Whether the ports can carry UD at all.
pub(super) fn link_layer(subject: &Subject<'_>) -> DoctorResult {
    let check = "LinkLayer";
    let types = &subject.survey.machine.node_types;
    let iwarp = |port: &PortStatus| types.get(&port.device).is_some_and(|kind| kind == "RNIC");
    let known = |port: &PortStatus| matches!(&*port.link_layer, "Ethernet" | "InfiniBand");
    let ports: Vec<&PortStatus> = subject.present().collect();
    let bad: Vec<String> = ports
        .iter()
        .filter_map(|port| match (iwarp(port), known(port)) {
            (true, _) => Some(format!("{} is iWARP, which has no UD", name(port))),
            (false, false) => Some(format!(
                "{} has link layer {}, which is not supported",
                name(port),
                port.link_layer
            )),
            (false, true) => None,
        })
        .collect();
    if bad.is_empty() {
        let mut layers: Vec<&str> = ports.iter().map(|port| port.link_layer.as_str()).collect();
        layers.sort_unstable();
        layers.dedup();
        return pass(check, layers.join(" and "));
    }
    let remedy = "leave these devices out with devices.exclude of the RdmaMesh; a RNIC that can do RoCE too is switched over in its driver or firmware (irdma: `devlink dev param set … name enable_iwarp value false`)";
    ill(
        check,
        severity(bad.len(), ports.len()),
        bad.join("; "),
        remedy,
    )
}

pub(super) fn port_state(subject: &Subject<'_>) -> DoctorResult {
    let check = "PortActive";
    let down: Vec<&PortStatus> = subject
        .ports
        .iter()
        .filter(|port| port.state != PORT_ACTIVE)
        .collect();
    let Some(first) = down.first() else {
        return pass(check, "every port is Active");
    };
    let message: Vec<String> = down
        .iter()
        .map(|port| format!("{} is {}", name(port), port.state))
        .collect();
    let remedy = match (&*first.link_layer, &*first.physical_state) {
        _ if first.state == PORT_ABSENT => format!(
            "is {} still plugged in, and its driver loaded? (`rdma link`, `dmesg`)",
            first.device
        ),
        ("InfiniBand", _) => {
            "is the cable plugged in and a subnet manager running? (`sminfo`)".to_owned()
        }
        (_, "Disabled") => format!("ip link set {} up", netdev(first)),
        _ => format!(
            "check the cable and the switch port; ip link set {} up",
            netdev(first)
        ),
    };
    let outcome = severity(down.len(), subject.ports.len());
    ill(check, outcome, message.join(", "), remedy)
}
