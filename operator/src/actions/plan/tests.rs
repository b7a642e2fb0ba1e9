//! What suspicions leave on nodes: by example, and that no limit is overrun whatever comes.

use std::time::Duration;

use proptest::prelude::*;
use rdmamesh_api::mesh::TaintMode;

use super::*;
use crate::fixtures::at;
use crate::watch::{ConditionView, Marks};

/// A mesh of a test; [`Mesh`] borrows from it.
#[derive(Clone, Debug)]
struct Made {
    name: String,
    actions: NodeActions,
    members: Vec<(NodeName, NodeState)>,
    accused: Vec<Accused>,
}

impl Made {
    /// Selects hosts 0 to `hosts` - 1 and suspects the RNICs `rxe0` of these.
    fn new(name: &str, taint: TaintMode, percent: u8, hosts: usize, suspects: &[usize]) -> Self {
        let accused = |host: &usize| Accused {
            node: host_name(*host),
            element: format!("{}/rxe0", host_name(*host)),
            confidence: 99,
            since: Timestamp::from_secs(1),
            evidence: format!("{}/rxe0 lost 12 of 80 probes", host_name(*host)),
        };
        Self {
            name: name.to_owned(),
            actions: NodeActions {
                condition: true,
                taint,
                max_tainted_percent: percent,
            },
            members: (0..hosts)
                .map(|host| (host_name(host).as_str().into(), NodeState::Ready))
                .collect(),
            accused: suspects.iter().map(accused).collect(),
        }
    }

    fn mesh(&self) -> Mesh<'_> {
        Mesh {
            name: &self.name,
            actions: self.actions,
            members: &self.members,
            accused: &self.accused,
        }
    }
}

/// Sorts by number, as the API server's names would by text.
fn host_name(number: usize) -> String {
    format!("host{number:03}")
}

fn hosts(count: usize) -> Vec<NodeView> {
    let bare = |number| NodeView {
        name: host_name(number),
        labels: BTreeMap::new(),
        state: NodeState::Ready,
        uid: format!("uid-{number}"),
        version: 1,
        marks: Marks::default(),
    };
    (0..count).map(bare).collect()
}

fn planned(meshes: &[Made], nodes: &[NodeView], now: i64) -> Desired {
    let meshes: Vec<_> = meshes.iter().map(Made::mesh).collect();
    plan(&meshes, nodes, at(now))
}

/// Carries out the changes of the nodes that `reached` lets through.
fn carried_out(desired: &Desired, nodes: &mut [NodeView], reached: impl Fn(&str) -> bool) {
    for node in nodes.iter_mut().filter(|node| reached(&node.name)) {
        let Some(change) = desired.changes.get(&node.name) else {
            continue;
        };
        match &change.condition {
            Some(ConditionChange::Set(condition)) => {
                node.marks.condition = Some(condition.clone());
            }
            Some(ConditionChange::Remove) => node.marks.condition = None,
            None => {}
        }
        node.marks.tainted = change.taint.unwrap_or(node.marks.tainted);
    }
}

/// Plans and carries out until nothing is left to do.
fn settled(meshes: &[Made], nodes: &mut [NodeView], now: i64) {
    for _ in 0..4 {
        let desired = planned(meshes, nodes, now);
        if desired.changes.is_empty() {
            return;
        }
        carried_out(&desired, nodes, |_| true);
    }
    panic!("planning does not come to rest: {nodes:?}");
}

fn condition(node: &NodeView) -> Option<(&str, &str)> {
    let condition = node.marks.condition.as_ref()?;
    Some((condition.status.as_str(), condition.message.as_str()))
}

fn tainted(nodes: &[NodeView]) -> Vec<&str> {
    let tainted = nodes.iter().filter(|node| node.marks.tainted);
    tainted.map(|node| node.name.as_str()).collect()
}

#[test]
fn only_the_suspect_node_gets_a_condition_and_it_names_mesh_and_evidence() {
    let meshes = [Made::new("m", TaintMode::Off, 10, 4, &[2])];
    let mut nodes = hosts(4);
    settled(&meshes, &mut nodes, 100);
    let (status, message) = condition(&nodes[2]).expect("host002 is suspected");
    assert_eq!(status, "False");
    for part in ["mesh m", "host002/rxe0", "lost 12 of 80"] {
        assert!(message.contains(part), "{message}");
    }
    assert!([0, 1, 3].iter().all(|n| condition(&nodes[*n]).is_none()));
    assert!(tainted(&nodes).is_empty());
}

#[test]
fn a_condition_turns_true_when_the_case_closes_and_goes_with_the_mesh() {
    let mut nodes = hosts(4);
    settled(
        &[Made::new("m", TaintMode::Off, 10, 4, &[2])],
        &mut nodes,
        100,
    );
    settled(
        &[Made::new("m", TaintMode::Off, 10, 4, &[])],
        &mut nodes,
        200,
    );
    assert_eq!(condition(&nodes[2]).map(|(status, _)| status), Some("True"));
    let since = |node: &NodeView| node.marks.condition.as_ref().map(|c| c.since);
    assert_eq!(since(&nodes[2]), Some(at(200)), "it turned then");
    // The node leaves the mesh, which says nothing about it any more.
    settled(
        &[Made::new("m", TaintMode::Off, 10, 2, &[])],
        &mut nodes,
        300,
    );
    assert_eq!(condition(&nodes[2]), None);
}

#[test]
fn several_meshes_share_one_condition() {
    let (a, b) = (
        Made::new("a", TaintMode::Off, 10, 4, &[1]),
        Made::new("b", TaintMode::Off, 10, 4, &[1]),
    );
    let mut nodes = hosts(4);
    settled(&[a, b.clone()], &mut nodes, 100);
    let (_, message) = condition(&nodes[1]).expect("both suspect host001");
    assert!(
        message.contains("mesh a") && message.contains("mesh b"),
        "{message}"
    );
    // One of them is deleted: the other one's suspicion stays.
    settled(std::slice::from_ref(&b), &mut nodes, 200);
    let (status, message) = condition(&nodes[1]).expect("b still suspects host001");
    assert_eq!(status, "False");
    assert!(!message.contains("mesh a"), "{message}");
    settled(&[], &mut nodes, 300);
    assert_eq!(condition(&nodes[1]), None);
}

#[test]
fn a_mesh_that_wants_no_conditions_gets_none_and_its_old_ones_go() {
    let mut mesh = Made::new("m", TaintMode::Off, 10, 4, &[1]);
    let mut nodes = hosts(4);
    settled(std::slice::from_ref(&mesh), &mut nodes, 100);
    assert!(condition(&nodes[1]).is_some());
    mesh.actions.condition = false;
    settled(&[mesh], &mut nodes, 200);
    assert_eq!(condition(&nodes[1]), None);
}

#[test]
fn figures_that_move_are_not_written_again_at_once() {
    let mut mesh = Made::new("m", TaintMode::Off, 10, 4, &[1]);
    let mut nodes = hosts(4);
    settled(std::slice::from_ref(&mesh), &mut nodes, 100);
    mesh.accused[0].evidence = "host001/rxe0 lost 13 of 80 probes".to_owned();
    let meshes = [mesh];
    assert!(planned(&meshes, &nodes, 110).changes.is_empty());
    let later = planned(&meshes, &nodes, 100 + 301);
    let Some(ConditionChange::Set(written)) = &later.changes["host001"].condition else {
        panic!("the evidence is refreshed: {later:?}");
    };
    assert!(written.message.contains("13 of 80"), "{written:?}");
    assert_eq!(written.since, at(100), "it has been so since then");
}

#[test]
fn what_somebody_else_wrote_into_the_condition_is_mended() {
    let meshes = [Made::new("m", TaintMode::Off, 10, 4, &[1])];
    let mut nodes = hosts(4);
    settled(&meshes, &mut nodes, 100);
    let edited = ConditionView {
        status: "True".to_owned(),
        reason: "LooksGood".to_owned(),
        message: "to me".to_owned(),
        since: at(101),
        written: at(101),
    };
    nodes[1].marks.condition = Some(edited);
    settled(&meshes, &mut nodes, 102);
    assert_eq!(
        condition(&nodes[1]).map(|(status, _)| status),
        Some("False")
    );
}

#[test]
fn a_suspect_is_tainted_until_its_case_closes() {
    let mut nodes = hosts(20);
    settled(
        &[Made::new("m", TaintMode::Enforce, 10, 20, &[3])],
        &mut nodes,
        100,
    );
    assert_eq!(tainted(&nodes), ["host003"]);
    settled(
        &[Made::new("m", TaintMode::Enforce, 10, 20, &[])],
        &mut nodes,
        200,
    );
    assert!(tainted(&nodes).is_empty());
}

#[test]
fn the_breaker_keeps_to_the_percentage_and_names_whom_it_kept() {
    let meshes = [Made::new("m", TaintMode::Enforce, 10, 20, &[3, 4, 5])];
    let mut nodes = hosts(20);
    settled(&meshes, &mut nodes, 100);
    assert_eq!(tainted(&nodes), ["host003", "host004"]);
    let taints = &planned(&meshes, &nodes, 101).taints["m"];
    assert_eq!((taints.limit, taints.count, taints.nodes), (2, 2, 20));
    assert!(taints.refused.contains("host005") && taints.refused.len() == 1);
}

#[test]
fn who_is_tainted_stays_so_when_a_surer_suspect_comes() {
    let mut mesh = Made::new("m", TaintMode::Enforce, 10, 10, &[3]);
    let mut nodes = hosts(10);
    settled(std::slice::from_ref(&mesh), &mut nodes, 100);
    mesh.accused[0].confidence = 50;
    mesh.accused.push(
        Made::new("m", TaintMode::Enforce, 10, 10, &[5])
            .accused
            .remove(0),
    );
    settled(&[mesh], &mut nodes, 101);
    assert_eq!(tainted(&nodes), ["host003"]);
}

#[test]
fn ten_percent_of_nine_nodes_is_nobody() {
    let meshes = [Made::new("m", TaintMode::Enforce, 10, 9, &[3])];
    let mut nodes = hosts(9);
    settled(&meshes, &mut nodes, 100);
    assert!(tainted(&nodes).is_empty());
    assert_eq!(planned(&meshes, &nodes, 100).taints["m"].refused.len(), 1);
}

#[test]
fn a_taint_counts_for_every_mesh_whichever_wanted_it() {
    let meshes = [
        Made::new("a", TaintMode::Enforce, 10, 10, &[1]),
        Made::new("b", TaintMode::Enforce, 10, 10, &[2]),
    ];
    let mut nodes = hosts(10);
    settled(&meshes, &mut nodes, 100);
    assert_eq!(tainted(&nodes), ["host001"]);
    assert!(
        planned(&meshes, &nodes, 100).taints["b"]
            .refused
            .contains("host002")
    );
}

#[test]
fn a_taint_that_has_to_go_counts_until_it_is_gone() {
    let mut nodes = hosts(10);
    nodes[7].marks.tainted = true;
    let meshes = [Made::new("m", TaintMode::Enforce, 10, 10, &[1])];
    let first = planned(&meshes, &nodes, 100);
    assert_eq!(first.changes["host007"].taint, Some(false));
    assert!(
        first
            .changes
            .get("host001")
            .is_none_or(|change| change.taint.is_none())
    );
    assert!(first.taints["m"].refused.is_empty(), "host001 only waits");
    settled(&meshes, &mut nodes, 100);
    assert_eq!(tainted(&nodes), ["host001"]);
}

#[test]
fn a_dry_run_changes_nothing_and_says_what_it_would() {
    let meshes = [Made::new("m", TaintMode::DryRun, 10, 20, &[3, 4, 5])];
    let mut nodes = hosts(20);
    settled(&meshes, &mut nodes, 100);
    assert!(tainted(&nodes).is_empty());
    let taints = &planned(&meshes, &nodes, 100).taints["m"];
    assert!(taints.dry_run);
    assert_eq!((taints.tainted.len(), taints.refused.len()), (2, 1));
}

#[test]
fn a_mesh_that_no_longer_enforces_takes_its_taints_back() {
    let mut nodes = hosts(20);
    settled(
        &[Made::new("m", TaintMode::Enforce, 10, 20, &[3])],
        &mut nodes,
        100,
    );
    settled(
        &[Made::new("m", TaintMode::DryRun, 10, 20, &[3])],
        &mut nodes,
        200,
    );
    assert!(tainted(&nodes).is_empty());
}

#[test]
fn a_suspect_that_is_no_node_of_the_mesh_or_no_node_at_all_gets_nothing() {
    let mut mesh = Made::new("m", TaintMode::Enforce, 100, 2, &[3, 9]);
    mesh.actions.condition = true;
    assert!(planned(&[mesh], &hosts(5), 100).changes.is_empty());
}

const HOSTS: usize = 12;

fn any_mesh(name: &'static str) -> impl Strategy<Value = Made> {
    let suspects = prop::collection::btree_map(0..HOSTS, (1_u8..100, 0_u64..50), 0..8);
    let taint = prop::sample::select(vec![TaintMode::Off, TaintMode::DryRun, TaintMode::Enforce]);
    (taint, 0_u8..=100, 0..=HOSTS, suspects, any::<bool>()).prop_map(
        move |(taint, percent, hosts, suspects, condition)| {
            let numbers: Vec<_> = suspects.keys().copied().collect();
            let mut made = Made::new(name, taint, percent, hosts, &numbers);
            made.actions.condition = condition;
            for (accused, (confidence, since)) in made.accused.iter_mut().zip(suspects.values()) {
                accused.confidence = *confidence;
                accused.since = Timestamp(Duration::from_secs(*since));
            }
            made
        },
    )
}

fn any_meshes() -> impl Strategy<Value = Vec<Made>> {
    let all = (any_mesh("a"), any_mesh("b"), any_mesh("c"));
    (all, 0_usize..=3)
        .prop_map(|((a, b, c), count)| vec![a, b, c].into_iter().take(count).collect())
}

fn any_nodes() -> impl Strategy<Value = Vec<NodeView>> {
    prop::collection::vec(any::<bool>(), HOSTS).prop_map(|tainted| {
        let mut nodes = hosts(HOSTS);
        for (node, tainted) in nodes.iter_mut().zip(tainted) {
            node.marks.tainted = tainted;
        }
        nodes
    })
}

/// Nodes of the mesh with the taint, and how many may have it.
fn used(made: &Made, nodes: &[NodeView]) -> (usize, usize) {
    let mesh = made.mesh();
    let own = nodes
        .iter()
        .filter(|node| node.marks.tainted && mesh.selects(&node.name));
    let percent = usize::from(made.actions.max_tainted_percent);
    (own.count(), made.members.len() * percent / 100)
}

fn enforcing(meshes: &[Made]) -> impl Iterator<Item = &Made> {
    meshes
        .iter()
        .filter(|made| made.actions.taint == TaintMode::Enforce)
}

proptest! {
    /// Whatever part of the writes gets through, in whatever order.
    #[test]
    fn no_write_ever_leads_past_a_breaker(
        meshes in any_meshes(),
        mut nodes in any_nodes(),
        reached in prop::collection::vec(any::<bool>(), HOSTS),
    ) {
        let before: Vec<_> = enforcing(&meshes).map(|made| used(made, &nodes).0).collect();
        let desired = planned(&meshes, &nodes, 100);
        carried_out(&desired, &mut nodes, |name| {
            (0..HOSTS).any(|number| reached[number] && host_name(number) == name)
        });
        for (made, before) in enforcing(&meshes).zip(before) {
            let (count, limit) = used(made, &nodes);
            prop_assert!(count <= limit.max(before), "{count} of at most {limit}, {before} before");
        }
    }

    #[test]
    fn it_comes_to_rest_within_the_limits_and_marks_only_suspects(
        meshes in any_meshes(),
        mut nodes in any_nodes(),
    ) {
        settled(&meshes, &mut nodes, 100);
        for made in enforcing(&meshes) {
            let (count, limit) = used(made, &nodes);
            prop_assert!(count <= limit, "{count} of at most {limit}");
        }
        for node in &nodes {
            let accused = |made: &Made| {
                made.mesh().selects(&node.name) && made.accused.iter().any(|a| a.node == node.name)
            };
            prop_assert!(!node.marks.tainted || enforcing(&meshes).any(accused));
            let wants = meshes.iter().filter(|made| made.actions.condition).any(accused);
            prop_assert_eq!(condition(node).map(|(status, _)| status), wants.then_some("False"));
        }
        prop_assert!(planned(&meshes, &nodes, 101).changes.is_empty(), "idempotent");
    }

    /// Every change says something that is not so, and a taint that may stay stays.
    #[test]
    fn nothing_is_changed_without_need(meshes in any_meshes(), nodes in any_nodes()) {
        let desired = planned(&meshes, &nodes, 100);
        for (name, change) in &desired.changes {
            let node = nodes.iter().find(|node| node.name == *name).expect("a known node");
            prop_assert!(change.taint.is_none_or(|taint| taint != node.marks.tainted));
            let wanted = enforcing(&meshes).any(|made| {
                made.mesh().selects(name) && made.accused.iter().any(|a| a.node == *name)
            });
            let crowded = enforcing(&meshes).any(|made| {
                let (count, limit) = used(made, &nodes);
                made.mesh().selects(name) && count > limit
            });
            prop_assert!(change.taint != Some(false) || !wanted || crowded);
        }
    }

    #[test]
    fn the_order_of_meshes_and_suspects_changes_nothing(
        meshes in any_meshes(),
        nodes in any_nodes(),
    ) {
        let mut turned = meshes.clone();
        turned.reverse();
        for made in &mut turned {
            made.accused.reverse();
        }
        prop_assert_eq!(planned(&meshes, &nodes, 100).changes, planned(&turned, &nodes, 100).changes);
    }
}
