//! The acting loop: suspicions become conditions and taints of nodes.
//!
//! ```text
//! judging ──► judgements ─┐
//! Node cache ─────────────┼─► plan ─► apply ─► what is told in the mesh's status, Events, metrics
//! RdmaMesh cache ─────────┘
//! ```
//!
//! Level-triggered: every pass compares all nodes with what all meshes want, so that it also mends what
//! happened while no operator ran (a mesh deleted, a node gone from it, somebody's edit). It begins only
//! when every mesh has been judged since this replica leads: before that nobody can tell "not suspected"
//! from "not judged yet".

mod apply;
mod condition;
mod judgement;
mod pace;
mod plan;
mod report;
mod taints;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use tokio::sync::watch;
use tracing::{info, warn};

use crate::conditions::{FirstFive, Statement};
use crate::events::{Happening, Publisher, node_reference};
use crate::lease::campaign::Leadership;
use crate::metrics::Metrics;
use crate::watch::{Caches, NodeView, Signals};
use apply::NodeWriter;
use pace::Pace;

pub use condition::ConditionChange;
pub use judgement::{Judgement, Judgements, accused};
pub use plan::{Accused, Desired, Mesh, NodeChange, plan};
pub use report::WOULD_TAINT_NONE;
pub use taints::Taints;

/// Without any change everything is compared this often: evidence quoted in conditions grows old.
const RESYNC: Duration = Duration::from_secs(60);
/// Nodes written at a time.
const PARALLEL: usize = 8;

/// What meshes are told about consequences, by mesh.
pub type Told = BTreeMap<String, Statement>;

/// Keeps conditions and taints of nodes as the verdicts want them.
pub struct Acting {
    caches: Caches,
    asked: watch::Receiver<u64>,
    judgements: watch::Receiver<Arc<Judgements>>,
    writer: NodeWriter,
    publisher: Publisher,
    metrics: Metrics,
    told: watch::Sender<Arc<Told>>,
    /// Nodes as they were answered to our own writes: the watch shows them only later, and a limit must not
    /// be overrun meanwhile.
    written: BTreeMap<String, NodeView>,
    pace: Pace,
    /// When a node that has to wait may be written.
    next: Option<Instant>,
}

impl Acting {
    /// An acting loop over `judgements`, and where can be read what meshes are told.
    #[must_use]
    pub fn new(
        client: Client,
        caches: Caches,
        signals: &Signals,
        judgements: watch::Receiver<Arc<Judgements>>,
        leadership: Leadership,
        publisher: Publisher,
        metrics: Metrics,
    ) -> (Self, watch::Receiver<Arc<Told>>) {
        let (told, receiver) = watch::channel(Arc::default());
        let acting = Self {
            caches,
            asked: signals.acting(),
            judgements,
            writer: NodeWriter::new(client, leadership, metrics.clone()),
            publisher,
            metrics,
            told,
            written: BTreeMap::new(),
            pace: Pace::default(),
            next: None,
        };
        (acting, receiver)
    }

    /// Runs until dropped, which is what happens when this replica stops leading.
    pub async fn run(&mut self) {
        self.caches.synced().await;
        self.written.clear();
        self.pace = Pace::default();
        loop {
            let started = Instant::now();
            if self.pass().await {
                let ok = self.pace.errors().next().is_none();
                self.metrics.pass("act", started.elapsed(), ok);
            }
            let until = |at: Instant| at.saturating_duration_since(Instant::now());
            let pause = self.next.map_or(RESYNC, until).min(RESYNC);
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                changed = self.asked.changed() => if changed.is_err() { return },
                changed = self.judgements.changed() => if changed.is_err() { return },
            }
        }
    }

    /// Ends what only a leader says of itself.
    pub fn resign(&mut self) {
        self.metrics.marked_nodes(0, 0);
        self.metrics.breakers([]);
        self.told.send_replace(Arc::default());
    }

    /// One pass; whether it could be made: as long as a mesh is not judged, it is too early.
    async fn pass(&mut self) -> bool {
        self.asked.mark_unchanged();
        self.next = None;
        let judgements = Arc::clone(&self.judgements.borrow_and_update());
        let views = self.caches.meshes.snapshot();
        let judged = views.values().filter(|view| !view.deleting).map(|view| {
            judgements
                .get(&view.name)
                .filter(|judgement| judgement.uid == view.uid)
        });
        let Some(judged) = judged.collect::<Option<Vec<&Judgement>>>() else {
            return false;
        };
        let meshes: Vec<Mesh<'_>> = judged.iter().filter_map(|judged| judged.mesh()).collect();
        let nodes = self.caches.nodes.snapshot();
        self.written.retain(|name, written| {
            nodes
                .get(name)
                .is_some_and(|node| node.uid == written.uid && node.version < written.version)
        });
        let known = nodes
            .values()
            .map(|node| self.written.get(&node.name).unwrap_or(node));
        let now = Timestamp::now();
        let desired = plan(&meshes, known, now);
        self.apply(&desired, &judged, now).await;
        self.tell(&meshes, &desired);
        true
    }

    async fn apply(&mut self, desired: &Desired, judged: &[&Judgement], now: Timestamp) {
        let (begun, writer) = (Instant::now(), &self.writer);
        self.pace
            .forget(|node| desired.changes.contains_key(node), begun);
        let due: Vec<_> = desired
            .changes
            .iter()
            .filter(|(node, _)| self.pace.allows(node, begun))
            .map(|(node, change)| (node.clone(), change.clone()))
            .collect();
        let mut pending = futures::stream::iter(due)
            .map(|(node, change)| async move {
                let outcome = writer.apply(&node, &change, now).await;
                (node, change, outcome)
            })
            .buffer_unordered(PARALLEL);
        while let Some((node, change, outcome)) = pending.next().await {
            match outcome {
                Ok(None) => {}
                Ok(Some(view)) => {
                    self.pace.book(&node, None, Instant::now());
                    self.written.insert(node.clone(), view);
                    info!(node, condition = ?change.condition, taint = change.taint, "node marked");
                    if let Some(tainted) = change.taint {
                        let node = (node.as_str(), change.uid.as_str());
                        announce(&self.publisher, judged, desired, node, tainted).await;
                    }
                }
                Err(error) => {
                    let text = crate::chain(&error);
                    warn!(node, error = text, "node not marked, trying again");
                    self.pace.book(&node, Some(text), Instant::now());
                    if error.is_general() {
                        break;
                    }
                }
            }
        }
        drop(pending);
        self.next = self.pace.next(desired.changes.keys(), begun);
    }

    /// Tells the meshes and the metrics what came of it.
    fn tell(&self, meshes: &[Mesh<'_>], desired: &Desired) {
        let told: Told = meshes
            .iter()
            .filter_map(|mesh| {
                let failing = self.pace.errors().filter(|(node, _)| mesh.selects(node));
                let names: FirstFive = failing.clone().map(|(node, _)| node).collect();
                let first = failing.map(|(_, error)| error.to_owned()).next();
                let failed = first.map(|error| (names, error));
                let said = report::statement(desired.taints.get(mesh.name), failed.as_ref())?;
                Some((mesh.name.to_owned(), said))
            })
            .collect();
        let open = |taints: &Taints| !taints.dry_run && !taints.refused.is_empty();
        let breakers = desired.taints.iter();
        self.metrics
            .breakers(breakers.map(|(mesh, taints)| (mesh.as_str(), open(taints))));
        let nodes = self.caches.nodes.snapshot();
        let known = nodes
            .values()
            .map(|node| self.written.get(&node.name).unwrap_or(node));
        let (mut suspect, mut tainted) = (0, 0);
        for node in known {
            tainted += usize::from(node.marks.tainted);
            let condition = node.marks.condition.as_ref();
            suspect += usize::from(condition.is_some_and(|is| is.status == "False"));
        }
        self.metrics.marked_nodes(suspect, tainted);
        self.told.send_if_modified(|before| {
            let differs = **before != told;
            if differs {
                *before = Arc::new(told);
            }
            differs
        });
    }
}

/// Publishes that `node` was tainted, or that its taint was removed, on it and on the meshes that enforce.
async fn announce(
    publisher: &Publisher,
    judged: &[&Judgement],
    desired: &Desired,
    (node, uid): (&str, &str),
    tainted: bool,
) {
    let concerned: Vec<_> = judged
        .iter()
        .filter(|judged| {
            let is_told = judged.events() && judged.mesh().is_some_and(|mesh| mesh.selects(node));
            let taints = desired
                .taints
                .get(&judged.name)
                .filter(|taints| !taints.dry_run);
            is_told && taints.is_some_and(|taints| !tainted || taints.tainted.contains(node))
        })
        .collect();
    for judged in &concerned {
        publisher
            .publish(&judged.reference(), Happening::tainted(node, tainted))
            .await;
    }
    if !concerned.is_empty() {
        let happening = Happening::tainted(node, tainted);
        publisher
            .publish(&node_reference(node, uid), happening)
            .await;
    }
}
