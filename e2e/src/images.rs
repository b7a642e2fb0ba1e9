//! Container images without a container engine: `rig images` reads the Dockerfiles of operator and agent, packs what
//! their last stage says, and writes OCI archives for the rig, for kind and for clusters without a registry.
//!
//! The same inputs give the same bytes: files are sorted, belong to root and carry the time of the commit
//! (`SOURCE_DATE_EPOCH` where it is set).

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;

use crate::layout::Layout;
use crate::progress::Progress;
use crate::tools::{Tool, go};
use archive::Image;
use layer::Layer;
use recipe::{Recipe, Variables};

mod archive;
mod layer;
mod origin;
mod recipe;
mod root;

/// Tag of all images of this version.
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Name of the sandbox image of the rig's nodes.
pub const PAUSE: &str = "rdmamesh.io/pause:1";
/// The images that are made from a Dockerfile.
const PRODUCTS: [&str; 2] = ["operator", "agent"];

/// Write the images of operator, agent and pause as OCI archives.
#[derive(Debug, Args)]
pub struct Images {
    /// Where to [default: images in the build folder].
    #[arg(long)]
    out: Option<PathBuf>,
}

impl Images {
    /// Writes them all.
    ///
    /// # Errors
    /// As [`ensure`].
    #[expect(clippy::print_stdout, reason = "what was asked for")]
    pub async fn run(self) -> Result<()> {
        let layout = Layout::of_workspace()?;
        let out = self.out.unwrap_or_else(|| folder(&layout));
        for made in ensure(&layout, &out, &Progress::new()).await? {
            println!("{made}");
        }
        Ok(())
    }
}

/// Where the archives are.
pub fn folder(layout: &Layout) -> PathBuf {
    layout.target().join("images")
}

/// Name and tag of a product's image, `part` being `operator` or `agent`.
pub fn name(part: &str) -> String {
    format!("rdmamesh.io/rdmamesh-{part}:{VERSION}")
}

/// The archive of a product's image or of `pause`.
pub fn archive_of(folder: &Path, part: &str) -> PathBuf {
    match part {
        "pause" => folder.join("pause.tar"),
        product => folder.join(format!("rdmamesh-{product}.tar")),
    }
}

/// Writes the three archives to `out`; returns a line about each.
///
/// # Errors
/// When a program is not built, a Debian package is missing (the message names it), or a file cannot be written.
pub async fn ensure(layout: &Layout, out: &Path, progress: &Progress) -> Result<Vec<String>> {
    go::ensure(layout, progress, &[Tool::Pause]).await?;
    std::fs::create_dir_all(out).with_context(|| format!("create {}", out.display()))?;
    let (layout, out) = (layout.clone(), out.to_path_buf());
    tokio::task::spawn_blocking(move || write_all(&layout, &out))
        .await
        .context("pack the images")?
}

fn write_all(layout: &Layout, out: &Path) -> Result<Vec<String>> {
    let origin = origin::of(layout.workspace())?;
    let mut made = Vec::new();
    for part in PRODUCTS {
        let image = product(layout, part, &origin)
            .with_context(|| format!("make the image of the {part}"))?;
        made.push(image.write(&archive_of(out, part))?);
    }
    let program = Layer::of_program(&Tool::Pause.path(layout), "/pause", origin.epoch)?;
    let image = Image {
        name: PAUSE.to_owned(),
        created: origin.created()?,
        user: "65535:65535".to_owned(),
        entrypoint: vec!["/pause".to_owned()],
        labels: Vec::new(),
        layers: vec![program],
    };
    made.push(image.write(&archive_of(out, "pause"))?);
    Ok(made)
}

/// What the Dockerfile of a part says, packed.
fn product(layout: &Layout, part: &str, origin: &origin::Origin) -> Result<Image> {
    let recipe = Recipe::read(&dockerfile(layout.workspace(), part))?;
    let work = tempfile::tempdir_in(layout.target()).context("make a folder for the image")?;
    let variables = Variables {
        version: VERSION.to_owned(),
        revision: origin.revision.clone(),
    };
    let root = work.path().join("root");
    root::lay_out(layout.workspace(), &recipe.packages, &root)?;
    let built = layout.product(&format!("rdmamesh-{part}"))?;
    let stripped = work.path().join("program");
    root::strip(&built, &stripped)?;
    root::check_libraries(&stripped, &root)?;
    Ok(Image {
        name: name(part),
        created: origin.created()?,
        user: recipe.user.clone(),
        entrypoint: recipe.entrypoint.clone(),
        labels: recipe.labels(&variables),
        layers: vec![
            Layer::of_folder(&root, origin.epoch)?,
            Layer::of_program(&stripped, recipe.program()?, origin.epoch)?,
        ],
    })
}

fn dockerfile(workspace: &Path, part: &str) -> PathBuf {
    let folder = match part {
        "agent" => "node-agent",
        other => other,
    };
    workspace.join(folder).join("Dockerfile")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_dockerfiles_say_what_is_packed() {
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
        let workspace = workspace.expect("the e2e crate lies in the workspace's root");
        for part in PRODUCTS {
            let recipe = Recipe::read(&dockerfile(workspace, part)).expect("the Dockerfile reads");
            let program = format!("/usr/bin/rdmamesh-{part}");
            assert_eq!(recipe.program().ok(), Some(program.as_str()));
            assert_eq!(recipe.user, "65532:65532", "not root");
            assert!(recipe.packages.iter().any(|package| package == "libc6"));
            let variables = Variables {
                version: "1.2.3".to_owned(),
                revision: "abc".to_owned(),
            };
            let labels = recipe.labels(&variables);
            let label = |key: &str| {
                let key = format!("org.opencontainers.image.{key}");
                let found = labels.iter().find(|(name, _)| *name == key);
                found.map(|(_, value)| value.as_str())
            };
            assert_eq!(label("version"), Some("1.2.3"));
            assert_eq!(label("revision"), Some("abc"));
            assert_eq!(label("licenses"), Some("Apache-2.0"));
            assert_eq!(label("title"), Some(format!("rdmamesh-{part}")).as_deref());
        }
    }
}
