//! A leaf–spine fabric whose agents trace their flows: what its links lose becomes reports by the agent's own rules.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rdmamesh_fabric::diagnose::{
    AgentState, Evidence, Hop, NodeEvidence, Place, Planned, PortFact, PortState, Report,
    RnicTally, Tolerance,
};
use rdmamesh_fabric::plan::{ProbeClass, Thresholds};
use rdmamesh_fabric::report::{
    Finding, FlowWindow, HopTally, LocalPort, Path, Paths, RttSummary, Rtts, Tally, TargetKey,
    TimestampMode, Window, links,
};
use rdmamesh_fabric::{NodeName, RnicName, Timestamp};

use crate::world::{START, WINDOW};

/// Share of packets that a direction of a link loses, by the names of its ends.
pub type Loss = dyn Fn(&str, &str) -> f64;

/// Nothing is lost.
pub fn fine(_: &str, _: &str) -> f64 {
    0.0
}

/// Every packet of either direction of `link` is lost with this probability.
pub fn lossy(a: &'static str, b: &'static str, share: f64) -> impl Fn(&str, &str) -> f64 {
    move |from, to| {
        let hit = (from == a && to == b) || (from == b && to == a);
        if hit { share } else { 0.0 }
    }
}

/// Everything that enters a switch or a host's RNIC is lost with this probability, and what leaves it.
pub fn lossy_element(name: &'static str, share: f64) -> impl Fn(&str, &str) -> f64 {
    move |from, to| {
        if from == name || to == name {
            share / 2.0
        } else {
            0.0
        }
    }
}

/// Size of a fabric and how it is traced.
#[derive(Clone)]
pub struct Net {
    pub leaves: u32,
    pub spines: u32,
    pub hosts_per_leaf: u32,
    pub rails: u32,
    pub flows: u16,
    /// Probes of a flow in a window.
    pub probes: u64,
    pub named: bool,
    pub traced: bool,
    /// One in so many hops did not answer; 0 means that all did.
    pub unanswered: u32,
    /// Whether hop probes were sent.
    pub hop_probes: bool,
    /// Whether a switch answers from the address of the port that a packet came in by, as routers do.
    pub port_addresses: bool,
}

impl Net {
    pub fn new(leaves: u32, spines: u32, hosts_per_leaf: u32) -> Self {
        Self {
            leaves,
            spines,
            hosts_per_leaf,
            rails: 1,
            flows: 4,
            probes: 20,
            named: true,
            traced: true,
            unanswered: 0,
            hop_probes: false,
            port_addresses: false,
        }
    }

    pub fn rnics(&self) -> Vec<RnicName> {
        let hosts = 1..=self.leaves * self.hosts_per_leaf;
        hosts
            .flat_map(|host| (0..self.rails).map(move |rail| (host, rail)))
            .map(|(host, rail)| RnicName::new(format!("host{host}"), format!("rxe{rail}"), 1))
            .collect()
    }

    fn leaf(&self, rnic: &RnicName) -> u32 {
        let host: u32 = rnic.node.as_str()[4..].parse().expect("hosts are numbered");
        (host - 1) / self.hosts_per_leaf + 1
    }

    /// Switches on the way, by the hash of a flow.
    fn route(&self, a: &RnicName, b: &RnicName, flow: u16) -> Vec<String> {
        let (from, to) = (self.leaf(a), self.leaf(b));
        if from == to {
            return vec![format!("leaf{from}")];
        }
        let spine = hash(&format!("{a} {b} {flow}")) % self.spines + 1;
        vec![
            format!("leaf{from}"),
            format!("spine{spine}"),
            format!("leaf{to}"),
        ]
    }

    fn places(&self) -> impl Fn(&RnicName) -> Place + '_ {
        |rnic| Place {
            group: format!("leaf{}", self.leaf(rnic)).into(),
            rail: 0,
            address: None,
        }
    }

    /// What all agents report while the links lose like this.
    pub fn evidence(&self, loss: &Loss) -> Evidence {
        let rnics = self.rnics();
        let other = |a: &RnicName, b: &RnicName| a.node != b.node;
        let pairs: Vec<_> = rnics
            .iter()
            .flat_map(|a| rnics.iter().map(move |b| (a.clone(), b.clone())))
            .filter(|(a, b)| other(a, b))
            .collect();
        let planned = Planned::new(rnics.clone(), pairs).at(self.places());
        let nodes: BTreeSet<NodeName> = rnics.iter().map(|rnic| rnic.node.clone()).collect();
        Evidence {
            thresholds: Thresholds {
                window: WINDOW,
                loss_ratio: 0.02,
                p99: Duration::from_micros(500),
            },
            tolerance: Tolerance {
                max_unhealthy_percent: 0,
                raise_after: 1,
                clear_after: 2,
            },
            rnic_timeout_ratio: 0.1,
            planned: Arc::new(planned),
            switches: Arc::new(self.names()),
            nodes: nodes.iter().map(|node| self.node(node, loss)).collect(),
        }
    }

    fn names(&self) -> BTreeMap<IpAddr, Arc<str>> {
        if !self.named {
            return BTreeMap::new();
        }
        let leaves = (1..=self.leaves).map(|n| format!("leaf{n}"));
        let switches = leaves.chain((1..=self.spines).map(|n| format!("spine{n}")));
        switches
            .flat_map(|name| {
                let name: Arc<str> = name.into();
                (0..=PORTS).map(move |port| (port_address(&name, port), Arc::clone(&name)))
            })
            .collect()
    }

    fn node(&self, node: &NodeName, loss: &Loss) -> NodeEvidence {
        let own = |rnic: &&RnicName| rnic.node == *node;
        let rnics = self.rnics();
        let mut windows = Vec::new();
        for local in rnics.iter().filter(own) {
            for target in rnics.iter().filter(|target| target.node != *node) {
                windows.push(self.window(local, target, loss));
            }
        }
        let views: Vec<Window<'_>> = windows.iter().map(Measured::view).collect();
        let tracer = Tracer {
            net: self,
            loss: Lookup(loss),
        };
        let found = links(&views, (node, "m"), &[] as &[Finding], &tracer);
        NodeEvidence {
            node: node.clone(),
            agent: AgentState::Reporting,
            report: Some(Report {
                seen: START,
                window_end: Some(START),
                rnics: rnics
                    .iter()
                    .filter(own)
                    .map(|local| tally(local, &windows))
                    .collect(),
                links: found.links.into_iter().take(64).collect(),
                lossy_paths: found.lossy_paths.into_iter().take(64).collect(),
                ..Report::default()
            }),
            ports: Some(rnics.iter().filter(own).map(active).collect()),
            traces: true,
        }
    }

    fn window(&self, local: &RnicName, target: &RnicName, loss: &Loss) -> Measured {
        let flows = (0..self.flows).map(|flow| {
            let there = self.survival(local, target, flow, loss);
            let back = self.survival(target, local, flow + 100, loss);
            let sent = as_f64(self.probes);
            // Fractions are spread over flows by their hash, so that small losses are not rounded away.
            let luck = f64::from(hash(&format!("{target} {flow} {local}")) % 1000) / 1000.0;
            let whole = |lost: f64| (lost + luck).floor().clamp(0.0, sent);
            let forward = whole(sent * (1.0 - there));
            let backward = whole((sent - forward) * (1.0 - back));
            let count = |value: f64| value as u64;
            let (forward, backward) = (
                count(forward),
                count(backward).min(self.probes - count(forward)),
            );
            FlowWindow {
                flow,
                source_port: Some(50_000 + flow),
                routers: None,
                tally: Tally {
                    sent: self.probes,
                    ok: self.probes - forward - backward,
                    lost: forward + backward,
                    lost_forward: forward,
                    lost_return: backward,
                    ..Tally::default()
                },
                rtt: RttSummary::default(),
            }
        });
        Measured::new(local, target, flows.collect())
    }

    fn survival(&self, a: &RnicName, b: &RnicName, flow: u16, loss: &Loss) -> f64 {
        let mut stops = vec![a.node.to_string()];
        stops.extend(self.route(a, b, flow));
        stops.push(b.node.to_string());
        stops
            .windows(2)
            .map(|pair| 1.0 - loss(&pair[0], &pair[1]))
            .product()
    }
}

struct Lookup<'a>(&'a Loss);

impl std::fmt::Debug for Lookup<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Lookup")
    }
}

struct Tracer<'a> {
    net: &'a Net,
    loss: Lookup<'a>,
}

impl std::fmt::Debug for Tracer<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tracer")
    }
}

impl Paths for Tracer<'_> {
    fn path(&self, _: &LocalPort, target: &TargetKey, flow: &FlowWindow) -> Option<Path> {
        if !self.net.traced {
            return None;
        }
        // The node that asks is known by the flow's own window only; tests name it in the traffic class.
        let local: RnicName = target.traffic_class.parse().expect("the local RNIC");
        let peer = RnicName::new(&*target.peer_node, &*target.peer_device, 1);
        let route = self.net.route(&local, &peer, flow.flow);
        let hops = route.iter().enumerate().map(|(nth, switch)| {
            let dice = hash(&format!("{local} {peer} {} {nth} hop", flow.flow));
            let silent = self.net.unanswered > 0 && dice.is_multiple_of(self.net.unanswered);
            let before = nth.checked_sub(1).map(|before| route[before].as_str());
            let port = before.filter(|_| self.net.port_addresses).map_or(0, port);
            (!silent).then(|| port_address(switch, port))
        });
        Some(hops.collect::<Vec<_>>().into())
    }

    fn hop(&self, from: &Hop, to: &Hop) -> HopTally {
        let names = self.net.names();
        let name = |hop: &Hop| match hop {
            Hop::Router(at) => names.get(at).map(ToString::to_string),
            Hop::Rnic(rnic) => Some(rnic.node.to_string()),
            Hop::Unknown => None,
        };
        let (Some(from), Some(to)) = (name(from), name(to)) else {
            return HopTally::default();
        };
        if !self.net.hop_probes || !matches!(to.get(..4), Some("leaf" | "spin")) {
            return HopTally::default();
        }
        // What a hop probe meets before it comes to `from`: from a spine on, the way up to it.
        let before = if from.starts_with("spine") {
            let other = if to == "leaf1" { "leaf2" } else { "leaf1" };
            (self.loss.0)(other, &from)
        } else {
            0.0
        };
        let there = (1.0 - before) * (1.0 - (self.loss.0)(&from, &to));
        HopTally {
            sent: 100,
            answered: (100.0 * there).round() as u32,
            rtt: None,
        }
    }
}

/// A target's window.
struct Measured {
    local: LocalPort,
    target: TargetKey,
    flows: Vec<FlowWindow>,
    tally: Tally,
}

impl Measured {
    fn new(local: &RnicName, target: &RnicName, flows: Vec<FlowWindow>) -> Self {
        let mut tally = Tally::default();
        flows.iter().for_each(|flow| tally += flow.tally);
        Self {
            local: LocalPort::new(local.device.as_str(), 1),
            target: TargetKey {
                mesh: "m".into(),
                class: ProbeClass::InterTor,
                traffic_class: local.to_string().into(),
                peer_node: target.node.as_str().into(),
                peer_device: target.device.as_str().into(),
                peer_port: 1,
            },
            flows,
            tally,
        }
    }

    fn view(&self) -> Window<'_> {
        Window {
            local: &self.local,
            target: self.target.clone(),
            end: SystemTime::from(START),
            length: WINDOW,
            timestamps: TimestampMode::Hardware,
            flows: &self.flows,
            tally: self.tally,
            rtt: &NoRtts,
        }
    }
}

/// No round-trip times.
struct NoRtts;

impl Rtts for NoRtts {
    fn count(&self) -> u64 {
        0
    }

    fn quantile(&self, _: f64) -> Option<Duration> {
        None
    }
}

fn tally(local: &RnicName, windows: &[Measured]) -> RnicTally {
    let mut all = Tally::default();
    let own = windows
        .iter()
        .filter(|window| *window.target.traffic_class == *local.to_string());
    own.for_each(|window| all += window.tally);
    RnicTally {
        device: local.device.clone(),
        port: 1,
        sent: all.sent,
        ok: all.ok,
        lost: all.lost,
        late: 0,
        host_delayed: 0,
        unresolved: 0,
        p50: None,
        p99: None,
        errors: BTreeMap::new(),
    }
}

fn active(rnic: &RnicName) -> PortFact {
    PortFact {
        device: rnic.device.clone(),
        port: 1,
        selected: true,
        state: PortState::Active,
    }
}

/// Ports of a switch to other switches, at most.
const PORTS: u8 = 64;

/// The port to another switch.
fn port(switch: &str) -> u8 {
    let number = switch.trim_start_matches(char::is_alphabetic);
    number.parse().expect("switches are numbered")
}

/// The address that a switch answers from.
pub fn address(switch: &str) -> IpAddr {
    port_address(switch, 0)
}

/// The address of a port of a switch.
fn port_address(switch: &str, port: u8) -> IpAddr {
    let (tier, number) = match switch.strip_prefix("leaf") {
        Some(number) => (11, number),
        None => (12, &switch[5..]),
    };
    let last = port + 1;
    let text = format!("10.{tier}.{number}.{last}");
    text.parse().expect("an address")
}

fn hash(text: &str) -> u32 {
    // FNV-1a, and the end of MurmurHash so that the last byte reaches every bit.
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mixed = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    (mixed >> 33) as u32
}

fn as_f64(count: u64) -> f64 {
    count as f64
}

/// Seconds after the tests' beginning.
pub fn at(seconds: u64) -> Timestamp {
    START.after(Duration::from_secs(seconds))
}
