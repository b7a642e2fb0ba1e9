//! The probe keys: a folder with one file per key, read again when it changes.
//!
//! A file is named by its key id (1 to 255) and holds base64 of at least 32 random bytes; the file `active` names the signing key,
//! without it the highest id signs. This is what a mounted Kubernetes Secret looks like; other names (`..data`) are left alone.
//! Without keys the agent does not start: an unauthenticated prober would believe anybody's answers.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rdmamesh_wire::{KeyError, KeyRing};
use tokio::sync::watch;

/// The folder is looked at this often: Kubernetes takes up to a minute to bring a changed Secret into it anyway.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// The file that names the signing key.
const ACTIVE: &str = "active";

/// The keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The folder cannot be listed.
    #[error(
        "cannot read probe keys from {}: mount the Secret of the probe keys there, or name its folder with --probe-keys",
        path.display()
    )]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the kernel answered.
        #[source]
        source: io::Error,
    },
    /// A key file cannot be read.
    #[error("cannot read probe key file {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the kernel answered.
        #[source]
        source: io::Error,
    },
    /// A key file does not hold base64.
    #[error("{} is not base64: write `head -c 32 /dev/urandom | base64` into it", path.display())]
    NotBase64 {
        /// The file.
        path: PathBuf,
    },
    /// The file `active` does not name a key.
    #[error("{} must hold the number of a key, 1 to 255", path.display())]
    NoKeyId {
        /// The file.
        path: PathBuf,
    },
    /// The keys themselves are unusable.
    #[error("probe keys in {}: {source}", path.display())]
    Keys {
        /// The folder.
        path: PathBuf,
        /// What is wrong with them.
        #[source]
        source: KeyError,
    },
}

/// Reads all keys in `folder`.
///
/// # Errors
/// [`KeysError`] says which file and what to do.
pub fn load(folder: &Path) -> Result<KeyRing, KeysError> {
    let failed = |source| KeysError::Folder {
        path: folder.to_owned(),
        source,
    };
    let mut secrets = BTreeMap::new();
    let mut active = None;
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        if name == ACTIVE {
            let id = text(&path)?
                .trim()
                .parse()
                .map_err(|_| KeysError::NoKeyId { path })?;
            active = Some(id);
        } else if let Ok(id) = name.parse::<u8>() {
            secrets.insert(id, secret(&path)?);
        }
    }
    let secrets = secrets.iter().map(|(id, secret)| (*id, secret.as_slice()));
    KeyRing::new(secrets, active).map_err(|source| KeysError::Keys {
        path: folder.to_owned(),
        source,
    })
}

/// Reads the keys in `folder` and keeps them fresh. A later change that cannot be used is logged and the keys in force stay.
///
/// Must be called within a tokio runtime; the look-out ends when the receiver and all its clones are gone.
///
/// # Errors
/// As [`load`], for the first reading only.
pub fn watch(folder: &Path) -> Result<watch::Receiver<Arc<KeyRing>>, KeysError> {
    watch_every(folder, LOOK_EVERY)
}

fn watch_every(folder: &Path, every: Duration) -> Result<watch::Receiver<Arc<KeyRing>>, KeysError> {
    let ring = load(folder)?;
    tracing::info!(ids = ?ring.ids().collect::<Vec<_>>(), active = ring.active_id(), "probe keys read");
    let (to, receiver) = watch::channel(Arc::new(ring));
    let folder = folder.to_owned();
    tokio::spawn(async move {
        let mut complained = false;
        loop {
            tokio::select! {
                () = to.closed() => return,
                () = tokio::time::sleep(every) => {}
            }
            match load(&folder) {
                Ok(ring) => {
                    complained = false;
                    take(&to, ring);
                }
                Err(error) if !complained => {
                    complained = true;
                    tracing::warn!(%error, "probe keys unusable, the old ones stay in force");
                }
                Err(_) => {}
            }
        }
    });
    Ok(receiver)
}

fn take(to: &watch::Sender<Arc<KeyRing>>, ring: KeyRing) {
    to.send_if_modified(|current| {
        let changed = **current != ring;
        if changed {
            let ids: Vec<u8> = ring.ids().collect();
            tracing::info!(?ids, active = ring.active_id(), "probe keys changed");
            *current = Arc::new(ring);
        }
        changed
    });
}

fn text(path: &Path) -> Result<String, KeysError> {
    std::fs::read_to_string(path).map_err(|source| KeysError::File {
        path: path.to_owned(),
        source,
    })
}

fn secret(path: &Path) -> Result<Vec<u8>, KeysError> {
    let text: String = text(path)?.split_ascii_whitespace().collect();
    STANDARD.decode(text).map_err(|_| KeysError::NotBase64 {
        path: path.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for (name, content) in files {
            std::fs::write(folder.path().join(name), content).expect("a file in it");
        }
        folder
    }

    fn key(fill: u8) -> String {
        STANDARD.encode([fill; 32])
    }

    #[test]
    fn keys_are_files_named_by_their_id() {
        let folder = folder(&[
            ("1", &key(1)),
            ("20", &format!("{}\n", key(2))),
            ("..data", "x"),
        ]);
        let ring = load(folder.path()).expect("usable");
        assert_eq!(
            (ring.ids().collect::<Vec<_>>(), ring.active_id()),
            (vec![1, 20], 20)
        );
    }

    #[test]
    fn the_active_file_names_the_signing_key() {
        let folder = folder(&[("1", &key(1)), ("2", &key(2)), (ACTIVE, "1\n")]);
        assert_eq!(load(folder.path()).expect("usable").active_id(), 1);
    }

    #[test]
    fn what_cannot_be_used_is_refused_with_advice() {
        let said = |files: &[(&str, &str)]| {
            load(folder(files).path())
                .expect_err("unusable")
                .to_string()
        };
        assert!(said(&[]).contains("provide at least one"));
        assert!(said(&[("1", "no base64!")]).contains("/dev/urandom"));
        assert!(said(&[("1", &STANDARD.encode("short"))]).contains("at least 32"));
        assert!(said(&[("1", &key(1)), (ACTIVE, "x")]).contains("1 to 255"));
        let missing = load(Path::new("/nonexistent/keys"))
            .expect_err("no folder")
            .to_string();
        assert!(missing.contains("--probe-keys"), "{missing}");
    }

    #[tokio::test]
    async fn a_changed_folder_is_read_again_and_a_broken_one_changes_nothing() {
        let folder = folder(&[("1", &key(1))]);
        let every = Duration::from_millis(5);
        let mut ring = watch_every(folder.path(), every).expect("usable");
        assert_eq!(ring.borrow_and_update().active_id(), 1);
        std::fs::write(folder.path().join("2"), "broken").expect("writable");
        std::fs::write(folder.path().join("3"), key(3)).expect("writable");
        let early = tokio::time::timeout(Duration::from_millis(50), ring.changed()).await;
        assert!(early.is_err(), "a broken key among them changes nothing");
        std::fs::write(folder.path().join("2"), key(2)).expect("writable");
        let changed = tokio::time::timeout(Duration::from_secs(5), ring.changed()).await;
        changed
            .expect("noticed in time")
            .expect("the look-out lives");
        assert_eq!(ring.borrow().active_id(), 3);
    }
}
