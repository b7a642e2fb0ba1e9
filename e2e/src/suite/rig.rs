//! One environment for all tests of a suite, used by one after the other.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, bail};
use futures::future::LocalBoxFuture;
use tokio::runtime::Runtime;

use crate::child::Lifetime;
use crate::fabric::FabricSpec;
use crate::layout::Layout;
use crate::progress::Progress;
use crate::rig::{Options, Rig, World};
use crate::runner::command::play_on;
use crate::scenario::Scenario;
use crate::vm;

/// A test in an environment without faults.
pub type RigTest = for<'a> fn(&'a mut Rig) -> LocalBoxFuture<'a, Result<()>>;

/// Which environment a suite wants.
pub struct Wanted {
    /// Begin of its name.
    pub name: &'static str,
    /// Whether operator and agents run.
    pub product: bool,
    /// Processes or pods.
    pub world: World,
    /// Name of an environment that is up already; it is used as it is, and left up.
    pub attach: Option<String>,
}

/// An environment that is brought up at first use.
pub struct SharedRig {
    runtime: Runtime,
    wanted: Wanted,
    /// Whoever holds the lock has the environment to itself.
    up: Mutex<Option<(FabricSpec, Result<Rig, String>)>>,
}

impl SharedRig {
    /// None is up yet.
    ///
    /// # Errors
    /// When the async runtime does not start.
    pub fn new(wanted: Wanted) -> Result<Self> {
        Ok(Self {
            runtime: Runtime::new().context("start the async runtime")?,
            wanted,
            up: Mutex::new(None),
        })
    }

    /// Runs a test in the environment with this fabric, made if it is not the one that is up, after clearing what an
    /// earlier test has left. A test under which the guest's kernel died, as emulated ones now and then do, has shown nothing
    /// and runs once more in a new environment; the kernel's last words are printed, should it be our doing.
    ///
    /// # Errors
    /// When the environment does not come up, or the test fails.
    pub fn run(
        &self,
        fabric: FabricSpec,
        test: &impl AsyncFn(&mut Rig) -> Result<()>,
    ) -> Result<()> {
        // A test that panicked has left its faults, which are cleared below.
        let mut up = self.up.lock().unwrap_or_else(PoisonError::into_inner);
        self.runtime.block_on(async {
            let first = self.run_in(&mut up, fabric, test).await;
            let (Err(error), Some(words)) = (&first, last_words(&up)) else {
                return first;
            };
            Progress::new().say(format!(
                "the guest's kernel died under the test, which runs once more: {error:#}\n{words}"
            ));
            if let Some((_, Ok(rig))) = up.take() {
                rig.stop().await.context("end what the dead kernel left")?;
            }
            self.run_in(&mut up, fabric, test).await
        })
    }

    async fn run_in(
        &self,
        up: &mut Option<(FabricSpec, Result<Rig, String>)>,
        fabric: FabricSpec,
        test: &impl AsyncFn(&mut Rig) -> Result<()>,
    ) -> Result<()> {
        if let Some((_, Ok(rig))) = up.take_if(|(shape, _)| *shape != fabric) {
            rig.stop()
                .await
                .context("end the environment with another fabric")?;
        }
        if up.is_none() {
            let rig = self.bring_up(fabric).await;
            *up = Some((fabric, rig.map_err(|error| format!("{error:#}"))));
        }
        match up.as_mut() {
            Some((_, Ok(rig))) => {
                clear_all(rig)
                    .await
                    .context("clear an earlier test's faults")?;
                test(rig).await
            }
            Some((_, Err(error))) => bail!("the environment does not come up: {error}"),
            None => bail!("the environment was just brought up"),
        }
    }

    async fn bring_up(&self, fabric: FabricSpec) -> Result<Rig> {
        if let Some(name) = &self.wanted.attach {
            let mut rig = Rig::attach(name, Progress::new()).await?;
            rig.ensure_release().await?;
            return Ok(rig);
        }
        let options = Options {
            name: format!("{}-{}", self.wanted.name, std::process::id()),
            fabric,
            lifetime: Lifetime::Tied,
            product: self.wanted.product,
            world: self.wanted.world,
        };
        Rig::up(options, Progress::new()).await
    }

    /// Ends the environment, unless it was up before; answers with its folder, which has the logs.
    ///
    /// # Errors
    /// When something does not end.
    pub fn stop(&self) -> Result<Option<PathBuf>> {
        let mut up = self.up.lock().unwrap_or_else(PoisonError::into_inner);
        match up.take() {
            Some((_, Ok(rig))) if self.wanted.attach.is_none() => {
                let folder = rig.folder().to_path_buf();
                self.runtime
                    .block_on(rig.stop())
                    .context("end the environment")?;
                Ok(Some(folder))
            }
            _ => Ok(None),
        }
    }
}

/// What the guest's kernel said at its end, where it has died.
fn last_words(up: &Option<(FabricSpec, Result<Rig, String>)>) -> Option<String> {
    let Some((_, Ok(rig))) = up else {
        return None;
    };
    let name = rig.folder().file_name()?.to_str()?;
    vm::kernel_died(&Layout::of_workspace().ok()?, name)
}

async fn clear_all(rig: &mut Rig) -> Result<()> {
    let ids: Vec<String> = rig.faults().map(|(id, _)| id.to_owned()).collect();
    for id in ids {
        rig.clear_fault(&id).await?;
    }
    Ok(())
}

/// Plays a scenario and fails with the step that failed; the runner has printed the state of everything by then.
///
/// # Errors
/// When the scenario cannot be played, or a step fails.
pub async fn play(rig: &mut Rig, scenario: &Scenario) -> Result<()> {
    let report = play_on(rig, scenario, &Progress::new()).await?;
    match report.failure() {
        None => Ok(()),
        Some(step) => bail!(
            "{} line {}: {}: {}",
            scenario.name,
            step.line,
            step.step,
            step.detail
        ),
    }
}
