/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A NIC queue over made-up AF_XDP rings: which system calls its worker makes, and when. */
#include "check.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/if_xdp.h>

#include "nic/nic_queue.h"
#include "switch/worker.h"
#include "switch/switch.h"

/*
 * No kernel, no root. The sockets are ends of datagram socket pairs with letters waiting in them:
 * each recvfrom() takes one away, and what is left at the end says how often it was called.
 */
#define RING    256
#define FRAMES  512
#define LETTERS 100 /* as many as a pair surely holds */
#define LEN     60

struct rig {
	struct nic nic; /* first members first: a port */
	struct nic_queue *q;
	struct nic_socket socket;
	struct vxs_port_stats stats;
	struct batch b;
	uint32_t fill_producer, fill_consumer, in_producer, in_consumer, flags;
	int wake[2], busy[2]; /* read by the queue: [0] */
};

static struct worker worker = {.stats = &worker.own_stats}; /* never started: we are it */

/* Puts letters into a socket pair until there are LETTERS, and says how many lacked. */
static unsigned post(int pair[2])
{
	unsigned left = 0;
	char c;

	while (recv(pair[0], &c, 1, MSG_DONTWAIT) == 1)
		left++;
	for (c = 0; c < LETTERS; c++)
		CU_ASSERT_EQUAL(send(pair[1], "x", 1, MSG_DONTWAIT), 1);
	return LETTERS - left;
}

static void make_rings(struct rig *r)
{
	struct umem *u = &r->q->umem;
	uint64_t addr;
	unsigned i;

	u->frame_size = UMEM_FRAME_SMALL;
	u->size = FRAMES * u->frame_size;
	u->area = aligned_alloc(4096, u->size);
	CU_ASSERT_PTR_NOT_NULL_FATAL(u->area);
	memset(u->area, 1, u->size);
	u->fill = (struct xsk_ring_prod){
		.mask = 2 * FRAMES - 1,
		.size = 2 * FRAMES,
		.cached_cons = 2 * FRAMES,
		.producer = &r->fill_producer,
		.consumer = &r->fill_consumer,
		.ring = calloc(2 * FRAMES, sizeof(uint64_t)),
		.flags = &r->flags,
	};
	r->socket.in = (struct xsk_ring_cons){
		.mask = RING - 1,
		.size = RING,
		.producer = &r->in_producer,
		.consumer = &r->in_consumer,
		.ring = calloc(RING, sizeof(struct xdp_desc)),
		.flags = &r->flags,
	};
	CU_ASSERT_FATAL(u->fill.ring && r->socket.in.ring);
	for (i = 0; i < FRAMES; i++) {
		addr = (uint64_t)i * u->frame_size;
		CU_ASSERT(umem_fill(u, &addr, 1));
	}
}

static struct rig *rig_new(void)
{
	struct rig *r = aligned_alloc(64, (sizeof(*r) + 63) / 64 * 64);
	struct nic_table *none;

	CU_ASSERT_PTR_NOT_NULL_FATAL(r);
	memset(r, 0, sizeof(*r));
	r->q = aligned_alloc(64, (sizeof(*r->q) + 63) / 64 * 64);
	CU_ASSERT_PTR_NOT_NULL_FATAL(r->q);
	memset(r->q, 0, sizeof(*r->q));
	make_rings(r);
	CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, r->wake), 0);
	CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, r->busy), 0);
	r->q->trunk.fd = r->wake[0];
	r->q->busy_fd = -1;
	r->q->out_fd = -1;
	r->socket.out = FRAME_PORT_NONE;
	r->socket.fd = -1;
	CU_ASSERT_EQUAL_FATAL(nic_queue_publish(r->q, &r->socket, NULL, &none), 0);
	r->nic.queues = 1;
	r->nic.queue[0] = r->q;
	r->nic.port.id = VXS_PORT_UPLINK;
	r->nic.port.stats = &r->stats;
	post(r->wake);
	post(r->busy);
	return r;
}

static void rig_free(struct rig *r)
{
	int i;

	for (i = 0; i < 2; i++) {
		close(r->wake[i]);
		close(r->busy[i]);
	}
	free(r->socket.in.ring);
	free(r->q->umem.fill.ring);
	free(r->q->umem.area);
	free(r->q->table);
	free(r->q);
	free(r);
}

/* What the kernel does: buffers from the fill ring, filled, into the receive ring. */
static void arrive(struct rig *r, unsigned n)
{
	const uint64_t *fill = r->q->umem.fill.ring;
	struct xdp_desc *in = r->socket.in.ring;

	while (n--)
		in[r->in_producer++ % RING] = (struct xdp_desc){
			.addr = fill[r->fill_consumer++ % (2 * FRAMES)],
			.len = LEN,
		};
}

static unsigned turn(struct rig *r)
{
	unsigned n = nic_in(&r->nic.port, &worker, 0, &r->b);

	if (n)
		nic_done(&r->nic.port, &worker, 0, &r->b);
	return n;
}

/* The fill ring's flag, and nothing else, has the worker call the driver. */
static void test_fill(void)
{
	struct rig *r = rig_new();
	unsigned i;

	for (i = 0; i < 1000; i++) {
		arrive(r, i % 3);
		CU_ASSERT_EQUAL(turn(r), i % 3);
	}
	CU_ASSERT_FALSE(nic_wait(&r->nic.port, &worker, 0, true));
	CU_ASSERT_FALSE(nic_wait(&r->nic.port, &worker, 0, false));
	CU_ASSERT_EQUAL(post(r->wake), 0);
	CU_ASSERT_EQUAL(r->stats.in_frames, 999);
	r->flags = XDP_RING_NEED_WAKEUP;
	for (i = 0; i < 50; i++) {
		arrive(r, 2);
		CU_ASSERT_EQUAL(turn(r), 2);
		CU_ASSERT_EQUAL(turn(r), 0);
	}
	CU_ASSERT_EQUAL(post(r->wake), 50); /* once a batch; nothing for rounds without frames */
	CU_ASSERT_FALSE(nic_wait(&r->nic.port, &worker, 0, true));
	CU_ASSERT_EQUAL(post(r->wake), 1);
	CU_ASSERT_EQUAL(post(r->busy), 0);
	rig_free(r);
}

/* Busy polling: one call for a round that finds nothing, none for one that finds frames. */
static void test_busy(void)
{
	struct rig *r = rig_new();
	unsigned i;

	r->q->busy_fd = r->busy[0];
	for (i = 0; i < 40; i++)
		CU_ASSERT_EQUAL(turn(r), 0);
	CU_ASSERT_EQUAL(post(r->busy), 40);
	CU_ASSERT_EQUAL(r->q->busy_polls, 40);
	CU_ASSERT_EQUAL(r->q->busy_hits, 0);
	for (i = 0; i < 200; i++) {
		arrive(r, 3);
		CU_ASSERT_EQUAL(turn(r), 3);
	}
	CU_ASSERT_EQUAL(post(r->busy), 0);
	CU_ASSERT_EQUAL(post(r->wake), 0);
	r->q->busy_fd = -1;
	for (i = 0; i < 40; i++)
		CU_ASSERT_EQUAL(turn(r), 0);
	CU_ASSERT_EQUAL(post(r->busy), 0);
	CU_ASSERT_EQUAL(r->q->busy_polls, 40);
	rig_free(r);
}

/*
 * Before it sleeps, a worker tells the driver that there are buffers. A socket that prefers busy
 * polling may fail to: then the worker stays awake until the driver has seen them.
 */
static void test_busy_sleep(void)
{
	struct rig *r = rig_new();

	r->q->busy_fd = r->busy[0];
	CU_ASSERT_FALSE(nic_wait(&r->nic.port, &worker, 0, true));
	CU_ASSERT_EQUAL(post(r->wake), 0);
	r->flags = XDP_RING_NEED_WAKEUP;
	CU_ASSERT_TRUE(nic_wait(&r->nic.port, &worker, 0, true));
	CU_ASSERT_EQUAL(post(r->wake), 1);
	r->flags = 0;
	CU_ASSERT_FALSE(nic_wait(&r->nic.port, &worker, 0, true));
	arrive(r, 1);
	CU_ASSERT_TRUE(nic_wait(&r->nic.port, &worker, 0, true));
	CU_ASSERT_EQUAL(turn(r), 1);
	CU_ASSERT_EQUAL(post(r->busy), 0); /* a wait is no poll */
	rig_free(r);
}

static const struct check tests[] = {
	{"fill", test_fill},
	{"busy", test_busy},
	{"busy_sleep", test_busy_sleep},
	{},
};

int main(int argc, char **argv)
{
	return check_main("nic_poll", tests, argc, argv);
}
