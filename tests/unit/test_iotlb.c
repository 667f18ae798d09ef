/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Guests behind an IOMMU: what is asked for, what is refused, and what is taken back. */
#include "vu_peer.h"

#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>

#include "switch/fdb.h"
#include "switch/switch.h"
#include "vm/vu_iotlb.h"

#define ACCESS   FEATURE(VIRTIO_F_ACCESS_PLATFORM)
#define PACKED   FEATURE(VIRTIO_F_RING_PACKED)
#define PAGE     VU_IOTLB_PAGE
#define BUFFER   0x123456000ull /* where the guest's driver says that its buffers are */
#define FRAME_AT 0x80000ull     /* in the file */
#define OTHER_AT 0x90000ull
#define LEN      72 /* a frame with its header of 12 bytes */
#define RO       VHOST_USER_ACCESS_RO
#define WO       VHOST_USER_ACCESS_WO
#define RW       (RO | WO)
#define INTO     t.vm->in[0]
#define OUT_OF   t.vm->out[0]

static uint32_t mix = 1;

static unsigned pick(unsigned n)
{
	mix = mix * 1664525 + 1013904223;
	return (mix >> 8) % n;
}

static struct {
	int back; /* our end of the channel */
	uint8_t *memory;
	bool packed;
	uint16_t at[2]; /* descriptors offered so far: of the receive queue, of the other */
	struct batch batch;
} g;

/* The front-end's word; its answer: 0, or 1 for no. */
static uint64_t tell(uint8_t type, uint64_t iova, uint64_t size, uint64_t uva, uint8_t perm)
{
	struct vhost_user_iotlb m = {iova, size, uva, perm, type, {0}};

	peer_send(VHOST_USER_IOTLB_MSG, 0, &m, sizeof(m), NULL, 0);
	return peer_reply(VHOST_USER_IOTLB_MSG, 8);
}

static uint64_t map(uint64_t iova, uint64_t size, uint64_t file_at, uint8_t perm)
{
	return tell(VHOST_USER_IOTLB_UPDATE, iova, size, PEER_UVA + file_at, perm);
}

static uint64_t unmap(uint64_t iova, uint64_t size)
{
	return tell(VHOST_USER_IOTLB_INVALIDATE, iova, size, 0, 0);
}

/* What workers reported, handled as the daemon does it. */
static void events(void)
{
	struct event e;

	while (worker_next_event(t.worker, &e))
		if (e.kind == EVENT_ABSENT)
			vm_absent(t.vm, e.key);
}

/* The next address that we are asked for, with its permission in bit 0 and 1; 0: none. */
static uint64_t asked(void)
{
	struct {
		struct vhost_user_header h;
		struct vhost_user_iotlb m;
	} __attribute__((packed)) q;

	events();
	if (recv(g.back, &q, sizeof(q), MSG_DONTWAIT) != (ssize_t)sizeof(q))
		return 0;
	CU_ASSERT(q.h.request == VHOST_USER_BACKEND_IOTLB_MSG && q.h.size == sizeof(q.m));
	CU_ASSERT(q.m.type == VHOST_USER_IOTLB_MISS && q.m.perm && q.m.iova % PAGE == 0);
	return q.m.iova | q.m.perm;
}

static void connect_with(uint64_t features, bool channel)
{
	int fds[2];

	peer_connect();
	peer_u64(VHOST_USER_SET_PROTOCOL_FEATURES, FEATURE(VHOST_USER_PROTOCOL_F_BACKEND_REQ));
	if (g.back >= 0)
		close(g.back);
	g.back = -1;
	if (channel) {
		CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
		peer_send(VHOST_USER_SET_BACKEND_REQ_FD, 0, NULL, 0, &fds[1], 1);
		close(fds[1]);
		g.back = fds[0];
	}
	peer_u64(VHOST_USER_SET_FEATURES, VERSION_1 | BIT30 | features);
	peer_memory_at(PEER_UVA);
}

/* Rings at addresses that are, by chance, the front-end's own. */
static void start_ring(uint32_t i)
{
	peer_state(VHOST_USER_SET_VRING_ENABLE, i, 1);
	peer_ring_but_kick(i);
	if (g.packed)
		peer_state(VHOST_USER_SET_VRING_BASE, i, 0x80008000);
	close(peer_eventfd(VHOST_USER_SET_VRING_KICK, i));
}

static void guest_new(uint64_t features)
{
	peer_setup(1);
	memset(&t.stats, 0, sizeof(t.stats));
	memset(&g, 0, sizeof(g));
	g.back = -1;
	g.packed = features & PACKED;
	g.memory = mmap(NULL, PEER_MEM, PROT_READ | PROT_WRITE, MAP_SHARED, t.memory, 0);
	CU_ASSERT_FATAL(g.memory != MAP_FAILED);
	connect_with(features | ACCESS, true);
}

/* Rings run, and nothing else is known. */
static void guest_start(void)
{
	unsigned n = 0;

	start_ring(0);
	start_ring(1);
	while (asked())
		n++;
	CU_ASSERT(n == 2 * 3 && !INTO && !OUT_OF); /* all parts of both, at once */
	CU_ASSERT_EQUAL(map(PEER_UVA, 2 * PEER_RING, 0, RW), 0);
	CU_ASSERT_FATAL(INTO && OUT_OF);
	CU_ASSERT_EQUAL(asked(), 0);
}

static void guest_end(void)
{
	munmap(g.memory, PEER_MEM);
	close(g.back);
	peer_end();
	CU_ASSERT_EQUAL(count_maps(), 0);
}

/* A buffer of one descriptor on queue 0 or 1. */
static void offer(unsigned queue, uint64_t iova, uint32_t len)
{
	uint8_t *ring = g.memory + queue * PEER_RING;
	uint16_t at = g.at[queue]++, write = queue ? 0 : VRING_DESC_F_WRITE;
	struct vring_packed_desc *p = (void *)ring;
	struct vring_avail *avail = (void *)(ring + PEER_AVAIL);
	struct vring_desc *d = (void *)ring;

	if (g.packed) {
		p[at].addr = iova;
		p[at].len = len;
		p[at].id = at;
		__atomic_store_n(&p[at].flags, write | 1u << VRING_PACKED_DESC_F_AVAIL,
				 __ATOMIC_RELEASE);
		return;
	}
	d[at] = (struct vring_desc){.addr = iova, .len = len, .flags = write};
	avail->ring[at] = at;
	__atomic_store_n(&avail->idx, g.at[queue], __ATOMIC_RELEASE);
}

static void write_frame(uint64_t file_at, uint8_t first)
{
	memset(g.memory + file_at, 0, LEN);
	memset(g.memory + file_at + 12, 0xff, 6);
	g.memory[file_at + 12 + 6] = 2;
	g.memory[file_at + 12 + 13] = first;
}

/* The byte that write_frame() wrote of the one frame that comes; 0: none does. */
static uint8_t take(void)
{
	struct port *p = &t.vm->port;
	uint8_t got = 0;

	if (p->ops->in(p, t.worker, 0, &g.batch)) {
		CU_ASSERT_EQUAL(g.batch.n, 1);
		CU_ASSERT_EQUAL(g.batch.frame[0].len, LEN - 12);
		got = g.batch.frame[0].head[FRAME_HEAD_ROOM + 13];
		p->ops->done(p, t.worker, 0, &g.batch);
	}
	return got;
}

/* Sends one frame of 200 bytes of 0x5a to the guest; true: it took it. */
static bool put(void)
{
	static const uint16_t which[] = {0};
	static uint8_t bytes[200];
	uint64_t before = t.stats.out_frames;
	struct port *p = &t.vm->port;

	memset(bytes, 0x5a, sizeof(bytes));
	memset(&g.batch.frame[0], 0x5a, sizeof(g.batch.frame[0]));
	g.batch.n = 1;
	g.batch.open = false;
	g.batch.frame[0].len = sizeof(bytes);
	g.batch.frame[0].piece = 0;
	g.batch.frame[0].shape = (struct frame_shape){.n_pieces = 1};
	memset(&g.batch.frame[0].offload, 0, sizeof(g.batch.frame[0].offload));
	g.batch.piece[0] = (struct piece){bytes, sizeof(bytes)};
	p->ops->out(p, t.worker, &g.batch, which, 1);
	return t.stats.out_frames != before;
}

/* The guest's frames wait for what the front-end says; a worker may sleep meanwhile. */
static void in_both(void)
{
	struct port *p = &t.vm->port;

	guest_start();
	write_frame(FRAME_AT, 'a');
	write_frame(OTHER_AT, 'b');
	offer(1, BUFFER + 100, LEN);
	CU_ASSERT_EQUAL(take(), 0);
	CU_ASSERT_EQUAL(asked(), BUFFER | RO);
	CU_ASSERT_EQUAL(take(), 0);
	CU_ASSERT_EQUAL(asked(), 0); /* once is enough */
	CU_ASSERT_FALSE(p->ops->wait(p, t.worker, 0, true));
	p->ops->wait(p, t.worker, 0, false);
	/* what may be written only is not read */
	CU_ASSERT_EQUAL(map(BUFFER, PAGE, FRAME_AT, WO), 0);
	CU_ASSERT_EQUAL(take(), 0);
	CU_ASSERT_EQUAL(map(BUFFER, PAGE, FRAME_AT, RO), 0);
	memcpy(g.memory + FRAME_AT + 100, g.memory + FRAME_AT, LEN);
	CU_ASSERT_EQUAL(take(), 'a');
	CU_ASSERT_EQUAL(t.stats.in_frames, 1);
	/* it is known from now on, until it is taken back */
	offer(1, BUFFER, LEN);
	CU_ASSERT_EQUAL(take(), 'a');
	CU_ASSERT_EQUAL(unmap(BUFFER, PAGE), 0);
	offer(1, BUFFER, LEN);
	CU_ASSERT_EQUAL(take(), 0);
	CU_ASSERT_EQUAL(asked(), BUFFER | RO);
	CU_ASSERT_EQUAL(map(BUFFER, PAGE, OTHER_AT, RW), 0);
	CU_ASSERT_EQUAL(take(), 'b');
	/* or replaced */
	CU_ASSERT_EQUAL(map(BUFFER - PAGE, 3 * PAGE, FRAME_AT - PAGE, RW), 0);
	offer(1, BUFFER, LEN);
	CU_ASSERT_EQUAL(take(), 'a');
	/* two pages that are neighbours for the guest alone */
	CU_ASSERT_EQUAL(map(BUFFER + PAGE, PAGE, OTHER_AT, RW), 0);
	memcpy(g.memory + FRAME_AT + PAGE - 20, g.memory + OTHER_AT, 20);
	memmove(g.memory + OTHER_AT, g.memory + OTHER_AT + 20, LEN - 20);
	offer(1, BUFFER + PAGE - 20, LEN);
	CU_ASSERT_EQUAL(take(), 'b');
	/* the end of a frame is somewhere that nobody knows: nothing of it is taken */
	CU_ASSERT_EQUAL(unmap(BUFFER + PAGE, PAGE), 0);
	offer(1, BUFFER + PAGE - 40, LEN);
	CU_ASSERT_EQUAL(take(), 0);
	CU_ASSERT_EQUAL(asked(), (BUFFER + PAGE) | RO);
	CU_ASSERT_EQUAL(INTO->broken, VQ_OK);
	CU_ASSERT_EQUAL(t.stats.in_frames, 5);
	guest_end();
}

static void test_in(void)
{
	guest_new(0);
	in_both();
	guest_new(PACKED);
	in_both();
}

/* Frames to the guest are dropped meanwhile; nothing is written where it must not be. */
static void out_both(void)
{
	unsigned i, written = 0;

	guest_start();
	offer(0, BUFFER, 1000);
	CU_ASSERT_FALSE(put());
	CU_ASSERT_EQUAL(asked(), BUFFER | WO);
	CU_ASSERT_FALSE(put());
	CU_ASSERT_EQUAL(asked(), 0);
	CU_ASSERT_EQUAL(t.stats.drops.memory_absent, 2);
	CU_ASSERT_EQUAL(map(BUFFER, PAGE, FRAME_AT, RO), 0);
	CU_ASSERT_FALSE(put());
	for (i = 0; i < PAGE; i++)
		written += g.memory[FRAME_AT + i];
	CU_ASSERT_EQUAL(written, 0);
	CU_ASSERT_EQUAL(map(BUFFER, PAGE, FRAME_AT, RW), 0);
	CU_ASSERT_TRUE(put());
	CU_ASSERT(g.memory[FRAME_AT + 12] == 0x5a && g.memory[FRAME_AT + 211] == 0x5a);
	CU_ASSERT_EQUAL(g.memory[FRAME_AT + 212], 0);
	/* a right that is taken away */
	CU_ASSERT_EQUAL(map(BUFFER, PAGE, OTHER_AT, RO), 0);
	offer(0, BUFFER, 1000);
	CU_ASSERT_FALSE(put());
	CU_ASSERT_EQUAL(map(BUFFER, PAGE, OTHER_AT, WO), 0);
	CU_ASSERT_TRUE(put());
	CU_ASSERT_EQUAL(g.memory[OTHER_AT + 12], 0x5a);
	CU_ASSERT(t.stats.drops.memory_absent == 4 && t.stats.out_frames == 2);
	CU_ASSERT_EQUAL(OUT_OF->broken, VQ_OK);
	guest_end();
}

static void test_out(void)
{
	guest_new(0);
	out_both();
	guest_new(PACKED);
	out_both();
}

/* What is offered behind a buffer that nobody knows is asked for with it. */
static void ahead_both(void)
{
	unsigned i;

	guest_start();
	for (i = 0; i < 4; i++)
		offer(0, BUFFER + i * PAGE, 1000);
	CU_ASSERT_FALSE(put());
	for (i = 0; i < 4; i++)
		CU_ASSERT_EQUAL(asked(), (BUFFER + i * PAGE) | WO);
	CU_ASSERT_EQUAL(asked(), 0);
	CU_ASSERT_EQUAL(map(BUFFER, 4 * PAGE, FRAME_AT, RW), 0);
	for (i = 0; i < 4; i++)
		CU_ASSERT_TRUE(put());
	CU_ASSERT_EQUAL(t.stats.drops.memory_absent, 1);
	guest_end();
}

static void test_ahead(void)
{
	guest_new(0);
	ahead_both();
	guest_new(PACKED);
	ahead_both();
}

/*
 * All is taken back at once, as Linux has it done after each few frames: rings are asked for, and
 * then what the guest still offers, before a frame comes for it; nothing twice.
 */
static void flush_both(void)
{
	const uint64_t ring = PEER_UVA;
	unsigned i, lap;

	guest_start();
	CU_ASSERT_EQUAL(map(BUFFER, 16 * PAGE, FRAME_AT, RW), 0);
	/* the last one ends in the next page */
	for (i = 0; i < 8; i++)
		offer(0, BUFFER + i * PAGE + (i == 7 ? PAGE - 100 : 0), 1000);
	for (lap = 0; lap < 3; lap++) {
		CU_ASSERT_TRUE(put());
		CU_ASSERT_EQUAL(unmap(BUFFER, -BUFFER), 0); /* in two halves, as QEMU does */
		CU_ASSERT_EQUAL(unmap(0, BUFFER), 0);
		CU_ASSERT(!INTO && !OUT_OF);
		for (i = 0; i < 2 * 3; i++)
			CU_ASSERT_EQUAL(asked() & -PAGE, ring + i / 3 * PEER_RING + i % 3 * PAGE);
		for (i = lap + 1; i < 8; i++)
			CU_ASSERT_EQUAL(asked(), (BUFFER + i * PAGE) | WO);
		CU_ASSERT_EQUAL(asked(), (BUFFER + 8 * PAGE) | WO);
		CU_ASSERT_EQUAL(asked(), 0);
		CU_ASSERT_EQUAL(map(PEER_UVA, 2 * PEER_RING, 0, RW), 0);
		CU_ASSERT_FATAL(INTO && OUT_OF);
		CU_ASSERT_EQUAL(unmap(0, 0), 0); /* answers to what was asked are still to come */
		CU_ASSERT_EQUAL(map(PEER_UVA, 2 * PEER_RING, 0, RW), 0);
		for (i = 0; i < 2 * 3; i++)
			CU_ASSERT_EQUAL(asked() & -PAGE, ring + i / 3 * PEER_RING + i % 3 * PAGE);
		CU_ASSERT_EQUAL(asked(), 0);
		CU_ASSERT_EQUAL(map(BUFFER, 16 * PAGE, FRAME_AT, RW), 0);
	}
	CU_ASSERT_EQUAL(t.stats.drops.memory_absent, 0);
	CU_ASSERT_EQUAL(t.stats.out_frames, 3);
	guest_end();
}

/* A table is only read, though what it lists is to be written: asked for so, it looks misused. */
static void tables_both(void)
{
	unsigned i;

	guest_start();
	for (i = 0; i < 4; i++)
		offer(0, BUFFER + i * PAGE, 1000);
	*(uint16_t *)(g.memory + 2 * 16 + (g.packed ? 14 : 12)) ^= VRING_DESC_F_WRITE |
								   VRING_DESC_F_INDIRECT;
	CU_ASSERT_FALSE(put());
	while (asked())
		;
	CU_ASSERT_EQUAL(map(BUFFER, 4 * PAGE, FRAME_AT, RW), 0);
	CU_ASSERT_EQUAL(unmap(0, 0), 0);
	for (i = 0; i < 2 * 3; i++)
		asked();
	for (i = 0; i < 4; i++)
		CU_ASSERT(i == 2 || asked() == ((BUFFER + i * PAGE) | WO));
	CU_ASSERT_EQUAL(asked(), 0);
	guest_end();
}

static void test_flush(void)
{
	guest_new(0);
	flush_both();
	guest_new(PACKED);
	flush_both();
	guest_new(0);
	tables_both();
	guest_new(PACKED);
	tables_both();
}

/* Parts that begin in the middle of a page, and end in the one behind. */
static void test_odd(void)
{
	const uint64_t at = BUFFER + PAGE - 16 * PEER_SIZE / 2;
	struct vhost_user_vring_addr addr = {.index = 1,
					     .desc = at,
					     .avail = at + 2 * PAGE + 8 * PEER_SIZE - 2,
					     .used = at + 4 * PAGE + 8 * PEER_SIZE - 4};
	unsigned i;

	guest_new(0);
	peer_state(VHOST_USER_SET_VRING_ENABLE, 1, 1);
	peer_ring_but_kick(1);
	peer_send(VHOST_USER_SET_VRING_ADDR, 0, &addr, sizeof(addr), NULL, 0);
	close(peer_eventfd(VHOST_USER_SET_VRING_KICK, 1));
	for (i = 0; i < 6; i++)
		CU_ASSERT_EQUAL(asked(), (BUFFER + i * PAGE) | (i < 4 ? RO : WO));
	CU_ASSERT_EQUAL(asked(), 0);
	guest_end();
}

/* A ring needs all of its parts, writable where we write, and in one piece; it comes and goes. */
static void test_ring(void)
{
	const uint64_t ring = PEER_UVA + PEER_RING;
	struct vm_state state;

	guest_new(0);
	start_ring(1);
	CU_ASSERT_EQUAL(asked(), ring | RO);
	CU_ASSERT_EQUAL(asked(), (ring + PEER_AVAIL) | RO);
	CU_ASSERT_EQUAL(asked(), (ring + PEER_USED) | WO);
	CU_ASSERT_EQUAL(asked(), 0);
	CU_ASSERT_EQUAL(map(ring, 2 * PAGE, PEER_RING, RO), 0);
	CU_ASSERT_EQUAL(asked(), 0); /* it is on its way */
	CU_ASSERT_EQUAL(map(ring + PEER_USED, PAGE, PEER_RING + PEER_USED, RO), 0);
	CU_ASSERT_PTR_NULL(INTO);
	vm_state(t.vm, &state);
	CU_ASSERT(!state.rests && !state.running); /* one of two */
	CU_ASSERT(state.why_not && strstr(state.why_not, "not there yet"));
	CU_ASSERT_EQUAL(map(ring + PEER_USED, PAGE, PEER_RING + PEER_USED, RW), 0);
	CU_ASSERT_PTR_NOT_NULL_FATAL(INTO);
	INTO->avail_at = 3;
	while (asked())
		;
	/* each of its parts, alone and among others */
	CU_ASSERT_EQUAL(unmap(ring + PEER_AVAIL, PAGE), 0);
	CU_ASSERT_PTR_NULL(INTO);
	CU_ASSERT_EQUAL(asked(), (ring + PEER_AVAIL) | RO);
	CU_ASSERT_EQUAL(map(ring + PEER_AVAIL, PAGE, PEER_RING + PEER_AVAIL, RO), 0);
	CU_ASSERT(INTO && INTO->avail_at == 3);
	CU_ASSERT_EQUAL(unmap(0, 0), 0);
	CU_ASSERT_PTR_NULL(INTO);
	CU_ASSERT_EQUAL(map(PEER_UVA, 2 * PEER_RING, 0, RW), 0);
	CU_ASSERT(INTO && INTO->avail_at == 3);
	/* its memory is elsewhere now */
	CU_ASSERT_EQUAL(map(ring, 4 * PAGE, OTHER_AT, RW), 0);
	CU_ASSERT(INTO && INTO->desc == (void *)(t.vm->in[0]->mem->region[0].at + OTHER_AT));
	/* descriptors in two pieces: it rests, and the port says why */
	peer_state(VHOST_USER_SET_VRING_NUM, 1, 512);
	CU_ASSERT_EQUAL(map(ring + PAGE, PAGE, FRAME_AT, RW), 0);
	CU_ASSERT_PTR_NULL(INTO);
	CU_ASSERT_FALSE(peer_is_closed());
	vm_state(t.vm, &state);
	CU_ASSERT(state.why_not && strstr(state.why_not, "queue 1 is not in"));
	/* new features: all is forgotten */
	peer_state(VHOST_USER_SET_VRING_NUM, 1, PEER_SIZE);
	peer_u64(VHOST_USER_SET_FEATURES, VERSION_1 | BIT30 | ACCESS);
	CU_ASSERT_PTR_NULL(INTO);
	peer_u64(VHOST_USER_SET_FEATURES, VERSION_1 | BIT30); /* the same numbers, as addresses */
	CU_ASSERT_PTR_NOT_NULL(INTO);
	guest_end();
}

static void test_refused(void)
{
	static const struct {
		uint64_t iova, size, uva;
		uint8_t perm, type;
	} bad[] = {
		{BUFFER, 0, PEER_UVA, RW, VHOST_USER_IOTLB_UPDATE},
		{BUFFER, 1, PEER_UVA, RW, VHOST_USER_IOTLB_UPDATE},
		{BUFFER + 1, PAGE, PEER_UVA, RW, VHOST_USER_IOTLB_UPDATE},
		{BUFFER, PAGE, PEER_UVA + 8, RW, VHOST_USER_IOTLB_UPDATE},
		{BUFFER, PAGE, PEER_UVA - PAGE, RW, VHOST_USER_IOTLB_UPDATE},
		{BUFFER, PEER_MEM + PAGE, PEER_UVA, RW, VHOST_USER_IOTLB_UPDATE},
		{BUFFER, PAGE, PEER_UVA + PEER_MEM, RW, VHOST_USER_IOTLB_UPDATE},
		{-PAGE, 2 * PAGE, PEER_UVA, RW, VHOST_USER_IOTLB_UPDATE},
		{BUFFER, 2 * PAGE, -PAGE, RW, VHOST_USER_IOTLB_UPDATE},
		{0, UINT64_MAX, 0, RW, VHOST_USER_IOTLB_UPDATE},
		{0, -PAGE, 0, RW, VHOST_USER_IOTLB_UPDATE},
		{BUFFER, PAGE, PEER_UVA, 0, VHOST_USER_IOTLB_UPDATE},
		{BUFFER, PAGE, PEER_UVA, 4, VHOST_USER_IOTLB_UPDATE},
		{BUFFER, PAGE, PEER_UVA, RW, 0},
		{BUFFER, PAGE, PEER_UVA, RW, VHOST_USER_IOTLB_MISS},
		{BUFFER, PAGE, PEER_UVA, RW, VHOST_USER_IOTLB_ACCESS_FAIL},
		{BUFFER, PAGE, PEER_UVA, RW, 9},
	};
	struct vm_state state;
	unsigned i;

	guest_new(0);
	guest_start();
	for (i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		CU_ASSERT_EQUAL(
			tell(bad[i].type, bad[i].iova, bad[i].size, bad[i].uva, bad[i].perm), 1);
	CU_ASSERT_FALSE(peer_is_closed());
	CU_ASSERT_EQUAL(INTO->mem->iotlb->table->n, 1);
	/* invalidations of whatever size are honoured */
	CU_ASSERT_EQUAL(unmap(UINT64_MAX, UINT64_MAX), 0);
	CU_ASSERT_PTR_NOT_NULL(INTO);
	CU_ASSERT_EQUAL(unmap(PEER_UVA - 1, 2), 0);
	CU_ASSERT_PTR_NULL(OUT_OF);
	/* memory that went away behind an entry is asked for again */
	CU_ASSERT_EQUAL(map(PEER_UVA, 2 * PEER_RING, 0, RW), 0);
	CU_ASSERT_PTR_NOT_NULL_FATAL(INTO);
	peer_memory_at(PEER_UVA + PEER_MEM);
	CU_ASSERT(!INTO && !peer_is_closed());
	/* without the feature there is no such message */
	connect_with(0, true);
	CU_ASSERT_EQUAL(map(BUFFER, PAGE, FRAME_AT, RW), PEER_SILENCE);
	CU_ASSERT_TRUE(peer_is_closed());
	/* without a channel nothing can be asked for, which the port says */
	connect_with(ACCESS, false);
	start_ring(1);
	vm_state(t.vm, &state);
	CU_ASSERT(state.why_not && strstr(state.why_not, "channel"));
	CU_ASSERT_EQUAL(map(PEER_UVA, 2 * PEER_RING, 0, RW), 0);
	CU_ASSERT_PTR_NOT_NULL(INTO);
	guest_end();
}

/* Many at once: one question for each page, however often it is wanted; a full channel harms no
 * one.
 */
static void test_storm(void)
{
	unsigned i, n = 0, refused = 0;

	guest_new(0);
	guest_start();
	for (i = 0; i < 1000; i++)
		vm_absent(t.vm, (BUFFER + 8 * (i % 3)) | VU_ABSENT | VU_ABSENT_IOVA);
	while (asked())
		n++;
	CU_ASSERT_EQUAL(n, 1);
	/* who reads all we ask, and answers none of it, has us ask no more for now */
	for (i = 0, n = 0; i < 20000; i++) {
		vm_absent(t.vm, (BUFFER + i % 400 * PAGE) | VU_ABSENT | VU_ABSENT_IOVA);
		n += !!asked();
	}
	CU_ASSERT(n > 200 && n < 2000);
	for (i = 0; i < 20000; i++)
		vm_absent(t.vm, (BUFFER + i * PAGE) | VU_ABSENT | VU_ABSENT_IOVA);
	CU_ASSERT_FALSE(peer_is_closed());
	for (i = 0; i < 3000; i++) {
		uint64_t at = BUFFER + pick(4096) * PAGE, size = (1 + pick(16)) * PAGE;

		refused += pick(3) ? map(at, size, pick(200) * PAGE, 1 + pick(3)) : unmap(at, size);
	}
	CU_ASSERT_EQUAL(refused, 0);
	CU_ASSERT(INTO && OUT_OF && !peer_is_closed());
	guest_end();
}

/*
 * A worker takes frames while their page is taken back and given again. Once that was answered
 * nobody reads it any more: what stands there then would be counted as a bad source.
 */
static void under_traffic(uint64_t features)
{
	struct port_table ports = {.n = 1};
	struct sources *sources = calloc(1, sizeof(*sources) + sizeof(sources->source[0]));
	struct vswitch sw = {.fdb = fdb_new(), .ports = &ports};
	struct pollfd call = {.events = POLLIN}; /* each batch that was given back */
	unsigned i, k;
	eventfd_t n;

	guest_new(features);
	guest_start();
	call.fd = peer_eventfd(VHOST_USER_SET_VRING_CALL, 1);
	CU_ASSERT_EQUAL(map(BUFFER, PAGE, FRAME_AT, RW), 0);
	write_frame(FRAME_AT, 'a');
	sources->n = 1;
	sources->source[0] = (struct source){.port = &t.vm->port};
	ports.all[0] = ports.by_id[t.vm->port.id] = &t.vm->port;
	t.worker->sw = &sw;
	t.worker->sources = sources;
	t.worker->poll = POLL_BUSY;
	CU_ASSERT_EQUAL_FATAL(worker_start(t.worker), 0);
	for (i = 0; i < PEER_SIZE - 1; i++) {
		offer(1, BUFFER, LEN);
		if (i % 2)
			continue;
		for (k = 0; k < pick(2000); k++)
			__asm__ volatile("");
		CU_ASSERT_EQUAL(unmap(BUFFER, PAGE), 0);
		g.memory[FRAME_AT + 12 + 6] = 3; /* not ours any more: multicast */
		for (k = 0; k < pick(4000); k++)
			__asm__ volatile("");
		g.memory[FRAME_AT + 12 + 6] = 2;
		CU_ASSERT_EQUAL(map(BUFFER, PAGE, FRAME_AT, RW), 0);
	}
	while (__atomic_load_n(&t.stats.in_frames, __ATOMIC_RELAXED) < PEER_SIZE - 1) {
		CU_ASSERT_EQUAL_FATAL(poll(&call, 1, 20000), 1);
		eventfd_read(call.fd, &n);
		events();
	}
	worker_stop(t.worker);
	close(call.fd);
	CU_ASSERT_EQUAL(t.stats.in_frames, PEER_SIZE - 1);
	CU_ASSERT_EQUAL(t.stats.drops.bad_source, 0);
	guest_end();
	free(sources);
	fdb_free(sw.fdb);
}

static void test_traffic(void)
{
	under_traffic(0);
	under_traffic(PACKED);
}

int main(int argc, char **argv)
{
	static const struct check tests[] = {
		{"in", test_in},       {"out", test_out},         {"ahead", test_ahead},
		{"flush", test_flush}, {"odd", test_odd},         {"ring", test_ring},
		{"storm", test_storm}, {"refused", test_refused}, {"traffic", test_traffic},
		{NULL, NULL},
	};

	return check_main("iotlb", tests, argc, argv);
}
