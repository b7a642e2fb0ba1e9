//! Address handles in the device, and the table that releases all of them when their endpoint goes.

use std::collections::HashMap;
use std::io;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ibverbs_sys as ffi;

use super::context::ProtectionDomain;
use super::{check, log_release};
use crate::address::{PeerAddress, PeerRoute};
use crate::port::PortNum;

/// An address handle in the device, destroyed on drop.
#[derive(Debug)]
struct RawAddress(NonNull<ffi::ibv_ah>);

// SAFETY: verbs are thread safe on address handles.
unsafe impl Send for RawAddress {}

impl Drop for RawAddress {
    fn drop(&mut self) {
        // SAFETY: made by us, destroyed once, before its protection domain (the table's order).
        log_release(
            "ibv_destroy_ah",
            check(unsafe { ffi::ibv_destroy_ah(self.0.as_ptr()) }),
        );
    }
}

#[derive(Debug)]
struct Open {
    // Dropped before the protection domain that they were made in.
    addresses: HashMap<u64, RawAddress>,
    next: u64,
    pd: Arc<ProtectionDomain>,
}

/// All address handles of one endpoint. Outlives the endpoint as long as handles are held, but
/// empty then.
#[derive(Debug)]
pub(crate) struct AddressTable {
    open: Mutex<Option<Open>>,
    port: PortNum,
    gid_index: u8,
}

/// One entry of a table, released in the device when dropped, unless the table was closed before.
#[derive(Debug)]
pub(crate) struct TableEntry {
    table: Arc<AddressTable>,
    id: u64,
    raw: NonNull<ffi::ibv_ah>,
}

// SAFETY: verbs are thread safe on address handles; the pointer is followed only while table and
// endpoint are alive.
unsafe impl Send for TableEntry {}
// SAFETY: as above.
unsafe impl Sync for TableEntry {}

impl AddressTable {
    pub(crate) fn new(pd: Arc<ProtectionDomain>, port: PortNum, gid_index: u8) -> Self {
        Self {
            open: Mutex::new(Some(Open {
                addresses: HashMap::new(),
                next: 0,
                pd,
            })),
            port,
            gid_index,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Open>> {
        // Nothing in here panics with the lock held; if it did, the table would still be sound to
        // release.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a handle. The kernel may look up a neighbour meanwhile, so the table is not locked; if
    /// it is closed in between, the handle is released again.
    pub(crate) fn create(self: &Arc<Self>, peer: &PeerAddress) -> io::Result<TableEntry> {
        let closed = || io::Error::from(io::ErrorKind::NotConnected);
        let pd = self
            .lock()
            .as_ref()
            .map(|open| Arc::clone(&open.pd))
            .ok_or_else(closed)?;
        let mut attributes = attributes(peer, self.port, self.gid_index);
        // SAFETY: the protection domain is live and the attributes are complete.
        let raw = NonNull::new(unsafe { ffi::ibv_create_ah(pd.as_ptr(), &raw mut attributes) });
        let address = RawAddress(raw.ok_or_else(io::Error::last_os_error)?);
        let raw = address.0;
        let mut guard = self.lock();
        let Some(open) = guard.as_mut() else {
            return Err(closed());
        };
        let id = open.next;
        open.next += 1;
        open.addresses.insert(id, address);
        Ok(TableEntry {
            table: Arc::clone(self),
            id,
            raw,
        })
    }

    /// Releases every handle, and the table's hold on the protection domain.
    pub(crate) fn close(&self) {
        let open = self.lock().take();
        drop(open);
    }
}

impl TableEntry {
    /// The handle for posting, `None` when it is of another table.
    pub(crate) fn in_table(&self, table: &Arc<AddressTable>) -> Option<NonNull<ffi::ibv_ah>> {
        Arc::ptr_eq(&self.table, table).then_some(self.raw)
    }
}

impl Drop for TableEntry {
    fn drop(&mut self) {
        let address = self
            .table
            .lock()
            .as_mut()
            .and_then(|open| open.addresses.remove(&self.id));
        drop(address);
    }
}

fn attributes(peer: &PeerAddress, port: PortNum, gid_index: u8) -> ffi::ibv_ah_attr {
    let (dlid, gid) = match peer.route {
        PeerRoute::Gid(gid) => (0, Some(gid)),
        PeerRoute::Lid { lid, gid } => (lid, gid),
    };
    ffi::ibv_ah_attr {
        grh: ffi::ibv_global_route {
            dgid: ffi::ibv_gid {
                raw: gid.map_or([0; 16], |gid| gid.bytes()),
            },
            flow_label: peer.flow_label & 0xf_ffff,
            sgid_index: gid_index,
            hop_limit: peer.hop_limit,
            // The two low bits are ECN.
            traffic_class: peer.dscp << 2,
        },
        dlid,
        sl: peer.service_level & 0xf,
        src_path_bits: 0,
        static_rate: 0,
        is_global: u8::from(gid.is_some()),
        port_num: port.get(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gid::Gid;

    fn peer(route: PeerRoute) -> PeerAddress {
        PeerAddress {
            route,
            flow_label: 0x12_3456,
            dscp: 26,
            service_level: 3,
            hop_limit: 64,
        }
    }

    #[test]
    fn roce_addresses_carry_gid_label_and_dscp() {
        let gid: Gid = "10.0.0.1".parse().expect("valid");
        let built = attributes(&peer(PeerRoute::Gid(gid)), PortNum::FIRST, 3);
        assert_eq!(
            (built.is_global, built.dlid, built.sl, built.port_num),
            (1, 0, 3, 1)
        );
        assert_eq!((built.grh.sgid_index, built.grh.hop_limit), (3, 64));
        assert_eq!(built.grh.flow_label, 0x2_3456, "20 bits");
        assert_eq!(
            built.grh.traffic_class,
            26 << 2,
            "DSCP is above the ECN bits"
        );
        // SAFETY: every bit pattern is a valid byte array.
        assert_eq!(unsafe { built.grh.dgid.raw }, gid.bytes());
    }

    #[test]
    fn infiniband_addresses_are_lids_with_a_grh_only_across_subnets() {
        let local = attributes(
            &peer(PeerRoute::Lid {
                lid: 0x1f,
                gid: None,
            }),
            PortNum::FIRST,
            0,
        );
        assert_eq!((local.dlid, local.is_global), (0x1f, 0));
        let far = attributes(
            &peer(PeerRoute::Lid {
                lid: 0x1f,
                gid: Some(Gid::ZERO),
            }),
            PortNum::FIRST,
            0,
        );
        assert_eq!((far.dlid, far.is_global), (0x1f, 1));
    }
}
