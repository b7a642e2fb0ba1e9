//! Global identifiers: the RDMA address of a port, and the entries of its GID table.
//!
//! Read from sysfs by the inventory, carried in address handles and receive completions by the
//! endpoint.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// A 128-bit global identifier in network byte order. RoCE v2 over IPv4 uses the IPv4-mapped form
/// `::ffff:a.b.c.d`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Gid([u8; 16]);

impl Gid {
    /// The all-zero GID, which an empty table entry shows.
    pub const ZERO: Self = Self([0; 16]);

    /// A GID from its 16 bytes in network order.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The IPv4-mapped GID of an address, as RoCE v2 over IPv4 uses it.
    #[must_use]
    pub const fn from_ipv4(address: Ipv4Addr) -> Self {
        Self(address.to_ipv6_mapped().octets())
    }

    /// The GID of an IPv6 address: the same 16 bytes.
    #[must_use]
    pub const fn from_ipv6(address: Ipv6Addr) -> Self {
        Self(address.octets())
    }

    /// The 16 bytes in network order.
    #[must_use]
    pub const fn bytes(&self) -> [u8; 16] {
        self.0
    }

    /// The IPv4 address inside an IPv4-mapped GID, `None` for every other GID.
    #[must_use]
    pub fn ipv4_mapped(&self) -> Option<Ipv4Addr> {
        Ipv6Addr::from(self.0).to_ipv4_mapped()
    }

    /// Whether this is the all-zero GID of an empty table entry.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        *self == Self::ZERO
    }

    /// Whether this GID has the link-local prefix `fe80::/10`: valid on one link only, never
    /// routed.
    #[must_use]
    pub const fn is_link_local(&self) -> bool {
        self.0[0] == 0xfe && self.0[1] & 0xc0 == 0x80
    }
}

impl fmt::Display for Gid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ipv6Addr::from(self.0).fmt(f)
    }
}

impl fmt::Debug for Gid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Gid({self})")
    }
}

impl From<[u8; 16]> for Gid {
    fn from(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }
}

impl From<IpAddr> for Gid {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) => Self::from_ipv4(v4),
            IpAddr::V6(v6) => Self::from_ipv6(v6),
        }
    }
}

/// The text is no GID.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a GID: write it as IPv6 (fe80::1, ::ffff:10.0.0.1) or as IPv4 (10.0.0.1)")]
pub struct ParseGidError {
    /// What was given.
    pub text: String,
}

impl FromStr for Gid {
    type Err = ParseGidError;

    /// Reads IPv6 in any form (sysfs writes all eight groups) and plain IPv4, which becomes its
    /// mapped GID.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse::<IpAddr>()
            .map(Self::from)
            .map_err(|_| ParseGidError {
                text: text.to_owned(),
            })
    }
}

/// How packets that use a GID are carried.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum GidKind {
    /// RoCE v1: an Ethernet frame of its own type, not routable.
    RoceV1,
    /// RoCE v2: UDP port 4791 over IPv4 or IPv6.
    RoceV2,
    /// InfiniBand.
    Ib,
    /// A kind that the kernel names and we do not know, or none at all.
    Unknown(String),
}

/// One used entry of a port's GID table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GidEntry {
    /// Index in the table: what an endpoint is opened with.
    pub index: u16,
    /// The identifier.
    pub gid: Gid,
    /// How it is carried.
    pub kind: GidKind,
    /// The netdev that owns the address, where the kernel names one (a VLAN's GIDs belong to the
    /// VLAN's netdev).
    pub netdev: Option<String>,
}
