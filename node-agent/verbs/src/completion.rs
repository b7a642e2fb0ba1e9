//! What comes out of a completion queue: finished sends, received datagrams and their time stamps.

use std::time::Duration;

use ibverbs_sys::ibv_wc_status;
use smallvec::SmallVec;

use crate::gid::Gid;

/// Payloads up to this many bytes are carried inside the completion, without allocation.
pub const INLINE_PAYLOAD: usize = 128;

/// A received datagram's payload.
pub type Payload = SmallVec<[u8; INLINE_PAYLOAD]>;

/// Whose clock the stamps of an endpoint are on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TimestampMode {
    /// The RNIC's clock, taken by the hardware when the packet passed.
    Hardware,
    /// `CLOCK_MONOTONIC` of this host, taken when the completion was read.
    Software,
}

impl TimestampMode {
    /// Whether a driver's completion stamps are times of the packets. Not every driver that offers
    /// stamps keeps that promise: irdma and its relatives report TCP round trips in their place,
    /// which would be nonsense for a datagram.
    pub(crate) fn driver_has_clock(driver: Option<&str>) -> bool {
        driver.is_some_and(|driver| driver.starts_with("mlx5") || driver.starts_with("mlx4"))
    }
}

/// A moment on the clock that [`TimestampMode`] names, since that clock's own origin. Only
/// differences between stamps of the same endpoint mean anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp(pub Duration);

impl Stamp {
    /// Now on `CLOCK_MONOTONIC`: the clock of software stamps, for the moments that the caller
    /// stamps itself.
    #[must_use]
    pub fn monotonic() -> Self {
        let mut now = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: `now` is a valid timespec to write to. CLOCK_MONOTONIC always exists on Linux, so
        // the call cannot fail.
        unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
        let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
        let nanos = u32::try_from(now.tv_nsec).unwrap_or(0);
        Self(Duration::new(seconds, nanos))
    }

    /// Nanoseconds since the clock's origin.
    #[must_use]
    pub fn as_nanos(self) -> u64 {
        u64::try_from(self.0.as_nanos()).unwrap_or(u64::MAX)
    }

    /// `self − earlier` in nanoseconds, negative when it is not earlier.
    #[must_use]
    pub fn nanos_since(self, earlier: Self) -> i64 {
        let difference = i128::from(self.as_nanos()) - i128::from(earlier.as_nanos());
        i64::try_from(difference).unwrap_or(if difference < 0 { i64::MIN } else { i64::MAX })
    }
}

/// How a work request ended (`enum ibv_wc_status`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CompletionStatus {
    /// Done. For a datagram this means handed to the wire, not received.
    Success,
    /// Flushed: the queue pair went to the error state before this was done.
    Flushed,
    /// A protection or length error on our side.
    LocalError(u32),
    /// The device is in a fatal state.
    Fatal,
    /// Any other status of the provider.
    Other(u32),
}

impl CompletionStatus {
    pub(crate) fn from_raw(status: ibv_wc_status::Type) -> Self {
        match status {
            ibv_wc_status::IBV_WC_SUCCESS => Self::Success,
            ibv_wc_status::IBV_WC_WR_FLUSH_ERR => Self::Flushed,
            ibv_wc_status::IBV_WC_LOC_LEN_ERR
            | ibv_wc_status::IBV_WC_LOC_QP_OP_ERR
            | ibv_wc_status::IBV_WC_LOC_PROT_ERR
            | ibv_wc_status::IBV_WC_LOC_ACCESS_ERR => Self::LocalError(status),
            ibv_wc_status::IBV_WC_FATAL_ERR => Self::Fatal,
            other => Self::Other(other),
        }
    }
}

/// One finished work request.
#[derive(Debug, Clone)]
pub enum Completion {
    /// A datagram posted with this token has left (or failed to).
    Sent {
        /// The caller's token.
        token: u64,
        /// How it ended.
        status: CompletionStatus,
        /// When; in software mode when the completion was read, which is late: stamp before posting
        /// instead.
        stamp: Stamp,
    },
    /// A datagram has come in.
    Received {
        /// The queue pair it came in on, as index.
        qp_index: usize,
        /// The sender's QPN as the packet says it.
        source_qpn: u32,
        /// The sender's GID where the packet has a GRH or an IP header.
        source_gid: Option<Gid>,
        /// The hop limit (TTL) that was left, where the packet has a GRH or an IP header.
        hop_limit: Option<u8>,
        /// The sender's LID, on InfiniBand.
        source_lid: Option<u16>,
        /// The bytes after the GRH.
        payload: Payload,
        /// When.
        stamp: Stamp,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_between_stamps_have_a_sign() {
        let (early, late) = (
            Stamp(Duration::from_nanos(5)),
            Stamp(Duration::from_nanos(9)),
        );
        assert_eq!((late.nanos_since(early), early.nanos_since(late)), (4, -4));
        let end = Stamp(Duration::from_nanos(u64::MAX));
        assert_eq!(
            end.nanos_since(Stamp(Duration::ZERO)),
            i64::MAX,
            "and never overflow"
        );
    }

    #[test]
    fn the_monotonic_clock_does_not_run_backwards() {
        let (a, b) = (Stamp::monotonic(), Stamp::monotonic());
        assert!(a.as_nanos() > 0 && b >= a);
    }

    #[test]
    fn only_drivers_with_a_real_clock_stamp_in_hardware() {
        assert!(TimestampMode::driver_has_clock(Some("mlx5_core")));
        for driver in [Some("irdma"), Some("rxe"), None] {
            assert!(!TimestampMode::driver_has_clock(driver));
        }
    }

    #[test]
    fn provider_statuses_become_typed_ones() {
        assert_eq!(CompletionStatus::from_raw(0), CompletionStatus::Success);
        assert_eq!(CompletionStatus::from_raw(5), CompletionStatus::Flushed);
        assert_eq!(
            CompletionStatus::from_raw(4),
            CompletionStatus::LocalError(4)
        );
        assert_eq!(CompletionStatus::from_raw(19), CompletionStatus::Fatal);
        assert_eq!(
            CompletionStatus::from_raw(999),
            CompletionStatus::Other(999)
        );
    }
}
