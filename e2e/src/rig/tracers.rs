//! The tracers: beside each host's agent, in the same network namespace, a process that finds the paths of its flows.

use anyhow::Result;
use nix::sys::signal::Signal;

use super::Rig;
use super::agents::log_filter;
use crate::channel::Program;
use crate::fault::transition::cgroup;

const PROGRAM: &str = "rdmamesh-agent";

fn unit(host: &str) -> String {
    format!("tracer-{host}")
}

/// Where a host's agent finds its tracer: in the guest's own memory, because the shared folder takes no sockets.
pub(super) fn socket(host: &str) -> String {
    format!("/run/tracer-{host}.sock")
}

impl Rig {
    /// Starts a host's tracer. It need not be there already when this returns: the agent looks for it every second.
    ///
    /// # Errors
    /// When it is running or cannot be started.
    pub async fn start_tracer(&self, host: &str) -> Result<()> {
        let host = self.fabric.host(host)?;
        let program = Program {
            argv: vec![
                self.folder()
                    .join("bin")
                    .join(PROGRAM)
                    .display()
                    .to_string(),
                "trace".to_owned(),
                format!("--socket={}", socket(&host.name)),
            ],
            env: [("RUST_LOG".to_owned(), log_filter())].into(),
            netns: Some(host.name.clone()),
            cgroup: Some(cgroup(&host.name)),
        };
        let log = self.folder().join(format!("logs/tracer-{}.log", host.name));
        self.guest().start(&unit(&host.name), program, &log).await?;
        Ok(())
    }

    /// Sends a signal to a host's tracer.
    ///
    /// # Errors
    /// When it was never started.
    pub async fn signal_tracer(&self, host: &str, signal: Signal) -> Result<()> {
        let unit = unit(&self.fabric.host(host)?.name);
        self.guest().signal(&unit, signal).await
    }
}
