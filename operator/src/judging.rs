//! The judging loop: verdicts into mesh statuses, transitions into Events.
//!
//! Runs while this replica leads. Open cases are kept in memory and rebuilt from `RdmaMesh.status` when a
//! replica begins to lead, so the operator can die at any moment. A change of a report is judged after
//! 50 ms of quiet, at most 250 ms; while cases are pending or open, the judge also looks when it said that
//! it would.

mod mesh;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::jiff::Timestamp;
use kube::{Api, Client};
use rdmamesh_api::RdmaMesh;
use tokio::sync::watch;
use tracing::info;

use crate::actions::{Judgements, Told};
use crate::events::{Happening, Publisher, node_reference};
use crate::lease::campaign::Leadership;
use crate::metrics::Metrics;
use crate::planning::Outcome;
use crate::watch::{Caches, Signals, settle};
use mesh::{Judge, Judged};

/// Reports that come in a burst are judged together…
const QUIET: Duration = Duration::from_millis(50);
/// …but none waits longer than this.
const LONGEST: Duration = Duration::from_millis(250);
/// Without any change everything is judged this often: reports grow old.
const RESYNC: Duration = Duration::from_secs(15);
/// Never looks again sooner than this.
const SOONEST: Duration = Duration::from_millis(100);
/// Statuses written at a time.
const PARALLEL: usize = 8;

/// Judges meshes and writes their statuses.
pub struct Judging {
    caches: Caches,
    asked: watch::Receiver<u64>,
    outcome: watch::Receiver<Arc<Outcome>>,
    told: watch::Receiver<Arc<Told>>,
    judgements: watch::Sender<Arc<Judgements>>,
    writer: Writer,
    judges: BTreeMap<String, Judge>,
}

/// The ways to and from the loops on either side.
pub struct Neighbours {
    /// What the planner made of the meshes.
    pub outcome: watch::Receiver<Arc<Outcome>>,
    /// Where judgements go, for the acting loop.
    pub judgements: watch::Sender<Arc<Judgements>>,
    /// What is to be told of what it made of them.
    pub told: watch::Receiver<Arc<Told>>,
}

/// What writing takes.
#[derive(Clone)]
struct Writer {
    api: Api<RdmaMesh>,
    caches: Caches,
    leadership: Leadership,
    publisher: Publisher,
    metrics: Metrics,
}

impl Judging {
    /// A judge of what `caches` and the planner's outcomes hold.
    #[must_use]
    pub fn new(
        client: Client,
        caches: Caches,
        signals: &Signals,
        neighbours: Neighbours,
        leadership: Leadership,
        publisher: Publisher,
        metrics: Metrics,
    ) -> Self {
        Self {
            asked: signals.judging(),
            outcome: neighbours.outcome,
            told: neighbours.told,
            judgements: neighbours.judgements,
            writer: Writer {
                api: Api::all(client),
                caches: caches.clone(),
                leadership,
                publisher,
                metrics,
            },
            caches,
            judges: BTreeMap::new(),
        }
    }

    /// Runs until dropped, which is what happens when this replica stops leading.
    pub async fn run(&mut self) {
        self.caches.synced().await;
        // Another replica may have judged since: its statuses are the truth now.
        self.judges.clear();
        loop {
            let pause = self.pass().await;
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                changed = self.asked.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    settle(&mut self.asked, QUIET, LONGEST).await;
                }
                changed = self.outcome.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
                changed = self.told.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
            }
        }
    }

    /// Ends what only a leader says of itself: another replica's figures count now.
    pub fn resign(&mut self) {
        self.forget(|_| false);
        self.judgements.send_replace(Arc::default());
    }

    /// One pass over all meshes; how long until the next one.
    async fn pass(&mut self) -> Duration {
        let started = std::time::Instant::now();
        let meshes = self.caches.meshes.snapshot();
        let outcome = Arc::clone(&self.outcome.borrow_and_update());
        let told = Arc::clone(&self.told.borrow_and_update());
        self.forget(|name| meshes.contains_key(name));
        let now = Timestamp::now();
        let mut due = Vec::new();
        let mut judgements = Judgements::new();
        for view in meshes.values().filter(|view| !view.deleting) {
            let judge = self
                .judges
                .entry(view.name.clone())
                .and_modify(|judge| judge.replace_if_other(view, &self.caches))
                .or_insert_with(|| Judge::recover(view, &self.caches));
            let known = outcome
                .meshes
                .get(&view.name)
                .filter(|known| known.uid == view.uid);
            let known = known.map(AsRef::as_ref);
            judge.hear(told.get(&view.name).cloned());
            let judged = judge.judge(view, known, &self.caches, now);
            // What follows from an older spec is no ground for doing anything anew.
            let current = known.filter(|known| known.generation == view.generation);
            let judgement = match current {
                Some(known) => Some(judge.judgement(known)),
                None => self.judgements.borrow().get(&view.name).cloned(),
            };
            judgements.extend(judgement.map(|judgement| (view.name.clone(), judgement)));
            due.push((Arc::clone(view), judged));
        }
        self.publish(judgements);
        let writer = &self.writer;
        let written: Vec<_> = futures::stream::iter(due)
            .map(|(view, judged)| async move {
                writer
                    .metrics
                    .verdict(&view.name, judged.healthy, &judged.suspects);
                let ok = writer.write(&judged).await;
                (view, judged, ok)
            })
            .buffer_unordered(PARALLEL)
            .collect()
            .await;
        let mut all_ok = true;
        let mut pause = RESYNC;
        for (view, judged, ok) in written {
            all_ok &= ok;
            if let Some(judge) = self.judges.get_mut(&view.name) {
                pause = pause.min(judge.booked(judged, ok, now));
            }
        }
        self.writer.metrics.pass("judge", started.elapsed(), all_ok);
        pause.max(SOONEST)
    }

    /// Hands `judgements` to the acting loop, where they differ from the last ones.
    fn publish(&self, judgements: Judgements) {
        self.judgements.send_if_modified(|before| {
            let same = before.len() == judgements.len()
                && judgements
                    .iter()
                    .all(|(name, new)| before.get(name).is_some_and(|old| old.is_like(new)));
            if !same {
                *before = Arc::new(judgements);
            }
            !same
        });
    }

    fn forget(&mut self, exists: impl Fn(&str) -> bool) {
        let metrics = &self.writer.metrics;
        self.judges.retain(|name, _| {
            let stays = exists(name);
            if !stays {
                metrics.forget(name);
            }
            stays
        });
    }
}

impl Writer {
    /// Writes the status, where it is to be written, and then the Events; whether that worked.
    async fn write(&self, judged: &Judged) -> bool {
        let Some(write) = &judged.write else {
            return true;
        };
        if !self.leadership.is_leader() {
            return false;
        }
        let ok = mesh::write(&self.api, &judged.reference, write).await;
        self.metrics.status_written(ok);
        if ok {
            for happening in judged.happenings.iter().cloned() {
                let mesh = judged.reference.name.as_deref();
                info!(
                    mesh,
                    reason = happening.reason,
                    note = happening.note,
                    "happened"
                );
                if judged.events {
                    self.publish(&judged.reference, happening).await;
                }
            }
        }
        ok
    }

    /// Publishes on the mesh and, where it is about one, on the node, which is told whose word it is.
    async fn publish(&self, mesh: &ObjectReference, happening: Happening) {
        let nodes = self.caches.nodes.snapshot();
        let node = happening.on_node.as_ref().and_then(|node| nodes.get(node));
        if let Some(node) = node {
            let name = mesh.name.as_deref().unwrap_or_default();
            let on_node = Happening {
                note: format!("mesh {name}: {}", happening.note),
                ..happening.clone()
            };
            let node = node_reference(&node.name, &node.uid);
            self.publisher.publish(&node, on_node).await;
        }
        self.publisher.publish(mesh, happening).await;
    }
}
