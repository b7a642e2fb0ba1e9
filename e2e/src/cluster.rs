//! World cluster: every host of the fabric is a Kubernetes node with its own kubelet, containerd and runc.
//!
//! ```text
//!  this machine                                     QEMU guest
//!  kube-apiserver ◄───────── 10.0.2.2 ────────────  netns host1: kubelet, containerd, pods (hostNetwork: rail1, rxe1)
//!      │ HTTP CONNECT over a unix socket              │ ptp, 10.244.1.0/24; 10.96.0.1 by nft
//!      └► socat ── forwarded port ─────────────────► tinyproxy ──► kubelets and pods
//! ```
//!
//! A node is a network namespace (the fabric's), a mount namespace ([`node`]) and a control group. [`images`] brings
//! the product's images in, [`release`] installs the chart, `processes` finds the agents' processes. [`crate::rig::Rig`]
//! puts it together.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::channel::{Guest, Program};
use crate::child::{Child, Lifetime, Spec, free_port};
use crate::control_plane::workers;
use crate::fabric::Fabric;
use crate::layout::Layout;
use crate::progress::Progress;
use crate::tools::Tool;

pub mod images;
pub mod node;
mod processes;
pub mod ready;
pub mod release;
mod settings;

pub use settings::{pod_logs, pod_range};

/// Port of the HTTP CONNECT proxy in the guest.
pub const PROXY_PORT: u16 = 8888;
/// Where the guest keeps the programs of the nodes: in memory, since runc and the shim are started all the time.
const PROGRAMS: &str = "/run/rig/bin";
/// Huge pages only cost here: what gathers them holds everybody up when processor time is short (seen as stalls of 20 s).
const NO_HUGE_PAGES: &str = "echo never >/sys/kernel/mm/transparent_hugepage/enabled";
const PROXY_WITHIN: Duration = Duration::from_secs(60);

/// What a cluster is made in.
#[derive(Clone, Copy)]
pub struct Ground<'a> {
    /// The rig's folders.
    pub layout: &'a Layout,
    /// The environment's folder.
    pub folder: &'a Path,
    /// The way into the guest, where the fabric is up.
    pub guest: &'a Guest,
    /// The fabric.
    pub fabric: &'a Fabric,
    /// A client with the administrator's rights.
    pub client: &'a kube::Client,
    /// Port of the API server.
    pub api_port: u16,
    /// Port of this machine that leads to the guest's [`PROXY_PORT`].
    pub proxy_port: u16,
    /// How long what runs on this machine lives.
    pub lifetime: Lifetime,
    /// Tells the waiting person.
    pub progress: &'a Progress,
}

/// The nodes of an environment, and the API server's way to them.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Cluster {
    relay: Child,
}

/// Memory of a guest that is to hold this fabric as a cluster, in MiB: measured 600 MiB for four nodes, and images,
/// logs and pods live in it too.
pub fn guest_memory_mib(fabric: &Fabric) -> u32 {
    let hosts = fabric.spec().hosts();
    (fabric.spec().guest_memory_mib() + 600 * hosts).max(4096)
}

/// A free port of this machine, to be forwarded to the guest's [`PROXY_PORT`].
///
/// # Errors
/// When there is none.
pub fn proxy_port() -> Result<u16> {
    free_port()
}

impl Cluster {
    /// Starts what runs on this machine. The nodes follow with [`Self::bring_up`], so that this is known, and can be
    /// ended, whatever becomes of them.
    ///
    /// # Errors
    /// When a file cannot be written or a program is missing.
    pub fn start(ground: &Ground<'_>) -> Result<Self> {
        settings::write(ground)?;
        let relay = relay(ground)?;
        Ok(Self { relay })
    }

    /// Makes a node of every host, one after the other, and waits until all are Ready.
    ///
    /// # Errors
    /// When a part does not come up; the message has what it logged.
    pub async fn bring_up(ground: &Ground<'_>) -> Result<()> {
        let programs = [
            Tool::Containerd,
            Tool::ContainerdShim,
            Tool::Runc,
            Tool::Kubelet,
        ]
        .map(|tool| tool.path(ground.layout).display().to_string())
        .join(" ");
        let prepare = format!("{NO_HUGE_PAGES}\nmkdir -p {PROGRAMS}\ncp {programs} {PROGRAMS}/");
        ground
            .guest
            .script("preparing the guest for nodes", &prepare, PROXY_WITHIN)
            .await?;
        start_proxy(ground).await?;
        let store = images::store(ground).await?;
        for host in ground.fabric.hosts() {
            // One after the other: started all at once, one of them misses its start (measured).
            node::Node::of(ground.guest, ground.folder, &host.name)
                .start(&store)
                .await?;
            ground.progress.say(format!("{} runs a kubelet", host.name));
        }
        ready::label_and_wait(ground.client, ground.guest, ground.folder, ground.fabric).await?;
        ground
            .progress
            .say(format!("{} nodes are Ready", ground.fabric.hosts().len()));
        Ok(())
    }

    /// Log files by part, on this machine.
    pub fn logs(&self, folder: &Path, fabric: &Fabric) -> Vec<(String, PathBuf)> {
        let parts = ["kubelet", "containerd"];
        let of_host = |host: &str| parts.map(|part| format!("{part}-{host}"));
        let hosts = fabric.hosts().iter().flat_map(|host| of_host(&host.name));
        hosts
            .map(|part| {
                let log = folder.join(format!("logs/{part}.log"));
                (part, log)
            })
            .chain([("egress".to_owned(), self.relay.log.clone())])
            .collect()
    }

    /// Names of programs of this machine that should run and do not.
    pub fn ended(&self) -> Vec<&str> {
        if self.relay.is_alive() {
            Vec::new()
        } else {
            vec![&self.relay.name]
        }
    }

    /// Ends what runs on this machine; the nodes end with the guest.
    ///
    /// # Errors
    /// When it does not end even when killed.
    pub async fn stop(&self) -> Result<()> {
        self.relay.kill().await
    }

    /// Asks it to end and does not wait.
    pub fn request_end(&self) {
        // Failing here leaves it to whoever looks at the process next.
        self.relay.signal(nix::sys::signal::Signal::SIGTERM).ok();
    }
}

/// The API server's requests to kubelets come out of a unix socket here and go to the proxy in the guest.
fn relay(ground: &Ground<'_>) -> Result<Child> {
    let socket = workers::egress_socket(&ground.folder.join("control-plane"));
    let spec = Spec {
        argv: vec![
            "socat".to_owned(),
            format!("UNIX-LISTEN:{},fork,unlink-early", socket.display()),
            format!("TCP:127.0.0.1:{}", ground.proxy_port),
        ],
        env: Vec::new(),
        log: ground.folder.join("logs/egress.log"),
        lifetime: ground.lifetime,
    };
    Child::start("egress", &spec)
}

async fn start_proxy(ground: &Ground<'_>) -> Result<()> {
    let configuration = settings::proxy(ground.folder);
    let program = Program::new([
        "tinyproxy",
        "-d",
        "-c",
        configuration
            .to_str()
            .context("the folder's path is text")?,
    ]);
    let log = ground.folder.join("logs/proxy.log");
    ground.guest.start("proxy", program, &log).await?;
    let deadline = tokio::time::Instant::now() + PROXY_WITHIN;
    // QEMU accepts the connection itself: only an answer shows that the proxy is there.
    loop {
        let routes = settings::pod_routes(ground.fabric);
        let probe = format!(
            "{routes}\ncurl --silent --output /dev/null --max-time 2 http://127.0.0.1:{PROXY_PORT}/ && echo up || true"
        );
        let answer = ground
            .guest
            .script("asking the proxy", &probe, PROXY_WITHIN)
            .await?;
        if answer.trim() == "up" {
            return Ok(());
        }
        if tokio::time::Instant::now() >= deadline {
            let tail = crate::child::tail(&log, 15).unwrap_or_default();
            bail!("the proxy in the guest does not answer:\n{tail}");
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}
