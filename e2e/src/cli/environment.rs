//! `rig up`, `down`, `status`, `logs` and `clean`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Args;
use serde::Deserialize;

use super::{Which, print};
use crate::child::{self, Lifetime};
use crate::control_plane::manifests;
use crate::fabric::FabricSpec;
use crate::layout::Layout;
use crate::progress::Progress;
use crate::rig::{Options, Rig, World};

/// Name of the RdmaMesh that is made from a scenario's `mesh`.
pub const MESH_NAME: &str = "fabric";

/// Bring an environment up and leave it running.
#[derive(Debug, Args)]
pub(super) struct Up {
    #[command(flatten)]
    which: Which,
    /// A scenario file: its fabric is built and its mesh applied, its steps are not run.
    file: PathBuf,
    /// How operator and agents run: as processes, or as pods on a node per host.
    #[arg(long, value_enum, default_value_t)]
    world: World,
    /// Fabric and control plane (and nodes) only, no operator and no agents.
    #[arg(long)]
    no_product: bool,
}

/// What `up` reads of a scenario file.
#[derive(Debug, Deserialize)]
struct UpFile {
    fabric: FabricSpec,
    #[serde(default)]
    mesh: Option<serde_json::Value>,
}

impl Up {
    pub(super) async fn run(self) -> Result<()> {
        let text = std::fs::read_to_string(&self.file)
            .with_context(|| format!("read {}", self.file.display()))?;
        let file: UpFile = serde_saphyr::from_str(&text)
            .with_context(|| format!("parse {}", self.file.display()))?;
        let progress = Progress::new();
        let options = Options {
            name: self.which.name.clone(),
            fabric: file.fabric,
            lifetime: Lifetime::Detached,
            product: !self.no_product,
            world: self.world,
        };
        let rig = Rig::up(options, progress.clone()).await?;
        if let Some(spec) = file.mesh.filter(|_| !self.no_product) {
            let spec = rig.fabric().with_switch_names(&spec);
            let mesh = serde_json::json!({
                "apiVersion": "rdmamesh.io/v1alpha1", "kind": "RdmaMesh",
                "metadata": {"name": MESH_NAME}, "spec": spec,
            });
            let mesh = serde_json::from_value(mesh).context("make the mesh")?;
            manifests::apply(&rig.client(), &mesh).await?;
            progress.say(format!("applied rdmamesh/{MESH_NAME}"));
        }
        print(&format!(
            "export KUBECONFIG={}",
            rig.admin_kubeconfig().display()
        ));
        Ok(())
    }
}

pub(super) async fn down(name: &str, all: bool) -> Result<()> {
    let names = if all {
        Rig::names()?
    } else {
        vec![name.to_owned()]
    };
    for name in names {
        Rig::down(&name).await?;
        print(&format!("{name} is down"));
    }
    Ok(())
}

pub(super) async fn status(which: &Which) -> Result<ExitCode> {
    let names = Rig::names()?;
    if names.is_empty() {
        print("nothing is up");
        return Ok(ExitCode::SUCCESS);
    }
    print(&format!("environments: {}", names.join(", ")));
    let rig = which.attach().await?;
    let spec = rig.fabric().spec();
    print(&format!(
        "{}: {} hosts, {} leaves, {} spines\nexport KUBECONFIG={}",
        which.name,
        spec.hosts(),
        spec.all_leaves(),
        spec.spines,
        rig.admin_kubeconfig().display()
    ));
    if let Some(address) = rig.operator_address() {
        print(&format!("operator: http://{address}"));
    }
    for (id, fault) in rig.faults() {
        let fault = serde_json::to_string(fault).context("serialise a fault")?;
        print(&format!("fault {id}: {fault}"));
    }
    let ended = rig.ended().await?;
    if ended.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    print(&format!("not running: {}", ended.join(", ")));
    Ok(ExitCode::FAILURE)
}

pub(super) async fn logs(which: &Which, part: &str, lines: usize) -> Result<()> {
    let logs = which.attach().await?.logs();
    let Some((_, path)) = logs.iter().find(|(name, _)| name == part) else {
        let parts: Vec<&str> = logs.iter().map(|(name, _)| name.as_str()).collect();
        bail!(
            "there is no log of {part:?}; there are {}",
            parts.join(", ")
        );
    };
    let text = child::tail(path, lines).with_context(|| format!("read {}", path.display()))?;
    print(&text);
    Ok(())
}

pub(super) fn clean(all: bool) -> Result<()> {
    let layout = Layout::of_workspace()?;
    let up = Rig::names()?;
    if all && !up.is_empty() {
        bail!("{} is up: run `rig down --all` first", up.join(", "));
    }
    let progress = Progress::new();
    if all {
        std::fs::remove_dir_all(layout.rig()).context("remove the rig's folder")?;
        progress.say("removed everything the rig had built and downloaded");
        return Ok(());
    }
    if !layout.runs().is_dir() {
        return Ok(());
    }
    for entry in std::fs::read_dir(layout.runs()).context("list the environments")? {
        let folder = entry.context("list the environments")?.path();
        let name = folder
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if !up.contains(&name) {
            std::fs::remove_dir_all(&folder)
                .with_context(|| format!("remove {}", folder.display()))?;
            progress.say(format!("removed the files of {name}"));
        }
    }
    Ok(())
}
