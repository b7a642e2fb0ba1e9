//! The one hash behind every choice of the planner: XXH3 (64 bit, seeded).
//!
//! XXH3's output is frozen by its specification, so a plan does not change because a library, a Rust
//! version or a processor did. It costs about two nanoseconds for the sixteen bytes hashed here, which
//! is what makes 10,000 nodes plan in a second. It need not withstand attackers: names come from the
//! cluster's own API server, and the worst that a chosen collision does is an uneven probe plan.

use xxhash_rust::xxh3::{xxh3_64_with_seed, xxh3_128};

/// Hash of a text.
pub(crate) fn text(seed: u64, text: &str) -> u64 {
    xxh3_64_with_seed(text.as_bytes(), seed)
}

/// Hash of an ordered pair of hashes.
pub(crate) fn pair(seed: u64, a: u64, b: u64) -> u64 {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&a.to_le_bytes());
    bytes[8..].copy_from_slice(&b.to_le_bytes());
    xxh3_64_with_seed(&bytes, seed)
}

/// Hash of a record that identifies content: 128 bit, so that two contents never share one.
pub(crate) fn content(bytes: &[u8]) -> u128 {
    xxh3_128(bytes)
}
