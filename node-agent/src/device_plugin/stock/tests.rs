use rdmamesh_verbs::{Netdev, PhysicalState, PortNum};

use super::*;

fn rnic(name: &str, states: &[PortState], here: bool) -> DeviceInfo {
    let port = |state: &PortState| PortInfo {
        port: PortNum::FIRST,
        link_layer: LinkLayer::Ethernet,
        state: *state,
        physical_state: PhysicalState::LinkUp,
        rate: None,
        lid: None,
        netdev: Some(Netdev {
            name: "rail1".to_owned(),
            ifindex: None,
            mtu: None,
        }),
        netdev_here: here,
        gids: Vec::new(),
    };
    DeviceInfo {
        name: name.to_owned(),
        node_guid: String::new(),
        firmware: None,
        driver: None,
        pci: None,
        numa_node: None,
        uverbs: Some("uverbs0".to_owned()),
        ports: states.iter().map(port).collect(),
    }
}

fn healthy(stock: &Stock) -> Vec<String> {
    let list = stock.list().into_iter();
    list.filter(|device| device.health == api::HEALTHY)
        .map(|device| device.id)
        .collect()
}

#[test]
fn a_node_without_rdma_still_has_shares() {
    let stock = Stock::new(2).after(&[]);
    assert_eq!(healthy(&stock), ["node-0", "node-1"]);
    assert_eq!(stock.refusal("node-1"), None);
    assert!(stock.refusal("node-2").is_some());
}

#[test]
fn health_follows_the_ports_and_a_vanished_rnic_stays_as_unhealthy() {
    let (up, down) = (PortState::Active, PortState::Down);
    let empty = Stock::new(1);
    let both = empty.after(&[rnic("a", &[up], true), rnic("b", &[down], true)]);
    assert_eq!(healthy(&both), ["node-0", "a-0"]);
    assert_eq!(both.refusal("b-0").as_deref(), Some("b: port 1 is Down"));
    let one_of_two_ports = both.after(&[rnic("a", &[down, up], true)]);
    assert_eq!(healthy(&one_of_two_ports), ["node-0", "a-0"]);
    let gone = both.after(&[]);
    assert_eq!(gone.list().len(), 3);
    assert_eq!(healthy(&gone), ["node-0"]);
    assert_eq!(
        gone.refusal("a-0").as_deref(),
        Some("a: the device is gone")
    );
    let back = gone.after(&[rnic("a", &[up], true)]);
    assert_eq!(healthy(&back), ["node-0", "a-0"]);
}

#[test]
fn rnics_of_other_network_namespaces_are_not_this_nodes() {
    let stock = Stock::new(1).after(&[rnic("a", &[PortState::Active], false)]);
    assert_eq!(stock.list().len(), 1);
}

#[test]
fn a_rnic_without_character_device_cannot_be_given_out() {
    let mut bare = rnic("a", &[PortState::Active], true);
    bare.uverbs = None;
    let stock = Stock::new(1).after(&[bare]);
    let refusal = stock.refusal("a-0").expect("refused");
    assert!(refusal.contains("ib_uverbs"), "{refusal}");
}

#[test]
fn ids_are_short_enough_for_the_kubelet() {
    let name = "x".repeat(63);
    let stock = Stock::new(1).after(&[rnic(&name, &[PortState::Active], true)]);
    let longest = stock.list().iter().map(|device| device.id.len()).max();
    assert_eq!(longest, Some(LONGEST_ID));
    assert!(is_nodes("node-3") && !is_nodes("node5-0"));
}
