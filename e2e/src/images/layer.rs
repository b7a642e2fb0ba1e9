//! Layers of an image: a folder or a program as a compressed tar file that depends on nothing but its content.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use flate2::{Compression, GzBuilder};

use super::archive::sha256;

/// A compressed layer.
#[derive(Debug, Clone)]
pub(super) struct Layer {
    /// The tar file, compressed.
    pub(super) compressed: Vec<u8>,
    /// SHA-256 of the layer before compression.
    pub(super) diff_id: String,
    /// What it holds.
    pub(super) from: String,
}

impl Layer {
    /// Everything below `root`, sorted, owned by root, of one time.
    pub(super) fn of_folder(root: &Path, epoch: u64) -> Result<Self> {
        let mut files = Vec::new();
        walk(root, Path::new(""), &mut files)?;
        files.sort();
        let mut tar = tar::Builder::new(Vec::new());
        for file in &files {
            append(&mut tar, &root.join(file), file, epoch)
                .with_context(|| format!("pack /{}", file.display()))?;
        }
        Self::finish(tar, "root file system")
    }

    /// One program at `target`, an absolute path whose folder is there already or is the root.
    pub(super) fn of_program(program: &Path, target: &str, epoch: u64) -> Result<Self> {
        let mut tar = tar::Builder::new(Vec::new());
        let content =
            std::fs::read(program).with_context(|| format!("read {}", program.display()))?;
        let mut header = header(tar::EntryType::Regular, 0o755, epoch);
        header.set_size(content.len() as u64);
        tar.append_data(&mut header, target.trim_start_matches('/'), &*content)
            .with_context(|| format!("pack {target}"))?;
        Self::finish(tar, target)
    }

    fn finish(tar: tar::Builder<Vec<u8>>, from: &str) -> Result<Self> {
        let plain = tar.into_inner().context("finish a layer")?;
        let mut gzip = GzBuilder::new()
            .mtime(0)
            .write(Vec::new(), Compression::new(6));
        gzip.write_all(&plain).context("compress a layer")?;
        Ok(Self {
            compressed: gzip.finish().context("compress a layer")?,
            diff_id: sha256(&plain),
            from: from.to_owned(),
        })
    }
}

fn walk(root: &Path, folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let path = root.join(folder);
    for entry in std::fs::read_dir(&path).with_context(|| format!("list {}", path.display()))? {
        let entry = entry.context("list a folder")?;
        let inside = folder.join(entry.file_name());
        let folder = entry.file_type().context("look at a file")?.is_dir();
        files.push(inside.clone());
        if folder {
            walk(root, &inside, files)?;
        }
    }
    Ok(())
}

fn append(tar: &mut tar::Builder<Vec<u8>>, path: &Path, inside: &Path, epoch: u64) -> Result<()> {
    let facts = path.symlink_metadata().context("look at it")?;
    if facts.is_dir() {
        let sticky = facts.permissions().mode() & 0o1777 == 0o1777;
        let mode = if sticky { 0o1777 } else { 0o755 };
        let mut header = header(tar::EntryType::Directory, mode, epoch);
        header.set_size(0);
        tar.append_data(&mut header, inside, std::io::empty())?;
    } else if facts.is_symlink() {
        let mut header = header(tar::EntryType::Symlink, 0o777, epoch);
        header.set_size(0);
        tar.append_link(&mut header, inside, std::fs::read_link(path)?)?;
    } else {
        let mode = if facts.mode() & 0o111 == 0 {
            0o644
        } else {
            0o755
        };
        let mut header = header(tar::EntryType::Regular, mode, epoch);
        header.set_size(facts.len());
        tar.append_data(&mut header, inside, File::open(path)?)?;
    }
    Ok(())
}

/// The head of an entry that belongs to root.
pub(super) fn header(kind: tar::EntryType, mode: u32, epoch: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(epoch);
    header
}
