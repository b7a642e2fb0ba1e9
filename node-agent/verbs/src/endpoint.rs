//! The UD endpoint: one opened device with everything a prober needs to send and receive datagrams.
//!
//! The agent's scheduler owns one per port and drives it: `post` to send, `ready` to sleep until
//! something completed, `poll` to take what did. No thread and no task of its own, nothing busy.

mod clock;
mod grh;
mod open;
mod queues;
mod slots;
mod wake;

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ibverbs_sys::{ibv_wc_flags, ibv_wc_status};
use tokio::io::unix::{AsyncFd, AsyncFdReadyGuard};
use tokio::time::timeout;

use self::clock::StampClock;
use self::queues::Queues;
use self::slots::{InFlight, RequestId, SendSlots};
use self::wake::{WakeCell, WakeState};
use crate::address::{AddressHandle, AddressMaker, PeerAddress};
use crate::completion::{Completion, CompletionStatus, Payload, TimestampMode};
use crate::error::{PostError, Result, VerbsError};
use crate::events::{AsyncEvents, EventSource};
use crate::flow::{FlowSource, flow_label_source_port, rxe_source_port};
use crate::gid::Gid;
use crate::port::PortNum;
use crate::sys::address::AddressTable;
use crate::sys::completion_queue::{BATCH, CompletionQueue, WorkCompletion};
use crate::sys::queue_pair::Destination;
use crate::sys::region::Region;

/// At most this many completions are taken by one `poll`, so that a flood cannot keep its caller
/// from its other work.
const POLL_LIMIT: usize = 1024;

/// How long `ready` waits at most before the next poll while a queue pair is being emptied.
const FLUSH_PAUSE: Duration = Duration::from_millis(2);

/// What to open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointConfig {
    /// Device name, such as `mlx5_0`.
    pub device: String,
    /// Its port.
    pub port: PortNum,
    /// GID table index to send from (0 on InfiniBand).
    pub gid_index: u16,
    /// UD queue pairs wanted. Where the flow follows from the queue pair, they get distinct UDP
    /// source ports.
    pub qps: u16,
    /// Datagrams that may be in flight to the device at once, all queue pairs together.
    pub send_slots: u16,
    /// Receive buffers per queue pair.
    pub recv_slots: u16,
    /// Longest payload in bytes, sent or received.
    pub max_payload: usize,
    /// Queue key that both sides must share. The highest bit must be 0: with it set, a device uses
    /// a key of its own.
    pub qkey: u32,
}

/// How the UDP source ports of the endpoint's flows come about.
#[derive(Debug, Clone, Copy)]
struct Flows {
    source: FlowSource,
    folds_label: bool,
}

/// The completion queue's descriptor, kept open by the queue.
#[derive(Debug)]
struct NotificationFd(Arc<CompletionQueue>);

impl AsRawFd for NotificationFd {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// One opened device: protection domain, registered slots, completion queue with its channel, and
/// UD queue pairs ready to send.
///
/// Dropping it releases everything in the device at once and never panics. Address handles, address
/// makers and event streams that are still held do not keep the device open.
#[derive(Debug)]
pub struct UdEndpoint {
    // Fields are dropped in this order: queue pairs, registered memory, then the queue with its
    // descriptor.
    queues: Queues,
    qpns: Vec<u32>,
    region: Region,
    sends: SendSlots,
    /// Taken off the queue when a send slot was needed; handed out by the next poll.
    early: Vec<Completion>,
    notifications: AsyncFd<NotificationFd>,
    cq: Arc<CompletionQueue>,
    clock: StampClock,
    addresses: Arc<AddressTable>,
    events: EventSource,
    wake: WakeCell,
    /// The last poll stopped at its limit.
    more: AtomicBool,
    device: String,
    gid: Gid,
    qkey: u32,
    flows: Flows,
}

impl UdEndpoint {
    /// Opens the device. Must be called within a tokio runtime with I/O and time enabled.
    ///
    /// # Errors
    /// The variants of [`VerbsError`] say what is missing; nothing stays open.
    pub fn open(config: &EndpointConfig) -> Result<Self> {
        open::open(config)
    }

    /// Numbers of the queue pairs; their order is the `qp_index` everywhere.
    #[must_use]
    pub fn qpns(&self) -> &[u32] {
        &self.qpns
    }

    /// What distinguishes flows on this device.
    #[must_use]
    pub fn flow_source(&self) -> FlowSource {
        self.flows.source
    }

    /// Whose clock the stamps are on.
    #[must_use]
    pub fn timestamps(&self) -> TimestampMode {
        self.clock.mode()
    }

    /// The GID that datagrams are sent from.
    #[must_use]
    pub fn local_gid(&self) -> Gid {
        self.gid
    }

    /// The UDP source port of a flow; `None` where it cannot be known (InfiniBand, label 0, drivers
    /// with rules of their own).
    #[must_use]
    pub fn source_port(&self, qp_index: usize, flow_label: u32) -> Option<u16> {
        let qpn = *self.qpns.get(qp_index)?;
        match self.flows.source {
            FlowSource::QpNumber => Some(rxe_source_port(qpn)),
            FlowSource::FlowLabel if self.flows.folds_label => flow_label_source_port(flow_label),
            FlowSource::FlowLabel | FlowSource::LidPath => None,
        }
    }

    /// How often a failed queue pair was brought back since the endpoint was opened. Each time the
    /// datagrams in flight on it were lost here, not in the fabric; sends among them completed with
    /// an error status.
    #[must_use]
    pub fn recoveries(&self) -> u64 {
        self.queues.recoveries()
    }

    /// Makes an address handle; callers keep one per flow. **May block for up to a second** where
    /// the kernel has to resolve a neighbour: use [`Self::address_maker`] where that matters.
    ///
    /// # Errors
    /// [`VerbsError::Address`] when there is no route or neighbour.
    pub fn address(&self, peer: &PeerAddress) -> Result<AddressHandle> {
        self.address_maker().create(peer)
    }

    /// Makes address handles for this endpoint from another thread.
    #[must_use]
    pub fn address_maker(&self) -> AddressMaker {
        AddressMaker::new(Arc::clone(&self.addresses))
    }

    /// Posts one datagram. Never blocks; the payload is copied into a registered slot.
    ///
    /// # Errors
    /// See [`PostError`]; nothing was sent then.
    pub fn post(
        &mut self,
        qp_index: usize,
        to: &AddressHandle,
        remote_qpn: u32,
        payload: &[u8],
        token: u64,
    ) -> Result<(), PostError> {
        let slot = self.free_slot().ok_or(PostError::NoSlot)?;
        let address = to
            .in_table(&self.addresses)
            .ok_or(PostError::ForeignAddress)?;
        let (len, max) = (payload.len(), self.region.slots().max_payload);
        let element = self
            .region
            .fill(slot, payload)
            .ok_or(PostError::TooLong { len, max })?;
        let destination = Destination {
            address,
            qpn: remote_qpn,
            qkey: self.qkey,
        };
        self.queues
            .post_send(qp_index, RequestId::Send(slot), element, &destination)?;
        self.wake.posted();
        let _address = to.clone();
        self.sends.occupy(
            slot,
            InFlight {
                token,
                qp_index,
                _address,
            },
        );
        Ok(())
    }

    /// Moves what has completed into `out`, without waiting, and gives receive buffers back to the
    /// device. Returns how many completions were added, a bounded number: `ready` returns at once
    /// while there is more.
    ///
    /// # Errors
    /// [`VerbsError::DeviceGone`] or [`VerbsError::Verb`]: drop the endpoint.
    pub fn poll(&mut self, out: &mut Vec<Completion>) -> Result<usize> {
        self.queues.post_refused(&self.region);
        let before = out.len();
        out.append(&mut self.early);
        let full = self.take_completions(out)?;
        let recovered = self.queues.recover(&self.region);
        recovered.map_err(|error| self.failed("queue pair recovery", error))?;
        self.more.store(full, Ordering::Release);
        Ok(out.len() - before)
    }

    /// Takes completions off the queue; true when it stopped at the limit.
    fn take_completions(&mut self, out: &mut Vec<Completion>) -> Result<bool> {
        let mut taken = 0;
        let mut batch = [WorkCompletion::default(); BATCH];
        while taken < POLL_LIMIT {
            let read = self
                .cq
                .poll(&mut batch)
                .map_err(|error| self.failed("ibv_poll_cq", error))?;
            if read == 0 {
                return Ok(false);
            }
            for completion in &batch[..read] {
                self.complete(completion, out);
            }
            taken += read;
        }
        Ok(true)
    }

    /// A free send slot. When there is none, sends that have completed unnoticed are taken off the
    /// queue first.
    fn free_slot(&mut self) -> Option<usize> {
        if self.sends.next_free().is_none() && self.early.len() < POLL_LIMIT {
            let mut early = std::mem::take(&mut self.early);
            // An error shows again at the next poll, which can report it.
            self.take_completions(&mut early).ok();
            self.more.fetch_or(!early.is_empty(), Ordering::AcqRel);
            self.early = early;
        }
        self.sends.next_free()
    }

    /// Returns when there may be something to poll. Cancel safe. No wake-up is lost if the caller
    /// polls after every return.
    ///
    /// With software stamps only received datagrams wake the caller at once; finished sends, which
    /// have nothing to tell then, are looked after 32 ms later. With hardware stamps they wake it too.
    ///
    /// The call after a wake-up asks for the next notification and returns at once: completions
    /// that came in between the last poll and the asking would not be notified, so the caller polls
    /// once more before it sleeps. The notification itself is taken off the channel only then: the
    /// caller's first poll, which stamps what it finds, comes before any system call.
    ///
    /// # Errors
    /// [`VerbsError::DeviceGone`] or [`VerbsError::Verb`]: drop the endpoint.
    pub async fn ready(&self) -> Result<()> {
        if self.more.load(Ordering::Acquire) {
            return Ok(());
        }
        loop {
            match self.wake.get() {
                WakeState::Unarmed => return self.arm(),
                WakeState::Armed => {
                    if self.wait_for_notification().await? {
                        self.wake.set(WakeState::Notified);
                    }
                    return Ok(());
                }
                WakeState::Notified => {
                    let mut readable = self.readable().await?;
                    let taken = self.cq.take_notification();
                    // An armed queue notifies once, so nothing more can have come before it is
                    // armed again.
                    readable.clear_ready();
                    if taken.map_err(|error| self.failed("ibv_get_cq_event", error))? {
                        return self.arm();
                    }
                    self.wake.set(WakeState::Armed);
                }
            }
        }
    }

    /// Waits until the channel is readable; false when it is time to look after requests that do not
    /// notify.
    async fn wait_for_notification(&self) -> Result<bool> {
        let Some(nap) = self.nap() else {
            self.readable().await?.retain_ready();
            return Ok(true);
        };
        let Ok(readable) = timeout(nap, self.readable()).await else {
            self.wake.napped();
            return Ok(false);
        };
        readable?.retain_ready();
        Ok(true)
    }

    /// How long to wait for a notification at most: requests being flushed need not notify, nor do
    /// sends when stamps are made in software, and a send that failed stops its queue pair.
    fn nap(&self) -> Option<Duration> {
        if self.queues.any_failed() {
            return Some(FLUSH_PAUSE);
        }
        let silent_sends = self.clock.mode() == TimestampMode::Software;
        (silent_sends && self.sends.any_in_flight()).then(|| self.wake.nap())
    }

    async fn readable(&self) -> Result<AsyncFdReadyGuard<'_, NotificationFd>> {
        self.notifications
            .readable()
            .await
            .map_err(|error| self.failed("epoll_wait", error))
    }

    fn arm(&self) -> Result<()> {
        let armed = self.cq.arm(self.clock.mode());
        self.wake.set(if armed.is_ok() {
            WakeState::Armed
        } else {
            WakeState::Unarmed
        });
        armed.map_err(|error| self.failed("ibv_req_notify_cq", error))
    }

    /// The stream of the device's asynchronous events. There is one: with several, each event goes
    /// to one of them. Must be called within a tokio runtime with time enabled.
    #[must_use]
    pub fn events(&self) -> AsyncEvents {
        self.events.stream()
    }

    fn complete(&mut self, completion: &WorkCompletion, out: &mut Vec<Completion>) {
        match RequestId::decode(completion.wr_id) {
            RequestId::Send(slot) => {
                let Some(sent) = self.sends.finish(slot) else {
                    tracing::error!(slot, "send completion for a free slot");
                    return;
                };
                self.queues.sent(sent.qp_index, completion.status);
                out.push(Completion::Sent {
                    token: sent.token,
                    status: CompletionStatus::from_raw(completion.status),
                    stamp: self.clock.stamp(completion.stamp),
                });
            }
            RequestId::Receive { qp_index, slot } => {
                self.queues.received(qp_index, completion.status);
                if completion.status == ibv_wc_status::IBV_WC_SUCCESS {
                    out.extend(self.received(qp_index, slot, completion));
                }
                self.queues.post_receive(qp_index, slot, &self.region);
            }
        }
    }

    fn received(
        &mut self,
        qp_index: usize,
        slot: usize,
        completion: &WorkCompletion,
    ) -> Option<Completion> {
        let len = usize::try_from(completion.byte_len).ok()?;
        let stamp = self.clock.stamp(completion.stamp);
        let Some((header, payload)) = self.region.received(slot, len) else {
            tracing::error!(slot, len, "receive completion out of bounds");
            return None;
        };
        let has_header = completion.wc_flags & ibv_wc_flags::IBV_WC_GRH.0 != 0;
        let source_lid = u16::try_from(completion.slid).ok().filter(|&lid| lid != 0);
        let arrival = if has_header {
            grh::arrival(header)
        } else {
            None
        };
        Some(Completion::Received {
            qp_index,
            source_qpn: completion.src_qp,
            source_gid: arrival.map(|arrival| arrival.source),
            hop_limit: arrival.map(|arrival| arrival.hop_limit),
            source_lid: source_lid.filter(|_| self.flows.source == FlowSource::LidPath),
            payload: Payload::from_slice(payload),
            stamp,
        })
    }

    fn failed(&self, verb: &'static str, source: io::Error) -> VerbsError {
        let device = self.device.clone();
        match source.raw_os_error() {
            Some(libc::EIO | libc::ENODEV) => VerbsError::DeviceGone { device },
            _ => VerbsError::Verb {
                verb,
                device,
                source,
            },
        }
    }
}

impl Drop for UdEndpoint {
    fn drop(&mut self) {
        // What others may still hold (handles, makers, streams) must not keep the device open.
        // Queue pairs and the rest follow as fields; the context closes with the last of them.
        self.queues.clear();
        self.addresses.close();
        self.events.close();
    }
}
