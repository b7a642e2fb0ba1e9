//! Applying and clearing faults in a running environment.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;

use super::Rig;
use crate::fault::Fault;
use crate::fault::desired::{AgentState, Desired};
use crate::fault::transition;

const FABRIC_CHANGES_WITHIN: Duration = Duration::from_secs(180);

impl Rig {
    /// Faults in force, by id.
    pub fn faults(&self) -> impl Iterator<Item = (&str, &Fault)> {
        self.state
            .faults
            .iter()
            .map(|(id, fault)| (id.as_str(), fault))
    }

    /// Puts a fault in force; it is when this returns. One with a [`Fault::duration`] is the caller's to clear after
    /// that time.
    ///
    /// # Errors
    /// When the id is taken, the fault is impossible here (the message says what is possible), or the guest fails.
    pub async fn apply_fault(&mut self, id: &str, fault: Fault) -> Result<()> {
        if self.state.faults.contains_key(id) {
            bail!("a fault {id:?} is in force: clear it first, or use another id");
        }
        let mut faults = self.state.faults.clone();
        faults.insert(id.to_owned(), fault);
        self.change_to(faults)
            .await
            .with_context(|| format!("apply fault {id}"))
    }

    /// Ends a fault; what it broke is mended when this returns, other faults stay.
    ///
    /// # Errors
    /// When no such fault is in force (the message lists those that are) or something cannot be mended.
    pub async fn clear_fault(&mut self, id: &str) -> Result<()> {
        let mut faults = self.state.faults.clone();
        if faults.remove(id).is_none() {
            let ids: Vec<&str> = faults.keys().map(String::as_str).collect();
            bail!(
                "no fault {id:?} is in force; in force: [{}]",
                ids.join(", ")
            );
        }
        self.change_to(faults)
            .await
            .with_context(|| format!("clear fault {id}"))
    }

    async fn change_to(&mut self, faults: std::collections::BTreeMap<String, Fault>) -> Result<()> {
        let from = Desired::of(&self.fabric, self.state.faults.values())?;
        let to = Desired::of(&self.fabric, faults.values())?;
        // What ends goes before the fabric changes, what starts comes after it: an agent that is killed with its host
        // must not see the host's interfaces go.
        self.end_agents(&from, &to).await?;
        self.power_off(&from, &to).await?;
        let commands = transition::commands(&self.fabric, &from, &to);
        if !commands.is_empty() {
            self.guest()
                .script("changing the fabric", &commands, FABRIC_CHANGES_WITHIN)
                .await?;
        }
        self.power_on(&from, &to).await?;
        self.start_agents(&from, &to).await?;
        self.change_host_processes(&from, &to).await?;
        self.state.faults = faults;
        self.save()
    }

    async fn end_agents(&self, from: &Desired, to: &Desired) -> Result<()> {
        for (host, state) in &to.agents {
            let before = from.agents.get(host);
            // An agent in a cluster goes with its node.
            if before == Some(state) || (self.is_cluster() && to.off.contains(host)) {
                continue;
            }
            self.require_agents()?;
            match (before, state) {
                (Some(AgentState::Dead), AgentState::Stopped) => {}
                (_, AgentState::Dead) => self.kill_agent(host).await?,
                (_, AgentState::Stopped) => self.signal_agent(host, Signal::SIGSTOP).await?,
            }
        }
        Ok(())
    }

    async fn start_agents(&self, from: &Desired, to: &Desired) -> Result<()> {
        for (host, before) in &from.agents {
            match (before, to.agents.get(host)) {
                (AgentState::Dead, None) => self.start_agent(host).await?,
                (AgentState::Dead, Some(AgentState::Stopped)) => {
                    self.start_agent(host).await?;
                    self.signal_agent(host, Signal::SIGSTOP).await?;
                }
                (AgentState::Stopped, None) => self.signal_agent(host, Signal::SIGCONT).await?,
                (_, Some(_)) => {}
            }
        }
        Ok(())
    }

    fn require_agents(&self) -> Result<()> {
        if self.state.agents {
            return Ok(());
        }
        bail!("no agents were started in this environment: bring it up with the product")
    }

    async fn change_host_processes(&mut self, from: &Desired, to: &Desired) -> Result<()> {
        match (from.api_server_down, to.api_server_down) {
            (false, true) => self.state.plane.stop_api_server().await?,
            (true, false) => self.state.plane.start_api_server(&self.layout).await?,
            _ => {}
        }
        match (from.collector_down, to.collector_down) {
            (false, true) => self.state.telemetry.stop_collector().await?,
            (true, false) => self.state.telemetry.start_collector(&self.layout).await?,
            _ => {}
        }
        match (from.operator_down, to.operator_down) {
            (false, true) if self.is_cluster() => self.remove_operator_pods().await,
            (true, false) if self.is_cluster() => self.restore_operator_pods().await,
            (false, true) => self.kill_operator().await,
            (true, false) => self.restart_operator().await,
            _ => Ok(()),
        }
    }
}
