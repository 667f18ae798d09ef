/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The guest's transmit queue, split: lends its frames, and gives the chains back. */
#include "vm/vq_split.h"

#include <linux/virtio_net.h>

#include "switch/count.h"

/* What take() says beside enum vq_broken. */
#define TAKE_FRAME VQ_OK
#define TAKE_LATER (VQ_BROKEN_MAX + 0) /* no room for its pieces in this batch */
#define TAKE_SHORT (VQ_BROKEN_MAX + 1)
#define TAKE_LONG  (VQ_BROKEN_MAX + 2)

struct taking {
	uint8_t hdr[VQ_HDR_MAX];
	uint32_t hdr_have;
	uint32_t len;      /* of the frame */
	unsigned first, n; /* its pieces */
};

/* Adds what one descriptor points to: header bytes first, then pieces of the frame. */
static inline unsigned take_desc(struct vq *q, struct batch *b, const struct desc *d,
				 struct taking *t)
{
	uint64_t gpa = d->gpa;
	uint32_t left = d->len;

	while (left) {
		uint32_t n = left;
		const uint8_t *at = vu_mem_gpa(q->mem, &q->cursor, gpa, &n);

		if (!at)
			return VQ_BAD_ADDRESS;
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

/* Any chain whatever, as frame b->n. */
static unsigned take_chain(struct vq *q, struct batch *b, uint32_t head, unsigned *steps)
{
	struct taking t = {.first = b->n_pieces};
	struct frame *f = &b->frame[b->n];
	struct chain c;
	unsigned err;

	err = chain_open(q, &c, head);
	while (!err) {
		++*steps;
		if (c.desc.flags & VRING_DESC_F_WRITE)
			return VQ_BAD_ORDER;
		err = take_desc(q, b, &c.desc, &t);
		if (err || !chain_has_next(&c))
			break;
		err = chain_next(q, &c);
	}
	if (err)
		return err;
	if (t.hdr_have < q->hdr_len)
		return VQ_BAD_HEADER;
	if (t.len < FRAME_MIN)
		return TAKE_SHORT;
	take_head(b, f, &t);
	memcpy(&f->offload, t.hdr, sizeof(f->offload));
	f->out = FRAME_PORT_NONE;
	b->n_pieces = t.first + t.n;
	return TAKE_FRAME;
}

/* No offload is negotiated yet, so a guest that asks for one breaks its promise (5.1.6.2). */
#define OFFLOADS (VIRTIO_NET_HDR_F_NEEDS_CSUM | 0xff << 8) /* flags and gso_type, little endian */

static inline bool has_bad_offload(const struct frame_offload *o)
{
	_Static_assert(VIRTIO_NET_HDR_GSO_NONE == 0, "no bit of gso_type");
	return (o->flags | o->gso_type << 8) & OFFLOADS;
}

struct in_count {
	unsigned short_frame, long_frame, bad_offload;
	uint64_t bytes;
	unsigned steps; /* descriptors that take_chain() has looked at */
};

static void count_in(struct vxs_port_stats *stats, const struct batch *b, const struct in_count *c)
{
	stat_add(&stats->in_frames, b->n);
	stat_add(&stats->in_bytes, c->bytes);
	stat_drop(stats, short_frame, c->short_frame);
	stat_drop(stats, long_frame, c->long_frame);
	stat_drop(stats, bad_offload, c->bad_offload);
}

/* Takes a chain the general way, and sorts what it is: kept, dropped, or the end (false). */
static __attribute__((noinline)) bool take(struct vq *q, struct batch *b, uint32_t head,
					   struct in_count *c)
{
	const struct frame *f = &b->frame[b->n];
	unsigned verdict;

	if (c->steps >= STEPS_MAX)
		return false;
	verdict = take_chain(q, b, head, &c->steps);
	if (verdict == TAKE_FRAME && has_bad_offload(&f->offload)) {
		c->bad_offload++;
	} else if (verdict == TAKE_FRAME) {
		c->bytes += f->len;
		b->n++;
	} else if (verdict == TAKE_SHORT) {
		c->short_frame++;
	} else if (verdict == TAKE_LONG) {
		c->long_frame++;
	} else {
		if (verdict != TAKE_LATER)
			ring_broken(q, verdict);
		return false;
	}
	return true;
}

/*
 * The common case: header and frame in one piece of one descriptor. Describes the next chains as
 * frames from b->n on, up to @n of them or the first that isn't such a case; returns how many. Both
 * lines of a small frame and its header are then on their way to the cache.
 */
static __always_inline unsigned look_ahead(struct view *v, struct batch *b, uint32_t avail_at,
					   uint32_t used_at, unsigned n, uint32_t hdr_len)
{
	const uint32_t skip = hdr_len + FRAME_HEAD, ahead = used_at - avail_at, end = avail_at + n;
	struct frame *f = &b->frame[b->n];
	struct piece *p = &b->piece[b->n_pieces];
	uint32_t at, piece = b->n_pieces;
	struct look l;

	for (at = avail_at; at != end; at++, f++, p++, piece++) {
		if (!look_at(v, &l, at, 0) || l.len - skip - 1 >= FRAME_MAX - FRAME_HEAD)
			break;
		__builtin_prefetch(l.at);
		__builtin_prefetch(l.at + 64);
		write_used(&v->used[(at + ahead) & v->mask], l.head, 0);
		frame_set_plain(f, piece);
		f->len = l.len - hdr_len;
		p->at = l.at + skip;
		p->len = l.len - skip;
	}
	return at - avail_at;
}

/*
 * Copies header and head of @n such frames; fewer are returned if one of them asks for an offload.
 * The header is copied as a whole, not field by field: the bytes lie in the same order.
 */
static __always_inline unsigned copy_heads(struct batch *b, unsigned n, uint32_t hdr_len,
					   uint64_t *bytes)
{
	const struct piece *p = &b->piece[b->n_pieces];
	struct frame *f = &b->frame[b->n], *end = f + n;
	const uint32_t skip = hdr_len + FRAME_HEAD;

	for (; f != end; f++, p++) {
		const uint8_t *at = p->at - skip;
		uint64_t first = guest_read64(at);

		_Static_assert(sizeof(f->offload) == sizeof(struct virtio_net_hdr), "one layout");
		if (first & htole64(OFFLOADS))
			break;
		memcpy(&f->offload, &first, sizeof(first));
		memcpy((uint8_t *)&f->offload + sizeof(first), at + sizeof(first),
		       sizeof(f->offload) - sizeof(first));
		memcpy(f->head + FRAME_HEAD_ROOM, at + hdr_len, FRAME_HEAD);
		*bytes += f->len;
	}
	return f - &b->frame[b->n];
}

/* Takes plain chains, one behind the other, @n at most; returns how many. */
static __always_inline unsigned take_run(struct vq *q, struct batch *b, unsigned n,
					 uint32_t hdr_len, struct in_count *c)
{
	const uint32_t avail_at = q->avail_at, used_at = q->used_at + q->lent;
	struct view v = view_of(q);
	uint64_t bytes = 0;
	unsigned i, k, m;

	if (n > BATCH_PIECES - b->n_pieces)
		n = BATCH_PIECES - b->n_pieces;
	for (i = 0, k = m = 0; i < n && k == m; i += k) {
		m = n - i < LOOK_AHEAD ? n - i : LOOK_AHEAD;
		k = look_ahead(&v, b, avail_at + i, used_at + i, m, hdr_len);
		k = copy_heads(b, k, hdr_len, &bytes);
		b->n += k;
		b->n_pieces += k;
	}
	c->bytes += bytes;
	q->cursor = v.cursor;
	q->avail_at += i;
	q->lent += i;
	return i;
}

/* Takes @n chains, or fewer if the batch has no room for more. */
static void take_all(struct vq *q, struct batch *b, unsigned n, struct in_count *c)
{
	const uint32_t mask = q->size - 1;
	unsigned i = 0;
	uint16_t head;

	while (i < n) {
		if (looks_plain(q, 0, q->hdr_len + FRAME_HEAD + 1)) {
			if (q->hdr_len == VQ_HDR_MAX)
				i += take_run(q, b, n - i, VQ_HDR_MAX, c);
			else
				i += take_run(q, b, n - i, VQ_HDR_LEGACY, c);
			if (i == n)
				break;
		}
		/* Whatever came in the way of a run, a long or a strange chain; or a full batch. */
		head = __atomic_load_n(&q->avail->ring[q->avail_at & mask], __ATOMIC_RELAXED);
		if (!take(q, b, head, c))
			break;
		write_used(&q->used->ring[(q->used_at + q->lent) & mask], head, 0);
		q->avail_at++;
		q->lent++;
		i++;
	}
}

/**
 * vq_split_in() - lend the frames of a guest's transmit queue
 * @q: the queue
 * @stats: the counters of its port
 * @b: is filled: at most BATCH_FRAMES frames
 *
 * The worker that owns the queue.
 *
 * Return: how many chains were taken; vq_split_done() gives them back. 0: nothing to do.
 */
unsigned vq_split_in(struct vq *q, struct vxs_port_stats *stats, struct batch *b)
{
	struct in_count count = {0};
	unsigned n;

	b->n = 0;
	b->n_pieces = 0;
	if (q->broken)
		return 0;
	n = (uint16_t)(__atomic_load_n(&q->avail->idx, __ATOMIC_ACQUIRE) - q->avail_at);
	if (!n)
		return 0;
	if (n > q->size) {
		ring_broken(q, VQ_BAD_AVAIL);
		return 0;
	}
	if (n > BATCH_FRAMES)
		n = BATCH_FRAMES;
	take_all(q, b, n, &count);
	if (!__atomic_load_n(&q->enabled, __ATOMIC_RELAXED)) {
		stat_drop(stats, queue_disabled, b->n);
		b->n = 0;
		count.bytes = 0;
	}
	count_in(stats, b, &count);
	return q->lent;
}

/** vq_split_done() - give the chains of the last vq_split_in() back. Its worker. */
void vq_split_done(struct vq *q)
{
	if (!q->lent)
		return;
	q->used_at += q->lent;
	q->lent = 0;
	publish_used(q);
}

/* vring_avail_event() of the header, for our struct vq: behind the used ring (2.7.8). */
static uint16_t *avail_event(struct vq *q)
{
	return (uint16_t *)&q->used->ring[q->size];
}

/**
 * vq_split_wait() - ask the guest to kick, or not to
 * @q:  a transmit queue
 * @on: true before the worker sleeps, false when it polls again
 *
 * Its worker. Return: true if chains are available already.
 */
bool vq_split_wait(struct vq *q, bool on)
{
	if (q->broken)
		return false;
	if (!on) {
		if (!q->event_idx && !q->quiet)
			__atomic_store_n(&q->used->flags, VRING_USED_F_NO_NOTIFY, __ATOMIC_RELAXED);
		q->quiet = true;
		return false; /* with EVENT_IDX an old avail_event is silence enough */
	}
	q->quiet = false;
	if (q->event_idx)
		__atomic_store_n(avail_event(q), q->avail_at, __ATOMIC_RELAXED);
	else
		__atomic_store_n(&q->used->flags, 0, __ATOMIC_RELAXED);
	/* Our wish must be visible before we look for the last time; pairs with the driver's. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return __atomic_load_n(&q->avail->idx, __ATOMIC_ACQUIRE) != q->avail_at;
}
