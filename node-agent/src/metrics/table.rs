//! Every metric of the agent. `node-agent/README.md` documents this table and a test compares the two.
//!
//! Names are dotted and carry neither unit nor `_total`: whoever translates to Prometheus adds those.

/// How a metric behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows; OTLP sum, monotonic and cumulative.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Distribution of values.
    Histogram,
}

impl Kind {
    /// The name used in the documentation.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// One row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instrument {
    /// Which metric this is.
    pub metric: Metric,
    /// Dotted name.
    pub name: &'static str,
    /// How it behaves.
    pub kind: Kind,
    /// Unit in UCUM notation.
    pub unit: &'static str,
    /// Attribute keys of its data points, besides [`NODE`].
    pub attributes: &'static [&'static str],
    /// One sentence.
    pub description: &'static str,
}

/// Node name; on every data point, because resource attributes are lost on the way to many back ends.
pub const NODE: &str = "k8s.node.name";
/// RDMA device.
pub const DEVICE: &str = "device";
/// Port number of the device.
pub const PORT: &str = "port";
/// Mesh name.
pub const MESH: &str = "rdmamesh.mesh";
/// Probe class.
pub const CLASS: &str = "rdmamesh.class";
/// Group of the local RNIC.
pub const GROUP: &str = "rdmamesh.group";
/// Group of the peer RNIC.
pub const PEER_GROUP: &str = "rdmamesh.peer.group";
/// Peer RNIC, `<node>/<device>`; on the worst paths only.
pub const PEER: &str = "rdmamesh.peer";
/// Traffic class.
pub const TRAFFIC_CLASS: &str = "rdmamesh.traffic_class";
/// Outcome of a probe, an exchange or a write.
pub const OUTCOME: &str = "rdmamesh.outcome";
/// `hardware` or `software`.
pub const TIMESTAMPS: &str = "rdmamesh.timestamps";
/// `rdma` (the fabric) or `ip` (the control socket).
pub const TRANSPORT: &str = "rdmamesh.transport";
/// Why a datagram was dropped.
pub const REASON: &str = "rdmamesh.reason";
/// `loss` or `latency`.
pub const ANOMALY: &str = "rdmamesh.anomaly";
/// `forward`, `return` or `unknown`.
pub const WAY: &str = "rdmamesh.way";
/// The kernel's name of a counter.
pub const COUNTER: &str = "rdmamesh.counter";
/// `RdmaProbeAssignment` or `RdmaNode`.
pub const OBJECT: &str = "rdmamesh.object";

const SERIES: &[&str] = &[MESH, CLASS, DEVICE, PORT, GROUP, PEER_GROUP];
const SERIES_OUTCOME: &[&str] = &[MESH, CLASS, DEVICE, PORT, GROUP, PEER_GROUP, OUTCOME];
const SERIES_STAMPS: &[&str] = &[MESH, CLASS, DEVICE, PORT, GROUP, PEER_GROUP, TIMESTAMPS];
const PATH: &[&str] = &[MESH, CLASS, TRAFFIC_CLASS, DEVICE, PORT, PEER];
const SERIES_WAY: &[&str] = &[MESH, CLASS, DEVICE, PORT, GROUP, PEER_GROUP, WAY];
const LOCAL: &[&str] = &[DEVICE, PORT];
const LOCAL_COUNTER: &[&str] = &[DEVICE, PORT, COUNTER];

/// Most attribute sets of one metric; more are left out and counted in [`Metric::Omitted`].
pub const CARDINALITY_LIMIT: usize = 2000;

/// Bucket bounds of all histograms, in seconds: 500 ns to 100 ms.
pub const BOUNDS: &[f64] = &[
    5e-7, 1e-6, 2e-6, 5e-6, 1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2,
    1e-1,
];

macro_rules! table {
    ($($metric:ident, $name:literal, $kind:ident, $unit:literal, $attributes:expr, $description:literal;)*) => {
        /// Identifies a metric.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Metric {
            $(#[doc = $description] $metric,)*
        }

        /// The table, in the order of [`Metric`].
        pub const TABLE: &[Instrument] = &[$(Instrument {
            metric: Metric::$metric,
            name: $name,
            kind: Kind::$kind,
            unit: $unit,
            attributes: $attributes,
            description: $description,
        },)*];
    };
}

table! {
    ProbeSent, "rdmamesh.probe.sent", Counter, "{probe}", SERIES,
        "Probes sent, booked once their second has settled.";
    ProbeOutcome, "rdmamesh.probe.outcome", Counter, "{probe}", SERIES_OUTCOME,
        "Probes by outcome; the outcomes add up to the probes sent.";
    ProbeLost, "rdmamesh.probe.lost", Counter, "{probe}", SERIES_WAY,
        "Lost probes by the way they were lost on: forward, return or unknown.";
    NetworkRtt, "rdmamesh.probe.network.rtt", Histogram, "s", SERIES_STAMPS,
        "Round trip of a probe without the delays of both hosts: (T5-T2)-(T4-T3).";
    ProberDelay, "rdmamesh.probe.prober.delay", Histogram, "s", SERIES_STAMPS,
        "Time a probe spent in the prober's host: (T6-T1)-(T5-T2).";
    ResponderDelay, "rdmamesh.probe.responder.delay", Histogram, "s", SERIES_STAMPS,
        "Time a probe spent in the responder's host: T4-T3.";
    ControlRtt, "rdmamesh.control.rtt", Histogram, "s", SERIES,
        "Round trip of a control probe over plain IP: the baseline without RDMA.";
    PathLoss, "rdmamesh.path.loss", Gauge, "1", PATH,
        "Lost share of a path's probes in the newest window; the 10 worst paths and the anomalous ones.";
    PathP99, "rdmamesh.path.rtt.p99", Gauge, "s", PATH,
        "99th percentile of a path's network round-trip time in the newest window; the same paths.";
    TraceActive, "rdmamesh.trace.active", Gauge, "{tracer}", &[],
        "1 while a tracer answers, else 0.";
    TraceFlows, "rdmamesh.trace.flows", Gauge, "{flow}", &[],
        "Flows whose path can be traced.";
    TracePaths, "rdmamesh.trace.paths", Gauge, "{flow}", &[],
        "Flows whose path is known, routers that do not answer included.";
    TracePackets, "rdmamesh.trace.packets", Counter, "{packet}", &[OUTCOME],
        "Packets of the tracer that ended at a router, by outcome: answered or unanswered.";
    TraceRefused, "rdmamesh.trace.refused", Counter, "{request}", &[],
        "Requests that the tracer refused.";
    Anomalies, "rdmamesh.anomalies", Gauge, "{path}", &[MESH, ANOMALY],
        "Paths that are ill now.";
    Targets, "rdmamesh.plan.targets", Gauge, "{target}", &[MESH],
        "Targets that the plan has and that are probed.";
    TargetsSkipped, "rdmamesh.plan.skipped", Gauge, "{target}", &[MESH],
        "Targets of the plan that cannot be probed; the assignment's condition says why.";
    Throttle, "rdmamesh.probe.throttle", Gauge, "1", &[],
        "Share of the planned probe rate in force; below 1 the agent is over its CPU budget.";
    Starvations, "rdmamesh.starvations", Counter, "{event}", &[],
        "Times this host was found starved of CPU; probes of that moment are not judged.";
    ProbesAnswered, "rdmamesh.responder.answered", Counter, "{probe}", &[],
        "Probes of others that were answered.";
    LateAnswers, "rdmamesh.probe.late_answers", Counter, "{datagram}", &[],
        "Answers that came after their probe had been judged.";
    Dropped, "rdmamesh.datagram.dropped", Counter, "{datagram}", &[TRANSPORT, REASON],
        "Received datagrams that were refused and not answered.";
    ResolveSent, "rdmamesh.resolve.sent", Counter, "{request}", &[],
        "Control requests sent to resolve peers, retries included.";
    ResolveExchanges, "rdmamesh.resolve.exchanges", Counter, "{exchange}", &[OUTCOME],
        "Control exchanges by outcome: answered or failed.";
    ResolveServed, "rdmamesh.resolve.served", Counter, "{request}", &[],
        "Control requests of others that were answered.";
    PortActive, "rdmamesh.port.active", Gauge, "{port}", LOCAL,
        "1 while the kernel shows the port as Active, else 0.";
    PortProbing, "rdmamesh.port.probing", Gauge, "{port}", LOCAL,
        "1 while the port sends probes, else 0.";
    PortFlows, "rdmamesh.port.flows", Gauge, "{flow}", LOCAL,
        "Distinct flows (UDP source ports) that a target can get from the port, where that is limited.";
    PortErrors, "rdmamesh.port.errors", Counter, "{event}", LOCAL_COUNTER,
        "Error counters of the port, as the kernel counts and names them.";
    PortOpenings, "rdmamesh.port.openings", Counter, "{opening}", &[],
        "Times a port was opened or opened again.";
    ReportsDropped, "rdmamesh.report.dropped", Counter, "{report}", &[],
        "Reports of the data path that were dropped because the agent was slow to take them.";
    StatusWrites, "rdmamesh.status.writes", Counter, "{write}", &[OBJECT, OUTCOME],
        "Writes to the API server by outcome: ok or error.";
    Exports, "rdmamesh.telemetry.exports", Counter, "{export}", &[OUTCOME],
        "OTLP exports by outcome: ok or error.";
    Omitted, "rdmamesh.telemetry.omitted", Gauge, "{series}", &[],
        "Series left out of the newest sample because a metric would have more than 2000 of them.";
    CpuTime, "process.cpu.time", Counter, "s", &[],
        "CPU time of the agent, user and system.";
    Memory, "process.memory.usage", Gauge, "By", &[],
        "Resident memory of the agent.";
}

impl Metric {
    /// The metric's row.
    pub const fn instrument(self) -> &'static Instrument {
        &TABLE[self as usize]
    }
}
