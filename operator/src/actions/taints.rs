//! The taint `rdmamesh.io/fabric-suspect:NoSchedule`: who gets it, and the breaker that keeps it few. Pure.
//!
//! A mesh with `taint: Enforce` lets at most `maxTaintedPercent` of the nodes that it selects have the taint,
//! whichever mesh wanted it there. A taint that is about to be removed counts until it is gone, so that a
//! removal that fails can never lead past the limit.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use rdmamesh_api::mesh::TaintMode;
use rdmamesh_fabric::Timestamp;

use super::plan::Mesh;
use crate::watch::NodeView;

/// What becomes of the taints that a mesh wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taints {
    /// Only said, not done.
    pub dry_run: bool,
    /// Nodes that have the taint, or get it now; with `dry_run` those that would.
    pub tainted: BTreeSet<String>,
    /// Nodes that the breaker keeps from it.
    pub refused: BTreeSet<String>,
    /// How many nodes of the mesh may have it.
    pub limit: usize,
    /// How many nodes of the mesh have it after this, whoever wanted it.
    pub count: usize,
    /// How many nodes the mesh selects.
    pub nodes: usize,
}

/// Taints to add (true) and to remove (false) on the `marked` nodes, and what that means for each mesh.
pub(super) fn plan(
    meshes: &[Mesh<'_>],
    marked: &BTreeMap<&str, &NodeView>,
) -> (BTreeMap<String, bool>, BTreeMap<String, Taints>) {
    let mut breakers: Vec<_> = meshes
        .iter()
        .filter(|mesh| mesh.actions.taint == TaintMode::Enforce)
        .map(|mesh| Breaker::new(mesh, marked))
        .collect();
    let wanted = wanted(
        meshes
            .iter()
            .filter(|m| m.actions.taint == TaintMode::Enforce),
        marked,
    );
    let (mut stay, mut add) = (BTreeSet::new(), BTreeSet::new());
    let (tainted, untainted): (Vec<_>, Vec<_>) = wanted
        .into_iter()
        .partition(|node| marked[node].marks.tainted);
    for node in tainted {
        if concerned(&mut breakers, node).all(|breaker| breaker.stay < breaker.limit) {
            concerned(&mut breakers, node).for_each(|breaker| breaker.stay += 1);
            stay.insert(node);
        }
    }
    for node in untainted {
        let has_room = |b: &mut Breaker<'_>| b.present + b.added < b.limit;
        if concerned(&mut breakers, node).all(has_room) {
            concerned(&mut breakers, node).for_each(|breaker| breaker.added += 1);
            add.insert(node);
        }
    }
    let removed = marked
        .iter()
        .filter(|(name, node)| node.marks.tainted && !stay.contains(*name))
        .map(|(name, _)| ((*name).to_owned(), false));
    let added = add.iter().map(|name| ((*name).to_owned(), true));
    let changes = removed.chain(added).collect();

    let in_force: BTreeSet<&str> = stay.union(&add).copied().collect();
    let mut all: BTreeMap<_, _> = breakers
        .iter()
        .map(|breaker| {
            (
                breaker.mesh.name.to_owned(),
                breaker.taints(&in_force, &breakers, marked),
            )
        })
        .collect();
    let dry = meshes
        .iter()
        .filter(|mesh| mesh.actions.taint == TaintMode::DryRun);
    all.extend(dry.map(|mesh| (mesh.name.to_owned(), dry_run(mesh, &in_force, marked))));
    (changes, all)
}

/// One mesh's limit, and how much of it is used.
struct Breaker<'a> {
    mesh: &'a Mesh<'a>,
    limit: usize,
    /// Nodes that have the taint now.
    present: usize,
    /// Those of them that keep it.
    stay: usize,
    added: usize,
}

impl<'a> Breaker<'a> {
    fn new(mesh: &'a Mesh<'a>, marked: &BTreeMap<&str, &NodeView>) -> Self {
        let tainted = marked.values().filter(|node| node.marks.tainted);
        Self {
            mesh,
            limit: limit(mesh),
            present: tainted.filter(|node| mesh.selects(&node.name)).count(),
            stay: 0,
            added: 0,
        }
    }

    fn taints(
        &self,
        in_force: &BTreeSet<&str>,
        breakers: &[Self],
        marked: &BTreeMap<&str, &NodeView>,
    ) -> Taints {
        let own = wanted([self.mesh], marked);
        // A node that only waits until other taints are gone is not refused.
        let is_refused = |node: &str| {
            let mut others = breakers.iter().filter(|b| b.mesh.selects(node));
            others.any(|breaker| breaker.stay + breaker.added >= breaker.limit)
        };
        let (tainted, left): (Vec<_>, Vec<_>) =
            own.into_iter().partition(|node| in_force.contains(node));
        Taints {
            dry_run: false,
            tainted: tainted.into_iter().map(str::to_owned).collect(),
            refused: left
                .into_iter()
                .filter(|node| is_refused(node))
                .map(str::to_owned)
                .collect(),
            limit: self.limit,
            count: self.stay + self.added,
            nodes: self.mesh.members.len(),
        }
    }
}

fn concerned<'b, 'a>(
    breakers: &'b mut [Breaker<'a>],
    node: &'b str,
) -> impl Iterator<Item = &'b mut Breaker<'a>> {
    breakers
        .iter_mut()
        .filter(move |breaker| breaker.mesh.selects(node))
}

/// How many nodes of `mesh` may have the taint: never more than the percentage, so none of nine at 10 %.
fn limit(mesh: &Mesh<'_>) -> usize {
    mesh.members.len() * usize::from(mesh.actions.max_tainted_percent) / 100
}

/// The nodes that `meshes` want tainted: the surest first, then the longest suspected, then by name.
fn wanted<'a>(
    meshes: impl IntoIterator<Item = &'a Mesh<'a>>,
    marked: &BTreeMap<&str, &NodeView>,
) -> Vec<&'a str> {
    let mut ranks: BTreeMap<&str, (Reverse<u8>, Timestamp)> = BTreeMap::new();
    for mesh in meshes {
        for accused in mesh.accused {
            let node = accused.node.as_str();
            if !mesh.selects(node) || !marked.contains_key(node) {
                continue;
            }
            let rank = (Reverse(accused.confidence), accused.since);
            let known = ranks.entry(node).or_insert(rank);
            *known = rank.min(*known);
        }
    }
    let mut nodes: Vec<_> = ranks.into_iter().collect();
    nodes.sort_by_key(|(node, rank)| (*rank, *node));
    nodes.into_iter().map(|(node, _)| node).collect()
}

/// What `mesh` would do on top of the taints `in_force`.
fn dry_run(
    mesh: &Mesh<'_>,
    in_force: &BTreeSet<&str>,
    marked: &BTreeMap<&str, &NodeView>,
) -> Taints {
    let limit = limit(mesh);
    let mut count = in_force.iter().filter(|node| mesh.selects(node)).count();
    let (mut tainted, mut refused) = (BTreeSet::new(), BTreeSet::new());
    for node in wanted([mesh], marked) {
        if in_force.contains(node) {
            tainted.insert(node.to_owned());
        } else if count < limit {
            count += 1;
            tainted.insert(node.to_owned());
        } else {
            refused.insert(node.to_owned());
        }
    }
    Taints {
        dry_run: true,
        tainted,
        refused,
        limit,
        count,
        nodes: mesh.members.len(),
    }
}
