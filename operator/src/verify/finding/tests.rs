use serde_json::{Value, json};

use super::*;

fn now() -> Timestamp {
    "2026-01-01T00:00:10Z".parse().expect("a time")
}

fn of<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("a well-formed object")
}

fn agent(name: &str, status: &Value) -> Pod {
    of(json!({
        "metadata": {"name": name, "uid": name, "labels": {"app.kubernetes.io/component": "agent"}},
        "spec": {"nodeName": "host1", "containers": []}, "status": status,
    }))
}

fn ready() -> Value {
    json!({"conditions": [{"type": "Ready", "status": "True"}]})
}

fn inventory(name: &str, status: &Value) -> RdmaNode {
    of(json!({
        "apiVersion": "rdmamesh.io/v1alpha1", "kind": "RdmaNode",
        "metadata": {"name": name}, "spec": {}, "status": status,
    }))
}

/// An installation in which everything is in place.
fn well() -> Seen {
    Seen {
        lease: Some(of(json!({"spec": {
            "holderIdentity": "operator-a", "renewTime": "2026-01-01T00:00:05.000000Z",
        }}))),
        pods: vec![agent("agent-1", &ready())],
        nodes: vec![of(
            json!({"metadata": {"name": "host1"}, "status": {"allocatable": {"rdmamesh.io/rdma": "4"}}}),
        )],
        inventories: vec![inventory(
            "host1",
            &json!({"ports": [{"device": "rxe1", "port": 1, "usable": true}]}),
        )],
        ..Seen::default()
    }
}

fn lines(seen: &Seen) -> Vec<String> {
    let found = findings(seen, Some("rdmamesh.io/rdma"), now());
    found.iter().map(ToString::to_string).collect()
}

fn failed(seen: &Seen) -> Vec<String> {
    lines(seen)
        .into_iter()
        .filter(|line| line.starts_with("FAIL"))
        .collect()
}

#[test]
fn an_installation_that_works_has_five_good_lines() {
    assert_eq!(
        lines(&well()),
        [
            "ok    api: RdmaMesh is served",
            "ok    operator: operator-a leads",
            "ok    devices: 1 of 1 nodes advertise rdmamesh.io/rdma",
            "ok    agents: 1 are ready",
            "ok    rdma: 1 of 1 nodes have usable RNICs, 1 in all",
        ]
    );
}

#[test]
fn a_lease_that_nobody_renews_has_no_leader() {
    let mut seen = well();
    seen.lease = Some(of(json!({"spec": {
        "holderIdentity": "operator-a", "renewTime": "2025-12-31T23:59:00.000000Z",
    }})));
    assert!(failed(&seen)[0].contains("no replica leads"));
    seen.lease = None;
    assert!(failed(&seen)[0].contains("no replica leads"));
}

#[test]
fn a_wrong_resource_name_is_answered_with_the_right_ones() {
    let mut seen = well();
    seen.nodes = vec![of(
        json!({"metadata": {"name": "host1"}, "status": {"allocatable": {
            "cpu": "4", "rdma/hca_shared_devices_a": "63", "rdmamesh.io/rdma": "0",
        }}}),
    )];
    assert_eq!(
        failed(&seen),
        [
            "FAIL  devices: no node advertises rdmamesh.io/rdma, which the agents ask for; they advertise \
             rdma/hca_shared_devices_a: set deviceAccess.external.resourceName to the right one"
        ]
    );
}

#[test]
fn a_pod_that_is_not_ready_is_named_with_its_nearest_cause() {
    let mut seen = well();
    seen.pods = vec![agent(
        "agent-1",
        &json!({"conditions": [
            {"type": "PodScheduled", "status": "False", "message": "0/4 nodes are available: 4 Insufficient rdma/typo."},
        ]}),
    )];
    assert_eq!(
        failed(&seen),
        [
            "FAIL  agents: agent-1 on host1 is not ready: 0/4 nodes are available: 4 Insufficient rdma/typo."
        ]
    );
    seen.pods = vec![agent(
        "agent-1",
        &json!({"containerStatuses": [{
            "name": "prober", "image": "", "imageID": "", "ready": false, "restartCount": 3,
            "state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": {"terminated": {"exitCode": 1}},
        }]}),
    )];
    assert_eq!(
        failed(&seen),
        [
            "FAIL  agents: agent-1 on host1 is not ready: prober ended with code 1, see `kubectl logs agent-1 -c prober --previous`"
        ]
    );
}

#[test]
fn a_missing_secret_is_told_by_the_event_that_kubelet_wrote() {
    let mut seen = well();
    seen.pods = vec![agent(
        "agent-1",
        &json!({"containerStatuses": [{
            "name": "prober", "image": "", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"waiting": {"reason": "ContainerCreating"}},
        }]}),
    )];
    seen.events = vec![of(json!({
        "metadata": {}, "type": "Warning", "involvedObject": {"uid": "agent-1"},
        "message": "MountVolume.SetUp failed for volume \"probe-keys\" : secret \"mine\" not found",
    }))];
    assert_eq!(
        failed(&seen),
        [
            "FAIL  agents: agent-1 on host1 is not ready: MountVolume.SetUp failed for volume \"probe-keys\" : secret \"mine\" not found"
        ]
    );
}

#[test]
fn a_node_without_rdma_is_a_warning_with_its_remedy_as_long_as_another_has_some() {
    let mut seen = well();
    let bare = json!({"doctor": [{
        "check": "RdmaDevice", "outcome": "Fail", "message": "no RDMA port here", "remedy": "modprobe mlx5_ib",
    }]});
    seen.inventories.push(inventory("host2", &bare));
    let all = lines(&seen);
    assert!(
        all.contains(&"ok    rdma: 1 of 2 nodes have usable RNICs, 1 in all".to_owned()),
        "{all:?}"
    );
    assert!(
        all.contains(
            &"warn  rdma: not covered: host2: no RDMA port here; do: modprobe mlx5_ib".to_owned()
        ),
        "{all:?}"
    );
    assert!(failed(&seen).is_empty());
    seen.inventories.remove(0);
    assert_eq!(
        failed(&seen),
        ["FAIL  rdma: 0 of 1 nodes have usable RNICs, 0 in all"]
    );
}

#[test]
fn an_installation_without_agents_says_why_there_may_be_none() {
    let mut seen = well();
    seen.pods.clear();
    seen.inventories.clear();
    let failed = failed(&seen);
    assert!(failed[0].contains("agent.nodeSelector"), "{failed:?}");
    assert!(
        failed[1].contains("no agent has published a RdmaNode"),
        "{failed:?}"
    );
}
