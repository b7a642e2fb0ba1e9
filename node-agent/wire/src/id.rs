//! Who speaks: identities that both sides derive from names, so that no registry is needed.

use std::fmt;

/// A port of an RNIC in the whole cluster: 64 bits of a hash over node, device and port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RnicId(pub u64);

/// A node of the cluster: 64 bits of a hash over its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub u64);

/// Random number of one agent process. Zero means "not known".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Epoch(pub u64);

impl RnicId {
    /// The identity of port `port` of device `device` on node `node`.
    pub fn of(node: &str, device: &str, port: u8) -> Self {
        Self(hash(
            "rdmamesh rnic id v1",
            &[node.as_bytes(), device.as_bytes(), &[port]],
        ))
    }
}

impl NodeId {
    /// The identity of node `node`.
    pub fn of(node: &str) -> Self {
        Self(hash("rdmamesh node id v1", &[node.as_bytes()]))
    }
}

impl Epoch {
    /// Stands for an epoch not yet learnt.
    pub const UNKNOWN: Self = Self(0);
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Hash over parts; each is led by its length, so that no two lists of parts run together.
fn hash(context: &str, parts: &[&[u8]]) -> u64 {
    let mut hasher = blake3::Hasher::new_derive_key(context);
    for part in parts {
        hasher.update(&(part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    let mut id = [0; 8];
    hasher.finalize_xof().fill(&mut id);
    u64::from_be_bytes(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_run_together_have_different_ids() {
        assert_ne!(RnicId::of("a", "bc", 1), RnicId::of("ab", "c", 1));
        assert_ne!(RnicId::of("a", "b", 1), RnicId::of("a", "b", 2));
        assert_eq!(
            RnicId::of("host1", "rxe0", 1),
            RnicId::of("host1", "rxe0", 1)
        );
    }
}
