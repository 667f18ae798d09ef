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
	unsigned steps;
};

/* Adds what one descriptor points to: header bytes first, then pieces of the frame. */
static inline unsigned take_desc(struct vq *q, struct batch *b, const struct vring_desc *d,
				 struct taking *t)
{
	uint64_t gpa = d->addr;
	uint32_t left = d->len;

	while (left) {
		uint32_t n = left;
		const uint8_t *at = vu_mem_gpa(q->mem, gpa, &n);

		if (!at)
			return VQ_BAD_ADDRESS;
		gpa += n;
		left -= n;
		if (t->hdr_have < q->hdr_len) {
			uint32_t part = q->hdr_len - t->hdr_have;

			if (part > n)
				part = n;
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
	unsigned skip = 0;

	f->len = t->len;
	f->head_at = FRAME_HEAD_ROOM;
	if (p->len > FRAME_HEAD) {
		memcpy(to, p->at, FRAME_HEAD);
		p->at += FRAME_HEAD;
		p->len -= FRAME_HEAD;
		f->head_len = FRAME_HEAD;
	} else {
		f->head_len = 0;
		while (skip < t->n && f->head_len < FRAME_HEAD) {
			uint32_t n = FRAME_HEAD - f->head_len;

			if (n > p->len)
				n = p->len;
			memcpy(to + f->head_len, p->at, n);
			f->head_len += n;
			p->at += n;
			p->len -= n;
			if (!p->len) {
				p++;
				skip++;
			}
		}
	}
	f->piece = t->first + skip;
	f->n_pieces = t->n - skip;
}

/* Copied as a whole, not field by field: the bytes lie in the same order. */
static inline void take_offload(struct frame *f, const uint8_t *at)
{
	_Static_assert(sizeof(f->offload) == sizeof(struct virtio_net_hdr), "the same fields");
	memcpy(&f->offload, at, sizeof(f->offload));
	copied();
}

/* Any chain whatever. */
static unsigned take_slow(struct vq *q, struct batch *b, uint32_t head, unsigned *steps)
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
	take_offload(f, t.hdr);
	b->n_pieces = t.first + t.n;
	return TAKE_FRAME;
}

/* The common case: header and frame in one piece of one descriptor. False: it is not that case. */
static inline bool take_fast(struct vq *q, struct batch *b, const struct look *l)
{
	struct frame *f = &b->frame[b->n];
	const uint8_t *at = l->at;
	uint32_t n = l->len;

	if (!at || n <= q->hdr_len + FRAME_HEAD || n > FRAME_MAX || b->n_pieces == BATCH_PIECES)
		return false;
	take_offload(f, at);
	at += q->hdr_len;
	n -= q->hdr_len;
	memcpy(f->head + FRAME_HEAD_ROOM, at, FRAME_HEAD);
	f->len = n;
	f->head_at = FRAME_HEAD_ROOM;
	f->head_len = FRAME_HEAD;
	f->n_pieces = 1;
	f->piece = b->n_pieces;
	b->piece[b->n_pieces++] = (struct piece){.at = at + FRAME_HEAD, .len = n - FRAME_HEAD};
	return true;
}

static inline unsigned take(struct vq *q, struct batch *b, const struct look *l, unsigned *steps)
{
	struct frame *f = &b->frame[b->n];
	unsigned verdict = TAKE_FRAME;

	if (take_fast(q, b, l))
		++*steps;
	else
		verdict = take_slow(q, b, l->head, steps);
	f->out = FRAME_PORT_NONE;
	f->cookie = l->head;
	return verdict;
}

/* No offload is negotiated yet, so a guest that asks for one breaks its promise (5.1.6.2). */
static bool has_bad_offload(const struct frame_offload *o)
{
	return o->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM || o->gso_type != VIRTIO_NET_HDR_GSO_NONE;
}

struct in_count {
	unsigned bytes, short_frame, long_frame, bad_offload, disabled;
};

static void count_in(struct vxs_port_stats *stats, const struct batch *b, const struct in_count *c)
{
	stat_add(&stats->in_frames, b->n);
	stat_add(&stats->in_bytes, c->bytes);
	stat_drop(stats, short_frame, c->short_frame);
	stat_drop(stats, long_frame, c->long_frame);
	stat_drop(stats, bad_offload, c->bad_offload);
	stat_drop(stats, queue_disabled, c->disabled);
}

/* Sorts what take() brought: keep it, drop it, or stop (false). */
static inline bool keep(struct vq *q, struct batch *b, unsigned verdict, bool enabled,
			struct in_count *c)
{
	const struct frame *f = &b->frame[b->n];

	if (verdict == TAKE_FRAME) {
		if (!enabled) {
			c->disabled++;
		} else if (has_bad_offload(&f->offload)) {
			c->bad_offload++;
		} else {
			c->bytes += f->len;
			b->n++;
		}
		return true;
	}
	if (verdict == TAKE_SHORT)
		c->short_frame++;
	else if (verdict == TAKE_LONG)
		c->long_frame++;
	else if (verdict != TAKE_LATER)
		ring_broken(q, verdict);
	return verdict == TAKE_SHORT || verdict == TAKE_LONG;
}

/* The next chains, @max at most; both lines of a small frame and its header are on their way. */
static inline unsigned look_ahead(struct vq *q, struct look *look, unsigned max)
{
	unsigned i, n = max < LOOK_AHEAD ? max : LOOK_AHEAD;

	for (i = 0; i < n; i++) {
		look_at(q, &look[i], q->avail_at + i, 0);
		__builtin_prefetch(look[i].at);
		__builtin_prefetch(look[i].at + 64);
	}
	return n;
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
	bool enabled = __atomic_load_n(&q->enabled, __ATOMIC_RELAXED);
	struct in_count count = {0};
	unsigned i, m, n, taken, steps = 0;
	struct look look[LOOK_AHEAD];
	bool more = true;

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
	for (i = 0; i < n && more; i += taken) {
		m = look_ahead(q, look, n - i);
		for (taken = 0; taken < m && more; taken += more) {
			if (steps >= STEPS_MAX)
				more = false;
			else
				more = keep(q, b, take(q, b, &look[taken], &steps), enabled,
					    &count);
			q->lent_head[i + taken] = look[taken].head;
		}
		q->avail_at += taken;
	}
	q->lent = i;
	count_in(stats, b, &count);
	return i;
}

/** vq_split_done() - give the chains of the last vq_split_in() back. Its worker. */
void vq_split_done(struct vq *q)
{
	uint16_t mask = q->size - 1;
	unsigned i;

	for (i = 0; i < q->lent; i++) {
		struct vring_used_elem *e = &q->used->ring[q->used_at++ & mask];

		e->id = q->lent_head[i];
		e->len = 0;
	}
	if (!q->lent)
		return;
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
