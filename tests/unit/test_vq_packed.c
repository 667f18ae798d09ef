/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The packed ring with guests that keep the rules: every cut, length, ring size and feature. */
#include "packed_rig.h"

#include <errno.h>
#include <stdio.h>

#define NEW  0x8000 /* base of a ring that starts */
#define DATA (RIG_DATA + 0x100000 + 3)
#define TAB  (RIG_DATA + 8) /* neither is aligned */

static uint8_t frame[FRAME_MAX + 64], got[FRAME_MAX + 64];

/* Writes header and frame number @seed of @len bytes into guest memory at @gpa. */
static void put_buffer(struct rig *r, uint64_t gpa, uint32_t len, uint32_t seed)
{
	uint8_t *at = rig_at(r, gpa);

	memset(at, 0, r->hdr_len);
	rig_fill(frame, len, seed);
	memcpy(at + r->hdr_len, frame, len);
}

/* The next used descriptor is @id's, @len bytes were written. */
static bool is_used(struct rig *r, uint16_t id, uint32_t len, bool write)
{
	struct vring_packed_desc d;

	return packed_used(r, &d) && d.id == id && !!(d.flags & VRING_DESC_F_WRITE) == write &&
	       (!write || d.len == len);
}

static bool none_used(struct rig *r)
{
	struct vring_packed_desc d;

	return !packed_used(r, &d);
}

static void one_frame(struct rig *r, uint32_t len, unsigned pieces)
{
	r->b.n = r->b.n_pieces = 0;
	rig_make_frame(r, frame, len, pieces ? pieces : len > FRAME_HEAD);
}

static void offer_cut(struct rig *r, const uint32_t *cut, unsigned n, bool indirect, uint16_t id,
		      uint16_t flags)
{
	if (indirect)
		packed_table(r, TAB, DATA, cut, n, id, flags);
	else
		packed_chain(r, DATA, cut, n, id, flags);
}

/* One frame through the transmit ring, cut at @cut, directly or through an indirect table. */
static bool send_cut(struct rig *r, const uint32_t *cut, unsigned n, bool indirect, uint32_t len)
{
	uint16_t id = len % r->size;
	uint32_t have;

	put_buffer(r, DATA, len, len + n);
	offer_cut(r, cut, n, indirect, id, 0);
	if (rig_in(r) != 1 || r->b.n != 1 || !rig_read_frame(&r->b, 0, got, &have) || !none_used(r))
		return false;
	vq_done(r->q);
	return have == len && !memcmp(got, frame, len) && r->b.frame[0].out == FRAME_PORT_NONE &&
	       is_used(r, id, 0, false) && none_used(r) && !rig_in(r) && !r->q->broken;
}

/* One frame through the receive ring, into one buffer of @room bytes cut at @cut. */
static bool recv_cut(struct rig *r, const uint32_t *cut, unsigned n, bool indirect, uint32_t len)
{
	static const uint8_t hdr[12] = {[10] = 1};
	uint8_t *at = rig_at(r, DATA);
	uint16_t id = len % r->size;

	offer_cut(r, cut, n, indirect, id, VRING_DESC_F_WRITE);
	memset(at, 0xa5, r->hdr_len + len + 1);
	rig_fill(frame, len, len + n);
	one_frame(r, len, n % 5);
	return rig_out(r) == 1 && !memcmp(at, hdr, r->hdr_len) &&
	       !memcmp(at + r->hdr_len, frame, len) && at[r->hdr_len + len] == 0xa5 &&
	       is_used(r, id, r->hdr_len + len, true) && none_used(r) && !r->q->broken;
}

typedef bool (*pass_frame)(struct rig *r, const uint32_t *cut, unsigned n, bool indirect,
			   uint32_t len);

/* Every way to cut a header of 10 or 12 bytes into pieces, with the frame joined to it or apart. */
static void split_headers(pass_frame pass)
{
	unsigned hdr, set, i, n, indirect;
	uint32_t cut[16];
	struct rig *r;

	for (hdr = 10; hdr <= 12; hdr += 2) {
		r = rig_new(17, RIG_PACKED | RIG_INDIRECT | (hdr == 12 ? RIG_V1 : 0), NEW | 5);
		CU_ASSERT_EQUAL(r->hdr_len, hdr);
		for (set = 0; set < 1u << hdr; set++) {
			indirect = (set ^ set >> 3) & 1;
			for (i = 1, n = 0; i < hdr; i++)
				if (set & 1u << (i - 1))
					cut[n++] = i;
			if (set >> (hdr - 1))
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
static void all_lengths(pass_frame pass)
{
	static const unsigned pieces[] = {1, 2, 3, 5, 16, 18, 40, 1000};
	static uint32_t cut[1024];
	uint64_t features;
	struct rig *r;
	uint32_t len;
	unsigned i;

	for (features = 0; features <= RIG_V1; features += RIG_V1) {
		r = rig_new(1023, features | RIG_INDIRECT | RIG_PACKED, NEW | 1000);
		for (len = 14; len <= FRAME_MAX; len += len < 200 ? 1 : len < 9000 ? 97 : 9413) {
			for (i = 0; i < 8; i++) {
				uint32_t total = r->hdr_len + len;
				unsigned n = pieces[i] < total ? pieces[i] : total;

				rig_cuts(cut, total, n);
				if (!pass(r, cut, n, len % 2, len)) {
					printf("%u bytes in %u pieces\n", len, n);
					CU_FAIL_FATAL("not passed");
				}
			}
		}
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
	struct rig *r = rig_new(16, RIG_V1 | RIG_PACKED, NEW);

	CU_ASSERT(send_cut(r, cut, 9, false, 60));
	CU_ASSERT(recv_cut(r, cut, 9, false, 60));
	rig_free(r);
}

/* Plain frames at the edges of what is looked at ahead: across regions, and beyond the last. */
static void test_crosses(void)
{
	static const uint64_t at[] = {RIG_DATA, RIG_NEXT - 30, RIG_DATA + 4096, RIG_NEXT - 211,
				      RIG_NEXT - 212};
	static const uint64_t beyond = RIG_NEXT + RIG_NEXT_SIZE - 211;
	struct rig *in = rig_new(7, RIG_V1 | RIG_PACKED, NEW | 5);
	struct rig *out = rig_new(7, RIG_V1 | RIG_PACKED, NEW | 5);
	uint32_t len;
	unsigned i, k;

	rig_fill(frame, 200, 7);
	for (i = 0; i < 5; i++) {
		packed_offer(in, at[i], 212, i, 0);
		packed_offer(out, at[i], 212, i, VRING_DESC_F_WRITE);
		for (k = 0; k < 212; k++)
			*(uint8_t *)rig_at(in, at[i] + k) = k < 12 ? 0 : frame[k - 12];
		CU_ASSERT(rig_in(in) == 1 && rig_read_frame(&in->b, 0, got, &len));
		CU_ASSERT(len == 200 && !memcmp(got, frame, 200));
		out->b = in->b;
		CU_ASSERT_EQUAL(rig_out(out), 1);
		vq_done(in->q);
		CU_ASSERT(is_used(in, i, 0, false) && is_used(out, i, 212, true));
		for (k = 12; k < 212; k++)
			if (*(uint8_t *)rig_at(out, at[i] + k) != frame[k - 12])
				break;
		CU_ASSERT_EQUAL(k, 212);
	}
	packed_offer(in, at[0], 212, 1, 0);
	packed_offer(in, beyond, 212, 2, 0);
	packed_offer(out, at[0], 212, 1, VRING_DESC_F_WRITE);
	packed_offer(out, beyond, 212, 2, VRING_DESC_F_WRITE);
	one_frame(out, 200, 1);
	rig_make_frame(out, frame, 200, 1);
	CU_ASSERT(rig_in(in) == 1 && rig_out(out) == 1);
	CU_ASSERT_EQUAL(in->q->broken, VQ_BAD_ADDRESS);
	CU_ASSERT_EQUAL(out->q->broken, VQ_BAD_ADDRESS);
	rig_free(in);
	rig_free(out);
}

/* More pieces than a batch holds: the rest comes with the next batch, in order, none lost. */
static void test_many_pieces(void)
{
	struct rig *r = rig_new(4000, RIG_V1 | RIG_PACKED, NEW | 1);
	unsigned i, rounds = 0, seen = 0;
	uint32_t cut[30], n;

	for (i = 0; i < 128; i++) {
		put_buffer(r, RIG_DATA + 4096 * i, 600, i);
		rig_cuts(cut, 612, 30);
		packed_chain(r, RIG_DATA + 4096 * i, cut, 30, i, 0);
	}
	while (seen < 128 && rounds++ < 10) {
		CU_ASSERT(rig_in(r) > 0);
		vq_done(r->q);
		for (i = 0; i < r->b.n; i++, seen++) {
			rig_fill(frame, 600, seen);
			CU_ASSERT(rig_read_frame(&r->b, i, got, &n));
			CU_ASSERT(n == 600 && !memcmp(got, frame, n));
			CU_ASSERT(is_used(r, seen, 0, false));
		}
	}
	CU_ASSERT_EQUAL(seen, 128);
	CU_ASSERT(rounds > 1);
	CU_ASSERT_EQUAL(r->stats.in_frames, 128);
	rig_free(r);
}

/* Frames that are dropped by name, and whose chains are given back: long ones as a whole. */
static void test_in_drops(void)
{
	static const uint32_t cut[] = {12, 70000, 140000, 140001};
	struct rig *r = rig_new(7, RIG_V1 | RIG_PACKED, NEW);
	unsigned len, i;

	for (len = 0; len < FRAME_MIN; len++) {
		packed_offer(r, RIG_DATA, 12 + len, len % 7, 0);
		CU_ASSERT(rig_in(r) == 1 && r->b.n == 0);
		vq_done(r->q);
		CU_ASSERT(is_used(r, len % 7, 0, false));
		CU_ASSERT_EQUAL(r->stats.drops.short_frame, len + 1);
	}
	for (i = 0; i < 20; i++) {
		packed_chain(r, RIG_DATA, cut, 4, 3, 0);
		packed_offer(r, RIG_DATA, 12 + FRAME_MAX + 1, 2, 0);
		packed_offer(r, RIG_DATA, 72, 1, 0);
		CU_ASSERT(rig_in(r) == 3 && r->b.n == 1);
		vq_done(r->q);
		CU_ASSERT(is_used(r, 3, 0, false) && is_used(r, 2, 0, false) &&
			  is_used(r, 1, 0, false) && none_used(r));
	}
	CU_ASSERT_EQUAL(r->stats.drops.long_frame, 2 * 20);
	r->q->enabled = false;
	packed_offer(r, RIG_DATA, 72, 1, 0);
	CU_ASSERT(rig_in(r) == 1 && r->b.n == 0);
	vq_done(r->q);
	CU_ASSERT_EQUAL(r->stats.drops.queue_disabled, 1);
	CU_ASSERT_EQUAL(r->stats.in_frames, 20);
	CU_ASSERT(!r->q->broken);
	rig_free(r);
}

/* A frame over many buffers: num_buffers, lengths, and all of them visible together. */
static void merge(unsigned room, uint32_t len, uint64_t features)
{
	unsigned i, total = 12 + len, n = (total + room - 1) / room, bad = 0;
	struct rig *r = rig_new(8191, RIG_MRG | RIG_PACKED | features, NEW | 8000);
	uint8_t *data = r->mem.region[1].at;

	/* one buffer is missing: nothing may be taken */
	for (i = 0; i < n; i++) {
		one_frame(r, len, 3);
		rig_fill(frame, len, room);
		one_frame(r, len, 3);
		if (i + 1 == n) {
			CU_ASSERT_EQUAL(rig_out(r), 0);
			CU_ASSERT_EQUAL(r->stats.drops.queue_full, 1);
			CU_ASSERT(none_used(r));
		}
		packed_offer(r, RIG_DATA + (uint64_t)i * room, room, 8190 - i, VRING_DESC_F_WRITE);
	}
	CU_ASSERT_EQUAL(rig_out(r), 1);
	CU_ASSERT_EQUAL(data[10] | data[11] << 8, n);
	CU_ASSERT(!memcmp(data + 12, frame, len));
	for (i = 0; i < n; i++)
		bad += !is_used(r, 8190 - i, i + 1 < n ? room : total - (n - 1) * room, true);
	CU_ASSERT(none_used(r));
	CU_ASSERT_EQUAL(bad, 0);
	rig_free(r);
}

static void test_mergeable(void)
{
	static const unsigned room[] = {1, 7, 11, 12, 13, 64, 1526, 4096, 65536};
	unsigned i;

	for (i = 0; i < 9; i++) {
		merge(room[i], 14, 0);
		merge(room[i], 60, RIG_IN_ORDER);
		merge(room[i], 1514, 0);
		if (room[i] > 11)
			merge(room[i] < 64 ? 64 : room[i], 65549, 0);
	}
}

/* Without mergeable buffers a frame fits its buffer or is dropped, and the buffer stays. */
static void test_buffer_short(void)
{
	struct rig *r = rig_new(3, RIG_V1 | RIG_PACKED, NEW);

	rig_fill(frame, 100, 9);
	packed_offer(r, RIG_DATA, 111, 2, VRING_DESC_F_WRITE);
	rig_make_frame(r, frame, 100, 1);
	CU_ASSERT_EQUAL(rig_out(r), 0);
	CU_ASSERT_EQUAL(r->stats.drops.buffer_short, 1);
	CU_ASSERT(none_used(r));
	r->b.n = r->b.n_pieces = 0;
	rig_make_frame(r, frame, 99, 1);
	rig_make_frame(r, frame, 99, 1);
	CU_ASSERT_EQUAL(rig_out(r), 1);
	CU_ASSERT_EQUAL(r->stats.drops.queue_full, 1);
	CU_ASSERT_EQUAL(r->stats.out_bytes, 99);
	CU_ASSERT(is_used(r, 2, 111, true) && !r->q->broken);
	rig_free(r);
}

/* Frames through rings of any size, plain and in two descriptors by turns, for many laps. */
static void pass_many(unsigned size, uint64_t features)
{
	struct rig *in = rig_new(size, RIG_EVENT | RIG_PACKED | features, NEW | (size / 3));
	struct rig *out = rig_new(size, RIG_MRG | RIG_PACKED | features, size - 1);
	unsigned i, k, n, bad = 0, per = size < 100 ? size : 100;
	struct vring_packed_desc d;

	for (i = 0; i < 70000 && !bad; i += n) {
		unsigned descs = 0;

		for (n = 0; n < per; n++) {
			uint32_t cut[2] = {10 + (i + n) % 50, 10 + 60};
			unsigned slot = (i + n) % size, two = (i + n) % 7 == 3;

			if (descs + 1 + two > size)
				break;
			descs += 1 + two;
			put_buffer(in, RIG_DATA + 128 * slot, 60, i + n);
			packed_chain(in, RIG_DATA + 128 * slot, cut + !two, 1 + two,
				     size - 1 - slot, 0);
			packed_chain(out, RIG_DATA + 128 * slot, cut + !two, 1 + two, slot,
				     VRING_DESC_F_WRITE);
			out->ring[(out->avail_at + size - 1) % size].len += 58;
		}
		bad += rig_in(in) != n || in->b.n != n;
		out->b = in->b;
		bad += rig_out(out) != n;
		vq_done(in->q);
		for (k = 0; k < n; k++) {
			unsigned slot = (i + k) % size;

			rig_fill(frame, 60, i + k);
			bad += !!memcmp(rig_at(out, RIG_DATA + 12 + 128 * slot), frame, 60);
			bad += !is_used(out, slot, 72, true);
			if (!(features & RIG_IN_ORDER))
				bad += !is_used(in, size - 1 - slot, 0, false);
		}
		/* in order one used descriptor tells of all: the next is behind the last */
		if (features & RIG_IN_ORDER) {
			bad += !packed_used(in, &d) || d.id != size - 1 - (i + n - 1) % size;
			in->used_at = in->avail_at;
			in->used_wrap = in->avail_wrap;
		}
		bad += !none_used(in) || !none_used(out) || rig_in(in);
	}
	if (bad)
		printf("     ring of %u, frame %u\n", size, i);
	CU_ASSERT_EQUAL(bad, 0);
	rig_free(in);
	rig_free(out);
}

static void test_ring_sizes(void)
{
	static const unsigned size[] = {2, 3, 5, 16, 31, 100, 255, 256, 1000, 4097, 32767, 32768};
	unsigned i;

	for (i = 0; i < 12; i++) {
		pass_many(size[i], 0);
		pass_many(size[i], RIG_IN_ORDER);
	}
}

static void pass_batch(struct rig *r, unsigned n)
{
	struct vring_packed_desc d;
	unsigned i;

	for (i = 0; i < n; i++)
		packed_offer(r, RIG_DATA, 72, i, 0);
	rig_in(r);
	vq_done(r->q);
	while (packed_used(r, &d))
		;
}

/* The guest is called when it asked for it, and only then (2.8.10). */
static void test_calls(void)
{
	struct rig *r = rig_new(250, RIG_V1 | RIG_EVENT | RIG_PACKED, NEW | 200);
	unsigned i, n, at, calls = 0;

	r->driver->flags = VRING_PACKED_EVENT_FLAG_DESC;
	pass_batch(r, 1); /* the first time it is always called */
	rig_calls(r);
	for (i = 0; i < 600; i++) {
		if (i % 10 == 0) { /* call when the 6th from now is used */
			at = r->avail_at + 5;
			r->driver->off_wrap = at % 250 |
					      (r->avail_wrap ^ (at >= 250) ? PACKED_WRAP : 0);
		}
		pass_batch(r, 1);
		calls += rig_calls(r);
		CU_ASSERT_EQUAL(calls, i / 10 + (i % 10 >= 5));
	}
	for (i = 0; i < 40; i++) { /* in the middle of a batch, or just behind it */
		n = 20 + i;
		at = r->avail_at + n - i % 2;
		r->driver->off_wrap = at % 250 | (r->avail_wrap ^ (at >= 250) ? PACKED_WRAP : 0);
		pass_batch(r, n);
		CU_ASSERT_EQUAL(rig_calls(r), i % 2);
	}
	for (i = 0; i < 10; i++) {
		r->driver->flags = i % 2 ? VRING_PACKED_EVENT_FLAG_DISABLE
					 : VRING_PACKED_EVENT_FLAG_ENABLE;
		pass_batch(r, 3);
		CU_ASSERT_EQUAL(rig_calls(r), !(i % 2));
	}
	/* an eventfd that comes late is used for the next frame, whatever was asked for until then
	 */
	r->driver->flags = VRING_PACKED_EVENT_FLAG_DESC;
	r->q->call_fd = -1;
	pass_batch(r, 1);
	r->q->call_fd = r->call_fd;
	pass_batch(r, 1);
	CU_ASSERT_EQUAL(rig_calls(r), 1);
	rig_free(r);
}

static void test_notify_on_empty(void)
{
	struct rig *r = rig_new(9, RIG_PACKED | 1ull << VIRTIO_F_NOTIFY_ON_EMPTY, NEW);

	r->driver->flags = VRING_PACKED_EVENT_FLAG_DISABLE;
	pass_batch(r, 2);
	CU_ASSERT_EQUAL(rig_calls(r), 1);
	packed_offer(r, RIG_DATA, 72, 0, 0);
	rig_in(r);
	packed_offer(r, RIG_DATA, 72, 1, 0);
	vq_done(r->q);
	CU_ASSERT_EQUAL(rig_calls(r), 0);
	rig_free(r);
}

/* A polling switch asks for silence, a sleeping one for a kick, and it sees what came between. */
static void test_kicks(void)
{
	unsigned event, i;
	struct rig *r;

	for (event = 0; event < 2; event++) {
		r = rig_new(63, RIG_PACKED | (event ? RIG_EVENT : 0), NEW | 7);
		for (i = 0; i < 1000; i++) { /* born quiet */
			packed_offer(r, RIG_DATA, 72, 0, 0);
			CU_ASSERT(!packed_wants_kick(r, 1));
			rig_in(r);
			vq_done(r->q);
		}
		for (i = 0; i < 200; i++) {
			CU_ASSERT_EQUAL(vq_wait(r->q, true), false);
			packed_offer(r, RIG_DATA, 72, 0, 0);
			CU_ASSERT(packed_wants_kick(r, 1));
			packed_offer(r, RIG_DATA, 72, 0, 0);
			CU_ASSERT(packed_wants_kick(r, 2));
			CU_ASSERT(event != packed_wants_kick(r, 1));
			CU_ASSERT_EQUAL(vq_wait(r->q, true), true);
			vq_wait(r->q, false);
			packed_offer(r, RIG_DATA, 72, 0, 0);
			CU_ASSERT(!packed_wants_kick(r, 1));
			rig_in(r);
			vq_done(r->q);
		}
		rig_free(r);
	}
}

/* What vq_new() refuses. */
static void test_new(void)
{
	struct rig *r = rig_new(17, RIG_PACKED, NEW);
	struct vq_setup good = {.mem = &r->mem,
				.size = 17,
				.base = 0x80008000,
				.features = RIG_PACKED,
				.desc_uva = (uintptr_t)r->ring,
				.avail_uva = (uintptr_t)r->driver,
				.used_uva = (uintptr_t)r->device,
				.call_fd = -1},
			s;
	static const uint32_t size[] = {0, 32769, 65536, UINT32_MAX};
	struct vq *q = NULL;
	unsigned i;

	for (i = 0; i < 4; i++) {
		s = good;
		s.size = size[i];
		CU_ASSERT_EQUAL(vq_new(&q, &s), -EINVAL);
	}
	for (i = 0; i < 10; i++) {
		s = good;
		s.desc_uva += i == 0 ? 8 : i == 1 ? 1 << 20 : i == 2 ? -16 : i == 9 ? 16 : 0;
		s.avail_uva += i == 3 ? 2 : i == 4 ? 1 << 20 : i == 5 ? -1024 : 0;
		s.used_uva += i == 6 ? 2 : i == 7 ? 4 : i == 8 ? UINT64_MAX - s.used_uva : 0;
		CU_ASSERT_EQUAL(vq_new(&q, &s), -EFAULT);
	}
	CU_ASSERT_PTR_NULL(q);
	CU_ASSERT_EQUAL(vq_new(&q, &good), 0);
	CU_ASSERT_EQUAL(vq_base(q), 0x80008000);
	vq_free(q);
	rig_free(r);
}

static enum vq_broken begins(struct rig *r, uint32_t base)
{
	struct vq_setup s = {.mem = &r->mem,
			     .size = r->size,
			     .base = base,
			     .features = RIG_PACKED,
			     .desc_uva = (uintptr_t)r->ring,
			     .avail_uva = (uintptr_t)r->driver,
			     .used_uva = (uintptr_t)r->device,
			     .call_fd = -1};
	enum vq_broken broken;
	struct vq *q = NULL;

	CU_ASSERT_EQUAL_FATAL(vq_new(&q, &s), 0);
	broken = q->broken;
	vq_free(q);
	return broken;
}

/*
 * A ring that was in use goes on where it stood, and nowhere near its beginning: QEMU says that of
 * a ring whose place vxsd couldn't tell it.
 */
static void places(unsigned pieces, bool rest)
{
	struct rig *r = rig_new(7, RIG_PACKED, NEW);
	const uint32_t cut[] = {40, 72};
	struct vring_packed_desc d;
	unsigned i;

	memset(r->ring, 0, 16 * r->size); /* as a new one */
	for (i = 0; i < 60; i++) {
		CU_ASSERT_EQUAL(begins(r, vq_base(r->q)), VQ_OK);
		CU_ASSERT_EQUAL(begins(r, NEW),
				(vq_base(r->q) & UINT16_MAX) == NEW ? VQ_OK : VQ_BAD_PLACE);
		packed_chain(r, RIG_DATA, cut + 2 - pieces, pieces, 1, 0);
		rig_in(r);
		vq_done(r->q);
		CU_ASSERT(packed_used(r, &d));
		if (rest) { /* which nobody has taken when it is over */
			packed_chain(r, RIG_DATA, cut + 2 - pieces, pieces, 1, 0);
			CU_ASSERT_EQUAL(begins(r, vq_base(r->q)), VQ_OK);
			rig_in(r);
			vq_done(r->q);
			CU_ASSERT(packed_used(r, &d));
		}
	}
	CU_ASSERT_EQUAL(r->q->broken, VQ_OK);
	rig_free(r);
}

static void test_places(void)
{
	places(1, false);
	places(1, true);
	places(2, false);
	places(2, true);
}

static const struct check tests[] = {
	{"in: headers in pieces", test_in_headers},
	{"out: headers in pieces", test_out_headers},
	{"in: lengths", test_in_lengths},
	{"out: lengths", test_out_lengths},
	{"empty pieces", test_empty_pieces},
	{"plain across regions", test_crosses},
	{"in: more pieces than a batch holds", test_many_pieces},
	{"in: drops", test_in_drops},
	{"out: mergeable", test_mergeable},
	{"out: buffer too short", test_buffer_short},
	{"ring sizes and wrap", test_ring_sizes},
	{"calls", test_calls},
	{"notify on empty", test_notify_on_empty},
	{"kicks", test_kicks},
	{"new", test_new},
	{"places", test_places},
	{NULL, NULL},
};

int main(int argc, char **argv)
{
	return check_main("vq_packed", tests, argc, argv);
}
