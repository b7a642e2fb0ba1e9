//! Reads the attributes of RDMA devices from a sysfs tree.
//!
//! Devices come and go while this runs, drivers leave files out, and reads of unused slots fail by
//! design. So a single attribute that is missing, unreadable or garbage is absent or unknown; only
//! a directory that exists and cannot be listed is an error.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::error::InventoryError;
use crate::gid::{Gid, GidEntry, GidKind};

/// Trimmed text of an attribute; `None` when missing, unreadable or empty.
pub(super) fn attribute(path: &Path) -> Option<String> {
    // One read has it all: the kernel shows at most a page, and hundreds of these are read in a
    // row.
    let mut page = [0; 4096];
    let len = File::open(path).ok()?.read(&mut page).ok()?;
    let text = String::from_utf8_lossy(&page[..len]);
    let text = text.trim_matches(|c: char| c.is_whitespace() || c == '\0');
    (!text.is_empty()).then(|| text.to_owned())
}

/// A number attribute; `None` when it is not one.
pub(super) fn number<T: std::str::FromStr>(path: &Path) -> Option<T> {
    attribute(path)?.parse().ok()
}

/// Names in a directory, sorted; empty when the directory does not exist.
pub(super) fn names(path: &Path) -> Result<Vec<String>, InventoryError> {
    let failed = |source| InventoryError::List {
        path: path.to_owned(),
        source,
    };
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        if let Ok(name) = entry.map_err(failed)?.file_name().into_string() {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// Last component of what a symbolic link points to.
pub(super) fn link_target(path: &Path) -> Option<String> {
    let target = fs::read_link(path).ok()?;
    Some(target.file_name()?.to_str()?.to_owned())
}

/// Whether the text is a PCI address such as `0000:3b:00.1`.
pub(super) fn is_pci_address(text: &str) -> bool {
    let hex = |part: &str, len| part.len() >= len && part.bytes().all(|b| b.is_ascii_hexdigit());
    let mut parts = text.split(':');
    let (Some(domain), Some(bus), Some(slot), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    let Some((device, function)) = slot.split_once('.') else {
        return false;
    };
    hex(domain, 4) && hex(bus, 2) && hex(device, 2) && hex(function, 1)
}

/// The used entries of a port's GID table, in order of their index.
///
/// Tables are long (1024 entries on soft-RoCE, 256 on mlx5) and nearly empty, and every entry is a
/// file. The kernel fills the first free slot, so the scan ends after a long run of empty ones: as long as
/// the addresses that went away below one that stayed, two entries each. Looking too far costs a few
/// hundred system calls per port, not looking far enough an RNIC.
pub(super) fn gids(port: &Path) -> Vec<GidEntry> {
    const LONGEST_GAP: u16 = 128;
    let mut found = Vec::new();
    let mut gap = 0;
    for index in 0..=u16::MAX {
        let Some(text) = attribute(&port.join("gids").join(index.to_string())) else {
            // Unreadable is not the end: reading a slot fails while the kernel rewrites it.
            if !port.join("gids").join(index.to_string()).exists() {
                break;
            }
            continue;
        };
        match text.parse::<Gid>() {
            Ok(gid) if !gid.is_zero() => {
                found.push(gid_entry(port, index, gid));
                gap = 0;
            }
            Ok(_) | Err(_) => gap += 1,
        }
        if gap >= LONGEST_GAP {
            break;
        }
    }
    found
}

fn gid_entry(port: &Path, index: u16, gid: Gid) -> GidEntry {
    let attrs = port.join("gid_attrs");
    let kind = match attribute(&attrs.join("types").join(index.to_string())).as_deref() {
        Some("RoCE v2") => GidKind::RoceV2,
        // The kernel has one name for both; the link layer tells them apart.
        Some("IB/RoCE v1") => match attribute(&port.join("link_layer")).as_deref() {
            Some("InfiniBand") => GidKind::Ib,
            _ => GidKind::RoceV1,
        },
        Some(other) => GidKind::Unknown(other.to_owned()),
        None => GidKind::Unknown(String::new()),
    };
    let netdev = attribute(&attrs.join("ndevs").join(index.to_string()));
    GidEntry {
        index,
        gid,
        kind,
        netdev,
    }
}

/// Which character device belongs to which RDMA device: (`mlx5_0`, `uverbs0`) pairs.
pub(super) fn uverbs(root: &Path) -> Result<Vec<(String, String)>, InventoryError> {
    let class = root.join("class/infiniband_verbs");
    let mut pairs = Vec::new();
    for name in names(&class)? {
        if let Some(device) = attribute(&class.join(&name).join("ibdev")) {
            pairs.push((device, name));
        }
    }
    Ok(pairs)
}

/// Path of a device's directory.
pub(super) fn device_path(root: &Path, name: &str) -> PathBuf {
    root.join("class/infiniband").join(name)
}
