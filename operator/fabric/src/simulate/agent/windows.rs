//! An agent's windows as its rules want them, kept from tick to tick: only targets about which there is something to tell
//! are filled in anew.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::super::fabric::Fabric;
use super::super::operator::stamp;
use super::super::rtt;
use super::super::traffic::{End, Target, Traffic, switches};
use crate::report::{
    FindingKey, FlowWindow, LocalPort, Quantiles, RttSummary, Rtts, Tally, TargetKey,
    TimestampMode, Window,
};

/// The windows of all targets of an agent.
#[derive(Default)]
pub(super) struct Windows {
    targets: Vec<TargetWindow>,
}

struct TargetWindow {
    local: LocalPort,
    key: TargetKey,
    end: SystemTime,
    length: Duration,
    flows: Vec<FlowWindow>,
    tally: Tally,
    rtt: Times,
    /// Round trips worth keeping one by one, by flow.
    long: Vec<(usize, Duration)>,
    /// Events were part of it when it was last filled in.
    eventful: bool,
    filled: bool,
}

/// Round-trip times: those worth keeping one by one, and how many usual ones there were besides.
#[derive(Clone, Debug, Default)]
struct Times {
    usual: u64,
    switches: u32,
    /// Sorted; longer than all usual ones.
    long: Vec<Duration>,
}

impl Times {
    fn at(&self, index: u64) -> Duration {
        if index < self.usual {
            let rank = (index as f64 + 0.5) / self.usual as f64;
            return rtt::quantile(self.switches, rank);
        }
        let index = (index - self.usual) as usize;
        self.long.get(index).copied().unwrap_or_default()
    }

    fn summary(&self) -> RttSummary {
        let count = self.count();
        if count == 0 {
            return RttSummary::default();
        }
        let rank = |percent: u64| (count * percent).div_ceil(100).max(1) - 1;
        RttSummary {
            count,
            min: self.at(0),
            p50: self.at(rank(50)),
            p99: self.at(rank(99)),
            max: self.at(count - 1),
        }
    }
}

impl Rtts for Times {
    fn count(&self) -> u64 {
        self.usual + self.long.len() as u64
    }

    fn quantile(&self, q: f64) -> Option<Duration> {
        let count = self.count();
        let rank = (q * count as f64).ceil().max(1.0) as u64;
        (count > 0).then(|| self.at(rank.min(count) - 1))
    }
}

impl Windows {
    /// Empty windows for these targets; what was known is filled in anew.
    pub fn assign(&mut self, mesh: &Arc<str>, fabric: &Fabric, traffic: &Traffic) {
        let target = |target: &Target| {
            let local = fabric.rnic_name(target.local);
            let assigned = &target.assigned;
            TargetWindow {
                local: LocalPort::new(local.device.as_str(), local.port),
                key: TargetKey {
                    mesh: Arc::clone(mesh),
                    class: assigned.class,
                    traffic_class: Arc::clone(&assigned.traffic_class),
                    peer_node: Arc::from(assigned.peer.node.as_str()),
                    peer_device: Arc::from(assigned.peer.device.as_str()),
                    peer_port: assigned.peer.port,
                },
                end: SystemTime::UNIX_EPOCH,
                length: Duration::ZERO,
                flows: Vec::new(),
                tally: Tally::default(),
                rtt: Times::default(),
                long: Vec::new(),
                eventful: true,
                filled: false,
            }
        };
        self.targets = traffic.targets.iter().map(target).collect();
    }

    /// Fills in what changed.
    pub fn fill(&mut self, traffic: &Traffic, length: Duration) {
        let mut eventful = vec![false; traffic.targets.len()];
        for event in &traffic.events {
            eventful[traffic.flows[event.flow].target] = true;
        }
        for pending in traffic.pending_flows() {
            eventful[traffic.flows[pending].target] = true;
        }
        for ((window, target), eventful) in
            self.targets.iter_mut().zip(&traffic.targets).zip(eventful)
        {
            window.end =
                SystemTime::UNIX_EPOCH + stamp(Duration::from_secs(target.settled_until)).0;
            let full = traffic.window(target);
            let is_full = full.end - full.start >= length.as_secs();
            if eventful || window.eventful || !window.filled {
                window.fill(traffic, target);
                window.filled = is_full;
                window.length = length;
                window.eventful = eventful;
            }
        }
        for event in &traffic.events {
            let flow = &traffic.flows[event.flow];
            let target = &traffic.targets[flow.target];
            if traffic.window(target).contains(&event.second) {
                self.targets[flow.target].add(event.flow - target.flows.start, event.end);
            }
        }
        for window in self.targets.iter_mut().filter(|window| window.eventful) {
            window.finish();
        }
    }

    /// The local ports, each once.
    pub fn ports(&self) -> Vec<LocalPort> {
        let mut ports: Vec<LocalPort> = self
            .targets
            .iter()
            .map(|window| window.local.clone())
            .collect();
        ports.sort_unstable();
        ports.dedup();
        ports
    }

    /// Median and 99th percentile of all round trips of a local port.
    pub fn quantiles(&self, port: &LocalPort) -> Quantiles {
        let of_port = || self.targets.iter().filter(|window| window.local == *port);
        let count: u64 = of_port().map(|window| window.rtt.count()).sum();
        if count == 0 {
            return (None, None);
        }
        // Usual round trips by how far they go, then the long ones: each part is sorted, and so are the parts.
        let mut parts: Vec<Times> = [1, 3]
            .map(|switches| Times {
                usual: of_port()
                    .filter(|window| window.rtt.switches == switches)
                    .map(|window| window.rtt.usual)
                    .sum(),
                switches,
                long: Vec::new(),
            })
            .to_vec();
        let mut long: Vec<Duration> = of_port()
            .flat_map(|window| window.rtt.long.iter().copied())
            .collect();
        long.sort_unstable();
        parts.push(Times {
            long,
            ..Times::default()
        });
        let at = |q: f64| {
            let mut index = (q * count as f64).ceil().max(1.0) as u64 - 1;
            for part in &parts {
                if index < part.count() {
                    return Some(part.at(index));
                }
                index -= part.count();
            }
            None
        };
        (at(0.5), at(0.99))
    }

    /// Positions of the flows that a finding is about.
    pub fn flows_of(&self, key: &FindingKey, traffic: &Traffic) -> std::ops::Range<usize> {
        let found = self
            .targets
            .iter()
            .position(|window| window.key == key.target && window.local == key.local);
        let Some(target) = found.and_then(|at| traffic.targets.get(at)) else {
            return 0..0;
        };
        match key.flow {
            None => target.flows.clone(),
            Some(flow) => {
                let at = target.flows.start + usize::from(flow);
                at..(at + 1).min(target.flows.end)
            }
        }
    }

    /// As the rules take them.
    pub fn all(&self) -> Vec<Window<'_>> {
        self.targets
            .iter()
            .map(|window| Window {
                local: &window.local,
                target: window.key.clone(),
                end: window.end,
                length: window.length,
                timestamps: TimestampMode::Hardware,
                flows: &window.flows,
                tally: window.tally,
                rtt: &window.rtt,
            })
            .collect()
    }
}

impl TargetWindow {
    /// As if every probe had ended in time.
    fn fill(&mut self, traffic: &Traffic, target: &Target) {
        let seconds = traffic.window(target);
        self.flows.clear();
        self.long.clear();
        self.tally = Tally::default();
        let switches = traffic
            .flows
            .get(target.flows.start)
            .map_or(1, |flow| switches(flow.forth));
        self.rtt = Times {
            switches,
            ..Times::default()
        };
        for (index, flow) in target.flows.clone().enumerate() {
            let sent = traffic.sent(flow, seconds.clone());
            let tally = Tally {
                sent,
                ok: sent,
                ..Tally::default()
            };
            self.tally += tally;
            self.rtt.usual += sent;
            let usual = Times {
                usual: sent,
                switches,
                long: Vec::new(),
            };
            self.flows.push(FlowWindow {
                flow: index as u16,
                source_port: Some(traffic.flows[flow].source_port),
                routers: Some(switches as u8),
                tally,
                rtt: usual.summary(),
            });
        }
    }

    fn add(&mut self, index: usize, end: End) {
        let Some(flow) = self.flows.get_mut(index) else {
            return;
        };
        for tally in [&mut flow.tally, &mut self.tally] {
            book(tally, end);
        }
        self.rtt.usual = self.rtt.usual.saturating_sub(1);
        if let End::Took(took) = end {
            self.long.push((index, took));
        }
    }

    /// Makes figures of what was added.
    fn finish(&mut self) {
        self.long.sort_unstable();
        let mut left = self.long.as_slice();
        for (index, flow) in self.flows.iter_mut().enumerate() {
            let own = left.partition_point(|(of, _)| *of == index);
            let (long, rest) = left.split_at(own);
            left = rest;
            if flow.tally.ok == flow.tally.sent && long.is_empty() {
                continue;
            }
            let times = Times {
                usual: flow.tally.ok.saturating_sub(long.len() as u64),
                switches: self.rtt.switches,
                long: long.iter().map(|(_, took)| *took).collect(),
            };
            flow.rtt = times.summary();
        }
        self.rtt.long = self.long.iter().map(|(_, took)| *took).collect();
        self.rtt.long.sort_unstable();
    }
}

/// Books how a probe ended that was taken to have ended in time.
fn book(tally: &mut Tally, end: End) {
    let place = match end {
        End::Took(_) => return,
        End::LostForward => {
            tally.lost_forward += 1;
            &mut tally.lost
        }
        End::LostReturn => {
            tally.lost_return += 1;
            &mut tally.lost
        }
        End::Lost => &mut tally.lost,
        End::Late => &mut tally.late,
        End::HostDelayed => &mut tally.host_delayed,
        End::Unresolved => &mut tally.unresolved,
    };
    *place += 1;
    tally.ok = tally.ok.saturating_sub(1);
}
