/*
 * The parts of libibverbs that are inline functions or extended operations in its header and so are no symbols of the library.
 * Compiled against the installed header, which keeps the layout of struct verbs_context and the size checks that guard it where
 * they belong. Each function is a thin call; errors are returned as positive errno values.
 */
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <infiniband/verbs.h>

struct rdmamesh_port {
	uint32_t state;
	uint32_t link_layer;
	uint32_t active_mtu_bytes;
	uint32_t lid;
};

int rdmamesh_query_port(struct ibv_context *context, uint8_t port, struct rdmamesh_port *out)
{
	struct ibv_port_attr attr;
	int error;

	memset(&attr, 0, sizeof(attr));
	error = ibv_query_port(context, port, &attr);
	if (error)
		return error;
	out->state = attr.state;
	out->link_layer = attr.link_layer;
	/* enum ibv_mtu counts powers of two from 256 bytes = 1. */
	out->active_mtu_bytes = attr.active_mtu >= 1 && attr.active_mtu <= 5 ? 128u << attr.active_mtu : 0;
	out->lid = attr.lid;
	return 0;
}

struct rdmamesh_clock {
	/* Which bits of a raw completion time stamp count; 0 without time stamps. */
	uint64_t timestamp_mask;
	/* Ticks of the clock per millisecond; 0 when the driver does not say. */
	uint64_t core_clock_khz;
};

int rdmamesh_query_clock(struct ibv_context *context, struct rdmamesh_clock *out)
{
	struct ibv_device_attr_ex attr;
	int error;

	memset(&attr, 0, sizeof(attr));
	error = ibv_query_device_ex(context, NULL, &attr);
	if (error)
		return error;
	out->timestamp_mask = attr.completion_timestamp_mask;
	out->core_clock_khz = attr.hca_core_clock;
	return 0;
}

/* A completion queue with time stamps: of the wall clock in nanoseconds, or raw ticks. NULL and errno when not offered. */
struct ibv_cq_ex *rdmamesh_create_cq_ex(struct ibv_context *context, struct ibv_comp_channel *channel, uint32_t entries,
					int wall_clock)
{
	struct ibv_cq_init_attr_ex attr;

	memset(&attr, 0, sizeof(attr));
	attr.cqe = entries;
	attr.channel = channel;
	attr.wc_flags = IBV_WC_EX_WITH_BYTE_LEN | IBV_WC_EX_WITH_QP_NUM | IBV_WC_EX_WITH_SRC_QP | IBV_WC_EX_WITH_SLID;
	attr.wc_flags |= wall_clock ? IBV_WC_EX_WITH_COMPLETION_TIMESTAMP_WALLCLOCK : IBV_WC_EX_WITH_COMPLETION_TIMESTAMP;
	return ibv_create_cq_ex(context, &attr);
}

struct ibv_cq *rdmamesh_cq_of(struct ibv_cq_ex *cq)
{
	return ibv_cq_ex_to_cq(cq);
}

struct rdmamesh_wc {
	uint64_t wr_id;
	uint64_t stamp;
	uint32_t status;
	uint32_t opcode;
	uint32_t byte_len;
	uint32_t qp_num;
	uint32_t src_qp;
	uint32_t wc_flags;
	uint32_t slid;
};

static void read_completion(struct ibv_cq_ex *cq, int wall_clock, struct rdmamesh_wc *out)
{
	memset(out, 0, sizeof(*out));
	out->wr_id = cq->wr_id;
	out->status = cq->status;
	if (cq->status != IBV_WC_SUCCESS)
		return;
	out->stamp = wall_clock ? ibv_wc_read_completion_wallclock_ns(cq) : ibv_wc_read_completion_ts(cq);
	out->opcode = ibv_wc_read_opcode(cq);
	out->qp_num = ibv_wc_read_qp_num(cq);
	out->wc_flags = ibv_wc_read_wc_flags(cq);
	if (out->opcode & IBV_WC_RECV) {
		out->byte_len = ibv_wc_read_byte_len(cq);
		out->src_qp = ibv_wc_read_src_qp(cq);
		out->slid = ibv_wc_read_slid(cq);
	}
}

/*
 * Reads up to `room` completions into `out`. Returns how many, or a negative errno value. An error after the first one shows
 * again at the next call.
 */
int rdmamesh_poll_cq_ex(struct ibv_cq_ex *cq, int wall_clock, struct rdmamesh_wc *out, int room)
{
	struct ibv_poll_cq_attr attr;
	int count = 0;
	int error;

	memset(&attr, 0, sizeof(attr));
	error = ibv_start_poll(cq, &attr);
	if (error == ENOENT)
		return 0;
	if (error)
		/* Providers return codes of their own here, negative ones too. */
		return -EIO;
	for (;;) {
		read_completion(cq, wall_clock, &out[count++]);
		if (count == room)
			break;
		error = ibv_next_poll(cq);
		if (error)
			break;
	}
	ibv_end_poll(cq);
	return count;
}

/* What the layout test compares with the Rust bindings: sizes and offsets as the installed header has them. */
const size_t rdmamesh_layout[] = {
	sizeof(struct ibv_context),
	offsetof(struct ibv_context, ops) + offsetof(struct ibv_context_ops, poll_cq),
	offsetof(struct ibv_context, ops) + offsetof(struct ibv_context_ops, req_notify_cq),
	offsetof(struct ibv_context, ops) + offsetof(struct ibv_context_ops, post_send),
	offsetof(struct ibv_context, ops) + offsetof(struct ibv_context_ops, post_recv),
	offsetof(struct ibv_context, async_fd),
	offsetof(struct ibv_device, dev_path),
	sizeof(struct ibv_wc),
	sizeof(struct ibv_sge),
	sizeof(struct ibv_send_wr),
	offsetof(struct ibv_send_wr, wr),
	sizeof(struct ibv_recv_wr),
	sizeof(struct ibv_qp_init_attr),
	sizeof(struct ibv_qp_attr),
	sizeof(struct ibv_ah_attr),
	sizeof(struct ibv_async_event),
	sizeof(struct ibv_gid_entry),
	sizeof(struct ibv_device_attr),
	offsetof(struct ibv_device_attr, max_cqe),
	offsetof(struct ibv_qp, qp_num),
	offsetof(struct ibv_mr, lkey),
	offsetof(struct ibv_comp_channel, fd),
};
const size_t rdmamesh_layout_len = sizeof(rdmamesh_layout) / sizeof(rdmamesh_layout[0]);
