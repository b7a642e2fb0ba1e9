use axum::body::Body;
use axum::http::Request;
use tower::ServiceExt;

use super::*;
use crate::metrics::tests::source;
use crate::model::TickReport;

struct World {
    pages: Pages,
    inventory: watch::Sender<Option<Arc<RdmaNodeStatus>>>,
    tick: watch::Sender<Option<Arc<Tick>>>,
}

fn world(started: Instant) -> World {
    let (inventory, tick) = (watch::Sender::default(), watch::Sender::default());
    World {
        pages: Pages {
            metrics: source(),
            inventory: inventory.subscribe(),
            tick: tick.subscribe(),
            paths: Paths::default(),
            started,
        },
        inventory,
        tick,
    }
}

async fn get(pages: &Pages, path: &str) -> (StatusCode, String) {
    let request = Request::get(path).body(Body::empty()).expect("a request");
    let answer = router(pages.clone())
        .oneshot(request)
        .await
        .expect("an answer");
    let status = answer.status();
    let body = axum::body::to_bytes(answer.into_body(), usize::MAX)
        .await
        .expect("a body");
    (status, String::from_utf8(body.to_vec()).expect("text"))
}

#[tokio::test]
async fn ready_means_that_the_first_inventory_is_made() {
    let world = world(Instant::now());
    let (status, text) = get(&world.pages, "/readyz").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(text.contains("inventory"), "{text}");
    world.inventory.send_replace(Some(Arc::default()));
    assert_eq!(get(&world.pages, "/readyz").await.0, StatusCode::OK);
}

#[tokio::test]
async fn alive_means_that_the_data_path_reports() {
    let long_ago = Instant::now().checked_sub(Duration::from_secs(60));
    let long_ago = long_ago.expect("instants of Linux reach back before the boot");
    let world = world(long_ago);
    let (status, text) = get(&world.pages, "/livez").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(text.contains("not reported for 60 s"), "{text}");
    world.tick.send_replace(Some(Arc::new(Tick {
        report: TickReport {
            at: std::time::SystemTime::now(),
            targets: Vec::new(),
            settled: false,
        },
        findings: Vec::new(),
        taken: Instant::now(),
    })));
    assert_eq!(get(&world.pages, "/livez").await.0, StatusCode::OK);
}

#[tokio::test]
async fn metrics_are_openmetrics_text() {
    let (status, text) = get(&world(Instant::now()).pages, "/metrics").await;
    assert_eq!(status, StatusCode::OK);
    assert!(text.ends_with("# EOF\n"), "{text}");
}
