//! Whether a mesh's results can be reported: a full window of settled seconds behind every target that
//! can be probed at all.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::model::{LocalPort, PortActivity, PortHealth, TargetKey, TickReport};
use crate::plan::AgentPlan;

/// A port that does not probe for this long counts as idle; opening one anew, as some plans need, takes less.
const IDLE_AFTER: Duration = Duration::from_secs(5);

/// Which planned ports do not probe, and for how long already.
#[derive(Debug, Clone, Default)]
pub struct Idle(BTreeMap<LocalPort, (Instant, bool)>);

impl Idle {
    /// Takes the newest state of the ports into account.
    pub fn update(&mut self, plan: &AgentPlan, ports: &[PortHealth], now: Instant) {
        let planned = |local: &LocalPort| plan.probes.ports.iter().any(|port| port.local == *local);
        self.0
            .retain(|local, _| planned(local) && !probing(ports, local));
        for port in plan
            .probes
            .ports
            .iter()
            .filter(|port| !probing(ports, &port.local))
        {
            let (since, idle) = self.0.entry(port.local.clone()).or_insert((now, false));
            *idle = now.duration_since(*since) >= IDLE_AFTER;
        }
    }

    /// Whether the port has not probed for a while.
    pub fn contains(&self, local: &LocalPort) -> bool {
        self.0.get(local).is_some_and(|(_, idle)| *idle)
    }
}

/// Remembers per mesh under which plan it settled: that is once true until the plan changes.
#[derive(Debug, Clone, Default)]
pub struct Settled(BTreeMap<Arc<str>, String>);

impl Settled {
    /// Takes the newest report into account.
    pub fn update(&mut self, plan: &AgentPlan, report: &TickReport, idle: &Idle) {
        self.0
            .retain(|name, _| plan.meshes.iter().any(|mesh| mesh.name == *name));
        if plan
            .meshes
            .iter()
            .all(|mesh| self.contains(&mesh.name, &mesh.plan_hash))
        {
            return;
        }
        let covered: HashSet<(&LocalPort, TargetKey)> = report
            .targets
            .iter()
            .filter(|window| window.covered >= window.target.window)
            .map(|window| (&window.local, window.target.key()))
            .collect();
        for mesh in &plan.meshes {
            let settled = plan
                .probes
                .ports
                .iter()
                .filter(|port| !idle.contains(&port.local))
                .flat_map(|port| port.targets.iter().map(|target| (&port.local, target)))
                .filter(|(_, target)| target.mesh == mesh.name)
                .all(|(local, target)| covered.contains(&(local, target.key())));
            if settled {
                self.0
                    .insert(Arc::clone(&mesh.name), mesh.plan_hash.clone());
            }
        }
    }

    /// Whether the mesh has settled under this plan.
    pub fn contains(&self, mesh: &str, plan_hash: &str) -> bool {
        self.0.get(mesh).is_some_and(|hash| hash == plan_hash)
    }
}

/// Whether the data path sends probes from `local`.
fn probing(ports: &[PortHealth], local: &LocalPort) -> bool {
    ports
        .iter()
        .any(|port| port.local == *local && port.state == PortActivity::Probing)
}
