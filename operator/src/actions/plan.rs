//! What suspicions are to leave on nodes, and what of it is not there yet. Pure.
//!
//! [`plan`] is called with everything at once (all meshes, all nodes) and says what to change, so it does
//! not matter what happened before: a mesh that was deleted while the operator was down simply wants
//! nothing any more. Applying a part of a plan, in any order, breaks no promise of it.

use std::collections::BTreeMap;

use k8s_openapi::jiff;
use rdmamesh_fabric::plan::NodeState;
use rdmamesh_fabric::{NodeName, Timestamp};

use super::condition::{self, ConditionChange};
use super::taints::{self, Taints};
use crate::validate::NodeActions;
use crate::watch::NodeView;

/// A node that a mesh suspects: itself, or one of its RNICs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accused {
    /// The node.
    pub node: String,
    /// What of it is suspected, as the verdict names it.
    pub element: String,
    /// How sure the verdict is, in percent.
    pub confidence: u8,
    /// Since when.
    pub since: Timestamp,
    /// One sentence with numbers.
    pub evidence: String,
}

/// A mesh as far as consequences go.
#[derive(Clone, Debug)]
pub struct Mesh<'a> {
    /// Name.
    pub name: &'a str,
    /// What it wants to happen.
    pub actions: NodeActions,
    /// The nodes that it selects, sorted by name.
    pub members: &'a [(NodeName, NodeState)],
    /// Whom it suspects.
    pub accused: &'a [Accused],
}

impl Mesh<'_> {
    /// Whether the mesh selects `node`.
    #[must_use]
    pub fn selects(&self, node: &str) -> bool {
        let by_name = |(member, _): &(NodeName, NodeState)| member.as_str().cmp(node);
        self.members.binary_search_by(by_name).is_ok()
    }
}

/// What is to change on one node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeChange {
    /// Identity of the node: one of the same name that joined later is another one.
    pub uid: String,
    /// Its condition.
    pub condition: Option<ConditionChange>,
    /// Its taint: add or remove it.
    pub taint: Option<bool>,
}

/// What is to change, and what that means for each mesh.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Desired {
    /// Nodes that are not as they should be.
    pub changes: BTreeMap<String, NodeChange>,
    /// What becomes of the taints that meshes want; of meshes that want some.
    pub taints: BTreeMap<String, Taints>,
}

/// What `meshes` want of `nodes` at `now` and is not so.
#[must_use]
pub fn plan<'a>(
    meshes: &[Mesh<'_>],
    nodes: impl IntoIterator<Item = &'a NodeView>,
    now: jiff::Timestamp,
) -> Desired {
    // Of thousands of nodes only those matter that somebody accuses or that carry a mark.
    let accused = by_node(meshes);
    let marked: BTreeMap<&str, &NodeView> = nodes
        .into_iter()
        .filter(|node| {
            node.marks.tainted
                || node.marks.condition.is_some()
                || accused.contains_key(node.name.as_str())
        })
        .map(|node| (node.name.as_str(), node))
        .collect();
    let (mut taint, taints) = taints::plan(meshes, &marked);
    let changes = marked.iter().filter_map(|(name, node)| {
        let accusers = accused.get(name).map_or(&[][..], Vec::as_slice);
        let change = NodeChange {
            uid: node.uid.clone(),
            condition: condition::change(meshes, accusers, node, now),
            taint: taint.remove(*name),
        };
        let differs = change.condition.is_some() || change.taint.is_some();
        differs.then(|| ((*name).to_owned(), change))
    });
    Desired {
        changes: changes.collect(),
        taints,
    }
}

/// Who accuses whom, by node: the mesh and what it says.
pub(super) type Accusers<'a> = [(&'a Mesh<'a>, &'a Accused)];

fn by_node<'a>(meshes: &'a [Mesh<'a>]) -> BTreeMap<&'a str, Vec<(&'a Mesh<'a>, &'a Accused)>> {
    let mut all: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for mesh in meshes {
        for accused in mesh.accused {
            all.entry(accused.node.as_str())
                .or_default()
                .push((mesh, accused));
        }
    }
    // The order of a verdict moves with its figures; what is said on a node must not.
    for accusers in all.values_mut() {
        accusers.sort_by(|(a, x), (b, y)| (a.name, &x.element).cmp(&(b.name, &y.element)));
    }
    all
}

#[cfg(test)]
mod tests;
