/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The guest's receive queue, split: copies frames into the buffers that the guest offers. */
#include "vm/vq_put.h"
#include "vm/vq_split.h"

/* Memory of one chain, or as much of it as is needed. */
static inline unsigned room_in_chain(struct vq *q, struct room *r, uint32_t head, uint32_t *written)
{
	struct chain c;
	unsigned err;

	*written = 0;
	for (err = chain_open(q, &c, head); !err; err = chain_next(q, &c)) {
		if (!(c.desc.flags & VRING_DESC_F_WRITE))
			return VQ_BAD_ORDER;
		err = room_add(q, r, c.desc.gpa, c.desc.len, written);
		if (err || !r->need || !chain_has_next(&c))
			return err;
	}
	return err;
}

/* The same for a chain of one descriptor in one piece of memory; 0: it isn't one. */
static inline uint32_t room_in_desc(struct vq *q, struct room *r, uint32_t head)
{
	const struct vring_desc *d = &q->desc[head];
	uint64_t off;
	uint32_t len;

	if (head >= q->size || d->flags != VRING_DESC_F_WRITE || r->n == SPANS_MAX || !*r->steps)
		return 0;
	off = __atomic_load_n(&d->addr, __ATOMIC_RELAXED) - q->cursor.gpa;
	len = __atomic_load_n(&d->len, __ATOMIC_RELAXED);
	if (off >= q->cursor.ample)
		return 0;
	if (len > r->need)
		len = r->need;
	if (len > VU_AMPLE)
		return 0;
	--*r->steps;
	r->span[r->n] = (struct span){q->cursor.at + off, len};
	r->n += len > 0;
	r->need -= len;
	return len;
}

/* See find_room. The used ring is written, but not published. */
static __always_inline unsigned split_find(struct vq *q, struct room *r, unsigned n_avail,
					   uint16_t *n_taken)
{
	const uint32_t mask = q->size - 1;
	uint32_t written, head;
	uint16_t n = 0;
	unsigned err;

	for (;;) {
		if (n == n_avail)
			return n == q->size ? PUT_SHORT : PUT_FULL;
		head = __atomic_load_n(&q->avail->ring[(q->avail_at + n) & mask], __ATOMIC_RELAXED);
		written = room_in_desc(q, r, head);
		if (!written) {
			err = room_in_chain(q, r, head, &written);
			if (err)
				return err;
		}
		write_used(&q->used->ring[(q->used_at + n) & mask], head, written);
		n++;
		if (!r->need)
			break;
		if (!q->mergeable)
			return PUT_SHORT;
	}
	*n_taken = n;
	return VQ_OK;
}

/* See take_room. */
static __always_inline void split_take(struct vq *q, uint16_t n)
{
	q->avail_at += n;
	q->used_at += n;
}

static __attribute__((noinline)) bool put_open(struct vq *q, const struct batch *b,
					       const struct frame *f, unsigned n_avail,
					       struct out_count *c)
{
	return put_cuts(q, b, f, n_avail, c, split_find, split_take);
}

/* Writes one frame the general way; false: the ring is of no more use to this batch. */
static __attribute__((noinline)) bool put(struct vq *q, const struct batch *b,
					  const struct frame *f, unsigned n_avail,
					  struct out_count *c)
{
	if (!put_as_is(b, f, q->takes))
		return put_open(q, b, f, n_avail, c);
	return put_whole(q, b, f, n_avail, c, split_find, split_take);
}

/*
 * The common case: a buffer in one piece of one descriptor that holds all of it. Finds such buffers
 * for the next frames, up to @n of them or the first that has none; returns how many. The buffers
 * are then on their way to the cache.
 */
static __always_inline unsigned look_ahead(struct view *v, struct placed *to, const struct batch *b,
					   const uint16_t *which, uint32_t avail_at,
					   uint32_t used_at, unsigned n, struct plain how,
					   uint64_t *bytes)
{
	const uint32_t ahead = used_at - avail_at, end = avail_at + n;
	struct look l;
	uint32_t at;

	for (at = avail_at; at != end; at++, to++, which++) {
		const struct frame *f = &b->frame[*which];
		uint32_t need = how.hdr_len + f->len;

		if (!look_at(v, &l, at, VRING_DESC_F_WRITE) || l.len < need ||
		    (how.open && !put_as_is(b, f, how.takes)))
			break;
		prefetch_buffer(l.at, how);
		write_used(&v->used[(at + ahead) & v->mask], l.head, need);
		*bytes += need;
		to->at = l.at;
		to->f = f;
	}
	return at - avail_at;
}

/* As many frames as are plain, one behind the other, @n at most; returns how many. */
static __always_inline unsigned put_run(struct vq *q, const struct batch *b, const uint16_t *which,
					unsigned n, struct plain how, struct out_count *c)
{
	const uint32_t avail_at = q->avail_at, used_at = q->used_at;
	struct placed to[LOOK_AHEAD];
	struct view v = view_of(q);
	unsigned i, k, m;
	uint64_t bytes = 0;

	for (i = k = m = 0; i < n && k == m; i += k) {
		m = n - i < LOOK_AHEAD ? n - i : LOOK_AHEAD;
		k = look_ahead(&v, to, b, which + i, avail_at + i, used_at + i, m, how, &bytes);
		copy_frames(to, b, k, how);
	}
	q->cursor = v.cursor;
	q->avail_at += i;
	q->used_at += i;
	c->frames += i;
	c->bytes += bytes - (uint64_t)i * how.hdr_len;
	return i;
}

/* put_run() for what this queue and batch are; a buffer is there. */
static unsigned put_plain(struct vq *q, const struct batch *b, const uint16_t *which, unsigned n,
			  struct out_count *c)
{
	const uint32_t mask = q->size - 1;
	const uint16_t head =
		__atomic_load_n(&q->avail->ring[q->avail_at & mask], __ATOMIC_RELAXED);
	const bool own = has_own_line(q->desc[head & mask].addr, VQ_HDR_MAX);

	if (q->hdr_len == VQ_HDR_LEGACY)
		return put_run(q, b, which, n, plain_of(q, VQ_HDR_LEGACY, true, false), c);
	if (b->open)
		return put_run(q, b, which, n, plain_of(q, VQ_HDR_MAX, true, false), c);
	if (own)
		return put_run(q, b, which, n, plain_of(q, VQ_HDR_MAX, false, true), c);
	return put_run(q, b, which, n, plain_of(q, VQ_HDR_MAX, false, false), c);
}

/* Returns how many frames were dealt with before the ring broke. */
static unsigned put_all(struct vq *q, const struct batch *b, const uint16_t *which, unsigned n,
			uint16_t avail_idx, struct out_count *c)
{
	unsigned i = 0, n_avail, max;

	while (i < n) {
		const struct frame *f = &b->frame[which[i]];

		n_avail = (uint16_t)(avail_idx - q->avail_at);
		if (n_avail && !q->log && looks_plain(q, VRING_DESC_F_WRITE, q->hdr_len + f->len)) {
			max = n - i < n_avail ? n - i : n_avail;
			max = put_plain(q, b, which + i, max, c);
			i += max;
			n_avail -= max;
			if (i == n)
				break;
		}
		/* This one isn't plain: it may take any number of chains, or find none. */
		if (!put(q, b, &b->frame[which[i]], n_avail, c))
			break;
		i++;
	}
	return i;
}

/*
 * Tells the dirty log of the entries that were written from @used_was on: those that were used, and
 * behind them, if some frame found no room, or not all of it, any of the chains in which it was
 * looked for.
 */
static __attribute__((noinline)) void log_batch(struct vq *q, uint16_t used_was, uint16_t avail_idx,
						const struct out_count *c)
{
	uint16_t n = q->used_at - used_was, more = avail_idx - q->avail_at;

	if ((c->queue_full || c->buffer_short || c->memory_absent || c->queue_broken) &&
	    more <= q->size - n)
		n += more;
	log_entries(q, used_was, n);
}

/**
 * vq_split_out() - copy frames into a guest's receive queue
 * @q:     the queue
 * @stats: the counters of its port
 * @b:     the batch
 * @which: numbers of the frames, in order
 * @n:     how many
 *
 * All buffers of a frame, and all frames of a batch, are published together (virtio 1.2,
 * 5.1.6.4). Any worker; takes the queue's lock.
 *
 * Return: frames delivered; the others were dropped and counted.
 */
unsigned vq_split_out(struct vq *q, struct vxs_port_stats *stats, const struct batch *b,
		      const uint16_t *which, unsigned n)
{
	struct out_count count = {.steps = OUT_STEPS_MAX};
	uint16_t avail_idx, used_was;
	unsigned i = 0;

	pthread_spin_lock(&q->lock);
	vq_begin(q);
	used_was = q->used_at;
	count.calls = -q->calls;
	avail_idx = __atomic_load_n(&q->avail->idx, __ATOMIC_ACQUIRE);
	if (!q->broken && (uint16_t)(avail_idx - q->avail_at) > q->size)
		vq_break(q, VQ_BAD_AVAIL);
	if (!q->broken)
		i = put_all(q, b, which, n, avail_idx, &count);
	count.queue_broken = n - i;
	if (__builtin_expect(!!q->log, 0))
		log_batch(q, used_was, avail_idx, &count);
	if (q->used_at != used_was)
		publish_used(q);
	count.calls += q->calls;
	pthread_spin_unlock(&q->lock);
	count_out(stats, &count);
	return count.frames;
}
