/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The vhost-user messages: what each does, in which order ever, and what is refused. */
#include "vu_peer.h"

static struct vm_state state(void)
{
	struct vm_state s;

	vm_state(t.vm, &s);
	return s;
}

/* In numbers, as the specification has them. */
#define ALWAYS                                                                                     \
	(VERSION_1 | FEATURE(15) | FEATURE(16) | FEATURE(21) | FEATURE(24) | FEATURE(26) |         \
	 FEATURE(27) | FEATURE(28) | FEATURE(29) | BIT30 | FEATURE(33) | FEATURE(34) |             \
	 FEATURE(35) | FEATURE(40) | FEATURE(63))
#define CSUM (FEATURE(0) | FEATURE(1))
#define SEGMENTS                                                                                   \
	(FEATURE(7) | FEATURE(8) | FEATURE(9) | FEATURE(10) | FEATURE(11) | FEATURE(12) |          \
	 FEATURE(13) | FEATURE(14) | FEATURE(54) | FEATURE(55) | FEATURE(56))

static void test_negotiation(void)
{
	uint64_t offered, protocol;

	peer_setup(1);
	peer_connect();
	CU_ASSERT_TRUE(state().connected);
	CU_ASSERT_EQUAL(state().peer_pid, getpid());
	offered = peer_get(VHOST_USER_GET_FEATURES);
	CU_ASSERT_EQUAL(offered, ALWAYS | CSUM | SEGMENTS);
	protocol = peer_get(VHOST_USER_GET_PROTOCOL_FEATURES);
	CU_ASSERT_EQUAL(protocol, FEATURE(0) | FEATURE(1) | FEATURE(2) | FEATURE(3) | FEATURE(4) |
					  FEATURE(5) | FEATURE(9) | FEATURE(10) | FEATURE(12) |
					  FEATURE(13) | FEATURE(14) | FEATURE(15) | FEATURE(16) |
					  FEATURE(19));
	peer_send(VHOST_USER_SET_OWNER, 0, NULL, 0, NULL, 0);
	peer_u64(VHOST_USER_SET_PROTOCOL_FEATURES, protocol);
	CU_ASSERT_EQUAL(peer_get(VHOST_USER_GET_QUEUE_NUM), 1);
	peer_u64(VHOST_USER_SET_FEATURES, offered);
	peer_u64(VHOST_USER_SET_FEATURES, VERSION_1);
	CU_ASSERT_EQUAL(state().features, VERSION_1);
	CU_ASSERT_EQUAL(state().protocol_features, protocol);
	CU_ASSERT_FALSE(peer_is_closed());
	peer_end();

	peer_setup(4);
	peer_connect();
	CU_ASSERT_EQUAL(peer_get(VHOST_USER_GET_FEATURES), offered | FEATURE(22));
	peer_u64(VHOST_USER_SET_PROTOCOL_FEATURES, protocol);
	CU_ASSERT_EQUAL(peer_get(VHOST_USER_GET_QUEUE_NUM), 4);
	peer_end();
}

static void test_start_stop(void)
{
	struct vm_queue_state qs;

	peer_setup(2);
	CU_ASSERT_PTR_NOT_NULL(strstr(state().why_not, "no front-end is connected to /"));
	peer_connect();
	CU_ASSERT_STRING_EQUAL(state().why_not, "the front-end has not said anything yet");
	peer_memory_at(PEER_UVA);
	CU_ASSERT_PTR_NOT_NULL(strstr(state().why_not, "driver has not started"));
	peer_start(4);
	CU_ASSERT_PTR_NOT_NULL(strstr(state().why_not, "no buffers to receive into"));
	CU_ASSERT_TRUE(state().running);
	CU_ASSERT_EQUAL(state().memory, PEER_MEM);
	CU_ASSERT_EQUAL(state().regions, 1);
	CU_ASSERT_EQUAL(t.vm->n_out, 2);
	CU_ASSERT_EQUAL(t.changes, 3); /* connected, running, the second in-queue */
	vm_queue_state(t.vm, 3, &qs);
	CU_ASSERT_TRUE(qs.started && qs.enabled && qs.size == PEER_SIZE && !qs.broken);
	peer_end();
}

/* A disabled receive queue is out of sight, a disabled in-queue is told to discard. */
static void test_enable(void)
{
	peer_setup(2);
	peer_connect();
	peer_start(4);
	t.changes = 2;
	peer_state(VHOST_USER_SET_VRING_ENABLE, 0, 0);
	CU_ASSERT_PTR_NULL(t.vm->out[0]);
	CU_ASSERT_EQUAL(t.vm->n_out, 0);
	CU_ASSERT_PTR_NULL(strstr(state().why_not, "not enabled"));
	peer_state(VHOST_USER_SET_VRING_ENABLE, 2, 0);
	CU_ASSERT_STRING_EQUAL(state().why_not, "queue 2 is not enabled");
	CU_ASSERT_EQUAL(t.changes, 3);
	peer_state(VHOST_USER_SET_VRING_ENABLE, 1, 0);
	CU_ASSERT_FALSE(t.vm->in[0]->enabled);
	peer_state(VHOST_USER_SET_VRING_ENABLE, 1, 1);
	CU_ASSERT_TRUE(t.vm->in[0]->enabled);
	peer_state(VHOST_USER_SET_VRING_ENABLE, 0, 1);
	CU_ASSERT_EQUAL(t.vm->n_out, 1);
	peer_end();
}

/* The index survives new memory, other features and a stop. */
static void test_index_stays(void)
{
	uint64_t base;
	struct vq *q;

	peer_setup(2);
	peer_connect();
	peer_start(4);
	q = t.vm->in[0];
	q->avail_at = 7;
	peer_memory_at(PEER_UVA);
	CU_ASSERT_EQUAL(t.vm->in[0]->avail_at, 7);
	peer_u64(VHOST_USER_SET_FEATURES, VERSION_1 | BIT30 | FEATURE(29));
	CU_ASSERT_TRUE(t.vm->in[0]->event_idx);
	CU_ASSERT_EQUAL(t.vm->in[0]->avail_at, 7);
	t.vm->in[0]->avail_at = 9;
	base = peer_get_base(1);
	CU_ASSERT_EQUAL(base, 9ull << 32 | 1);
	CU_ASSERT_PTR_NULL(t.vm->in[0]);

	/* stopped: neither enabling nor a kick with stale addresses starts it */
	peer_state(VHOST_USER_SET_VRING_ENABLE, 1, 0);
	peer_state(VHOST_USER_SET_VRING_ENABLE, 1, 1);
	CU_ASSERT_PTR_NULL(t.vm->in[0]);
	close(peer_eventfd(VHOST_USER_SET_VRING_KICK, 1));
	CU_ASSERT_PTR_NULL(t.vm->in[0]);
	CU_ASSERT_EQUAL(peer_get_base(1), 9ull << 32 | 1);
	peer_addr(1);
	close(peer_eventfd(VHOST_USER_SET_VRING_KICK, 1));
	CU_ASSERT_PTR_NOT_NULL_FATAL(t.vm->in[0]);
	CU_ASSERT_EQUAL(t.vm->in[0]->avail_at, 9);
	CU_ASSERT_TRUE(t.vm->in[0]->enabled);

	peer_send(VHOST_USER_RESET_OWNER, 0, NULL, 0, NULL, 0);
	CU_ASSERT_PTR_NULL(t.vm->in[0]);
	CU_ASSERT_PTR_NULL(t.vm->in[1]);
	CU_ASSERT_EQUAL(t.vm->n_out, 0);
	CU_ASSERT_FALSE(peer_is_closed());
	peer_end();
}

/* New memory without the rings is not an error, addresses without memory behind them are. */
static void test_memory_moves(void)
{
	peer_setup(1);
	peer_connect();
	peer_start(2);
	peer_memory_at(PEER_UVA + (1ull << 40));
	CU_ASSERT_FALSE(peer_is_closed());
	CU_ASSERT_PTR_NULL(t.vm->in[0]);
	peer_memory_at(PEER_UVA); /* it comes back, and they with it */
	CU_ASSERT_PTR_NOT_NULL(t.vm->in[0]);
	CU_ASSERT_PTR_NOT_NULL(t.vm->out[0]);
	peer_memory_at(PEER_UVA + (1ull << 40));
	peer_get_base(1);
	peer_memory_at(PEER_UVA); /* but not one that was stopped meanwhile */
	CU_ASSERT_PTR_NULL(t.vm->in[0]);
	CU_ASSERT_PTR_NOT_NULL(t.vm->out[0]);
	peer_addr(1);
	close(peer_eventfd(VHOST_USER_SET_VRING_KICK, 1));
	CU_ASSERT_PTR_NOT_NULL(t.vm->in[0]);
	peer_state(VHOST_USER_SET_VRING_NUM, 1, 32768);
	CU_ASSERT_TRUE_FATAL(t.vm->in[0] && t.vm->in[0]->size == 32768);
	CU_ASSERT_FALSE(peer_is_closed());
	peer_end();
}

/* Whatever order the parts come in, the ring starts with the last one and not before. */
static void send_part(unsigned part)
{
	switch (part) {
	case 0:
		peer_u64(VHOST_USER_SET_FEATURES, VERSION_1 | BIT30);
		break;
	case 1:
		peer_memory_at(PEER_UVA);
		break;
	case 2:
		peer_state(VHOST_USER_SET_VRING_NUM, 1, PEER_SIZE);
		break;
	case 3:
		peer_addr(1);
		break;
	case 4:
		peer_state(VHOST_USER_SET_VRING_BASE, 1, 5);
		break;
	case 5:
		close(peer_eventfd(VHOST_USER_SET_VRING_KICK, 1));
		break;
	case 6:
		peer_state(VHOST_USER_SET_VRING_ENABLE, 1, 1);
		break;
	}
}

#define PARTS 7
static void permute(unsigned *part, unsigned at)
{
	unsigned i, swap, sent = 0, bad = 0;

	if (at == PARTS) {
		peer_connect();
		for (i = 0; i < PARTS; i++) {
			send_part(part[i]);
			sent |= 1u << part[i];
			bad += !!t.vm->in[0] != ((sent & 0x3f) == 0x3f);
		}
		bad += !t.vm->in[0] || !t.vm->in[0]->enabled || t.vm->in[0]->avail_at != 5;
		bad += peer_is_closed();
		CU_ASSERT_EQUAL(bad, 0);
		return;
	}
	for (i = at; i < PARTS; i++) {
		swap = part[at], part[at] = part[i], part[i] = swap;
		permute(part, at + 1);
		swap = part[at], part[at] = part[i], part[i] = swap;
	}
}

static void test_every_order(void)
{
	unsigned part[PARTS] = {0, 1, 2, 3, 4, 5, 6};

	peer_setup(1);
	permute(part, 0);
	peer_end();
}

static void test_without_bit30(void)
{
	uint64_t nofd = 1 | VHOST_USER_VRING_NOFD;

	peer_setup(1);
	peer_connect();
	peer_u64(VHOST_USER_SET_FEATURES, 0);
	peer_memory_at(PEER_UVA);
	peer_ring_but_kick(0);
	close(peer_eventfd(VHOST_USER_SET_VRING_KICK, 0));
	CU_ASSERT_PTR_NOT_NULL(t.vm->out[0]);
	peer_ring_but_kick(1);
	peer_u64(VHOST_USER_SET_VRING_KICK, nofd);
	CU_ASSERT_TRUE_FATAL(t.vm->in[0] && t.vm->in[0]->enabled);
	CU_ASSERT_EQUAL(t.vm->in[0]->hdr_len, 10);
	CU_ASSERT_TRUE(state().running);
	/* now it takes bit 30, and must enable */
	peer_u64(VHOST_USER_SET_FEATURES, BIT30 | VERSION_1);
	CU_ASSERT_PTR_NULL(t.vm->out[0]);
	CU_ASSERT_TRUE_FATAL(t.vm->in[0] && !t.vm->in[0]->enabled);
	CU_ASSERT_EQUAL(t.vm->in[0]->hdr_len, 12);
	peer_end();
}

static void test_eventfds(void)
{
	struct epoll_event e[4];
	uint64_t count;
	int kick, call, other, err;

	peer_setup(1);
	peer_connect();
	peer_start(2);
	/* the worker was woken after the start, and sees kicks */
	CU_ASSERT_EQUAL(read(t.worker->wake_fd, &count, 8), 8);
	kick = peer_eventfd(VHOST_USER_SET_VRING_KICK, 1);
	read(t.worker->wake_fd, &count, 8);
	while (epoll_wait(t.worker->epoll_fd, e, 4, 0) > 0)
		;
	eventfd_write(kick, 1);
	CU_ASSERT_EQUAL(epoll_wait(t.worker->epoll_fd, e, 4, 0), 1);
	/* a call fd that comes late tells what was missed; the old one is closed */
	call = peer_eventfd(VHOST_USER_SET_VRING_CALL, 1);
	CU_ASSERT_EQUAL(read(call, &count, 8), 8);
	other = peer_eventfd(VHOST_USER_SET_VRING_CALL, 1);
	CU_ASSERT_TRUE_FATAL(t.vm->in[0] != NULL);
	eventfd_write(t.vm->in[0]->call_fd, 1);
	CU_ASSERT_EQUAL(read(call, &count, 8), -1);
	CU_ASSERT_EQUAL(read(other, &count, 8), 8);
	peer_u64(VHOST_USER_SET_VRING_CALL, 1 | VHOST_USER_VRING_NOFD);
	CU_ASSERT_EQUAL(t.vm->in[0]->call_fd, -1);
	/* a broken queue is told once, and stays broken while it is paused */
	err = peer_eventfd(VHOST_USER_SET_VRING_ERR, 1);
	t.vm->in[0]->broken = VQ_BAD_HEAD;
	vm_broken(t.vm);
	vm_broken(t.vm);
	CU_ASSERT_TRUE(read(err, &count, 8) == 8 && count == 1);
	CU_ASSERT_PTR_NOT_NULL(strstr(state().why_not, "queue 1 broke: "));
	peer_memory_at(PEER_UVA);
	CU_ASSERT_EQUAL(t.vm->in[0]->broken, VQ_BAD_HEAD);
	peer_get_base(1);
	peer_addr(1);
	close(peer_eventfd(VHOST_USER_SET_VRING_KICK, 1));
	CU_ASSERT_EQUAL(t.vm->in[0]->broken, VQ_OK);
	CU_ASSERT_FALSE(peer_is_closed());
	close(kick), close(call), close(other), close(err);
	peer_end();
}

static void test_reply_ack(void)
{
	uint64_t bad = 1ull << 62, good = VERSION_1;

	peer_setup(1);
	peer_connect();
	/* not negotiated: not answered */
	peer_send(VHOST_USER_SET_FEATURES, VHOST_USER_NEED_REPLY, &good, 8, NULL, 0);
	CU_ASSERT_EQUAL(peer_reply(VHOST_USER_SET_FEATURES, 8), PEER_SILENCE);
	CU_ASSERT_FALSE(peer_is_closed());
	peer_start(2);
	peer_send(VHOST_USER_SET_FEATURES, VHOST_USER_NEED_REPLY, &good, 8, NULL, 0);
	CU_ASSERT_EQUAL(peer_reply(VHOST_USER_SET_FEATURES, 8), 0);
	peer_send(VHOST_USER_GET_FEATURES, VHOST_USER_NEED_REPLY, NULL, 0, NULL, 0);
	CU_ASSERT_TRUE(!!(peer_reply(VHOST_USER_GET_FEATURES, 8) & VERSION_1));
	CU_ASSERT_FALSE(peer_is_closed());
	/* an unknown one with a payload is answered, and the stream goes on */
	peer_send(42, VHOST_USER_NEED_REPLY, &bad, 8, &t.memory, 1);
	CU_ASSERT_EQUAL(peer_reply(42, 8), 1);
	CU_ASSERT_TRUE(!!(peer_get(VHOST_USER_GET_FEATURES) & VERSION_1));
	/* an error is answered before the connection ends */
	peer_send(VHOST_USER_SET_FEATURES, VHOST_USER_NEED_REPLY, &bad, 8, NULL, 0);
	CU_ASSERT_EQUAL(peer_reply(VHOST_USER_SET_FEATURES, 8), 1);
	CU_ASSERT_TRUE(peer_is_closed());
	CU_ASSERT_FALSE(state().connected);
	CU_ASSERT_PTR_NULL(t.vm->in[0]);
	peer_end();
}

/* What a size and a base may be depends on the ring format, which is known when the ring starts. */
static void test_ring_format(void)
{
	static const struct {
		bool packed;
		uint32_t size, base;
		uint64_t got; /* GET_VRING_BASE's answer; 0: refused */
	} row[] = {
		{false, 3, 0, 0},
		{false, 256, 0x10000, 0},
		{false, 256, 0x80008000, 0},
		{false, 256, 0xffff, 0xffff},
		{true, 256, 0x80008000, 0x80008000},
		{true, 3, 0x80008000, 0x80008000},
		{true, 1, 0x80008000, 0x80008000},
		{true, 300, 0x0005812b, 0x00050005}, /* in flight: taken again */
		{true, 300, 0x812b812b, 0x812b812b},
		{true, 300, 0x0000812b, 0x812b812b}, /* the lower half is all that some know */
		{true, 300, 0x8000, 0x80008000},
		{true, 300, 0x812c812c, 0},
		{true, 300, 0x812c0000, 0},
		{true, 300, 0x012c, 0},
		{true, 300, 0xffffffff, 0},
	};
	unsigned i, when;

	peer_setup(1);
	for (i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		uint64_t format = row[i].packed ? FEATURE(34) : 0;

		/* features before and after what depends on them */
		for (when = 0; when < 2; when++) {
			peer_connect();
			peer_start(0);
			if (when)
				peer_u64(VHOST_USER_SET_FEATURES, VERSION_1 | BIT30 | format);
			peer_ring_but_kick(1);
			peer_state(VHOST_USER_SET_VRING_NUM, 1, row[i].size);
			peer_state(VHOST_USER_SET_VRING_BASE, 1, row[i].base);
			peer_u64(VHOST_USER_SET_FEATURES, VERSION_1 | BIT30 | format);
			close(peer_eventfd(VHOST_USER_SET_VRING_KICK, 1));
			if (!row[i].got) {
				CU_ASSERT(peer_is_closed());
				CU_ASSERT_PTR_NULL(t.vm->in[0]);
			} else {
				CU_ASSERT_PTR_NOT_NULL(t.vm->in[0]);
				CU_ASSERT(t.vm->in[0] && t.vm->in[0]->packed == row[i].packed);
				CU_ASSERT_EQUAL(peer_get_base(1), row[i].got << 32 | 1);
			}
			peer_hang_up();
			peer_pump();
		}
	}
	peer_end();
}

/* Messages that end the connection, whether rings run or not. */
static const struct bad {
	uint32_t request;
	uint32_t size;
	uint32_t word[10];
	unsigned fds;
} bads[] = {
	{0, 0, {0}, 0},
	{19, 8, {0}, 0}, /* not negotiated */
	{47, 0, {0}, 0},
	{0x10001, 0, {0}, 0},
	{UINT32_MAX, 0, {0}, 0},
	{VHOST_USER_GET_FEATURES, 8, {0}, 0},
	{VHOST_USER_SET_FEATURES, 4, {0}, 0},
	{VHOST_USER_SET_FEATURES, 8, {4}, 0},
	{VHOST_USER_SET_FEATURES, 8, {0, 0x40000000}, 0},
	{VHOST_USER_SET_PROTOCOL_FEATURES, 8, {0x80}, 0}, /* CRYPTO_SESSION */
	{VHOST_USER_SET_PROTOCOL_FEATURES, 8, {0, 1}, 0},
	{VHOST_USER_SET_VRING_NUM, 8, {2, 256}, 0},
	{VHOST_USER_SET_VRING_NUM, 8, {0x10000, 256}, 0},
	{VHOST_USER_SET_VRING_NUM, 8, {UINT32_MAX, 256}, 0},
	{VHOST_USER_SET_VRING_NUM, 8, {0, 0}, 0},
	{VHOST_USER_SET_VRING_NUM, 8, {0, 65536}, 0},
	{VHOST_USER_SET_VRING_NUM, 8, {0, 0x80000000}, 0},
	{VHOST_USER_SET_VRING_NUM, 4, {0, 256}, 0},
	{VHOST_USER_SET_VRING_NUM, 12, {0, 256}, 0},
	{VHOST_USER_SET_VRING_NUM, 8, {0, 256}, 1},
	{VHOST_USER_SET_VRING_BASE, 8, {0x10000, 0}, 0},
	{VHOST_USER_SET_VRING_ADDR, 40, {0x10000}, 0},
	{VHOST_USER_SET_VRING_ADDR, 40, {UINT32_MAX}, 0},
	{VHOST_USER_SET_VRING_ADDR, 39, {0}, 0},
	{VHOST_USER_GET_VRING_BASE, 8, {2}, 0},
	{VHOST_USER_GET_VRING_BASE, 8, {0x10000}, 0},
	{VHOST_USER_GET_VRING_BASE, 0, {0}, 0},
	{VHOST_USER_SET_VRING_ENABLE, 8, {2, 1}, 0},
	{VHOST_USER_SET_VRING_ENABLE, 8, {0x10000, 1}, 0},
	{VHOST_USER_SET_VRING_ENABLE, 8, {0, 2}, 0},
	{VHOST_USER_SET_VRING_KICK, 8, {2}, 1},
	{VHOST_USER_SET_VRING_KICK, 8, {0xff}, 1},
	{VHOST_USER_SET_VRING_KICK, 8, {0}, 0},
	{VHOST_USER_SET_VRING_KICK, 8, {0}, 1}, /* not an eventfd */
	{VHOST_USER_SET_VRING_KICK, 8, {1}, 1},
	{VHOST_USER_SET_VRING_KICK, 8, {0x200}, 1},
	{VHOST_USER_SET_VRING_KICK, 8, {0}, 2},
	{VHOST_USER_SET_VRING_CALL, 8, {3}, 1},
	{VHOST_USER_SET_VRING_CALL, 8, {0}, 1},
	{VHOST_USER_SET_VRING_CALL, 8, {0, 1}, 1},
	{VHOST_USER_SET_VRING_ERR, 8, {3}, 1},
	{VHOST_USER_SET_VRING_ERR, 8, {0}, 0},
	{VHOST_USER_NET_SET_MTU, 4, {1500}, 0},
	{VHOST_USER_NET_SET_MTU, 8, {1500}, 1},
	{VHOST_USER_SET_MEM_TABLE, 0, {0}, 1},
	{VHOST_USER_SET_MEM_TABLE, 8, {0}, 0},
	{VHOST_USER_SET_MEM_TABLE, 8, {0}, 1},
	{VHOST_USER_SET_MEM_TABLE, 40, {2, 0, 0, 0, 4096}, 2},
	{VHOST_USER_SET_MEM_TABLE, 40, {9, 0, 0, 0, 4096}, 8},
	{VHOST_USER_SET_MEM_TABLE, 40, {UINT32_MAX, 0, 0, 0, 4096}, 1},
	{VHOST_USER_SET_MEM_TABLE, 40, {1, 0, 0, 0, 4096}, 0},
	{VHOST_USER_SET_MEM_TABLE, 40, {1, 0, 0, 0, 4096}, 2},
	{VHOST_USER_SET_MEM_TABLE, 40, {1, 0, 0, 0, 0}, 1},
	{VHOST_USER_SET_MEM_TABLE, 40, {1, 0, 0, 0, PEER_MEM + 1}, 1},
	{VHOST_USER_SET_MEM_TABLE, 40, {1, 0, 0, 0, 4096, 0, 0, 0, PEER_MEM}, 1},
};

static void test_bad_messages(void)
{
	unsigned i, j, running, fds;
	int many[9];

	peer_setup(1);
	peer_connect();
	peer_start(2);
	peer_hang_up();
	peer_pump();
	fds = check_fds();
	for (running = 0; running < 2; running++) {
		for (i = 0; i < sizeof(bads) / sizeof(bads[0]); i++) {
			const struct bad *b = &bads[i];

			peer_connect();
			if (running)
				peer_start(2);
			CU_ASSERT_EQUAL(state().running, running);
			for (j = 0; j < b->fds; j++)
				many[j] = t.memory;
			peer_send(b->request, 0, b->word, b->size, many, b->fds);
			if (!peer_is_closed())
				printf("     row %u (request %u) was accepted\n", i, b->request);
			CU_ASSERT_TRUE(peer_is_closed());
			CU_ASSERT_FALSE(state().connected || t.vm->in[0] || t.vm->out[0]);
			peer_hang_up();
			CU_ASSERT_EQUAL(check_fds(), fds);
		}
	}
	CU_ASSERT_EQUAL(count_maps(), 0);
	peer_end();
}

/* Addresses that no memory is behind, not aligned, or at its end. */
static void test_bad_addresses(void)
{
	static const uint64_t at[][3] = {
		{PEER_UVA + PEER_MEM, PEER_UVA, PEER_UVA},
		{PEER_UVA, PEER_UVA + PEER_MEM - 100, PEER_UVA},
		{PEER_UVA, PEER_UVA, PEER_UVA + PEER_MEM - 2048},
		{PEER_UVA + 8, PEER_UVA, PEER_UVA},
		{PEER_UVA, PEER_UVA + 1, PEER_UVA},
		{PEER_UVA, PEER_UVA, PEER_UVA + 2},
		{UINT64_MAX & ~15ull, UINT64_MAX & ~15ull, UINT64_MAX & ~15ull},
		{0, 0, 0},
	};
	unsigned i;

	peer_setup(1);
	for (i = 0; i < sizeof(at) / sizeof(at[0]); i++) {
		struct vhost_user_vring_addr a = {
			.index = 1, .desc = at[i][0], .avail = at[i][1], .used = at[i][2]};

		peer_connect();
		peer_start(2);
		peer_send(VHOST_USER_SET_VRING_ADDR, 0, &a, sizeof(a), NULL, 0);
		CU_ASSERT_TRUE(peer_is_closed());
		CU_ASSERT_FALSE(t.vm->in[0] || t.vm->out[0]);
	}
	peer_end();
}

int main(int argc, char **argv)
{
	static const struct check tests[] = {
		{"negotiation", test_negotiation},
		{"start_stop", test_start_stop},
		{"enable", test_enable},
		{"index_stays", test_index_stays},
		{"memory_moves", test_memory_moves},
		{"every_order", test_every_order},
		{"without_bit30", test_without_bit30},
		{"eventfds", test_eventfds},
		{"reply_ack", test_reply_ack},
		{"ring_format", test_ring_format},
		{"bad_messages", test_bad_messages},
		{"bad_addresses", test_bad_addresses},
		{NULL, NULL},
	};

	return check_main("vu_msg", tests, argc, argv);
}
