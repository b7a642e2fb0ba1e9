//! Registered memory: one block, cut into equal send slots and equal receive slots.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::io;
use std::ptr::NonNull;
use std::sync::Arc;

use ibverbs_sys as ffi;

use super::context::ProtectionDomain;
use super::{check, log_release};

/// Room that a receive buffer needs before the payload: the global routing header, or the IPv4
/// header at its end.
pub(crate) const GRH_LEN: usize = 40;

/// Slots start on cache lines, so that the device never writes to a line that holds another slot.
const LINE: usize = 64;
const PAGE: usize = 4096;

/// How the block is cut. Send slots come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SlotLayout {
    pub(crate) max_payload: usize,
    pub(crate) send_slots: usize,
    pub(crate) recv_slots: usize,
}

impl SlotLayout {
    fn send_stride(self) -> usize {
        self.max_payload.max(1).next_multiple_of(LINE)
    }

    fn recv_stride(self) -> usize {
        (GRH_LEN + self.max_payload).next_multiple_of(LINE)
    }

    /// Size of the block in bytes: what is pinned. `None` when it does not fit in memory at all.
    pub(crate) fn bytes(self) -> Option<usize> {
        let send = self.send_slots.checked_mul(self.send_stride())?;
        let recv = self.recv_slots.checked_mul(self.recv_stride())?;
        send.checked_add(recv)?
            .max(1)
            .checked_next_multiple_of(PAGE)
    }

    fn send_offset(self, slot: usize) -> Option<usize> {
        (slot < self.send_slots).then(|| slot * self.send_stride())
    }

    fn recv_offset(self, slot: usize) -> Option<usize> {
        (slot < self.recv_slots)
            .then(|| self.send_slots * self.send_stride() + slot * self.recv_stride())
    }
}

/// Page-aligned zeroed memory.
#[derive(Debug)]
struct Block {
    start: NonNull<u8>,
    layout: Layout,
}

impl Block {
    fn new(bytes: usize) -> io::Result<Self> {
        let layout = Layout::from_size_align(bytes, PAGE).map_err(io::Error::other)?;
        // SAFETY: the size is not zero, `SlotLayout::bytes` is at least a page.
        let start =
            NonNull::new(unsafe { alloc_zeroed(layout) }).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { start, layout })
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout and freed once.
        unsafe { dealloc(self.start.as_ptr(), self.layout) };
    }
}

/// The registered block.
#[derive(Debug)]
pub(crate) struct Region {
    raw: NonNull<ffi::ibv_mr>,
    slots: SlotLayout,
    // Released after the registration (in `drop`), fields in this order.
    block: Block,
    _pd: Arc<ProtectionDomain>,
}

// SAFETY: the block is owned; it is reached only through `&mut self`, or by the device as queued
// work requests allow.
unsafe impl Send for Region {}
// SAFETY: `&self` methods read immutable fields only.
unsafe impl Sync for Region {}

impl Region {
    pub(crate) fn register(pd: &Arc<ProtectionDomain>, slots: SlotLayout) -> io::Result<Self> {
        let bytes = slots.bytes().ok_or(io::ErrorKind::OutOfMemory)?;
        let block = Block::new(bytes)?;
        let access = ffi::ibv_access_flags::IBV_ACCESS_LOCAL_WRITE.0;
        // SAFETY: the block is `bytes` long and outlives the registration, which is released first
        // in drop.
        let raw = unsafe {
            ffi::ibv_reg_mr(
                pd.as_ptr(),
                block.start.as_ptr().cast(),
                bytes,
                libc::c_int::try_from(access).unwrap_or(1),
            )
        };
        let raw = NonNull::new(raw).ok_or_else(io::Error::last_os_error)?;
        Ok(Self {
            raw,
            slots,
            block,
            _pd: Arc::clone(pd),
        })
    }

    pub(crate) fn slots(&self) -> SlotLayout {
        self.slots
    }

    fn element(&self, offset: usize, len: usize) -> ffi::ibv_sge {
        // SAFETY: the registration is live.
        let lkey = unsafe { (*self.raw.as_ptr()).lkey };
        let addr = self.block.start.as_ptr() as usize + offset;
        ffi::ibv_sge {
            addr: addr as u64,
            length: u32::try_from(len).unwrap_or(0),
            lkey,
        }
    }

    /// Copies a payload into a send slot; `None` when slot or payload are out of bounds.
    pub(crate) fn fill(&mut self, slot: usize, payload: &[u8]) -> Option<ffi::ibv_sge> {
        let offset = self.slots.send_offset(slot)?;
        if payload.len() > self.slots.max_payload {
            return None;
        }
        // SAFETY: the slot is inside the block and holds at least `max_payload` bytes; the payload
        // is another allocation. The caller hands out a slot only while no work request uses it.
        unsafe {
            payload
                .as_ptr()
                .copy_to_nonoverlapping(self.block.start.as_ptr().add(offset), payload.len());
        };
        Some(self.element(offset, payload.len()))
    }

    /// The scatter entry of a whole receive slot.
    pub(crate) fn recv_element(&self, slot: usize) -> Option<ffi::ibv_sge> {
        let offset = self.slots.recv_offset(slot)?;
        Some(self.element(offset, GRH_LEN + self.slots.max_payload))
    }

    /// What a completed receive wrote: the header room and the payload. `len` counts both, as
    /// completions do.
    pub(crate) fn received(&self, slot: usize, len: usize) -> Option<(&[u8; GRH_LEN], &[u8])> {
        let offset = self.slots.recv_offset(slot)?;
        if len > GRH_LEN + self.slots.max_payload {
            return None;
        }
        // SAFETY: the slot is inside the block and `len` inside the slot. The device is done with
        // it: its completion was polled, and the slot is posted again only through `&mut` by the
        // owner after this borrow has ended.
        let bytes =
            unsafe { std::slice::from_raw_parts(self.block.start.as_ptr().add(offset), len) };
        bytes.split_first_chunk()
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: registered by us and released once; the queue pairs that used it are destroyed
        // before (the endpoint's order).
        log_release(
            "ibv_dereg_mr",
            check(unsafe { ffi::ibv_dereg_mr(self.raw.as_ptr()) }),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAYOUT: SlotLayout = SlotLayout {
        max_payload: 100,
        send_slots: 3,
        recv_slots: 5,
    };

    #[test]
    fn slots_start_on_cache_lines_and_do_not_overlap() {
        assert_eq!(LAYOUT.send_offset(2), Some(256));
        assert_eq!(LAYOUT.recv_offset(0), Some(384));
        assert_eq!(LAYOUT.recv_offset(1), Some(384 + 192));
    }

    #[test]
    fn slots_out_of_bounds_do_not_exist() {
        assert_eq!(LAYOUT.send_offset(3), None);
        assert_eq!(LAYOUT.recv_offset(5), None);
    }

    #[test]
    fn the_block_holds_every_slot_in_whole_pages() {
        let bytes = LAYOUT.bytes().expect("small");
        assert_eq!(bytes % PAGE, 0);
        assert!(bytes >= LAYOUT.recv_offset(4).expect("last slot") + LAYOUT.recv_stride());
    }

    #[test]
    fn absurd_sizes_are_refused_without_overflow() {
        assert_eq!(
            SlotLayout {
                max_payload: usize::MAX / 4,
                send_slots: 100,
                recv_slots: 1
            }
            .bytes(),
            None
        );
    }
}
