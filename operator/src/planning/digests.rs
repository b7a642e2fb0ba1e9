//! Hashes of the entries that a plan wants, computed once per plan hash: comparing 10,000 assignments with
//! a plan that did not change must not build 10,000 entries.

use std::collections::{BTreeMap, HashMap};

use rdmamesh_fabric::NodeName;
use rdmamesh_fabric::plan::PlanHash;

use crate::desired::Desired;
use crate::watch::digest;

/// Hashes by mesh and node, each with the plan hash that it belongs to.
#[derive(Debug, Default)]
pub(super) struct Digests(BTreeMap<String, HashMap<NodeName, (PlanHash, u128)>>);

impl Digests {
    /// Forgets meshes and nodes that are not desired.
    pub(super) fn keep(&mut self, desired: &Desired) {
        self.0.retain(|mesh, _| desired.meshes.contains_key(mesh));
        for (mesh, nodes) in &mut self.0 {
            if let Some(wanted) = desired.meshes.get(mesh) {
                nodes.retain(|node, _| wanted.plan.plan_hash(node).is_some());
            }
        }
    }

    /// Hash of the entry that `mesh` wants on `node`.
    pub(super) fn of(&mut self, desired: &Desired, mesh: &str, node: &NodeName) -> Option<u128> {
        let wanted = desired.meshes.get(mesh)?;
        let hash = wanted.plan.plan_hash(node)?;
        let nodes = self.0.entry(mesh.to_owned()).or_default();
        match nodes.get(node) {
            Some((known, digest)) if *known == hash => Some(*digest),
            _ => {
                let digest = digest(&wanted.entry(mesh, node)?);
                nodes.insert(node.clone(), (hash, digest));
                Some(digest)
            }
        }
    }
}
