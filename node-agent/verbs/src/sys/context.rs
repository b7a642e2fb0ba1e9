//! The opened device and its protection domain.

use std::ffi::CStr;
use std::io;
use std::path::PathBuf;
use std::ptr::NonNull;
use std::sync::Arc;

use ibverbs_sys as ffi;

use super::shim::{self, PortAttributes};
use super::{check, log_release};
use crate::gid::Gid;
use crate::port::PortNum;

/// The list that libibverbs makes of the devices it can drive.
struct DeviceList {
    first: NonNull<*mut ffi::ibv_device>,
    len: usize,
}

impl DeviceList {
    /// `None` when there is no RDMA in this kernel at all.
    fn read() -> Option<Self> {
        let mut len = 0;
        // SAFETY: `len` is valid to write to; the result is checked for null and freed in drop.
        let first = NonNull::new(unsafe { ffi::ibv_get_device_list(&raw mut len) })?;
        Some(Self {
            first,
            len: usize::try_from(len).unwrap_or(0),
        })
    }

    fn devices(&self) -> impl Iterator<Item = NonNull<ffi::ibv_device>> {
        // SAFETY: libibverbs returned an array of `len` pointers, which lives until it is freed in
        // drop.
        let all = unsafe { std::slice::from_raw_parts(self.first.as_ptr(), self.len) };
        all.iter().filter_map(|&device| NonNull::new(device))
    }
}

impl Drop for DeviceList {
    fn drop(&mut self) {
        // SAFETY: made by ibv_get_device_list and freed once. Devices that were opened stay valid
        // until they are closed.
        unsafe { ffi::ibv_free_device_list(self.first.as_ptr()) };
    }
}

fn name_of(device: NonNull<ffi::ibv_device>) -> String {
    // SAFETY: the device is in a live list, so the name is a NUL-terminated string inside it.
    let name = unsafe { CStr::from_ptr(ffi::ibv_get_device_name(device.as_ptr())) };
    name.to_string_lossy().into_owned()
}

/// Names of the devices that libibverbs can drive.
pub(crate) fn device_names() -> Vec<String> {
    DeviceList::read()
        .map(|list| list.devices().map(name_of).collect())
        .unwrap_or_default()
}

/// Why a device could not be opened.
pub(crate) enum OpenError {
    /// libibverbs does not list it.
    NotListed,
    /// The kernel refused.
    Refused(io::Error),
}

/// An opened device.
#[derive(Debug)]
pub(crate) struct Context {
    raw: NonNull<ffi::ibv_context>,
    /// Where sysfs shows the character device; gone as soon as the device is being removed. `None`
    /// where sysfs does not show it.
    uverbs_path: Option<PathBuf>,
}

// SAFETY: verbs are thread safe for all operations on a context (ibverbs(7): "the library is thread
// safe").
unsafe impl Send for Context {}
// SAFETY: as above.
unsafe impl Sync for Context {}

impl Context {
    pub(crate) fn open(name: &str) -> Result<Self, OpenError> {
        let list = DeviceList::read().ok_or(OpenError::NotListed)?;
        let device = list
            .devices()
            .find(|&device| name_of(device) == name)
            .ok_or(OpenError::NotListed)?;
        // SAFETY: the device is in a live list.
        let raw = NonNull::new(unsafe { ffi::ibv_open_device(device.as_ptr()) })
            .ok_or_else(|| OpenError::Refused(io::Error::last_os_error()))?;
        // SAFETY: dev_path is a NUL-terminated array inside the device.
        let uverbs = unsafe { CStr::from_ptr((&raw const (*device.as_ptr()).dev_path).cast()) };
        let uverbs_path = PathBuf::from(uverbs.to_string_lossy().into_owned());
        Ok(Self {
            raw,
            uverbs_path: uverbs_path.exists().then_some(uverbs_path),
        })
    }

    pub(super) fn as_ptr(&self) -> *mut ffi::ibv_context {
        self.raw.as_ptr()
    }

    pub(super) fn ops(&self) -> &ffi::ibv_context_ops {
        // SAFETY: the context is open, and its operations do not change after it was opened.
        unsafe { &(*self.raw.as_ptr()).ops }
    }

    /// The descriptor that becomes readable on asynchronous events; owned by the context.
    pub(crate) fn async_fd(&self) -> libc::c_int {
        // SAFETY: the context is open; the field does not change.
        unsafe { (*self.raw.as_ptr()).async_fd }
    }

    /// Whether the device still has its character device. True where that cannot be told.
    pub(crate) fn is_present(&self) -> bool {
        self.uverbs_path.as_ref().is_none_or(|path| path.exists())
    }

    pub(crate) fn query_port(&self, port: PortNum) -> io::Result<PortAttributes> {
        let mut attributes = PortAttributes::default();
        // SAFETY: the context is open and `attributes` has the layout that the shim writes.
        check(unsafe {
            shim::rdmamesh_query_port(self.as_ptr(), port.get(), &raw mut attributes)
        })?;
        Ok(attributes)
    }

    /// Limits of the device: (work requests per queue, entries per completion queue).
    pub(crate) fn limits(&self) -> io::Result<(u32, u32)> {
        let mut attributes = ffi::ibv_device_attr::default();
        // SAFETY: the context is open and the structure has the size that libibverbs writes (layout
        // test).
        check(unsafe { ffi::ibv_query_device(self.as_ptr(), &raw mut attributes) })?;
        let positive = |limit: libc::c_int| u32::try_from(limit).unwrap_or(0);
        Ok((positive(attributes.max_qp_wr), positive(attributes.max_cqe)))
    }

    /// One entry of a port's GID table; the zero GID when it is empty.
    pub(crate) fn gid(&self, port: PortNum, index: u16) -> io::Result<Gid> {
        let mut gid = ffi::ibv_gid::default();
        // SAFETY: the context is open and `gid` is valid to write to.
        check(unsafe {
            ffi::ibv_query_gid(self.as_ptr(), port.get(), i32::from(index), &raw mut gid)
        })?;
        // SAFETY: every bit pattern is a valid byte array.
        Ok(Gid::from_bytes(unsafe { gid.raw }))
    }

    /// The clock of completion time stamps, as (mask of the bits that count, ticks per
    /// millisecond); zeros without one.
    pub(super) fn clock(&self) -> (u64, u64) {
        let mut clock = shim::Clock::default();
        // SAFETY: the context is open and `clock` has the layout that the shim writes.
        match check(unsafe { shim::rdmamesh_query_clock(self.as_ptr(), &raw mut clock) }) {
            Ok(()) => (clock.timestamp_mask, clock.core_clock_khz),
            Err(_) => (0, 0),
        }
    }

    /// Takes one pending asynchronous event and acknowledges it at once, so that no destroy ever
    /// waits for it. `WouldBlock` when there is none (the descriptor is non-blocking). Returns the
    /// event's number and the port it names.
    pub(crate) fn take_event(&self) -> io::Result<(u32, libc::c_int)> {
        let mut event = std::mem::MaybeUninit::<ffi::ibv_async_event>::zeroed();
        // SAFETY: the context is open and `event` is valid to write to.
        check(unsafe { ffi::ibv_get_async_event(self.as_ptr(), event.as_mut_ptr()) })?;
        // SAFETY: filled by the successful call; the zeroed rest is valid for a union of pointers
        // and integers.
        let mut event = unsafe { event.assume_init() };
        // SAFETY: reading the integer member is valid for any content of the union.
        let port = unsafe { event.element.port_num };
        // SAFETY: got from ibv_get_async_event just now and acknowledged once.
        unsafe { ffi::ibv_ack_async_event(&raw mut event) };
        Ok((event.event_type, port))
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: opened by us, closed once; everything made from it held a reference and is gone.
        log_release(
            "ibv_close_device",
            check(unsafe { ffi::ibv_close_device(self.as_ptr()) }),
        );
    }
}

/// A protection domain.
#[derive(Debug)]
pub(crate) struct ProtectionDomain {
    raw: NonNull<ffi::ibv_pd>,
    context: Arc<Context>,
}

// SAFETY: verbs are thread safe on a protection domain.
unsafe impl Send for ProtectionDomain {}
// SAFETY: as above.
unsafe impl Sync for ProtectionDomain {}

impl ProtectionDomain {
    pub(crate) fn new(context: Arc<Context>) -> io::Result<Self> {
        // SAFETY: the context is open.
        let raw = NonNull::new(unsafe { ffi::ibv_alloc_pd(context.as_ptr()) })
            .ok_or_else(io::Error::last_os_error)?;
        Ok(Self { raw, context })
    }

    pub(super) fn as_ptr(&self) -> *mut ffi::ibv_pd {
        self.raw.as_ptr()
    }

    pub(super) fn context(&self) -> &Arc<Context> {
        &self.context
    }
}

impl Drop for ProtectionDomain {
    fn drop(&mut self) {
        // SAFETY: allocated by us, released once; everything made from it held a reference and is
        // gone.
        log_release(
            "ibv_dealloc_pd",
            check(unsafe { ffi::ibv_dealloc_pd(self.as_ptr()) }),
        );
    }
}
