//! The sim world: the same steps and expectations in `rdmamesh_fabric::simulate`, in simulated time.
//!
//! The player waits on tokio's clock. Here that clock stands still while anything is to be done and jumps to the next
//! moment at which something is: so minutes of a scenario take as long as computing them does, and every run of a
//! scenario is the same.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use rdmamesh_fabric::simulate::{Cluster, Fabric, Setup, Size, Writer};
use tokio::sync::watch;
use tokio::time::Instant;

use super::counters::AgentCounters;
use super::view::{ApiWrite, View};
use super::{World, check, play};
use crate::progress::Progress;
use crate::report::ScenarioReport;
use crate::scenario::{ApiWriters, Fault, Scenario};
use crate::score::mesh_of;

mod faults;
mod seen;

/// Between two looks at the simulated cluster.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Seed of everything random in a scenario.
const SEED: u64 = 1;

/// Plays a scenario in the simulator.
///
/// # Errors
/// When its mesh is none, its fabric cannot be simulated, or it asks for what the simulator cannot do.
pub fn play_simulated(scenario: &Scenario, progress: &Progress) -> Result<ScenarioReport> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .context("start the simulated clock")?;
    runtime.block_on(async {
        let mut world = SimWorld::new(scenario)?;
        check(scenario, &world).map_err(anyhow::Error::msg)?;
        let passing = world.time_passes();
        tokio::select! {
            report = play(&mut world, scenario, progress) => Ok(report),
            () = passing => anyhow::bail!("the simulated time has ended"),
        }
    })
}

/// A simulated cluster.
pub struct SimWorld {
    state: Arc<State>,
    view: watch::Receiver<View>,
}

/// What the player and the passing time share.
struct State {
    cluster: Mutex<Cluster>,
    fabric: Fabric,
    begin: Instant,
    view: watch::Sender<View>,
}

impl SimWorld {
    /// A cluster with the scenario's fabric and mesh that begins now.
    ///
    /// # Errors
    /// When the mesh is none or the fabric cannot be numbered.
    pub fn new(scenario: &Scenario) -> Result<Self> {
        let spec = scenario.fabric.spec();
        let size = Size {
            leaves: spec.leaves,
            spines: spec.spines,
            hosts_per_leaf: spec.hosts_per_leaf,
            rails: spec.rails,
        };
        let fabric = Fabric::new(size, SEED)?;
        let mesh = mesh_of(&scenario.mesh).context("in the scenario's mesh")?;
        let (sender, view) = watch::channel(View::default());
        let state = State {
            cluster: Mutex::new(Cluster::new(Setup::healthy(fabric, mesh, SEED))),
            fabric,
            begin: Instant::now(),
            view: sender,
        };
        Ok(Self {
            state: Arc::new(state),
            view,
        })
    }

    /// Lets the simulated cluster follow the clock, for ever.
    fn time_passes(&self) -> impl Future<Output = ()> + use<> {
        let state = Arc::clone(&self.state);
        async move {
            loop {
                state.follow();
                tokio::time::sleep(LOOK_EVERY).await;
            }
        }
    }
}

impl State {
    fn cluster(&self) -> MutexGuard<'_, Cluster> {
        // A panic in another thread has been reported there; here there is only one.
        self.cluster.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets everything happen until now, and shows it.
    fn follow(&self) {
        let mut cluster = self.cluster();
        cluster.run_until(self.begin.elapsed(), |_, _| {});
        let known = self.view.borrow().writes.len();
        let new: Vec<ApiWrite> = cluster.writes()[known..]
            .iter()
            .map(|write| {
                let (by, host, kind) = match write.by {
                    Writer::Agent(host) => (ApiWriters::Agents, host, "RdmaProbeAssignment status"),
                    Writer::Inventory(host) => (ApiWriters::Agents, host, "RdmaNode"),
                    Writer::Operator(host) => (ApiWriters::Operator, host, "RdmaProbeAssignment"),
                };
                let node = format!("host{}", host + 1);
                ApiWrite {
                    at: self.begin + write.at,
                    by,
                    object: format!("{kind} {node}"),
                    node,
                }
            })
            .collect();
        self.view.send_if_modified(|view| {
            let mesh = seen::mesh(&cluster, view.mesh.as_ref());
            let differs = view.saw(Some(mesh)) || !new.is_empty();
            view.writes.extend(new);
            differs
        });
    }
}

impl World for SimWorld {
    fn name(&self) -> &'static str {
        "sim"
    }

    fn can(&self, fault: &Fault) -> Result<(), String> {
        faults::simulated(&self.state.fabric, &fault.fault).map(|_| ())
    }

    async fn inject(&mut self, fault: &Fault) -> Result<()> {
        let simulated =
            faults::simulated(&self.state.fabric, &fault.fault).map_err(anyhow::Error::msg)?;
        self.state.follow();
        self.state.cluster().inject(&fault.id, simulated);
        Ok(())
    }

    async fn clear(&mut self, id: &str) -> Result<()> {
        self.state.follow();
        self.state.cluster().clear(id);
        Ok(())
    }

    fn view(&self) -> watch::Receiver<View> {
        self.view.clone()
    }

    async fn refresh(&mut self) -> Result<()> {
        self.state.follow();
        Ok(())
    }

    async fn counters(&mut self) -> Vec<AgentCounters> {
        let cluster = self.state.cluster();
        cluster
            .counters()
            .into_iter()
            .map(|counted| AgentCounters {
                host: format!("host{}", counted.host + 1),
                process: format!("{:?}", counted.began),
                outcomes: counted
                    .outcomes
                    .into_iter()
                    .map(|(name, number)| (name.to_owned(), number))
                    .collect(),
            })
            .collect()
    }

    async fn diagnostics(&mut self) -> String {
        let cluster = self.state.cluster();
        let verdict = cluster.verdict();
        let mut lines = vec![format!(
            "-- after {:.1} s: {} ({})",
            cluster.now().as_secs_f64(),
            verdict.health.status.as_str(),
            verdict.health.message
        )];
        lines.extend(verdict.suspects.iter().map(|suspect| {
            format!(
                "-- {} ({} %): {}",
                suspect.key, suspect.confidence, suspect.evidence
            )
        }));
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests;
