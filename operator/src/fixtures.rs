//! Minimal objects for tests: hosts `host1`… with one RNIC `rxe0` each, under one switch.

use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;
use rdmamesh_api::RdmaNodeStatus;
use rdmamesh_api::node::{GidStatus, PORT_ACTIVE, PortStatus};
use rdmamesh_fabric::diagnose::Planned;
use rdmamesh_fabric::plan::{NodeState, plan};
use serde_json::{Value, json};

use crate::input::plan_input;
use crate::planning::InForce;
use crate::validate::{ValidMesh, validate};
use crate::watch::{
    AssignmentView, Caches, Flaps, InventoryView, Marks, MeshView, NodeView, View, Views,
};

/// `seconds` after the Unix epoch.
pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).expect("a small number of seconds is a time")
}

/// A mesh `m` as the API server shows it.
pub(crate) fn mesh_view(spec: Value) -> MeshView {
    MeshView {
        name: "m".to_owned(),
        uid: "uid-m".to_owned(),
        generation: 3,
        deleting: false,
        spec: serde_json::from_value(spec).map_err(|error| error.to_string()),
        status: None,
    }
}

/// A mesh `m`, checked.
pub(crate) fn mesh(spec: Value) -> Arc<ValidMesh> {
    Arc::new(validate(&mesh_view(spec)).expect("a valid mesh"))
}

/// Views by name.
pub(crate) fn views<V: View>(all: impl IntoIterator<Item = V>) -> Views<V> {
    all.into_iter()
        .map(|view| (view.name().to_owned(), Arc::new(view)))
        .collect()
}

/// `host<number>` under `leaf1`.
pub(crate) fn node(number: u8) -> NodeView {
    NodeView {
        name: format!("host{number}"),
        labels: [("topology.kubernetes.io/rack".to_owned(), "leaf1".to_owned())].into(),
        state: NodeState::Ready,
        uid: format!("uid-host{number}"),
        version: 1,
        marks: Marks::default(),
    }
}

/// The inventory of `host<number>`: `rxe0`, Active.
pub(crate) fn inventory(number: u8) -> InventoryView {
    InventoryView {
        name: format!("host{number}"),
        status: Some(RdmaNodeStatus {
            control_address: format!("10.9.0.{number}:7475"),
            ports: vec![PortStatus {
                device: "rxe0".to_owned(),
                port: 1,
                link_layer: "Ethernet".to_owned(),
                state: PORT_ACTIVE.to_owned(),
                usable: true,
                gids: vec![GidStatus {
                    index: 1,
                    gid: format!("::ffff:10.0.0.{number}"),
                    r#type: "RoCEv2".to_owned(),
                }],
                ..PortStatus::default()
            }],
            ..RdmaNodeStatus::default()
        }),
        reported_at: Some(at(0)),
        flaps: Flaps::default(),
        seen: at(0),
    }
}

/// A mesh planned over hosts 1 to `hosts`.
pub(crate) fn in_force(spec: Value, hosts: u8) -> InForce {
    let mesh = mesh(spec);
    let nodes = views((1..=hosts).map(node));
    let inventories = views((1..=hosts).map(inventory));
    let mut input = plan_input([mesh.as_ref()], &nodes, &inventories, &Views::new(), at(0));
    let plan = plan(&input)
        .meshes
        .remove(&mesh.name.as_str().into())
        .expect("the mesh was planned");
    let members = input.meshes.pop().expect("the mesh was planned").members;
    InForce {
        mesh,
        planned: Arc::new(Planned::of(&plan)),
        plan: Arc::new(plan),
        members: members
            .into_iter()
            .map(|member| (member.node, member.state))
            .collect(),
    }
}

/// What `host<number>` reported for `m` at second `reported`: a window of 80 probes of which 20 were lost
/// to `lossy`.
pub(crate) fn assignment(
    in_force: &InForce,
    number: u8,
    reported: i64,
    lossy: Option<&str>,
) -> AssignmentView {
    let name = format!("host{number}");
    let hash = in_force
        .plan
        .plan_hash(&name.as_str().into())
        .unwrap_or_default();
    let time = at(reported).to_string();
    let anomalies = lossy.map(|target| {
        json!({"kind": "Loss", "device": "rxe0", "port": 1, "class": "torMesh", "target": target,
            "sent": 40, "lost": 20, "ipReachable": true, "since": time})
    });
    let lost = if lossy.is_some() { 20 } else { 0 };
    let object = json!({
        "apiVersion": "rdmamesh.io/v1alpha1", "kind": "RdmaProbeAssignment",
        "metadata": {"name": name, "uid": format!("uid-{name}"), "resourceVersion": "1"},
        "spec": {"meshes": [{
            "name": "m", "planHash": hash.to_string(), "group": "leaf1", "window": "5s",
            "lossRatio": 0.02, "p99": "500us", "trafficClasses": [], "classes": [],
            "rnics": [{"device": "rxe0", "port": 1, "group": "leaf1", "rail": 0, "targets": []}],
        }]},
        "status": {"reportedAt": time, "epoch": "1", "meshes": [{
            "name": "m", "planHash": hash.to_string(), "windowEnd": time, "anomalies": anomalies.as_slice(),
            "conditions": [],
            "rnics": [{"device": "rxe0", "port": 1, "sent": 80, "ok": 80 - lost, "lost": lost,
                "p50": "100us", "p99": "200us"}],
        }]},
    });
    let object = serde_json::from_value(object).expect("an assignment");
    AssignmentView::of(object, at(reported))
}

/// Caches that hold hosts 1 to `hosts`, all synced, and these assignments.
pub(crate) fn caches(hosts: u8, assignments: Vec<AssignmentView>) -> Caches {
    let caches = Caches::default();
    caches.nodes.fill(views((1..=hosts).map(node)));
    caches.inventories.fill(views((1..=hosts).map(inventory)));
    caches.assignments.fill(views(assignments));
    caches.meshes.fill(Views::new());
    caches
}
