//! Where exporters get their sample: made on demand from the live state of the agent.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdmamesh_api::RdmaNodeStatus;
use tokio::sync::watch;

use super::AgentCounters;
use super::sample::{Inputs, Sample, Tracing, sample};
use crate::dataplane::{CountersSnapshot, Usage};
use crate::model::{PortHealth, SeriesTable};
use crate::passive::PortErrors;
use crate::plan::AgentPlan;
use crate::reporter::Tick;
use crate::trace::client::{Paths, TracingState};

/// One collection asks once per metric; all get the same sample.
const SHELF_LIFE: Duration = Duration::from_millis(500);

/// Reads a part of the data path's state.
pub type Read<T> = Box<dyn Fn() -> T + Send + Sync>;

/// The live state of the agent.
pub struct State {
    /// Name of the node.
    pub node: Arc<str>,
    /// Cumulative numbers of the data path.
    pub series: Read<SeriesTable>,
    /// Counters of the data path.
    pub dataplane: Read<CountersSnapshot>,
    /// Counters of the rest of the agent.
    pub agent: Arc<AgentCounters>,
    /// The local ports.
    pub ports: watch::Receiver<Vec<PortHealth>>,
    /// The inventory.
    pub inventory: watch::Receiver<Option<Arc<RdmaNodeStatus>>>,
    /// The plan in force.
    pub plan: watch::Receiver<Arc<AgentPlan>>,
    /// The newest judged report.
    pub tick: watch::Receiver<Option<Arc<Tick>>>,
    /// Error counters of the local ports.
    pub errors: watch::Receiver<Arc<PortErrors>>,
    /// Whether paths are traced.
    pub tracing: watch::Receiver<TracingState>,
    /// What is known of paths.
    pub paths: Paths,
}

/// Makes samples of a [`State`].
pub struct Source {
    state: State,
    newest: Mutex<Option<(Instant, Arc<Sample>)>>,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source")
            .field("node", &self.state.node)
            .finish_non_exhaustive()
    }
}

impl Source {
    /// A source of samples of `state`.
    pub const fn new(state: State) -> Self {
        Self {
            state,
            newest: Mutex::new(None),
        }
    }

    /// The sample of this moment, or one that is less than half a second old.
    pub fn sample(&self) -> Arc<Sample> {
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((made, sample)) = &*newest
            && made.elapsed() < SHELF_LIFE
        {
            return Arc::clone(sample);
        }
        let sample = Arc::new(self.make());
        *newest = Some((Instant::now(), Arc::clone(&sample)));
        sample
    }

    fn make(&self) -> Sample {
        let state = &self.state;
        let (series, dataplane) = ((state.series)(), (state.dataplane)());
        let ports = state.ports.borrow().clone();
        let (inventory, plan) = (
            state.inventory.borrow().clone(),
            Arc::clone(&state.plan.borrow()),
        );
        let tick = state.tick.borrow().clone();
        let errors = Arc::clone(&state.errors.borrow());
        let tracing = Tracing {
            active: *state.tracing.borrow() == TracingState::Active,
            extent: state.paths.book().extent(),
            counted: state.paths.counters(),
        };
        sample(&Inputs {
            node: &state.node,
            series: &series,
            dataplane: &dataplane,
            agent: &state.agent,
            ports: &ports,
            inventory: inventory.as_deref(),
            plan: &plan,
            tick: tick.as_deref(),
            errors: &errors,
            tracing,
            usage: Usage::now(),
        })
    }
}
