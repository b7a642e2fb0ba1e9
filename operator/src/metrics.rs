//! The operator's own metrics. Results of probes are not among them: agents send those over OTLP.
//!
//! [`TABLE`] is the one list of names; `README.md` repeats it and a test compares the two.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// One metric, as documented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Described {
    /// Name as Prometheus shows it.
    pub name: &'static str,
    /// Kind.
    pub kind: &'static str,
    /// Labels, all of them bounded by the number of meshes or by code.
    pub labels: &'static str,
    /// What it counts.
    pub help: &'static str,
}

macro_rules! table {
    ($($name:literal, $kind:literal, $labels:literal, $help:literal;)*) => {
        &[$(Described { name: $name, kind: $kind, labels: $labels, help: $help }),*]
    };
}

/// Every metric that the operator has.
pub const TABLE: &[Described] = table! {
    "rdmamesh_operator_leader", "gauge", "", "1 while this replica leads and writes";
    "rdmamesh_operator_pass_duration_seconds", "histogram", "pass", "Time of one pass of a loop (plan, judge, act), from reading to written";
    "rdmamesh_operator_passes_total", "counter", "pass, outcome", "Passes of a loop by outcome (ok, error)";
    "rdmamesh_operator_plan_duration_seconds", "histogram", "", "Time that computing the plan of all meshes took";
    "rdmamesh_operator_assignments_written_total", "counter", "", "Entries of assignments written";
    "rdmamesh_operator_assignments_withdrawn_total", "counter", "", "Entries of assignments removed";
    "rdmamesh_operator_assignments_deleted_total", "counter", "", "Assignments deleted because nothing was left in them";
    "rdmamesh_operator_apply_errors_total", "counter", "reason", "Writes of assignments that failed, by reason";
    "rdmamesh_operator_status_writes_total", "counter", "outcome", "Writes of mesh statuses by outcome (ok, error)";
    "rdmamesh_operator_events_total", "counter", "outcome", "Events published by outcome (ok, error)";
    "rdmamesh_operator_watch_errors_total", "counter", "kind", "Failures of a watch, by kind";
    "rdmamesh_operator_suspects", "gauge", "mesh, kind", "Suspects named now (open cases) by kind (host, switch, rnic, link, path)";
    "rdmamesh_operator_fabric_healthy", "gauge", "mesh", "Verdict: 1 healthy, 0 unhealthy, -1 unknown";
    "rdmamesh_operator_suspect_nodes", "gauge", "", "Nodes whose condition rdmamesh.io/RdmaFabricReady is False";
    "rdmamesh_operator_tainted_nodes", "gauge", "", "Nodes with the taint rdmamesh.io/fabric-suspect";
    "rdmamesh_operator_taint_breaker_open", "gauge", "mesh", "1 while maxTaintedPercent keeps suspect nodes from being tainted";
    "rdmamesh_operator_node_writes_total", "counter", "mark, outcome", "Writes of nodes by what was written (condition, taint) and outcome (ok, error)";
};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PassLabel {
    pass: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PassOutcome {
    pass: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Mesh {
    mesh: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct MeshKind {
    mesh: String,
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct MarkOutcome {
    mark: &'static str,
    outcome: &'static str,
}

/// What was written on a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeWrite {
    /// Its condition.
    Condition,
    /// Its taint.
    Taint,
}

/// Handles to all metrics; clones share them.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Arc<Registry>,
    leader: Gauge,
    pass_duration: Family<PassLabel, Histogram, fn() -> Histogram>,
    passes: Family<PassOutcome, Counter>,
    plan_duration: Histogram,
    written: Counter,
    withdrawn: Counter,
    deleted: Counter,
    apply_errors: Family<Reason, Counter>,
    status_writes: Family<Outcome, Counter>,
    events: Family<Outcome, Counter>,
    watch_errors: Family<Kind, Counter>,
    suspects: Family<MeshKind, Gauge>,
    healthy: Family<Mesh, Gauge>,
    suspect_nodes: Gauge,
    tainted_nodes: Gauge,
    breaker_open: Family<Mesh, Gauge>,
    node_writes: Family<MarkOutcome, Counter>,
}

/// The encoder adds `_total` to counters itself.
fn base(name: &str) -> &str {
    name.trim_end_matches("_total")
}

fn help(name: &str) -> &'static str {
    let described = TABLE.iter().find(|described| described.name == name);
    described.map_or("", |described| described.help)
}

/// Values of the label `kind` of the suspects.
pub const SUSPECT_KINDS: [&str; 5] = ["host", "switch", "rnic", "link", "path"];

/// 1 ms to 65 s: a plan of a laptop's cluster and a first pass over 10,000 nodes.
fn durations() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 4.0, 9))
}

impl Default for Metrics {
    fn default() -> Self {
        let mut metrics = Self {
            registry: Arc::default(),
            leader: Gauge::default(),
            pass_duration: Family::new_with_constructor(durations),
            passes: Family::default(),
            plan_duration: durations(),
            written: Counter::default(),
            withdrawn: Counter::default(),
            deleted: Counter::default(),
            apply_errors: Family::default(),
            status_writes: Family::default(),
            events: Family::default(),
            watch_errors: Family::default(),
            suspects: Family::default(),
            healthy: Family::default(),
            suspect_nodes: Gauge::default(),
            tainted_nodes: Gauge::default(),
            breaker_open: Family::default(),
            node_writes: Family::default(),
        };
        metrics.registry = Arc::new(metrics.registered());
        metrics
    }
}

impl Metrics {
    /// Registers every metric under its name of the table.
    fn registered(&self) -> Registry {
        let mut registry = Registry::default();
        macro_rules! register {
            ($($name:literal => $metric:ident),* $(,)?) => {
                $(registry.register(base($name), help($name), self.$metric.clone());)*
            };
        }
        register! {
            "rdmamesh_operator_leader" => leader,
            "rdmamesh_operator_pass_duration_seconds" => pass_duration,
            "rdmamesh_operator_passes_total" => passes,
            "rdmamesh_operator_plan_duration_seconds" => plan_duration,
            "rdmamesh_operator_assignments_written_total" => written,
            "rdmamesh_operator_assignments_withdrawn_total" => withdrawn,
            "rdmamesh_operator_assignments_deleted_total" => deleted,
            "rdmamesh_operator_apply_errors_total" => apply_errors,
            "rdmamesh_operator_status_writes_total" => status_writes,
            "rdmamesh_operator_events_total" => events,
            "rdmamesh_operator_watch_errors_total" => watch_errors,
            "rdmamesh_operator_suspects" => suspects,
            "rdmamesh_operator_fabric_healthy" => healthy,
            "rdmamesh_operator_suspect_nodes" => suspect_nodes,
            "rdmamesh_operator_tainted_nodes" => tainted_nodes,
            "rdmamesh_operator_taint_breaker_open" => breaker_open,
            "rdmamesh_operator_node_writes_total" => node_writes,
        }
        registry
    }

    /// All metrics in the OpenMetrics text format.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        if let Err(error) = encode(&mut text, &self.registry) {
            // Writing to a String cannot fail; whatever does is told to who asked.
            write!(text, "# {error}\n# EOF\n").ok();
        }
        text
    }

    /// This replica leads, or does not.
    pub fn leads(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }

    /// A pass of a loop is over.
    pub fn pass(&self, pass: &'static str, took: Duration, ok: bool) {
        let outcome = if ok { "ok" } else { "error" };
        self.pass_duration
            .get_or_create(&PassLabel { pass })
            .observe(took.as_secs_f64());
        self.passes
            .get_or_create(&PassOutcome { pass, outcome })
            .inc();
    }

    /// A plan was computed.
    pub fn planned(&self, took: Duration) {
        self.plan_duration.observe(took.as_secs_f64());
    }

    /// An entry was written.
    pub fn assignment_written(&self) {
        self.written.inc();
    }

    /// An entry was removed.
    pub fn assignment_withdrawn(&self) {
        self.withdrawn.inc();
    }

    /// An assignment was deleted.
    pub fn assignment_deleted(&self) {
        self.deleted.inc();
    }

    /// A write of an assignment failed.
    pub fn apply_failed(&self, reason: &'static str) {
        self.apply_errors.get_or_create(&Reason { reason }).inc();
    }

    /// A status was written, or could not be.
    pub fn status_written(&self, ok: bool) {
        let outcome = if ok { "ok" } else { "error" };
        self.status_writes.get_or_create(&Outcome { outcome }).inc();
    }

    /// An Event was published, or could not be.
    pub fn event(&self, ok: bool) {
        let outcome = if ok { "ok" } else { "error" };
        self.events.get_or_create(&Outcome { outcome }).inc();
    }

    /// A watch failed.
    pub fn watch_failed(&self, kind: &'static str) {
        self.watch_errors.get_or_create(&Kind { kind }).inc();
    }

    /// The verdict on a mesh: `Some(healthy)` or unknown, and the number of open cases by kind.
    pub fn verdict(&self, mesh: &str, healthy: Option<bool>, suspects: &[(&'static str, usize)]) {
        let label = Mesh {
            mesh: mesh.to_owned(),
        };
        for (kind, count) in suspects {
            let label = MeshKind {
                mesh: mesh.to_owned(),
                kind,
            };
            self.suspects.get_or_create(&label).set(gauged(*count));
        }
        self.healthy
            .get_or_create(&label)
            .set(healthy.map_or(-1, i64::from));
    }

    /// A node was written, or could not be.
    pub fn node_written(&self, mark: NodeWrite, ok: bool) {
        let mark = match mark {
            NodeWrite::Condition => "condition",
            NodeWrite::Taint => "taint",
        };
        let outcome = if ok { "ok" } else { "error" };
        let label = MarkOutcome { mark, outcome };
        self.node_writes.get_or_create(&label).inc();
    }

    /// Nodes that are told to be suspect, and nodes that are tainted for it.
    pub fn marked_nodes(&self, suspect: usize, tainted: usize) {
        self.suspect_nodes.set(gauged(suspect));
        self.tainted_nodes.set(gauged(tainted));
    }

    /// The breakers of all meshes that have one, and whether each holds somebody back.
    pub fn breakers<'a>(&self, breakers: impl IntoIterator<Item = (&'a str, bool)>) {
        self.breaker_open.clear();
        for (mesh, open) in breakers {
            let label = Mesh {
                mesh: mesh.to_owned(),
            };
            self.breaker_open.get_or_create(&label).set(i64::from(open));
        }
    }

    /// The mesh is gone: its series end.
    pub fn forget(&self, mesh: &str) {
        let label = Mesh {
            mesh: mesh.to_owned(),
        };
        for kind in SUSPECT_KINDS {
            self.suspects.remove(&MeshKind {
                mesh: mesh.to_owned(),
                kind,
            });
        }
        self.healthy.remove(&label);
    }
}

fn gauged(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
