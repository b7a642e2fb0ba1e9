//! Which GID is chosen, and what is said where none can be.

use super::*;

fn choice(kind: GidType, family: GidFamily, index: Option<u16>) -> GidChoice {
    GidChoice {
        kind,
        family,
        index,
    }
}

const AUTO: GidChoice = GidChoice {
    kind: GidType::Auto,
    family: GidFamily::Auto,
    index: None,
};

fn ethernet(gids: &[(u16, &str, &str)]) -> PortStatus {
    PortStatus {
        device: "rxe0".to_owned(),
        port: 1,
        link_layer: "Ethernet".to_owned(),
        netdev: Some("eth7".to_owned()),
        gids: gids
            .iter()
            .map(|(index, kind, gid)| GidStatus {
                index: *index,
                gid: (*gid).to_owned(),
                r#type: (*kind).to_owned(),
            })
            .collect(),
        ..PortStatus::default()
    }
}

fn typical() -> PortStatus {
    ethernet(&[
        (0, "RoCEv1", "fe80::1"),
        (1, "RoCEv2", "fe80::1"),
        (2, "RoCEv1", "::ffff:10.1.0.1"),
        (3, "RoCEv2", "fd00::1"),
        (4, "RoCEv2", "::ffff:10.1.0.1"),
    ])
}

fn roce(gid: &str) -> Address {
    Address::Roce(gid.parse().expect("a GID"))
}

#[test]
fn auto_prefers_the_ipv4_mapped_rocev2_gid() {
    assert_eq!(AUTO.of(&typical(), None), Ok((4, roce("::ffff:10.1.0.1"))));
}

#[test]
fn auto_takes_a_global_ipv6_gid_where_there_is_no_ipv4_and_never_a_link_local_one() {
    let mut port = typical();
    port.gids.retain(|gid| gid.index != 4);
    assert_eq!(AUTO.of(&port, None), Ok((3, roce("fd00::1"))));
    port.gids.retain(|gid| gid.index != 3);
    let reason = AUTO.of(&port, None).expect_err("only link-local is left");
    assert!(
        reason.contains("eth7") && reason.contains("RoCEv2"),
        "{reason}"
    );
}

#[test]
fn a_family_is_kept_to() {
    let six = choice(GidType::RoCEv2, GidFamily::IPv6, None);
    assert_eq!(six.of(&typical(), None), Ok((3, roce("fd00::1"))));
    let only_four = ethernet(&[(1, "RoCEv2", "::ffff:10.1.0.1")]);
    assert!(six.of(&only_four, None).is_err());
}

#[test]
fn a_route_decides_between_two_addresses() {
    let port = ethernet(&[
        (1, "RoCEv2", "::ffff:192.168.0.1"),
        (2, "RoCEv2", "::ffff:10.1.0.1"),
    ]);
    let route = "10.0.0.0/8".parse().expect("a prefix");
    assert_eq!(
        AUTO.of(&port, Some(route)),
        Ok((2, roce("::ffff:10.1.0.1")))
    );
}

#[test]
fn a_wanted_index_is_taken_where_it_exists() {
    let third = choice(GidType::Auto, GidFamily::Auto, Some(3));
    assert_eq!(third.of(&typical(), None), Ok((3, roce("fd00::1"))));
}

#[test]
fn a_wanted_index_that_does_not_exist_names_those_that_do() {
    let nine = choice(GidType::Auto, GidFamily::Auto, Some(9));
    let reason = nine.of(&typical(), None).expect_err("there is no ninth");
    assert!(
        reason.contains("index 9") && reason.contains("0, 1, 2, 3, 4"),
        "{reason}"
    );
}

#[test]
fn a_wanted_index_of_the_wrong_kind_names_the_right_ones() {
    let zero = choice(GidType::RoCEv2, GidFamily::Auto, Some(0));
    let reason = zero.of(&typical(), None).expect_err("index 0 is RoCEv1");
    assert!(
        reason.contains("RoCEv1") && reason.contains("1, 3, 4"),
        "{reason}"
    );
}

#[test]
fn infiniband_is_addressed_by_lid_and_gid_zero() {
    let mut port = ethernet(&[(0, "IB", "fe80::2")]);
    port.link_layer = "InfiniBand".to_owned();
    assert!(
        AUTO.of(&port, None)
            .expect_err("no LID")
            .contains("subnet manager")
    );
    port.lid = Some(7);
    let address = Address::InfiniBand {
        lid: 7,
        gid: "fe80::2".parse().ok(),
    };
    assert_eq!(AUTO.of(&port, None), Ok((0, address)));
    let roce_only = choice(GidType::RoCEv2, GidFamily::Auto, None);
    assert!(
        roce_only
            .of(&port, None)
            .expect_err("wrong layer")
            .contains("gid.type")
    );
}

#[test]
fn an_ethernet_port_is_refused_where_infiniband_is_asked_for() {
    let ib = choice(GidType::IB, GidFamily::Auto, None);
    assert!(
        ib.of(&typical(), None)
            .expect_err("wrong layer")
            .contains("gid.type")
    );
}

#[test]
fn an_index_is_auto_or_a_number() {
    let spec = |index| GidSelection {
        index,
        ..GidSelection::default()
    };
    assert!(GidChoice::new(&spec(IntOrString::String("Auto".to_owned()))).is_ok());
    assert!(GidChoice::new(&spec(IntOrString::Int(3))).is_ok());
    assert!(GidChoice::new(&spec(IntOrString::Int(256))).is_err());
    assert!(GidChoice::new(&spec(IntOrString::String("3".to_owned()))).is_err());
}
