use super::*;
use crate::doctor::dcb::Dcb;
use DoctorOutcome::{Fail, Pass, Warn};

#[test]
fn roce_v1_at_index_zero_is_told_with_the_index_to_use() {
    let mut patient = Patient::healthy();
    patient.expect("GidType", Pass, &["every port has a RoCEv2 GID"]);
    let gids = &mut patient.ports[0].gids;
    gids.push(gid(0, "fe80::1", "RoCEv1"));
    gids.push(gid(1, "fe80::1", "RoCEv2"));
    let said = ["on a:1 index 0 is RoCE v1", "NCCL_IB_GID_INDEX=3"];
    patient.expect("GidType", Pass, &said);
}

#[test]
fn a_port_without_rocev2_gid_is_told() {
    let mut patient = Patient::healthy();
    patient.ports[0].gids = vec![gid(0, "fe80::1", "RoCEv1")];
    let said = ["a:1 has RoCE v1 GIDs only", "ip addr add", "dev net-a"];
    patient.expect("GidType", Warn, &said);
    patient.ports[1].gids.clear();
    patient.expect("GidType", Fail, &["b:1 has no GID"]);
    for port in &mut patient.ports {
        port.link_layer = "InfiniBand".to_owned();
    }
    assert!(patient.check("GidType").is_none(), "InfiniBand has LIDs");
}

#[test]
fn link_local_gids_reach_no_peer_behind_a_router() {
    let mut patient = Patient::healthy();
    patient.expect("GidAddress", Pass, &["RoCEv2 over IPv4"]);
    patient.ports[0].gids = vec![gid(1, "fe80::1", "RoCEv2")];
    patient.expect("GidAddress", Warn, &["a:1: link-local", "dev net-a"]);
    patient.ports[1].gids = vec![gid(1, "fe80::2", "RoCEv2")];
    patient.expect("GidAddress", Fail, &["a:1, b:1"]);
    for port in &mut patient.ports {
        port.gids = vec![gid(1, "fd00::1", "RoCEv2")];
    }
    patient.expect("GidAddress", Pass, &["RoCEv2 over IPv6"]);
}

#[test]
fn packet_sizes_must_be_equal_and_should_be_large() {
    let mut patient = Patient::healthy();
    patient.expect("PathMtu", Pass, &["4096 bytes"]);
    patient.ports[0].mtu = Some(1500);
    let said = ["a:1 has MTU 1500 (RoCE carries 1024 bytes)", "mtu 9000"];
    patient.expect("PathMtu", Warn, &said);
    patient.ports[1].mtu = Some(1500);
    patient.expect("PathMtu", Warn, &["less throughput", "mtu 4200"]);
    for port in &mut patient.ports {
        port.pci = None;
    }
    patient.expect("PathMtu", Pass, &["1024 bytes"]);
    patient.ports[1].mtu = Some(300);
    patient.expect("PathMtu", Fail, &["b:1 has MTU 300", "too small"]);
    for port in &mut patient.ports {
        port.mtu = None;
    }
    assert!(patient.check("PathMtu").is_none(), "nothing is known");
}

#[test]
fn payloads_are_those_of_the_kernel() {
    use crate::doctor::fabric::payload;
    let known = [
        (9000, 4096),
        (4200, 4096),
        (4096, 2048),
        (1500, 1024),
        (351, 0),
    ];
    for (mtu, bytes) in known {
        assert_eq!(payload(mtu), bytes, "MTU {mtu}");
    }
}

#[test]
fn the_traffic_class_of_the_probes_must_get_the_lossless_priority() {
    let mut patient = Patient::healthy();
    assert!(
        patient.check("TrafficClass").is_none(),
        "nothing is readable"
    );
    let interface = |pfc: u8, dscp: &[(u8, u8)]| Dcb::new(pfc, dscp.iter().copied());
    let mut set = |dcb: Dcb, dscps: &[u8]| {
        let table = &mut patient.survey.machine.dcb;
        table.insert("net-a".to_owned(), dcb);
        patient.dscps = dscps.to_vec();
        patient
            .check("TrafficClass")
            .expect("something is readable")
    };
    let good = set(interface(8, &[(26, 3)]), &[0, 26]);
    assert_eq!(good.outcome, Pass, "{good:?}");
    assert!(
        good.message
            .contains("trusts DSCP, flow control (PFC) on priority 3")
    );
    let unmapped = set(interface(8, &[(26, 3)]), &[24]);
    assert_eq!(unmapped.outcome, Warn);
    let remedy = "dcb app add dev net-a dscp-prio 24:3";
    assert_eq!(unmapped.remedy.as_deref(), Some(remedy));
    let lossy = set(interface(8, &[(26, 1)]), &[26]);
    assert_eq!(lossy.outcome, Warn);
    assert!(
        lossy
            .message
            .contains("priority 1, which has no flow control")
    );
    let by_design = set(interface(0, &[]), &[26]);
    assert_eq!(by_design.outcome, Pass, "a fabric may be lossy");
}

#[test]
fn a_traffic_class_that_the_driver_forces_is_told() {
    let mut patient = Patient::healthy();
    let forced = &mut patient.survey.machine.forced_classes;
    forced.insert("a".to_owned(), "Global tclass=106".to_owned());
    patient.expect(
        "TrafficClass",
        Pass,
        &["a: the driver sets Global tclass=106"],
    );
}
