//! Against a small API server in this process: it knows what these tests ask, answers as the real one
//! does, and can be down.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use rdmamesh_api::{RdmaNodeStatus, RdmaProbeAssignmentSpec};
use serde_json::{Value, json};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::metrics::AgentCounters;

/// How the server behaves.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
enum Mood {
    #[default]
    Well,
    /// Answers 500 to everything.
    Down,
    /// The assignment does not exist.
    Empty,
    /// The `RdmaNode` was deleted: its status cannot be written until it is made again.
    NodeGone,
}

#[derive(Debug, Clone)]
struct Seen {
    method: Method,
    path: String,
    query: String,
    body: Value,
}

#[derive(Default)]
struct Server {
    mood: Mutex<Mood>,
    seen: Mutex<Vec<Seen>>,
}

impl Server {
    fn client(self: &Arc<Self>) -> Client {
        let router = Router::new().fallback(answer).with_state(Arc::clone(self));
        Client::new(router, "default")
    }

    fn set(&self, mood: Mood) {
        *self.mood.lock().expect("no panic while held") = mood;
    }

    fn seen(&self, method: &Method, path_end: &str) -> Vec<Seen> {
        let seen = self.seen.lock().expect("no panic while held");
        let matching = seen
            .iter()
            .filter(|s| s.method == method && s.path.ends_with(path_end));
        matching.cloned().collect()
    }

    async fn sees(&self, method: &Method, path_end: &str, times: usize) {
        until(|| self.seen(method, path_end).len() >= times).await;
    }
}

async fn until(holds: impl Fn() -> bool) {
    let look = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    // The clock is paused, so this takes no time.
    tokio::time::timeout(Duration::from_secs(600), look)
        .await
        .expect("it happens");
}

fn failure(code: StatusCode) -> Response {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure",
        "reason": code.canonical_reason(), "message": "as the test wants it", "code": code.as_u16(),
    });
    (code, axum::Json(status)).into_response()
}

fn assignment() -> Value {
    json!({
        "apiVersion": "rdmamesh.io/v1alpha1", "kind": "RdmaProbeAssignment",
        "metadata": {"name": "host1", "uid": "a-1", "generation": 4, "resourceVersion": "7"},
        "spec": {"meshes": []},
    })
}

async fn answer(State(server): State<Arc<Server>>, request: Request<Body>) -> Response {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, usize::MAX).await.expect("a body");
    let seen = Seen {
        method: parts.method.clone(),
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        body: serde_json::from_slice(&body).unwrap_or_default(),
    };
    server
        .seen
        .lock()
        .expect("no panic while held")
        .push(seen.clone());
    let mut mood = server.mood.lock().expect("no panic while held");
    let node_exists = *mood != Mood::NodeGone;
    match (&seen.method, seen.path.as_str(), *mood) {
        (_, _, Mood::Down) => failure(StatusCode::INTERNAL_SERVER_ERROR),
        // Whoever watches is told to list again: that is how these tests get at a change.
        (&Method::GET, path, _)
            if path.ends_with("assignments") && seen.query.contains("watch=") =>
        {
            let expired = json!({
                "kind": "Status", "apiVersion": "v1", "status": "Failure",
                "reason": "Expired", "message": "list again", "code": 410,
            });
            axum::Json(json!({"type": "ERROR", "object": expired})).into_response()
        }
        (&Method::GET, path, mood) if path.ends_with("assignments") => {
            let items = if mood == Mood::Empty {
                json!([])
            } else {
                json!([assignment()])
            };
            let list = json!({
                "apiVersion": "rdmamesh.io/v1alpha1", "kind": "RdmaProbeAssignmentList",
                "metadata": {"resourceVersion": "7"}, "items": items,
            });
            axum::Json(list).into_response()
        }
        (&Method::GET, "/api/v1/nodes/host1", _) => {
            let addresses = json!([
                {"type": "Hostname", "address": "host1"},
                {"type": "InternalIP", "address": "10.12.0.2"},
            ]);
            let node = json!({
                "apiVersion": "v1", "kind": "Node",
                "metadata": {"name": "host1", "uid": "u-1"}, "status": {"addresses": addresses},
            });
            axum::Json(node).into_response()
        }
        (&Method::PATCH, path, Mood::Empty) if path.contains("assignments") => {
            failure(StatusCode::NOT_FOUND)
        }
        (&Method::PATCH, path, _) if path.ends_with("rdmanodes/host1/status") && !node_exists => {
            failure(StatusCode::NOT_FOUND)
        }
        (&Method::PATCH, path, _) => {
            if path.ends_with("rdmanodes/host1") {
                *mood = Mood::Well;
            }
            let mut object = seen.body.clone();
            object["spec"] = json!({});
            axum::Json(object).into_response()
        }
        _ => failure(StatusCode::METHOD_NOT_ALLOWED),
    }
}

#[tokio::test(start_paused = true)]
async fn only_the_absence_of_the_assignment_withdraws_the_plan() {
    let (server, stop) = (Arc::new(Server::default()), CancellationToken::new());
    server.set(Mood::Down);
    let (out, assigned) = watch::channel(Assigned::Unknown);
    let task = tokio::spawn(watch_assignment(
        server.client(),
        "host1".into(),
        out,
        stop.clone(),
    ));
    server.sees(&Method::GET, "assignments", 3).await;
    assert_eq!(
        *assigned.borrow(),
        Assigned::Unknown,
        "nothing is known yet"
    );

    server.set(Mood::Well);
    let present = Assigned::Present {
        spec: Arc::new(RdmaProbeAssignmentSpec::default()),
        generation: Some(4),
        uid: Some("a-1".into()),
    };
    until(|| *assigned.borrow() == present).await;
    server.set(Mood::Down);
    let before = server.seen(&Method::GET, "assignments").len();
    server.sees(&Method::GET, "assignments", before + 10).await;
    assert_eq!(*assigned.borrow(), present, "an error is no answer");

    server.set(Mood::Empty);
    until(|| *assigned.borrow() == Assigned::Absent).await;
    let queries = server.seen(&Method::GET, "assignments");
    let scoped = |seen: &Seen| seen.query.contains("fieldSelector=metadata.name%3Dhost1");
    assert!(queries.iter().all(scoped), "{queries:?}");
    stop.cancel();
    task.await.expect("an orderly end");
}

#[tokio::test(start_paused = true)]
async fn an_unreachable_server_is_asked_ever_more_rarely() {
    let (server, stop) = (Arc::new(Server::default()), CancellationToken::new());
    server.set(Mood::Down);
    let (out, _assigned) = watch::channel(Assigned::Unknown);
    let task = tokio::spawn(watch_assignment(
        server.client(),
        "host1".into(),
        out,
        stop.clone(),
    ));
    tokio::time::sleep(Duration::from_secs(300)).await;
    stop.cancel();
    task.await.expect("an orderly end");
    let asked = server.seen(&Method::GET, "assignments").len();
    // The client repeats a failed request by itself a few times within each attempt.
    assert!(
        (20..300).contains(&asked),
        "{asked} requests in five minutes"
    );
}

#[tokio::test(start_paused = true)]
async fn statuses_are_applied_with_the_agents_field_manager() {
    let server = Arc::new(Server::default());
    let api = StatusApi::new(server.client(), "host1".into());
    api.write(RdmaProbeAssignmentStatus::default())
        .await
        .expect("the server is well");
    let seen = server.seen(&Method::PATCH, "/rdmaprobeassignments/host1/status");
    assert!(
        seen[0].query.contains("fieldManager=rdmamesh-agent"),
        "{}",
        seen[0].query
    );
    assert!(seen[0].query.contains("force=true"), "{}", seen[0].query);
    assert_eq!(seen[0].body["kind"], "RdmaProbeAssignment");
    assert_eq!(seen[0].body["metadata"], json!({"name": "host1"}));

    server.set(Mood::Empty);
    let gone = api.write(RdmaProbeAssignmentStatus::default()).await;
    assert!(matches!(gone, Err(WriteError::Gone)), "{gone:?}");
}

/// A running publisher of the `RdmaNode`.
struct Publisher {
    server: Arc<Server>,
    host: watch::Sender<Option<HostNode>>,
    inventory: watch::Sender<Option<Arc<RdmaNodeStatus>>>,
    counters: Arc<AgentCounters>,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Publisher {
    fn start() -> Self {
        let server = Arc::new(Server::default());
        let (host, inventory) = (watch::Sender::default(), watch::Sender::default());
        let (counters, stop) = (Arc::<AgentCounters>::default(), CancellationToken::new());
        let inputs = NodeInputs {
            host: host.subscribe(),
            inventory: inventory.subscribe(),
            recheck: Arc::new(Notify::new()),
            counters: Arc::clone(&counters),
        };
        let api = StatusApi::new(server.client(), "host1".into());
        Self {
            task: tokio::spawn(publish_node(api, inputs, stop.clone())),
            server,
            host,
            inventory,
            counters,
            stop,
        }
    }

    fn know_host(&self) {
        self.host.send_replace(Some(HostNode {
            uid: "u-1".into(),
            internal_ip: None,
        }));
    }

    fn take_inventory(&self, version: &str) {
        self.inventory.send_replace(Some(Arc::new(RdmaNodeStatus {
            agent_version: version.to_owned(),
            ..RdmaNodeStatus::default()
        })));
    }

    fn statuses(&self) -> Vec<String> {
        let seen = self.server.seen(&Method::PATCH, "/rdmanodes/host1/status");
        let version = |seen: &Seen| {
            seen.body["status"]["agentVersion"]
                .as_str()
                .map(str::to_owned)
        };
        seen.iter().filter_map(version).collect()
    }

    async fn end(self) {
        self.stop.cancel();
        self.task.await.expect("an orderly end");
    }
}

#[tokio::test(start_paused = true)]
async fn the_node_object_is_made_with_its_owner_before_the_first_status() {
    let publisher = Publisher::start();
    publisher.take_inventory("1");
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(publisher.statuses().len(), 0, "the owner is not known yet");
    publisher.know_host();
    until(|| publisher.statuses().len() == 1).await;
    let made = publisher.server.seen(&Method::PATCH, "/rdmanodes/host1");
    let owner = &made[0].body["metadata"]["ownerReferences"][0];
    assert_eq!(
        (&owner["kind"], &owner["uid"]),
        (&json!("Node"), &json!("u-1"))
    );
    publisher.end().await;
}

#[tokio::test(start_paused = true)]
async fn an_unchanged_inventory_is_written_every_five_minutes_and_a_changed_one_soon() {
    let publisher = Publisher::start();
    publisher.know_host();
    publisher.take_inventory("1");
    tokio::time::sleep(Duration::from_secs(200)).await;
    assert_eq!(publisher.statuses(), ["1"]);
    publisher.take_inventory("2");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(publisher.statuses(), ["1", "2"]);
    tokio::time::sleep(Duration::from_secs(340)).await;
    assert_eq!(publisher.statuses(), ["1", "2", "2"]);
    publisher.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_deleted_node_object_is_made_again_and_an_outage_ends_with_the_newest_inventory() {
    let publisher = Publisher::start();
    publisher.know_host();
    publisher.take_inventory("1");
    until(|| publisher.statuses().len() == 1).await;
    publisher.server.set(Mood::NodeGone);
    publisher.take_inventory("2");
    until(|| {
        publisher
            .counters
            .writes()
            .any(|(_, outcome, n)| outcome == "ok" && n == 2)
    })
    .await;

    publisher.server.set(Mood::Down);
    for version in ["3", "4", "5"] {
        publisher.take_inventory(version);
        tokio::time::sleep(Duration::from_secs(20)).await;
    }
    publisher.server.set(Mood::Well);
    until(|| {
        publisher
            .counters
            .writes()
            .any(|(_, outcome, n)| outcome == "ok" && n == 3)
    })
    .await;
    assert_eq!(publisher.statuses().last().map(String::as_str), Some("5"));
    publisher.end().await;
}

#[tokio::test(start_paused = true)]
async fn the_internal_address_and_the_uid_of_the_node_are_found() {
    let (server, stop) = (Arc::new(Server::default()), CancellationToken::new());
    let (out, host) = watch::channel(None);
    let recheck = Arc::new(Notify::new());
    let task = tokio::spawn(watch_host(
        server.client(),
        "host1".into(),
        out,
        recheck,
        stop.clone(),
    ));
    until(|| host.borrow().is_some()).await;
    let found = host.borrow().clone().expect("it is some");
    assert_eq!(found.internal_ip, "10.12.0.2".parse().ok());
    assert_eq!(&*found.uid, "u-1");
    stop.cancel();
    task.await.expect("an orderly end");
}
