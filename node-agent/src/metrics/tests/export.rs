//! Export to a real gRPC server in this process.

use std::sync::Mutex;

use opentelemetry::KeyValue;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::metrics::v1::Metric as Exported;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

use super::*;
use crate::metrics::otlp::HistogramForm;

/// Keeps what it is sent.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<ExportMetricsServiceRequest>>>);

#[tonic::async_trait]
impl MetricsService for Collector {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        self.0
            .lock()
            .expect("no panic while held")
            .push(request.into_inner());
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}

impl Collector {
    /// Starts listening; ends with the token.
    async fn start(&self, address: &str, stop: &CancellationToken) -> std::net::SocketAddr {
        let listener = TcpListener::bind(address).await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let service = MetricsServiceServer::new(self.clone());
        let stop = stop.clone().cancelled_owned();
        let server = tonic::transport::Server::builder()
            .add_service(service)
            .serve_with_incoming_shutdown(TcpIncoming::from(listener), stop);
        tokio::spawn(async move { server.await.expect("the server runs until stopped") });
        address
    }

    fn newest(&self) -> Option<ExportMetricsServiceRequest> {
        self.0.lock().expect("no panic while held").last().cloned()
    }

    fn forget(&self) {
        self.0.lock().expect("no panic while held").clear();
    }

    /// The first request that satisfies `wanted`.
    async fn receives(
        &self,
        wanted: impl Fn(&ExportMetricsServiceRequest) -> bool,
    ) -> ExportMetricsServiceRequest {
        let look = async {
            loop {
                if let Some(request) = self.newest().filter(|request| wanted(request)) {
                    return request;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), look)
            .await
            .expect("an export in time")
    }
}

fn config(address: std::net::SocketAddr, histograms: HistogramForm) -> OtlpConfig {
    OtlpConfig {
        endpoint: format!("http://{address}"),
        interval: Duration::from_millis(100),
        histograms,
        resource: vec![
            KeyValue::new("service.name", "rdmamesh-agent"),
            KeyValue::new("service.instance.id", "host1"),
        ],
        certificate: None,
    }
}

fn metrics(request: &ExportMetricsServiceRequest) -> Vec<Exported> {
    let scopes = request
        .resource_metrics
        .iter()
        .flat_map(|resource| &resource.scope_metrics);
    scopes.flat_map(|scope| scope.metrics.clone()).collect()
}

/// Kind and the attribute keys of every data point.
fn shape(metric: &Exported) -> (Kind, Vec<Vec<String>>) {
    let keys = |attributes: &[opentelemetry_proto::tonic::common::v1::KeyValue]| {
        attributes
            .iter()
            .map(|attribute| attribute.key.clone())
            .collect::<Vec<_>>()
    };
    match metric.data.as_ref().expect("a metric has data") {
        Data::Sum(sum) => {
            assert!(sum.is_monotonic, "{}", metric.name);
            (
                Kind::Counter,
                sum.data_points
                    .iter()
                    .map(|p| keys(&p.attributes))
                    .collect(),
            )
        }
        Data::Gauge(gauge) => (
            Kind::Gauge,
            gauge
                .data_points
                .iter()
                .map(|p| keys(&p.attributes))
                .collect(),
        ),
        Data::Histogram(histogram) => {
            let bounds = &histogram.data_points[0].explicit_bounds;
            assert_eq!(bounds, table::BOUNDS, "{}", metric.name);
            (
                Kind::Histogram,
                histogram
                    .data_points
                    .iter()
                    .map(|p| keys(&p.attributes))
                    .collect(),
            )
        }
        other => panic!("{} is {other:?}", metric.name),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_collector_receives_exactly_the_table() {
    let (collector, stop) = (Collector::default(), CancellationToken::new());
    let address = collector.start("127.0.0.1:0", &stop).await;
    let counters = Arc::new(AgentCounters::default());
    let config = config(address, HistogramForm::Explicit);
    let otlp = Otlp::start(&config, &source(), &counters).expect("a valid configuration");
    let request = collector
        .receives(|request| !metrics(request).is_empty())
        .await;

    let received = metrics(&request);
    let described: BTreeSet<(&str, &str, &str)> = received
        .iter()
        .map(|metric| (&*metric.name, &*metric.unit, &*metric.description))
        .collect();
    let expected: BTreeSet<(&str, &str, &str)> = TABLE
        .iter()
        .map(|row| (row.name, row.unit, row.description))
        .collect();
    assert_eq!(described, expected);
    for metric in &received {
        let row = TABLE
            .iter()
            .find(|row| row.name == metric.name)
            .expect("in the table");
        let (kind, points) = shape(metric);
        assert_eq!(kind, row.kind, "{}", row.name);
        let wanted: BTreeSet<&str> = row
            .attributes
            .iter()
            .copied()
            .chain([table::NODE])
            .collect();
        for keys in points {
            let keys: BTreeSet<&str> = keys.iter().map(String::as_str).collect();
            assert_eq!(keys, wanted, "{}", row.name);
        }
    }
    let resource = request.resource_metrics[0]
        .resource
        .as_ref()
        .expect("a resource");
    let keys: BTreeSet<&str> = resource.attributes.iter().map(|a| a.key.as_str()).collect();
    assert!(
        keys.is_superset(&["service.name", "service.instance.id"].into()),
        "{keys:?}"
    );
    end(otlp).await;
    stop.cancel();
}

/// Count of the one data point of the control round trips.
fn control_count(request: &ExportMetricsServiceRequest) -> Option<u64> {
    let found = metrics(request)
        .into_iter()
        .find(|metric| metric.name == "rdmamesh.control.rtt");
    match found?.data? {
        Data::Histogram(histogram) => Some(histogram.data_points.first()?.count),
        Data::ExponentialHistogram(histogram) => Some(histogram.data_points.first()?.count),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cumulative_figures_are_not_counted_twice_and_a_collector_may_be_gone_for_a_while() {
    let (collector, first) = (Collector::default(), CancellationToken::new());
    let address = collector.start("127.0.0.1:0", &first).await;
    let counters = Arc::new(AgentCounters::default());
    let config = config(address, HistogramForm::Explicit);
    let otlp = Otlp::start(&config, &source(), &counters).expect("a valid configuration");
    let request = collector
        .receives(|request| !metrics(request).is_empty())
        .await;
    assert_eq!(control_count(&request), Some(3));

    first.cancel();
    let failures = || counters.exports()[1].1;
    let fails = async {
        while failures() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), fails)
        .await
        .expect("an export fails");
    collector.forget();
    let again = CancellationToken::new();
    collector.start(&address.to_string(), &again).await;
    let request = collector
        .receives(|request| !metrics(request).is_empty())
        .await;
    assert_eq!(
        control_count(&request),
        Some(3),
        "the same three round trips"
    );
    end(otlp).await;
    again.cancel();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exponential_histograms_are_sent_when_asked_for() {
    let (collector, stop) = (Collector::default(), CancellationToken::new());
    let address = collector.start("127.0.0.1:0", &stop).await;
    let config = config(address, HistogramForm::Exponential);
    let otlp = Otlp::start(&config, &source(), &Arc::default()).expect("a valid configuration");
    let request = collector
        .receives(|request| control_count(request).is_some())
        .await;
    let exponential = metrics(&request)
        .into_iter()
        .filter(|metric| matches!(metric.data, Some(Data::ExponentialHistogram(_))))
        .count();
    assert_eq!(
        exponential,
        TABLE
            .iter()
            .filter(|row| row.kind == Kind::Histogram)
            .count()
    );
    end(otlp).await;
    stop.cancel();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_brings_the_last_figures_to_the_collector() {
    let (collector, stop) = (Collector::default(), CancellationToken::new());
    let address = collector.start("127.0.0.1:0", &stop).await;
    let mut config = config(address, HistogramForm::Explicit);
    config.interval = Duration::from_secs(3600);
    let otlp = Otlp::start(&config, &source(), &Arc::default()).expect("a valid configuration");
    end(otlp).await;
    let request = collector.newest().expect("one export at the end");
    let sent = metrics(&request)
        .into_iter()
        .find(|metric| metric.name == "rdmamesh.probe.sent");
    let Some(Data::Sum(sum)) = sent.expect("it is there").data else {
        panic!("not a sum")
    };
    assert!(
        sum.data_points
            .iter()
            .all(|point| point.value == Some(Number::AsDouble(7.0)))
    );
    stop.cancel();
}

async fn end(otlp: Otlp) {
    let end = tokio::task::spawn_blocking(move || otlp.shutdown());
    tokio::time::timeout(Duration::from_secs(20), end)
        .await
        .expect("in time")
        .expect("no panic");
}
