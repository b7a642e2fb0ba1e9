//! One mesh's judge: its open cases, what was written last and when it may be written again.

use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::{Api, Resource};
use rdmamesh_api::condition::FABRIC_HEALTHY;
use rdmamesh_api::{RdmaMesh, RdmaMeshStatus};
use rdmamesh_fabric::diagnose::{CaseKey, Impact, State, Status, Suspect, Transition, diagnose};
use serde_json::json;
use tracing::{debug, warn};

use crate::FIELD_MANAGER;
use crate::actions::{Judgement, accused};
use crate::conditions::{Statement, status_of};
use crate::events::{Happening, happenings};
use crate::evidence::{evidence, instant, time};
use crate::metrics::SUSPECT_KINDS;
use crate::planning::MeshOutcome;
use crate::reporting::Reporting;
use crate::status::{Known, judged_kind, says_the_same, status};
use crate::watch::{Caches, MeshView};

/// Between two writes of a mesh's status, unless the verdict turns.
const PACE: Duration = Duration::from_secs(1);
/// Between two writes that only move times such as `lastSeen`.
const SLOW_PACE: Duration = Duration::from_secs(30);
/// How long the API server's own copy may lag behind a write before it is believed over our memory.
const ECHO: Duration = Duration::from_secs(5);
/// An API server that has not answered by then is treated like one that is not there.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Pause after a write that failed.
const RETRY: Duration = Duration::from_secs(1);

/// One mesh's judge.
#[derive(Debug)]
pub(super) struct Judge {
    name: String,
    uid: String,
    state: State,
    reporting: Reporting,
    /// What was written last, and when.
    written: Option<(RdmaMeshStatus, Timestamp)>,
    /// Transitions whose status could not be written yet: their Events are still to come.
    unpublished: Vec<Transition>,
    /// What is to be told of consequences.
    actions: Option<Statement>,
}

/// What a look at a mesh came to.
#[derive(Debug)]
pub(super) struct Judged {
    /// The mesh, for Events.
    pub(super) reference: ObjectReference,
    /// `FabricHealthy`; `None` while unknown.
    pub(super) healthy: Option<bool>,
    /// Open cases by kind.
    pub(super) suspects: Vec<(&'static str, usize)>,
    /// The status to write, where it is time to.
    pub(super) write: Option<RdmaMeshStatus>,
    /// What happened, to be told once it is written.
    pub(super) happenings: Vec<Happening>,
    /// Whether the mesh wants Events of that.
    pub(super) events: bool,
    /// When to look again.
    next: Duration,
}

impl Judge {
    /// A judge that goes on where the mesh's status says that another one stopped.
    pub(super) fn recover(view: &MeshView, caches: &Caches) -> Self {
        let suspects = view.status.iter().flat_map(|status| &status.suspects);
        let assignments = caches.assignments.snapshot();
        let assigned = assignments
            .values()
            .filter_map(|assignment| assignment.entries.get(&view.name))
            .flat_map(|entry| entry.rnics.iter().cloned());
        let state = State::recover(suspects.filter_map(recovered), assigned);
        let (cases, expected) = (state.cases.len(), state.expected.len());
        debug!(mesh = view.name, cases, expected, "judge begins");
        Self {
            name: view.name.clone(),
            uid: view.uid.clone(),
            state,
            reporting: Reporting::default(),
            written: None,
            unpublished: Vec::new(),
            actions: None,
        }
    }

    /// A mesh that was deleted and created again under its name has no past.
    pub(super) fn replace_if_other(&mut self, view: &MeshView, caches: &Caches) {
        if self.uid != view.uid {
            *self = Self::recover(view, caches);
        }
    }

    /// What the last look means for nodes, by the word of the planning `outcome` that it was judged with.
    pub(super) fn judgement(&self, outcome: &MeshOutcome) -> Judgement {
        Judgement {
            name: self.name.clone(),
            uid: self.uid.clone(),
            in_force: outcome.in_force.clone(),
            accused: accused(&self.state),
        }
    }

    /// What is to be told of consequences from now on.
    pub(super) fn hear(&mut self, actions: Option<Statement>) {
        self.actions = actions;
    }

    /// Looks at the mesh, given what the planner made of it.
    pub(super) fn judge(
        &mut self,
        view: &MeshView,
        outcome: Option<&MeshOutcome>,
        caches: &Caches,
        now: Timestamp,
    ) -> Judged {
        let assignments = caches.assignments.snapshot();
        let in_force = outcome.and_then(|outcome| outcome.in_force.as_deref());
        let mut next = Duration::MAX;
        let mut verdict = None;
        let mut reporting = None;
        if let Some(in_force) = in_force {
            let inventories = caches.inventories.snapshot();
            let expected = &self.state.expected;
            let evidence = evidence(in_force, &assignments, &inventories, expected, now);
            let (judged, state) = diagnose(&evidence, &self.state, instant(now));
            self.state = state;
            self.unpublished.extend(judged.transitions.iter().cloned());
            if let Some(check) = judged.next_check {
                next = check.since(instant(now));
            }
            verdict = Some(judged);
            let (statement, check) = self.reporting.judge(in_force, &assignments, now);
            if let Some(check) = check {
                next = next.min(Duration::try_from(check.duration_since(now)).unwrap_or_default());
            }
            reporting = Some(statement);
        } else if outcome.is_some() {
            // Suspended, or nothing was ever in force: the last verdict is dropped.
            self.state = State::default();
        }
        let known = Known {
            outcome,
            verdict: verdict.as_ref(),
            reporting,
            actions: self.actions.clone(),
        };
        let before = self.before(view, now);
        let after = if outcome.is_none() && !before.conditions.is_empty() {
            // A replica that has just begun to lead knows less than what is written.
            before.clone()
        } else {
            status(&known, &before, now)
        };
        self.paced(view, outcome, &before, after, next, now)
    }
}

impl Judge {
    /// The status that is in place. Our own last write counts until the watch must have shown it.
    fn before(&self, view: &MeshView, now: Timestamp) -> RdmaMeshStatus {
        let written = self.written.as_ref();
        let recent = written.filter(|(_, at)| view.status.is_none() || elapsed(*at, now) < ECHO);
        recent
            .map(|(status, _)| status)
            .or(view.status.as_ref())
            .cloned()
            .unwrap_or_default()
    }

    fn paced(
        &self,
        view: &MeshView,
        outcome: Option<&MeshOutcome>,
        before: &RdmaMeshStatus,
        after: RdmaMeshStatus,
        next: Duration,
        now: Timestamp,
    ) -> Judged {
        let healthy = status_of(&after.conditions, FABRIC_HEALTHY);
        let turned = status_of(&before.conditions, FABRIC_HEALTHY) != healthy;
        let pace = if turned {
            Duration::ZERO
        } else if says_the_same(before, &after) {
            SLOW_PACE
        } else {
            PACE
        };
        let wait = self.written.as_ref().map_or(Duration::ZERO, |(_, at)| {
            pace.saturating_sub(elapsed(*at, now))
        });
        let differs = *before != after;
        let due = differs && wait.is_zero();
        Judged {
            reference: ObjectReference::from(view),
            healthy: match healthy {
                Some(Status::True) => Some(true),
                Some(Status::False) => Some(false),
                Some(Status::Unknown) | None => None,
            },
            suspects: by_kind(&self.state),
            happenings: if due {
                happenings(before, &after, &self.unpublished)
            } else {
                Vec::new()
            },
            events: outcome
                .and_then(|outcome| outcome.mesh.as_ref().ok())
                .is_some_and(|mesh| mesh.events),
            write: due.then_some(after),
            next: if differs && !due {
                next.min(wait)
            } else {
                next
            },
        }
    }

    /// Books whether the status was written; how long until the next look.
    pub(super) fn booked(&mut self, judged: Judged, ok: bool, now: Timestamp) -> Duration {
        let Some(status) = judged.write else {
            return judged.next;
        };
        if !ok {
            return judged.next.min(RETRY);
        }
        self.written = Some((status, now));
        self.unpublished.clear();
        judged.next
    }
}

/// Open cases by the label of their kind; kinds without any are zero.
fn by_kind(state: &State) -> Vec<(&'static str, usize)> {
    let open = || state.cases.iter().filter(|(_, case)| case.open);
    let count = |label| open().filter(|(key, _)| kind(key) == label).count();
    SUSPECT_KINDS.map(|label| (label, count(label))).into()
}

fn kind(key: &CaseKey) -> &'static str {
    match key {
        CaseKey::Host(_) => "host",
        CaseKey::Switch(_) => "switch",
        CaseKey::Rnic(_) => "rnic",
        CaseKey::Link(_) | CaseKey::Groups(..) => "link",
        CaseKey::Pair(..) => "path",
    }
}

fn elapsed(since: Timestamp, now: Timestamp) -> Duration {
    // A clock that was set back makes no wait longer than its pace.
    Duration::try_from(now.duration_since(since)).unwrap_or(Duration::MAX)
}

/// A suspect of a status, for the judge to go on with; one that cannot be read is forgotten.
fn recovered(suspect: &rdmamesh_api::mesh::Suspect) -> Option<Suspect> {
    let kind = judged_kind(suspect.kind);
    Some(Suspect {
        key: CaseKey::read(kind, &suspect.name, suspect.peer.as_deref())?,
        confidence: suspect.confidence,
        impact: Impact::default(),
        workloads: Vec::new(),
        since: time(&suspect.since),
        last_seen: time(&suspect.last_seen),
        evidence: suspect.evidence.clone(),
    })
}

/// Writes a status; whether that worked. The uid keeps it from reaching another mesh of the same name.
pub(super) async fn write(
    api: &Api<RdmaMesh>,
    reference: &ObjectReference,
    status: &RdmaMeshStatus,
) -> bool {
    let name = reference.name.as_deref().unwrap_or_default();
    let body = json!({
        "apiVersion": RdmaMesh::api_version(&()),
        "kind": RdmaMesh::kind(&()),
        "metadata": { "name": name, "uid": reference.uid },
        "status": status,
    });
    let params = PatchParams::apply(FIELD_MANAGER).force();
    let patch = Patch::Apply(body);
    let request = api.patch_status(name, &params, &patch);
    match tokio::time::timeout(TIMEOUT, request).await {
        Ok(Ok(_)) => true,
        // Deleted meanwhile: there is nobody to tell.
        Ok(Err(kube::Error::Api(refused))) if refused.code == 404 => true,
        Ok(Err(error)) => {
            warn!(
                mesh = name,
                error = crate::chain(&error),
                "status not written, trying again"
            );
            false
        }
        Err(_) => {
            warn!(
                mesh = name,
                "status not written: the API server did not answer"
            );
            false
        }
    }
}

#[cfg(test)]
mod tests;
