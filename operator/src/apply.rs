//! The apply step: the requests that make assignments what they should be.
//!
//! Nodes are independent of each other and run 32 at a time; the requests of one node run in
//! order. 429 and its `Retry-After` are honoured inside the client (kube's retry layer); what still fails
//! is told to the caller, which comes back with the next pass.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::StreamExt;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::{Api, Client, Resource};
use rdmamesh_api::RdmaProbeAssignment;
use rdmamesh_api::assignment::MeshAssignment;
use rdmamesh_fabric::NodeName;
use serde_json::{Value, json};
use tracing::debug;

use crate::desired::{Desired, owner};
use crate::diff::{Existing, NodeChange};
use crate::lease::campaign::Leadership;
use crate::mesh_field_manager;
use crate::metrics::Metrics;

/// Requests under way at a time. A default API server serves 600 at once, all clients together.
const PARALLEL: usize = 32;
/// An API server that has not answered by then is treated like one that is not there.
const TIMEOUT: Duration = Duration::from_secs(15);

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// This replica may not write (any more).
    #[error("this replica does not lead")]
    NotLeading,
    /// Another request of the pass failed in a way that this one would have, too.
    #[error("not tried, because the API server did not take other writes")]
    NotTried,
    /// The plan does not hold the entry that it was said to hold.
    #[error("the plan holds no entry of this node")]
    NoEntry,
    /// Somebody changed or deleted the object meanwhile; the next pass sees it.
    #[error("the object was changed meanwhile")]
    Conflict,
    /// The API server refused.
    #[error("the API server refused: {message}")]
    Refused {
        /// In its words.
        message: String,
    },
    /// The API server could not be reached.
    #[error("failed to reach the API server")]
    Unreachable(#[source] Box<kube::Error>),
    /// It did not answer.
    #[error("the API server did not answer within {TIMEOUT:?}")]
    Timeout,
}

impl Failure {
    fn not_tried(change: &NodeChange) -> Self {
        Self {
            meshes: change
                .write
                .iter()
                .chain(&change.withdraw)
                .cloned()
                .collect(),
            error: ApplyError::NotTried,
        }
    }
}

impl ApplyError {
    /// Whether other requests would fail the same way.
    pub(crate) const fn is_general(&self) -> bool {
        matches!(
            self,
            Self::NotLeading | Self::Unreachable(_) | Self::Timeout
        )
    }

    /// Label of a metric.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::NotLeading => "not_leading",
            Self::NotTried => "not_tried",
            Self::NoEntry => "no_entry",
            Self::Conflict => "conflict",
            Self::Refused { .. } => "refused",
            Self::Unreachable(_) => "unreachable",
            Self::Timeout => "timeout",
        }
    }
}

impl From<kube::Error> for ApplyError {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) if status.code == 409 => Self::Conflict,
            kube::Error::Api(status) => Self::Refused {
                message: status.message,
            },
            error => Self::Unreachable(Box::new(error)),
        }
    }
}

/// What could not be done, by node.
pub type Failures = BTreeMap<String, Failure>;

/// What could not be done on a node.
#[derive(Debug)]
pub struct Failure {
    /// Meshes whose entry is not what it should be.
    pub meshes: BTreeSet<String>,
    /// Why.
    pub error: ApplyError,
}

/// Writes assignments.
#[derive(Clone)]
pub struct Applier {
    api: Api<RdmaProbeAssignment>,
    leadership: Leadership,
    metrics: Metrics,
}

impl Applier {
    /// Writes through `client` while `leadership` lasts.
    #[must_use]
    pub fn new(client: Client, leadership: Leadership, metrics: Metrics) -> Self {
        Self {
            api: Api::all(client),
            leadership,
            metrics,
        }
    }

    /// Carries out `changes`; what is left undone. A failure that would meet every request ends the pass.
    pub async fn apply(
        &self,
        desired: &Desired,
        changes: BTreeMap<String, NodeChange>,
    ) -> Failures {
        let mut left: Failures = changes
            .iter()
            .map(|(node, change)| (node.clone(), Failure::not_tried(change)))
            .collect();
        let mut pending = futures::stream::iter(changes)
            .map(|(node, change)| async move {
                let outcome = self.node(desired, &node, &change).await;
                (node, outcome)
            })
            .buffer_unordered(PARALLEL);
        while let Some((node, outcome)) = pending.next().await {
            let Err(error) = outcome else {
                left.remove(&node);
                continue;
            };
            debug!(node, error = crate::chain(&error), "assignment not written");
            self.metrics.apply_failed(error.reason());
            let general = error.is_general();
            if let Some(failure) = left.get_mut(&node) {
                failure.error = error;
            }
            if general {
                break;
            }
        }
        left
    }

    async fn node(
        &self,
        desired: &Desired,
        node: &str,
        change: &NodeChange,
    ) -> Result<(), ApplyError> {
        if change.delete {
            return match &change.existing {
                Some(existing) => self.delete(node, existing).await,
                None => Ok(()),
            };
        }
        // What comes is written before what goes is removed: giving up the only entry would leave no spec,
        // which the schema refuses.
        for mesh in &change.write {
            let wanted = desired.meshes.get(mesh).ok_or(ApplyError::NoEntry)?;
            let entry = wanted
                .entry(mesh, &NodeName::from(node))
                .ok_or(ApplyError::NoEntry)?;
            self.write(node, &wanted.uid, &entry).await?;
        }
        for mesh in &change.withdraw {
            if let Some(existing) = &change.existing {
                self.withdraw(node, mesh, existing).await?;
            }
        }
        Ok(())
    }

    async fn write(&self, node: &str, uid: &str, entry: &MeshAssignment) -> Result<(), ApplyError> {
        let mut body = body(node);
        body["metadata"]["ownerReferences"] = json!([owner(&entry.name, uid)]);
        body["spec"] = json!({ "meshes": [entry] });
        self.patch(node, &entry.name, &body).await?;
        self.metrics.assignment_written();
        Ok(())
    }

    /// Gives up everything that the mesh's field manager owns in the object. The uid keeps the request
    /// from creating an object that is gone.
    async fn withdraw(
        &self,
        node: &str,
        mesh: &str,
        existing: &Existing,
    ) -> Result<(), ApplyError> {
        let mut body = body(node);
        body["metadata"]["uid"] = json!(existing.uid);
        let left = self.patch(node, mesh, &body).await?;
        self.metrics.assignment_withdrawn();
        if left.spec.meshes.iter().any(|entry| entry.name == mesh) {
            // Somebody else owns a part of the entry (written by hand): only starting afresh helps.
            let existing = Existing {
                uid: existing.uid.clone(),
                resource_version: left.metadata.resource_version.unwrap_or_default(),
            };
            return self.delete(node, &existing).await;
        }
        Ok(())
    }

    async fn patch(
        &self,
        node: &str,
        mesh: &str,
        body: &Value,
    ) -> Result<RdmaProbeAssignment, ApplyError> {
        let params = PatchParams::apply(&mesh_field_manager(mesh)).force();
        self.bounded(self.api.patch(node, &params, &Patch::Apply(body)))
            .await
    }

    async fn delete(&self, node: &str, existing: &Existing) -> Result<(), ApplyError> {
        let params = DeleteParams {
            preconditions: Some(Preconditions {
                uid: Some(existing.uid.clone()),
                resource_version: Some(existing.resource_version.clone()),
            }),
            ..DeleteParams::default()
        };
        let deleted = self.bounded(async {
            match self.api.delete(node, &params).await {
                Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
                outcome => outcome.map(drop),
            }
        });
        deleted.await?;
        self.metrics.assignment_deleted();
        Ok(())
    }

    async fn bounded<T>(
        &self,
        request: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, ApplyError> {
        if !self.leadership.is_leader() {
            return Err(ApplyError::NotLeading);
        }
        match tokio::time::timeout(TIMEOUT, request).await {
            Ok(outcome) => Ok(outcome?),
            Err(_) => Err(ApplyError::Timeout),
        }
    }
}

fn body(node: &str) -> Value {
    json!({
        "apiVersion": RdmaProbeAssignment::api_version(&()),
        "kind": RdmaProbeAssignment::kind(&()),
        "metadata": { "name": node },
    })
}

#[cfg(test)]
mod tests;
