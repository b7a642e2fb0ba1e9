//! Reads the machine. Blocking: sysfs, RDMA netlink and libibverbs.

use std::path::Path;

use rdmamesh_verbs::{DeviceInfo, SysfsRoot, devices, provider_gap};

/// What the machine shows.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Survey {
    /// Every RDMA device of the kernel.
    pub devices: Vec<DeviceInfo>,
    /// Why the devices could not be listed.
    pub error: Option<String>,
    /// Which devices libibverbs cannot drive, and what to install.
    pub provider_gap: Option<String>,
    /// Limit of locked memory of this process.
    pub memlock: Option<MemLock>,
}

/// Limit of locked memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemLock {
    /// No limit.
    Unlimited,
    /// At most this many bytes.
    Bytes(u64),
}

/// Reads everything; what cannot be read is said in the result. `limits` is `/proc/self/limits`, `before`
/// the survey before: loading all providers again is worth it only where something may have changed.
pub fn survey(root: &SysfsRoot, limits: &Path, before: Option<&Survey>) -> Survey {
    let (devices, error) = match devices(root) {
        Ok(devices) => (devices, None),
        Err(error) => (Vec::new(), Some(error.to_string())),
    };
    let names = |devices: &[DeviceInfo]| devices.iter().map(|d| d.name.clone()).collect::<Vec<_>>();
    let known_good = before.is_some_and(|before| {
        before.provider_gap.is_none() && names(&before.devices) == names(&devices)
    });
    let provider_gap = if known_good {
        None
    } else {
        provider_gap(root).err()
    };
    Survey {
        devices,
        error,
        provider_gap: provider_gap.map(|gap| gap.to_string()),
        memlock: std::fs::read_to_string(limits)
            .ok()
            .and_then(|text| parse_memlock(&text)),
    }
}

/// The soft limit out of `/proc/self/limits`.
fn parse_memlock(limits: &str) -> Option<MemLock> {
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max locked memory"))?;
    match line.split_whitespace().next()? {
        "unlimited" => Some(MemLock::Unlimited),
        bytes => bytes.parse().ok().map(MemLock::Bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_of_locked_memory_is_read() {
        let text = "Limit                     Soft Limit           Hard Limit           Units     \n\
                    Max processes             96000                96000                processes \n\
                    Max locked memory         65536                unlimited            bytes     \n";
        assert_eq!(parse_memlock(text), Some(MemLock::Bytes(65536)));
        assert_eq!(
            parse_memlock(&text.replace("65536    ", "unlimited")),
            Some(MemLock::Unlimited)
        );
        assert_eq!(parse_memlock("nonsense"), None);
    }

    #[test]
    fn a_machine_without_rdma_has_an_empty_inventory_and_no_error() {
        let empty = tempfile::tempdir().expect("a temporary folder");
        let found = survey(
            &SysfsRoot::at(empty.path()),
            &empty.path().join("limits"),
            None,
        );
        assert_eq!(found, Survey::default());
    }
}
