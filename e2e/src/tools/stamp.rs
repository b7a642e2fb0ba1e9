//! Stamps: a small file beside an artefact that says from what it was made and what it must look like, so that a
//! later run can tell a good one from an outdated, half-written or damaged one.

use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// What is recorded about an artefact made of one file.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Stamp {
    recipe: String,
    content: String,
}

/// Hash over everything an artefact is made from: names and bytes, in the given order.
pub fn recipe<'a>(parts: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> String {
    let mut hasher = blake3::Hasher::new();
    for (name, bytes) in parts {
        // Lengths keep two different part lists from running together to the same bytes.
        hasher.update(&(name.len() as u64).to_le_bytes());
        hasher.update(name.as_bytes());
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    }
    hasher.finalize().to_hex().to_string()
}

fn stamp_path(artefact: &Path) -> PathBuf {
    let mut name = artefact.file_name().unwrap_or_default().to_os_string();
    name.push(".stamp");
    artefact.with_file_name(name)
}

fn content_hash(artefact: &Path) -> io::Result<String> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(std::fs::File::open(artefact)?)?;
    Ok(hasher.finalize().to_hex().to_string())
}

/// Whether the artefact was made by this recipe and still has the content it had then.
pub fn is_current(artefact: &Path, recipe: &str) -> bool {
    let Ok(text) = std::fs::read(stamp_path(artefact)) else {
        return false;
    };
    let Ok(stamp) = serde_json::from_slice::<Stamp>(&text) else {
        return false;
    };
    stamp.recipe == recipe && content_hash(artefact).is_ok_and(|content| content == stamp.content)
}

/// Records that the artefact is complete.
///
/// # Errors
/// When the artefact cannot be read or the stamp cannot be written.
pub fn write(artefact: &Path, recipe: &str) -> Result<()> {
    let stamp = Stamp {
        recipe: recipe.to_owned(),
        content: content_hash(artefact).with_context(|| format!("read {}", artefact.display()))?,
    };
    let path = stamp_path(artefact);
    std::fs::write(
        &path,
        serde_json::to_vec(&stamp).context("serialise the stamp")?,
    )
    .with_context(|| format!("write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_artefact_is_current_until_its_recipe_or_its_content_changes() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let artefact = folder.path().join("tool");
        assert!(!is_current(&artefact, "a"), "missing");
        std::fs::write(&artefact, b"complete").expect("write");
        assert!(!is_current(&artefact, "a"), "never stamped");
        write(&artefact, "a").expect("stamp");
        assert!(is_current(&artefact, "a"));
        assert!(!is_current(&artefact, "b"), "other recipe");
        std::fs::write(&artefact, b"comple").expect("write");
        assert!(!is_current(&artefact, "a"), "cut off");
        std::fs::write(stamp_path(&artefact), b"{").expect("write");
        assert!(!is_current(&artefact, "a"), "damaged stamp");
    }

    #[test]
    fn a_recipe_keeps_part_borders() {
        let joined = recipe([("ab", b"c".as_slice())]);
        assert_ne!(joined, recipe([("a", b"bc".as_slice())]));
        assert_ne!(
            joined,
            recipe([("ab", b"".as_slice()), ("", b"c".as_slice())])
        );
    }
}
