/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The guest's transmit queue, split: lends its frames, and gives the chains back. */
#include "vm/vq_split.h"
#include "vm/vq_take.h"

/* Any chain whatever, as frame b->n. */
static unsigned take_chain(struct vq *q, struct batch *b, uint32_t head, unsigned *steps)
{
	struct taking t = {.first = b->n_pieces};
	struct chain c;
	unsigned err;

	err = chain_open(q, &c, head);
	while (!err) {
		++*steps;
		if (c.desc.flags & VRING_DESC_F_WRITE)
			return VQ_BAD_ORDER;
		err = take_desc(q, b, c.desc.gpa, c.desc.len, &t);
		if (err || !chain_has_next(&c))
			break;
		err = chain_next(q, &c);
	}
	return take_end(q, b, &t, err);
}

/* Takes one chain the general way. False: it stays in the ring, to be taken later or never. */
static __attribute__((noinline)) bool take(struct vq *q, struct batch *b, uint32_t head,
					   struct in_count *c)
{
	if (b->n == BATCH_FRAMES || c->steps >= STEPS_MAX || c->cuts >= CUTS_MAX)
		return false;
	return take_verdict(q, b, take_chain(q, b, head, &c->steps), c);
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
		k = take_heads(b, k, hdr_len, q->asks, &bytes, &c->cuts);
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

	take_begin(b);
	if (q->broken)
		return 0;
	vq_begin(q);
	n = (uint16_t)(__atomic_load_n(&q->avail->idx, __ATOMIC_ACQUIRE) - q->avail_at);
	if (!n)
		return 0;
	if (n > q->size) {
		vq_break(q, VQ_BAD_AVAIL);
		return 0;
	}
	if (n > BATCH_FRAMES)
		n = BATCH_FRAMES;
	take_all(q, b, n, &count);
	take_disabled(q, stats, b, &count);
	count_in(stats, b, &count);
	return q->lent;
}

/** vq_split_done() - give the chains of the last vq_split_in() back. Its worker. */
void vq_split_done(struct vq *q)
{
	if (!q->lent)
		return;
	if (__builtin_expect(!!q->log, 0))
		log_entries(q, q->used_at, q->lent);
	q->used_at += q->lent;
	q->lent = 0;
	publish_used(q);
}

/* vring_avail_event() of the header, for our struct vq: behind the used ring (2.7.8). */
static uint16_t *avail_event(struct vq *q)
{
	return (uint16_t *)&q->used->ring[q->size];
}

/* Of flags and avail_event, what is in use. */
static void log_wish(struct vq *q)
{
	if (q->event_idx)
		log_used(q, 4 + 8ull * q->size, sizeof(uint16_t));
	else
		log_used(q, offsetof(struct vring_used, flags), sizeof(q->used->flags));
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
		if (!q->event_idx && !q->quiet) {
			__atomic_store_n(&q->used->flags, VRING_USED_F_NO_NOTIFY, __ATOMIC_RELAXED);
			if (q->log)
				log_wish(q);
		}
		q->quiet = true;
		return false; /* with EVENT_IDX an old avail_event is silence enough */
	}
	q->quiet = false;
	if (q->event_idx)
		__atomic_store_n(avail_event(q), q->avail_at, __ATOMIC_RELAXED);
	else
		__atomic_store_n(&q->used->flags, 0, __ATOMIC_RELAXED);
	if (q->log)
		log_wish(q);
	/* Our wish must be visible before we look for the last time; pairs with the driver's. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return __atomic_load_n(&q->avail->idx, __ATOMIC_ACQUIRE) != q->avail_at;
}
