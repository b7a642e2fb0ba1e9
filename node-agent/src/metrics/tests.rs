use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use rdmamesh_api::RdmaNodeStatus;
use rdmamesh_api::node::PortStatus;
use tokio::sync::watch;

use super::prometheus::{render, unit};
use super::sample::Value;
use super::table::{self, CARDINALITY_LIMIT, Instrument, Kind, Metric, TABLE};
use super::*;
use crate::anomaly::{self, Limits};
use crate::dataplane::CountersSnapshot;
use crate::model::{
    FabricAddress, FlowSource, FlowWindow, LocalPort, OpenPort, Peer, PortActivity, PortHealth,
    ProbeClass, RttHistogram, RttSummary, Series, SeriesKey, SeriesTable, Tally, Target,
    TargetWindow, TickReport, TimestampMode, TrafficClass,
};
use crate::passive::PortErrors;
use crate::plan::{AgentPlan, MeshPlan, Skipped, Thresholds};
use crate::reporter::Tick;
use crate::trace::client::{Paths, TracingState};

mod export;

const US: fn(u64) -> Duration = Duration::from_micros;

fn key(class: ProbeClass, peer_group: &str) -> SeriesKey {
    SeriesKey {
        mesh: "m".into(),
        class,
        local: LocalPort::new("rxe0", 1),
        local_group: "leaf1".into(),
        peer_group: peer_group.into(),
        timestamps: TimestampMode::Software,
    }
}

/// Round trips of 90, 150 and 300 µs.
fn rtts() -> RttHistogram {
    let mut rtts = RttHistogram::default();
    [90, 150, 300]
        .map(US)
        .into_iter()
        .for_each(|rtt| rtts.record(rtt));
    rtts
}

fn series() -> Series {
    Series {
        tally: Tally {
            sent: 7,
            ok: 3,
            lost: 2,
            late: 1,
            host_delayed: 1,
            ..Tally::default()
        },
        rtt: rtts(),
        prober_delay: rtts(),
        responder_delay: rtts(),
    }
}

fn table_of(peer_groups: usize) -> SeriesTable {
    let mut table: SeriesTable = (0..peer_groups)
        .map(|n| (key(ProbeClass::InterTor, &format!("leaf{n}")), series()))
        .collect();
    table.insert(key(ProbeClass::Control, "leaf1"), series());
    table
}

/// `peers` paths of which the one to `host<n>` loses n of 50 probes.
fn tick(peers: u64) -> Tick {
    let window = |n: u64| {
        let tally = Tally {
            sent: 50,
            ok: 50 - n,
            lost: n,
            ..Tally::default()
        };
        TargetWindow {
            local: LocalPort::new("rxe0", 1),
            target: Arc::new(Target {
                mesh: "m".into(),
                mesh_id: 1,
                class: ProbeClass::TorMesh,
                local_group: "leaf1".into(),
                peer: Peer {
                    node: format!("host{n}").into(),
                    device: "rxe0".into(),
                    port: 1,
                    group: "leaf1".into(),
                    address: FabricAddress::Lid(1),
                    control: None,
                },
                traffic_class: TrafficClass {
                    name: "default".into(),
                    dscp: 0,
                    service_level: 0,
                },
                flows: 1,
                seed: 0,
                interval: Duration::from_millis(100),
                timeout: Duration::from_millis(500),
                window: Duration::from_secs(5),
            }),
            end: SystemTime::UNIX_EPOCH,
            covered: Duration::from_secs(5),
            timestamps: TimestampMode::Software,
            flows: vec![FlowWindow {
                flow: 0,
                source_port: None,
                routers: None,
                tally,
                rtt: RttSummary::default(),
            }],
            tally,
            rtt: rtts(),
        }
    };
    let report = TickReport {
        at: SystemTime::UNIX_EPOCH,
        targets: (0..peers).map(window).collect(),
        settled: true,
    };
    let limits: Limits = [(
        Arc::from("m"),
        Thresholds {
            loss_ratio: 0.5,
            p99: US(500),
        },
    )]
    .into();
    Tick {
        findings: anomaly::find(&report, &limits, &anomaly::Findings::default()).open,
        report,
        taken: Instant::now(),
    }
}

fn errors() -> PortErrors {
    let counters = [(Arc::from("symbol_error"), 3)].into();
    PortErrors {
        total: [(LocalPort::new("rxe0", 1), counters)].into(),
        ..PortErrors::default()
    }
}

fn plan() -> AgentPlan {
    AgentPlan {
        meshes: vec![MeshPlan {
            name: "m".into(),
            plan_hash: String::new(),
            thresholds: Thresholds {
                loss_ratio: 0.5,
                p99: US(500),
            },
            ports: Vec::new(),
            targets: 3,
            skipped: Skipped::default(),
        }],
        ..AgentPlan::default()
    }
}

fn ports() -> Vec<PortHealth> {
    vec![PortHealth {
        local: LocalPort::new("rxe0", 1),
        state: PortActivity::Probing,
        open: Some(OpenPort {
            gid: None,
            gid_index: 1,
            flow_source: FlowSource::QpNumber,
            distinct_flows: Some(16),
            qpns: Vec::new(),
            timestamps: TimestampMode::Software,
            generation: 1,
        }),
        planned: true,
    }]
}

fn source_of(peer_groups: usize, peers: u64) -> Arc<Source> {
    let inventory = RdmaNodeStatus {
        ports: vec![PortStatus {
            device: "rxe0".into(),
            port: 1,
            state: "Active".into(),
            ..PortStatus::default()
        }],
        ..RdmaNodeStatus::default()
    };
    let dataplane = CountersSnapshot {
        probe_drops: vec![("mac", 5)],
        control_drops: vec![("replay", 0)],
        throttle: 0.5,
        ..CountersSnapshot::default()
    };
    Arc::new(Source::new(State {
        node: "host1".into(),
        series: Box::new(move || table_of(peer_groups)),
        dataplane: Box::new(move || dataplane.clone()),
        agent: Arc::default(),
        ports: watch::Sender::new(ports()).subscribe(),
        inventory: watch::Sender::new(Some(Arc::new(inventory))).subscribe(),
        plan: watch::Sender::new(Arc::new(plan())).subscribe(),
        tick: watch::Sender::new(Some(Arc::new(tick(peers)))).subscribe(),
        errors: watch::Sender::new(Arc::new(errors())).subscribe(),
        tracing: watch::Sender::new(TracingState::Active).subscribe(),
        paths: Paths::default(),
    }))
}

/// A source in whose samples every metric has a series.
pub(crate) fn source() -> Arc<Source> {
    source_of(2, 3)
}

fn attribute(point: &sample::Point, key: &str) -> String {
    let found = point
        .attributes
        .iter()
        .find(|attribute| attribute.key.as_str() == key);
    found
        .map(|attribute| attribute.value.to_string())
        .unwrap_or_default()
}

#[test]
fn every_metric_has_the_attributes_that_the_table_says_and_the_node() {
    let sample = source().sample();
    for row in TABLE {
        let points = sample.points(row.metric);
        assert!(!points.is_empty(), "{} has no series", row.name);
        for point in points {
            let keys: Vec<&str> = point.attributes.iter().map(|a| a.key.as_str()).collect();
            let mut wanted = row.attributes.to_vec();
            wanted.push(table::NODE);
            assert_eq!(keys, wanted, "{}", row.name);
            let distribution = matches!(point.value, Value::Distribution(_));
            assert_eq!(distribution, row.kind == Kind::Histogram, "{}", row.name);
        }
    }
}

#[test]
fn names_are_dotted_unique_and_without_unit_or_total() {
    let names: BTreeSet<&str> = TABLE.iter().map(|row| row.name).collect();
    assert_eq!(names.len(), TABLE.len());
    for (position, row) in TABLE.iter().enumerate() {
        assert_eq!(row.metric as usize, position);
        assert!(
            row.name.contains('.') && !row.name.contains("total"),
            "{}",
            row.name
        );
        assert!(
            !row.name.ends_with("seconds") && !row.name.ends_with("bytes"),
            "{}",
            row.name
        );
        assert!(row.description.ends_with('.'), "{}", row.name);
    }
}

#[test]
fn the_readme_documents_exactly_the_table() {
    let readme = include_str!("../../README.md");
    let documented: Vec<&str> = readme
        .lines()
        .filter(|line| line.starts_with("| `") && line.matches('|').count() == 6)
        .collect();
    let expected: Vec<String> = TABLE
        .iter()
        .map(|row| {
            let attributes: Vec<String> = row
                .attributes
                .iter()
                .map(|key| format!("`{key}`"))
                .collect();
            format!(
                "| `{}` | {} | `{}` | {} | {} |",
                row.name,
                row.kind.as_str(),
                row.unit,
                attributes.join(" "),
                row.description
            )
        })
        .collect();
    assert_eq!(
        documented,
        expected,
        "paste this:\n{}\n",
        expected.join("\n")
    );
}

#[test]
fn outcomes_add_up_to_sent() {
    let sample = source().sample();
    let sum = |metric: Metric| -> f64 {
        let numbers = sample.points(metric).iter().map(|point| match point.value {
            Value::Number(value) => value,
            Value::Distribution(_) => 0.0,
        });
        numbers.sum()
    };
    assert!((sum(Metric::ProbeSent) - 21.0).abs() < 1e-9);
    assert!((sum(Metric::ProbeOutcome) - 21.0).abs() < 1e-9);
}

#[test]
fn plain_ip_round_trips_are_a_metric_of_their_own() {
    let sample = source().sample();
    assert_eq!(sample.points(Metric::ControlRtt).len(), 1);
    let classes: BTreeSet<String> = sample
        .points(Metric::NetworkRtt)
        .iter()
        .map(|point| attribute(point, table::CLASS))
        .collect();
    assert_eq!(classes, ["interTor".to_owned()].into());
}

#[test]
fn only_the_ten_worst_and_the_anomalous_paths_are_named() {
    let sample = source_of(1, 48).sample();
    let peers: Vec<String> = sample
        .points(Metric::PathLoss)
        .iter()
        .map(|point| attribute(point, table::PEER))
        .collect();
    // Over a loss ratio of 0.5: 26 to 47 of 50; those include the ten worst.
    let expected: Vec<String> = (26..48).rev().map(|n| format!("host{n}/rxe0")).collect();
    assert_eq!(peers, expected);
    let few = source_of(1, 20).sample();
    assert_eq!(few.points(Metric::PathLoss).len(), 10);
}

#[test]
fn series_over_the_limit_are_left_out_and_counted() {
    let sample = source_of(3000, 1).sample();
    assert_eq!(
        sample.points(Metric::ProbeSent).len(),
        CARDINALITY_LIMIT - 1
    );
    let omitted = &sample.points(Metric::Omitted)[0].value;
    assert!(
        matches!(omitted, Value::Number(n) if *n > 1000.0),
        "{omitted:?}"
    );
}

/// The name of a metric without `_total`, as Prometheus has it.
fn family_name(instrument: &Instrument) -> String {
    let name = instrument.name.replace('.', "_");
    match unit(instrument) {
        Some(unit) => format!("{name}_{}", unit.as_str()),
        None => name,
    }
}

#[test]
fn prometheus_text_has_the_same_series_under_prometheus_names() {
    let source = source();
    let text = render(&source).expect("a page");
    let sample = source.sample();
    for row in TABLE {
        let name = family_name(row);
        let series = match row.kind {
            Kind::Counter => format!("{name}_total{{"),
            Kind::Gauge => format!("{name}{{"),
            Kind::Histogram => format!("{name}_count{{"),
        };
        let lines = text
            .lines()
            .filter(|line| line.starts_with(&series))
            .count();
        assert_eq!(lines, sample.points(row.metric).len(), "{series}\n{text}");
    }
    for line in [
        "rdmamesh_datagram_dropped_total{rdmamesh_transport=\"rdma\",rdmamesh_reason=\"mac\",k8s_node_name=\"host1\"} 5.0",
        "rdmamesh_probe_throttle_ratio{k8s_node_name=\"host1\"} 0.5",
        "# UNIT rdmamesh_probe_network_rtt_seconds seconds",
    ] {
        assert!(text.contains(line), "no line {line} in\n{text}");
    }
}

#[test]
fn prometheus_buckets_are_cumulative_over_the_documented_bounds() {
    let text = render(&source()).expect("a page");
    let counts: BTreeMap<&str, &str> = text
        .lines()
        .filter(|line| line.starts_with("rdmamesh_control_rtt_seconds_bucket"))
        .filter_map(|line| {
            let (_, bound) = line.split_once("le=\"")?;
            let (bound, rest) = bound.split_once('"')?;
            Some((bound, rest.rsplit_once(' ')?.1))
        })
        .collect();
    assert_eq!(counts.len(), table::BOUNDS.len() + 1);
    let of = |bound: &str| counts.get(bound).copied();
    assert_eq!(
        [
            of("0.00005"),
            of("0.0001"),
            of("0.0002"),
            of("0.0005"),
            of("+Inf")
        ],
        [Some("0"), Some("1"), Some("2"), Some("3"), Some("3")],
        "{counts:?}"
    );
}
