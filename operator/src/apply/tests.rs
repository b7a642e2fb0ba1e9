//! The requests on assignments, scripted.

use http::{Method, Request, Response};
use kube::client::Body;
use serde_json::json;
use tower_test::mock::{Handle, pair};

use super::*;
use crate::desired::DesiredMesh;
use crate::fixtures::in_force;

type Server = Handle<Request<Body>, Response<Body>>;

fn applier(leads: bool) -> (Applier, Server) {
    let (service, server) = pair::<Request<Body>, Response<Body>>();
    let (_, leadership) = Leadership::fixed(leads);
    (
        Applier::new(
            Client::new(service, "default"),
            leadership,
            Metrics::default(),
        ),
        server,
    )
}

fn desired() -> Desired {
    let mesh = DesiredMesh {
        uid: "uid-m".to_owned(),
        plan: in_force(json!({}), 2).plan,
    };
    Desired {
        meshes: [("m".to_owned(), mesh)].into(),
        ..Desired::default()
    }
}

fn existing() -> Option<Existing> {
    Some(Existing {
        uid: "uid-host1".to_owned(),
        resource_version: "7".to_owned(),
    })
}

fn on_host1(change: NodeChange) -> BTreeMap<String, NodeChange> {
    [("host1".to_owned(), change)].into()
}

struct Asked {
    method: Method,
    uri: String,
    body: Value,
}

async fn answer(server: &mut Server, status: u16, body: &Value) -> Asked {
    let (request, respond) = server.next_request().await.expect("a request comes");
    let (head, sent) = request.into_parts();
    let sent = sent.collect_bytes().await.expect("the body is in memory");
    let answer = Response::builder()
        .status(status)
        .body(Body::from(
            serde_json::to_vec(body).expect("json is plain data"),
        ))
        .expect("a plain response");
    respond.send_response(answer);
    Asked {
        method: head.method,
        uri: head.uri.to_string(),
        body: serde_json::from_slice(&sent).unwrap_or(Value::Null),
    }
}

fn object(meshes: &Value) -> Value {
    json!({"apiVersion": "rdmamesh.io/v1alpha1", "kind": "RdmaProbeAssignment",
        "metadata": {"name": "host1", "uid": "uid-host1", "resourceVersion": "8"}, "spec": {"meshes": meshes}})
}

fn refusal(code: u16) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": "x",
        "message": "not like this"})
}

#[tokio::test]
async fn an_entry_is_applied_by_the_meshs_own_field_manager_and_owned_by_the_mesh() {
    let (applier, mut server) = applier(true);
    let change = on_host1(NodeChange {
        write: vec!["m".to_owned()],
        ..NodeChange::default()
    });
    let (wanted, done) = (desired(), object(&json!([])));
    let (failures, asked) = tokio::join!(
        applier.apply(&wanted, change),
        answer(&mut server, 200, &done)
    );
    assert!(failures.is_empty(), "{failures:?}");
    assert_eq!(asked.method, Method::PATCH);
    assert!(
        asked.uri.contains("/rdmaprobeassignments/host1?"),
        "{}",
        asked.uri
    );
    assert!(
        asked.uri.contains("fieldManager=rdmamesh-mesh-m"),
        "{}",
        asked.uri
    );
    assert!(asked.uri.contains("force=true"), "{}", asked.uri);
    assert_eq!(asked.body["metadata"]["ownerReferences"][0]["uid"], "uid-m");
    assert_eq!(asked.body["spec"]["meshes"][0]["name"], "m");
    assert_eq!(
        asked.body["spec"]["meshes"][0]["rnics"][0]["targets"][0]["node"],
        "host2"
    );
}

#[tokio::test]
async fn an_entry_is_withdrawn_by_giving_up_what_its_field_manager_owns() {
    let (applier, mut server) = applier(true);
    let change = on_host1(NodeChange {
        existing: existing(),
        withdraw: vec!["old".to_owned()],
        ..NodeChange::default()
    });
    let (wanted, done) = (desired(), object(&json!([])));
    let (failures, asked) = tokio::join!(
        applier.apply(&wanted, change),
        answer(&mut server, 200, &done)
    );
    assert!(failures.is_empty(), "{failures:?}");
    assert!(
        asked.uri.contains("fieldManager=rdmamesh-mesh-old"),
        "{}",
        asked.uri
    );
    assert_eq!(
        asked.body["metadata"]["uid"], "uid-host1",
        "a deleted object is not created again"
    );
    assert_eq!(asked.body["spec"], Value::Null);
}

/// Giving up the only entry of an object would leave it without a spec, which the API server refuses.
#[tokio::test]
async fn what_comes_is_written_before_what_goes_is_withdrawn() {
    let (applier, mut server) = applier(true);
    let change = on_host1(NodeChange {
        existing: existing(),
        withdraw: vec!["old".to_owned()],
        write: vec!["m".to_owned()],
        ..NodeChange::default()
    });
    let (wanted, done) = (desired(), object(&json!([])));
    let script = async {
        let first = answer(&mut server, 200, &done).await;
        (first, answer(&mut server, 200, &done).await)
    };
    let (failures, (first, second)) = tokio::join!(applier.apply(&wanted, change), script);
    assert!(failures.is_empty(), "{failures:?}");
    assert!(first.uri.contains("rdmamesh-mesh-m"), "{}", first.uri);
    assert!(second.uri.contains("rdmamesh-mesh-old"), "{}", second.uri);
}

#[tokio::test]
async fn an_entry_that_somebody_else_holds_costs_the_object() {
    let (applier, mut server) = applier(true);
    let change = on_host1(NodeChange {
        existing: existing(),
        withdraw: vec!["old".to_owned()],
        ..NodeChange::default()
    });
    let wanted = desired();
    let entry = json!([{"name": "old", "planHash": "", "group": "", "window": "5s", "lossRatio": 0.1,
        "p99": "1ms", "classes": [], "trafficClasses": [], "rnics": []}]);
    let script = async {
        answer(&mut server, 200, &object(&entry)).await;
        answer(&mut server, 200, &object(&json!([]))).await
    };
    let (failures, asked) = tokio::join!(applier.apply(&wanted, change), script);
    assert!(failures.is_empty(), "{failures:?}");
    assert_eq!(asked.method, Method::DELETE);
}

#[tokio::test]
async fn an_empty_object_is_deleted_only_as_it_was_seen() {
    let (applier, mut server) = applier(true);
    let change = on_host1(NodeChange {
        existing: existing(),
        delete: true,
        ..NodeChange::default()
    });
    let (wanted, gone) = (desired(), refusal(404));
    let (failures, asked) = tokio::join!(
        applier.apply(&wanted, change),
        answer(&mut server, 404, &gone)
    );
    assert!(failures.is_empty(), "gone is gone: {failures:?}");
    assert_eq!(asked.method, Method::DELETE);
    let seen = json!({"uid": "uid-host1", "resourceVersion": "7"});
    assert_eq!(asked.body["preconditions"], seen);
}

#[tokio::test]
async fn a_refusal_is_told_and_does_not_stop_the_others() {
    let (applier, mut server) = applier(true);
    let write = || NodeChange {
        write: vec!["m".to_owned()],
        ..NodeChange::default()
    };
    let change = [("host1".to_owned(), write()), ("host2".to_owned(), write())].into();
    let wanted = desired();
    let script = async {
        for _ in 0..2 {
            let (request, respond) = server.next_request().await.expect("a request comes");
            let host1 = request.uri().path().ends_with("host1");
            let (status, body) = if host1 {
                (422, refusal(422))
            } else {
                (200, object(&json!([])))
            };
            let answer = Response::builder()
                .status(status)
                .body(Body::from(
                    serde_json::to_vec(&body).expect("json is plain data"),
                ))
                .expect("a plain response");
            respond.send_response(answer);
        }
    };
    let (failures, ()) = tokio::join!(applier.apply(&wanted, change), script);
    assert_eq!(failures.len(), 1);
    let failure = &failures["host1"];
    assert!(
        failure.error.to_string().contains("not like this"),
        "{}",
        failure.error
    );
    assert!(failure.meshes.contains("m"));
}

#[tokio::test]
async fn who_does_not_lead_asks_nothing_and_everything_is_left_undone() {
    let (applier, mut server) = applier(false);
    let write = || NodeChange {
        write: vec!["m".to_owned()],
        ..NodeChange::default()
    };
    let change = [("host1".to_owned(), write()), ("host2".to_owned(), write())].into();
    let failures = applier.apply(&desired(), change).await;
    assert_eq!(failures.len(), 2);
    drop(applier);
    assert!(server.next_request().await.is_none());
}
