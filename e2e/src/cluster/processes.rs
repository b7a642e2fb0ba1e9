//! The processes of the product's containers in the guest, found by the node's control groups: a fault kills or freezes
//! one without asking Kubernetes.

use std::time::Duration;

use anyhow::{Result, bail};

use super::node::Node;
use crate::fault::transition::cgroup;

const FOUND_WITHIN: Duration = Duration::from_secs(60);
/// Kubelet notices a dead container within a second or two, and starts it after at most two more; a busy machine takes
/// its time.
const BACK_WITHIN: Duration = Duration::from_secs(180);

/// Prints the ids of processes below the control group $1 whose program's name is $2 and whose first argument is $3.
const FIND: &str = r#"
find "$1" -name cgroup.procs -exec cat {} + 2>/dev/null | while read -r pid; do
  mapfile -d '' -t words 2>/dev/null <"/proc/$pid/cmdline" || continue
  [ "${words[0]##*/}" = "$2" ] && [ "${words[1]:-}" = "$3" ] && echo "$pid"
done
exit 0
"#;

impl Node<'_> {
    /// Process id in the guest of the node's prober; none when it does not run.
    ///
    /// # Errors
    /// When the guest does not answer.
    pub async fn agent_pid(&self) -> Result<Option<i32>> {
        self.pid_of("rdmamesh-agent", "run").await
    }

    /// Process id in the guest of the operator on this node; none when there is none.
    ///
    /// # Errors
    /// When the guest does not answer.
    pub async fn operator_pid(&self) -> Result<Option<i32>> {
        self.pid_of("rdmamesh-operator", "run").await
    }

    async fn pid_of(&self, program: &str, argument: &str) -> Result<Option<i32>> {
        let pods = format!("/sys/fs/cgroup/{}/kubepods", cgroup(self.name()));
        let find =
            crate::channel::Program::new(["bash", "-c", FIND, "find", &pods, program, argument]);
        let found = self
            .guest()
            .run(find, "", FOUND_WITHIN)
            .await?
            .checked(&format!("looking for {program} on {}", self.name()))?;
        Ok(found
            .lines()
            .next()
            .and_then(|line| line.trim().parse().ok()))
    }

    /// Waits until the node's prober runs, as another process than `before`.
    ///
    /// # Errors
    /// When it does not come back in time.
    pub async fn wait_agent(&self, before: Option<i32>) -> Result<i32> {
        let deadline = tokio::time::Instant::now() + BACK_WITHIN;
        loop {
            match self.agent_pid().await? {
                Some(pid) if Some(pid) != before => return Ok(pid),
                _ => {}
            }
            if tokio::time::Instant::now() >= deadline {
                bail!(
                    "the agent of {} is not back after {} s",
                    self.name(),
                    BACK_WITHIN.as_secs()
                );
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    }

    /// Sends a signal to a process in the guest; one that is gone is no error.
    ///
    /// # Errors
    /// When the guest does not answer.
    pub async fn signal(&self, pid: i32, signal: nix::sys::signal::Signal) -> Result<()> {
        let script = format!("kill -{} {pid} 2>/dev/null || true", signal as i32);
        self.guest()
            .script("signalling a process", &script, FOUND_WITHIN)
            .await
            .map(drop)
    }
}
