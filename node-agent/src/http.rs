//! `/metrics`, `/livez` and `/readyz`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::metrics::{Source, prometheus};
use crate::reporter::Tick;

/// The data path reports once a second; this long without a report it is stuck.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// What has to be there before the agent counts as ready.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Readiness {
    /// Probe keys are loaded.
    pub keys: bool,
    /// The control socket is bound.
    pub control: bool,
    /// The first inventory is made.
    pub inventory: bool,
}

impl Readiness {
    fn missing(self) -> Vec<&'static str> {
        let parts = [
            (self.keys, "probe keys are not loaded"),
            (self.control, "the control socket is not bound"),
            (self.inventory, "the first inventory is not made"),
        ];
        parts
            .into_iter()
            .filter(|(there, _)| !there)
            .map(|(_, text)| text)
            .collect()
    }
}

/// What the pages are made of.
#[derive(Debug, Clone)]
pub struct Pages {
    /// Samples of all metrics.
    pub metrics: Arc<Source>,
    /// How far the agent has come.
    pub readiness: watch::Receiver<Readiness>,
    /// The newest report of the data path: its heartbeat.
    pub tick: watch::Receiver<Option<Arc<Tick>>>,
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

async fn readyz(State(pages): State<Arc<Pages>>) -> Response {
    let missing = pages.readiness.borrow().missing();
    if missing.is_empty() {
        "ok\n".into_response()
    } else {
        let text = format!("{}\n", missing.join("\n"));
        (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
    }
}

#[cfg(test)]
mod tests;
