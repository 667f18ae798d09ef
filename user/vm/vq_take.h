/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* From a guest's descriptor chain to a frame of a batch: what all ring formats do alike. */
#ifndef VQ_TAKE_H
#define VQ_TAKE_H

#include <endian.h>
#include <string.h>

#include <linux/virtio_net.h>

#include "offload/offload.h"
#include "switch/count.h"
#include "vm/vq.h"

/*
 * The header and the first bytes of a frame are copied once; everything is decided on the copy. A
 * ring format walks its chains and hands over what each descriptor says (take_desc()), until the
 * chain ends (take_end()).
 */

/* What taking says beside enum vq_broken. */
#define TAKE_FRAME VQ_OK
#define TAKE_LATER (VQ_ABSENT + 1) /* no room for its pieces in this batch */
#define TAKE_SHORT (VQ_ABSENT + 2)
#define TAKE_LONG  (VQ_ABSENT + 3)
#define TAKE_BAD   (VQ_ABSENT + 4) /* offload_check() refused it */

struct taking {
	uint8_t hdr[VQ_HDR_MAX];
	uint32_t hdr_have;
	uint32_t len;      /* of the frame */
	unsigned first, n; /* its pieces */
};

/* Adds what one descriptor points to: header bytes first, then pieces of the frame. */
static inline unsigned take_desc(struct vq *q, struct batch *b, uint64_t gpa, uint32_t left,
				 struct taking *t)
{
	while (left) {
		uint32_t n = left;
		const uint8_t *at = vu_mem_gpa(q->mem, &q->cursor, gpa, &n);

		if (!at)
			return vq_missing(q, &q->cursor);
		gpa += n;
		left -= n;
		if (t->hdr_have < q->hdr_len) {
			uint32_t part = q->hdr_len - t->hdr_have;

			if (part > n)
				part = n;
			if (part == VQ_HDR_MAX)
				memcpy(t->hdr, at, VQ_HDR_MAX);
			else
				memcpy(t->hdr + t->hdr_have, at, part);
			t->hdr_have += part;
			at += part;
			n -= part;
			if (!n)
				continue;
		}
		/* compared before it is added: the sum of two lengths may pass 2^32 */
		if (n > FRAME_MAX - t->len)
			return TAKE_LONG;
		if (t->first + t->n == BATCH_PIECES)
			return t->first ? TAKE_LATER : TAKE_LONG;
		b->piece[t->first + t->n++] = (struct piece){.at = at, .len = n};
		t->len += n;
	}
	return VQ_OK;
}

/* Copies the first bytes of the frame, and shortens the pieces by them. */
static inline void take_head(struct batch *b, struct frame *f, const struct taking *t)
{
	struct piece *p = &b->piece[t->first];
	uint8_t *to = f->head + FRAME_HEAD_ROOM;
	unsigned skip = 0, have = 0;

	if (p->len > FRAME_HEAD) {
		memcpy(to, p->at, FRAME_HEAD);
		p->at += FRAME_HEAD;
		p->len -= FRAME_HEAD;
		have = FRAME_HEAD;
	}
	while (skip < t->n && have < FRAME_HEAD) {
		uint32_t n = FRAME_HEAD - have;

		if (n > p->len)
			n = p->len;
		memcpy(to + have, p->at, n);
		have += n;
		p->at += n;
		p->len -= n;
		if (!p->len) {
			p++;
			skip++;
		}
	}
	f->len = t->len;
	f->piece = t->first + skip;
	f->shape = (struct frame_shape){
		.n_pieces = t->n - skip, .head_at = FRAME_HEAD_ROOM, .head_len = have};
}

/* The chain is at its end, which came with @err: frame b->n, or a verdict. */
static inline unsigned take_end(const struct vq *q, struct batch *b, const struct taking *t,
				unsigned err)
{
	struct frame *f = &b->frame[b->n];

	if (err)
		return err;
	if (t->hdr_have < q->hdr_len)
		return VQ_BAD_HEADER;
	if (t->len < FRAME_MIN)
		return TAKE_SHORT;
	take_head(b, f, t);
	memcpy(&f->offload, t->hdr, sizeof(f->offload));
	f->out = FRAME_PORT_NONE;
	if (offload_is_none(f)) {
		memset(&f->offload, 0, sizeof(f->offload));
	} else {
		if (!offload_check(b, f, q->asks))
			return TAKE_BAD;
		b->open = true;
	}
	b->n_pieces = t->first + t->n;
	return TAKE_FRAME;
}

struct in_count {
	unsigned short_frame, long_frame, bad_offload;
	uint64_t bytes;
	unsigned steps; /* descriptors that were looked at one by one */
	unsigned cuts;  /* that frames with offloads may become */
};

/* Counts a chain. False: it stays in the ring, to be taken later or never. */
static inline bool take_verdict(struct vq *q, struct batch *b, unsigned verdict, struct in_count *c)
{
	switch (verdict) {
	case TAKE_FRAME:
		if (b->open)
			c->cuts += offload_cuts(&b->frame[b->n]);
		c->bytes += b->frame[b->n++].len;
		return true;
	case TAKE_BAD:
		c->bad_offload++;
		return true;
	case TAKE_SHORT:
		c->short_frame++;
		return true;
	case TAKE_LONG:
		c->long_frame++;
		return true;
	case TAKE_LATER:
	case VQ_ABSENT:
		return false;
	}
	vq_break(q, verdict);
	return false;
}

static inline void count_in(struct vxs_port_stats *stats, const struct batch *b,
			    const struct in_count *c)
{
	stat_add(&stats->in_frames, b->n);
	stat_add(&stats->in_bytes, c->bytes);
	stat_drop(stats, short_frame, c->short_frame);
	stat_drop(stats, long_frame, c->long_frame);
	stat_drop(stats, bad_offload, c->bad_offload);
}

static inline void take_begin(struct batch *b)
{
	b->n = 0;
	b->n_pieces = 0;
	b->hashed = b->open = false;
}

/* A driver sends while the front-end has the queue disabled: frames are consumed and discarded. */
static inline void take_disabled(const struct vq *q, struct vxs_port_stats *stats, struct batch *b,
				 struct in_count *c)
{
	if (__builtin_expect(__atomic_load_n(&q->enabled, __ATOMIC_RELAXED), 1))
		return;
	stat_drop(stats, queue_disabled, b->n);
	b->n = 0;
	c->bytes = 0;
}

/*
 * Copies header and head of the @n frames from b->n on, whose length and one piece are known
 * already (header and head stand right before the piece). Returns how many: fewer if one of them
 * asks for what it may not have, or is too much for this batch. The header is copied as a whole,
 * not field by field: the bytes lie in the same order.
 */
static __always_inline unsigned take_heads(struct batch *b, unsigned n, uint32_t hdr_len,
					   uint32_t asks, uint64_t *bytes, unsigned *cuts)
{
	const uint64_t asked = htole64(VIRTIO_NET_HDR_F_NEEDS_CSUM | 0xff << 8); /* gso_type */
	const struct piece *p = &b->piece[b->n_pieces];
	struct frame *f = &b->frame[b->n], *end = f + n;
	const uint32_t skip = hdr_len + FRAME_HEAD;

	for (; f != end; f++, p++) {
		const uint8_t *at = p->at - skip;
		uint64_t first = guest_read64(at);

		_Static_assert(sizeof(f->offload) == sizeof(struct virtio_net_hdr), "one layout");
		memcpy(f->head + FRAME_HEAD_ROOM, at + hdr_len, FRAME_HEAD);
		if (__builtin_expect(!(first & asked), 1)) {
			memset(&f->offload, 0, sizeof(f->offload));
		} else {
			memcpy(&f->offload, &first, sizeof(first));
			memcpy((uint8_t *)&f->offload + sizeof(first), at + sizeof(first),
			       sizeof(f->offload) - sizeof(first));
			if (*cuts >= CUTS_MAX || !offload_check(b, f, asks))
				break;
			*cuts += offload_cuts(f);
			b->open = true;
		}
		*bytes += f->len;
	}
	return f - &b->frame[b->n];
}

#endif
