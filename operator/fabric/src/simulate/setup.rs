//! What a simulated cluster starts from.

use std::collections::BTreeMap;
use std::time::Duration;

use super::fabric::{Fabric, HostId};
use super::population::Case;
use crate::diagnose::Tolerance;
use crate::plan::{Budget, MeshPolicy, ProbeClass, Probing, Thresholds, Topology};

/// How the mesh is probed and judged.
#[derive(Clone, Debug, PartialEq)]
pub struct Mesh {
    /// For the planner.
    pub policy: MeshPolicy,
    /// For the judge.
    pub tolerance: Tolerance,
    /// For the judge: share of an RNIC's probes that must be lost where paths are not traced.
    pub rnic_timeout_ratio: f64,
}

/// The defaults of the API; a test in `e2e` compares them.
impl Default for Mesh {
    fn default() -> Self {
        let probing = |interval| Probing {
            interval,
            timeout: Duration::from_millis(500),
        };
        let second = probing(Duration::from_secs(1));
        Self {
            policy: MeshPolicy {
                classes: BTreeMap::from([
                    (ProbeClass::TorMesh, probing(Duration::from_millis(100))),
                    (ProbeClass::InterTor, second),
                    (ProbeClass::Control, second),
                ]),
                coverage: 0.99,
                topology: Topology {
                    rail_optimized: false,
                    parallel_paths: 16,
                },
                budget: Budget {
                    max_probes_per_second: 500,
                    max_peers_per_rnic: 16,
                },
                traffic_classes: Vec::new(),
                thresholds: Thresholds {
                    window: Duration::from_secs(5),
                    loss_ratio: 0.02,
                    p99: Duration::from_micros(500),
                },
            },
            tolerance: Tolerance {
                max_unhealthy_percent: 0,
                raise_after: 1,
                clear_after: 2,
            },
            rnic_timeout_ratio: 0.1,
        }
    }
}

/// A cluster before anything happens in it.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The fabric.
    pub fabric: Fabric,
    /// The mesh.
    pub mesh: Mesh,
    /// Seed of everything random.
    pub seed: u64,
    /// Share of packets that every cable loses in each direction.
    pub background_loss: f64,
    /// Share of hops of traced paths that do not answer.
    pub unanswered_hops: f64,
    /// Hosts that are short of processor time throughout.
    pub starved: Vec<HostId>,
    /// Hosts whose agent never was there.
    pub never_there: Vec<HostId>,
    /// Hosts whose agent died long ago.
    pub died_before: Vec<HostId>,
}

impl Setup {
    /// A cluster in which everything is as it should be.
    #[must_use]
    pub const fn healthy(fabric: Fabric, mesh: Mesh, seed: u64) -> Self {
        Self {
            fabric,
            mesh,
            seed,
            background_loss: 0.0,
            unanswered_hops: 0.0,
            starved: Vec::new(),
            never_there: Vec::new(),
            died_before: Vec::new(),
        }
    }

    /// The cluster that a case begins with.
    #[must_use]
    pub fn of_case(case: &Case, mesh: Mesh) -> Self {
        Self {
            background_loss: case.noise.background_loss,
            unanswered_hops: case.noise.unanswered_hops,
            starved: case.starved.clone(),
            never_there: case.never_there.clone(),
            died_before: case.died_before.clone(),
            ..Self::healthy(case.fabric, mesh, case.seed)
        }
    }
}
