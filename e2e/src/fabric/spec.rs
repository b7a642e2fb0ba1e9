//! The size of a fabric, as a scenario file asks for it.

use serde::{Deserialize, Serialize};

/// Size of a leaf–spine fabric. Host count is `leaves` × `hosts_per_leaf`, leaf count `leaves` × `rails`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FabricSpec {
    /// Leaf switches per rail.
    pub leaves: u16,
    /// Spine switches; each has a cable to every leaf.
    pub spines: u16,
    /// Hosts on each leaf of a rail.
    pub hosts_per_leaf: u16,
    /// RNICs of each host, each on a leaf of its own rail.
    #[serde(default = "one")]
    pub rails: u16,
}

fn one() -> u16 {
    1
}

/// What the address plan and one VM carry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// A number that must be in a range is not.
    #[error("fabric.{field} is {value}: write a number from 1 to {most}")]
    OutOfRange {
        /// The field in the scenario file.
        field: &'static str,
        /// What was given.
        value: u32,
        /// The largest that works.
        most: u32,
    },
    /// More hosts and switches than one VM holds.
    #[error(
        "the fabric has {value} hosts and switches and a virtual machine holds {most}: write a smaller one, or play it with --world sim"
    )]
    TooLarge {
        /// Hosts and switches.
        value: u32,
        /// The most that work.
        most: u32,
    },
}

impl FabricSpec {
    /// Most leaves in all: one /24 each below 10.10.0.0/16.
    pub const MOST_LEAVES: u32 = 250;
    /// Most spines: one /30 each in a leaf's /24 below 10.11.0.0/16.
    pub const MOST_SPINES: u32 = 64;
    /// Most hosts on a leaf: one /30 each in the leaf's /24.
    pub const MOST_HOSTS_PER_LEAF: u32 = 64;
    /// Most rails of a host.
    pub const MOST_RAILS: u32 = 16;
    /// Most network namespaces that one VM is meant to hold.
    pub const MOST_NAMESPACES: u32 = 400;

    /// Hosts in all.
    pub fn hosts(self) -> u32 {
        u32::from(self.leaves) * u32::from(self.hosts_per_leaf)
    }

    /// Leaves of all rails.
    pub fn all_leaves(self) -> u32 {
        u32::from(self.leaves) * u32::from(self.rails)
    }

    /// Network namespaces: hosts and switches.
    pub fn namespaces(self) -> u32 {
        self.hosts() + self.all_leaves() + u32::from(self.spines)
    }

    /// Memory for a VM that holds this fabric with an agent on each host, in MiB. Measured: 20 MiB per namespace
    /// with its cables, 40 MiB at most per agent.
    pub fn guest_memory_mib(self) -> u32 {
        (700 + self.namespaces() * 20 + self.hosts() * 40).max(2048)
    }

    /// Checks that the fabric can be numbered.
    ///
    /// # Errors
    /// Names the field that is out of its range, and the range.
    pub fn validate(self) -> Result<(), SpecError> {
        let fields = [
            ("leaves", u32::from(self.leaves), Self::MOST_LEAVES),
            ("spines", u32::from(self.spines), Self::MOST_SPINES),
            (
                "hostsPerLeaf",
                u32::from(self.hosts_per_leaf),
                Self::MOST_HOSTS_PER_LEAF,
            ),
            ("rails", u32::from(self.rails), Self::MOST_RAILS),
            ("leaves × rails", self.all_leaves(), Self::MOST_LEAVES),
        ];
        for (field, value, most) in fields {
            if value == 0 || value > most {
                return Err(SpecError::OutOfRange { field, value, most });
            }
        }
        Ok(())
    }

    /// Checks that one VM can hold the fabric; the simulator holds any.
    ///
    /// # Errors
    /// Says how many namespaces it takes and how many a VM holds.
    pub fn fits_vm(self) -> Result<(), SpecError> {
        let (value, most) = (self.namespaces(), Self::MOST_NAMESPACES);
        if value > most {
            return Err(SpecError::TooLarge { value, most });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: FabricSpec = FabricSpec {
        leaves: 2,
        spines: 2,
        hosts_per_leaf: 2,
        rails: 1,
    };

    #[test]
    fn sizes_that_fit_are_accepted() {
        SMALL.validate().expect("4 hosts fit");
        let large = FabricSpec {
            leaves: 8,
            spines: 4,
            hosts_per_leaf: 4,
            rails: 2,
        };
        large.validate().expect("32 hosts with two rails fit");
    }

    #[test]
    fn a_size_that_does_not_fit_is_named_with_its_range() {
        let error = FabricSpec { spines: 0, ..SMALL }
            .validate()
            .expect_err("no spine");
        assert_eq!(
            error.to_string(),
            "fabric.spines is 0: write a number from 1 to 64"
        );
        let many = FabricSpec {
            leaves: 60,
            hosts_per_leaf: 8,
            ..SMALL
        };
        many.validate().expect("the simulator can have it");
        let error = many.fits_vm().expect_err("too many namespaces");
        assert!(error.to_string().contains("542"), "{error}");
    }
}
