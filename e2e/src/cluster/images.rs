//! The nodes' image store: the archives of `make images`, imported once. The first cluster with a set of images imports
//! them in the guest, with nobody else at work, and keeps the store; every node, and every later cluster, starts from a
//! copy.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::Ground;
use crate::channel::Program;
use crate::images;
use crate::layout::Layout;
use crate::tools::Tool;

/// Three images under software emulation on a busy machine; 15 s on an idle one.
const IMPORT_WITHIN: Duration = Duration::from_secs(400);
/// Changes whenever a store is made in another way.
const RECIPE: &[u8] = b"1";

const PARTS: [&str; 3] = ["pause", "operator", "agent"];

/// Makes the store in the guest: $1 containerd, $2 ctr, $3 the archive to write, then the images.
const MAKE: &str = r#"
work=/run/rig/store
rm -rf "$work"; mkdir -p "$work/state"
containerd=$1 ctr=$2 out=$3; shift 3
printf 'version = 3\nroot = "%s/root"\nstate = "%s/state"\n[grpc]\n  address = "%s/socket"\n' "$work" "$work" "$work" >"$work/config.toml"
"$containerd" --config "$work/config.toml" >"$work/log" 2>&1 &
daemon=$!
for try in $(seq 1200); do [ -S "$work/socket" ] && break; kill -0 $daemon || { tail -5 "$work/log" >&2; exit 1; }; sleep 0.1; done
for image in "$@"; do
  "$ctr" --address "$work/socket" --namespace k8s.io images import "$image"
done
kill $daemon; wait $daemon || true
tar -C "$work/root" --numeric-owner -cf "$out" .
rm -rf "$work"
"#;

/// The store of all nodes as an archive that the guest can read.
///
/// # Errors
/// When the images were not made, or one cannot be imported.
pub async fn store(ground: &Ground<'_>) -> Result<PathBuf> {
    let archives = archives(ground.layout)?;
    let folder = ground.layout.rig().join("stores");
    let store = folder.join(format!("{}.tar", key(ground.layout, &archives)?));
    if store.is_file() {
        return Ok(store);
    }
    ground.progress.say("importing the images, once");
    let unfinished = ground.folder.join("nodes/store.tar");
    let mut argv: Vec<String> = ["bash", "-euo", "pipefail", "-c", MAKE, "make-store"]
        .map(str::to_owned)
        .to_vec();
    let paths = [
        Tool::Containerd.path(ground.layout),
        Tool::Ctr.path(ground.layout),
        unfinished.clone(),
    ];
    argv.extend(
        paths
            .iter()
            .chain(&archives)
            .map(|path| path.display().to_string()),
    );
    ground
        .guest
        .run(Program::new(argv), "", IMPORT_WITHIN)
        .await?
        .checked("importing the images")?;
    // Older images' stores are of no use to anybody.
    if folder.is_dir() {
        std::fs::remove_dir_all(&folder).context("remove older stores")?;
    }
    std::fs::create_dir_all(&folder).context("create the folder of stores")?;
    std::fs::rename(&unfinished, &store).context("keep the store")?;
    Ok(store)
}

fn archives(layout: &Layout) -> Result<Vec<PathBuf>> {
    let folder = images::folder(layout);
    let archives = PARTS.map(|part| images::archive_of(&folder, part));
    for archive in &archives {
        if !archive.is_file() {
            bail!(
                "{} is not there: run `make images` first",
                archive.display()
            );
        }
    }
    Ok(archives.to_vec())
}

/// What a store is made of, as a short hash.
fn key(layout: &Layout, archives: &[PathBuf]) -> Result<String> {
    let mut hasher = blake3::Hasher::new();
    hasher.update(RECIPE);
    let stamp = Tool::Containerd.path(layout).with_extension("stamp");
    for path in archives.iter().chain([&stamp]) {
        hasher
            .update_reader(
                std::fs::File::open(path).with_context(|| format!("open {}", path.display()))?,
            )
            .with_context(|| format!("read {}", path.display()))?;
    }
    Ok(hasher.finalize().to_hex().as_str()[..16].to_owned())
}
