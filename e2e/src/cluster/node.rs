//! One node: what is started, stopped and restarted of it in the guest.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;

use super::{PROGRAMS, settings};
use crate::channel::{Guest, Program};
use crate::fault::transition::cgroup;

/// A start of containerd takes 3 s under software emulation on an idle machine.
const CONTAINERD_WITHIN: Duration = Duration::from_secs(120);
const ENDS_WITHIN: Duration = Duration::from_secs(60);

/// A node of a cluster that is up or to be started.
pub struct Node<'a> {
    guest: &'a Guest,
    environment: &'a Path,
    name: &'a str,
}

impl<'a> Node<'a> {
    /// The node of this name in the environment with this folder.
    pub fn of(guest: &'a Guest, environment: &'a Path, name: &'a str) -> Self {
        Self {
            guest,
            environment,
            name,
        }
    }

    /// Makes the node's namespaces and its image store, starts containerd and the kubelet.
    ///
    /// # Errors
    /// When a part does not start; the message has what it logged.
    pub async fn start(&self, store: &Path) -> Result<()> {
        let script = format!(
            "mkdir -p {0}/disk/var/lib/containerd\ntar -C {0}/disk/var/lib/containerd -xf '{1}'",
            self.store(),
            store.display()
        );
        self.guest
            .script("copying the image store", &script, CONTAINERD_WITHIN)
            .await?;
        self.start_containerd().await?;
        self.start_kubelet().await
    }

    async fn start_containerd(&self) -> Result<()> {
        let folder = settings::folder(self.environment, self.name);
        let holder = Program {
            argv: vec![
                "bash".to_owned(),
                settings::script(self.environment).display().to_string(),
                folder.display().to_string(),
                self.store(),
            ],
            netns: Some(self.name.to_owned()),
            cgroup: Some(self.system_cgroup()),
            ..Program::default()
        };
        let log = self.log("node");
        let unit = self.unit("node");
        // Left over from before a reboot: it must not be taken for the new one's.
        let script = format!("rm -f {}/memory/up", self.store());
        self.guest
            .script("clearing a node's traces", &script, ENDS_WITHIN)
            .await?;
        let pid = self.guest.start(&unit, holder, &log).await?;
        let script = format!("mkdir -p {0}\necho {pid} > {0}/pid", self.store());
        self.guest
            .script("keeping a node's process id", &script, ENDS_WITHIN)
            .await?;
        let up = format!("{}/memory/up", self.store());
        self.wait_for("-e", &up, &unit).await?;
        let configuration = folder.join("containerd.toml").display().to_string();
        let mut containerd = self.inside([
            format!("{PROGRAMS}/containerd"),
            "--config".to_owned(),
            configuration,
        ]);
        containerd.env.insert(
            "PATH".to_owned(),
            format!("{PROGRAMS}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
        );
        let unit = self.unit("containerd");
        self.guest
            .start(&unit, containerd, &self.log("containerd"))
            .await?;
        let socket = format!("{}/memory/run/containerd/containerd.sock", self.store());
        self.wait_for("-S", &socket, &unit).await
    }

    /// Waits until a file of the guest is there, as long as a unit runs.
    async fn wait_for(&self, test: &str, path: &str, unit: &str) -> Result<()> {
        let deadline = tokio::time::Instant::now() + CONTAINERD_WITHIN;
        let script = format!(
            "for try in $(seq 50); do [ {test} {path} ] && echo there && break; sleep 0.1; done"
        );
        loop {
            let found = self
                .guest
                .script("waiting for a node", &script, CONTAINERD_WITHIN)
                .await?;
            if found.trim() == "there" {
                return Ok(());
            }
            let units = self.guest.units().await?;
            let ended = units.get(unit).is_none_or(|state| state.exit.is_some());
            if ended || tokio::time::Instant::now() >= deadline {
                bail!("{unit} does not start:\n{}", self.log_tail(unit));
            }
        }
    }

    /// Whether kubelet and containerd run.
    ///
    /// # Errors
    /// When one has ended; the message has what it logged last.
    pub async fn check_runs(&self) -> Result<()> {
        let units = self.guest.units().await?;
        for part in ["containerd", "kubelet"] {
            let unit = self.unit(part);
            if units.get(&unit).is_none_or(|state| state.exit.is_some()) {
                bail!("{unit} has ended:\n{}", self.log_tail(&unit));
            }
        }
        Ok(())
    }

    fn log_tail(&self, unit: &str) -> String {
        let log = self.environment.join(format!("logs/{unit}.log"));
        crate::child::tail(&log, 15).unwrap_or_default()
    }

    /// Starts the kubelet.
    ///
    /// # Errors
    /// When it runs already.
    pub async fn start_kubelet(&self) -> Result<()> {
        let arguments = settings::folder(self.environment, self.name).join("kubelet.args");
        let arguments = std::fs::read_to_string(&arguments)
            .with_context(|| format!("read {}", arguments.display()))?;
        let words = [format!("{PROGRAMS}/kubelet")]
            .into_iter()
            .chain(arguments.lines().map(str::to_owned));
        self.guest
            .start(
                &self.unit("kubelet"),
                self.inside(words),
                &self.log("kubelet"),
            )
            .await?;
        Ok(())
    }

    /// Ends the kubelet; the pods go on.
    ///
    /// # Errors
    /// When it does not end.
    pub async fn stop_kubelet(&self) -> Result<()> {
        let unit = self.unit("kubelet");
        self.guest.signal(&unit, Signal::SIGKILL).await?;
        if self.guest.wait(&unit, ENDS_WITHIN).await?.exit.is_none() {
            bail!("the kubelet of {} does not end", self.name);
        }
        Ok(())
    }

    /// Switches the node off: everything on it ends at once, what it stored stays.
    ///
    /// # Errors
    /// When something does not end.
    pub async fn power_off(&self) -> Result<()> {
        let group = format!("/sys/fs/cgroup/{}", cgroup(self.name));
        let script = format!(
            "echo 1 > {group}/cgroup.kill
             for try in $(seq 300); do
               grep -q 'populated 0' {group}/cgroup.events && exit 0
               sleep 0.1
             done
             echo 'processes of {} do not end' >&2; exit 1",
            self.name
        );
        self.guest
            .script("switching a node off", &script, ENDS_WITHIN)
            .await?;
        for part in ["kubelet", "containerd", "node"] {
            self.guest.wait(&self.unit(part), ENDS_WITHIN).await?;
        }
        Ok(())
    }

    /// Switches a node on again.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn power_on(&self) -> Result<()> {
        // The pods' control groups are gone after a reboot.
        let pods = format!("/sys/fs/cgroup/{}/kubepods", cgroup(self.name));
        let script = format!("[ ! -d {pods} ] || find {pods} -depth -type d -exec rmdir {{}} +");
        self.guest
            .script("removing control groups", &script, ENDS_WITHIN)
            .await?;
        self.start_containerd().await?;
        self.start_kubelet().await
    }

    /// A program in the node's namespaces, beside containerd.
    pub fn inside(&self, argv: impl IntoIterator<Item = String>) -> Program {
        let enter = format!(
            "exec nsenter --target \"$(cat {}/pid)\" --mount --net -- \"$@\"",
            self.store()
        );
        let mut words = vec!["sh".to_owned(), "-c".to_owned(), enter, "sh".to_owned()];
        words.extend(argv);
        Program {
            argv: words,
            cgroup: Some(self.system_cgroup()),
            // Go programs that share one processor among themselves waste much of it under software emulation.
            env: [("GOMAXPROCS", "1"), ("GOGC", "300")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            ..Program::default()
        }
    }

    /// Name of node and host.
    pub fn name(&self) -> &str {
        self.name
    }

    pub(super) fn guest(&self) -> &Guest {
        self.guest
    }

    fn store(&self) -> String {
        format!("/run/rig/nodes/{}", self.name)
    }

    fn system_cgroup(&self) -> String {
        format!("{}/system", cgroup(self.name))
    }

    fn unit(&self, part: &str) -> String {
        format!("{part}-{}", self.name)
    }

    fn log(&self, part: &str) -> PathBuf {
        self.environment
            .join(format!("logs/{}.log", self.unit(part)))
    }
}
