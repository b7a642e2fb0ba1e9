//! Delays in a fabric of many parallel ways, where answers may come back over any of them.

use std::net::IpAddr;
use std::time::Duration;

use rdmamesh_fabric::RnicName;
use rdmamesh_fabric::diagnose::{Anomaly, Evidence, Hop, LinkTally, SuspectKind, Verdict};

use crate::traced::{Net, address, fine};
use crate::world::{Judge, assert_named, slow};

const SPINES: u32 = 8;

/// A flow: who probes whom over which spine, and the spine that its answers come back over.
struct Flow {
    from: RnicName,
    to: RnicName,
    forth: u32,
    back: u32,
}

impl Flow {
    /// Addresses of the switches on the way there.
    fn path(&self) -> Vec<IpAddr> {
        let (a, b) = (leaf(&self.from), leaf(&self.to));
        [a, format!("spine{}", self.forth), b]
            .iter()
            .map(|switch| address(switch))
            .collect()
    }

    fn links(&self) -> Vec<(Hop, Hop)> {
        let routers = self.path().into_iter().map(Hop::Router);
        let mut hops = vec![Hop::Rnic(self.from.clone())];
        hops.extend(routers);
        hops.push(Hop::Rnic(self.to.clone()));
        let pairs = hops.windows(2);
        pairs
            .map(|pair| (pair[0].clone(), pair[1].clone()))
            .collect()
    }

    /// Names of what a round trip crosses from one to the next, there and back.
    fn steps(&self) -> Vec<(String, String)> {
        let way = |from: &RnicName, spine: u32, to: &RnicName| {
            let stops = [
                from.node.to_string(),
                leaf(from),
                format!("spine{spine}"),
                leaf(to),
                to.node.to_string(),
            ];
            let pairs = stops.windows(2);
            let steps = pairs.map(|pair| (pair[0].clone(), pair[1].clone()));
            steps.collect::<Vec<_>>()
        };
        let mut steps = way(&self.from, self.forth, &self.to);
        steps.extend(way(&self.to, self.back, &self.from));
        steps
    }
}

fn number(rnic: &RnicName) -> u32 {
    rnic.node.as_str()[4..].parse().expect("hosts are numbered")
}

/// Two hosts hang on each leaf.
fn leaf(rnic: &RnicName) -> String {
    format!("leaf{}", (number(rnic) - 1) / 2 + 1)
}

/// Each RNIC probes one under every other leaf with three flows.
fn flows(rnics: &[RnicName]) -> Vec<Flow> {
    let mut flows = Vec::new();
    for from in rnics {
        let others = rnics.iter().filter(|to| leaf(to) != leaf(from));
        let chosen = others.filter(|to| number(to) % 2 == number(from) % 2);
        for to in chosen {
            for flow in 0..3 {
                let draw = number(from) * 7 + number(to) * 3 + flow * 5;
                flows.push(Flow {
                    from: from.clone(),
                    to: to.clone(),
                    forth: draw % SPINES + 1,
                    back: (draw / 3 + flow * 11) % SPINES + 1,
                });
            }
        }
    }
    flows
}

/// What all agents report while the steps for which `is_slow` holds are.
fn evidence(net: &Net, is_slow: &dyn Fn(&str, &str) -> bool) -> Evidence {
    let mut evidence = net.evidence(&fine);
    let flows = flows(&net.rnics());
    let is_ill = |flow: &Flow| flow.steps().iter().any(|(a, b)| is_slow(a, b));
    for node in &mut evidence.nodes {
        let report = node.report.as_mut().expect("everybody reports");
        let own: Vec<&Flow> = flows.iter().filter(|f| f.from.node == node.node).collect();
        for flow in own.iter().filter(|flow| is_ill(flow)) {
            let path = flow.path().into_iter().map(Some).collect();
            report.anomalies.push(Anomaly {
                path,
                flow: Some(50_000),
                p50: Some(Duration::from_millis(1)),
                baseline: Some(Duration::from_micros(7)),
                ..slow(flow.to.clone(), Duration::from_millis(2))
            });
            for (from, to) in flow.links() {
                if report
                    .links
                    .iter()
                    .all(|link| (&link.from, &link.to) != (&from, &to))
                {
                    report.links.push(empty(from, to));
                }
            }
        }
        for link in &mut report.links {
            let crosses =
                |flow: &&&Flow| flow.links().contains(&(link.from.clone(), link.to.clone()));
            for flow in own.iter().filter(crosses) {
                link.crossed += 1;
                link.slow += u32::from(is_ill(flow));
                link.sent += 20;
            }
        }
    }
    evidence
}

const fn empty(from: Hop, to: Hop) -> LinkTally {
    LinkTally {
        from,
        to,
        crossed: 0,
        lossy: 0,
        slow: 0,
        sent: 0,
        lost: 0,
        hop_sent: 0,
        hop_answered: 0,
        hop_rtt: None,
    }
}

/// The verdict `seconds` after this began.
fn verdict(seconds: u64, is_slow: &dyn Fn(&str, &str) -> bool) -> Verdict {
    let net = Net::new(8, SPINES, 2);
    let mut judge = Judge::new();
    judge.judge(&evidence(&net, &|_, _| false));
    judge.after(1, &evidence(&net, is_slow));
    judge.after(seconds, &evidence(&net, is_slow))
}

#[test]
fn an_access_link_that_is_slow_is_named_although_answers_may_come_back_over_any_uplink() {
    for one_way in [false, true] {
        let verdict = verdict(2, &|a, b| a == "host5" || (b == "host5" && !one_way));
        assert_named(&verdict, &["host5/rxe0"]);
        assert!(verdict.suspects[0].confidence >= 90, "{verdict:#?}");
    }
}

#[test]
fn an_uplink_that_is_slow_both_ways_is_named_and_not_its_leaf() {
    let ends = ["leaf3", "spine2"];
    let verdict = verdict(9, &|a, b| ends.contains(&a) && ends.contains(&b));
    assert_named(&verdict, &["leaf3-spine2"]);
    assert_eq!(verdict.suspects[0].key.kind(), SuspectKind::Link);
}
