//! Programs that the rig runs on the host machine: started with a log file, found again by a later `rig` call, and
//! ended together with what started them.
//!
//! A process is known by its id *and* its start time, so that a recycled id is never mistaken for ours (and never
//! killed). Tied processes die with the rig however it ends: they run under a small shell that waits on a pipe whose
//! other end only the rig holds.

use std::fs::OpenOptions;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

/// Fails with what a command that was run to its end said, unless it succeeded.
pub(crate) fn checked(what: &str, output: &Output) -> Result<()> {
    if output.status.success() {
        return Ok(());
    }
    bail!(
        "{what} failed: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    )
}

/// How long a process lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Lifetime {
    /// Ends with the process that started it, even when that is killed.
    Tied,
    /// Goes on until `rig down`.
    Detached,
}

/// Ends its child when the pipe at standard input closes, passes the child's exit status on.
const TIED_SHELL: &str = r#"exec 3<&0
"$@" </dev/null 3<&- &
child=$!
trap 'kill -TERM $child' TERM
{ read -r _ <&3; kill -TERM $child; sleep 5; kill -KILL $child; } 2>/dev/null &
watcher=$!
exec 3<&-
wait $child
status=$?
while kill -0 $child 2>/dev/null; do wait $child; status=$?; done
kill $watcher 2>/dev/null
exit $status"#;

/// What to run.
#[derive(Clone, Debug)]
pub struct Spec {
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// Added to the rig's own environment.
    pub env: Vec<(String, String)>,
    /// Takes standard output and standard error, appended.
    pub log: PathBuf,
    /// How long it may live.
    pub lifetime: Lifetime,
}

/// A running (or ended) process on this machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Child {
    /// Name for messages, e.g. `kube-apiserver`.
    pub name: String,
    /// Process id of the shell (tied) or of the program itself (detached).
    pub pid: i32,
    /// Start time in clock ticks since boot, as in `/proc/<pid>/stat`.
    pub start_ticks: u64,
    /// Where it logs.
    pub log: PathBuf,
}

impl Child {
    /// Starts a process. Its exit is reaped by a thread of the rig.
    ///
    /// # Errors
    /// When the log cannot be opened or the program cannot be started.
    pub fn start(name: &str, spec: &Spec) -> Result<Self> {
        if let Some(folder) = spec.log.parent() {
            std::fs::create_dir_all(folder)
                .with_context(|| format!("create {}", folder.display()))?;
        }
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&spec.log)
            .with_context(|| format!("open {}", spec.log.display()))?;
        // setsid: neither the terminal's Ctrl-C nor its hang-up reaches the process directly.
        let mut command = Command::new("setsid");
        match spec.lifetime {
            Lifetime::Tied => {
                command
                    .args(["sh", "-c", TIED_SHELL, name])
                    .stdin(Stdio::piped());
            }
            Lifetime::Detached => {
                command.stdin(Stdio::null());
            }
        }
        command
            .args(&spec.argv)
            .envs(spec.env.iter().cloned())
            .stderr(log.try_clone().context("duplicate the log's handle")?)
            .stdout(log);
        let mut process = command.spawn().with_context(|| format!("start {name}"))?;
        let pid = i32::try_from(process.id()).context("process ids fit 31 bits")?;
        let start_ticks = start_ticks(pid).unwrap_or_default();
        // The pipe's write end moves into the reaper, so that it stays open exactly as long as this process lives.
        let hold = process.stdin.take();
        std::thread::spawn(move || {
            // The status is not needed: whoever waits for the program looks at what it serves.
            process.wait().ok();
            drop(hold);
        });
        Ok(Self {
            name: name.to_owned(),
            pid,
            start_ticks,
            log: spec.log.clone(),
        })
    }

    /// Whether it still runs; a zombie does not.
    pub fn is_alive(&self) -> bool {
        start_ticks(self.pid).is_some_and(|ticks| ticks == self.start_ticks)
    }

    /// Sends a signal if it still runs.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        if !self.is_alive() {
            return Ok(());
        }
        match nix::sys::signal::kill(Pid::from_raw(self.pid), signal) {
            Ok(()) | Err(nix::Error::ESRCH) => Ok(()),
            Err(error) => {
                Err(error).with_context(|| format!("signal {} ({})", self.name, self.pid))
            }
        }
    }

    /// Asks it to end, and kills it (its whole session) when it has not within `grace`.
    ///
    /// # Errors
    /// When it is still there after being killed.
    pub async fn stop(&self, grace: Duration) -> Result<()> {
        self.signal(Signal::SIGTERM)?;
        if self.wait_end(grace).await {
            return Ok(());
        }
        self.kill().await
    }

    /// Kills it and everything it started that is still in its process group.
    ///
    /// # Errors
    /// When it is still there 5 s later.
    pub async fn kill(&self) -> Result<()> {
        if self.is_alive() {
            match nix::sys::signal::killpg(Pid::from_raw(self.pid), Signal::SIGKILL) {
                Ok(()) | Err(nix::Error::ESRCH) => {}
                Err(error) => return Err(error).with_context(|| format!("kill {}", self.name)),
            }
        }
        if self.wait_end(Duration::from_secs(5)).await {
            return Ok(());
        }
        bail!("{} (process {}) does not end", self.name, self.pid)
    }

    /// Waits for its end; true when it has ended.
    pub async fn wait_end(&self, within: Duration) -> bool {
        let deadline = tokio::time::Instant::now() + within;
        while self.is_alive() {
            if tokio::time::Instant::now() >= deadline {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        true
    }

    /// The last lines of its log, for an error message.
    pub fn log_tail(&self, lines: usize) -> String {
        tail(&self.log, lines).unwrap_or_else(|error| format!("(no log: {error})"))
    }
}

/// The last `lines` lines of a file.
///
/// # Errors
/// When it cannot be read.
pub fn tail(path: &Path, lines: usize) -> io::Result<String> {
    let bytes = std::fs::read(path)?;
    let text = String::from_utf8_lossy(&bytes);
    let all: Vec<&str> = text.lines().collect();
    Ok(all[all.len().saturating_sub(lines)..].join("\n"))
}

/// Field 22 of `/proc/<pid>/stat`; None when there is no such process or it is a zombie.
fn start_ticks(pid: i32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command's name (field 2) may hold blanks and parentheses: count from behind it.
    let mut fields = stat[stat.rfind(')')? + 1..].split_ascii_whitespace();
    let state = fields.next()?;
    if state == "Z" || state == "X" {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

/// Where servers listen: below the ports that outgoing connections get (Linux: 32768 and up), one of which could have
/// taken a server's port by the time that it is started there again.
const PORTS: std::ops::Range<u32> = 12_000..32_000;
/// Ports that a process takes before it comes into those that the next one begins with.
const PORTS_PER_PROCESS: u32 = 97;

/// A TCP port of the loopback address that nothing listens on at this moment, another one with every call.
///
/// # Errors
/// When the machine has none left.
pub fn free_port() -> Result<u16> {
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    let count = PORTS.end - PORTS.start;
    let first = std::process::id().wrapping_mul(PORTS_PER_PROCESS) % count;
    for _ in PORTS {
        let nth = (first + TAKEN.fetch_add(1, Ordering::Relaxed) % count) % count;
        let port = u16::try_from(PORTS.start + nth).context("ports have 16 bits")?;
        match std::net::TcpListener::bind(("127.0.0.1", port)) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            bound => return bound.map(|_| port).context("find a free port"),
        }
    }
    bail!(
        "every port from {} on is taken: end what listens there",
        PORTS.start
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(folder: &Path, script: &str, lifetime: Lifetime) -> Spec {
        Spec {
            argv: vec!["sh".into(), "-c".into(), script.into()],
            env: vec![("GREETING".into(), "hello".into())],
            log: folder.join("log"),
            lifetime,
        }
    }

    #[test]
    fn no_two_servers_get_one_port_and_no_outgoing_connection_gets_a_servers() {
        let ports: Vec<u16> = (0..5).map(|_| free_port().expect("a free port")).collect();
        let _server = std::net::TcpListener::bind(("127.0.0.1", ports[0])).expect("it is free");
        for (nth, port) in ports.iter().enumerate() {
            assert!(PORTS.contains(&u32::from(*port)), "{ports:?}");
            assert!(!ports[..nth].contains(port), "{ports:?}");
        }
    }

    #[tokio::test]
    async fn a_process_logs_and_its_end_is_seen() {
        for lifetime in [Lifetime::Tied, Lifetime::Detached] {
            let folder = tempfile::tempdir().expect("temporary folder");
            let child = Child::start("echo", &spec(folder.path(), "echo $GREETING", lifetime))
                .expect("sh starts");
            assert!(child.wait_end(Duration::from_secs(10)).await);
            assert_eq!(child.log_tail(1), "hello");
        }
    }

    #[tokio::test]
    async fn a_process_that_ignores_the_request_to_end_is_killed() {
        for lifetime in [Lifetime::Tied, Lifetime::Detached] {
            let folder = tempfile::tempdir().expect("temporary folder");
            let script = "trap '' TERM; echo up; while true; do sleep 0.1; done";
            let child =
                Child::start("deaf", &spec(folder.path(), script, lifetime)).expect("sh starts");
            while child.log_tail(1) != "up" {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            child
                .stop(Duration::from_millis(200))
                .await
                .expect("it is killed");
            assert!(!child.is_alive());
        }
    }

    #[test]
    fn another_process_with_the_same_id_is_not_ours() {
        let own = i32::try_from(std::process::id()).expect("process ids fit 31 bits");
        let child = Child {
            name: "recycled".into(),
            pid: own,
            start_ticks: start_ticks(own).expect("this process has a start time") + 1,
            log: PathBuf::new(),
        };
        assert!(!child.is_alive());
        child.signal(Signal::SIGKILL).expect("nothing is signalled");
    }
}
