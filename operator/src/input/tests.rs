//! Who takes part in a mesh.

use rdmamesh_api::RdmaNodeStatus;
use rdmamesh_api::node::{GidStatus, PORT_ABSENT};
use serde_json::json;

use super::*;
use crate::fixtures::{at, views};
use crate::validate::validate;
use crate::watch::{Flaps, Marks, MeshView, View};

fn mesh(spec: serde_json::Value) -> ValidMesh {
    let view = MeshView {
        name: "m".to_owned(),
        uid: "u".to_owned(),
        generation: 1,
        deleting: false,
        spec: serde_json::from_value(spec).map_err(|e| e.to_string()),
        status: None,
    };
    validate(&view).expect("a valid mesh")
}

fn node(name: &str, labels: &[(&str, &str)], state: NodeState) -> NodeView {
    NodeView {
        name: name.to_owned(),
        labels: labels
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect(),
        state,
        uid: String::new(),
        version: 0,
        marks: Marks::default(),
    }
}

fn port(device: &str, edit: impl FnOnce(&mut PortStatus)) -> PortStatus {
    let mut port = PortStatus {
        device: device.to_owned(),
        port: 1,
        link_layer: "Ethernet".to_owned(),
        state: PORT_ACTIVE.to_owned(),
        usable: true,
        gids: vec![GidStatus {
            index: 1,
            gid: "::ffff:10.0.0.1".to_owned(),
            r#type: "RoCEv2".to_owned(),
        }],
        ..PortStatus::default()
    };
    edit(&mut port);
    port
}

fn inventory(name: &str, ports: Vec<PortStatus>) -> InventoryView {
    InventoryView {
        name: name.to_owned(),
        status: Some(RdmaNodeStatus {
            control_address: "10.9.0.1:7475".to_owned(),
            ports,
            ..RdmaNodeStatus::default()
        }),
        reported_at: None,
        flaps: Flaps::default(),
        seen: at(0),
    }
}

fn members_of(
    spec: serde_json::Value,
    nodes: Vec<NodeView>,
    inv: Vec<InventoryView>,
) -> Vec<Member> {
    members_with(spec, nodes, inv, vec![])
}

fn members_with(
    spec: serde_json::Value,
    nodes: Vec<NodeView>,
    inv: Vec<InventoryView>,
    assigned: Vec<AssignmentView>,
) -> Vec<Member> {
    let mesh = mesh(spec);
    let mut input = plan_input([&mesh], &views(nodes), &views(inv), &views(assigned), at(0));
    input
        .meshes
        .pop()
        .map(|mesh| mesh.members)
        .unwrap_or_default()
}

#[test]
fn the_selector_picks_nodes_by_labels_and_expressions() {
    let spec = json!({"nodeSelector": {
        "matchLabels": {"fabric": "a"},
        "matchExpressions": [{"key": "spare", "operator": "DoesNotExist"}],
    }});
    let nodes = vec![
        node("n1", &[("fabric", "a")], NodeState::Ready),
        node("n2", &[("fabric", "a"), ("spare", "")], NodeState::Ready),
        node("n3", &[("fabric", "b")], NodeState::Ready),
    ];
    let names: Vec<_> = members_of(spec, nodes, vec![])
        .into_iter()
        .map(|member| member.node.to_string())
        .collect();
    assert_eq!(names, ["n1"]);
}

#[test]
fn a_node_without_inventory_is_told_apart_from_one_that_is_not_ready() {
    let nodes = vec![
        node("n1", &[], NodeState::Ready),
        node("n2", &[], NodeState::Cordoned),
        node("n3", &[], NodeState::Ready),
    ];
    let members = members_of(json!({}), nodes, vec![inventory("n3", vec![])]);
    let states: Vec<_> = members.iter().map(|member| member.state).collect();
    assert_eq!(
        states,
        [
            NodeState::NoInventory,
            NodeState::Cordoned,
            NodeState::Ready
        ]
    );
}

#[test]
fn the_group_is_the_value_of_the_meshs_own_label() {
    let nodes = vec![
        node(
            "n1",
            &[("switch", "leaf1"), ("topology.kubernetes.io/rack", "x")],
            NodeState::Ready,
        ),
        node("n2", &[], NodeState::Ready),
    ];
    let members = members_of(json!({"topology": {"groupLabel": "switch"}}), nodes, vec![]);
    assert_eq!(members[0].group.as_deref(), Some("leaf1"));
    assert_eq!(members[1].group, None);
}

#[test]
fn a_usable_rnic_carries_its_gid_and_a_down_one_its_reason() {
    let ports = vec![
        port("rxe0", |_| {}),
        port("rxe1", |port| {
            port.state = "Down".to_owned();
            port.physical_state = "Disabled".to_owned();
        }),
        port("rxe2", |port| {
            port.usable = false;
            port.reason = Some("no permission to open uverbs2".to_owned());
        }),
        port("rxe3", |port| {
            port.state = PORT_ABSENT.to_owned();
            port.physical_state = String::new();
        }),
    ];
    let members = members_of(
        json!({}),
        vec![node("n1", &[], NodeState::Ready)],
        vec![inventory("n1", ports)],
    );
    let rnics = &members[0].rnics;
    assert_eq!(rnics[0].gid_index, Some(1));
    assert!(matches!(rnics[0].availability, Availability::Usable(_)));
    let reason = |rnic: &Rnic| match &rnic.availability {
        Availability::Unusable(reason) => reason.to_string(),
        Availability::Usable(_) => unreachable!("the port cannot be used"),
    };
    assert!(reason(&rnics[1]).contains("Down (Disabled)"));
    assert!(reason(&rnics[2]).contains("uverbs2"));
    assert_eq!(reason(&rnics[3]), "its port is Absent");
}

/// Else taking it out of the plan would make its agent let go of it, find it usable again, and so on.
#[test]
fn an_rnic_that_is_in_the_plan_stays_while_its_agent_cannot_open_it() {
    let members = |assigned| {
        let unusable = port("rxe0", |port| port.usable = false);
        members_with(
            json!({}),
            vec![node("n1", &[], NodeState::Ready)],
            vec![inventory("n1", vec![unusable])],
            assigned,
        )
    };
    let usable =
        |members: &[Member]| matches!(members[0].rnics[0].availability, Availability::Usable(_));
    assert!(!usable(&members(vec![])));
    let object = serde_json::from_value(json!({
        "apiVersion": "rdmamesh.io/v1alpha1", "kind": "RdmaProbeAssignment",
        "metadata": {"name": "n1"},
        "spec": {"meshes": [{
            "name": "m", "planHash": "h", "group": "g", "window": "5s", "lossRatio": 0.02,
            "p99": "500us", "trafficClasses": [], "classes": [],
            "rnics": [{"device": "rxe0", "port": 1, "group": "g", "rail": 0, "targets": []}],
        }]},
    }))
    .expect("an assignment");
    let assigned = AssignmentView::of(object, Timestamp::UNIX_EPOCH);
    assert!(usable(&members(vec![assigned])));
}

#[test]
fn a_device_that_is_not_picked_is_no_rnic_at_all() {
    let members = members_of(
        json!({"devices": {"exclude": ["rxe1"]}}),
        vec![node("n1", &[], NodeState::Ready)],
        vec![inventory(
            "n1",
            vec![port("rxe0", |_| {}), port("rxe1", |_| {})],
        )],
    );
    assert_eq!(members[0].rnics.len(), 1);
}

#[test]
fn a_control_address_that_cannot_be_read_is_none() {
    let mut odd = inventory("n1", vec![]);
    if let Some(status) = &mut odd.status {
        status.control_address = "host1".to_owned();
    }
    let members = members_of(
        json!({}),
        vec![node("n1", &[], NodeState::Ready)],
        vec![odd],
    );
    assert_eq!(members[0].control_address, None);
}

#[test]
fn a_suspended_mesh_is_not_planned() {
    let mesh = mesh(json!({"suspend": true}));
    let input = plan_input([&mesh], &Views::new(), &Views::new(), &Views::new(), at(0));
    assert!(input.meshes.is_empty());
}

#[test]
fn a_flapping_port_is_left_out_and_it_is_said_for_how_long() {
    let up = || inventory("host1", vec![port("rxe0", |_| {})]);
    let down = || {
        inventory(
            "host1",
            vec![port("rxe0", |port| port.state = "Down".to_owned())],
        )
    };
    let mut flapping = up();
    for (turn, next) in [down(), up(), down(), up()].into_iter().enumerate() {
        flapping = next.following(&flapping, at(i64::try_from(turn).expect("four turns")));
    }
    let members = |now| {
        let mesh = mesh(json!({}));
        let nodes = views([node("host1", &[], NodeState::Ready)]);
        let inventories = views([flapping.clone()]);
        let mut input = plan_input([&mesh], &nodes, &inventories, &Views::new(), at(now));
        input.meshes.remove(0).members.remove(0).rnics.remove(0)
    };
    let Availability::Unusable(why) = members(10).availability else {
        panic!("it flaps");
    };
    assert!(
        why.contains("again and again") && why.contains("30s"),
        "{why}"
    );
    let later = members(60).availability;
    assert!(matches!(later, Availability::Usable(_)), "{later:?}");
}
