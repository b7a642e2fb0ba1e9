//! What the flows over each link met, and which paths lost probes: the material for telling a bad link.
//!
//! One lost probe makes a flow lossy here. On one node a few lost probes on a few of many parallel paths
//! prove nothing, so they are no anomaly; the judge adds them up over all nodes.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::find::{Finding, FindingKey, Kind};
use super::window::{FlowWindow, LocalPort, TargetKey, Window};
use crate::diagnose::{Hop, LinkTally, LossyPath};
use crate::names::{NodeName, RnicName};
use crate::plan::ProbeClass;

/// Routers of a flow's last good path, nearest first, without the target; `None` is one that does not answer.
pub type Path = Arc<[Option<IpAddr>]>;

/// What the hop probes of a window met that ended behind one link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HopTally {
    /// Hop probes sent.
    pub sent: u32,
    /// Those of them that were answered.
    pub answered: u32,
    /// Fastest round trip of them.
    pub rtt: Option<Duration>,
}

/// What a tracer knows.
pub trait Paths: std::fmt::Debug {
    /// The last good path of a flow; `None` where it is not traced.
    fn path(&self, local: &LocalPort, target: &TargetKey, flow: &FlowWindow) -> Option<Path>;

    /// Hop probes of the window over the link `from` → `to` that ended at `to`.
    fn hop(&self, _from: &Hop, _to: &Hop) -> HopTally {
        HopTally::default()
    }
}

/// No tracer: a flow's path is known by its two ends only.
#[derive(Clone, Copy, Debug, Default)]
pub struct Untraced;

impl Paths for Untraced {
    fn path(&self, _: &LocalPort, _: &TargetKey, _: &FlowWindow) -> Option<Path> {
        None
    }
}

/// Links and paths of one mesh on one node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Links {
    /// Links on the paths of lossy or slow flows, worst first.
    pub links: Vec<LinkTally>,
    /// Distinct paths of lossy flows, worst first, by position in `links`.
    pub lossy_paths: Vec<LossyPath>,
}

/// A path as the sequence of its links.
type Chain = Vec<(Hop, Hop)>;

/// What the flows of `mesh` from `node` met on their links. `findings` tells which flows are slow. A flow
/// without a traced path is one link from RNIC to RNIC.
#[must_use]
pub fn links(
    windows: &[Window<'_>],
    (node, mesh): (&NodeName, &str),
    findings: &[Finding],
    paths: &dyn Paths,
) -> Links {
    let slow = Slow::new(findings);
    let there = There::of(windows, mesh);
    let flows = || {
        windows
            .iter()
            .filter(|window| &*window.target.mesh == mesh)
            .filter(|window| window.target.class != ProbeClass::Control)
            .flat_map(|window| window.flows.iter().map(move |flow| (window, flow)))
            .filter(|(_, flow)| flow.tally.judged() > 0)
    };
    let is_ill =
        |window: &Window<'_>, flow: &FlowWindow| there.lost(flow) > 0 || slow.has(window, flow);
    let chain = |window: &Window<'_>, flow: &FlowWindow| {
        let path = paths.path(window.local, &window.target, flow);
        chain(node, window, path.as_ref())
    };
    let mut tallies: HashMap<(Hop, Hop), LinkTally> = HashMap::new();
    let mut lossy: BTreeMap<Chain, LossyPath> = BTreeMap::new();
    for (window, flow) in flows().filter(|(window, flow)| is_ill(window, flow)) {
        let chain = chain(window, flow);
        for link in &chain {
            let tally = || empty(link, paths.hop(&link.0, &link.1));
            tallies.entry(link.clone()).or_insert_with(tally);
        }
        if there.lost(flow) > 0 {
            let entry = lossy.entry(chain).or_default();
            entry.flows += 1;
            entry.sent += flow.tally.judged();
            entry.lost += there.lost(flow);
        }
    }
    if tallies.is_empty() {
        return Links::default();
    }
    for (window, flow) in flows() {
        let (lossy, slow) = (there.lost(flow) > 0, slow.has(window, flow));
        for link in chain(window, flow) {
            if let Some(tally) = tallies.get_mut(&link) {
                tally.crossed += 1;
                tally.lossy += u32::from(lossy);
                tally.slow += u32::from(slow);
                tally.sent += flow.tally.judged();
                tally.lost += there.lost(flow);
            }
        }
    }
    ranked(tallies, lossy)
}

/// Which losses happened on the way there. Where peers tell, what they cannot tell is left out: it may as well have
/// been lost on the way back.
struct There {
    peers_tell: bool,
}

impl There {
    fn of(windows: &[Window<'_>], mesh: &str) -> Self {
        let mut own = windows.iter().filter(|window| &*window.target.mesh == mesh);
        let told = |window: &Window<'_>| window.tally.lost_forward + window.tally.lost_return > 0;
        Self {
            peers_tell: own.any(told),
        }
    }

    const fn lost(&self, flow: &FlowWindow) -> u64 {
        if self.peers_tell {
            flow.tally.lost_forward
        } else {
            flow.tally.lost_on_the_way()
        }
    }
}

fn chain(node: &NodeName, window: &Window<'_>, path: Option<&Path>) -> Chain {
    let source = RnicName::new(node.clone(), &*window.local.device, window.local.port);
    let peer = &window.target;
    let target = RnicName::new(&*peer.peer_node, &*peer.peer_device, peer.peer_port);
    let routers = path.into_iter().flat_map(|path| path.iter());
    let routers = routers.map(|hop| hop.map_or(Hop::Unknown, |at| Hop::Router(at.to_canonical())));
    let mut hops = vec![Hop::Rnic(source)];
    hops.extend(routers);
    hops.push(Hop::Rnic(target));
    hops.windows(2)
        .map(|pair| (pair[0].clone(), pair[1].clone()))
        .collect()
}

fn empty((from, to): &(Hop, Hop), hop: HopTally) -> LinkTally {
    LinkTally {
        from: from.clone(),
        to: to.clone(),
        crossed: 0,
        lossy: 0,
        slow: 0,
        sent: 0,
        lost: 0,
        hop_sent: hop.sent,
        hop_answered: hop.answered.min(hop.sent),
        hop_rtt: hop.rtt,
    }
}

/// Worst first: what most ill flows cross, then what loses the larger share, then by name.
fn ranked(tallies: HashMap<(Hop, Hop), LinkTally>, lossy: BTreeMap<Chain, LossyPath>) -> Links {
    let mut links: Vec<LinkTally> = tallies.into_values().collect();
    let share =
        |link: &LinkTally, other: &LinkTally| u128::from(link.lost) * u128::from(other.sent.max(1));
    links.sort_by(|a, b| {
        let ill = |link: &LinkTally| link.lossy + link.slow;
        ill(b)
            .cmp(&ill(a))
            .then_with(|| share(b, a).cmp(&share(a, b)))
            .then_with(|| (&a.from, &a.to).cmp(&(&b.from, &b.to)))
    });
    let positions: HashMap<(&Hop, &Hop), usize> = links
        .iter()
        .enumerate()
        .map(|(position, link)| ((&link.from, &link.to), position))
        .collect();
    let mut lossy_paths: Vec<LossyPath> = lossy
        .into_iter()
        .map(|(chain, path)| LossyPath {
            links: chain
                .iter()
                .filter_map(|(from, to)| positions.get(&(from, to)).copied())
                .filter_map(|position| u8::try_from(position).ok())
                .collect(),
            ..path
        })
        .collect();
    lossy_paths.sort_by(|a, b| {
        let rank = |path: &LossyPath| (path.lost, path.flows);
        rank(b).cmp(&rank(a)).then_with(|| a.links.cmp(&b.links))
    });
    drop(positions);
    Links { links, lossy_paths }
}

/// Which flows are slow.
struct Slow<'a>(Vec<&'a FindingKey>);

impl<'a> Slow<'a> {
    fn new(findings: &'a [Finding]) -> Self {
        let slow = findings.iter().filter(|f| f.key.kind == Kind::Latency);
        Self(slow.map(|finding| &finding.key).collect())
    }

    fn has(&self, window: &Window<'_>, flow: &FlowWindow) -> bool {
        self.0.iter().any(|key| {
            key.flow.is_none_or(|index| index == flow.flow)
                && key.local == *window.local
                && key.target == window.target
        })
    }
}
