//! What an agent writes: the real rules' content, as large as a status may be.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::super::fabric::{Fabric, HostId, RnicId};
use super::super::life::Time;
use super::super::operator::{MESH, stamp};
use super::super::traffic::Traffic;
use super::tracer::{End, Tracer};
use super::windows::Windows;
use crate::diagnose::{Hop, Report};
use crate::names::RnicName;
use crate::report::{
    Content, Findings, FlowWindow, HopTally, LocalPort, Path, Paths, TargetKey, Window, fit,
};
use crate::time::Timestamp;

/// Bytes of JSON that a status may take, and what of them its frame (name, plan hash, condition, times) takes.
const STATUS_BYTES: usize = 8192;
pub(super) const FRAME_BYTES: usize = 520;

/// What a report is made of.
pub(super) struct Material<'a> {
    pub host: HostId,
    pub now: Time,
    pub settled: bool,
    pub fabric: &'a Fabric,
    pub traffic: &'a Traffic,
    pub tracer: &'a Tracer,
    pub findings: &'a Findings,
}

/// The report of these windows, and the bytes that it takes in a status.
pub(super) fn report(
    material: &Material<'_>,
    all: &Windows,
    windows: &[Window<'_>],
) -> (Report, usize) {
    let ports = all.ports();
    let paths = Traced::new(material, windows);
    let node = material.fabric.host_name(material.host);
    let mut contents = [Content::of(
        windows,
        (&node, MESH),
        &ports,
        &material.findings.open,
        (&paths, &|port| all.quantiles(port)),
    )];
    fit(&mut contents, STATUS_BYTES - FRAME_BYTES);
    let [content] = contents;
    let bytes = FRAME_BYTES + content.bytes();
    let end = windows.iter().map(|window| window.end).max();
    let report = Report {
        seen: stamp(material.now),
        window_end: end.filter(|_| material.settled).map(Timestamp::from),
        rnics: content.rnics,
        anomalies: content.anomalies,
        anomalies_omitted: content.anomalies_omitted,
        links: content.links.links,
        lossy_paths: content.links.lossy_paths,
    };
    (report, bytes)
}

/// The tracer as the rules ask it.
struct Traced<'a> {
    material: &'a Material<'a>,
    /// Position of each target by the place of its key's name in memory, which no two targets share.
    targets: HashMap<*const u8, usize>,
    locals: HashMap<RnicName, RnicId>,
    since: u64,
}

impl<'a> Traced<'a> {
    fn new(material: &'a Material<'a>, windows: &[Window<'_>]) -> Self {
        let fabric = material.fabric;
        let longest = windows.iter().map(|window| window.length).max();
        let window = longest.unwrap_or_default() + Duration::from_secs(1);
        let first = material.host * fabric.rails();
        Self {
            targets: windows
                .iter()
                .enumerate()
                .map(|(at, window)| (window.target.peer_node.as_ptr(), at))
                .collect(),
            locals: (first..first + fabric.rails())
                .map(|rnic| (fabric.rnic_name(rnic), rnic))
                .collect(),
            since: material.now.saturating_sub(window).as_secs(),
            material,
        }
    }
}

impl std::fmt::Debug for Traced<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Traced").finish_non_exhaustive()
    }
}

impl Paths for Traced<'_> {
    fn path(&self, _local: &LocalPort, target: &TargetKey, flow: &FlowWindow) -> Option<Path> {
        let at = *self.targets.get(&target.peer_node.as_ptr())?;
        let Material {
            traffic,
            tracer,
            fabric,
            now,
            ..
        } = self.material;
        let flow = traffic.targets.get(at)?.flows.start + usize::from(flow.flow);
        let path = tracer.path(flow, traffic.flows.get(flow)?.forth, fabric, *now)?;
        Some(Arc::from(path))
    }

    fn hop(&self, from: &Hop, to: &Hop) -> HopTally {
        let from = match from {
            Hop::Router(address) => Some(End::Router(*address)),
            Hop::Rnic(name) => self.locals.get(name).map(|rnic| End::Rnic(*rnic)),
            Hop::Unknown => None,
        };
        let (Some(from), Hop::Router(to)) = (from, to) else {
            return HopTally::default();
        };
        let hops = self.material.tracer.hops(from, *to, self.since);
        HopTally {
            sent: u32::try_from(hops.sent).unwrap_or(u32::MAX),
            answered: u32::try_from(hops.answered).unwrap_or(u32::MAX),
            rtt: hops.fastest,
        }
    }
}
