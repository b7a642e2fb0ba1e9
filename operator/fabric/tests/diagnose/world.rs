//! A small mesh whose agents can be told what to report.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use rdmamesh_fabric::diagnose::{
    AgentState, Anomaly, AnomalyKind, Evidence, NodeEvidence, Planned, PortFact, PortState, Report,
    RnicTally, State, Suspect, Tolerance, Verdict, diagnose,
};
use rdmamesh_fabric::plan::{ProbeClass, Thresholds};
use rdmamesh_fabric::{RnicName, Timestamp};

/// When every test begins.
pub const START: Timestamp = Timestamp::from_secs(1_700_000_000);

/// The window that agents count over.
pub const WINDOW: Duration = Duration::from_secs(5);

/// `host<n>/rxe0`.
pub fn rnic(host: u32) -> RnicName {
    RnicName::new(format!("host{host}"), "rxe0", 1)
}

/// A port that the kernel shows as down.
pub fn down() -> PortState {
    PortState::Down {
        state: Arc::from("Down"),
        physical: Arc::from("Disabled"),
    }
}

/// Loss of `lost` out of `sent` probes to `target`.
pub fn loss(target: RnicName, lost: u64, sent: u64) -> Anomaly {
    Anomaly {
        kind: AnomalyKind::Loss,
        device: "rxe0".into(),
        port: 1,
        class: ProbeClass::TorMesh,
        target,
        flow: None,
        sent,
        lost,
        lost_forward: 0,
        lost_return: 0,
        p50: None,
        p99: None,
        baseline: None,
        ip_reachable: Some(true),
        path: Vec::new(),
        since: START,
    }
}

/// Round trips of `p99` to `target`.
pub fn slow(target: RnicName, p99: Duration) -> Anomaly {
    Anomaly {
        kind: AnomalyKind::Latency,
        lost: 0,
        p99: Some(p99),
        ..loss(target, 0, 50)
    }
}

/// Figures of a healthy window.
pub fn healthy_tally() -> RnicTally {
    RnicTally {
        device: "rxe0".into(),
        port: 1,
        sent: 100,
        ok: 100,
        lost: 0,
        late: 0,
        host_delayed: 0,
        unresolved: 0,
        p50: Some(Duration::from_micros(150)),
        p99: Some(Duration::from_micros(340)),
        errors: BTreeMap::new(),
    }
}

/// Hosts with one RNIC each that all probe each other and are fine.
pub fn healthy(hosts: u32) -> Evidence {
    let all = || (1..=hosts).map(rnic);
    let pairs = all().flat_map(|a| all().map(move |b| (a.clone(), b)));
    let pairs = pairs.filter(|(a, b)| a != b);
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
        planned: Arc::new(Planned::new(all(), pairs)),
        switches: Arc::default(),
        nodes: (1..=hosts).map(node).collect(),
    }
}

fn node(host: u32) -> NodeEvidence {
    NodeEvidence {
        node: format!("host{host}").into(),
        agent: AgentState::Reporting,
        report: Some(Report {
            window_end: Some(START),
            rnics: vec![healthy_tally()],
            ..Report::default()
        }),
        ports: Some(vec![PortFact {
            device: "rxe0".into(),
            port: 1,
            selected: true,
            state: PortState::Active,
        }]),
        traces: false,
    }
}

/// Ways to change what host number `host` (from 1) says.
pub trait Edit {
    fn host(&mut self, host: u32) -> &mut NodeEvidence;
    fn report(&mut self, host: u32) -> &mut Report;
    /// Adds an anomaly to the host's report.
    fn reports(self, host: u32, anomaly: Anomaly) -> Self;
    /// Sets the state of the host's agent.
    fn agent(self, host: u32, state: AgentState) -> Self;
    /// Sets the state of the host's port.
    fn port(self, host: u32, state: PortState) -> Self;
    /// Both ends report `lost` of `sent`.
    fn lossy(self, a: u32, b: u32, lost: u64, sent: u64) -> Self;
    /// Plans only these ordered pairs.
    fn plan_only(self, hosts: u32, pairs: &[(u32, u32)]) -> Self;
}

impl Edit for Evidence {
    fn host(&mut self, host: u32) -> &mut NodeEvidence {
        let name = format!("host{host}");
        let node = self
            .nodes
            .iter_mut()
            .find(|node| node.node.as_str() == name);
        node.expect("the host is part of the mesh")
    }

    fn report(&mut self, host: u32) -> &mut Report {
        self.host(host)
            .report
            .as_mut()
            .expect("the host has a report")
    }

    fn reports(mut self, host: u32, anomaly: Anomaly) -> Self {
        self.report(host).anomalies.push(anomaly);
        self
    }

    fn agent(mut self, host: u32, state: AgentState) -> Self {
        self.host(host).agent = state;
        self
    }

    fn port(mut self, host: u32, state: PortState) -> Self {
        let ports = self
            .host(host)
            .ports
            .as_mut()
            .expect("the host has an inventory");
        ports[0].state = state;
        self
    }

    fn lossy(self, a: u32, b: u32, lost: u64, sent: u64) -> Self {
        self.reports(a, loss(rnic(b), lost, sent))
            .reports(b, loss(rnic(a), lost, sent))
    }

    fn plan_only(mut self, hosts: u32, pairs: &[(u32, u32)]) -> Self {
        let pairs = pairs.iter().map(|(a, b)| (rnic(*a), rnic(*b)));
        self.planned = Arc::new(Planned::new((1..=hosts).map(rnic), pairs));
        self
    }
}

/// A judge with a memory and a clock.
pub struct Judge {
    pub state: State,
    pub now: Timestamp,
}

impl Judge {
    pub fn new() -> Self {
        Self {
            state: State::default(),
            now: START,
        }
    }

    /// Judges now.
    pub fn judge(&mut self, evidence: &Evidence) -> Verdict {
        let (verdict, state) = diagnose(evidence, &self.state, self.now);
        self.state = state;
        verdict
    }

    /// Judges after `seconds` more.
    pub fn after(&mut self, seconds: u64, evidence: &Evidence) -> Verdict {
        self.now = self.now.after(Duration::from_secs(seconds));
        self.judge(evidence)
    }
}

/// Judges once, with an empty memory.
pub fn judge(evidence: &Evidence) -> Verdict {
    Judge::new().judge(evidence)
}

/// `name` or `name ↔ peer` of every suspect.
pub fn named(verdict: &Verdict) -> BTreeSet<String> {
    let name = |suspect: &Suspect| suspect.key.to_string();
    verdict.suspects.iter().map(name).collect()
}

#[track_caller]
pub fn assert_named(verdict: &Verdict, expected: &[&str]) {
    let expected: BTreeSet<_> = expected.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(named(verdict), expected, "{verdict:#?}");
}
