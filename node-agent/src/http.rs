//! `/metrics`, `/livez`, `/readyz` and `/paths`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use rdmamesh_api::RdmaNodeStatus;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::metrics::{Source, prometheus};
use crate::reporter::Tick;
use crate::trace::client::Paths;

/// The data path reports once a second; this long without a report it is stuck.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// What the pages are made of.
#[derive(Debug, Clone)]
pub struct Pages {
    /// Samples of all metrics.
    pub metrics: Arc<Source>,
    /// The inventory; `None` until the first is made.
    pub inventory: watch::Receiver<Option<Arc<RdmaNodeStatus>>>,
    /// The newest report of the data path: its heartbeat.
    pub tick: watch::Receiver<Option<Arc<Tick>>>,
    /// What is known of the paths of flows.
    pub paths: Paths,
    /// When the agent started.
    pub started: Instant,
}

/// Why the pages cannot be served.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} for /metrics: choose another --http-listen")]
pub struct ListenError {
    address: SocketAddr,
    #[source]
    source: std::io::Error,
}

/// Binds the socket.
///
/// # Errors
/// When the address is taken or not ours.
pub async fn listen(address: SocketAddr) -> Result<TcpListener, ListenError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| ListenError { address, source })
}

/// Serves until stopped.
///
/// # Errors
/// When the listener breaks.
pub async fn serve(
    listener: TcpListener,
    pages: Pages,
    stop: CancellationToken,
) -> std::io::Result<()> {
    axum::serve(listener, router(pages))
        .with_graceful_shutdown(stop.cancelled_owned())
        .await
}

fn router(pages: Pages) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/paths", get(paths))
        .with_state(Arc::new(pages))
}

async fn metrics(State(pages): State<Arc<Pages>>) -> Response {
    // A large sample takes milliseconds: not on a thread that also keeps watches and timers going.
    let source = Arc::clone(&pages.metrics);
    let text = tokio::task::spawn_blocking(move || prometheus::render(&source)).await;
    match text {
        Ok(Ok(text)) => ([(header::CONTENT_TYPE, prometheus::CONTENT_TYPE)], text).into_response(),
        Ok(Err(_)) | Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn livez(State(pages): State<Arc<Pages>>) -> Response {
    let last = pages
        .tick
        .borrow()
        .as_ref()
        .map_or(pages.started, |tick| tick.taken);
    let silence = last.elapsed();
    if silence < HEARTBEAT {
        "ok\n".into_response()
    } else {
        let text = format!(
            "the data path has not reported for {} s\n",
            silence.as_secs()
        );
        (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
    }
}

/// Keys are loaded and the control socket is bound before this page is served at all: without them the
/// agent does not start.
async fn readyz(State(pages): State<Arc<Pages>>) -> Response {
    if pages.inventory.borrow().is_some() {
        "ok\n".into_response()
    } else {
        let text = "the first inventory is not made\n";
        (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
    }
}

/// Every flow with its last good path, for people who look for a cable.
async fn paths(State(pages): State<Arc<Pages>>) -> Response {
    let list = tokio::task::spawn_blocking(move || pages.paths.book().list()).await;
    match list {
        Ok(list) => Json(list).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

#[cfg(test)]
mod tests;
