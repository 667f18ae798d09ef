/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The split ring with guests that break the rules: each fault stops the queue under its own name.
 */
#include "vq_rig.h"

#include <stdio.h>
#include <sys/mman.h>
#include <time.h>

/*
 * Built with AddressSanitizer these tests also show that nothing outside the guest's memory is
 * touched: each region is an allocation of exactly its size (see vq_rig.h).
 */

#define NEXT     VRING_DESC_F_NEXT
#define WRITE    VRING_DESC_F_WRITE
#define INDIRECT VRING_DESC_F_INDIRECT
#define UNMAPPED 0x900000ull
#define TABLE    (RIG_DATA + 0x20000)

static uint8_t frame[FRAME_MAX];

/* A ring of 16 with one chain that is whole, in front of the bad one; tests change the rest. */
static struct rig *start(uint64_t features)
{
	struct rig *r = rig_new(16, RIG_V1 | features, 0);

	memset(r->desc, 0xff, 16 * sizeof(*r->desc));
	return r;
}

/*
 * One frame through chain 0 (good), then the bad one from @head, towards the switch. The good one
 * is delivered and given back, the queue breaks for reason @why and is left alone from then on.
 */
static bool in_breaks(struct rig *r, uint16_t head, enum vq_broken why)
{
	unsigned frames = 0, i;
	bool ok;

	rig_desc(r->desc, 15, RIG_DATA, 72, 0, 0);
	rig_offer(r, 15);
	rig_offer(r, head);
	rig_offer(r, 15);
	for (i = 0; i < 3; i++) {
		rig_in(r);
		frames += r->b.n;
		vq_split_done(r->q);
	}
	ok = frames == 1 && r->used->idx == 1 && r->used->ring[0].id == 15 && r->q->broken == why;
	if (!ok)
		printf("in: %u frames, %u used, %s\n", frames, r->used->idx,
		       vq_broken_text(r->q->broken));
	rig_free(r);
	return ok;
}

/* The same towards the guest. */
static bool out_breaks(struct rig *r, uint16_t head, enum vq_broken why)
{
	unsigned n;
	bool ok;

	rig_desc(r->desc, 15, RIG_DATA, 2048, WRITE, 0);
	rig_offer(r, 15);
	rig_offer(r, head);
	rig_offer(r, 15);
	rig_make_frame(r, frame, 1000, 1);
	rig_make_frame(r, frame, 1000, 3);
	rig_make_frame(r, frame, 60, 1);
	n = rig_out(r);
	n += rig_out(r);
	ok = n == 1 && r->used->idx == 1 && r->used->ring[0].id == 15 && r->q->broken == why &&
	     r->stats.drops.queue_broken == 5;
	if (!ok)
		printf("out: %u frames, %u used, %llu dropped, %s\n", n, r->used->idx,
		       (unsigned long long)r->stats.drops.queue_broken,
		       vq_broken_text(r->q->broken));
	rig_free(r);
	return ok;
}

/* Chain 0 of @n descriptors of 4 bytes each; the last one's flags and next are the test's. */
static struct rig *chain(uint64_t features, unsigned n, uint16_t write, uint16_t flags,
			 uint16_t next)
{
	struct rig *r = start(features);
	unsigned i;

	for (i = 0; i < n; i++)
		rig_desc(r->desc, i, RIG_DATA + 0x10000 + 4 * i, 4, write | NEXT, i + 1);
	r->desc[n - 1].flags = write | flags;
	r->desc[n - 1].next = next;
	return r;
}

static void test_heads(void)
{
	static const uint16_t head[] = {16, 17, 0x8000, 0xffff};
	unsigned i;

	for (i = 0; i < 4; i++) {
		CU_ASSERT(in_breaks(start(0), head[i], VQ_BAD_HEAD));
		CU_ASSERT(out_breaks(start(0), head[i], VQ_BAD_HEAD));
		CU_ASSERT(in_breaks(chain(0, 3, 0, NEXT, head[i]), 0, VQ_BAD_HEAD));
		CU_ASSERT(out_breaks(chain(0, 3, WRITE, NEXT, head[i]), 0, VQ_BAD_HEAD));
	}
}

static void test_loops(void)
{
	unsigned back;

	for (back = 0; back < 4; back++) {
		CU_ASSERT(in_breaks(chain(0, 4, 0, NEXT, back), 0, VQ_BAD_CHAIN));
		CU_ASSERT(out_breaks(chain(0, 4, WRITE, NEXT, back), 0, VQ_BAD_CHAIN));
	}
}

static void test_order(void)
{
	struct rig *r;
	unsigned i;

	for (i = 0; i < 4; i++) {
		r = chain(0, 4, 0, 0, 0);
		r->desc[i].flags |= WRITE;
		CU_ASSERT(in_breaks(r, 0, VQ_BAD_ORDER));
		r = chain(0, 4, WRITE, 0, 0);
		r->desc[i].flags &= ~WRITE;
		CU_ASSERT(out_breaks(r, 0, VQ_BAD_ORDER));
	}
}

static void test_short_header(void)
{
	unsigned n;

	for (n = 1; n <= 2; n++)
		CU_ASSERT(in_breaks(chain(0, n, 0, 0, 0), 0, VQ_BAD_HEADER));
	/* zero-length chains have no header either */
	for (n = 1; n <= 4; n++) {
		struct rig *r = chain(0, n, 0, 0, 0);
		unsigned i;

		for (i = 0; i < n; i++)
			r->desc[i].len = 0;
		CU_ASSERT(in_breaks(r, 0, VQ_BAD_HEADER));
	}
}

/* Addresses that are not, or not wholly, guest memory. */
static void test_addresses(void)
{
	static const struct {
		uint64_t addr;
		uint32_t len;
	} bad[] = {
		{UNMAPPED, 1100},
		{0, 1100},
		{UINT64_MAX, 1100},
		{UINT64_MAX - 1099, 1100},
		{RIG_DATA - 1, 1100},                  /* begins before a region */
		{RIG_NEXT + RIG_NEXT_SIZE - 16, 1100}, /* ends behind the last of two */
		{RIG_NEXT + RIG_NEXT_SIZE, 1100},
		{RIG_FAR + RIG_FAR_SIZE - 16, 1100}, /* ends behind one that is alone */
		{RIG_FAR, UINT32_MAX},
	};
	struct rig *r;
	unsigned i;

	for (i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		r = chain(0, 1, 0, 0, 0);
		rig_desc(r->desc, 0, bad[i].addr, bad[i].len, 0, 0);
		CU_ASSERT(in_breaks(r, 0, VQ_BAD_ADDRESS));
		r = chain(0, 1, 0, 0, 0);
		rig_desc(r->desc, 0, bad[i].addr, bad[i].len, WRITE, 0);
		CU_ASSERT(out_breaks(r, 0, VQ_BAD_ADDRESS));
		/* the same behind a header that is all right */
		r = chain(0, 4, 0, 0, 0);
		rig_desc(r->desc, 3, bad[i].addr, bad[i].len, 0, 0);
		CU_ASSERT(in_breaks(r, 0, VQ_BAD_ADDRESS));
		r = chain(0, 4, WRITE, 0, 0);
		rig_desc(r->desc, 3, bad[i].addr, bad[i].len, WRITE, 0);
		CU_ASSERT(out_breaks(r, 0, VQ_BAD_ADDRESS));
	}
}

/*
 * Guests of 4 GB and more: lengths whose sum passes 2^32 must not look like a short frame, whose
 * pieces would then be copied with their true length.
 */
static void test_length_wraps(void)
{
	static const uint32_t len[] = {UINT32_MAX, UINT32_MAX - 1, UINT32_MAX - 50,
				       UINT32_MAX - 65553, 1u << 31};
	uint64_t size = 5ull << 30, gpa = 1ull << 40;
	void *at = mmap(NULL, size, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	struct rig *r = start(0);
	unsigned i, j, n = sizeof(len) / sizeof(*len);

	if (at == MAP_FAILED) {
		rig_free(r);
		check_skip("no room for 5 GB of addresses");
		return;
	}
	r->mem.region[r->mem.n++] = (struct vu_region){.gpa = gpa, .size = size, .at = at};
	for (i = 0; i < n; i++) {
		for (j = 0; j < 3; j++) {
			rig_desc(r->desc, 0, RIG_DATA, 12 + 100, NEXT, 1);
			rig_desc(r->desc, 1, gpa, len[i], j ? NEXT : 0, 2);
			rig_desc(r->desc, 2, gpa, j == 1 ? len[i] : 1u << 31, 0, 0);
			rig_offer(r, 0);
			CU_ASSERT_EQUAL(rig_in(r), 1);
			CU_ASSERT_EQUAL(r->b.n, 0);
			vq_split_done(r->q);
		}
	}
	CU_ASSERT_EQUAL(r->stats.drops.long_frame, 3 * n);
	CU_ASSERT_EQUAL(r->q->broken, VQ_OK);
	munmap(at, size);
	rig_free(r);
}

/* A bogus address with no bytes is never looked at. */
static void test_empty_bogus(void)
{
	struct rig *r = start(0);

	rig_desc(r->desc, 0, UNMAPPED, 0, NEXT, 1);
	rig_desc(r->desc, 1, RIG_DATA, 72, NEXT, 2);
	rig_desc(r->desc, 2, UINT64_MAX, 0, 0, 0);
	rig_offer(r, 0);
	CU_ASSERT(rig_in(r) == 1 && r->b.n == 1 && r->b.frame[0].len == 60);
	vq_split_done(r->q);
	CU_ASSERT(!r->q->broken);
	rig_free(r);
}

/* Runs one bad indirect descriptor both ways. */
static void indirect(uint64_t features, uint64_t addr, uint32_t len, uint16_t flags,
		     enum vq_broken why)
{
	struct rig *r;

	r = start(features);
	rig_desc(r->desc, 0, addr, len, INDIRECT | flags, 1);
	rig_desc(r->desc, 1, RIG_DATA, 2048, 0, 0);
	CU_ASSERT(in_breaks(r, 0, why));
	r = start(features);
	rig_desc(r->desc, 0, addr, len, INDIRECT | flags, 1);
	rig_desc(r->desc, 1, RIG_DATA, 2048, WRITE, 0);
	CU_ASSERT(out_breaks(r, 0, why));
}

static void test_indirect(void)
{
	static const uint32_t len[] = {0, 1, 15, 17, 31, 65536 * 16, UINT32_MAX, 0xfffffff0};
	unsigned i;

	for (i = 0; i < 8; i++)
		indirect(RIG_INDIRECT, RIG_DATA, len[i], 0, VQ_BAD_INDIRECT);
	indirect(RIG_INDIRECT, RIG_DATA, 32, NEXT, VQ_BAD_INDIRECT);
	indirect(0, RIG_DATA, 32, 0, VQ_BAD_INDIRECT); /* not negotiated */
	indirect(RIG_INDIRECT, UNMAPPED, 32, 0, VQ_BAD_ADDRESS);
	indirect(RIG_INDIRECT, UINT64_MAX - 31, 32, 0, VQ_BAD_ADDRESS);
	indirect(RIG_INDIRECT, RIG_FAR + RIG_FAR_SIZE - 16, 32, 0, VQ_BAD_ADDRESS);
	indirect(RIG_INDIRECT, RIG_NEXT + RIG_NEXT_SIZE - 8, 16, 0, VQ_BAD_ADDRESS);
}

/* Faults inside an indirect table: @entry is its third of three. */
static void inside(uint64_t addr, uint32_t len, uint16_t flags, uint16_t next, enum vq_broken why)
{
	unsigned out;

	for (out = 0; out < 2; out++) {
		uint16_t write = out ? WRITE : 0;
		struct rig *r = start(RIG_INDIRECT);
		struct vring_desc *t = rig_at(r, TABLE);

		rig_desc(t, 0, RIG_DATA, 6, write | NEXT, 1);
		rig_desc(t, 1, RIG_DATA, 6, write | NEXT, 2);
		rig_desc(t, 2, addr, len, flags ^ write, next);
		rig_desc(r->desc, 0, TABLE, 48, INDIRECT, 0);
		CU_ASSERT(out ? out_breaks(r, 0, why) : in_breaks(r, 0, why));
	}
}

static void test_inside_indirect(void)
{
	inside(RIG_DATA, 60, NEXT, 0, VQ_BAD_CHAIN);
	inside(RIG_DATA, 60, NEXT, 2, VQ_BAD_CHAIN);
	inside(RIG_DATA, 60, NEXT, 3, VQ_BAD_HEAD); /* inside the ring, but not inside the table */
	inside(RIG_DATA, 60, NEXT, 0xffff, VQ_BAD_HEAD);
	inside(RIG_DATA, 60, WRITE, 0, VQ_BAD_ORDER);
	inside(UNMAPPED, 60, 0, 0, VQ_BAD_ADDRESS);
	inside(TABLE, 48, INDIRECT, 0, VQ_BAD_INDIRECT); /* a table in a table */
}

/* A table right at the head of a table. */
static void test_nested_first(void)
{
	unsigned out;

	for (out = 0; out < 2; out++) {
		struct rig *r = start(RIG_INDIRECT);

		rig_desc(rig_at(r, TABLE), 0, TABLE, 16, INDIRECT, 0);
		rig_desc(r->desc, 0, TABLE, 16, INDIRECT, 0);
		CU_ASSERT(out ? out_breaks(r, 0, VQ_BAD_INDIRECT)
			      : in_breaks(r, 0, VQ_BAD_INDIRECT));
	}
}

/* An indirect table that is the ring's own: a chain that would enter it again and again. */
static void test_ring_as_table(void)
{
	unsigned out;

	for (out = 0; out < 2; out++) {
		struct rig *r = start(RIG_INDIRECT);
		uint16_t write = out ? WRITE : 0;

		rig_desc(r->desc, 0, RIG_DATA, 0, write | NEXT, 1);
		rig_desc(r->desc, 1, RIG_RINGS, 32, INDIRECT, 0);
		CU_ASSERT(out ? out_breaks(r, 0, VQ_BAD_INDIRECT)
			      : in_breaks(r, 0, VQ_BAD_INDIRECT));
	}
}

/* The available index jumps by more than the ring holds. */
static void test_avail_jump(void)
{
	static const uint16_t jump[] = {17, 18, 1000, 0x8000, 0xffff};
	struct rig *r;
	unsigned i;

	for (i = 0; i < 5; i++) {
		r = rig_new(16, RIG_V1, 65530);
		r->avail->idx += jump[i];
		CU_ASSERT_EQUAL(rig_in(r), 0);
		CU_ASSERT_EQUAL(r->q->broken, VQ_BAD_AVAIL);
		CU_ASSERT_EQUAL(rig_in(r), 0);
		CU_ASSERT_EQUAL(vq_split_wait(r->q, true), false);
		rig_free(r);
		r = rig_new(16, RIG_V1, 65530);
		r->avail->idx += jump[i];
		rig_make_frame(r, frame, 60, 1);
		CU_ASSERT_EQUAL(rig_out(r), 0);
		CU_ASSERT_EQUAL(r->q->broken, VQ_BAD_AVAIL);
		CU_ASSERT_EQUAL(r->stats.drops.queue_broken, 1);
		CU_ASSERT_EQUAL(r->used->idx, 65530);
		rig_free(r);
	}
}

/* One head offered several times: each is given back, none twice, and nothing is kept of it. */
static void test_same_head(void)
{
	struct rig *r = start(RIG_MRG);
	unsigned i;

	rig_desc(r->desc, 3, RIG_DATA, 72, 0, 0);
	for (i = 0; i < 16; i++)
		rig_offer(r, 3);
	CU_ASSERT(rig_in(r) == 16 && r->b.n == 16);
	vq_split_done(r->q);
	vq_split_done(r->q);
	CU_ASSERT_EQUAL(r->used->idx, 16);
	rig_free(r);
	r = start(RIG_MRG);
	rig_desc(r->desc, 3, RIG_DATA, 72, WRITE, 0);
	for (i = 0; i < 16; i++)
		rig_offer(r, 3);
	rig_make_frame(r, frame, 600, 2);
	CU_ASSERT_EQUAL(rig_out(r), 1);
	CU_ASSERT_EQUAL(r->used->idx, 9);
	CU_ASSERT_EQUAL(r->q->broken, VQ_OK);
	rig_free(r);
}

/* What was lent before the ring broke stays lent, and is given back. */
static void test_breaks_while_lent(void)
{
	struct rig *r = start(0);

	rig_desc(r->desc, 1, RIG_DATA, 72, 0, 0);
	rig_offer(r, 1);
	rig_offer(r, 1);
	rig_offer(r, 99);
	CU_ASSERT(rig_in(r) == 2 && r->b.n == 2);
	CU_ASSERT_EQUAL(r->q->broken, VQ_BAD_HEAD);
	vq_split_done(r->q);
	CU_ASSERT_EQUAL(r->used->idx, 2);
	rig_free(r);
}

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000ull + t.tv_nsec / 1000000;
}

/*
 * Work per call is bounded: chains as long as can be, without a byte in them, in the largest ring.
 * A call that walked all of them would take seconds.
 */
static void test_bounded_work(void)
{
	struct vring_desc *t;
	uint64_t began;
	struct rig *r;
	unsigned i, n;

	r = rig_new(32768, RIG_V1 | RIG_MRG | RIG_INDIRECT, 0);
	t = rig_at(r, RIG_DATA);
	for (i = 0; i < 1024; i++)
		rig_desc(t, i, RIG_DATA, 0, WRITE | (i < 1023 ? NEXT : 0), i + 1);
	for (i = 0; i < 32768; i++) {
		rig_desc(r->desc, i, RIG_DATA, 1024 * 16, INDIRECT, 0);
		rig_offer(r, i);
	}
	for (i = 0; i < BATCH_FRAMES; i++)
		rig_make_frame(r, frame, 60, 1);
	began = now_ms();
	CU_ASSERT_EQUAL(rig_out(r), 0);
	n = now_ms() - began;
	if (n >= 1000)
		printf("out: %u ms for a batch that nothing came of\n", n);
	CU_ASSERT(n < 1000);
	CU_ASSERT_EQUAL(r->stats.drops.buffer_short + r->stats.drops.queue_broken, BATCH_FRAMES);
	rig_free(r);

	r = rig_new(32768, RIG_V1 | RIG_INDIRECT, 0);
	t = rig_at(r, RIG_DATA);
	for (i = 0; i < 1024; i++)
		rig_desc(t, i, RIG_DATA, i < 1023 ? 0 : 72, i < 1023 ? NEXT : 0, i + 1);
	for (i = 0; i < 32768; i++) {
		rig_desc(r->desc, i, RIG_DATA, 1024 * 16, INDIRECT, 0);
		rig_offer(r, i);
	}
	for (i = 0; i < 32768; i += n) {
		n = rig_in(r);
		CU_ASSERT_EQUAL_FATAL(n, STEPS_MAX / 1024);
		vq_split_done(r->q);
	}
	CU_ASSERT_EQUAL(r->stats.in_frames, 32768);
	rig_free(r);
}

/* Frames that would be cut into hundreds of thousands: a few of them a batch. */
static void test_cuts(void)
{
	static const uint32_t cut[] = {40, 60012};
	unsigned parts, i;
	struct rig *r;

	for (parts = 1; parts <= 2; parts++) {
		r = rig_new(512, RIG_V1 | RIG_TSO, 0);
		rig_tso(r, RIG_DATA, 60000, 30);
		rig_chain(r->desc, 0, RIG_DATA, cut + 2 - parts, parts, 0);
		for (i = 0; i < 256; i++)
			rig_offer(r, 0);
		CU_ASSERT_EQUAL(rig_cuts_in(r, 30), 256);
		rig_free(r);
	}
}

static void test_texts(void)
{
	unsigned i, j;

	for (i = 0; i < VQ_BROKEN_MAX; i++)
		for (j = 0; j < i; j++)
			CU_ASSERT_STRING_NOT_EQUAL(vq_broken_text(i), vq_broken_text(j));
	CU_ASSERT_PTR_NOT_NULL(vq_broken_text(VQ_BROKEN_MAX));
}

/* Buffers of one byte each: a frame that needs more of them than are remembered is dropped. */
static void test_one_byte_buffers(void)
{
	struct rig *r = rig_new(32768, RIG_V1 | RIG_MRG, 0);
	unsigned i;

	for (i = 0; i < 32768; i++) {
		rig_desc(r->desc, i, RIG_DATA + i, 1, WRITE, 0);
		rig_offer(r, i);
	}
	rig_make_frame(r, frame, 14000, 1);
	rig_make_frame(r, frame, 100, 1);
	CU_ASSERT_EQUAL(rig_out(r), 1);
	CU_ASSERT_EQUAL(r->stats.drops.buffer_short, 1);
	/* and after two of them a batch looks at no more buffers */
	r->b.n = r->b.n_pieces = 0;
	for (i = 0; i < 3; i++)
		rig_make_frame(r, frame, i < 2 ? 14000 : 100, 1);
	CU_ASSERT_EQUAL(rig_out(r), 0);
	CU_ASSERT_EQUAL(r->stats.drops.buffer_short, 4);
	CU_ASSERT_EQUAL(r->q->broken, VQ_OK);
	rig_free(r);
}

/* What of a frame finds no room is counted in the frames that it would have become. */
static void test_cuts_lost(void)
{
	unsigned i;
	struct rig *r;

	for (i = 0; i < 2; i++) {
		r = rig_new(16, RIG_V1, 0);
		rig_make_tso(r, 54 + 9500, 1000);
		rig_desc(r->desc, 0, RIG_DATA + 0x20000, i ? 2000 : 200, WRITE, 0);
		rig_offer(r, 0);
		CU_ASSERT_EQUAL(rig_out(r), i);
		CU_ASSERT_EQUAL(r->stats.out_frames, i);
		CU_ASSERT_EQUAL(r->stats.drops.buffer_short, i ? 0 : 10);
		CU_ASSERT_EQUAL(r->stats.drops.queue_full, i ? 9 : 0);
		rig_free(r);
	}
}

/* What the batch's last in side said of hashes and offloads is of no meaning for the next one. */
static void test_stale_batch(void)
{
	struct rig *r = start(0);

	rig_desc(r->desc, 0, RIG_DATA, 72, 0, 0);
	rig_offer(r, 0);
	r->b.hashed = r->b.open = true;
	CU_ASSERT_EQUAL(rig_in(r), 1);
	CU_ASSERT(!r->b.hashed && !r->b.open);
	vq_done(r->q);
	rig_free(r);
}

/* Long chains use up nearly all pieces of the batch, and plain frames want the rest. */
static void test_pieces_used_up(void)
{
	struct rig *r = rig_new(4096, RIG_V1, 0);
	uint32_t cut[1000];
	unsigned i;

	rig_cuts(cut, 60000, 1000);
	for (i = 0; i < 2; i++) {
		rig_chain(r->desc, 1000 * i, RIG_DATA, cut, 1000, 0);
		rig_offer(r, 1000 * i);
	}
	for (i = 0; i < 100; i++) {
		rig_desc(r->desc, 2000 + i, RIG_DATA, 72, 0, 0);
		rig_offer(r, 2000 + i);
	}
	CU_ASSERT_EQUAL(rig_in(r), 2 + 48);
	CU_ASSERT_EQUAL(r->b.n_pieces, BATCH_PIECES);
	vq_done(r->q);
	CU_ASSERT_EQUAL(rig_in(r), 52);
	vq_done(r->q);
	rig_free(r);
}

/* A frame that all buffers of the ring together can't hold is no matter of a full queue. */
static void test_ring_too_small(void)
{
	struct rig *r = rig_new(16, RIG_V1 | RIG_MRG, 0);
	unsigned i;

	for (i = 0; i < 16; i++) {
		rig_desc(r->desc, i, RIG_DATA, 50, WRITE, 0);
		rig_offer(r, i);
	}
	rig_make_frame(r, frame, 1000, 1);
	CU_ASSERT_EQUAL(rig_out(r), 0);
	CU_ASSERT_EQUAL(r->stats.drops.buffer_short, 1);
	CU_ASSERT_EQUAL(r->stats.drops.queue_full, 0);
	rig_free(r);
}

static const struct check tests[] = {
	{"stale batch", test_stale_batch},
	{"pieces used up", test_pieces_used_up},
	{"ring too small", test_ring_too_small},
	{"buffers of one byte", test_one_byte_buffers},
	{"cuts without room", test_cuts_lost},
	{"frames of many cuts", test_cuts},
	{"heads and next", test_heads},
	{"loops", test_loops},
	{"order", test_order},
	{"header too short", test_short_header},
	{"addresses", test_addresses},
	{"lengths that wrap", test_length_wraps},
	{"no bytes at a bogus address", test_empty_bogus},
	{"indirect", test_indirect},
	{"inside indirect", test_inside_indirect},
	{"nested", test_nested_first},
	{"ring as its own table", test_ring_as_table},
	{"available index", test_avail_jump},
	{"same head", test_same_head},
	{"breaks while lent", test_breaks_while_lent},
	{"bounded work", test_bounded_work},
	{"texts", test_texts},
	{NULL, NULL},
};

int main(int argc, char **argv)
{
	alarm(60); /* a walk without an end would not end the test either */
	return check_main("vq_hostile", tests, argc, argv);
}
