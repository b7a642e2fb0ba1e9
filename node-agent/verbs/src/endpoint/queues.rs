//! The queue pairs of an endpoint: what the device holds of each, and how one that failed is
//! brought back.
//!
//! One failed request moves a queue pair to an error state in which everything is flushed, for
//! good. Soft-RoCE does so for a single datagram without a route, which a port that is down for a
//! moment is enough for. So a queue pair that fails is emptied, reset and filled again, under the
//! same number: peers notice nothing but the datagrams that were lost.

use std::io;
use std::time::{Duration, Instant};

use super::slots::RequestId;
use crate::error::PostError;
use crate::sys::queue_pair::{Destination, QueuePair, ScatterElement};
use crate::sys::region::Region;

/// A queue pair that has not given back all its requests by then is beyond help.
const FLUSH_LIMIT: Duration = Duration::from_secs(1);

#[derive(Debug)]
struct Queue {
    qp: QueuePair,
    /// Sends that the device holds.
    sends: usize,
    /// Receive buffers that the device holds.
    receives: usize,
    failed_at: Option<Instant>,
}

/// The queue pairs with their receive slots.
#[derive(Debug)]
pub(super) struct Queues {
    queues: Vec<Queue>,
    /// Receive slots of each queue pair.
    receive_slots: usize,
    /// Receive slots that the device refused; tried again at the next poll.
    unposted: Vec<(usize, usize)>,
    recoveries: u64,
}

impl Queues {
    /// Takes the queue pairs over. Nothing is posted yet.
    pub(super) fn new(qps: Vec<QueuePair>, receive_slots: usize) -> Self {
        let queue = |qp| Queue {
            qp,
            sends: 0,
            receives: 0,
            failed_at: None,
        };
        let queues = qps.into_iter().map(queue).collect();
        Self {
            queues,
            receive_slots,
            unposted: Vec::new(),
            recoveries: 0,
        }
    }

    /// How often a queue pair was brought back.
    pub(super) fn recoveries(&self) -> u64 {
        self.recoveries
    }

    /// Whether a queue pair is being emptied.
    pub(super) fn any_failed(&self) -> bool {
        self.queues.iter().any(|queue| queue.failed_at.is_some())
    }

    /// Destroys the queue pairs.
    pub(super) fn clear(&mut self) {
        self.queues.clear();
    }

    pub(super) fn post_send(
        &mut self,
        qp_index: usize,
        id: RequestId,
        payload: ScatterElement,
        to: &Destination,
    ) -> Result<(), PostError> {
        let count = self.queues.len();
        let queue = self.queues.get_mut(qp_index).ok_or(PostError::NoSuchQp {
            index: qp_index,
            count,
        })?;
        if queue.failed_at.is_some() {
            return Err(PostError::Recovering);
        }
        queue
            .qp
            .post_send(id.encode(), payload, to)
            .map_err(PostError::Device)?;
        queue.sends += 1;
        Ok(())
    }

    /// Gives every receive slot of every queue pair to the device; returns how many it refused.
    pub(super) fn post_all(&mut self, region: &Region) -> usize {
        for qp_index in 0..self.queues.len() {
            self.post_all_of(qp_index, region);
        }
        self.unposted.len()
    }

    fn post_all_of(&mut self, qp_index: usize, region: &Region) {
        let first = qp_index * self.receive_slots;
        for slot in first..first + self.receive_slots {
            self.post_receive(qp_index, slot, region);
        }
    }

    /// Gives one receive slot to the device, now or at the next poll.
    pub(super) fn post_receive(&mut self, qp_index: usize, slot: usize, region: &Region) {
        let Some(queue) = self.queues.get_mut(qp_index) else {
            return;
        };
        let Some(element) = region.recv_element(slot) else {
            return;
        };
        if queue.failed_at.is_some() {
            // All of them are given at once when it is back.
            return;
        }
        match queue
            .qp
            .post_recv(RequestId::Receive { qp_index, slot }.encode(), element)
        {
            Ok(()) => queue.receives += 1,
            Err(error) => {
                tracing::debug!(qp_index, slot, %error, "receive buffer refused");
                self.unposted.push((qp_index, slot));
            }
        }
    }

    /// Tries again to give the device what it refused.
    pub(super) fn post_refused(&mut self, region: &Region) {
        for (qp_index, slot) in std::mem::take(&mut self.unposted) {
            self.post_receive(qp_index, slot, region);
        }
    }

    /// Books a finished send.
    pub(super) fn sent(&mut self, qp_index: usize, status: u32) {
        if let Some(queue) = self.queues.get_mut(qp_index) {
            queue.sends = queue.sends.saturating_sub(1);
            queue.note(qp_index, status);
        }
    }

    /// Books a finished receive.
    pub(super) fn received(&mut self, qp_index: usize, status: u32) {
        if let Some(queue) = self.queues.get_mut(qp_index) {
            queue.receives = queue.receives.saturating_sub(1);
            queue.note(qp_index, status);
        }
    }

    /// Brings back the failed queue pairs that the device has let go of.
    ///
    /// # Errors
    /// When one cannot be brought back: the endpoint is of no more use.
    pub(super) fn recover(&mut self, region: &Region) -> io::Result<()> {
        for qp_index in 0..self.queues.len() {
            let queue = &mut self.queues[qp_index];
            let Some(failed_at) = queue.failed_at else {
                continue;
            };
            if queue.sends + queue.receives > 0 {
                if failed_at.elapsed() < FLUSH_LIMIT {
                    continue;
                }
                return Err(io::ErrorKind::TimedOut.into());
            }
            queue.qp.restart()?;
            queue.failed_at = None;
            self.recoveries += 1;
            self.unposted.retain(|&(index, _)| index != qp_index);
            self.post_all_of(qp_index, region);
            tracing::debug!(qp_index, "queue pair is back");
        }
        Ok(())
    }
}

impl Queue {
    /// Starts to empty the queue pair if the status of a request says that it failed.
    fn note(&mut self, qp_index: usize, status: u32) {
        if status == ibverbs_sys::ibv_wc_status::IBV_WC_SUCCESS || self.failed_at.is_some() {
            return;
        }
        tracing::debug!(qp_index, status, "queue pair failed");
        self.failed_at = Some(Instant::now());
        // It may be in the send-error state only, in which receives are still held.
        if let Err(error) = self.qp.fail() {
            tracing::debug!(qp_index, %error, "queue pair cannot be emptied");
        }
    }
}
