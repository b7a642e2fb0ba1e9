//! Declarations of the C shim (`shim.c`).

use ibverbs_sys::{ibv_comp_channel, ibv_context, ibv_cq, ibv_cq_ex};

/// What a port says of itself through verbs.
#[repr(C)]
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct PortAttributes {
    pub(crate) state: u32,
    pub(crate) link_layer: u32,
    pub(crate) active_mtu_bytes: u32,
    pub(crate) lid: u32,
}

/// The device's clock.
#[repr(C)]
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Clock {
    pub(super) timestamp_mask: u64,
    pub(super) core_clock_khz: u64,
}

/// One completion, flat.
#[repr(C)]
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct WorkCompletion {
    pub(crate) wr_id: u64,
    pub(crate) stamp: u64,
    pub(crate) status: u32,
    pub(crate) opcode: u32,
    pub(crate) byte_len: u32,
    pub(crate) qp_num: u32,
    pub(crate) src_qp: u32,
    pub(crate) wc_flags: u32,
    pub(crate) slid: u32,
}

unsafe extern "C" {
    pub(super) fn rdmamesh_query_port(
        context: *mut ibv_context,
        port: u8,
        out: *mut PortAttributes,
    ) -> libc::c_int;
    pub(super) fn rdmamesh_query_clock(context: *mut ibv_context, out: *mut Clock) -> libc::c_int;
    pub(super) fn rdmamesh_create_cq_ex(
        context: *mut ibv_context,
        channel: *mut ibv_comp_channel,
        entries: u32,
        wall_clock: libc::c_int,
    ) -> *mut ibv_cq_ex;
    pub(super) fn rdmamesh_cq_of(cq: *mut ibv_cq_ex) -> *mut ibv_cq;
    pub(super) fn rdmamesh_poll_cq_ex(
        cq: *mut ibv_cq_ex,
        wall_clock: libc::c_int,
        out: *mut WorkCompletion,
        room: libc::c_int,
    ) -> libc::c_int;
}

#[cfg(test)]
mod tests {
    use std::mem::{offset_of, size_of};

    use ibverbs_sys as ffi;

    unsafe extern "C" {
        static rdmamesh_layout_len: usize;
        static rdmamesh_layout: [usize; 22];
    }

    #[test]
    fn bindings_have_the_layout_of_the_installed_header() {
        let ops = offset_of!(ffi::ibv_context, ops);
        let bindings = [
            size_of::<ffi::ibv_context>(),
            ops + offset_of!(ffi::ibv_context_ops, poll_cq),
            ops + offset_of!(ffi::ibv_context_ops, req_notify_cq),
            ops + offset_of!(ffi::ibv_context_ops, post_send),
            ops + offset_of!(ffi::ibv_context_ops, post_recv),
            offset_of!(ffi::ibv_context, async_fd),
            offset_of!(ffi::ibv_device, dev_path),
            size_of::<ffi::ibv_wc>(),
            size_of::<ffi::ibv_sge>(),
            size_of::<ffi::ibv_send_wr>(),
            offset_of!(ffi::ibv_send_wr, wr),
            size_of::<ffi::ibv_recv_wr>(),
            size_of::<ffi::ibv_qp_init_attr>(),
            size_of::<ffi::ibv_qp_attr>(),
            size_of::<ffi::ibv_ah_attr>(),
            size_of::<ffi::ibv_async_event>(),
            size_of::<ffi::ibv_gid_entry>(),
            size_of::<ffi::ibv_device_attr>(),
            offset_of!(ffi::ibv_device_attr, max_cqe),
            offset_of!(ffi::ibv_qp, qp_num),
            offset_of!(ffi::ibv_mr, lkey),
            offset_of!(ffi::ibv_comp_channel, fd),
        ];
        // SAFETY: both are constants of the C shim; the length is checked before the array is
        // looked at.
        let (len, header) = unsafe { (rdmamesh_layout_len, &raw const rdmamesh_layout) };
        assert_eq!(len, bindings.len());
        // SAFETY: the C array has exactly this many elements, as just asserted.
        assert_eq!(unsafe { *header }, bindings);
    }
}
