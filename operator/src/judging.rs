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
use k8s_openapi::jiff::Timestamp;
use kube::{Api, Client};
use rdmamesh_api::RdmaMesh;
use tokio::sync::watch;
use tracing::info;

use crate::events::Publisher;
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
    writer: Writer,
    judges: BTreeMap<String, Judge>,
}

/// What writing takes.
#[derive(Clone)]
struct Writer {
    api: Api<RdmaMesh>,
    leadership: Leadership,
    publisher: Publisher,
    metrics: Metrics,
}

impl Judging {
    /// A judge of what `caches` and `outcome` hold.
    #[must_use]
    pub fn new(
        client: Client,
        caches: Caches,
        signals: &Signals,
        outcome: watch::Receiver<Arc<Outcome>>,
        leadership: Leadership,
        publisher: Publisher,
        metrics: Metrics,
    ) -> Self {
        Self {
            caches,
            asked: signals.judging(),
            outcome,
            writer: Writer {
                api: Api::all(client),
                leadership,
                publisher,
                metrics,
            },
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
            }
        }
    }

    /// Ends what only a leader says of itself: another replica's figures count now.
    pub fn resign(&mut self) {
        self.forget(|_| false);
    }

    /// One pass over all meshes; how long until the next one.
    async fn pass(&mut self) -> Duration {
        let started = std::time::Instant::now();
        let meshes = self.caches.meshes.snapshot();
        let outcome = Arc::clone(&self.outcome.borrow_and_update());
        self.forget(|name| meshes.contains_key(name));
        let now = Timestamp::now();
        let mut due = Vec::new();
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
            let judged = judge.judge(view, known.map(AsRef::as_ref), &self.caches, now);
            due.push((Arc::clone(view), judged));
        }
        let writer = &self.writer;
        let written: Vec<_> = futures::stream::iter(due)
            .map(|(view, judged)| async move {
                writer
                    .metrics
                    .verdict(&view.name, judged.healthy, judged.suspects);
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
                    self.publisher.publish(&judged.reference, happening).await;
                }
            }
        }
        ok
    }
}
