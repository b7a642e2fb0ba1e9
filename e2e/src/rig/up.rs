//! Bringing an environment up.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::{Rig, State};
use crate::child::Lifetime;
use crate::cluster::{self, Cluster};
use crate::control_plane::{ControlPlane, Nodes, nodes};
use crate::fabric::{Fabric, FabricSpec, script};
use crate::layout::Layout;
use crate::progress::Progress;
use crate::telemetry::Telemetry;
use crate::tools::{self, Tool};
use crate::vm::{self, Machine, Vm};

/// A fabric of hundreds of namespaces takes a while under software emulation.
const FABRIC_WITHIN: Duration = Duration::from_secs(300);

/// How often a guest is booted whose kernel dies while the environment comes up.
const BOOTS: u32 = 3;

/// What to bring up.
#[derive(Clone, Debug)]
pub struct Options {
    /// Name of the environment: several can be up at once.
    pub name: String,
    /// Size of the fabric.
    pub fabric: FabricSpec,
    /// Whether it ends with this process.
    pub lifetime: Lifetime,
    /// Whether operator and agents are started too; without them it is fabric and control plane only.
    pub product: bool,
    /// How operator and agents run.
    pub world: World,
}

/// How operator and agents run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum World {
    /// As processes: agents in the hosts' network namespaces, the operator on this machine.
    #[default]
    Fabric,
    /// As pods on a node per host, installed by Helm.
    Cluster,
}

impl Rig {
    /// Brings everything up: fabric and control plane at the same time, then the product. What a failed attempt has
    /// started is ended again. A guest whose kernel dies meanwhile, as emulated ones now and then do, is booted again.
    ///
    /// # Errors
    /// When an environment of this name is up, a program is missing, or a part does not come up; the message has what
    /// that part logged.
    pub async fn up(options: Options, progress: Progress) -> Result<Self> {
        let layout = Layout::of_workspace()?;
        for _ in 1..BOOTS {
            match Self::bring_up(layout.clone(), options.clone(), progress.clone()).await {
                Err(error) => match vm::kernel_died(&layout, &options.name) {
                    Some(words) => progress.say(format!(
                        "the guest's kernel died, again from the start: {error:#}\n{words}"
                    )),
                    None => return Err(error),
                },
                up => return up,
            }
        }
        Self::bring_up(layout, options, progress).await
    }

    async fn bring_up(layout: Layout, options: Options, progress: Progress) -> Result<Self> {
        let fabric = Fabric::new(options.fabric)?;
        options.fabric.fits_vm()?;
        let folder = layout.run(&options.name);
        if let Some(left) = State::read(&layout, &options.name)? {
            let name = &options.name;
            if left.vm.is_alive() {
                bail!(
                    "an environment {name:?} is up: end it with `rig down --name {name}`, or choose another --name"
                );
            }
            // Whoever ran it was killed: nothing of it may disturb the new one.
            left.end()
                .await
                .context("end what is left of an earlier environment")?;
        }
        let is_cluster = options.world == World::Cluster;
        if options.product && !is_cluster {
            super::agents::check_built(&layout)?;
            super::operator::check_built(&layout)?;
        }
        let needed = match options.world {
            World::Fabric => Tool::FABRIC,
            World::Cluster => Tool::ALL,
        };
        let artefacts = tools::ensure_with(&layout, &progress, needed).await?;
        // Logs of an earlier environment of this name would be mistaken for this one's.
        if folder.exists() {
            std::fs::remove_dir_all(&folder)
                .with_context(|| format!("remove {}", folder.display()))?;
        }
        std::fs::create_dir_all(folder.join("logs")).context("create the run folder")?;
        let proxy_port = cluster::proxy_port()?;
        let machine = Machine {
            memory_mib: if is_cluster {
                cluster::guest_memory_mib(&fabric)
            } else {
                options.fabric.guest_memory_mib()
            },
            lifetime: options.lifetime,
            forward: is_cluster.then_some((proxy_port, cluster::PROXY_PORT)),
        };
        let guest_side = async {
            let vm = Vm::boot(&layout, &artefacts, &options.name, machine, &progress).await?;
            let built = build_fabric(&vm, &fabric, &progress).await;
            undo_on_error(built, || vm.stop()).await?;
            anyhow::Ok(vm)
        };
        let run_folder = folder.as_path();
        let host_side = async {
            let folder = folder.join("control-plane");
            let nodes = if is_cluster {
                Nodes::Named(
                    fabric
                        .hosts()
                        .iter()
                        .map(|host| host.name.clone())
                        .collect(),
                )
            } else {
                Nodes::None
            };
            let plane = ControlPlane::start_in(&layout, folder, options.lifetime, &nodes).await?;
            if !is_cluster {
                let installed = prepare_cluster(&layout, &plane, &fabric).await;
                undo_on_error(installed, || plane.stop()).await?;
            }
            progress.say("control plane is ready");
            let telemetry = Telemetry::start(&layout, run_folder, options.lifetime).await;
            match telemetry {
                Ok(telemetry) => Ok((plane, telemetry)),
                Err(error) => Err(ended_after(error, plane.stop().await)),
            }
        };
        // Both run to their end, so that the one which succeeds can be ended when the other fails.
        let (vm, (plane, telemetry)) = match futures::join!(guest_side, host_side) {
            (Ok(vm), Ok(host)) => (vm, host),
            (Ok(vm), Err(error)) => return Err(ended_after(error, vm.stop().await)),
            (Err(error), Ok((plane, telemetry))) => {
                let ended = futures::future::try_join(telemetry.stop(), plane.stop()).await;
                return Err(ended_after(error, ended.map(|_| ())));
            }
            (Err(error), Err(_)) => return Err(error),
        };
        let client = plane.client().await?;
        let state = State {
            name: options.name,
            lifetime: options.lifetime,
            fabric: options.fabric,
            vm,
            plane,
            telemetry,
            operator: None,
            agents: false,
            cluster: None,
            faults: BTreeMap::new(),
        };
        let mut rig = Self {
            owned: true,
            layout,
            progress,
            fabric,
            client,
            state,
        };
        rig.save()?;
        let started = async {
            if is_cluster {
                rig.start_nodes(proxy_port).await?;
            }
            match (options.product, options.world) {
                (false, _) => Ok(()),
                (true, World::Fabric) => rig.start_product().await,
                (true, World::Cluster) => rig.install_release().await,
            }
        };
        let started = started.await;
        if let Err(error) = started {
            return Err(ended_after(error, rig.stop().await));
        }
        Ok(rig)
    }

    async fn start_nodes(&mut self, proxy_port: u16) -> Result<()> {
        self.progress.say("starting the nodes");
        let guest = self.guest();
        let folder = self.folder().to_path_buf();
        let client = self.client.clone();
        let fabric = self.fabric.clone();
        let (layout, progress) = (self.layout.clone(), self.progress.clone());
        let ground = cluster::Ground {
            layout: &layout,
            folder: &folder,
            guest: &guest,
            fabric: &fabric,
            client: &client,
            api_port: self.state.plane.api_port(),
            proxy_port,
            lifetime: self.state.lifetime,
            progress: &progress,
        };
        self.state.cluster = Some(Cluster::start(&ground)?);
        self.save()?;
        Cluster::bring_up(&ground).await
    }

    async fn start_product(&mut self) -> Result<()> {
        self.progress.say("starting operator and agents");
        self.install_agents().await?;
        self.start_operator().await?;
        self.state.agents = true;
        for host in self.fabric.hosts() {
            self.start_tracer(&host.name).await?;
            self.start_agent(&host.name).await?;
        }
        self.save()?;
        self.progress
            .say(format!("up: {} hosts", self.fabric.hosts().len()));
        Ok(())
    }
}

async fn build_fabric(vm: &Vm, fabric: &Fabric, progress: &Progress) -> Result<()> {
    let spec = fabric.spec();
    progress.say(format!(
        "VM is up; building {} leaves, {} spines, {} hosts",
        spec.all_leaves(),
        spec.spines,
        spec.hosts()
    ));
    vm.guest()
        .script("building the fabric", &script::build(fabric), FABRIC_WITHIN)
        .await?;
    progress.say("fabric is ready");
    Ok(())
}

/// The product's CRDs and rights, and a Node for every host.
async fn prepare_cluster(layout: &Layout, plane: &ControlPlane, fabric: &Fabric) -> Result<()> {
    plane.install_product(layout).await?;
    let client = plane.client().await?;
    for host in fabric.hosts() {
        let facts = nodes::NodeFacts {
            name: host.name.clone(),
            rack: host.rack.clone(),
            address: host.management,
            ready: true,
        };
        nodes::apply(&client, &facts).await?;
    }
    Ok(())
}

async fn undo_on_error<Undo>(result: Result<()>, undo: impl FnOnce() -> Undo) -> Result<()>
where
    Undo: Future<Output = Result<()>>,
{
    match result {
        Ok(()) => Ok(()),
        Err(error) => Err(ended_after(error, undo().await)),
    }
}

/// The first error, with a word about a failed clean-up.
fn ended_after(error: anyhow::Error, ending: Result<()>) -> anyhow::Error {
    match ending {
        Ok(()) => error,
        Err(second) => error.context(format!(
            "and ending what had been started failed: {second:#}"
        )),
    }
}
