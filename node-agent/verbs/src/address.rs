//! Where a datagram goes: a peer's address, and the address handle that the device makes of it.

use std::fmt;
use std::ptr::NonNull;
use std::sync::Arc;

use crate::error::{Result, VerbsError};
use crate::gid::Gid;
use crate::sys::address::{AddressTable, TableEntry};

/// How a peer is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PeerRoute {
    /// RoCE: by GID; an IPv4-mapped GID travels over IPv4.
    Gid(Gid),
    /// InfiniBand: by LID within the subnet, with a GRH when the peer's GID is given.
    Lid {
        /// Local identifier that the subnet manager assigned.
        lid: u16,
        /// The peer's GID, needed across subnets only.
        gid: Option<Gid>,
    },
}

impl fmt::Display for PeerRoute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gid(gid) => gid.fmt(f),
            Self::Lid { lid, .. } => write!(f, "LID {lid:#x}"),
        }
    }
}

/// Everything that goes into an address handle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PeerAddress {
    /// Where to.
    pub route: PeerRoute,
    /// 20 bits; chooses the UDP source port where the driver derives it from the label. 0 leaves
    /// the choice to the driver.
    pub flow_label: u32,
    /// Differentiated services code point, 6 bits (RoCE).
    pub dscp: u8,
    /// Service level, 4 bits (InfiniBand; on RoCE the VLAN priority).
    pub service_level: u8,
    /// IP TTL or hop limit.
    pub hop_limit: u8,
}

impl PeerAddress {
    /// Hop limit that reaches any host of a data centre.
    pub const DEFAULT_HOP_LIMIT: u8 = 64;
}

/// A peer's address as the device knows it. Clones share it. It belongs to the endpoint that made
/// it and becomes useless with it: an endpoint's drop releases all of its address handles in the
/// device at once, whoever still holds clones.
///
/// The next hop's hardware address is resolved when the handle is made; make a new one when a peer
/// stops answering for long.
#[derive(Debug, Clone)]
pub struct AddressHandle {
    entry: Arc<TableEntry>,
}

impl AddressHandle {
    pub(crate) fn in_table(
        &self,
        table: &Arc<AddressTable>,
    ) -> Option<NonNull<ibverbs_sys::ibv_ah>> {
        self.entry.in_table(table)
    }
}

/// Makes address handles for one endpoint, from any thread. Holding it does not keep the device
/// open.
#[derive(Debug, Clone)]
pub struct AddressMaker {
    table: Arc<AddressTable>,
}

impl AddressMaker {
    pub(crate) fn new(table: Arc<AddressTable>) -> Self {
        Self { table }
    }

    /// Makes an address handle. **May block for up to a second** where the kernel has to resolve a
    /// neighbour: call it where blocking is allowed (`spawn_blocking`), and keep the handle.
    ///
    /// # Errors
    /// [`VerbsError::Address`] when there is no route or neighbour, or when the endpoint is gone.
    pub fn create(&self, peer: &PeerAddress) -> Result<AddressHandle> {
        match self.table.create(peer) {
            Ok(entry) => Ok(AddressHandle {
                entry: Arc::new(entry),
            }),
            Err(source) => Err(VerbsError::Address {
                route: peer.route.to_string(),
                source,
            }),
        }
    }
}
