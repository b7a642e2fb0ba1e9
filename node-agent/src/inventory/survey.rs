//! Reads the machine. Blocking: sysfs, RDMA netlink and libibverbs.

use rdmamesh_verbs::{DeviceInfo, devices, provider_gap};

use crate::doctor::machine::{Machine, Roots};

/// What the machine shows.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Survey {
    /// Every RDMA device of the kernel.
    pub devices: Vec<DeviceInfo>,
    /// Why the devices could not be listed.
    pub error: Option<String>,
    /// Which devices libibverbs cannot drive, and what to install.
    pub provider_gap: Option<String>,
    /// What the readiness checks look at beside the devices.
    pub machine: Machine,
}

/// Reads everything; what cannot be read is said in the result. `before` is the survey before: loading all
/// providers again is worth it only where something may have changed.
pub fn survey(roots: &Roots, before: Option<&Survey>) -> Survey {
    let root = &roots.sysfs;
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
        machine: Machine::read(roots, &devices),
        devices,
        error,
        provider_gap: provider_gap.map(|gap| gap.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use rdmamesh_verbs::SysfsRoot;

    use super::*;

    #[test]
    fn a_machine_without_rdma_has_an_empty_inventory_and_no_error() {
        let empty = tempfile::tempdir().expect("a temporary folder");
        let found = survey(
            &Roots {
                sysfs: SysfsRoot::at(empty.path()),
                proc: empty.path().to_owned(),
                dev: empty.path().to_owned(),
            },
            None,
        );
        assert_eq!(found, Survey::default());
    }
}
