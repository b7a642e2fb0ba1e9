//! What agents count and who is suspected while something is done to the cluster.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rdmamesh_e2e::rig::Rig;
use rdmamesh_e2e::runner::World as _;
use rdmamesh_e2e::runner::counters::{CounterLog, Outcomes, since};
use rdmamesh_e2e::runner::fabric::FabricWorld;
use rdmamesh_e2e::runner::view::SuspectView;

/// A reading starts a program in each host, which is dear under software emulation.
const EVERY: Duration = Duration::from_secs(5);
/// Watched on after the work is done: a loss shows in the status within seconds.
const AFTERWARDS: Duration = Duration::from_secs(12);

/// What was seen.
#[derive(Debug)]
pub struct Seen {
    /// Outcomes of probes that were counted meanwhile.
    pub counted: Outcomes,
    /// Everybody who was suspected at any moment.
    pub suspects: BTreeSet<String>,
}

impl Seen {
    /// Probing went on, no probe was lost and nobody was suspected.
    pub fn quiet(&self) -> Result<()> {
        let number = |outcome: &str| self.counted.get(outcome).copied().unwrap_or_default();
        ensure!(
            self.suspects.is_empty(),
            "suspected meanwhile: {:?}",
            self.suspects
        );
        ensure!(number("ok") > 100, "hardly probed: {:?}", self.counted);
        ensure!(number("lost") == 0, "lost probes: {:?}", self.counted);
        Ok(())
    }
}

/// Watches while `work` is done, which gets Helm and kubectl, and a little longer.
pub async fn during<T>(rig: &mut Rig, work: impl Future<Output = Result<T>>) -> Result<(T, Seen)> {
    let mut world = FabricWorld::with_mesh(rig, &serde_json::json!({})).await?;
    let view = world.view();
    let mut log = CounterLog::default();
    log.record(world.counters().await);
    let before = log.totals();
    let done = Cell::new(None);
    let mut suspects = BTreeSet::new();
    let work = async {
        let result = work.await;
        done.set(Some(tokio::time::Instant::now()));
        result
    };
    let watching = async {
        while done.get().is_none_or(|at| at.elapsed() < AFTERWARDS) {
            log.record(world.counters().await);
            if let Some(mesh) = &view.borrow().mesh {
                suspects.extend(mesh.suspects.iter().map(SuspectView::label));
            }
            tokio::time::sleep(EVERY).await;
        }
    };
    let (result, ()) = futures::join!(work, watching);
    let result = result.context("what was done meanwhile")?;
    let counted = since(&log.totals(), &before);
    Ok((result, Seen { counted, suspects }))
}
