//! The planning loop: one pass over all meshes, from the caches to written assignments.
//!
//! Runs while this replica leads. A pass is started by a change that matters (or by one in an assignment
//! that differs from the plan) once things have been quiet for a moment, and again with growing pauses
//! while something could not be written. What came of it goes to the judging loop as an [`Outcome`].

mod digests;
mod outcome;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use k8s_openapi::jiff::Timestamp;
use rdmamesh_fabric::diagnose::Planned;
use rdmamesh_fabric::plan::{Plan, PlanInput, plan};
use tokio::sync::watch;
use tracing::{info, warn};

pub use outcome::{Applied, InForce, MeshOutcome, Outcome};

use crate::apply::{Applier, Failures};
use crate::desired::{Desired, DesiredMesh};
use crate::diff::{NodeChange, diff};
use crate::input::plan_input;
use crate::metrics::Metrics;
use crate::validate::{ValidMesh, validate};
use crate::watch::{Asked, Caches, MeshView, Signals, settle};
use digests::Digests;

/// A change waits this long for others to come with it…
const QUIET: Duration = Duration::from_millis(500);
/// …but no longer than this.
const LONGEST: Duration = Duration::from_secs(2);
/// Without any change everything is compared this often, in case a watch lied.
const RESYNC: Duration = Duration::from_secs(300);

/// A mesh as it was read, and what checking it came to.
type Checked = (Arc<MeshView>, Result<Arc<ValidMesh>, String>);

/// Plans and writes assignments.
pub struct Planner {
    caches: Caches,
    asked: watch::Receiver<Asked>,
    applier: Applier,
    metrics: Metrics,
    outcome: watch::Sender<Arc<Outcome>>,
    digests: Digests,
    /// What was asked when the plan in force was computed; `None` before the first one.
    planned: Option<u64>,
    /// When a port that is held out of the plan in force may come back into it.
    release: Option<Timestamp>,
}

impl Planner {
    /// A planner, and where its outcomes can be read.
    #[must_use]
    pub fn new(
        caches: Caches,
        signals: &Signals,
        applier: Applier,
        metrics: Metrics,
    ) -> (Self, watch::Receiver<Arc<Outcome>>) {
        let (outcome, receiver) = watch::channel(Arc::default());
        let planner = Self {
            caches,
            asked: signals.planning(),
            applier,
            metrics,
            outcome,
            digests: Digests::default(),
            planned: None,
            release: None,
        };
        (planner, receiver)
    }

    /// Runs until dropped, which is what happens when this replica stops leading.
    pub async fn run(&mut self) {
        self.caches.synced().await;
        // Another replica may have led since: nothing that was known about the assignments holds.
        self.planned = None;
        let mut pauses = pauses();
        loop {
            let started = Instant::now();
            let failures = self.pass().await;
            self.metrics.pass("plan", started.elapsed(), failures == 0);
            let pause = if failures == 0 {
                pauses = self::pauses();
                self.release.map_or(RESYNC, |at| until(at).min(RESYNC))
            } else {
                pauses.next().unwrap_or(RESYNC)
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                changed = self.asked.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    settle(&mut self.asked, QUIET, LONGEST).await;
                }
            }
        }
    }

    /// One pass; how many nodes could not be written.
    async fn pass(&mut self) -> usize {
        let asked = self.asked.borrow_and_update().plan;
        let is_released = self.release.is_some_and(|at| until(at).is_zero());
        let outcome = if self.planned == Some(asked) && !is_released {
            Arc::clone(&self.outcome.borrow())
        } else {
            let Some(outcome) = self.plan().await else {
                return 1;
            };
            self.planned = Some(asked);
            Arc::new(outcome)
        };
        let desired = Arc::new(outcome.desired());
        let Some(changes) = self.compare(&desired).await else {
            return 1;
        };
        if changes.is_empty() {
            self.outcome
                .send_replace(Arc::new(outcome.applied(&Failures::new())));
            return 0;
        }
        self.outcome
            .send_replace(Arc::new(outcome.pending(&changes)));
        let (nodes, started) = (changes.len(), Instant::now());
        let failures = self.applier.apply(&desired, changes).await;
        let took = started.elapsed();
        match failures.values().next() {
            None => info!(nodes, ?took, "assignments written"),
            Some(first) => {
                let error = crate::chain(&first.error);
                warn!(
                    nodes,
                    failed = failures.len(),
                    error,
                    "assignments not written, trying again"
                );
            }
        }
        self.outcome
            .send_replace(Arc::new(outcome.applied(&failures)));
        failures.len()
    }

    /// What differs between the plan and the assignments. Not on an async thread: the first time it builds
    /// every entry of the plan. `None` where comparing itself failed.
    async fn compare(&mut self, desired: &Arc<Desired>) -> Option<BTreeMap<String, NodeChange>> {
        let existing = self.caches.assignments.snapshot();
        let desired = Arc::clone(desired);
        let mut digests = std::mem::take(&mut self.digests);
        let compared = tokio::task::spawn_blocking(move || {
            digests.keep(&desired);
            let changes = diff(&desired, &existing, |mesh, node| {
                digests.of(&desired, mesh, node)
            });
            (digests, changes)
        });
        let (digests, changes) = compared
            .await
            .inspect_err(|error| tracing::error!(%error, "comparing failed"))
            .ok()?;
        self.digests = digests;
        Some(changes)
    }

    /// A new plan; `None` where the planner itself failed, which must not look like "nothing to probe".
    async fn plan(&mut self) -> Option<Outcome> {
        let meshes = self.caches.meshes.snapshot();
        let nodes = self.caches.nodes.snapshot();
        let inventories = self.caches.inventories.snapshot();
        let assignments = self.caches.assignments.snapshot();
        let checked: Vec<Checked> = meshes
            .values()
            .filter(|view| !view.deleting)
            .map(|view| {
                let valid = validate(view).map(Arc::new);
                (
                    Arc::clone(view),
                    valid.map_err(|error| crate::chain(&error)),
                )
            })
            .collect();
        let valid: Vec<_> = checked
            .iter()
            .filter_map(|(_, mesh)| mesh.clone().ok())
            .collect();
        let (started, now) = (Instant::now(), Timestamp::now());
        let releases = inventories
            .values()
            .filter_map(|inventory| inventory.flaps.next_release(now));
        let release = releases.min();
        let computed = tokio::task::spawn_blocking(move || {
            let valid = valid.iter().map(AsRef::as_ref);
            let input = plan_input(valid, &nodes, &inventories, &assignments, now);
            let plan = plan(&input);
            (input, plan)
        });
        let (input, plan) = computed
            .await
            .inspect_err(|error| tracing::error!(%error, "planning failed"))
            .ok()?;
        self.release = release;
        self.metrics.planned(started.elapsed());
        Some(outcome(checked, &input, plan, &self.outcome.borrow()))
    }
}

/// How long it is until `at`.
fn until(at: Timestamp) -> Duration {
    Duration::try_from(at.duration_since(Timestamp::now())).unwrap_or_default()
}

/// Pauses between passes while something cannot be written.
fn pauses() -> ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(500))
        .with_max_delay(Duration::from_secs(15))
        .with_factor(2.0)
        .with_jitter()
        .without_max_times()
        .build()
}

/// Puts specs, plans and what was in force before together.
fn outcome(checked: Vec<Checked>, input: &PlanInput, mut plan: Plan, before: &Outcome) -> Outcome {
    let mut members: BTreeMap<&str, _> = input
        .meshes
        .iter()
        .map(|mesh| (mesh.name.as_str(), &mesh.members))
        .collect();
    let meshes = checked.into_iter().map(|(view, mesh)| {
        let old = before
            .meshes
            .get(&view.name)
            .filter(|old| old.uid == view.uid);
        let in_force = match &mesh {
            Ok(valid) => {
                let plan = plan.meshes.remove(&view.name.as_str().into());
                let members = members.remove(view.name.as_str());
                plan.zip(members).map(|(plan, members)| {
                    Arc::new(InForce {
                        mesh: Arc::clone(valid),
                        planned: Arc::new(Planned::of(&plan)),
                        plan: Arc::new(plan),
                        members: members.iter().map(|m| (m.node.clone(), m.state)).collect(),
                    })
                })
            }
            // An edit that cannot be understood does not switch off what was in force before it.
            Err(_) => old.and_then(|old| old.in_force.clone()),
        };
        let outcome = MeshOutcome {
            uid: view.uid.clone(),
            generation: view.generation,
            mesh,
            in_force,
            applied: Applied::Pending(BTreeSet::new()),
        };
        (view.name.clone(), Arc::new(outcome))
    });
    Outcome {
        meshes: meshes.collect(),
    }
}

impl Outcome {
    /// What the assignments are to hold.
    fn desired(&self) -> Desired {
        let mut desired = Desired::default();
        for (name, mesh) in &self.meshes {
            match (&mesh.mesh, &mesh.in_force) {
                (Err(_), _) => {
                    desired.kept.insert(name.clone());
                }
                (Ok(_), Some(in_force)) => {
                    let wanted = DesiredMesh {
                        uid: mesh.uid.clone(),
                        plan: Arc::clone(&in_force.plan),
                    };
                    desired.meshes.insert(name.clone(), wanted);
                }
                (Ok(valid), None) if valid.suspended => {}
                (Ok(_), None) => {
                    desired.kept.insert(name.clone());
                }
            }
        }
        desired
    }
}

#[cfg(test)]
mod tests;
