//! Log set-up, and a limiter for messages that would repeat for as long as a fault lasts.

use std::time::{Duration, Instant};

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

/// How log lines look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// Starts logging to standard error, filtered by `RUST_LOG` (default `info`).
///
/// # Errors
/// When `RUST_LOG` is no filter, or logging was started before.
pub fn init(format: LogFormat) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let wanted = std::env::var("RUST_LOG").unwrap_or_default();
    let filter = EnvFilter::try_new(filter(&wanted))?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Text => lines.with_ansi(false).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    }
}

/// The filter in force. The client of the API server logs every failed request at level error; the agent
/// does so itself, and with a limit.
fn filter(wanted: &str) -> String {
    let wanted = if wanted.is_empty() { "info" } else { wanted };
    if wanted.contains("kube") {
        wanted.to_owned()
    } else {
        format!("{wanted},kube_client=off,kube_runtime=error")
    }
}

/// Lets the first of a row of failures through, then one a minute with the number so far, and says when
/// the row ends. Own code: filters of tracing crates limit by call site, which hides the first failure
/// of a second fault.
#[derive(Debug, Clone, Default)]
pub struct Repeats {
    failures: u64,
    said: Option<Instant>,
}

impl Repeats {
    /// Between two messages of one row.
    const PAUSE: Duration = Duration::from_secs(60);

    /// One more failure; `say` gets the number of failures in the row.
    pub fn failed(&mut self, say: impl FnOnce(u64)) {
        self.failed_at(Instant::now(), say);
    }

    fn failed_at(&mut self, now: Instant, say: impl FnOnce(u64)) {
        self.failures += 1;
        if self
            .said
            .is_none_or(|said| now.duration_since(said) >= Self::PAUSE)
        {
            self.said = Some(now);
            say(self.failures);
        }
    }

    /// It works; `say` is called if it did not before.
    pub fn recovered(&mut self, say: impl FnOnce(u64)) {
        if self.failures > 0 {
            say(self.failures);
        }
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_api_servers_client_is_quiet_unless_asked_for() {
        assert_eq!(filter(""), "info,kube_client=off,kube_runtime=error");
        assert_eq!(filter("warn,kube_client=debug"), "warn,kube_client=debug");
    }

    #[test]
    fn a_row_of_failures_is_told_at_once_then_once_a_minute_and_at_its_end() {
        let (start, mut repeats, mut said) = (Instant::now(), Repeats::default(), Vec::new());
        for second in 0..130 {
            repeats.failed_at(start + Duration::from_secs(second), |n| said.push(n));
        }
        assert_eq!(said, [1, 61, 121]);
        repeats.recovered(|n| said.push(n));
        repeats.recovered(|n| said.push(n));
        repeats.failed_at(start + Duration::from_secs(131), |n| said.push(n));
        assert_eq!(said[3..], [130, 1]);
    }
}
