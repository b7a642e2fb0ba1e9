//! Names, cables and addresses of fabrics of several sizes.

use std::collections::BTreeSet;

use super::*;

fn fabric(leaves: u16, spines: u16, hosts_per_leaf: u16, rails: u16) -> Fabric {
    Fabric::new(FabricSpec {
        leaves,
        spines,
        hosts_per_leaf,
        rails,
    })
    .expect("the size is valid")
}

#[test]
fn the_smallest_ecmp_fabric_has_the_documented_names() {
    let fabric = fabric(2, 2, 2, 1);
    let links: Vec<&str> = fabric.links().map(|link| link.name.as_str()).collect();
    let expected = [
        "host1-leaf1",
        "host2-leaf1",
        "host3-leaf2",
        "host4-leaf2",
        "leaf1-spine1",
        "leaf1-spine2",
        "leaf2-spine1",
        "leaf2-spine2",
    ];
    assert_eq!(links, expected);
    let host3 = fabric.host("host3").expect("there are four hosts");
    assert_eq!(
        (host3.rack.as_str(), host3.rails[0].rnic.as_str()),
        ("leaf2", "rxe3")
    );
}

#[test]
fn each_rail_has_leaves_of_its_own() {
    let fabric = fabric(2, 1, 1, 2);
    assert_eq!(fabric.leaves(), ["leaf1", "leaf2", "leaf3", "leaf4"]);
    let rail = fabric.rail("host1", 2).expect("two rails");
    assert_eq!(
        (rail.link.as_str(), rail.rnic.as_str()),
        ("host1.2-leaf3", "rxe1.2")
    );
    assert_eq!(fabric.rail("host2", 2).expect("two rails").leaf, "leaf4");
    assert_eq!(fabric.host("host2").expect("two hosts").rack, "leaf2");
}

#[test]
fn no_address_and_no_interface_is_given_twice() {
    for fabric in [
        fabric(2, 2, 2, 1),
        fabric(8, 4, 4, 2),
        fabric(3, 5, 64, 3),
        fabric(150, 64, 1, 1),
    ] {
        let mut addresses = BTreeSet::new();
        let mut ends = BTreeSet::new();
        for link in fabric.links() {
            for address in [link.addresses.lower, link.addresses.upper] {
                assert!(addresses.insert(address), "{address} twice");
            }
            for end in [&link.lower, &link.upper] {
                assert!(ends.insert(end.clone()), "{end:?} twice");
                assert!(
                    end.device.len() <= 15,
                    "{end:?} is longer than the kernel takes"
                );
            }
        }
        for host in fabric.hosts() {
            assert!(
                addresses.insert(host.management),
                "{} twice",
                host.management
            );
        }
    }
}

#[test]
fn a_forward_packet_leaves_at_the_end_the_name_begins_with() {
    let fabric = fabric(2, 2, 2, 1);
    let link = fabric.link("leaf1-spine2").expect("the cable exists");
    let end = |netns: &str, device: &str| End {
        netns: netns.into(),
        device: device.into(),
    };
    assert_eq!(link.senders(Direction::Forward), [&end("leaf1", "spine2")]);
    assert_eq!(link.senders(Direction::Backward), [&end("spine2", "leaf1")]);
    assert_eq!(link.senders(Direction::Both).len(), 2);
}

#[test]
fn a_name_that_does_not_exist_is_answered_with_those_that_do() {
    let fabric = fabric(1, 1, 2, 1);
    let error = fabric
        .link("spine1-leaf1")
        .expect_err("named the other way round");
    let expected =
        "the fabric has no link \"spine1-leaf1\"; it has host1-leaf1, host2-leaf1, leaf1-spine1";
    assert_eq!(error.to_string(), expected);
    let error = fabric.host("host3").expect_err("two hosts");
    assert_eq!(
        error.to_string(),
        "the fabric has no host \"host3\"; it has host1, host2"
    );
    let error = fabric
        .switch_ends("host1")
        .expect_err("a host is no switch");
    assert_eq!(
        error.to_string(),
        "the fabric has no switch \"host1\"; it has leaf1, spine1"
    );
    let error = fabric.rail("host1", 2).expect_err("one rail");
    assert_eq!(error.to_string(), "the fabric has no rail \"2\"; it has 1");
}

#[test]
fn a_switch_owns_its_ends_of_all_its_cables() {
    let fabric = fabric(2, 2, 2, 1);
    let devices = |switch: &str| -> Vec<String> {
        let ends = fabric.switch_ends(switch).expect("the switch exists");
        ends.iter().map(|end| end.device.clone()).collect()
    };
    assert_eq!(devices("leaf1"), ["host1", "host2", "spine1", "spine2"]);
    assert_eq!(devices("spine2"), ["leaf1", "leaf2"]);
}

#[test]
fn a_mesh_gets_the_switches_names_unless_it_has_some() {
    let fabric = fabric(2, 2, 2, 1);
    let addresses = fabric.switch_addresses();
    assert_eq!(addresses.len(), 4);
    let address = |text: &str| text.parse::<Ipv4Addr>().expect("an address");
    assert_eq!(
        addresses["spine2"],
        ["10.11.1.5", "10.11.2.5"].map(address),
        "one per cable"
    );
    assert_eq!(addresses["leaf1"].len(), 4, "hosts' and spines' side");
    let named = fabric.with_switch_names(&json!({"topology": {"parallelPaths": 2}}));
    assert_eq!(named["topology"]["parallelPaths"], 2);
    assert_eq!(named["topology"]["switches"][2]["name"], "spine1");
    let own = json!({"topology": {"switches": [{"name": "x", "addresses": ["10.0.0.1"]}]}});
    assert_eq!(fabric.with_switch_names(&own), own);
    assert_eq!(fabric.with_switch_names(&json!(null)), json!(null));
}
