//! One control plane for all tests of a suite.

use std::sync::OnceLock;

use anyhow::{Context, Result, anyhow};
use tokio::runtime::Runtime;

use crate::chart::Chart;
use crate::control_plane::ControlPlane;
use crate::layout::Layout;
use crate::progress::Progress;

/// A control plane that is started at first use and ends with this value, and what else tests against an API server need.
pub struct SharedPlane {
    /// Runs what is async.
    pub runtime: Runtime,
    /// Where everything is.
    pub layout: Layout,
    plane: OnceLock<Result<ControlPlane, String>>,
}

impl SharedPlane {
    /// None is started yet.
    ///
    /// # Errors
    /// When there is no workspace, or the async runtime does not start.
    pub fn new() -> Result<Self> {
        Ok(Self {
            runtime: Runtime::new().context("start the async runtime")?,
            layout: Layout::of_workspace()?,
            plane: OnceLock::new(),
        })
    }

    /// Runs a future to its end.
    ///
    /// # Errors
    /// Those of the future.
    pub fn wait<T>(&self, future: impl Future<Output = Result<T>>) -> Result<T> {
        self.runtime.block_on(future)
    }

    /// The control plane; it has the product's CRDs and roles, and no release of the chart.
    ///
    /// # Errors
    /// When it does not start.
    pub fn plane(&self) -> Result<&ControlPlane> {
        let started = self.plane.get_or_init(|| {
            self.wait(ControlPlane::start())
                .map_err(|error| format!("{error:#}"))
        });
        started
            .as_ref()
            .map_err(|error| anyhow!("the control plane does not start: {error}"))
    }

    /// A client with the administrator's rights.
    ///
    /// # Errors
    /// When the control plane does not start.
    pub fn client(&self) -> Result<kube::Client> {
        self.wait(self.plane()?.client())
    }

    /// The chart, without a cluster.
    ///
    /// # Errors
    /// When Helm cannot be built.
    pub fn chart(&self) -> Result<Chart> {
        self.wait(Chart::of_workspace(&self.layout, &Progress::new()))
    }
}
