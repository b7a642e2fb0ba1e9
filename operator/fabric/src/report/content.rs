//! One mesh's part of a status, and what is left out of it so that it fits.

use std::collections::BTreeMap;
use std::time::Duration;

use super::find::{Finding, Kind};
use super::links::{Links, Path, Paths, links};
use super::window::{LocalPort, Tally, Window};
use crate::Timestamp;
use crate::diagnose::{Anomaly, AnomalyKind, Hop, LinkTally, LossyPath, RnicTally};
use crate::names::{NodeName, RnicName};
use crate::plan::ProbeClass;

/// Anomalies kept per mesh at most.
pub const MAX_ANOMALIES: usize = 32;
/// Link tallies kept per mesh at most.
pub const MAX_LINKS: usize = 64;
/// Paths of lossy flows kept per mesh at most.
pub const MAX_LOSSY_PATHS: usize = 64;

/// One mesh's part of a status.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Content {
    /// Figures per local RNIC.
    pub rnics: Vec<RnicTally>,
    /// Paths that are ill, worst first.
    pub anomalies: Vec<Anomaly>,
    /// Anomalies that were left out.
    pub anomalies_omitted: u32,
    /// Links on the paths of lossy or slow flows, worst first, and those paths.
    pub links: Links,
}

/// Median and 99th percentile of all round trips of a local port in a mesh.
pub type Quantiles = (Option<Duration>, Option<Duration>);

/// Tells them.
pub type OfPort<'a> = dyn Fn(&LocalPort) -> Quantiles + 'a;

impl Content {
    /// What `node` has to say of `mesh`, nothing left out yet. `ports` are the local ports that probe for it.
    #[must_use]
    pub fn of(
        windows: &[Window<'_>],
        (node, mesh): (&NodeName, &str),
        ports: &[LocalPort],
        findings: &[Finding],
        (paths, rtts): (&dyn Paths, &OfPort<'_>),
    ) -> Self {
        let findings = || findings.iter().filter(|f| &*f.key.target.mesh == mesh);
        Self {
            rnics: ports
                .iter()
                .map(|port| rnic(windows, mesh, port, rtts(port)))
                .collect(),
            anomalies: findings()
                .map(|finding| anomaly(finding, path(windows, finding, paths)))
                .collect(),
            anomalies_omitted: 0,
            links: links(
                windows,
                (node, mesh),
                &findings().cloned().collect::<Vec<_>>(),
                paths,
            ),
        }
    }
}

/// The sums of one local port over all its targets in the mesh; plain-IP control probes stay out.
fn rnic(windows: &[Window<'_>], mesh: &str, port: &LocalPort, (p50, p99): Quantiles) -> RnicTally {
    let mut tally = Tally::default();
    let windows = windows.iter().filter(|window| {
        window.local == port
            && &*window.target.mesh == mesh
            && window.target.class != ProbeClass::Control
    });
    windows.for_each(|window| tally += window.tally);
    RnicTally {
        device: (&*port.device).into(),
        port: port.port,
        // What the local device refused never left; what was answered with impossible stamps was answered.
        sent: tally.sent.saturating_sub(tally.send_error),
        ok: tally.ok + tally.invalid,
        lost: tally.lost,
        late: tally.late,
        host_delayed: tally.host_delayed,
        unresolved: tally.unresolved,
        p50,
        p99,
        errors: BTreeMap::new(),
    }
}

/// The path of the one flow that a finding is about.
fn path(windows: &[Window<'_>], finding: &Finding, paths: &dyn Paths) -> Option<Path> {
    let key = &finding.key;
    let of_target =
        |window: &&Window<'_>| *window.local == key.local && window.target == key.target;
    let window = windows.iter().find(of_target)?;
    let flow = window
        .flows
        .iter()
        .find(|flow| Some(flow.flow) == key.flow)?;
    paths.path(window.local, &window.target, flow)
}

fn anomaly(finding: &Finding, path: Option<Path>) -> Anomaly {
    let key = &finding.key;
    let target = &key.target;
    Anomaly {
        kind: match key.kind {
            Kind::Loss => AnomalyKind::Loss,
            Kind::Latency => AnomalyKind::Latency,
        },
        device: (&*key.local.device).into(),
        port: key.local.port,
        class: target.class,
        target: RnicName::new(&*target.peer_node, &*target.peer_device, target.peer_port),
        // Where no source port is known (InfiniBand), the flow's index tells flows apart.
        flow: key.flow.map(|index| finding.source_port.unwrap_or(index)),
        sent: finding.sent,
        lost: finding.lost,
        lost_forward: finding.lost_forward,
        lost_return: finding.lost_return,
        p50: finding.p50.filter(|_| key.kind == Kind::Latency),
        p99: finding.p99,
        baseline: finding.baseline,
        // A probe counts as lost only if its peer answered over plain IP afterwards.
        ip_reachable: (finding.lost > 0).then_some(true),
        path: path.map_or_else(Vec::new, |path| path.to_vec()),
        since: Timestamp::from(finding.since),
    }
}

/// Leaves out of `contents`, the parts of one node's meshes, until all of them take at most `bytes` of JSON:
/// first what is many and mild, then figures of RNICs without trouble, then more, each mesh in turn.
pub fn fit(contents: &mut [Content], bytes: usize) {
    for content in contents.iter_mut() {
        while content.anomalies.len() > MAX_ANOMALIES {
            content.omit_anomaly(MAX_ANOMALIES);
        }
        content.links.lossy_paths.truncate(MAX_LOSSY_PATHS);
        content.keep_links(MAX_LINKS);
    }
    let steps: [fn(&mut Content) -> usize; 10] = [
        |content| content.omit_anomaly(12),
        |content| content.omit_path(24),
        |content| content.omit_link(32),
        |content| content.omit_anomaly(4),
        |content| content.omit_path(8),
        |content| content.omit_link(12),
        Content::omit_quiet_rnic,
        |content| content.omit_anomaly(1),
        |content| content.omit_path(0) + content.omit_link(0),
        |content| content.rnics.pop().map_or(0, |rnic| rnic_bytes(&rnic)),
    ];
    let mut size: usize = contents.iter().map(Content::bytes).sum();
    for step in steps {
        let mut progress = true;
        while progress && size > bytes {
            progress = false;
            for content in contents.iter_mut() {
                let saved = if size > bytes { step(content) } else { 0 };
                progress |= saved > 0;
                size = size.saturating_sub(saved);
            }
        }
    }
}

impl Content {
    /// Bytes of JSON that this takes at most in a status.
    #[must_use]
    pub fn bytes(&self) -> usize {
        // `"anomaliesOmitted":4294967295,` and the names of the lists.
        const FRAME: usize = 110;
        FRAME
            + self.rnics.iter().map(rnic_bytes).sum::<usize>()
            + self.anomalies.iter().map(anomaly_bytes).sum::<usize>()
            + self.links.links.iter().map(link_bytes).sum::<usize>()
            + self.links.lossy_paths.iter().map(path_bytes).sum::<usize>()
    }

    fn omit_anomaly(&mut self, keep: usize) -> usize {
        if self.anomalies.len() <= keep {
            return 0;
        }
        let mildest = self.anomalies.pop();
        self.anomalies_omitted = self.anomalies_omitted.saturating_add(1);
        mildest.map_or(0, |anomaly| anomaly_bytes(&anomaly))
    }

    fn omit_path(&mut self, keep: usize) -> usize {
        if self.links.lossy_paths.len() <= keep {
            return 0;
        }
        let mildest = self.links.lossy_paths.pop();
        mildest.map_or(0, |path| path_bytes(&path))
    }

    fn omit_link(&mut self, keep: usize) -> usize {
        let mildest = self
            .links
            .links
            .last()
            .filter(|_| self.links.links.len() > keep);
        let saved = mildest.map_or(0, link_bytes);
        let shorter = self.links.links.len().saturating_sub(1).max(keep);
        self.keep_links(shorter);
        saved
    }

    /// Keeps the worst links; paths forget the others.
    fn keep_links(&mut self, keep: usize) {
        if self.links.links.len() <= keep {
            return;
        }
        self.links.links.truncate(keep);
        for path in &mut self.links.lossy_paths {
            path.links.retain(|position| usize::from(*position) < keep);
        }
        self.links.lossy_paths.retain(|path| !path.links.is_empty());
    }

    fn omit_quiet_rnic(&mut self) -> usize {
        let quiet = self.rnics.iter().rposition(|rnic| {
            let ill =
                |anomaly: &Anomaly| anomaly.device == rnic.device && anomaly.port == rnic.port;
            // One stays, so that the mesh has figures at all.
            self.rnics.len() > 1 && !self.anomalies.iter().any(ill)
        });
        quiet.map_or(0, |position| rnic_bytes(&self.rnics.remove(position)))
    }
}

/// Length of a number in decimal digits.
fn digits(number: u64) -> usize {
    number.checked_ilog10().map_or(1, |log| log as usize + 1)
}

/// `,"name":"1h2m3.456789012s"`, where it is there.
fn duration_bytes(name: &str, duration: Option<Duration>) -> usize {
    duration.map_or(0, |_| name.len() + 26)
}

fn count_bytes(name: &str, number: u64) -> usize {
    name.len() + 4 + digits(number)
}

fn rnic_bytes(rnic: &RnicTally) -> usize {
    let counts = [
        ("sent", rnic.sent),
        ("ok", rnic.ok),
        ("lost", rnic.lost),
        ("late", rnic.late),
        ("hostDelayed", rnic.host_delayed),
        ("unresolved", rnic.unresolved),
    ];
    let counts: usize = counts
        .map(|(name, number)| count_bytes(name, number))
        .iter()
        .sum();
    let errors: usize = rnic
        .errors
        .iter()
        .map(|(name, by)| count_bytes(name, *by))
        .sum();
    let errors = if rnic.errors.is_empty() {
        0
    } else {
        errors + 12
    };
    // Device, port, timestamps, flow sources.
    let frame = r#"{"device":"","port":255,"timestamps":"Hardware","flowSources":65535},"#.len();
    frame
        + rnic.device.as_str().len()
        + counts
        + errors
        + duration_bytes("p50", rnic.p50)
        + duration_bytes("p99", rnic.p99)
}

fn anomaly_bytes(anomaly: &Anomaly) -> usize {
    let frame = r#"{"kind":"Latency","device":"","port":255,"class":"hostMesh","target":"/:255","flow":65535,"ipReachable":false,"since":"2026-01-01T00:00:00.123456789Z"},"#;
    let optional = |name, number| {
        if number == 0 {
            0
        } else {
            count_bytes(name, number)
        }
    };
    let path: usize = anomaly
        .path
        .iter()
        .map(|hop| 3 + hop.map_or(0, address_bytes))
        .sum();
    let path = if anomaly.path.is_empty() {
        0
    } else {
        path + 10
    };
    let target = &anomaly.target;
    frame.len()
        + anomaly.device.as_str().len()
        + target.node.as_str().len()
        + target.device.as_str().len()
        + count_bytes("sent", anomaly.sent)
        + count_bytes("lost", anomaly.lost)
        + optional("lostForward", anomaly.lost_forward)
        + optional("lostReturn", anomaly.lost_return)
        + duration_bytes("p50", anomaly.p50)
        + duration_bytes("p99", anomaly.p99)
        + duration_bytes("baseline", anomaly.baseline)
        + path
}

fn address_bytes(address: std::net::IpAddr) -> usize {
    address.to_string().len()
}

fn hop_bytes(hop: &Hop) -> usize {
    match hop {
        Hop::Router(address) => address_bytes(*address),
        Hop::Unknown => 0,
        Hop::Rnic(rnic) => rnic.node.as_str().len() + rnic.device.as_str().len() + 5,
    }
}

fn link_bytes(link: &LinkTally) -> usize {
    let optional = |name, number: u32| match number {
        0 => 0,
        number => count_bytes(name, u64::from(number)),
    };
    r#"{"from":"","to":""},"#.len()
        + hop_bytes(&link.from)
        + hop_bytes(&link.to)
        + count_bytes("crossed", u64::from(link.crossed))
        + count_bytes("lossy", u64::from(link.lossy))
        + optional("slow", link.slow)
        + count_bytes("sent", link.sent)
        + count_bytes("lost", link.lost)
        + optional("hopSent", link.hop_sent)
        + optional("hopAnswered", link.hop_answered)
        + duration_bytes("hopRtt", link.hop_rtt)
}

fn path_bytes(path: &LossyPath) -> usize {
    let links: usize = path
        .links
        .iter()
        .map(|link| digits(u64::from(*link)) + 1)
        .sum();
    r#"{"links":[]},"#.len()
        + links
        + count_bytes("flows", u64::from(path.flows))
        + count_bytes("sent", path.sent)
        + count_bytes("lost", path.lost)
}
