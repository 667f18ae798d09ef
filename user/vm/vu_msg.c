/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The vhost-user messages: one row for each, by which it is checked before its handler sees it. */
#include "vm/vu_msg.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <linux/virtio_config.h>

#include "vm/vm_control.h"
#include "vm/vu_postcopy.h"
#include "vm/vu_request.h"

/*
 * Theory of operation
 *
 * The peer is not trusted: size, file descriptors, index and negotiation of a message are checked
 * against its row before its handler sees it. The handler checks values, and stores what they say.
 * It starts nothing: rings that the row says must rest are paused before it, and after each message
 * every ring that has all it needs is started. So messages may come in any order.
 *
 * File descriptors belong to the message until a handler takes them; the rest is closed with it,
 * whatever happens. An error ends the connection, and with it everything that the peer set up.
 */

#define MESSAGE_SIZE_TABLE  UINT32_MAX       /* size follows from the number of regions */
#define MESSAGE_SIZE_CONFIG (UINT32_MAX - 1) /* size follows from that of the contents */

enum index_in { INDEX_NONE, INDEX_U32, INDEX_BYTE };
enum pause { PAUSE_NONE, PAUSE_RING, PAUSE_ALL };

struct row {
	const char *name;
	int (*handle)(struct request *q);
	uint32_t size; /* of the payload, exactly */
	uint8_t min_fds, max_fds;
	enum index_in index;
	enum pause pause;
	uint64_t protocol; /* protocol feature that must have been negotiated, as a mask */
	uint64_t features; /* and virtio feature */
};

int msg_refuse(struct request *q, const char *format, ...)
{
	size_t len = strlen(q->why);
	va_list args;

	va_start(args, format);
	vsnprintf(q->why + len, q->why_len - len, format, args);
	va_end(args);
	return -EPROTO;
}

void msg_reply(struct request *q, uint32_t size)
{
	q->reply = true;
	q->reply_size = size;
}

void msg_reply_u64(struct request *q, uint64_t value)
{
	q->m->payload.u64 = value;
	msg_reply(q, sizeof(value));
}

#define U64            sizeof(uint64_t)
#define STATE          sizeof(struct vhost_user_vring_state)
#define ADDR           sizeof(struct vhost_user_vring_addr)
#define REGION         sizeof(struct vhost_user_one_region)
#define LOG            sizeof(struct vhost_user_log)
#define IOTLB          sizeof(struct vhost_user_iotlb)
#define INFLIGHT       sizeof(struct vhost_user_inflight)
#define TRANSFER       sizeof(struct vhost_user_transfer)
#define TABLE          MESSAGE_SIZE_TABLE
#define CONFIG         MESSAGE_SIZE_CONFIG
#define P(name)        (1ull << VHOST_USER_PROTOCOL_F_##name)
#define ROW(name, ...) [VHOST_USER_##name] = {#name, __VA_ARGS__}

/* clang-format off */
static const struct row rows[VHOST_USER_REQUESTS] = {
	/*                         handler                    payload   fds   index       rings rest  needs: protocol, virtio feature */
	ROW(GET_FEATURES,          msg_get_features,          0,        0, 0, INDEX_NONE, PAUSE_NONE, 0, 0),
	ROW(SET_FEATURES,          msg_set_features,          U64,      0, 0, INDEX_NONE, PAUSE_ALL,  0, 0),
	ROW(SET_OWNER,             msg_set_owner,             0,        0, 0, INDEX_NONE, PAUSE_NONE, 0, 0),
	ROW(RESET_OWNER,           msg_reset_owner,           0,        0, 0, INDEX_NONE, PAUSE_ALL,  0, 0),
	ROW(SET_MEM_TABLE,         msg_set_mem_table,         TABLE,    1, 8, INDEX_NONE, PAUSE_ALL,  0, 0),
	ROW(SET_LOG_BASE,          msg_set_log_base,          LOG,      1, 1, INDEX_NONE, PAUSE_ALL,  P(LOG_SHMFD), 0),
	ROW(SET_LOG_FD,            msg_set_log_fd,            0,        1, 1, INDEX_NONE, PAUSE_ALL,  P(LOG_SHMFD), 0),
	ROW(SET_VRING_NUM,         msg_set_vring_num,         STATE,    0, 0, INDEX_U32,  PAUSE_RING, 0, 0),
	ROW(SET_VRING_ADDR,        msg_set_vring_addr,        ADDR,     0, 0, INDEX_U32,  PAUSE_RING, 0, 0),
	ROW(SET_VRING_BASE,        msg_set_vring_base,        STATE,    0, 0, INDEX_U32,  PAUSE_RING, 0, 0),
	ROW(GET_VRING_BASE,        msg_get_vring_base,        STATE,    0, 0, INDEX_U32,  PAUSE_RING, 0, 0),
	ROW(SET_VRING_KICK,        msg_set_vring_kick,        U64,      0, 1, INDEX_BYTE, PAUSE_NONE, 0, 0),
	ROW(SET_VRING_CALL,        msg_set_vring_call,        U64,      0, 1, INDEX_BYTE, PAUSE_NONE, 0, 0),
	ROW(SET_VRING_ERR,         msg_set_vring_err,         U64,      0, 1, INDEX_BYTE, PAUSE_NONE, 0, 0),
	ROW(GET_PROTOCOL_FEATURES, msg_get_protocol_features, 0,        0, 0, INDEX_NONE, PAUSE_NONE, 0, 0),
	ROW(SET_PROTOCOL_FEATURES, msg_set_protocol_features, U64,      0, 0, INDEX_NONE, PAUSE_NONE, 0, 0),
	ROW(GET_QUEUE_NUM,         msg_get_queue_num,         0,        0, 0, INDEX_NONE, PAUSE_NONE, P(MQ), 0),
	ROW(SET_VRING_ENABLE,      msg_set_vring_enable,      STATE,    0, 0, INDEX_U32,  PAUSE_NONE, 0, 0),
	ROW(SEND_RARP,             msg_send_rarp,             U64,      0, 0, INDEX_NONE, PAUSE_NONE, P(RARP), 0),
	ROW(NET_SET_MTU,           msg_net_set_mtu,           U64,      0, 0, INDEX_NONE, PAUSE_NONE, P(NET_MTU), 0),
	ROW(SET_BACKEND_REQ_FD,    msg_set_backend_req_fd,    0,        1, 1, INDEX_NONE, PAUSE_NONE, P(BACKEND_REQ), 0),
	ROW(IOTLB_MSG,             msg_iotlb,                 IOTLB,    0, 0, INDEX_NONE, PAUSE_NONE, 0, 1ull << VIRTIO_F_ACCESS_PLATFORM),
	ROW(GET_CONFIG,            msg_get_config,            CONFIG,   0, 0, INDEX_NONE, PAUSE_NONE, P(CONFIG), 0),
	ROW(SET_CONFIG,            msg_set_config,            CONFIG,   0, 0, INDEX_NONE, PAUSE_NONE, P(CONFIG), 0),
	ROW(POSTCOPY_ADVISE,       msg_postcopy_advise,       0,        0, 0, INDEX_NONE, PAUSE_NONE, P(PAGEFAULT), 0),
	ROW(POSTCOPY_LISTEN,       msg_postcopy_listen,       0,        0, 0, INDEX_NONE, PAUSE_NONE, P(PAGEFAULT), 0),
	ROW(POSTCOPY_END,          msg_postcopy_end,          0,        0, 0, INDEX_NONE, PAUSE_ALL,  P(PAGEFAULT), 0),
	ROW(GET_INFLIGHT_FD,       msg_get_inflight_fd,       INFLIGHT, 0, 0, INDEX_NONE, PAUSE_NONE, P(INFLIGHT_SHMFD), 0),
	ROW(SET_INFLIGHT_FD,       msg_set_inflight_fd,       INFLIGHT, 1, 1, INDEX_NONE, PAUSE_ALL,  P(INFLIGHT_SHMFD), 0),
	ROW(RESET_DEVICE,          msg_reset_device,          0,        0, 0, INDEX_NONE, PAUSE_ALL,  P(RESET_DEVICE), 0),
	ROW(VRING_KICK,            msg_vring_kick,            STATE,    0, 0, INDEX_U32,  PAUSE_NONE, P(INBAND_NOTIFICATIONS), 0),
	ROW(GET_MAX_MEM_SLOTS,     msg_get_max_mem_slots,     0,        0, 0, INDEX_NONE, PAUSE_NONE, P(CONFIGURE_MEM_SLOTS), 0),
	ROW(ADD_MEM_REG,           msg_add_mem_reg,           REGION,   1, 1, INDEX_NONE, PAUSE_ALL,  P(CONFIGURE_MEM_SLOTS), 0),
	ROW(REM_MEM_REG,           msg_rem_mem_reg,           REGION,   0, 1, INDEX_NONE, PAUSE_ALL,  P(CONFIGURE_MEM_SLOTS), 0),
	ROW(SET_STATUS,            msg_set_status,            U64,      0, 0, INDEX_NONE, PAUSE_NONE, P(STATUS), 0),
	ROW(GET_STATUS,            msg_get_status,            0,        0, 0, INDEX_NONE, PAUSE_NONE, P(STATUS), 0),
	ROW(SET_DEVICE_STATE_FD,   msg_set_device_state_fd,   TRANSFER, 1, 1, INDEX_NONE, PAUSE_NONE, P(DEVICE_STATE), 0),
	ROW(CHECK_DEVICE_STATE,    msg_check_device_state,    0,        0, 0, INDEX_NONE, PAUSE_NONE, P(DEVICE_STATE), 0),
};
/* clang-format on */

static const struct row *find_row(const struct request *q)
{
	uint32_t request = q->m->header.request;
	const struct row *row;

	if (request >= VHOST_USER_REQUESTS)
		return NULL;
	row = &rows[request];
	if (!row->handle || row->protocol & ~q->c->protocol_features ||
	    row->features & ~q->c->features)
		return NULL;
	return row;
}

static int check_size(struct request *q, const struct row *row)
{
	const struct vhost_user_memory *table = &q->m->payload.memory;
	const struct vhost_user_config *config = &q->m->payload.config;
	uint32_t size = q->m->header.size, want = row->size;

	if (want == MESSAGE_SIZE_TABLE) {
		if (size < offsetof(struct vhost_user_memory, region))
			return msg_refuse(q, "payload of %u bytes has no count of regions", size);
		if (table->n < 1 || table->n > VHOST_USER_REGIONS_MAX)
			return msg_refuse(q, "%u memory regions, not 1 to %u", table->n,
					  VHOST_USER_REGIONS_MAX);
		want = offsetof(struct vhost_user_memory, region) +
		       table->n * sizeof(table->region[0]);
	}
	if (want == MESSAGE_SIZE_CONFIG) {
		if (size < VHOST_USER_CONFIG_HEAD)
			return msg_refuse(q, "payload of %u bytes has no size of its contents",
					  size);
		if (config->size > VHOST_USER_CONFIG_MAX)
			return msg_refuse(q, "%u bytes of contents, not 0 to %u", config->size,
					  VHOST_USER_CONFIG_MAX);
		want = VHOST_USER_CONFIG_HEAD + config->size;
	}
	if (size != want)
		return msg_refuse(q, "payload of %u bytes, not %u", size, want);
	return 0;
}

static int check(struct request *q, const struct row *row)
{
	uint32_t index;
	int ret;

	ret = check_size(q, row);
	if (ret)
		return ret;
	if (q->m->n_fds < row->min_fds || q->m->n_fds > row->max_fds)
		return msg_refuse(q, "comes with %u file descriptors, not %u to %u", q->m->n_fds,
				  row->min_fds, row->max_fds);
	if (row->index == INDEX_NONE)
		return 0;
	index = row->index == INDEX_U32 ? q->m->payload.state.index
					: q->m->payload.u64 & VHOST_USER_VRING_INDEX_MASK;
	if (index >= q->c->n_rings)
		return msg_refuse(q, "queue %u, but there are only 0 to %u", index,
				  q->c->n_rings - 1);
	q->index = index;
	q->ring = &q->c->ring[index];
	return 0;
}

/*
 * New memory without the old rings in it is no mistake: their new addresses will follow. With any
 * other message the front-end has just told us something that can't be.
 */
static int resume(struct request *q, const struct row *row)
{
	unsigned failed;
	int ret;

	for (;;) {
		ret = vm_rings_resume(q->c, 0, q->c->n_rings, &failed);
		if (!ret)
			return 0;
		if (ret == -EINVAL)
			return msg_refuse(
				q, "queue %u: no %s ring has size %u and base 0x%x", failed,
				q->c->features & 1ull << VIRTIO_F_RING_PACKED ? "packed" : "split",
				q->c->ring[failed].size, q->c->ring[failed].base);
		if (ret != -EFAULT)
			return msg_refuse(q, "can't start queue %u: %s", failed, strerror(-ret));
		if (row->handle != msg_set_mem_table && row->handle != msg_add_mem_reg &&
		    row->handle != msg_rem_mem_reg && row->handle != msg_iotlb)
			return msg_refuse(
				q, "queue %u is outside of the guest's memory, or not aligned",
				failed);
		vm_ring_misplaced(q->c, failed);
	}
}

static int check_and_handle(struct request *q, const struct row *row)
{
	int ret;

	ret = check(q, row);
	if (ret)
		return ret;
	if (row->pause == PAUSE_ALL)
		vm_rings_pause(q->c, 0, q->c->n_rings);
	else if (row->pause == PAUSE_RING)
		vm_rings_pause(q->c, q->index, 1);
	return row->handle(q);
}

static int run(struct request *q, const struct row *row)
{
	int ret;

	if (q->c->postcopy && vu_postcopy_awaits_ack(q->c->postcopy))
		ret = msg_postcopy_ack(q);
	else
		ret = check_and_handle(q, row);
	return ret ? ret : resume(q, row);
}

/* @status: 0 or an error that the front-end is told, if it asked for it. */
static int answer(struct request *q, int status)
{
	struct vm_control *c = q->c;
	uint64_t ack = status || q->refused;
	int ret = 0;

	if (q->reply)
		ret = vu_conn_send(&c->conn, q->m->header.request, &q->m->payload, q->reply_size,
				   q->reply_fd);
	else if (q->m->header.flags & VHOST_USER_NEED_REPLY &&
		 c->protocol_features & 1ull << VHOST_USER_PROTOCOL_F_REPLY_ACK)
		ret = vu_conn_send(&c->conn, q->m->header.request, &ack, sizeof(ack), -1);
	else if (status == -ENOSYS)
		ret = -ENOSYS; /* we have no way to say that we didn't */
	if (ret && ret != -ENOSYS && !status)
		msg_refuse(q, "%s", c->conn.why);
	return ret;
}

int vu_msg_handle(struct vm_control *c, char *why, size_t len)
{
	struct request q = {.c = c, .m = &c->conn.msg, .why = why, .why_len = len, .reply_fd = -1};
	const struct row *row = find_row(&q);
	int ret, sent;

	if (row) {
		snprintf(why, len, "%s: ", row->name);
		ret = run(&q, row);
		if (ret)
			q.reply = false;
		sent = answer(&q, ret);
		ret = ret ? ret : sent;
	} else {
		snprintf(why, len, "request %u is unknown, or was not negotiated",
			 q.m->header.request);
		ret = answer(&q, -ENOSYS);
	}
	vu_message_close_fds(q.m);
	return ret;
}
