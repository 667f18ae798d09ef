/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The packed ring with guests that break the rules: each fault stops the queue under its own name.
 */
#include "packed_rig.h"

#include <stdio.h>
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
#define SIZE     15

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define SHORT_FRAMES 200000
#else
#define SHORT_FRAMES 2000000
#endif

static uint8_t frame[FRAME_MAX];

/* A descriptor of a bad chain. */
struct bad {
	uint64_t addr;
	uint32_t len;
	uint16_t flags, id;
};

static struct rig *start(uint64_t features)
{
	return rig_new(SIZE, RIG_V1 | RIG_PACKED | features, 0x8000 | (SIZE - 2));
}

static void offer_bad(struct rig *r, const struct bad *bad, unsigned n, uint16_t flags)
{
	while (n--) {
		packed_desc(r, bad->addr, bad->len, bad->id, bad->flags | flags | packed_turn(r));
		bad++;
	}
}

/*
 * A good frame, then a bad chain, then a good one, towards the switch. The first is delivered and
 * given back, the queue breaks for reason @why and is left alone from then on.
 */
static bool in_breaks(struct rig *r, const struct bad *bad, unsigned n, enum vq_broken why)
{
	unsigned frames = 0, used = 0, i;
	struct vring_packed_desc d;
	bool ok;

	packed_offer(r, RIG_DATA, 72, 7, 0);
	offer_bad(r, bad, n, 0);
	packed_offer(r, RIG_DATA, 72, 8, 0);
	for (i = 0; i < 3; i++) {
		rig_in(r);
		frames += r->b.n;
		vq_done(r->q);
	}
	while (packed_used(r, &d) && d.id == 7)
		used++;
	ok = frames == 1 && used == 1 && r->q->broken == why;
	if (!ok)
		printf("in: %u frames, %u used, %s\n", frames, used, vq_broken_text(r->q->broken));
	rig_free(r);
	return ok;
}

/* The same towards the guest. */
static bool out_breaks(struct rig *r, const struct bad *bad, unsigned n, enum vq_broken why)
{
	struct vring_packed_desc d;
	unsigned sent, used = 0;
	bool ok;

	packed_offer(r, RIG_DATA, 2048, 7, WRITE);
	offer_bad(r, bad, n, WRITE);
	packed_offer(r, RIG_DATA, 2048, 8, WRITE);
	rig_make_frame(r, frame, 1000, 1);
	rig_make_frame(r, frame, 1000, 3);
	rig_make_frame(r, frame, 60, 1);
	sent = rig_out(r);
	sent += rig_out(r);
	while (packed_used(r, &d) && d.id == 7)
		used++;
	ok = sent == 1 && used == 1 && r->q->broken == why && r->stats.drops.queue_broken == 5;
	if (!ok)
		printf("out: %u frames, %u used, %llu dropped, %s\n", sent, used,
		       (unsigned long long)r->stats.drops.queue_broken,
		       vq_broken_text(r->q->broken));
	rig_free(r);
	return ok;
}

static void both_break(uint64_t features, const struct bad *bad, unsigned n, enum vq_broken why)
{
	CU_ASSERT(in_breaks(start(features), bad, n, why));
	CU_ASSERT(out_breaks(start(features), bad, n, why));
}

/* The id is echoed, but one that can't be breaks the queue: plain, chained and indirect. */
static void test_ids(void)
{
	static const uint16_t id[] = {SIZE, SIZE + 1, 0x7fff, 0x8000, 0xffff};
	unsigned i;

	for (i = 0; i < 5; i++) {
		struct bad one[] = {{RIG_DATA, 2048, 0, id[i]}};
		struct bad three[] = {{RIG_DATA, 12, NEXT, 1},
				      {RIG_DATA, 64, NEXT, 2},
				      {RIG_DATA, 2048, 0, id[i]}};
		struct bad table[] = {{TABLE, 16, INDIRECT, id[i]}};
		struct rig *r;

		both_break(0, one, 1, VQ_BAD_HEAD);
		both_break(0, three, 3, VQ_BAD_HEAD);
		r = start(RIG_INDIRECT);
		rig_desc(rig_at(r, TABLE), 0, RIG_DATA, 2048, 0, 0);
		CU_ASSERT(in_breaks(r, table, 1, VQ_BAD_HEAD));
		r = start(RIG_INDIRECT);
		/* the table's entry: WRITE stands where a packed descriptor's flags are */
		*(struct vring_packed_desc *)rig_at(r, TABLE) =
			(struct vring_packed_desc){.addr = RIG_DATA, .len = 2048, .flags = WRITE};
		CU_ASSERT(out_breaks(r, table, 1, VQ_BAD_HEAD));
	}
}

/* All of the ring is one chain without an end. */
static void test_endless(void)
{
	unsigned size, in, i;
	struct rig *r;

	for (size = 1; size < 3000; size = size * 3 + 1) {
		for (in = 0; in < 2; in++) {
			r = rig_new(size, RIG_V1 | RIG_PACKED | RIG_MRG, 0x8000);
			for (i = 0; i < size; i++)
				packed_offer(r, RIG_DATA, i % 2 ? 1 : 0, i,
					     NEXT | (in ? 0 : WRITE));
			if (in) {
				CU_ASSERT_EQUAL(rig_in(r), 0);
			} else {
				rig_make_frame(r, frame, 1500, 1);
				CU_ASSERT_EQUAL(rig_out(r), 0);
			}
			CU_ASSERT_EQUAL(r->q->broken, VQ_BAD_CHAIN);
			rig_free(r);
		}
	}
}

static void test_order(void)
{
	struct bad chain[4];
	unsigned i, k;

	for (i = 0; i < 4; i++) {
		struct rig *r = start(0);

		for (k = 0; k < 4; k++)
			chain[k] = (struct bad){RIG_DATA + 16 * k, 16,
						(k < 3 ? NEXT : 0) | (k == i ? WRITE : 0), 3};
		CU_ASSERT(in_breaks(r, chain, 4, VQ_BAD_ORDER));
		/* out, by hand: all but one are writable */
		r = start(0);
		for (k = 0; k < 4; k++)
			packed_offer(r, RIG_DATA + 16 * k, 16, 3,
				     (k < 3 ? NEXT : 0) | (k == i ? 0 : WRITE));
		rig_make_frame(r, frame, 1000, 1);
		CU_ASSERT_EQUAL(rig_out(r), 0);
		CU_ASSERT_EQUAL(r->q->broken, VQ_BAD_ORDER);
		rig_free(r);
	}
}

static void test_short_header(void)
{
	static const struct bad bad[] = {{RIG_DATA, 0, NEXT, 3}, {RIG_DATA, 11, 0, 3}};

	CU_ASSERT(in_breaks(start(0), bad, 2, VQ_BAD_HEADER));
	CU_ASSERT(in_breaks(start(0), bad + 1, 1, VQ_BAD_HEADER));
	CU_ASSERT(in_breaks(start(0), (struct bad[]){{RIG_DATA, 0, 0, 3}}, 1, VQ_BAD_HEADER));
}

/* Addresses that are not, or not wholly, guest memory. */
static void test_addresses(void)
{
	static const struct {
		uint64_t addr;
		uint32_t len;
	} at[] = {
		{UNMAPPED, 1100},
		{0, 1100},
		{UINT64_MAX, 1100},
		{UINT64_MAX - 1099, 1100},
		{RIG_DATA - 1, 1100},
		{RIG_NEXT + RIG_NEXT_SIZE - 16, 1100},
		{RIG_NEXT + RIG_NEXT_SIZE, 1100},
		{RIG_FAR + RIG_FAR_SIZE - 16, 1100},
		{RIG_FAR, UINT32_MAX},
	};
	unsigned i;

	for (i = 0; i < sizeof(at) / sizeof(*at); i++) {
		struct bad two[] = {{RIG_DATA, 12, NEXT, 1}, {at[i].addr, at[i].len, 0, 2}};

		both_break(0, two, 2, VQ_BAD_ADDRESS);
		two[0] = two[1];
		both_break(0, two, 1, VQ_BAD_ADDRESS);
	}
}

/* Lengths whose sum passes 2^32 are a long frame, whatever they add up to. */
static void test_lengths(void)
{
	static const uint32_t len[] = {UINT32_MAX, UINT32_MAX - 50, 1u << 31};
	struct rig *r = start(0);
	unsigned i, k;

	for (i = 0; i < 3; i++) {
		for (k = 0; k < 2; k++) {
			packed_offer(r, RIG_DATA, 12 + 100, 0, NEXT);
			packed_offer(r, RIG_DATA, len[i], 0, k ? NEXT : 0);
			if (k)
				packed_offer(r, RIG_DATA, len[i], 1, 0);
			CU_ASSERT_EQUAL(rig_in(r), 1);
			CU_ASSERT_EQUAL(r->b.n, 0);
			vq_done(r->q);
		}
	}
	CU_ASSERT_EQUAL(r->stats.drops.long_frame, 6);
	CU_ASSERT_EQUAL(r->q->broken, VQ_OK);
	rig_free(r);
}

/* Runs one bad indirect descriptor both ways. */
static void indirect(uint64_t features, uint64_t addr, uint32_t len, uint16_t flags,
		     enum vq_broken why)
{
	struct bad bad[] = {{addr, len, INDIRECT | flags, 1}, {RIG_DATA, 2048, 0, 2}};

	both_break(features, bad, 2, why);
}

static void test_indirect(void)
{
	static const uint32_t len[] = {0, 1, 15, 17, 31, 32769 * 16, UINT32_MAX, 0xfffffff0};
	struct vring_packed_desc *t;
	struct rig *r;
	unsigned i, in;

	for (i = 0; i < 8; i++)
		indirect(RIG_INDIRECT, TABLE, len[i], 0, VQ_BAD_INDIRECT);
	indirect(0, TABLE, 16, 0, VQ_BAD_INDIRECT);
	indirect(RIG_INDIRECT, TABLE, 16, NEXT, VQ_BAD_INDIRECT);
	indirect(RIG_INDIRECT, UNMAPPED, 16, 0, VQ_BAD_ADDRESS);
	indirect(RIG_INDIRECT, RIG_NEXT - 16, 32, 0, VQ_BAD_ADDRESS); /* not in one piece */
	indirect(RIG_INDIRECT, RIG_FAR + RIG_FAR_SIZE - 16, 32, 0, VQ_BAD_ADDRESS);
	/* at the end of a chain, and a table in a table, at its beginning and behind it */
	for (i = 0; i < 3; i++) {
		for (in = 0; in < 2; in++) {
			struct bad bad[] = {{RIG_DATA, 12, NEXT, 1}, {TABLE, 32, INDIRECT, 2}};
			uint16_t flags = in ? 0 : WRITE;

			r = start(RIG_INDIRECT);
			t = rig_at(r, TABLE);
			t[0] = (struct vring_packed_desc){RIG_DATA, 12, 0, flags};
			t[1] = (struct vring_packed_desc){RIG_DATA, 64, 0, flags};
			if (i)
				t[i - 1].flags |= INDIRECT;
			CU_ASSERT(in ? in_breaks(r, bad + !!i, 1 + !i, VQ_BAD_INDIRECT)
				     : out_breaks(r, bad + !!i, 1 + !i, VQ_BAD_INDIRECT));
		}
	}
}

/* NEXT and ids of a table's entries mean nothing; the ring may serve as a table. */
static void test_table_flags(void)
{
	struct rig *r = start(RIG_INDIRECT);
	struct vring_packed_desc *t = rig_at(r, TABLE);

	t[0] = (struct vring_packed_desc){RIG_DATA, 12, 0xffff, NEXT};
	t[1] = (struct vring_packed_desc){RIG_DATA, 60, 0xffff, NEXT | PACKED_AVAIL | PACKED_USED};
	packed_offer(r, TABLE, 32, 3, INDIRECT);
	CU_ASSERT(rig_in(r) == 1 && r->b.n == 1 && r->b.frame[0].len == 60);
	vq_done(r->q);
	packed_offer(r, RIG_RINGS, 16 * SIZE, 3, INDIRECT);
	rig_in(r);
	vq_done(r->q);
	rig_free(r);
}

/* Tables of many entries: work is bounded, and their number. */
static void test_long_table(void)
{
	struct rig *r = start(RIG_INDIRECT | RIG_MRG);
	struct vring_packed_desc *t = rig_at(r, TABLE);
	clock_t began = clock();
	unsigned i;

	for (i = 0; i < 32768; i++)
		t[i] = (struct vring_packed_desc){RIG_DATA, 0, 0, 0};
	packed_offer(r, TABLE, 32768 * 16, 3, INDIRECT);
	CU_ASSERT_EQUAL(rig_in(r), 0);
	CU_ASSERT_EQUAL(r->q->broken, VQ_BAD_CHAIN);
	rig_free(r);

	r = rig_new(32768, RIG_PACKED | RIG_INDIRECT | RIG_MRG, 0x8000);
	t = rig_at(r, TABLE);
	for (i = 0; i < 1024; i++)
		t[i] = (struct vring_packed_desc){RIG_DATA, 0, 0, WRITE};
	for (i = 0; i < 32768; i++)
		packed_offer(r, TABLE, 1024 * 16, i, INDIRECT);
	for (i = 0; i < BATCH_FRAMES; i++)
		rig_make_frame(r, frame, 1500, 1);
	CU_ASSERT_EQUAL(rig_out(r), 0);
	CU_ASSERT_EQUAL(r->stats.drops.buffer_short, BATCH_FRAMES);
	CU_ASSERT(clock() - began < 10 * CLOCKS_PER_SEC); /* it would be minutes */
	rig_free(r);
}

/*
 * A guest that shows a descriptor of the lap to come while we are in the middle of this one: a
 * batch takes each place once at most, and gives each back once.
 */
static void test_wrap_games(void)
{
	unsigned i, in, n;
	struct rig *r;

	for (in = 0; in < 2; in++) {
		for (n = 0; n < 2; n++) {
			r = rig_new(4, RIG_PACKED | (n ? RIG_MRG : 0), 0x8000 | 2);
			/* every flag there is is right for one of the laps */
			for (i = 0; i < 4; i++)
				r->ring[i] = (struct vring_packed_desc){
					RIG_DATA + 64 * i, 64, i,
					(in ? 0 : WRITE) | (i < 2 ? PACKED_USED : PACKED_AVAIL)};
			if (in) {
				CU_ASSERT_EQUAL(rig_in(r), 4);
				/* and now as if the lap after this had begun */
				for (i = 0; i < 4; i++)
					r->ring[i].flags = i < 2 ? PACKED_AVAIL : PACKED_USED;
				vq_done(r->q);
				CU_ASSERT(rig_in(r) <= 4);
				vq_done(r->q);
			} else {
				for (i = 0; i < 10; i++)
					rig_make_frame(r, frame, n ? 150 : 40, 1);
				CU_ASSERT_EQUAL(rig_out(r), n ? 1 : 4);
				CU_ASSERT_EQUAL(r->stats.drops.queue_full, n ? 9 : 6);
			}
			CU_ASSERT_EQUAL(r->q->broken, VQ_OK);
			CU_ASSERT_EQUAL(r->q->used_at, r->q->avail_at);
			rig_free(r);
		}
	}
}

/* Flags of both or neither turn are no descriptor, whatever else they say. */
static void test_no_turn(void)
{
	static const uint16_t flags[] = {0, PACKED_USED, PACKED_AVAIL | PACKED_USED, NEXT,
					 PACKED_USED | INDIRECT};
	struct rig *r = rig_new(4, RIG_PACKED, 0x8000);
	unsigned i;

	for (i = 0; i < 5; i++) {
		r->ring[0] = (struct vring_packed_desc){RIG_DATA, 72, 0, flags[i]};
		CU_ASSERT_EQUAL(rig_in(r), 0);
		CU_ASSERT_FALSE(vq_wait(r->q, true));
		CU_ASSERT_EQUAL(r->q->broken, VQ_OK);
	}
	rig_free(r);
}

/* Uses @n descriptors, from number @at on since the ring was new; the guest asked for @event. */
static bool is_called(struct rig *r, unsigned n, unsigned event)
{
	r->driver->off_wrap = event % r->size | (event / r->size % 2 ? 0 : PACKED_WRAP);
	r->driver->flags = VRING_PACKED_EVENT_FLAG_DESC;
	while (n--)
		packed_offer(r, RIG_DATA, 72, 0, 0);
	rig_in(r);
	vq_done(r->q);
	return rig_calls(r);
}

/* A guest that asks for a place, in this lap or the last, is called when it is used: just then. */
static void test_event_places(void)
{
	unsigned size, n, event, at, lap;
	struct rig *r;

	for (size = 1; size < 8; size++) {
		r = rig_new(size, RIG_PACKED | RIG_EVENT, 0x8000);
		is_called(r, 1, 0);
		for (at = 1, n = 1; at < 2000; at += n, n = n % size + 1) {
			lap = (at + n) / size;
			event = (lap ? lap - 1 : 0) * size + at * 7 % (lap ? 2 * size : size);
			CU_ASSERT_EQUAL(is_called(r, n, event), event >= at && event < at + n);
		}
		rig_free(r);
	}
}

/* Event structures of any contents do no harm. */
static void test_events(void)
{
	struct rig *r = rig_new(3, RIG_PACKED | RIG_EVENT, 0x8000);
	unsigned i;

	for (i = 0; i < 70000; i++) {
		r->driver->off_wrap = i;
		r->driver->flags = i % 5;
		packed_offer(r, RIG_DATA, 72, 0, 0);
		CU_ASSERT_EQUAL(rig_in(r), 1);
		vq_done(r->q);
	}
	CU_ASSERT_EQUAL(r->q->broken, VQ_OK);
	rig_free(r);
}

/* Frames that would be cut into hundreds of thousands: a few of them a batch. */
static void test_cuts(void)
{
	static const uint32_t cut[] = {40, 60012};
	unsigned parts, i;
	struct rig *r;

	for (parts = 1; parts <= 2; parts++) {
		r = rig_new(512, RIG_V1 | RIG_PACKED | RIG_TSO, 0x8000);
		rig_tso(r, RIG_DATA, 60000, 30);
		for (i = 0; i < 256; i++)
			packed_chain(r, RIG_DATA, cut + 2 - parts, parts, i, 0);
		CU_ASSERT_EQUAL(rig_cuts_in(r, 30), 256);
		rig_free(r);
	}
}

/* Buffers of one byte each: a frame that needs more of them than are remembered is dropped. */
static void test_one_byte_buffers(void)
{
	struct rig *r = rig_new(32768, RIG_V1 | RIG_MRG | RIG_PACKED, 0x8000);
	unsigned i;

	for (i = 0; i < 32768; i++)
		packed_offer(r, RIG_DATA + i, 1, i, WRITE);
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
		r = rig_new(16, RIG_V1 | RIG_PACKED, 0x8000);
		rig_make_tso(r, 54 + 9500, 1000);
		packed_offer(r, RIG_DATA + 0x20000, i ? 2000 : 200, 0, WRITE);
		CU_ASSERT_EQUAL(rig_out(r), i);
		CU_ASSERT_EQUAL(r->stats.out_frames, i);
		CU_ASSERT_EQUAL(r->stats.drops.buffer_short, i ? 0 : 10);
		CU_ASSERT_EQUAL(r->stats.drops.queue_full, i ? 9 : 0);
		rig_free(r);
	}
}

/* A chain that goes on, behind the ring's end, into what the same batch has taken already. */
static void test_own_tail(void)
{
	unsigned i, in;
	struct rig *r;

	for (in = 0; in < 2; in++) {
		r = rig_new(4, RIG_V1 | RIG_PACKED, 0x8000);
		packed_offer(r, RIG_DATA, 72, 0, in ? 0 : WRITE);
		for (i = 1; i < 4; i++)
			packed_offer(r, RIG_DATA, 20, i, NEXT | (in ? 0 : WRITE));
		rig_make_frame(r, frame, 60, 1);
		rig_make_frame(r, frame, 90, 1);
		CU_ASSERT_EQUAL(in ? rig_in(r) : rig_out(r), 1);
		CU_ASSERT_EQUAL(r->q->broken, VQ_BAD_CHAIN);
		CU_ASSERT_EQUAL(r->q->left, 3);
		vq_done(r->q);
		rig_free(r);
	}
}

/* Long chains use up nearly all pieces of the batch, and plain frames want the rest. */
static void test_pieces_used_up(void)
{
	struct rig *r = rig_new(4096, RIG_V1 | RIG_PACKED, 0x8000);
	uint32_t cut[1000];
	unsigned i;

	rig_cuts(cut, 60000, 1000);
	for (i = 0; i < 2; i++)
		packed_chain(r, RIG_DATA, cut, 1000, i, 0);
	for (i = 0; i < 100; i++)
		packed_offer(r, RIG_DATA, 72, 2 + i, 0);
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
	struct rig *r = rig_new(16, RIG_V1 | RIG_MRG | RIG_PACKED, 0x8000);
	unsigned i;

	for (i = 0; i < 16; i++)
		packed_offer(r, RIG_DATA, 50, i, WRITE);
	rig_make_frame(r, frame, 1000, 1);
	CU_ASSERT_EQUAL(rig_out(r), 0);
	CU_ASSERT_EQUAL(r->stats.drops.buffer_short, 1);
	CU_ASSERT_EQUAL(r->stats.drops.queue_full, 0);
	rig_free(r);
}

/* Tables as long as can be: a few of them a batch. */
static void test_tables_in(void)
{
	struct rig *r = rig_new(256, RIG_V1 | RIG_PACKED | RIG_INDIRECT, 0x8000);
	struct vring_packed_desc *t = rig_at(r, TABLE);
	unsigned i;

	for (i = 0; i < 1024; i++)
		t[i] = (struct vring_packed_desc){RIG_DATA, i < 1023 ? 0 : 72, 0, 0};
	for (i = 0; i < 256; i++)
		packed_offer(r, TABLE, 1024 * 16, i, INDIRECT);
	CU_ASSERT_EQUAL(rig_in(r), STEPS_MAX / 1024);
	CU_ASSERT_EQUAL(r->b.n, STEPS_MAX / 1024);
	vq_done(r->q);
	rig_free(r);
}

/* Frames of 0 to 13 bytes by the million, in both formats: each is given back. */
static void test_short_frames(void)
{
	unsigned i, k, packed;
	struct rig *r;

	for (packed = 0; packed < 2; packed++) {
		r = rig_new(256, RIG_V1 | (packed ? RIG_PACKED : 0), packed ? 0x8000 : 0);
		for (i = 0; i < SHORT_FRAMES; i += 256) {
			for (k = 0; k < 256; k++) {
				if (packed) {
					packed_offer(r, RIG_DATA, 12 + (i + k) % 14, k, 0);
					continue;
				}
				rig_desc(r->desc, k, RIG_DATA, 12 + (i + k) % 14, 0, 0);
				rig_offer(r, k);
			}
			CU_ASSERT_EQUAL_FATAL(rig_in(r), 256);
			CU_ASSERT_EQUAL(r->b.n, 0);
			vq_done(r->q);
		}
		CU_ASSERT_EQUAL(r->stats.drops.short_frame, i);
		if (!packed)
			CU_ASSERT_EQUAL(r->used->idx, (uint16_t)i);
		CU_ASSERT_EQUAL(r->q->broken, VQ_OK);
		rig_free(r);
	}
}

static const struct check tests[] = {
	{"short frames", test_short_frames},
	{"tables in", test_tables_in},
	{"pieces used up", test_pieces_used_up},
	{"ring too small", test_ring_too_small},
	{"event places", test_event_places},
	{"own tail", test_own_tail},
	{"buffers of one byte", test_one_byte_buffers},
	{"cuts without room", test_cuts_lost},
	{"frames of many cuts", test_cuts},
	{"ids", test_ids},
	{"endless chains", test_endless},
	{"order", test_order},
	{"short header", test_short_header},
	{"addresses", test_addresses},
	{"lengths", test_lengths},
	{"indirect", test_indirect},
	{"flags in tables", test_table_flags},
	{"long tables", test_long_table},
	{"wrap games", test_wrap_games},
	{"no turn of ours", test_no_turn},
	{"events", test_events},
	{NULL, NULL},
};

int main(int argc, char **argv)
{
	return check_main("packed_hostile", tests, argc, argv);
}
