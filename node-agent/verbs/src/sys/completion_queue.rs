//! The completion queue, its notification channel, and where its time stamps come from.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use ibverbs_sys as ffi;
use nix::fcntl::{FcntlArg, OFlag, fcntl};

use super::context::Context;
use super::shim;
pub(crate) use super::shim::WorkCompletion;
use super::{check, log_release};
use crate::completion::{Stamp, TimestampMode};

/// Completions read in one go.
pub(crate) const BATCH: usize = 32;

/// Notifications are acknowledged in batches: each acknowledgement takes a lock.
const ACK_BATCH: u32 = 64;

/// What the stamps of a queue count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StampSource {
    /// Nanoseconds of CLOCK_MONOTONIC, taken as each completion is read.
    Monotonic,
    /// Nanoseconds of the device's wall clock.
    WallClock,
    /// Ticks of the device's free-running counter.
    Ticks { mask: u64, khz: u64 },
}

/// Makes descriptors of libibverbs non-blocking, as waiting on them asynchronously needs.
pub(crate) fn set_non_blocking(fd: RawFd) -> io::Result<()> {
    // SAFETY: the descriptor belongs to an object that the caller keeps alive during this call.
    let fd = unsafe { BorrowedFd::borrow_raw(fd) };
    let flags = OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL)?);
    fcntl(fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(())
}

#[derive(Debug)]
struct Channel {
    raw: NonNull<ffi::ibv_comp_channel>,
    context: Arc<Context>,
}

impl Channel {
    fn new(context: Arc<Context>) -> io::Result<Self> {
        // SAFETY: the context is open.
        let raw = NonNull::new(unsafe { ffi::ibv_create_comp_channel(context.as_ptr()) })
            .ok_or_else(io::Error::last_os_error)?;
        let channel = Self { raw, context };
        set_non_blocking(channel.fd())?;
        Ok(channel)
    }

    fn fd(&self) -> RawFd {
        // SAFETY: the channel is live; the field does not change.
        unsafe { (*self.raw.as_ptr()).fd }
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        // SAFETY: made by us, destroyed once, after its completion queue (which owns it).
        log_release(
            "ibv_destroy_comp_channel",
            check(unsafe { ffi::ibv_destroy_comp_channel(self.raw.as_ptr()) }),
        );
    }
}

/// How completions are read from the queue.
#[derive(Debug, Clone, Copy)]
enum Reader {
    Plain,
    /// Extended, with time stamps.
    Extended(NonNull<ffi::ibv_cq_ex>),
}

/// A completion queue with its own notification channel.
#[derive(Debug)]
pub(crate) struct CompletionQueue {
    raw: NonNull<ffi::ibv_cq>,
    reader: Reader,
    stamps: StampSource,
    /// Notifications taken and not yet acknowledged.
    unacknowledged: AtomicU32,
    channel: Channel,
}

// SAFETY: verbs are thread safe on completion queues and channels, except for reading an extended
// queue: `poll` is called only by the endpoint's `poll`, which has `&mut self`.
unsafe impl Send for CompletionQueue {}
// SAFETY: as above.
unsafe impl Sync for CompletionQueue {}

impl CompletionQueue {
    /// With the best time stamps that the device offers, if its driver is known to stamp with its
    /// own clock.
    pub(crate) fn new(context: &Arc<Context>, entries: u32, has_clock: bool) -> io::Result<Self> {
        let channel = Channel::new(Arc::clone(context))?;
        let (mask, khz) = if has_clock { context.clock() } else { (0, 0) };
        let offered = match mask {
            0 => &[][..],
            mask => &[StampSource::WallClock, StampSource::Ticks { mask, khz }][..],
        };
        for &stamps in offered {
            if let Some(queue) = extended(&channel, entries, stamps) {
                let unacknowledged = AtomicU32::new(0);
                // SAFETY: the extended queue was just made; its plain view is the same object.
                let raw = NonNull::new(unsafe { shim::rdmamesh_cq_of(queue.as_ptr()) })
                    .ok_or(io::ErrorKind::Other)?;
                let reader = Reader::Extended(queue);
                return Ok(Self {
                    raw,
                    reader,
                    stamps,
                    unacknowledged,
                    channel,
                });
            }
        }
        let cqe = libc::c_int::try_from(entries).map_err(|_| io::ErrorKind::InvalidInput)?;
        // SAFETY: context and channel are live; no queue context is passed.
        let raw = unsafe {
            ffi::ibv_create_cq(
                context.as_ptr(),
                cqe,
                std::ptr::null_mut(),
                channel.raw.as_ptr(),
                0,
            )
        };
        let raw = NonNull::new(raw).ok_or_else(io::Error::last_os_error)?;
        let unacknowledged = AtomicU32::new(0);
        Ok(Self {
            raw,
            reader: Reader::Plain,
            stamps: StampSource::Monotonic,
            unacknowledged,
            channel,
        })
    }

    pub(super) fn as_ptr(&self) -> *mut ffi::ibv_cq {
        self.raw.as_ptr()
    }

    pub(crate) fn stamps(&self) -> StampSource {
        self.stamps
    }

    /// Asks for one notification: at the next completion of any kind where the hardware stamps
    /// them, else at the next received datagram (its sender asks for it, see
    /// `QueuePair::post_send`) or failed request.
    pub(crate) fn arm(&self, mode: TimestampMode) -> io::Result<()> {
        let arm = self
            .channel
            .context
            .ops()
            .req_notify_cq
            .ok_or(io::ErrorKind::Unsupported)?;
        let solicited_only = libc::c_int::from(mode == TimestampMode::Software);
        // SAFETY: the queue is live.
        check(unsafe { arm(self.raw.as_ptr(), solicited_only) })
    }

    /// Takes the pending notification off the channel; false when there is none.
    pub(crate) fn take_notification(&self) -> io::Result<bool> {
        loop {
            let (mut queue, mut cookie) = (std::ptr::null_mut(), std::ptr::null_mut());
            let channel = self.channel.raw.as_ptr();
            // SAFETY: the channel is live and both out-pointers are valid to write to.
            match check(unsafe { ffi::ibv_get_cq_event(channel, &raw mut queue, &raw mut cookie) })
            {
                Ok(()) => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        if self.unacknowledged.fetch_add(1, Ordering::AcqRel) + 1 >= ACK_BATCH {
            self.acknowledge();
        }
        Ok(true)
    }

    fn acknowledge(&self) {
        let count = self.unacknowledged.swap(0, Ordering::AcqRel);
        if count > 0 {
            // SAFETY: the queue is live, and exactly this many events were taken and not
            // acknowledged before.
            unsafe { ffi::ibv_ack_cq_events(self.raw.as_ptr(), count) };
        }
    }

    /// Reads completions into the buffer and returns how many. Must not be called from two threads
    /// at once.
    pub(crate) fn poll(&self, out: &mut [WorkCompletion; BATCH]) -> io::Result<usize> {
        match self.reader {
            Reader::Extended(queue) => {
                let wall_clock = libc::c_int::from(self.stamps == StampSource::WallClock);
                // SAFETY: the queue is live and the buffer has room for BATCH completions of the
                // layout that the shim writes.
                let read = unsafe {
                    shim::rdmamesh_poll_cq_ex(
                        queue.as_ptr(),
                        wall_clock,
                        out.as_mut_ptr(),
                        BATCH as libc::c_int,
                    )
                };
                usize::try_from(read)
                    .map_err(|_| io::Error::from_raw_os_error(read.saturating_abs()))
            }
            Reader::Plain => self.poll_plain(out),
        }
    }

    fn poll_plain(&self, out: &mut [WorkCompletion; BATCH]) -> io::Result<usize> {
        let poll = self
            .channel
            .context
            .ops()
            .poll_cq
            .ok_or(io::ErrorKind::Unsupported)?;
        let mut completions = [const { std::mem::MaybeUninit::<ffi::ibv_wc>::zeroed() }; BATCH];
        // SAFETY: the queue is live and the buffer has room for BATCH completions.
        let read = unsafe {
            poll(
                self.raw.as_ptr(),
                BATCH as libc::c_int,
                completions.as_mut_ptr().cast(),
            )
        };
        let read = usize::try_from(read).map_err(|_| io::Error::from_raw_os_error(libc::EIO))?;
        for (to, from) in out.iter_mut().zip(&completions[..read.min(BATCH)]) {
            // SAFETY: zeroed is a valid ibv_wc (integers only), and the provider filled this one.
            let from = unsafe { from.assume_init_ref() };
            *to = plain_completion(from);
        }
        Ok(read.min(BATCH))
    }
}

/// The flat form of a plain completion, stamped now.
fn plain_completion(from: &ffi::ibv_wc) -> WorkCompletion {
    WorkCompletion {
        wr_id: from.wr_id(),
        stamp: Stamp::monotonic().as_nanos(),
        status: from
            .error()
            .map_or(ffi::ibv_wc_status::IBV_WC_SUCCESS, |(status, _)| status),
        opcode: from.opcode(),
        byte_len: u32::try_from(from.len()).unwrap_or(u32::MAX),
        qp_num: from.qp_num,
        src_qp: from.src_qp,
        wc_flags: from.wc_flags.0,
        slid: u32::from(from.slid),
    }
}

/// An extended queue with the wanted stamps, `None` when the device does not offer them (or their
/// unit cannot be known).
fn extended(
    channel: &Channel,
    entries: u32,
    stamps: StampSource,
) -> Option<NonNull<ffi::ibv_cq_ex>> {
    let wall_clock = match stamps {
        StampSource::Monotonic | StampSource::Ticks { khz: 0, .. } => return None,
        StampSource::WallClock => 1,
        StampSource::Ticks { .. } => 0,
    };
    let context = channel.context.as_ptr();
    // SAFETY: context and channel are live.
    NonNull::new(unsafe {
        shim::rdmamesh_create_cq_ex(context, channel.raw.as_ptr(), entries, wall_clock)
    })
}

impl AsRawFd for CompletionQueue {
    fn as_raw_fd(&self) -> RawFd {
        self.channel.fd()
    }
}

impl Drop for CompletionQueue {
    fn drop(&mut self) {
        // Destroying waits for every event taken to be acknowledged: without this it would hang.
        self.acknowledge();
        // SAFETY: made by us, destroyed once; its queue pairs held references and are gone.
        log_release(
            "ibv_destroy_cq",
            check(unsafe { ffi::ibv_destroy_cq(self.raw.as_ptr()) }),
        );
    }
}
