//! What is kept of a `RdmaProbeAssignment`: the status, and hashes instead of the targets.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;
use kube::Resource;
use kube::core::DeserializeGuard;
use rdmamesh_api::assignment::{MeshAssignment, MeshReport};
use rdmamesh_api::{RdmaProbeAssignment, RdmaProbeAssignmentStatus};
use rdmamesh_fabric::RnicName;

use super::{Triggers, View};

/// An assignment as the API server shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct AssignmentView {
    /// Name of the node.
    pub name: String,
    /// Identity of the object.
    pub uid: String,
    /// Version, for conditional deletion.
    pub resource_version: String,
    /// Uids of its owners.
    pub owners: BTreeSet<String>,
    /// Entries by mesh.
    pub entries: BTreeMap<String, EntryView>,
    /// What the agent wrote, if it did.
    pub status: Arc<RdmaProbeAssignmentStatus>,
    /// When the status was first seen as it is, by this host's clock; where that was before this process
    /// started, when the agent says that it wrote it.
    pub reported_at: Option<Timestamp>,
    /// When each complaint of the status, by mesh and node, was first seen, by this host's clock.
    pub complained: BTreeMap<(String, String), Timestamp>,
    /// The object cannot be read: nobody knows its entries. It is left alone.
    pub unreadable: bool,
}

/// One mesh's entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryView {
    /// As the entry says.
    pub plan_hash: String,
    /// Of the content as it really is, so that hand edits are noticed.
    pub digest: u128,
    /// Local RNICs of the entry.
    pub rnics: Vec<RnicName>,
}

impl AssignmentView {
    /// What the agent reported for `mesh`.
    #[must_use]
    pub fn report(&self, mesh: &str) -> Option<&MeshReport> {
        self.status.meshes.iter().find(|report| report.name == mesh)
    }

    /// When the agent was first seen to say that `node` does not answer it in `mesh`.
    #[must_use]
    pub fn complained(&self, mesh: &str, node: &str) -> Option<Timestamp> {
        let key = (mesh.to_owned(), node.to_owned());
        self.complained.get(&key).copied()
    }
}

impl View for AssignmentView {
    type Object = DeserializeGuard<RdmaProbeAssignment>;

    fn of(object: Self::Object, now: Timestamp) -> Self {
        let meta = object.meta().clone();
        let name = meta.name.unwrap_or_default();
        let (spec, status, unreadable) = match object.0 {
            Ok(object) => (object.spec, object.status, false),
            Err(invalid) => {
                tracing::warn!(
                    node = name,
                    error = invalid.error,
                    "an assignment cannot be read"
                );
                (Default::default(), None, true)
            }
        };
        let entries = spec.meshes.iter().map(|entry| {
            let view = EntryView {
                plan_hash: entry.plan_hash.clone(),
                digest: digest(entry),
                rnics: rnics(&name, entry),
            };
            (entry.name.clone(), view)
        });
        let written = status
            .as_ref()
            .and_then(|status| status.reported_at.as_ref());
        Self {
            entries: entries.collect(),
            uid: meta.uid.unwrap_or_default(),
            resource_version: meta.resource_version.unwrap_or_default(),
            owners: meta
                .owner_references
                .unwrap_or_default()
                .into_iter()
                .map(|owner| owner.uid)
                .collect(),
            reported_at: written.map(|written| written.0.min(now)),
            complained: status
                .iter()
                .flat_map(complaints)
                .map(|key| (key, written.map_or(now, |written| written.0.min(now))))
                .collect(),
            status: Arc::new(status.unwrap_or_default()),
            unreadable,
            name,
        }
    }

    /// Ages of reports are measured by one clock, ours: a report counts from when it was seen.
    fn following(mut self, previous: &Self, now: Timestamp) -> Self {
        if self.status == previous.status {
            self.reported_at = previous.reported_at;
        } else if self.reported_at.is_some() {
            self.reported_at = Some(now);
        }
        self.complained = complaints(&self.status)
            .map(|key| {
                let seen = previous.complained.get(&key).copied();
                (key, seen.unwrap_or(now))
            })
            .collect();
        self
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn triggers(old: Option<&Self>, new: Option<&Self>) -> Triggers {
        let spec = |view: Option<&Self>| {
            view.map(|v| {
                (
                    v.uid.clone(),
                    v.owners.clone(),
                    v.entries.clone(),
                    v.unreadable,
                )
            })
        };
        let status = |view: Option<&Self>| view.map(|v| Arc::clone(&v.status));
        Triggers {
            plan: false,
            drift: spec(old) != spec(new),
            judge: status(old) != status(new),
            act: false,
        }
    }
}

/// Mesh and node of every complaint about a peer that does not answer.
fn complaints(status: &RdmaProbeAssignmentStatus) -> impl Iterator<Item = (String, String)> {
    status.meshes.iter().flat_map(|report| {
        let peers = report.unanswered.iter();
        peers.map(|peer| (report.name.clone(), peer.node.clone()))
    })
}

/// Hash of an entry's content.
#[must_use]
pub fn digest(entry: &MeshAssignment) -> u128 {
    let bytes = serde_json::to_vec(entry).expect("an entry is plain data with text keys");
    xxhash_rust::xxh3::xxh3_128(&bytes)
}

fn rnics(node: &str, entry: &MeshAssignment) -> Vec<RnicName> {
    let name = |rnic: &rdmamesh_api::assignment::AssignedRnic| {
        RnicName::new(node, rnic.device.as_str(), rnic.port)
    };
    entry.rnics.iter().map(name).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn view(value: serde_json::Value, now: i64) -> AssignmentView {
        let object = serde_json::from_value(value).expect("an object with metadata");
        let now = Timestamp::from_second(now).expect("a small number of seconds is a time");
        AssignmentView::of(object, now)
    }

    fn object(interval: &str, sent: u64) -> serde_json::Value {
        json!({
            "apiVersion": "rdmamesh.io/v1alpha1", "kind": "RdmaProbeAssignment",
            "metadata": {"name": "host1", "uid": "u"},
            "spec": {"meshes": [{
                "name": "m", "planHash": "h", "group": "g", "window": "5s", "lossRatio": 0.02,
                "p99": "500us", "trafficClasses": [],
                "classes": [{"class": "torMesh", "interval": interval, "timeout": "500ms"}],
                "rnics": [{"device": "rxe0", "port": 1, "group": "g", "rail": 0, "targets": []}],
            }]},
            "status": {"reportedAt": "1970-01-01T00:01:00Z", "meshes": [{"name": "m",
                "rnics": [{"device": "rxe0", "port": 1, "sent": sent}]}]},
        })
    }

    #[test]
    fn a_hand_edit_is_drift_even_where_the_plan_hash_was_kept() {
        let (old, new) = (view(object("100ms", 1), 100), view(object("200ms", 1), 100));
        assert_eq!(old.entries["m"].plan_hash, new.entries["m"].plan_hash);
        let triggers = AssignmentView::triggers(Some(&old), Some(&new));
        assert!(triggers.drift && !triggers.judge && !triggers.plan);
    }

    #[test]
    fn a_new_report_asks_for_a_verdict_and_nothing_else() {
        let (old, new) = (view(object("100ms", 1), 100), view(object("100ms", 2), 100));
        let triggers = AssignmentView::triggers(Some(&old), Some(&new));
        assert!(triggers.judge && !triggers.drift && !triggers.plan);
    }

    #[test]
    fn a_deleted_assignment_is_drift() {
        let old = view(object("100ms", 1), 100);
        assert!(AssignmentView::triggers(Some(&old), None).drift);
    }

    #[test]
    fn the_age_of_an_unchanged_report_survives_a_new_list() {
        let old = view(object("100ms", 1), 100);
        assert_eq!(old.reported_at.map(Timestamp::as_second), Some(60));
        let now = Timestamp::from_second(500).expect("a small number of seconds is a time");
        let again = view(object("200ms", 1), 500).following(&old, now);
        assert_eq!(again.reported_at, old.reported_at);
        let newer = view(object("100ms", 2), 500).following(&old, now);
        assert_eq!(newer.reported_at, Some(now));
    }

    #[test]
    fn an_agents_clock_that_runs_ahead_makes_no_report_from_the_future() {
        assert_eq!(
            view(object("100ms", 1), 30)
                .reported_at
                .map(Timestamp::as_second),
            Some(30)
        );
    }

    #[test]
    fn an_object_of_another_version_is_marked_unreadable() {
        let mut odd = object("100ms", 1);
        odd["spec"]["meshes"][0]["classes"][0]["class"] = "sideways".into();
        assert!(view(odd, 1).unreadable);
    }
}
