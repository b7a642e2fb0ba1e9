//! What is written, withdrawn and deleted, against real plans.

use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use kube::core::DeserializeGuard;
use rdmamesh_api::RdmaProbeAssignment;
use rdmamesh_fabric::plan::{
    Address, Availability, Budget, Classes, Member, MeshInput, MeshPolicy, NodeState, PlanInput,
    ProbeClass, Probing, Rnic, Thresholds, Topology, plan,
};

use super::*;
use crate::desired::{DesiredMesh, owner};
use crate::watch::{View, digest};

/// A mesh called `name` over these hosts, planned.
fn planned(name: &str, hosts: &[u8]) -> DesiredMesh {
    let second = std::time::Duration::from_secs(1);
    let members = hosts.iter().map(|number| Member {
        node: format!("host{number}").into(),
        state: NodeState::Ready,
        group: Some(Arc::from("leaf1")),
        control_address: format!("10.0.0.{number}:7475").parse().ok(),
        rnics: vec![Rnic {
            device: "rxe0".into(),
            port: 1,
            rail: None,
            gid_index: Some(1),
            availability: Availability::Usable(Address::Roce(
                std::net::Ipv4Addr::new(10, 1, 0, *number).to_ipv6_mapped(),
            )),
        }],
    });
    let probing = Probing {
        interval: second,
        timeout: second,
    };
    let input = PlanInput {
        seed: 1,
        meshes: vec![MeshInput {
            name: name.into(),
            policy: MeshPolicy {
                classes: Classes::from([(ProbeClass::TorMesh, probing)]),
                coverage: 0.99,
                topology: Topology {
                    rail_optimized: false,
                    parallel_paths: 2,
                },
                budget: Budget {
                    max_probes_per_second: 500,
                    max_peers_per_rnic: 16,
                },
                traffic_classes: vec![],
                thresholds: Thresholds {
                    window: second,
                    loss_ratio: 0.02,
                    p99: second,
                },
            },
            members: members.collect(),
        }],
    };
    let plan = plan(&input)
        .meshes
        .remove(&name.into())
        .expect("the mesh was planned");
    DesiredMesh {
        uid: format!("uid-{name}"),
        plan: Arc::new(plan),
    }
}

fn desired(meshes: &[(&str, &[u8])]) -> Desired {
    let meshes = meshes
        .iter()
        .map(|(name, hosts)| ((*name).to_owned(), planned(name, hosts)));
    Desired {
        meshes: meshes.collect(),
        ..Desired::default()
    }
}

/// The assignments that `desired` asks for, as the API server would show them.
fn written(desired: &Desired) -> BTreeMap<String, RdmaProbeAssignment> {
    let mut objects = BTreeMap::new();
    for (name, mesh) in &desired.meshes {
        for (node, _) in mesh.plan.nodes() {
            let object = objects.entry(node.to_string()).or_insert_with(|| {
                let mut object = RdmaProbeAssignment::new(node.as_str(), Default::default());
                object.metadata.uid = Some(format!("uid-{node}"));
                object.metadata.resource_version = Some("7".to_owned());
                object
            });
            let entry = mesh.entry(name, node).expect("the node is in the plan");
            object.spec.meshes.push(entry);
            object.owner_references_mut().push(owner(name, &mesh.uid));
        }
    }
    objects
}

fn views(objects: &BTreeMap<String, RdmaProbeAssignment>) -> Views<AssignmentView> {
    objects
        .iter()
        .map(|(name, object)| {
            let guard = DeserializeGuard(Ok(object.clone()));
            (
                name.clone(),
                Arc::new(AssignmentView::of(guard, Timestamp::UNIX_EPOCH)),
            )
        })
        .collect()
}

fn changes(
    desired: &Desired,
    objects: &BTreeMap<String, RdmaProbeAssignment>,
) -> BTreeMap<String, NodeChange> {
    diff(desired, &views(objects), |mesh, node| {
        desired.meshes[mesh]
            .entry(mesh, node)
            .map(|entry| digest(&entry))
    })
}

#[test]
fn where_nothing_exists_everything_is_written() {
    let all = changes(
        &desired(&[("a", &[1, 2]), ("b", &[2, 3])]),
        &BTreeMap::new(),
    );
    let writes: Vec<_> = all
        .iter()
        .map(|(node, c)| (node.as_str(), c.write.join(" ")))
        .collect();
    assert_eq!(
        writes,
        [
            ("host1", "a".to_owned()),
            ("host2", "a b".to_owned()),
            ("host3", "b".to_owned())
        ]
    );
}

#[test]
fn what_is_as_it_should_be_is_left_alone() {
    let wanted = desired(&[("a", &[1, 2, 3]), ("b", &[2, 3])]);
    assert_eq!(changes(&wanted, &written(&wanted)), BTreeMap::new());
}

#[test]
fn a_node_that_left_a_mesh_loses_that_entry_only() {
    let before = desired(&[("a", &[1, 2, 3]), ("b", &[1, 2, 3])]);
    let after = desired(&[("a", &[1, 2]), ("b", &[1, 2, 3])]);
    let all = changes(&after, &written(&before));
    assert_eq!(all["host3"].withdraw, ["a"]);
    assert!(all["host3"].write.is_empty() && !all["host3"].delete);
    // Its former peers get new entries, because they do not probe it any more.
    assert_eq!(all["host1"].write, ["a"]);
}

#[test]
fn a_node_that_left_every_mesh_loses_its_assignment_at_once() {
    let before = desired(&[("a", &[1, 2, 3]), ("b", &[1, 2, 3])]);
    let after = desired(&[("a", &[1, 2]), ("b", &[1, 2])]);
    let change = &changes(&after, &written(&before))["host3"];
    assert!(change.delete && change.withdraw.is_empty());
    let existing = change.existing.as_ref().expect("there is an object");
    assert_eq!(
        (existing.uid.as_str(), existing.resource_version.as_str()),
        ("uid-host3", "7")
    );
}

#[test]
fn a_mesh_that_is_gone_leaves_nothing() {
    let all = changes(&Desired::default(), &written(&desired(&[("a", &[1, 2])])));
    assert_eq!(all.len(), 2);
    assert!(all.values().all(|change| change.delete));
}

#[test]
fn an_assignment_that_holds_nothing_is_deleted() {
    let empty = RdmaProbeAssignment::new("host9", Default::default());
    let all = changes(&Desired::default(), &[("host9".to_owned(), empty)].into());
    assert!(all["host9"].delete);
}

#[test]
fn a_mesh_that_nobody_understands_keeps_what_it_has() {
    let before = written(&desired(&[("a", &[1, 2]), ("b", &[1, 2])]));
    let mut after = desired(&[("b", &[1, 2])]);
    after.kept.insert("a".to_owned());
    assert_eq!(changes(&after, &before), BTreeMap::new());
}

#[test]
fn a_hand_edit_is_written_over() {
    let wanted = desired(&[("a", &[1, 2])]);
    let mut objects = written(&wanted);
    objects
        .get_mut("host1")
        .expect("host1 is assigned")
        .spec
        .meshes[0]
        .rnics[0]
        .targets
        .clear();
    let all = changes(&wanted, &objects);
    assert_eq!(all.len(), 1);
    assert_eq!(all["host1"].write, ["a"]);
}

#[test]
fn a_mesh_that_was_created_again_takes_ownership() {
    let mut again = desired(&[("a", &[1, 2])]);
    let before = written(&again);
    again.meshes.get_mut("a").expect("a is desired").uid = "another".to_owned();
    let all = changes(&again, &before);
    assert!(all.values().all(|change| change.write == ["a"]));
    assert_eq!(all.len(), 2);
}

#[test]
fn an_assignment_that_cannot_be_read_is_left_alone() {
    let wanted = desired(&[("a", &[1, 2])]);
    let mut existing = views(&written(&wanted));
    let odd = AssignmentView {
        unreadable: true,
        entries: BTreeMap::new(),
        ..AssignmentView::clone(&existing["host1"])
    };
    existing.insert("host1".to_owned(), Arc::new(odd));
    let all = diff(&wanted, &existing, |mesh, node| {
        wanted.meshes[mesh]
            .entry(mesh, node)
            .map(|entry| digest(&entry))
    });
    assert_eq!(all, BTreeMap::new());
}
