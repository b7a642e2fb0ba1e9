//! The metrics sink (`rig metrics-sink`): takes OTLP/JSON over HTTP and appends each request as one line,
//! `{"receivedAt": "<RFC 3339>", "request": <ExportMetricsServiceRequest>}`.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::{Context, Result};
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::fs::File;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio::sync::Mutex;

/// The collector batches; its largest request stays far below this many bytes.
const LARGEST_REQUEST: usize = 64 << 20;

/// Serves until the listener fails.
///
/// # Errors
/// When the file cannot be opened or the address cannot be bound.
pub async fn serve(address: SocketAddr, out: &Path) -> Result<()> {
    let file = File::options()
        .create(true)
        .append(true)
        .open(out)
        .await
        .with_context(|| format!("open {}", out.display()))?;
    let router = Router::new()
        .route("/v1/metrics", post(receive))
        .layer(DefaultBodyLimit::max(LARGEST_REQUEST))
        .with_state(Arc::new(Mutex::new(file)));
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("listen on {address}"))?;
    axum::serve(listener, router).await.context("serve")
}

async fn receive(
    State(file): State<Arc<Mutex<File>>>,
    Json(request): Json<Value>,
) -> Result<Json<Value>, StatusCode> {
    let received_at = humantime::format_rfc3339_millis(SystemTime::now()).to_string();
    let mut line = json!({"receivedAt": received_at, "request": request}).to_string();
    line.push('\n');
    let mut file = file.lock().await;
    let written = async {
        file.write_all(line.as_bytes()).await?;
        file.flush().await
    };
    if let Err(error) = written.await {
        tracing::error!(%error, "metrics could not be kept");
        return Err(StatusCode::INTERNAL_SERVER_ERROR);
    }
    Ok(Json(json!({})))
}
