//! `/livez` and `/readyz` of the device plugin.

use axum::Router;
use axum::extract::State as Shared;
use axum::http::StatusCode;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::registration::State;

/// Serves until stopped.
pub(super) async fn serve(
    listener: TcpListener,
    state: watch::Receiver<State>,
    stop: CancellationToken,
) -> std::io::Result<()> {
    axum::serve(listener, router(state))
        .with_graceful_shutdown(stop.cancelled_owned())
        .await
}

fn router(state: watch::Receiver<State>) -> Router {
    Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .with_state(state)
}

async fn readyz(Shared(state): Shared<watch::Receiver<State>>) -> (StatusCode, String) {
    match &*state.borrow() {
        State::Registered(_) => (StatusCode::OK, "ok\n".to_owned()),
        State::Waiting(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
    }
}
