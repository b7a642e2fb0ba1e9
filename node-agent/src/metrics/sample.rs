//! One sample of all metrics, made of the agent's state. Pure.

use std::cmp::Ordering;
use std::sync::Arc;

use opentelemetry::KeyValue;
use rdmamesh_api::RdmaNodeStatus;
use rdmamesh_api::node::PORT_ACTIVE;

use super::table::{self, CARDINALITY_LIMIT, Instrument, Kind, Metric, TABLE};
use crate::anomaly::Kind as AnomalyKind;
use crate::dataplane::{CountersSnapshot, Usage};
use crate::model::{
    PortActivity, PortHealth, ProbeClass, RttHistogram, Series, SeriesKey, SeriesTable,
    TargetWindow, TimestampMode,
};
use crate::passive::PortErrors;
use crate::plan::AgentPlan;
use crate::reporter::Tick;
use crate::trace::book::Extent;
use crate::trace::client::TraceSnapshot;

/// Paths shown one by one besides the anomalous ones.
const WORST_PATHS: usize = 10;
/// Anomalous paths shown one by one at most.
const ANOMALOUS_PATHS: usize = 64;

/// The state that a sample is made of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Inputs<'a> {
    pub(super) node: &'a Arc<str>,
    pub(super) series: &'a SeriesTable,
    pub(super) dataplane: &'a CountersSnapshot,
    pub(super) agent: &'a super::AgentCounters,
    pub(super) ports: &'a [PortHealth],
    pub(super) inventory: Option<&'a RdmaNodeStatus>,
    pub(super) plan: &'a AgentPlan,
    pub(super) tick: Option<&'a Tick>,
    pub(super) errors: &'a PortErrors,
    pub(super) tracing: Tracing,
    pub(super) usage: Option<Usage>,
}

/// How path tracing goes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tracing {
    pub(super) active: bool,
    pub(super) extent: Extent,
    pub(super) counted: TraceSnapshot,
}

/// One value of one series.
#[derive(Debug, Clone)]
pub struct Point {
    /// Attributes, in the order of the table, then the node.
    pub attributes: Vec<KeyValue>,
    /// The value.
    pub value: Value,
}

/// The value of a series.
#[derive(Debug, Clone)]
pub enum Value {
    /// Of a counter or gauge.
    Number(f64),
    /// Of a histogram: everything since the start.
    Distribution(RttHistogram),
}

/// All metrics at one moment.
#[derive(Debug, Clone)]
pub struct Sample {
    points: Vec<Vec<Point>>,
}

impl Sample {
    /// The series of one metric.
    pub fn points(&self, metric: Metric) -> &[Point] {
        self.points.get(metric as usize).map_or(&[], Vec::as_slice)
    }
}

/// Fills the table.
pub(super) fn sample(inputs: &Inputs<'_>) -> Sample {
    let mut sheet = Sheet {
        node: inputs.node,
        points: TABLE.iter().map(|_| Vec::new()).collect(),
        omitted: 0,
    };
    for (key, series) in inputs.series {
        add_series(&mut sheet, key, series);
    }
    add_paths(&mut sheet, inputs.tick);
    add_plan(&mut sheet, inputs);
    add_ports(&mut sheet, inputs);
    add_tracing(&mut sheet, inputs);
    add_counters(&mut sheet, inputs);
    let omitted = sheet.omitted;
    sheet.number(Metric::Omitted, &[], omitted as f64);
    Sample {
        points: sheet.points,
    }
}

/// Attribute values of a point, in the order of the metric's row.
type Values<'a> = &'a [&'a dyn AttributeValue];

/// What can be the value of an attribute.
trait AttributeValue {
    fn attribute(&self, key: &'static str) -> KeyValue;
}

impl AttributeValue for Arc<str> {
    fn attribute(&self, key: &'static str) -> KeyValue {
        KeyValue::new(key, Self::clone(self))
    }
}

impl AttributeValue for &'static str {
    fn attribute(&self, key: &'static str) -> KeyValue {
        KeyValue::new(key, *self)
    }
}

impl AttributeValue for String {
    fn attribute(&self, key: &'static str) -> KeyValue {
        KeyValue::new(key, self.clone())
    }
}

impl AttributeValue for u8 {
    fn attribute(&self, key: &'static str) -> KeyValue {
        KeyValue::new(key, self.to_string())
    }
}

struct Sheet<'a> {
    node: &'a Arc<str>,
    points: Vec<Vec<Point>>,
    omitted: usize,
}

impl Sheet<'_> {
    fn number(&mut self, metric: Metric, values: Values<'_>, value: f64) {
        self.add(metric, values, Value::Number(value));
    }

    fn count(&mut self, metric: Metric, values: Values<'_>, value: u64) {
        // Exact up to 2^53, which takes 285 years at a million a second.
        self.number(metric, values, value as f64);
    }

    fn add(&mut self, metric: Metric, values: Values<'_>, value: Value) {
        let row: &Instrument = metric.instrument();
        let Some(points) = self.points.get_mut(metric as usize) else {
            return;
        };
        // One less: the library counts its own overflow series.
        if points.len() + 1 >= CARDINALITY_LIMIT {
            self.omitted += 1;
            return;
        }
        let attributes = row
            .attributes
            .iter()
            .zip(values)
            .map(|(key, v)| v.attribute(key));
        let node = KeyValue::new(table::NODE, Arc::clone(self.node));
        points.push(Point {
            attributes: attributes.chain([node]).collect(),
            value,
        });
    }
}

fn add_series(sheet: &mut Sheet<'_>, key: &SeriesKey, series: &Series) {
    let (class, port) = (key.class.as_str(), key.local.port);
    let (device, groups) = (&key.local.device, (&key.local_group, &key.peer_group));
    let common: Values<'_> = &[&key.mesh, &class, device, &port, groups.0, groups.1];
    sheet.count(Metric::ProbeSent, common, series.tally.sent);
    for (outcome, count) in outcomes(&series.tally) {
        let values: Values<'_> = &[
            &key.mesh, &class, device, &port, groups.0, groups.1, &outcome,
        ];
        sheet.count(Metric::ProbeOutcome, values, count);
    }
    for (way, count) in ways(&series.tally) {
        let values: Values<'_> = &[&key.mesh, &class, device, &port, groups.0, groups.1, &way];
        sheet.count(Metric::ProbeLost, values, count);
    }
    if key.class == ProbeClass::Control {
        let rtt = Value::Distribution(series.rtt.clone());
        return sheet.add(Metric::ControlRtt, common, rtt);
    }
    let stamps = match key.timestamps {
        TimestampMode::Hardware => "hardware",
        TimestampMode::Software => "software",
    };
    let values: Values<'_> = &[
        &key.mesh, &class, device, &port, groups.0, groups.1, &stamps,
    ];
    for (metric, histogram) in [
        (Metric::NetworkRtt, &series.rtt),
        (Metric::ProberDelay, &series.prober_delay),
        (Metric::ResponderDelay, &series.responder_delay),
    ] {
        sheet.add(metric, values, Value::Distribution(histogram.clone()));
    }
}

fn outcomes(tally: &crate::model::Tally) -> [(&'static str, u64); 7] {
    [
        ("ok", tally.ok),
        ("lost", tally.lost),
        ("late", tally.late),
        ("hostDelayed", tally.host_delayed),
        ("unresolved", tally.unresolved),
        ("invalid", tally.invalid),
        ("sendError", tally.send_error),
    ]
}

fn ways(tally: &crate::model::Tally) -> [(&'static str, u64); 3] {
    let known = tally.lost_forward + tally.lost_return;
    [
        ("forward", tally.lost_forward),
        ("return", tally.lost_return),
        ("unknown", tally.lost.saturating_sub(known)),
    ]
}

/// The worst paths and the anomalous ones: the only series that name peers.
fn add_paths(sheet: &mut Sheet<'_>, tick: Option<&Tick>) {
    let Some(tick) = tick else { return };
    let over_rdma = |window: &&TargetWindow| window.target.class != ProbeClass::Control;
    let mut ranked: Vec<(f64, f64, &TargetWindow)> = tick
        .report
        .targets
        .iter()
        .filter(over_rdma)
        .filter_map(|window| {
            let p99 = window
                .rtt
                .quantile(0.99)
                .map_or(0.0, |p99| p99.as_secs_f64());
            Some((window.tally.loss_ratio()?, p99, window))
        })
        .collect();
    let worse = |a: &(f64, f64, _), b: &(f64, f64, _)| -> Ordering {
        b.0.total_cmp(&a.0).then(b.1.total_cmp(&a.1))
    };
    ranked.sort_by(worse);
    let mut anomalous = 0;
    for (position, (loss, p99, window)) in ranked.into_iter().enumerate() {
        let key = window.target.key();
        let ill = tick
            .findings
            .iter()
            .any(|finding| finding.key.local == window.local && finding.key.target == key);
        anomalous += usize::from(ill);
        if position >= WORST_PATHS && !(ill && anomalous <= ANOMALOUS_PATHS) {
            continue;
        }
        let (class, peer) = (key.class.as_str(), window.target.peer.rnic_name());
        let (device, port) = (&window.local.device, window.local.port);
        let values: Values<'_> = &[&key.mesh, &class, &key.traffic_class, device, &port, &peer];
        sheet.number(Metric::PathLoss, values, loss);
        if window.rtt.count() > 0 {
            sheet.number(Metric::PathP99, values, p99);
        }
    }
}

fn add_plan(sheet: &mut Sheet<'_>, inputs: &Inputs<'_>) {
    let findings = inputs.tick.map_or(&[][..], |tick| &tick.findings);
    for mesh in &inputs.plan.meshes {
        sheet.number(Metric::Targets, &[&mesh.name], mesh.targets as f64);
        sheet.number(
            Metric::TargetsSkipped,
            &[&mesh.name],
            mesh.skipped.count as f64,
        );
        for (name, kind) in [
            ("loss", AnomalyKind::Loss),
            ("latency", AnomalyKind::Latency),
        ] {
            let count = findings
                .iter()
                .filter(|finding| finding.key.kind == kind && finding.key.target.mesh == mesh.name)
                .count();
            sheet.number(Metric::Anomalies, &[&mesh.name, &name], count as f64);
        }
    }
}

fn add_ports(sheet: &mut Sheet<'_>, inputs: &Inputs<'_>) {
    for port in inputs.inventory.map_or(&[][..], |status| &status.ports) {
        let values: Values<'_> = &[&port.device, &port.port];
        let active = f64::from(u8::from(port.state == PORT_ACTIVE));
        sheet.number(Metric::PortActive, values, active);
    }
    for port in inputs.ports {
        let values: Values<'_> = &[&port.local.device, &port.local.port];
        let probing = f64::from(u8::from(port.state == PortActivity::Probing));
        sheet.number(Metric::PortProbing, values, probing);
        if let Some(flows) = port.open.as_ref().and_then(|open| open.distinct_flows) {
            sheet.number(Metric::PortFlows, values, f64::from(flows));
        }
    }
    for (local, counters) in &inputs.errors.total {
        for (counter, count) in counters {
            let values: Values<'_> = &[&local.device, &local.port, counter];
            sheet.count(Metric::PortErrors, values, *count);
        }
    }
}

fn add_tracing(sheet: &mut Sheet<'_>, inputs: &Inputs<'_>) {
    let Tracing {
        active,
        extent,
        counted,
    } = inputs.tracing;
    sheet.number(Metric::TraceActive, &[], f64::from(u8::from(active)));
    sheet.number(Metric::TraceFlows, &[], extent.flows as f64);
    sheet.number(Metric::TracePaths, &[], extent.traced as f64);
    let unanswered = counted.packets.saturating_sub(counted.answers);
    for (outcome, count) in [("answered", counted.answers), ("unanswered", unanswered)] {
        sheet.count(Metric::TracePackets, &[&outcome], count);
    }
    sheet.count(Metric::TraceRefused, &[], counted.refused);
}

fn add_counters(sheet: &mut Sheet<'_>, inputs: &Inputs<'_>) {
    let dataplane = inputs.dataplane;
    sheet.number(Metric::Throttle, &[], dataplane.throttle);
    for (metric, count) in [
        (Metric::Starvations, dataplane.starvations),
        (Metric::ProbesAnswered, dataplane.probes_answered),
        (Metric::LateAnswers, dataplane.late_acks),
        (Metric::ResolveSent, dataplane.resolves_sent),
        (Metric::ResolveServed, dataplane.resolves_served),
        (Metric::PortOpenings, dataplane.port_openings),
        (Metric::ReportsDropped, dataplane.reports_dropped),
    ] {
        sheet.count(metric, &[], count);
    }
    for (transport, drops) in [
        ("rdma", &dataplane.probe_drops),
        ("ip", &dataplane.control_drops),
    ] {
        for (reason, count) in drops {
            sheet.count(Metric::Dropped, &[&transport, reason], *count);
        }
    }
    for (outcome, count) in [
        ("answered", dataplane.resolves_answered),
        ("failed", dataplane.resolves_failed),
    ] {
        sheet.count(Metric::ResolveExchanges, &[&outcome], count);
    }
    for (object, outcome, count) in inputs.agent.writes() {
        sheet.count(Metric::StatusWrites, &[&object, &outcome], count);
    }
    for (outcome, count) in inputs.agent.exports() {
        sheet.count(Metric::Exports, &[&outcome], count);
    }
    if let Some(usage) = inputs.usage {
        sheet.number(Metric::CpuTime, &[], usage.cpu.as_secs_f64());
        if let Some(bytes) = usage.memory_bytes {
            sheet.count(Metric::Memory, &[], bytes);
        }
    }
}

/// Whether a metric is exported as a distribution.
pub(super) fn is_histogram(instrument: &Instrument) -> bool {
    instrument.kind == Kind::Histogram
}
