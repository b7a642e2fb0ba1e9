//! Export over OTLP/gRPC. A collector that is down costs one bounded attempt per interval: numbers are
//! cumulative, so that nothing queues up and nothing but resolution is lost.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use clap::ValueEnum;
use opentelemetry::KeyValue;
use opentelemetry::metrics::{Histogram, Meter, MeterProvider};
use opentelemetry_otlp::tonic_types::transport::{Certificate, ClientTlsConfig};
use opentelemetry_otlp::{MetricExporter, WithExportConfig, WithTonicConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::{Aggregation, PeriodicReader, SdkMeterProvider, Stream};
use opentelemetry_sdk::resource::EnvResourceDetector;

use super::feed::Feed;
use super::sample::{Sample, Value};
use super::table::{BOUNDS, CARDINALITY_LIMIT, Instrument, Kind, Metric, TABLE};
use super::{AgentCounters, Source};
use counted::Counted;

mod counted;

/// How histograms are exported.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum HistogramForm {
    /// Fixed buckets from 500 ns to 100 ms; every back end takes them.
    #[default]
    Explicit,
    /// Base-2 exponential buckets; needs a back end with native histograms.
    Exponential,
}

/// Where and how to export. Headers, compression, timeout and TLS come from the standard `OTEL_*`
/// variables.
#[derive(Debug, Clone)]
pub struct OtlpConfig {
    /// URL of the collector, such as `http://collector:4317`.
    pub endpoint: String,
    /// Between two exports.
    pub interval: Duration,
    /// How histograms are exported.
    pub histograms: HistogramForm,
    /// Attributes of the resource; those of `OTEL_RESOURCE_ATTRIBUTES` win.
    pub resource: Vec<KeyValue>,
    /// PEM file with the CA of the collector (`OTEL_EXPORTER_OTLP_CERTIFICATE`).
    pub certificate: Option<std::path::PathBuf>,
}

/// Why there is no export.
#[derive(Debug, thiserror::Error)]
pub enum OtlpError {
    /// The endpoint, a header or the compression is not valid.
    #[error(
        "OTLP exporter: check the endpoint (http://host:4317) and the OTEL_EXPORTER_OTLP_* variables"
    )]
    Exporter(#[from] opentelemetry_otlp::ExporterBuildError),
    /// The CA file cannot be read.
    #[error("OTLP CA certificate {path} cannot be read", path = path.display())]
    Certificate {
        /// The file.
        path: std::path::PathBuf,
        /// What the kernel answered.
        #[source]
        source: std::io::Error,
    },
}

/// A running export.
#[derive(Debug)]
pub struct Otlp {
    provider: SdkMeterProvider,
}

impl Otlp {
    /// Starts exporting samples of `source`. Must be called within a tokio runtime, which the
    /// connection lives on.
    ///
    /// # Errors
    /// When the configuration cannot be used; that the collector is down is no error.
    pub fn start(
        config: &OtlpConfig,
        source: &Arc<Source>,
        counters: &Arc<AgentCounters>,
    ) -> Result<Self, OtlpError> {
        let mut exporter = MetricExporter::builder()
            .with_tonic()
            .with_endpoint(&config.endpoint);
        if let Some(path) = &config.certificate {
            exporter = exporter.with_tls_config(tls(path)?);
        }
        let exporter = Counted::new(exporter.build()?, Arc::clone(counters));
        let reader = PeriodicReader::builder(exporter)
            .with_interval(config.interval)
            .build();
        let form = config.histograms;
        let provider = SdkMeterProvider::builder()
            .with_resource(resource(&config.resource))
            .with_reader(reader)
            .with_view(move |instrument: &_| stream(instrument, form))
            .build();
        register(&provider.meter("rdmamesh-agent"), source);
        Ok(Self { provider })
    }

    /// Exports a last time and ends. Blocks until the collector has answered or the export has timed
    /// out: call it where blocking is fine.
    pub fn shutdown(&self) {
        if let Err(error) = self.provider.shutdown() {
            tracing::warn!(%error, "last metrics not exported");
        }
    }
}

fn tls(path: &std::path::Path) -> Result<ClientTlsConfig, OtlpError> {
    let pem = std::fs::read(path).map_err(|source| OtlpError::Certificate {
        path: path.to_owned(),
        source,
    })?;
    Ok(ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem)))
}

/// Ours first, so that the environment's win.
fn resource(ours: &[KeyValue]) -> Resource {
    let mut builder = Resource::builder_empty()
        .with_attributes(ours.iter().cloned())
        .with_detector(Box::new(EnvResourceDetector::new()));
    if let Ok(name) = std::env::var("OTEL_SERVICE_NAME") {
        builder = builder.with_service_name(name);
    }
    builder.build()
}

fn stream(
    instrument: &opentelemetry_sdk::metrics::Instrument,
    form: HistogramForm,
) -> Option<Stream> {
    let row = TABLE.iter().find(|row| row.name == instrument.name())?;
    let mut stream = Stream::builder().with_cardinality_limit(CARDINALITY_LIMIT);
    if row.kind == Kind::Histogram {
        stream = stream.with_aggregation(match form {
            HistogramForm::Explicit => Aggregation::ExplicitBucketHistogram {
                boundaries: BOUNDS.to_vec(),
                record_min_max: true,
            },
            HistogramForm::Exponential => Aggregation::Base2ExponentialHistogram {
                max_size: 160,
                max_scale: 20,
                record_min_max: true,
            },
        });
    }
    stream.build().ok()
}

/// Creates every instrument of the table. Histograms are fed by the first callback of each collection:
/// the library calls all of them before it reads any instrument.
fn register(meter: &Meter, source: &Arc<Source>) {
    let histograms: Vec<(Metric, Histogram<f64>)> = TABLE
        .iter()
        .filter(|row| row.kind == Kind::Histogram)
        .map(|row| (row.metric, histogram(meter, row)))
        .collect();
    let feed = Arc::new(Mutex::new(Feed::default()));
    for row in TABLE {
        let source = Arc::clone(source);
        let metric = row.metric;
        match row.kind {
            Kind::Histogram => {}
            Kind::Counter if metric == Metric::ProbeSent => {
                let (feed, histograms) = (Arc::clone(&feed), histograms.clone());
                counter(meter, row, move || {
                    let sample = source.sample();
                    let mut feed = feed.lock().unwrap_or_else(PoisonError::into_inner);
                    feed.record(&sample, &histograms);
                    sample
                });
            }
            Kind::Counter => counter(meter, row, move || source.sample()),
            Kind::Gauge => gauge(meter, row, move || source.sample()),
        }
    }
}

fn histogram(meter: &Meter, row: &Instrument) -> Histogram<f64> {
    meter
        .f64_histogram(row.name)
        .with_unit(row.unit)
        .with_description(row.description)
        .build()
}

fn counter(
    meter: &Meter,
    row: &'static Instrument,
    sample: impl Fn() -> Arc<Sample> + Send + Sync + 'static,
) {
    let observable = meter
        .f64_observable_counter(row.name)
        .with_unit(row.unit)
        .with_description(row.description)
        .with_callback(move |observer| {
            for (value, attributes) in numbers(&sample(), row.metric) {
                observer.observe(value, attributes);
            }
        });
    observable.build();
}

fn gauge(
    meter: &Meter,
    row: &'static Instrument,
    sample: impl Fn() -> Arc<Sample> + Send + Sync + 'static,
) {
    let observable = meter
        .f64_observable_gauge(row.name)
        .with_unit(row.unit)
        .with_description(row.description)
        .with_callback(move |observer| {
            for (value, attributes) in numbers(&sample(), row.metric) {
                observer.observe(value, attributes);
            }
        });
    observable.build();
}

fn numbers(sample: &Sample, metric: Metric) -> impl Iterator<Item = (f64, &[KeyValue])> {
    sample
        .points(metric)
        .iter()
        .filter_map(|point| match point.value {
            Value::Number(value) => Some((value, point.attributes.as_slice())),
            Value::Distribution(_) => None,
        })
}
