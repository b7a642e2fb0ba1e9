//! What has to be written so that the assignments are what they should be. Level-triggered and pure: it
//! compares all that should exist with all that does, so it also mends what happened while nobody looked.

use std::collections::BTreeMap;

use rdmamesh_fabric::NodeName;

use crate::desired::Desired;
use crate::watch::{AssignmentView, EntryView, Views};

/// What has to be done to one node's assignment: write, then withdraw; or delete it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeChange {
    /// The object as it was seen; `None` where there is none.
    pub existing: Option<Existing>,
    /// Meshes whose entry is to be removed.
    pub withdraw: Vec<String>,
    /// Meshes whose entry is to be written.
    pub write: Vec<String>,
    /// The object holds nothing (any more) and is to be deleted, instead of withdrawing its entries.
    pub delete: bool,
}

/// An object, for conditional requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Existing {
    /// Identity.
    pub uid: String,
    /// Version.
    pub resource_version: String,
}

impl NodeChange {
    /// Nothing is to be done.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.withdraw.is_empty() && self.write.is_empty() && !self.delete
    }
}

/// Changes by node. `digest` gives the hash of the content that a mesh's entry on a node should have; it
/// is only asked for where the entry claims to be of the wanted plan.
pub fn diff(
    desired: &Desired,
    existing: &Views<AssignmentView>,
    mut digest: impl FnMut(&str, &NodeName) -> Option<u128>,
) -> BTreeMap<String, NodeChange> {
    let mut changes: BTreeMap<String, NodeChange> = existing
        .values()
        .filter(|view| !view.unreadable)
        .map(|view| (view.name.clone(), leaving(desired, view)))
        .collect();
    for (mesh, wanted) in &desired.meshes {
        for (node, hash) in wanted.plan.nodes() {
            let view = existing.get(node.as_str());
            let in_place = view.is_some_and(|view| {
                view.unreadable
                    || (view.owners.contains(&wanted.uid)
                        && view.entries.get(mesh).is_some_and(|entry| {
                            entry.plan_hash == hash.to_string()
                                && Some(entry.digest) == digest(mesh, node)
                        }))
            });
            if !in_place {
                let change = changes.entry(node.as_str().to_owned()).or_default();
                change.write.push(mesh.clone());
            }
        }
    }
    changes.retain(|_, change| !change.is_empty());
    changes
}

/// What leaves an existing object.
fn leaving(desired: &Desired, view: &AssignmentView) -> NodeChange {
    let node = NodeName::from(view.name.as_str());
    let stays = |(mesh, _): &(&String, &EntryView)| {
        desired.kept.contains(*mesh)
            || desired
                .meshes
                .get(*mesh)
                .is_some_and(|wanted| wanted.plan.plan_hash(&node).is_some())
    };
    let (stay, leave): (Vec<_>, Vec<_>) = view.entries.iter().partition(stays);
    let coming = || {
        desired
            .meshes
            .values()
            .any(|wanted| wanted.plan.plan_hash(&node).is_some())
    };
    let delete = stay.is_empty() && !coming();
    NodeChange {
        existing: Some(Existing {
            uid: view.uid.clone(),
            resource_version: view.resource_version.clone(),
        }),
        withdraw: if delete {
            Vec::new()
        } else {
            leave.into_iter().map(|(mesh, _)| mesh.clone()).collect()
        },
        write: Vec::new(),
        delete,
    }
}

#[cfg(test)]
mod tests;
