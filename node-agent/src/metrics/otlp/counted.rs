//! An exporter that counts its outcomes and logs a collector's absence once, not every ten seconds.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use opentelemetry_otlp::MetricExporter;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::metrics::Temporality;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;

use crate::logging::Repeats;
use crate::metrics::AgentCounters;

#[derive(Debug)]
pub(super) struct Counted {
    inner: MetricExporter,
    counters: Arc<AgentCounters>,
    repeats: Mutex<Repeats>,
}

impl Counted {
    pub(super) fn new(inner: MetricExporter, counters: Arc<AgentCounters>) -> Self {
        Self {
            inner,
            counters,
            repeats: Mutex::new(Repeats::default()),
        }
    }

    fn note(&self, outcome: &OTelSdkResult) {
        self.counters.export(outcome.is_ok());
        let mut repeats = self.repeats.lock().unwrap_or_else(PoisonError::into_inner);
        match outcome {
            Ok(()) => repeats.recovered(|failures| {
                tracing::info!(failures, "metrics exported again");
            }),
            Err(error) => repeats.failed(|failures| {
                tracing::warn!(failures, %error, "metrics not exported");
            }),
        }
    }
}

impl PushMetricExporter for Counted {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        let outcome = self.inner.export(metrics).await;
        self.note(&outcome);
        outcome
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn temporality(&self) -> Temporality {
        self.inner.temporality()
    }
}
