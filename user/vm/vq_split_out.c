/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The guest's receive queue, split: copies frames into the buffers that the guest offers. */
#include "vm/vq_split.h"

#include "switch/count.h"
#include "switch/frame.h"

/*
 * Buffers of no length, or chains of many tiny ones, would let a guest keep us busy for nothing: a
 * batch looks at so many descriptors (128 frames of 64 KB in pages are 2,176), then at no more.
 */
#define OUT_STEPS_MAX 4096

/* What put() says beside enum vq_broken: nothing was taken from the ring. */
#define PUT_FULL  (VQ_BROKEN_MAX + 0)
#define PUT_SHORT (VQ_BROKEN_MAX + 1)

/* Header and frame as one stream, written into whatever buffers the guest offers. */
struct putting {
	struct frame_stream stream;
	uint8_t hdr[VQ_HDR_MAX];
	uint32_t hdr_at; /* bytes of the header that are written */
	uint32_t hdr_len;
	uint32_t left;     /* bytes of header and frame that are not */
	unsigned *steps;   /* descriptors that this batch may still look at */
	uint8_t *count[2]; /* where num_buffers went, byte by byte */
};

static void put_bytes(struct putting *t, uint8_t *to, uint32_t n)
{
	t->left -= n;
	for (; n && t->hdr_at < t->hdr_len; n--, to++, t->hdr_at++) {
		*to = t->hdr[t->hdr_at];
		if (t->hdr_at >= VQ_HDR_NUM_BUFFERS)
			t->count[t->hdr_at - VQ_HDR_NUM_BUFFERS] = to;
	}
	stream_copy(&t->stream, to, n);
}

/* Fills one chain; *@written is what it took. */
static unsigned put_chain(struct vq *q, struct chain *c, struct putting *t, uint32_t *written)
{
	unsigned err = VQ_OK;

	*written = 0;
	while (!err) {
		uint64_t gpa = c->desc.addr;
		uint32_t room = c->desc.len;

		if (!(c->desc.flags & VRING_DESC_F_WRITE))
			return VQ_BAD_ORDER;
		if (!*t->steps)
			return PUT_SHORT;
		--*t->steps;
		while (room && t->left) {
			uint32_t n = room < t->left ? room : t->left;
			uint8_t *to = vu_mem_gpa(q->mem, gpa, &n);

			if (!to)
				return VQ_BAD_ADDRESS;
			put_bytes(t, to, n);
			gpa += n;
			room -= n;
			*written += n;
		}
		if (!t->left || !chain_has_next(c))
			break;
		err = chain_next(q, c);
	}
	return err;
}

/* Any chains, mergeable or not. Takes @n_avail chains at most; *@taken says how many. */
static unsigned put_slow(struct vq *q, const struct batch *b, const struct frame *f,
			 unsigned n_avail, unsigned *taken, unsigned *steps)
{
	struct putting t = {.hdr_len = q->hdr_len, .left = q->hdr_len + f->len, .steps = steps};
	uint16_t mask = q->size - 1, n = 0;
	struct chain c;
	unsigned err;

	stream_open(&t.stream, b, f);
	t.hdr[VQ_HDR_NUM_BUFFERS] = 1;
	while (t.left) {
		uint16_t head = __atomic_load_n(&q->avail->ring[(q->avail_at + n) & mask],
						__ATOMIC_RELAXED);
		struct vring_used_elem *e = &q->used->ring[(q->used_at + n) & mask];
		uint32_t written;

		if (n == n_avail)
			return n == q->size ? PUT_SHORT : PUT_FULL;
		err = chain_open(q, &c, head);
		if (!err)
			err = put_chain(q, &c, &t, &written);
		if (err)
			return err;
		if (t.left && !q->mergeable)
			return PUT_SHORT;
		e->id = head;
		e->len = written;
		n++;
	}
	if (q->mergeable) {
		*t.count[0] = n & 0xff;
		*t.count[1] = n >> 8;
	}
	*taken = n;
	return VQ_OK;
}

/* The common case: one buffer in one descriptor holds all of it. False: it is not that case. */
static inline bool put_fast(struct vq *q, const struct batch *b, const struct frame *f,
			    const struct look *l)
{
	static const uint8_t hdr[VQ_HDR_MAX] = {[VQ_HDR_NUM_BUFFERS] = 1};
	struct vring_used_elem *e = &q->used->ring[q->used_at & (q->size - 1)];
	uint32_t need = q->hdr_len + f->len;
	uint8_t *to = l->at;

	if (!to || l->len < need)
		return false;
	if (q->hdr_len == VQ_HDR_MAX)
		memcpy(to, hdr, VQ_HDR_MAX);
	else
		memcpy(to, hdr, VQ_HDR_LEGACY);
	frame_copy(to + q->hdr_len, b, f);
	e->id = l->head;
	e->len = need;
	return true;
}

struct out_count {
	unsigned frames, queue_full, buffer_short, queue_broken;
	uint64_t bytes;
	unsigned steps; /* what put_slow() may still do */
};

static void count_out(struct vxs_port_stats *stats, const struct out_count *c)
{
	stat_add(&stats->out_frames, c->frames);
	stat_add(&stats->out_bytes, c->bytes);
	stat_drop(stats, queue_full, c->queue_full);
	stat_drop(stats, buffer_short, c->buffer_short);
	stat_drop(stats, queue_broken, c->queue_broken);
}

static void count_frame(struct vq *q, const struct frame *f, unsigned taken, struct out_count *c)
{
	q->avail_at += taken;
	q->used_at += taken;
	c->frames++;
	c->bytes += f->len;
}

/* Writes one frame the general way; false: the ring is of no more use to this batch. */
static bool put(struct vq *q, const struct batch *b, const struct frame *f, unsigned n_avail,
		struct out_count *c)
{
	unsigned taken, err = n_avail ? VQ_OK : PUT_FULL;

	if (!err)
		err = put_slow(q, b, f, n_avail, &taken, &c->steps);
	if (err == VQ_OK) {
		count_frame(q, f, taken, c);
	} else if (err == PUT_FULL) {
		c->queue_full++;
	} else if (err == PUT_SHORT) {
		c->buffer_short++;
	} else {
		ring_broken(q, err);
		return false;
	}
	return true;
}

/* The next buffers, @max at most, and what will go into them, on their way to the cache. */
static inline unsigned look_ahead(struct vq *q, struct look *look, const struct batch *b,
				  const uint16_t *which, unsigned max)
{
	unsigned i, n = max < LOOK_AHEAD ? max : LOOK_AHEAD;

	for (i = 0; i < n; i++) {
		const struct frame *f = &b->frame[which[i]];

		look_at(q, &look[i], q->avail_at + i, VRING_DESC_F_WRITE);
		__builtin_prefetch(look[i].at, 1);
		__builtin_prefetch(look[i].at + 64, 1);
		if (f->n_pieces)
			__builtin_prefetch(b->piece[f->piece].at + 31);
	}
	return n;
}

/* Returns how many frames were dealt with before the ring broke. */
static unsigned put_all(struct vq *q, const struct batch *b, const uint16_t *which, unsigned n,
			uint16_t avail_idx, struct out_count *c)
{
	unsigned i = 0, k, m, n_avail;
	struct look look[LOOK_AHEAD];

	while (i < n) {
		n_avail = (uint16_t)(avail_idx - q->avail_at);
		m = look_ahead(q, look, b, which + i, n - i < n_avail ? n - i : n_avail);
		for (k = 0; k < m; k++, i++) {
			const struct frame *f = &b->frame[which[i]];

			if (!put_fast(q, b, f, &look[k]))
				break;
			count_frame(q, f, 1, c);
		}
		if (k == m && m)
			continue;
		/* After this one the look ahead is of no use: it may take any number of chains. */
		if (!put(q, b, &b->frame[which[i]], n_avail - k, c))
			break;
		i++;
	}
	return i;
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
	used_was = q->used_at;
	avail_idx = __atomic_load_n(&q->avail->idx, __ATOMIC_ACQUIRE);
	if (!q->broken && (uint16_t)(avail_idx - q->avail_at) > q->size)
		ring_broken(q, VQ_BAD_AVAIL);
	if (!q->broken)
		i = put_all(q, b, which, n, avail_idx, &count);
	count.queue_broken = n - i;
	if (q->used_at != used_was)
		publish_used(q);
	pthread_spin_unlock(&q->lock);
	count_out(stats, &count);
	return count.frames;
}
