//! `/livez`, `/readyz` and `/metrics`.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;

/// What the endpoints tell.
#[derive(Clone)]
pub struct Http {
    /// For `/metrics`.
    pub metrics: Metrics,
    /// Kinds whose first list is not complete yet, for `/readyz`.
    pub missing: Arc<dyn Fn() -> Vec<&'static str> + Send + Sync>,
}

/// Serves until `stop`.
///
/// # Errors
/// When the listener fails.
pub async fn serve(
    listener: TcpListener,
    http: Http,
    stop: CancellationToken,
) -> std::io::Result<()> {
    axum::serve(listener, router(http))
        .with_graceful_shutdown(async move { stop.cancelled().await })
        .await
}

fn router(http: Http) -> Router {
    Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(http)
}

/// Ready once every copy is complete; a standby replica is ready too, it can take over at any time.
async fn readyz(State(http): State<Http>) -> impl IntoResponse {
    let missing = (http.missing)();
    if missing.is_empty() {
        (StatusCode::OK, "ok\n".to_owned())
    } else {
        let text = format!("waiting for the first list of: {}\n", missing.join(", "));
        (StatusCode::SERVICE_UNAVAILABLE, text)
    }
}

async fn metrics(State(http): State<Http>) -> impl IntoResponse {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], http.metrics.text())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;

    async fn get(address: std::net::SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address)
            .await
            .expect("the server listens");
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream
            .write_all(request.as_bytes())
            .await
            .expect("the server reads");
        let mut answer = String::new();
        stream
            .read_to_string(&mut answer)
            .await
            .expect("the server answers in text");
        answer
    }

    #[tokio::test]
    async fn it_is_ready_only_once_every_list_is_complete() {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("loopback is there");
        let address = listener
            .local_addr()
            .expect("a bound listener has an address");
        let synced = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&synced);
        let http = Http {
            metrics: Metrics::default(),
            missing: Arc::new(move || {
                if seen.load(Ordering::SeqCst) {
                    vec![]
                } else {
                    vec!["Node"]
                }
            }),
        };
        let stop = CancellationToken::new();
        let server = tokio::spawn(serve(listener, http, stop.clone()));

        assert!(get(address, "/livez").await.starts_with("HTTP/1.1 200"));
        let waiting = get(address, "/readyz").await;
        assert!(
            waiting.starts_with("HTTP/1.1 503") && waiting.contains("Node"),
            "{waiting}"
        );
        synced.store(true, Ordering::SeqCst);
        assert!(get(address, "/readyz").await.starts_with("HTTP/1.1 200"));
        let metrics = get(address, "/metrics").await;
        assert!(metrics.contains("rdmamesh_operator_leader 0"), "{metrics}");

        stop.cancel();
        server
            .await
            .expect("the server ends")
            .expect("without an error");
    }
}
