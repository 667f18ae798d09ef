/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The vhost-user messages: one row per message, and what each does. */
#include "vm/vu_msg.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <linux/virtio_config.h>

#include "vm/vm_control.h"

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

#define MESSAGE_SIZE_TABLE UINT32_MAX /* size follows from the number of regions */

enum index_in { INDEX_NONE, INDEX_U32, INDEX_LOW_BYTE };
enum pause { PAUSE_NONE, PAUSE_RING, PAUSE_ALL };

struct request {
	struct vm_control *c;
	struct vu_message *m;
	struct vm_ring *ring; /* for messages with an index */
	unsigned index;
	bool refused;        /* the answer is a no, but the connection stays */
	uint32_t reply_size; /* the payload is a reply of this many bytes; 0: none */
	char *why;
	size_t why_len;
};

struct row {
	const char *name;
	int (*handle)(struct request *q);
	uint32_t size; /* of the payload, exactly */
	uint8_t min_fds, max_fds;
	enum index_in index;
	enum pause pause;
	uint64_t protocol; /* protocol feature that must have been negotiated, as a mask */
};

__attribute__((format(printf, 2, 3))) static int refuse(struct request *q, const char *format, ...)
{
	size_t len = strlen(q->why);
	va_list args;

	va_start(args, format);
	vsnprintf(q->why + len, q->why_len - len, format, args);
	va_end(args);
	return -EPROTO;
}

static void reply_u64(struct request *q, uint64_t value)
{
	q->m->payload.u64 = value;
	q->reply_size = sizeof(value);
}

static uint64_t protocol_features(void)
{
	return 1ull << VHOST_USER_PROTOCOL_F_MQ | 1ull << VHOST_USER_PROTOCOL_F_REPLY_ACK |
	       1ull << VHOST_USER_PROTOCOL_F_NET_MTU;
}

static int get_features(struct request *q)
{
	reply_u64(q, vm_features(q->c));
	return 0;
}

static int set_features(struct request *q)
{
	uint64_t wanted = q->m->payload.u64, odd = wanted & ~vm_features(q->c);

	if (odd)
		return refuse(q, "features 0x%" PRIx64 " were not offered", odd);
	q->c->features = wanted;
	q->c->has_features = true;
	return 0;
}

static int get_protocol_features(struct request *q)
{
	reply_u64(q, protocol_features());
	return 0;
}

static int set_protocol_features(struct request *q)
{
	uint64_t wanted = q->m->payload.u64, odd = wanted & ~protocol_features();

	if (odd)
		return refuse(q, "protocol features 0x%" PRIx64 " were not offered", odd);
	q->c->protocol_features = wanted;
	return 0;
}

static int set_owner(struct request *q)
{
	(void)q;
	return 0;
}

/* Deprecated; the specification leaves us to ignore it or to disable all rings. */
static int reset_owner(struct request *q)
{
	unsigned i;

	for (i = 0; i < q->c->n_rings; i++) {
		vm_ring_stop(q->c, i);
		vm_ring_enable(q->c, i, false);
	}
	return 0;
}

static int get_queue_num(struct request *q)
{
	reply_u64(q, q->c->n_rings / 2);
	return 0;
}

static int set_mem_table(struct request *q)
{
	struct vu_mem *mem;
	int ret;

	ret = vu_mem_new(&mem, &q->m->payload.memory, q->m->fd, q->m->n_fds);
	if (ret == -EINVAL)
		return refuse(q, "its %u regions overlap, wrap around or exceed their files",
			      q->m->payload.memory.n);
	if (ret)
		return refuse(q, "can't map guest memory: %s", strerror(-ret));
	vu_mem_free(q->c->mem);
	q->c->mem = mem;
	return 0;
}

static int set_vring_num(struct request *q)
{
	uint32_t num = q->m->payload.state.num;

	if (!num || num > 32768)
		return refuse(q, "queue %u has size %u, not 1 to 32768", q->index, num);
	/* whether it must be a power of two, and what a base is, features say, which may follow */
	q->ring->size = num;
	return 0;
}

static int set_vring_addr(struct request *q)
{
	q->ring->addr = q->m->payload.addr;
	q->ring->has_addr = true;
	return 0;
}

static int set_vring_base(struct request *q)
{
	q->ring->base = q->m->payload.state.num;
	q->ring->has_base = true;
	return 0;
}

static int get_vring_base(struct request *q)
{
	vm_ring_stop(q->c, q->index);
	q->m->payload.state.num = q->ring->base;
	q->reply_size = sizeof(q->m->payload.state);
	return 0;
}

static int set_vring_enable(struct request *q)
{
	uint32_t on = q->m->payload.state.num;

	if (on > 1)
		return refuse(q, "queue %u is to be %u, not 0 or 1", q->index, on);
	vm_ring_enable(q->c, q->index, on);
	return 0;
}

/*
 * Only eventfds are taken. Polling or writing other kinds of files runs other people's code, and
 * a FUSE file's, for one, may never return. Where there is no /proc, there is no telling.
 */
static bool is_eventfd(int fd)
{
	static const char want[] = "anon_inode:[eventfd]";
	char path[32], target[sizeof(want)];
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	n = readlink(path, target, sizeof(target));
	if (n < 0)
		return access("/proc/self/fd", F_OK) < 0;
	return n == sizeof(want) - 1 && !memcmp(target, want, n);
}

/* The eventfd of KICK, CALL and ERR; it stays the message's. -1 if there is none by intention. */
static int event_fd_of(struct request *q, int *fd)
{
	if (q->m->payload.u64 & ~(uint64_t)(VHOST_USER_VRING_INDEX_MASK | VHOST_USER_VRING_NOFD))
		return refuse(q, "unknown bits in 0x%" PRIx64, q->m->payload.u64);
	*fd = -1;
	if (q->m->payload.u64 & VHOST_USER_VRING_NOFD)
		return 0;
	if (!q->m->n_fds)
		return refuse(q, "queue %u: the eventfd is missing", q->index);
	if (!is_eventfd(q->m->fd[0]))
		return refuse(q, "queue %u: the file descriptor is not an eventfd", q->index);
	*fd = q->m->fd[0];
	return 0;
}

static int set_vring_kick(struct request *q)
{
	int fd = -1, ret;

	ret = event_fd_of(q, &fd);
	if (ret)
		return ret;
	ret = vm_ring_set_kick(q->c, q->index, fd);
	if (ret)
		return refuse(q, "queue %u: can't watch the eventfd: %s", q->index, strerror(-ret));
	if (fd >= 0)
		vu_message_take_fd(q->m, 0);
	return 0;
}

static int set_vring_call(struct request *q)
{
	int fd = -1, ret;

	ret = event_fd_of(q, &fd);
	if (ret)
		return ret;
	if (fd >= 0)
		vu_message_take_fd(q->m, 0);
	vm_ring_set_call(q->c, q->index, fd);
	return 0;
}

static int set_vring_err(struct request *q)
{
	int fd = -1, ret;

	ret = event_fd_of(q, &fd);
	if (ret)
		return ret;
	if (fd >= 0)
		vu_message_take_fd(q->m, 0);
	vm_ring_set_err(q->c, q->index, fd);
	return 0;
}

/*
 * QEMU asks for this before it starts the rings, if it was told host_mtu=. It takes a refusal for
 * the end of it: it says "9000Bytes MTU not supported by the backend", and the guest's device stays
 * as it is. To hang up would only have it come again. What limit holds, holds in any case.
 */
static int net_set_mtu(struct request *q)
{
	uint64_t mtu = q->m->payload.u64;

	q->refused = !mtu || vm_set_mtu(q->c, mtu);
	if (q->refused)
		vm_log(q->c, LOG_WARN,
		       "the front-end wants an MTU of %" PRIu64 ", which is refused: %s", mtu,
		       vm_mtu_remedy(q->c));
	return 0;
}

#define U64            sizeof(uint64_t)
#define STATE          sizeof(struct vhost_user_vring_state)
#define ADDR           sizeof(struct vhost_user_vring_addr)
#define TABLE          MESSAGE_SIZE_TABLE
#define MQ             (1ull << VHOST_USER_PROTOCOL_F_MQ)
#define MTU            (1ull << VHOST_USER_PROTOCOL_F_NET_MTU)
#define ROW(name, ...) [VHOST_USER_##name] = {#name, __VA_ARGS__}

/* clang-format off */
static const struct row rows[VHOST_USER_REQUESTS] = {
	/*                         handler                payload fds   index           rings rest  needs */
	ROW(GET_FEATURES,          get_features,          0,     0, 0, INDEX_NONE,     PAUSE_NONE, 0),
	ROW(SET_FEATURES,          set_features,          U64,   0, 0, INDEX_NONE,     PAUSE_ALL,  0),
	ROW(SET_OWNER,             set_owner,             0,     0, 0, INDEX_NONE,     PAUSE_NONE, 0),
	ROW(RESET_OWNER,           reset_owner,           0,     0, 0, INDEX_NONE,     PAUSE_ALL,  0),
	ROW(SET_MEM_TABLE,         set_mem_table,         TABLE, 1, 8, INDEX_NONE,     PAUSE_ALL,  0),
	ROW(SET_VRING_NUM,         set_vring_num,         STATE, 0, 0, INDEX_U32,      PAUSE_RING, 0),
	ROW(SET_VRING_ADDR,        set_vring_addr,        ADDR,  0, 0, INDEX_U32,      PAUSE_RING, 0),
	ROW(SET_VRING_BASE,        set_vring_base,        STATE, 0, 0, INDEX_U32,      PAUSE_RING, 0),
	ROW(GET_VRING_BASE,        get_vring_base,        STATE, 0, 0, INDEX_U32,      PAUSE_RING, 0),
	ROW(SET_VRING_KICK,        set_vring_kick,        U64,   0, 1, INDEX_LOW_BYTE, PAUSE_NONE, 0),
	ROW(SET_VRING_CALL,        set_vring_call,        U64,   0, 1, INDEX_LOW_BYTE, PAUSE_NONE, 0),
	ROW(SET_VRING_ERR,         set_vring_err,         U64,   0, 1, INDEX_LOW_BYTE, PAUSE_NONE, 0),
	ROW(GET_PROTOCOL_FEATURES, get_protocol_features, 0,     0, 0, INDEX_NONE,     PAUSE_NONE, 0),
	ROW(SET_PROTOCOL_FEATURES, set_protocol_features, U64,   0, 0, INDEX_NONE,     PAUSE_NONE, 0),
	ROW(GET_QUEUE_NUM,         get_queue_num,         0,     0, 0, INDEX_NONE,     PAUSE_NONE, MQ),
	ROW(SET_VRING_ENABLE,      set_vring_enable,      STATE, 0, 0, INDEX_U32,      PAUSE_NONE, 0),
	ROW(NET_SET_MTU,           net_set_mtu,           U64,   0, 0, INDEX_NONE,     PAUSE_NONE, MTU),
};
/* clang-format on */

static const struct row *find_row(const struct request *q)
{
	uint32_t request = q->m->header.request;
	const struct row *row;

	if (request >= VHOST_USER_REQUESTS)
		return NULL;
	row = &rows[request];
	if (!row->handle || (row->protocol & q->c->protocol_features) != row->protocol)
		return NULL;
	return row;
}

static int check_size(struct request *q, const struct row *row)
{
	const struct vhost_user_memory *table = &q->m->payload.memory;
	uint32_t size = q->m->header.size, want = row->size;

	if (want == MESSAGE_SIZE_TABLE) {
		if (size < offsetof(struct vhost_user_memory, region))
			return refuse(q, "payload of %u bytes has no count of regions", size);
		if (table->n < 1 || table->n > VHOST_USER_REGIONS_MAX)
			return refuse(q, "%u memory regions, not 1 to %u", table->n,
				      VHOST_USER_REGIONS_MAX);
		want = offsetof(struct vhost_user_memory, region) +
		       table->n * sizeof(table->region[0]);
	}
	if (size != want)
		return refuse(q, "payload of %u bytes, not %u", size, want);
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
		return refuse(q, "comes with %u file descriptors, not %u to %u", q->m->n_fds,
			      row->min_fds, row->max_fds);
	if (row->index == INDEX_NONE)
		return 0;
	index = row->index == INDEX_U32 ? q->m->payload.state.index
					: q->m->payload.u64 & VHOST_USER_VRING_INDEX_MASK;
	if (index >= q->c->n_rings)
		return refuse(q, "queue %u, but there are only 0 to %u", index, q->c->n_rings - 1);
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
			return refuse(q, "queue %u: no %s ring has size %u and base 0x%x", failed,
				      q->c->features & 1ull << VIRTIO_F_RING_PACKED ? "packed"
										    : "split",
				      q->c->ring[failed].size, q->c->ring[failed].base);
		if (ret != -EFAULT)
			return refuse(q, "can't start queue %u: %s", failed, strerror(-ret));
		if (row->handle != set_mem_table)
			return refuse(q,
				      "queue %u is outside of the guest's memory, or not aligned",
				      failed);
		q->c->ring[failed].has_addr = false;
		vm_log(q->c, LOG_WARN,
		       "queue %u is not in the guest's new memory; it rests until it has a new "
		       "address",
		       failed);
	}
}

static int run(struct request *q, const struct row *row)
{
	int ret;

	ret = check(q, row);
	if (ret)
		return ret;
	if (row->pause == PAUSE_ALL)
		vm_rings_pause(q->c, 0, q->c->n_rings);
	else if (row->pause == PAUSE_RING)
		vm_rings_pause(q->c, q->index, 1);
	ret = row->handle(q);
	if (ret)
		return ret;
	return resume(q, row);
}

/* @status: 0 or an error that the front-end is told, if it asked for it. */
static int answer(struct request *q, int status)
{
	struct vm_control *c = q->c;
	uint64_t ack = status || q->refused;
	int ret = 0;

	if (q->reply_size)
		ret = vu_conn_send(&c->conn, q->m->header.request, &q->m->payload, q->reply_size);
	else if (q->m->header.flags & VHOST_USER_NEED_REPLY &&
		 c->protocol_features & 1ull << VHOST_USER_PROTOCOL_F_REPLY_ACK)
		ret = vu_conn_send(&c->conn, q->m->header.request, &ack, sizeof(ack));
	else if (status == -ENOSYS)
		ret = -ENOSYS; /* we have no way to say that we didn't */
	if (ret && ret != -ENOSYS && !status)
		refuse(q, "%s", c->conn.why);
	return ret;
}

int vu_msg_handle(struct vm_control *c, char *why, size_t len)
{
	struct request q = {.c = c, .m = &c->conn.msg, .why = why, .why_len = len};
	const struct row *row = find_row(&q);
	int ret, sent;

	if (row) {
		snprintf(why, len, "%s: ", row->name);
		ret = run(&q, row);
		if (ret)
			q.reply_size = 0;
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
