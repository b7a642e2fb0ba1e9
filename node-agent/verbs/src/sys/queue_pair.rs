//! UD queue pairs: made, brought to ready-to-send, posted to.

use std::io;
use std::ptr::NonNull;
use std::sync::Arc;

use ibverbs_sys as ffi;
use ibverbs_sys::ibv_qp_attr_mask as Mask;
use ibverbs_sys::ibv_qp_state as state;

use super::completion_queue::CompletionQueue;
use super::context::ProtectionDomain;
use super::{check, log_release};
use crate::port::PortNum;

/// A piece of registered memory.
pub(crate) use ffi::ibv_sge as ScatterElement;

/// What a queue pair is made with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct QueuePairConfig {
    pub(crate) port: PortNum,
    pub(crate) qkey: u32,
    pub(crate) send_slots: u32,
    pub(crate) recv_slots: u32,
    pub(crate) max_payload: u32,
}

/// A UD queue pair in the ready-to-send state.
#[derive(Debug)]
pub(crate) struct QueuePair {
    raw: NonNull<ffi::ibv_qp>,
    number: u32,
    /// Payloads up to this many bytes may travel inside the work request.
    inline: u32,
    config: QueuePairConfig,
    pd: Arc<ProtectionDomain>,
    _cq: Arc<CompletionQueue>,
}

// SAFETY: verbs are thread safe on queue pairs.
unsafe impl Send for QueuePair {}
// SAFETY: as above.
unsafe impl Sync for QueuePair {}

/// Where one datagram goes.
pub(crate) struct Destination {
    pub(crate) address: NonNull<ffi::ibv_ah>,
    pub(crate) qpn: u32,
    pub(crate) qkey: u32,
}

impl QueuePair {
    pub(crate) fn new(
        pd: &Arc<ProtectionDomain>,
        cq: &Arc<CompletionQueue>,
        config: &QueuePairConfig,
    ) -> io::Result<Self> {
        // Not every device can take a whole payload inline; all can take none.
        let qp =
            create(pd, cq, config, config.max_payload).or_else(|_| create(pd, cq, config, 0))?;
        qp.bring_up()?;
        Ok(qp)
    }

    pub(crate) fn number(&self) -> u32 {
        self.number
    }

    /// Moves it to the error state, in which the device gives all its requests back.
    pub(crate) fn fail(&self) -> io::Result<()> {
        self.to_state(state::IBV_QPS_ERR, ffi::ibv_qp_attr::default(), Mask(0))
    }

    /// Makes it as new, with the same number. The device must have given back all its requests.
    pub(crate) fn restart(&self) -> io::Result<()> {
        self.to_state(state::IBV_QPS_RESET, ffi::ibv_qp_attr::default(), Mask(0))?;
        self.bring_up()
    }

    fn bring_up(&self) -> io::Result<()> {
        let none = ffi::ibv_qp_attr::default;
        let init = ffi::ibv_qp_attr {
            pkey_index: 0,
            port_num: self.config.port.get(),
            qkey: self.config.qkey,
            ..none()
        };
        let mask = Mask::IBV_QP_PKEY_INDEX | Mask::IBV_QP_PORT | Mask::IBV_QP_QKEY;
        self.to_state(state::IBV_QPS_INIT, init, mask)?;
        self.to_state(state::IBV_QPS_RTR, none(), Mask(0))?;
        // The packet sequence number of UD is not checked by anyone.
        self.to_state(state::IBV_QPS_RTS, none(), Mask::IBV_QP_SQ_PSN)
    }

    fn to_state(
        &self,
        to: state::Type,
        mut attributes: ffi::ibv_qp_attr,
        mask: Mask,
    ) -> io::Result<()> {
        attributes.qp_state = to;
        let mask =
            libc::c_int::try_from((mask | Mask::IBV_QP_STATE).0).map_err(io::Error::other)?;
        // SAFETY: the queue pair is live and the attributes are valid for the mask.
        check(unsafe { ffi::ibv_modify_qp(self.raw.as_ptr(), &raw mut attributes, mask) })
    }

    /// Gives a receive buffer to the device.
    pub(crate) fn post_recv(&self, id: u64, mut buffer: ScatterElement) -> io::Result<()> {
        let post = self
            .pd
            .context()
            .ops()
            .post_recv
            .ok_or(io::ErrorKind::Unsupported)?;
        let mut request = ffi::ibv_recv_wr {
            wr_id: id,
            next: std::ptr::null_mut(),
            sg_list: &raw mut buffer,
            num_sge: 1,
        };
        let mut bad = std::ptr::null_mut();
        // SAFETY: the queue pair is live, request and scatter list live through the call (the
        // provider copies them), and the buffer is a registered slot that nobody else uses until
        // its completion.
        check(unsafe { post(self.raw.as_ptr(), &raw mut request, &raw mut bad) })
    }

    /// Sends one datagram; its completion carries `id`.
    pub(crate) fn post_send(
        &self,
        id: u64,
        mut payload: ScatterElement,
        to: &Destination,
    ) -> io::Result<()> {
        let post = self
            .pd
            .context()
            .ops()
            .post_send
            .ok_or(io::ErrorKind::Unsupported)?;
        // Solicited: the receiver, who may sleep through all else, is woken by it.
        let mut flags =
            (ffi::ibv_send_flags::IBV_SEND_SIGNALED | ffi::ibv_send_flags::IBV_SEND_SOLICITED).0;
        if payload.length <= self.inline {
            flags |= ffi::ibv_send_flags::IBV_SEND_INLINE.0;
        }
        let ud = ffi::ibv_send_wr__bindgen_ty_2__bindgen_ty_3 {
            ah: to.address.as_ptr(),
            remote_qpn: to.qpn,
            remote_qkey: to.qkey,
        };
        let mut request = ffi::ibv_send_wr {
            wr_id: id,
            sg_list: &raw mut payload,
            num_sge: 1,
            opcode: ffi::ibv_wr_opcode::IBV_WR_SEND,
            send_flags: flags,
            wr: ffi::ibv_send_wr__bindgen_ty_2 { ud },
            ..Default::default()
        };
        let mut bad = std::ptr::null_mut();
        // SAFETY: queue pair and address handle are live, request and gather list live through the
        // call (the provider copies them), and the payload's slot stays untouched until the
        // completion.
        check(unsafe { post(self.raw.as_ptr(), &raw mut request, &raw mut bad) })
    }
}

fn create(
    pd: &Arc<ProtectionDomain>,
    cq: &Arc<CompletionQueue>,
    config: &QueuePairConfig,
    inline: u32,
) -> io::Result<QueuePair> {
    let mut init = ffi::ibv_qp_init_attr {
        send_cq: cq.as_ptr(),
        recv_cq: cq.as_ptr(),
        cap: ffi::ibv_qp_cap {
            max_send_wr: config.send_slots,
            max_recv_wr: config.recv_slots,
            max_send_sge: 1,
            max_recv_sge: 1,
            max_inline_data: inline,
        },
        qp_type: ffi::ibv_qp_type::IBV_QPT_UD,
        sq_sig_all: 0,
        ..Default::default()
    };
    // SAFETY: protection domain and completion queue are live, and kept by the queue pair.
    let raw = NonNull::new(unsafe { ffi::ibv_create_qp(pd.as_ptr(), &raw mut init) })
        .ok_or_else(io::Error::last_os_error)?;
    // SAFETY: the queue pair was just made; its number does not change.
    let number = unsafe { (*raw.as_ptr()).qp_num };
    // The provider rounds the asked size up; more than asked must not be relied on.
    Ok(QueuePair {
        raw,
        number,
        inline,
        config: *config,
        pd: Arc::clone(pd),
        _cq: Arc::clone(cq),
    })
}

impl Drop for QueuePair {
    fn drop(&mut self) {
        // SAFETY: made by us, destroyed once; asynchronous events that named it were acknowledged
        // as they were taken.
        log_release(
            "ibv_destroy_qp",
            check(unsafe { ffi::ibv_destroy_qp(self.raw.as_ptr()) }),
        );
    }
}
