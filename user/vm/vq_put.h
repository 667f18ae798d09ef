/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* From a frame to a guest's receive buffers: what all ring formats do alike. */
#ifndef VQ_PUT_H
#define VQ_PUT_H

#include <string.h>

#include <linux/virtio_net.h>

#include "offload/cutter.h"
#include "switch/count.h"
#include "switch/frame.h"
#include "vm/vq.h"
#include "vm/vq_log.h"

/*
 * Room comes first, then the bytes: a ring format collects memory from its next chains until header
 * and frame fit (struct room), and only then anything is written. So a frame that doesn't fit costs
 * no copy, num_buffers is known when the header is written, and the last thing written may be the
 * first bytes: a checksum, once the payload was copied and summed up.
 */

/*
 * Buffers of no length, or chains of many tiny ones, would let a guest keep us busy for nothing: a
 * batch looks at so many descriptors (256 frames of 64 KB in segments of 1448 bytes are 11,776),
 * then at no more.
 */
#define OUT_STEPS_MAX 16384
#define SPANS_MAX     8192 /* one is as long as a buffer, and drivers have no tiny ones */

/* What putting says beside enum vq_broken: nothing was taken from the ring. */
#define PUT_FULL  (VQ_ABSENT + 1)
#define PUT_SHORT (VQ_ABSENT + 2)

struct out_count {
	unsigned frames, queue_full, buffer_short, memory_absent, queue_broken;
	uint64_t bytes, calls;
	unsigned steps; /* descriptors that this batch may still look at one by one */
};

/* Memory for one frame and its header, in the order of the guest's buffers. */
struct room {
	uint32_t need; /* bytes that are still missing */
	unsigned *steps;
	unsigned n;
	struct span span[SPANS_MAX];
};

/* Adds what a descriptor offers, as far as it is needed. */
static inline unsigned room_add(struct vq *q, struct room *r, uint64_t gpa, uint32_t len,
				uint32_t *written)
{
	if (!*r->steps)
		return PUT_SHORT;
	--*r->steps;
	while (len && r->need) {
		uint32_t n = len < r->need ? len : r->need;
		uint8_t *to = vu_mem_gpa(q->mem, &q->cursor, gpa, &n);

		if (!to)
			return vq_missing(q, &q->cursor);
		if (r->n == SPANS_MAX)
			return PUT_SHORT;
		r->span[r->n++] = (struct span){to, n};
		gpa += n;
		len -= n;
		r->need -= n;
		*written += n;
	}
	return VQ_OK;
}

/* Writes the header to where the room begins; returns the index of the span behind it. */
static inline unsigned put_header(struct room *r, const struct frame_offload *o, uint32_t hdr_len,
				  uint16_t n_buffers)
{
	const uint16_t count = htole16(n_buffers);
	struct span *first = &r->span[0];
	uint8_t hdr[VQ_HDR_MAX];
	const uint8_t *from = hdr;
	unsigned i = 0;

	if (__builtin_expect(hdr_len == VQ_HDR_MAX && first->len >= VQ_HDR_MAX, 1)) {
		memcpy(first->at, o, sizeof(*o));
		memcpy(first->at + VQ_HDR_NUM_BUFFERS, &count, sizeof(count));
		first->at += VQ_HDR_MAX;
		first->len -= VQ_HDR_MAX;
		return !first->len;
	}
	memcpy(hdr, o, sizeof(*o));
	memcpy(hdr + VQ_HDR_NUM_BUFFERS, &count, sizeof(count));
	while (hdr_len) {
		struct span *s = &r->span[i];
		uint32_t n = hdr_len < s->len ? hdr_len : s->len;

		memcpy(s->at, from, n);
		from += n;
		hdr_len -= n;
		s->at += n;
		s->len -= n;
		if (!s->len)
			i++;
	}
	return i;
}

/*
 * A header that ends where a cache line does has that line for itself, and the guest may never
 * write to it: DPDK's mbufs lie so, and its driver looks at the header first and writes only what
 * differs, as do we there. Then the line stays in both CPUs' caches, which is one of the few lines
 * that a small frame would take from CPU to CPU.
 */
static inline bool has_own_line(uint64_t hdr_gpa, uint32_t hdr_len)
{
	return !((hdr_gpa + hdr_len) & 63);
}

/* What loops over plain frames know of them; constants, so that each has a loop of its own. */
struct plain {
	uint32_t hdr_len, takes;
	bool open; /* see struct batch */
	bool own;  /* headers have lines for themselves; or so had the first of the loop */
};

static __always_inline struct plain plain_of(const struct vq *q, uint32_t hdr_len, bool open,
					     bool own)
{
	return (struct plain){.hdr_len = hdr_len, .takes = q->takes, .open = open, .own = own};
}

/* A buffer's first two lines, on their way to be written. */
static __always_inline void prefetch_buffer(const uint8_t *at, struct plain how)
{
	if (how.own)
		__builtin_prefetch(at);
	else
		__builtin_prefetch(at, 1);
	__builtin_prefetch(at + 64, 1);
}

/* The header in one piece, of a frame in one buffer. */
static __always_inline void put_header_plain(uint8_t *to, const struct frame *f, struct plain how)
{
	static const uint8_t closed[VQ_HDR_MAX] = {[VQ_HDR_NUM_BUFFERS] = 1};

	if (!how.own || memcmp(to, closed, how.hdr_len))
		memcpy(to, closed, how.hdr_len);
	if (how.open)
		memcpy(to, &f->offload, sizeof(f->offload));
}

/* What loops over them know of a frame on its way: its buffer is large enough. */
struct placed {
	uint8_t *at;
	const struct frame *f;
};

static __always_inline void copy_frames(const struct placed *to, const struct batch *b, unsigned n,
					struct plain how)
{
	const struct placed *end = to + n;

	for (; to != end; to++) {
		put_header_plain(to->at, to->f, how);
		frame_copy(to->at + how.hdr_len, b, to->f);
	}
}

/* The guest takes the frame without any work on it. */
static inline bool put_as_is(const struct batch *b, const struct frame *f, uint32_t takes)
{
	return offload_is_none(f) || offload_fits(b, f, takes);
}

static inline void count_out(struct vxs_port_stats *stats, const struct out_count *c)
{
	stat_add(&stats->out_frames, c->frames);
	stat_add(&stats->out_bytes, c->bytes);
	stat_add(&stats->out_calls, c->calls);
	stat_drop(stats, queue_full, c->queue_full);
	stat_drop(stats, buffer_short, c->buffer_short);
	stat_drop(stats, memory_absent, c->memory_absent);
	stat_drop(stats, queue_broken, c->queue_broken);
}

/* Counts what became of a frame, or of a cut. False: the ring is of no more use to this batch. */
static inline bool put_verdict(struct vq *q, unsigned verdict, uint32_t len, struct out_count *c)
{
	switch (verdict) {
	case VQ_OK:
		c->frames++;
		c->bytes += len;
		return true;
	case PUT_FULL:
		c->queue_full++;
		return true;
	case PUT_SHORT:
		c->buffer_short++;
		return true;
	case VQ_ABSENT:
		c->memory_absent++;
		return true;
	}
	vq_break(q, verdict);
	return false;
}

/*
 * What a ring format offers: finds room for @r->need bytes in its next chains, @n_avail of them at
 * most, and says how many it took; put_take() then makes them used.
 */
typedef unsigned find_room(struct vq *q, struct room *r, unsigned n_avail, uint16_t *n);
typedef void take_room(struct vq *q, uint16_t n);

/*
 * The spans as they were before the header was written, which shortens those that it lies in. Each
 * has a byte at least, so there are no more of them than the header has bytes.
 */
struct header_spans {
	unsigned n;
	struct span span[VQ_HDR_MAX];
};

static __attribute__((noinline)) void log_begin(struct header_spans *h, const struct room *r)
{
	h->n = r->n < VQ_HDR_MAX ? r->n : VQ_HDR_MAX;
	memcpy(h->span, r->span, h->n * sizeof(h->span[0]));
}

static __attribute__((noinline)) void log_written(struct vq *q, const struct header_spans *h,
						  const struct room *r)
{
	log_spans(q, h->span, h->n);
	log_spans(q, r->span + h->n, r->n - h->n);
}

/* Writes a frame as it is, or the current cut of @cut. */
static __always_inline unsigned put_one(struct vq *q, const struct batch *b, const struct frame *f,
					struct cutter *cut, unsigned *n_avail, unsigned *steps,
					find_room *find, take_room *take)
{
	const struct frame_offload *o = cut ? &cut->offload : &f->offload;
	struct header_spans h;
	struct room r;
	unsigned err, i;
	uint16_t n;

	if (!*n_avail)
		return PUT_FULL;
	r.need = q->hdr_len + (cut ? cut->len : f->len);
	r.n = 0;
	r.steps = steps;
	err = find(q, &r, *n_avail, &n);
	if (err)
		return err;
	if (__builtin_expect(!!q->log, 0))
		log_begin(&h, &r);
	i = put_header(&r, o, q->hdr_len, q->mergeable ? n : 1);
	if (cut)
		cutter_write(cut, r.span + i, r.n - i);
	else
		frame_write(r.span + i, r.n - i, b, f);
	if (__builtin_expect(!!q->log, 0))
		log_written(q, &h, &r);
	take(q, n);
	*n_avail -= n;
	return VQ_OK;
}

/* Writes one frame, of whatever chains there are. False: the ring is of no more use to the batch.
 */
static __always_inline bool put_whole(struct vq *q, const struct batch *b, const struct frame *f,
				      unsigned n_avail, struct out_count *c, find_room *find,
				      take_room *take)
{
	unsigned verdict = put_one(q, b, f, NULL, &n_avail, &c->steps, find, take);

	return put_verdict(q, verdict, f->len, c);
}

/* The same of a frame that the guest doesn't take as it is. What of it finds no room is lost. */
static __always_inline bool put_cuts(struct vq *q, const struct batch *b, const struct frame *f,
				     unsigned n_avail, struct out_count *c, find_room *find,
				     take_room *take)
{
	struct cutter cut;
	unsigned verdict;

	cutter_open(&cut, b, f, q->takes);
	while (cutter_next(&cut)) {
		verdict = put_one(q, b, f, &cut, &n_avail, &c->steps, find, take);
		if (!put_verdict(q, verdict, cut.len, c))
			return false;
		/* Whoever asks for 65,000 segments doesn't have us look for room as often. */
		if (verdict == PUT_FULL) {
			c->queue_full += cutter_rest(&cut);
			break;
		}
		if (verdict == PUT_SHORT) {
			c->buffer_short += cutter_rest(&cut);
			break;
		}
		if (verdict == VQ_ABSENT) {
			c->memory_absent += cutter_rest(&cut);
			break;
		}
	}
	return true;
}

#endif
