//! The sample in OpenMetrics text, named as a Prometheus OTLP receiver would name it: dots become
//! underscores, units are spelled out, counters end in `_total`.

use std::fmt;
use std::sync::Arc;

use opentelemetry::KeyValue;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use super::Source;
use super::sample::{Point, Value};
use super::table::{BOUNDS, Instrument, Kind, TABLE};
use crate::model::RttHistogram;

/// Content type of [`render`]'s text.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The sample as text.
///
/// # Errors
/// When the encoder fails, which writing to a string does not.
pub fn render(source: &Arc<Source>) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Page(Arc::clone(source))));
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry)?;
    Ok(text)
}

pub(super) fn unit(instrument: &Instrument) -> Option<Unit> {
    match instrument.unit {
        "s" => Some(Unit::Seconds),
        "By" => Some(Unit::Bytes),
        "1" => Some(Unit::Other("ratio".to_owned())),
        // Annotations such as {probe} are no units.
        _ => None,
    }
}

#[derive(Debug)]
struct Page(Arc<Source>);

impl Collector for Page {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let sample = self.0.sample();
        for row in TABLE {
            let kind = match row.kind {
                Kind::Counter => MetricType::Counter,
                Kind::Gauge => MetricType::Gauge,
                Kind::Histogram => MetricType::Histogram,
            };
            let name = row.name.replace('.', "_");
            let unit = unit(row);
            // The encoder adds the full stop.
            let help = row.description.trim_end_matches('.');
            let mut family = encoder.encode_descriptor(&name, help, unit.as_ref(), kind)?;
            for point in sample.points(row.metric) {
                let labels: Vec<(String, String)> = point.attributes.iter().map(label).collect();
                Series(row.kind, point).encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}

fn label(attribute: &KeyValue) -> (String, String) {
    (
        attribute.key.as_str().replace('.', "_"),
        attribute.value.as_str().into_owned(),
    )
}

struct Series<'a>(Kind, &'a Point);

impl EncodeMetric for Series<'_> {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        match (&self.1.value, self.0) {
            (Value::Number(value), Kind::Counter) => {
                encoder.encode_counter::<NoLabelSet, f64, f64>(value, None)
            }
            (Value::Number(value), _) => encoder.encode_gauge(value),
            (Value::Distribution(distribution), _) => {
                let sum = distribution.sum().as_secs_f64();
                let buckets = buckets(distribution);
                encoder.encode_histogram::<NoLabelSet>(sum, distribution.count(), &buckets, None)
            }
        }
    }

    fn metric_type(&self) -> MetricType {
        match self.0 {
            Kind::Counter => MetricType::Counter,
            Kind::Gauge => MetricType::Gauge,
            Kind::Histogram => MetricType::Histogram,
        }
    }
}

/// Counts per bucket, the last one without bound.
fn buckets(distribution: &RttHistogram) -> Vec<(f64, u64)> {
    let mut buckets: Vec<(f64, u64)> = BOUNDS.iter().map(|bound| (*bound, 0)).collect();
    buckets.push((f64::INFINITY, 0));
    for (value, count) in distribution.recorded() {
        let position = BOUNDS.partition_point(|bound| *bound < value.as_secs_f64());
        if let Some(bucket) = buckets.get_mut(position) {
            bucket.1 += count;
        }
    }
    buckets
}
