//! The election's conversation with the API server, scripted.

use http::{Method, Request, Response};
use kube::client::Body;
use serde_json::{Value, json};
use tower_test::mock::{Handle, pair};

use super::*;

type Server = Handle<Request<Body>, Response<Body>>;

fn campaign(identity: &str) -> (Campaign, Leadership, Server) {
    let (service, server) = pair::<Request<Body>, Response<Body>>();
    let client = Client::new(service, "ns");
    let (campaign, leadership) = Campaign::new(client, "ns", "op", identity, Timing::default());
    (campaign, leadership, server)
}

fn lease(holder: &str) -> Value {
    json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": "op", "namespace": "ns", "resourceVersion": "5"},
        "spec": {"holderIdentity": holder, "leaseDurationSeconds": 15, "leaseTransitions": 1,
            "acquireTime": "2026-01-01T00:00:00.000000Z", "renewTime": "2026-01-01T00:00:00.000000Z"},
    })
}

/// Answers the next request; its method and body.
async fn answer(server: &mut Server, status: u16, body: &Value) -> (Method, Value) {
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
    (
        head.method,
        serde_json::from_slice(&sent).unwrap_or(Value::Null),
    )
}

fn refusal(code: u16) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code,
        "reason": if code == 409 { "Conflict" } else { "NotFound" }, "message": "no"})
}

#[tokio::test]
async fn without_a_record_it_creates_one_and_leads() {
    let (mut campaign, leadership, mut server) = campaign("a");
    assert!(!leadership.is_leader());
    let script = async {
        answer(&mut server, 404, &refusal(404)).await;
        answer(&mut server, 201, &lease("a")).await
    };
    let ((), (method, sent)) = tokio::join!(campaign.round(), script);
    assert_eq!(method, Method::POST);
    assert_eq!(sent["spec"]["holderIdentity"], "a");
    assert!(leadership.is_leader());
}

#[tokio::test]
async fn it_renews_against_the_version_that_it_read() {
    let (mut campaign, leadership, mut server) = campaign("a");
    let script = async {
        answer(&mut server, 200, &lease("a")).await;
        answer(&mut server, 200, &lease("a")).await
    };
    let ((), (method, sent)) = tokio::join!(campaign.round(), script);
    assert_eq!(method, Method::PUT);
    assert_eq!(sent["metadata"]["resourceVersion"], "5");
    assert_eq!(sent["spec"]["leaseTransitions"], 1);
    assert!(leadership.is_leader());
}

#[tokio::test]
async fn somebody_elses_lease_is_only_read() {
    let (mut campaign, leadership, mut server) = campaign("b");
    let held = lease("a");
    tokio::join!(campaign.round(), answer(&mut server, 200, &held));
    assert!(!leadership.is_leader());
}

#[tokio::test]
async fn who_loses_the_race_does_not_lead() {
    let (mut campaign, leadership, mut server) = campaign("b");
    let script = async {
        answer(&mut server, 200, &lease("")).await;
        answer(&mut server, 409, &refusal(409)).await
    };
    tokio::join!(campaign.round(), script);
    assert!(!leadership.is_leader());
}

#[tokio::test]
async fn a_leader_that_sees_another_holder_steps_down_at_once() {
    let (mut campaign, mut leadership, mut server) = campaign("a");
    let script = async {
        answer(&mut server, 200, &lease("a")).await;
        answer(&mut server, 200, &lease("a")).await;
        answer(&mut server, 200, &lease("b")).await
    };
    let rounds = async {
        campaign.round().await;
        campaign.round().await;
    };
    tokio::join!(rounds, script);
    assert!(!leadership.is_leader());
    leadership.lost().await;
}

#[tokio::test]
async fn a_round_that_fails_leaves_the_term_to_run_out() {
    let (mut campaign, leadership, mut server) = campaign("a");
    let script = async {
        answer(&mut server, 200, &lease("a")).await;
        answer(&mut server, 200, &lease("a")).await;
        answer(&mut server, 500, &refusal(500)).await
    };
    let rounds = async {
        campaign.round().await;
        campaign.round().await;
    };
    tokio::join!(rounds, script);
    assert!(
        leadership.is_leader(),
        "others still wait for the record to run out"
    );
}

#[tokio::test(start_paused = true)]
async fn a_term_that_ran_out_is_lost_although_nobody_said_so() {
    let (sender, mut leadership) = Leadership::fixed(true);
    sender.send_replace(Some(Instant::now()));
    assert!(!leadership.is_leader());
    leadership.lost().await;
}

#[tokio::test(start_paused = true)]
async fn told_to_stop_it_frees_the_lease() {
    let (campaign, leadership, mut server) = campaign("a");
    let stop = CancellationToken::new();
    let script = async {
        answer(&mut server, 200, &lease("a")).await;
        answer(&mut server, 200, &lease("a")).await;
        let mut leads = leadership.clone();
        leads.gained().await;
        stop.cancel();
        answer(&mut server, 200, &lease("a")).await;
        let (method, sent) = answer(&mut server, 200, &lease("")).await;
        assert!(
            !leadership.is_leader(),
            "it stops writing before it frees the lease"
        );
        (method, sent)
    };
    let ((), (method, sent)) = tokio::join!(campaign.run(stop.clone()), script);
    assert_eq!(method, Method::PUT);
    assert_eq!(sent["spec"]["holderIdentity"], "");
}

#[tokio::test(start_paused = true)]
async fn a_standby_that_is_told_to_stop_writes_nothing() {
    let (campaign, _leadership, mut server) = campaign("b");
    let stop = CancellationToken::new();
    let script = async {
        answer(&mut server, 200, &lease("a")).await;
        stop.cancel();
    };
    tokio::join!(campaign.run(stop.clone()), script);
    assert!(
        server.next_request().await.is_none(),
        "the client is gone and asked nothing more"
    );
}
