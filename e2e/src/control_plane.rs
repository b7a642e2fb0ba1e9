//! A Kubernetes control plane on this machine: etcd, API server and controllers. Real admission, RBAC, CRDs and
//! watches. Without [`Nodes`] it has the controllers that a cluster without kubelets needs; with them it has a
//! scheduler and what runs workloads, and credentials for each kubelet (see [`crate::cluster`]).
//!
//! It works without the fabric VM: tests start one with [`ControlPlane::start`] and it ends with them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::chart::Chart;
use crate::child::{Child, Lifetime, Spec, free_port};
use crate::layout::Layout;
use crate::progress::Progress;
use crate::tools::{self, Tool};

pub mod audit;
pub mod credentials;
mod flags;
pub mod manifests;
pub mod nodes;
pub mod pki;
pub mod workers;

use pki::Authority;
pub use workers::Nodes;

/// How long the API server may take to answer /readyz, without KVM and on two busy cores.
const READY_WITHIN: Duration = Duration::from_secs(90);
/// Time to end by itself; etcd and the API server take under a second when idle.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// Loopback ports of the control plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Ports {
    etcd_client: u16,
    etcd_peer: u16,
    api: u16,
}

/// A running control plane. Dropping a [`Lifetime::Tied`] one ends it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ControlPlane {
    folder: PathBuf,
    lifetime: Lifetime,
    ports: Ports,
    etcd: Child,
    api_server: Child,
    controller_manager: Child,
    /// Present in a cluster with nodes.
    scheduler: Option<Child>,
    /// Whether this process started it; one that was read from a state file is another's to end.
    #[serde(skip)]
    owned: bool,
    /// Whether it is no part of an environment, so that its files go with it.
    #[serde(skip)]
    alone: bool,
}

impl ControlPlane {
    /// Starts one for a test, after building the programs when they are not there yet (minutes, once). It has the
    /// product's CRDs and access rules, see [`Self::install_product`]. It ends with the calling process.
    ///
    /// # Errors
    /// When a program cannot be built or does not become ready; the message has the last log lines.
    pub async fn start() -> Result<Self> {
        let layout = Layout::of_workspace()?;
        tools::go::ensure(&layout, &Progress::new(), Tool::CONTROL_PLANE).await?;
        let port = free_port()?;
        let folder = layout.run(&format!("api-{}-{port}", std::process::id()));
        let mut plane = Self::start_in(&layout, folder, Lifetime::Tied, &Nodes::None).await?;
        plane.alone = true;
        plane.install_product(&layout).await?;
        Ok(plane)
    }

    /// Starts one with its files in `folder`. The programs must have been built.
    ///
    /// # Errors
    /// When it does not become ready; the message has the last log lines.
    pub async fn start_in(
        layout: &Layout,
        folder: PathBuf,
        lifetime: Lifetime,
        nodes: &Nodes,
    ) -> Result<Self> {
        std::fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
        let ports = Ports {
            etcd_client: free_port()?,
            etcd_peer: free_port()?,
            api: free_port()?,
        };
        let authority = Authority::create(&folder.join("pki"))?;
        let local = format!("https://127.0.0.1:{}", ports.api);
        for (user, group) in [
            ("rig-admin", Some("system:masters")),
            ("system:kube-controller-manager", None),
        ] {
            let certificate = authority.client(user, group)?;
            let path = kubeconfig_path(&folder, user);
            credentials::write_kubeconfig(
                &path,
                &local,
                &authority.certificate,
                &certificate.into(),
            )?;
        }
        workers::prepare(&folder, &authority, ports.api, nodes)?;
        audit::prepare(layout, &folder)?;
        let with_nodes = *nodes != Nodes::None;
        let starter = Starter {
            layout,
            folder: &folder,
            ports,
            lifetime,
            with_nodes,
        };
        let plane = Self {
            etcd: starter.etcd()?,
            api_server: starter.api_server()?,
            controller_manager: starter.controller_manager()?,
            scheduler: with_nodes.then(|| starter.scheduler()).transpose()?,
            folder: folder.clone(),
            lifetime,
            ports,
            owned: true,
            alone: false,
        };
        if let Err(error) = plane.wait_ready(READY_WITHIN).await {
            plane.stop().await?;
            return Err(error);
        }
        Ok(plane)
    }

    /// Port of the API server: at 127.0.0.1 on the host, at 10.0.2.2 in the guest.
    pub fn api_port(&self) -> u16 {
        self.ports.api
    }

    /// Kubeconfig of the cluster's administrator.
    pub fn admin_kubeconfig(&self) -> PathBuf {
        kubeconfig_path(&self.folder, "rig-admin")
    }

    /// The certificate authority's certificate, PEM.
    ///
    /// # Errors
    /// When its file is gone.
    pub fn authority_certificate(&self) -> Result<String> {
        let path = self.folder.join("pki/ca.crt");
        std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
    }

    /// A client with the administrator's rights.
    ///
    /// # Errors
    /// When the kubeconfig is gone.
    pub async fn client(&self) -> Result<kube::Client> {
        credentials::client(&self.admin_kubeconfig()).await
    }

    fn children(&self) -> impl Iterator<Item = &Child> {
        [&self.etcd, &self.api_server, &self.controller_manager]
            .into_iter()
            .chain(&self.scheduler)
    }

    /// Log files by program.
    pub fn logs(&self) -> Vec<(String, PathBuf)> {
        self.children()
            .map(|child| (child.name.clone(), child.log.clone()))
            .collect()
    }

    /// Names of programs that should run and do not.
    pub fn ended(&self) -> Vec<&str> {
        self.children()
            .filter(|child| !child.is_alive())
            .map(|child| child.name.as_str())
            .collect()
    }

    /// Creates namespace, service accounts, rights and admission policy of the product as its chart has them, and its
    /// CRDs from `crds/yaml`; waits until the API server serves them.
    ///
    /// # Errors
    /// When the API server refuses one of them; the message names it.
    pub async fn install_product(&self, layout: &Layout) -> Result<()> {
        let client = self.client().await?;
        manifests::apply_crds(&client, &layout.workspace().join("crds/yaml")).await?;
        let chart = Chart::of_workspace(layout, &Progress::new()).await?;
        manifests::apply_text(&client, &chart.access_manifests().await?).await
    }

    /// Ends the API server at once, as a crash would.
    ///
    /// # Errors
    /// When it does not end.
    pub async fn stop_api_server(&self) -> Result<()> {
        self.api_server.kill().await
    }

    /// Starts the API server again at the same port and waits until it is ready.
    ///
    /// # Errors
    /// When it does not become ready; the message has the last log lines.
    pub async fn start_api_server(&mut self, layout: &Layout) -> Result<()> {
        if !self.api_server.is_alive() {
            let starter = Starter {
                layout,
                folder: &self.folder,
                ports: self.ports,
                lifetime: self.lifetime,
                with_nodes: self.scheduler.is_some(),
            };
            self.api_server = starter.api_server()?;
        }
        self.wait_ready(READY_WITHIN).await
    }

    /// Waits until the API server answers /readyz.
    ///
    /// # Errors
    /// When one of the programs ends or the time is over; the message has the last log lines.
    pub async fn wait_ready(&self, within: Duration) -> Result<()> {
        let client = self.client().await?;
        let deadline = tokio::time::Instant::now() + within;
        loop {
            for child in [&self.etcd, &self.api_server] {
                if !child.is_alive() {
                    bail!("{} ended at start:\n{}", child.name, child.log_tail(15));
                }
            }
            if is_ready(&client).await {
                return Ok(());
            }
            if tokio::time::Instant::now() >= deadline {
                let tail = self.api_server.log_tail(15);
                bail!(
                    "the API server is not ready after {} s:\n{tail}",
                    within.as_secs()
                );
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Ends all of it; the files stay.
    ///
    /// # Errors
    /// When a program does not end even when killed.
    pub async fn stop(&self) -> Result<()> {
        for child in self.scheduler.iter().chain([&self.controller_manager]) {
            child.kill().await?;
        }
        self.api_server.stop(STOP_GRACE).await?;
        self.etcd.stop(STOP_GRACE).await
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        if self.lifetime == Lifetime::Detached || !self.owned {
            return;
        }
        for child in self.children() {
            // Failing here leaves the process to the pipe it is tied with.
            child.signal(nix::sys::signal::Signal::SIGTERM).ok();
        }
        // A failed test's logs are worth more than a tidy folder, and an environment keeps its logs; `rig clean`
        // removes both.
        if self.alone && !std::thread::panicking() {
            std::fs::remove_dir_all(&self.folder).ok();
        }
    }
}

async fn is_ready(client: &kube::Client) -> bool {
    let Ok(request) = axum::http::Request::get("/readyz").body(Vec::new()) else {
        return false;
    };
    let answer = tokio::time::timeout(Duration::from_secs(3), client.request_text(request)).await;
    matches!(answer, Ok(Ok(text)) if text == "ok")
}

fn kubeconfig_path(folder: &Path, user: &str) -> PathBuf {
    folder.join(format!("{}.kubeconfig", user.replace(':', "-")))
}

/// Starts the programs with the flags of [`flags`].
struct Starter<'a> {
    layout: &'a Layout,
    folder: &'a Path,
    ports: Ports,
    lifetime: Lifetime,
    with_nodes: bool,
}

impl Starter<'_> {
    fn start(&self, tool: Tool, arguments: Vec<String>) -> Result<Child> {
        let mut argv = vec![tool.path(self.layout).display().to_string()];
        argv.extend(arguments);
        let spec = Spec {
            argv,
            env: Vec::new(),
            log: self.folder.join(format!("logs/{}.log", tool.program())),
            lifetime: self.lifetime,
        };
        Child::start(tool.program(), &spec)
    }

    fn etcd(&self) -> Result<Child> {
        self.start(Tool::Etcd, flags::etcd(self.folder, &self.ports))
    }

    fn api_server(&self) -> Result<Child> {
        self.start(
            Tool::KubeApiserver,
            flags::api_server(self.layout, self.folder, &self.ports, self.with_nodes),
        )
    }

    fn controller_manager(&self) -> Result<Child> {
        let kubeconfig = kubeconfig_path(self.folder, "system:kube-controller-manager");
        self.start(
            Tool::KubeControllerManager,
            flags::controller_manager(self.folder, &kubeconfig, self.with_nodes),
        )
    }

    fn scheduler(&self) -> Result<Child> {
        let kubeconfig = kubeconfig_path(self.folder, workers::SCHEDULER);
        self.start(Tool::KubeScheduler, flags::scheduler(&kubeconfig))
    }
}
