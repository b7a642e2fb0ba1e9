//! How the agent ends: in order, and within five seconds in every case.

use std::sync::mpsc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Agent;

/// The data path lets outstanding probes settle.
const SETTLE: Duration = Duration::from_millis(2600);
/// The reporter writes the last status.
const REPORT: Duration = Duration::from_millis(1100);
/// The last metrics are exported.
const EXPORT: Duration = Duration::from_millis(900);
/// After this the process exits, whatever hangs.
const HARD: Duration = Duration::from_millis(4800);

/// SIGTERM and SIGINT.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub(super) fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// The name of the next signal.
    pub(super) async fn first(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// Exits the process if it is still there when the time is up.
pub(super) struct HardLimit(
    #[expect(dead_code, reason = "its drop is the all-clear")] mpsc::Sender<()>,
);

impl HardLimit {
    pub(super) fn arm() -> Self {
        let (clear, cleared) = mpsc::channel();
        std::thread::spawn(move || {
            if cleared.recv_timeout(HARD) == Err(mpsc::RecvTimeoutError::Timeout) {
                tracing::error!("agent did not end in time");
                std::process::exit(1);
            }
        });
        Self(clear)
    }
}

impl Agent {
    /// Stops probing, writes the last status, exports the last metrics. A second signal cuts it short.
    pub(super) async fn end(mut self, signals: &mut Signals) {
        self.stop.cancel();
        let orderly = async {
            step("data path", SETTLE, self.dataplane.shutdown()).await;
            // It may have ended before, which is why the agent ends.
            if !self.reporter.is_finished() {
                step("reporter", REPORT, &mut self.reporter).await;
            }
            if let Some(otlp) = self.otlp.take() {
                let flush = tokio::task::spawn_blocking(move || otlp.shutdown());
                step("metrics export", EXPORT, flush).await;
            }
            while self.tasks.join_next().await.is_some() {}
        };
        tokio::select! {
            () = orderly => tracing::info!("agent ended"),
            signal = signals.first() => tracing::warn!(signal, "agent ends at once"),
        }
    }
}

async fn step<T>(name: &'static str, limit: Duration, work: impl Future<Output = T>) {
    if tokio::time::timeout(limit, work).await.is_err() {
        tracing::warn!(part = name, "part did not end in time");
    }
}
