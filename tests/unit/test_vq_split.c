/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The split ring with guests that keep the rules: every cut, length, ring size and feature. */
#include "vq_rig.h"

#include <errno.h>
#include <stdio.h>

static uint8_t frame[FRAME_MAX + 64], got[FRAME_MAX + 64];

/* Writes header and frame number @seed of @len bytes into guest memory at @gpa. */
static void put_buffer(struct rig *r, uint64_t gpa, uint32_t len, uint32_t seed)
{
	uint8_t *at = rig_at(r, gpa);

	memset(at, 0, r->hdr_len);
	rig_fill(frame, len, seed);
	memcpy(at + r->hdr_len, frame, len);
}

/* The switch's side takes one frame; true if it is what put_buffer() wrote, and it is given back.
 */
static bool takes(struct rig *r, uint16_t head, uint32_t len)
{
	uint16_t used = r->used->idx;
	uint32_t n;

	if (rig_in(r) != 1 || r->b.n != 1 || !rig_read_frame(&r->b, 0, got, &n))
		return false;
	vq_split_done(r->q);
	return n == len && !memcmp(got, frame, len) && r->b.frame[0].out == FRAME_PORT_NONE &&
	       r->used->idx == (uint16_t)(used + 1) &&
	       r->used->ring[used & (r->size - 1)].id == head &&
	       r->used->ring[used & (r->size - 1)].len == 0 && !r->q->broken;
}

/* One frame through the transmit ring, cut at @cut, directly or through an indirect table. */
static bool send_cut(struct rig *r, const uint32_t *cut, unsigned n, bool indirect, uint32_t len)
{
	uint64_t gpa = RIG_DATA + 0x100000 + 3, table = RIG_DATA + 8; /* neither is aligned */

	put_buffer(r, gpa, len, len + n);
	if (indirect) {
		struct vring_desc t[1100];

		rig_chain(t, 0, gpa, cut, n, 0);
		memcpy(rig_at(r, table), t, n * sizeof(*t));
		rig_desc(r->desc, 0, table, n * sizeof(*t), VRING_DESC_F_INDIRECT, 0);
	} else {
		rig_chain(r->desc, 0, gpa, cut, n, 0);
	}
	rig_offer(r, 0);
	return takes(r, 0, len);
}

/* One frame through the receive ring, into one buffer of @room bytes cut at @cut. */
static bool recv_cut(struct rig *r, const uint32_t *cut, unsigned n, bool indirect, uint32_t len)
{
	uint64_t gpa = RIG_DATA + 0x100000 + 3, table = RIG_DATA + 8;
	static const uint8_t hdr[12] = {[10] = 1};
	uint8_t *at = rig_at(r, gpa);
	uint16_t used = r->used->idx;

	if (indirect) {
		struct vring_desc t[1100];

		rig_chain(t, 0, gpa, cut, n, VRING_DESC_F_WRITE);
		memcpy(rig_at(r, table), t, n * sizeof(*t));
		rig_desc(r->desc, 0, table, n * sizeof(*t), VRING_DESC_F_INDIRECT, 0);
	} else {
		rig_chain(r->desc, 0, gpa, cut, n, VRING_DESC_F_WRITE);
	}
	memset(at, 0xa5, r->hdr_len + len + 1);
	rig_offer(r, 0);
	rig_fill(frame, len, len + n);
	r->b.n = r->b.n_pieces = 0;
	rig_make_frame(r, frame, len, n % 5);
	if (r->b.frame[0].shape.n_pieces == 0 && len > FRAME_HEAD) {
		r->b.n = r->b.n_pieces = 0;
		rig_make_frame(r, frame, len, 1);
	}
	return rig_out(r) == 1 && !memcmp(at, hdr, r->hdr_len) &&
	       !memcmp(at + r->hdr_len, frame, len) && at[r->hdr_len + len] == 0xa5 &&
	       r->used->idx == (uint16_t)(used + 1) &&
	       r->used->ring[used & (r->size - 1)].id == 0 &&
	       r->used->ring[used & (r->size - 1)].len == r->hdr_len + len && !r->q->broken;
}

typedef bool (*one_frame)(struct rig *r, const uint32_t *cut, unsigned n, bool indirect,
			  uint32_t len);

/* Every way to cut a header of 10 or 12 bytes into pieces, with the frame joined to it or apart. */
static void split_headers(one_frame pass)
{
	unsigned hdr, set, i, n, joined, indirect;
	uint32_t cut[16];
	struct rig *r;

	for (hdr = 10; hdr <= 12; hdr += 2) {
		r = rig_new(16, RIG_INDIRECT | (hdr == 12 ? RIG_V1 : 0), 0);
		CU_ASSERT_EQUAL(r->hdr_len, hdr);
		for (set = 0; set < 1u << hdr; set++) {
			joined = !(set >> (hdr - 1));
			indirect = (set ^ set >> 3) & 1;
			for (i = 1, n = 0; i < hdr; i++)
				if (set & 1u << (i - 1))
					cut[n++] = i;
			if (!joined)
				cut[n++] = hdr;
			cut[n++] = hdr + 60;
			if (!pass(r, cut, n, indirect, 60))
				break;
		}
		CU_ASSERT_EQUAL(set, 1u << hdr);
		rig_free(r);
	}
}

/* Lengths from the least to the largest, in 1 to many pieces. */
static void all_lengths(one_frame pass)
{
	static const unsigned pieces[] = {1, 2, 3, 5, 16, 18, 40, 1000};
	static uint32_t cut[1024];
	uint64_t features;
	struct rig *r;
	uint32_t len;
	unsigned i;

	for (features = 0; features <= RIG_V1; features += RIG_V1) {
		r = rig_new(1024, features | RIG_INDIRECT, 0);
		for (len = 14; len <= FRAME_MAX; len += len < 200 ? 1 : len < 9000 ? 97 : 9413) {
			for (i = 0; i < 8; i++) {
				uint32_t total = r->hdr_len + len;

				rig_cuts(cut, total, pieces[i] < total ? pieces[i] : total);
				if (!pass(r, cut, pieces[i] < total ? pieces[i] : total, len % 2,
					  len)) {
					printf("%u bytes in %u pieces\n", len, pieces[i]);
					CU_FAIL_FATAL("not passed");
				}
			}
		}
		rig_cuts(cut, r->hdr_len + 9000, 7);
		CU_ASSERT(pass(r, cut, 7, false, 9000));
		rig_cuts(cut, r->hdr_len + 65549, 17);
		CU_ASSERT(pass(r, cut, 17, true, 65549));
		rig_cuts(cut, r->hdr_len + FRAME_MAX, 1);
		CU_ASSERT(pass(r, cut, 1, false, FRAME_MAX));
		rig_free(r);
	}
}

static void test_in_headers(void)
{
	split_headers(send_cut);
}

static void test_out_headers(void)
{
	split_headers(recv_cut);
}

static void test_in_lengths(void)
{
	all_lengths(send_cut);
}

static void test_out_lengths(void)
{
	all_lengths(recv_cut);
}

/* Zero-length descriptors in a chain are legal and mean nothing. */
static void test_empty_pieces(void)
{
	static const uint32_t cut[] = {0, 5, 5, 12, 12, 12, 30, 72, 72};
	struct rig *r = rig_new(16, RIG_V1, 0);

	CU_ASSERT(send_cut(r, cut, 9, false, 60));
	CU_ASSERT(recv_cut(r, cut, 9, false, 60));
	rig_free(r);
}

/* A buffer across two regions that follow each other in the guest, but not here. */
static void test_across_regions(void)
{
	uint64_t gpa = RIG_NEXT - 50;
	uint8_t *low, *high;
	struct rig *r;

	r = rig_new(16, RIG_V1, 0);
	low = rig_at(r, gpa);
	high = rig_at(r, RIG_NEXT);
	rig_fill(frame, 200, 1);
	memset(low, 0, 12);
	memcpy(low + 12, frame, 38);
	memcpy(high, frame + 38, 162);
	rig_desc(r->desc, 3, gpa, 212, 0, 0);
	rig_offer(r, 3);
	CU_ASSERT(takes(r, 3, 200));
	/* and back, the header itself cut by the border */
	memset(high, 0, 300);
	rig_desc(r->desc, 4, RIG_NEXT - 5, 300, VRING_DESC_F_WRITE, 0);
	rig_offer(r, 4);
	r->b.n = r->b.n_pieces = 0;
	rig_make_frame(r, frame, 200, 2);
	CU_ASSERT_EQUAL(rig_out(r), 1);
	CU_ASSERT_EQUAL(high[5], 1); /* num_buffers */
	CU_ASSERT(!memcmp(high + 7, frame, 200));
	CU_ASSERT_EQUAL(high[207], 0);
	rig_free(r);
}

/* More pieces than a batch holds: the rest comes with the next batch, in order, none lost. */
static void test_many_pieces(void)
{
	struct rig *r = rig_new(4096, RIG_V1, 0);
	unsigned i, rounds = 0, seen = 0;
	uint32_t cut[30], n;

	for (i = 0; i < 128; i++) {
		put_buffer(r, RIG_DATA + 4096 * i, 600, i);
		rig_cuts(cut, 612, 30);
		rig_chain(r->desc, 30 * i, RIG_DATA + 4096 * i, cut, 30, 0);
		rig_offer(r, 30 * i);
	}
	while (seen < 128 && rounds++ < 10) {
		CU_ASSERT(rig_in(r) > 0);
		for (i = 0; i < r->b.n; i++, seen++) {
			rig_fill(frame, 600, seen);
			CU_ASSERT(rig_read_frame(&r->b, i, got, &n));
			CU_ASSERT(n == 600 && !memcmp(got, frame, n));
		}
		vq_split_done(r->q);
	}
	CU_ASSERT_EQUAL(seen, 128);
	CU_ASSERT(rounds > 1);
	CU_ASSERT_EQUAL(r->stats.in_frames, 128);
	CU_ASSERT_EQUAL(r->stats.in_bytes, 128 * 600);
	rig_free(r);
}

/* Frames that are dropped by name, and whose chains are given back. */
static void test_in_drops(void)
{
	struct rig *r = rig_new(16, RIG_V1, 0);
	struct virtio_net_hdr_v1 *hdr = rig_at(r, RIG_DATA);
	unsigned len;

	for (len = 0; len < FRAME_MIN; len++) {
		rig_desc(r->desc, 0, RIG_DATA, 12 + len, 0, 0);
		rig_offer(r, 0);
		CU_ASSERT(rig_in(r) > 0 && r->b.n == 0);
		vq_split_done(r->q);
		CU_ASSERT_EQUAL(r->stats.drops.short_frame, len + 1);
		CU_ASSERT_EQUAL(r->used->idx, len + 1);
	}
	rig_desc(r->desc, 0, RIG_DATA, 12 + FRAME_MAX + 1, 0, 0);
	rig_offer(r, 0);
	rig_desc(r->desc, 1, RIG_DATA, UINT32_MAX >> 11, 0, 0);
	rig_offer(r, 1);
	CU_ASSERT(rig_in(r) == 2 && r->b.n == 0);
	vq_split_done(r->q);
	CU_ASSERT_EQUAL(r->stats.drops.long_frame, 2);
	rig_desc(r->desc, 0, RIG_DATA, 72, 0, 0);
	hdr->flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
	rig_offer(r, 0);
	CU_ASSERT(rig_in(r) == 1 && r->b.n == 0);
	vq_split_done(r->q);
	hdr->flags = 0;
	hdr->gso_type = VIRTIO_NET_HDR_GSO_TCPV4;
	rig_offer(r, 0);
	CU_ASSERT(rig_in(r) == 1 && r->b.n == 0);
	vq_split_done(r->q);
	CU_ASSERT_EQUAL(r->stats.drops.bad_offload, 2);
	hdr->gso_type = 0;
	r->q->enabled = false;
	rig_offer(r, 0);
	CU_ASSERT(rig_in(r) == 1 && r->b.n == 0);
	vq_split_done(r->q);
	CU_ASSERT_EQUAL(r->stats.drops.queue_disabled, 1);
	CU_ASSERT_EQUAL(r->stats.in_frames, 0);
	CU_ASSERT_EQUAL(r->used->idx, r->avail_at);
	CU_ASSERT(!r->q->broken);
	rig_free(r);
}

/* A frame over many buffers: num_buffers, lengths, and all of them published together. */
static void merge(unsigned room, uint32_t len)
{
	unsigned i, total = 12 + len, n = (total + room - 1) / room, bad = 0;
	struct rig *r = rig_new(8192, RIG_MRG, 65000);
	uint8_t *data = r->mem.region[1].at;
	uint16_t used = r->used->idx;

	/* one buffer is missing: nothing may be taken */
	for (i = 0; i < n; i++) {
		rig_desc(r->desc, i, RIG_DATA + (uint64_t)i * room, room, VRING_DESC_F_WRITE, 0);
		r->b.n = r->b.n_pieces = 0;
		rig_fill(frame, len, room);
		rig_make_frame(r, frame, len, 3);
		if (i + 1 == n) {
			CU_ASSERT_EQUAL(rig_out(r), 0);
			CU_ASSERT_EQUAL(r->stats.drops.queue_full, 1);
			CU_ASSERT_EQUAL(r->used->idx, used);
		}
		rig_offer(r, i);
	}
	CU_ASSERT_EQUAL(rig_out(r), 1);
	CU_ASSERT_EQUAL((uint16_t)(r->used->idx - used), n);
	CU_ASSERT_EQUAL(data[10] | data[11] << 8, n);
	CU_ASSERT(!memcmp(data + 12, frame, len));
	for (i = 0; i < n; i++) {
		const struct vring_used_elem *e = &r->used->ring[(uint16_t)(used + i) & 8191];

		bad += e->id != i || e->len != (i + 1 < n ? room : total - (n - 1) * room);
	}
	CU_ASSERT_EQUAL(bad, 0);
	rig_free(r);
}

static void test_mergeable(void)
{
	static const unsigned room[] = {1, 7, 11, 12, 13, 64, 1526, 4096, 65536};
	unsigned i;

	for (i = 0; i < 9; i++) {
		merge(room[i], 14);
		merge(room[i], 60);
		merge(room[i], 1514);
		if (room[i] > 11) {
			merge(room[i], 9000 / (room[i] < 64 ? 2 : 1));
			merge(room[i] < 64 ? 64 : room[i], 65549);
		}
	}
}

/* Without mergeable buffers a frame fits its buffer or is dropped, and the buffer stays. */
static void test_buffer_short(void)
{
	struct rig *r = rig_new(4, RIG_V1, 0);

	rig_fill(frame, 100, 9);
	rig_desc(r->desc, 0, RIG_DATA, 111, VRING_DESC_F_WRITE, 0);
	rig_offer(r, 0);
	rig_make_frame(r, frame, 100, 1);
	CU_ASSERT_EQUAL(rig_out(r), 0);
	CU_ASSERT_EQUAL(r->stats.drops.buffer_short, 1);
	CU_ASSERT_EQUAL(r->used->idx, 0);
	r->b.n = r->b.n_pieces = 0;
	rig_make_frame(r, frame, 99, 1);
	rig_make_frame(r, frame, 99, 1);
	CU_ASSERT_EQUAL(rig_out(r), 1);
	CU_ASSERT_EQUAL(r->stats.drops.queue_full, 1);
	CU_ASSERT_EQUAL(r->stats.out_frames, 1);
	CU_ASSERT_EQUAL(r->stats.out_bytes, 99);
	CU_ASSERT(!r->q->broken);
	rig_free(r);
}

/* Full batches through rings of every size, from an index just before it comes round. */
static void test_ring_sizes(void)
{
	unsigned size, i, k, n, bad = 0;
	struct rig *in, *out;
	uint32_t len;

	for (size = 1; size <= 32768; size *= 2) {
		in = rig_new(size, RIG_EVENT, 65530);
		out = rig_new(size, RIG_MRG, 65530);
		for (i = 0; i < size; i++) {
			rig_desc(in->desc, i, RIG_DATA + 128 * i, 10 + 60, 0, 0);
			rig_desc(out->desc, i, RIG_DATA + 128 * i, 128, VRING_DESC_F_WRITE, 0);
		}
		for (i = 0; i < 70000 && !bad; i += n) {
			n = size < 50 ? size : 50;
			for (k = 0; k < n; k++) {
				put_buffer(in, RIG_DATA + 128 * ((i + k) % size), 60, i + k);
				rig_offer(in, (i + k) % size);
				rig_offer(out, (i + k) % size);
			}
			bad += rig_in(in) != n || in->b.n != n;
			out->b = in->b;
			bad += rig_out(out) != n;
			vq_split_done(in->q);
			bad += in->used->idx != in->avail_at || out->used->idx != out->avail_at;
			for (k = 0; k < n; k++) {
				rig_fill(frame, 60, i + k);
				bad += !!memcmp(rig_at(out, RIG_DATA + 12 + 128 * ((i + k) % size)),
						frame, 60);
				bad += !rig_read_frame(&in->b, k, got, &len) || len != 60;
			}
		}
		CU_ASSERT_EQUAL(bad, 0);
		rig_free(in);
		rig_free(out);
	}
}

static void offer_frames(struct rig *r, unsigned n)
{
	for (; n; n--) {
		rig_desc(r->desc, r->avail_at % r->size, RIG_DATA, 72, 0, 0);
		rig_offer(r, r->avail_at % r->size);
	}
}

/* The guest is called when it asked for it, and only then. */
/* A legacy driver that wants no calls is called all the same when all that it offered is used. */
static void test_notify_on_empty(void)
{
	struct rig *r = rig_new(256, 1ull << VIRTIO_F_NOTIFY_ON_EMPTY, 65530);

	r->avail->flags = VRING_AVAIL_F_NO_INTERRUPT;
	offer_frames(r, 3);
	rig_in(r);
	vq_split_done(r->q);
	CU_ASSERT_EQUAL(rig_calls(r), 1);
	offer_frames(r, 3);
	rig_in(r);
	offer_frames(r, 1);
	vq_split_done(r->q);
	CU_ASSERT_EQUAL(rig_calls(r), 0);
	rig_free(r);
}

static void test_calls(void)
{
	struct rig *r = rig_new(256, RIG_V1 | RIG_EVENT, 65500);
	uint16_t *event = &r->avail->ring[256];
	unsigned i, calls = 0;

	offer_frames(r, 1);
	rig_in(r);
	vq_split_done(r->q); /* the first time it is always called */
	rig_calls(r);
	for (i = 0; i < 200; i++) {
		if (i % 10 == 0)
			*event = r->avail_at + 5; /* call when the 6th from now is used */
		offer_frames(r, 1);
		rig_in(r);
		vq_split_done(r->q);
		calls += rig_calls(r);
		CU_ASSERT_EQUAL(calls, i / 10 + (i % 10 >= 5));
	}
	*event = r->avail_at + 20; /* in the middle of a batch */
	offer_frames(r, 50);
	rig_in(r);
	vq_split_done(r->q);
	CU_ASSERT_EQUAL(rig_calls(r), 1);
	rig_free(r);

	r = rig_new(256, RIG_V1, 0);
	for (i = 0; i < 10; i++) {
		r->avail->flags = i % 2 ? VRING_AVAIL_F_NO_INTERRUPT : 0;
		offer_frames(r, 3);
		rig_in(r);
		vq_split_done(r->q);
		CU_ASSERT_EQUAL(rig_calls(r), i % 2 ? 0 : 1);
	}
	CU_ASSERT_EQUAL(r->q->calls, 5);
	r->q->call_fd = -1; /* no call fd: no harm */
	r->avail->flags = 0;
	offer_frames(r, 1);
	rig_in(r);
	vq_split_done(r->q);
	rig_free(r);
}

/* Whether a driver would kick after adding entries from @old to now (virtio 1.2, 2.7.10). */
static bool wants_kick(struct rig *r, bool event_idx, uint16_t old)
{
	uint16_t event;

	if (!event_idx)
		return !(r->used->flags & VRING_USED_F_NO_NOTIFY);
	memcpy(&event, &r->used->ring[r->size], sizeof(event));
	return vring_need_event(event, r->avail_at, old);
}

/* A polling switch asks for silence, a sleeping one for a kick, and it sees what came between. */
static void test_kicks(void)
{
	struct rig *r;
	unsigned event, i, kicks;

	for (event = 0; event < 2; event++) {
		r = rig_new(64, event ? RIG_EVENT : 0, 65530);
		vq_split_wait(r->q, false);
		for (i = 0, kicks = 0; i < 1000; i++) {
			uint16_t old = r->avail_at;

			offer_frames(r, 1);
			kicks += wants_kick(r, event, old);
			rig_in(r);
			vq_split_done(r->q);
		}
		CU_ASSERT(kicks <= event); /* where the index comes round there may be one */
		for (i = 0; i < 100; i++) {
			uint16_t old = r->avail_at;

			CU_ASSERT_EQUAL(vq_split_wait(r->q, true), false);
			offer_frames(r, 1);
			CU_ASSERT(wants_kick(r, event, old));
			CU_ASSERT_EQUAL(vq_split_wait(r->q, true), true);
			vq_split_wait(r->q, false);
			old = r->avail_at;
			offer_frames(r, 1);
			CU_ASSERT(i == 0 || !event || r->avail_at == 1 ||
				  !wants_kick(r, event, old));
			CU_ASSERT(event || !wants_kick(r, event, old));
			rig_in(r);
			vq_split_done(r->q);
		}
		rig_free(r);
	}
}

/* What vq_new() refuses. */
static void test_new(void)
{
	struct rig *r = rig_new(16, RIG_EVENT, 7);
	struct vq_setup good = {.mem = &r->mem,
				.size = 16,
				.features = RIG_EVENT,
				.desc_uva = (uintptr_t)r->desc,
				.avail_uva = (uintptr_t)r->avail,
				.used_uva = (uintptr_t)r->used,
				.call_fd = -1},
			s;
	static const uint32_t size[] = {0, 3, 17, 65536, UINT32_MAX};
	struct vq *q = NULL;
	unsigned i;

	for (i = 0; i < 5; i++) {
		s = good;
		s.size = size[i];
		CU_ASSERT_EQUAL(vq_new(&q, &s), -EINVAL);
	}
	for (i = 0; i < 9; i++) {
		s = good;
		s.desc_uva += i == 0 ? 8 : i == 1 ? 1 << 20 : i == 2 ? -16 : 0;
		s.avail_uva += i == 3 ? 1 : i == 4 ? 1 << 20 : i == 5 ? -1024 : 0;
		s.used_uva += i == 6 ? 2 : i == 7 ? 4 : i == 8 ? UINT64_MAX - s.used_uva : 0;
		CU_ASSERT_EQUAL(vq_new(&q, &s), -EFAULT);
	}
	CU_ASSERT_PTR_NULL(q);
	CU_ASSERT_EQUAL(vq_new(&q, &good), 0);
	vq_free(q);
	vq_free(NULL);
	rig_free(r);
}

/* A ring is born quiet: nobody kicks before a worker that goes to sleep asks for it. */
static void test_born_quiet(void)
{
	unsigned event, i;
	struct rig *r;

	for (event = 0; event < 2; event++) {
		r = rig_new(64, event ? RIG_EVENT : 0, 0);
		for (i = 0; i < 64; i++) {
			uint16_t old = r->avail_at;

			offer_frames(r, 1);
			CU_ASSERT_FALSE(wants_kick(r, event, old));
		}
		CU_ASSERT(!event || !r->used->flags); /* with EVENT_IDX they are 0 (2.7.7.1) */
		rig_free(r);
	}
}

static const struct check tests[] = {
	{"in: headers in pieces", test_in_headers},
	{"out: headers in pieces", test_out_headers},
	{"in: lengths", test_in_lengths},
	{"out: lengths", test_out_lengths},
	{"empty pieces", test_empty_pieces},
	{"across regions", test_across_regions},
	{"in: more pieces than a batch holds", test_many_pieces},
	{"in: drops", test_in_drops},
	{"out: mergeable", test_mergeable},
	{"out: buffer too short", test_buffer_short},
	{"ring sizes and wrap", test_ring_sizes},
	{"calls", test_calls},
	{"notify on empty", test_notify_on_empty},
	{"kicks", test_kicks},
	{"born quiet", test_born_quiet},
	{"new", test_new},
	{NULL, NULL},
};

int main(int argc, char **argv)
{
	return check_main("vq_split", tests, argc, argv);
}
