/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The guest's receive queue, split: copies frames into the buffers that the guest offers. */
#include "vm/vq_split.h"

#include "switch/count.h"
#include "switch/frame.h"

/*
 * Buffers of no length, or chains of many tiny ones, would let a guest keep us busy for nothing: a
 * batch looks at so many descriptors (256 frames of 64 KB in pages are 4,352), then at no more.
 */
#define OUT_STEPS_MAX 8192

/* What put() says beside enum vq_broken: nothing was taken from the ring. */
#define PUT_FULL  (VQ_BROKEN_MAX + 0)
#define PUT_SHORT (VQ_BROKEN_MAX + 1)

struct out_count {
	unsigned frames, queue_full, buffer_short, queue_broken;
	uint64_t bytes, calls;
	unsigned steps; /* what put_chains() may still do */
};

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

static void put_header_bytes(struct putting *t, uint8_t **to, uint32_t *n)
{
	for (; *n && t->hdr_at < t->hdr_len; --*n, ++*to, t->hdr_at++) {
		**to = t->hdr[t->hdr_at];
		if (t->hdr_at >= VQ_HDR_NUM_BUFFERS)
			t->count[t->hdr_at - VQ_HDR_NUM_BUFFERS] = *to;
	}
}

static inline void put_bytes(struct putting *t, uint8_t *to, uint32_t n)
{
	t->left -= n;
	if (!t->hdr_at && t->hdr_len == VQ_HDR_MAX && n >= VQ_HDR_MAX) {
		memcpy(to, t->hdr, VQ_HDR_MAX);
		t->count[0] = to + VQ_HDR_NUM_BUFFERS;
		t->count[1] = t->count[0] + 1;
		t->hdr_at = VQ_HDR_MAX;
		to += VQ_HDR_MAX;
		n -= VQ_HDR_MAX;
	} else if (t->hdr_at < t->hdr_len) {
		put_header_bytes(t, &to, &n);
	}
	stream_copy(&t->stream, to, n);
}

/* Fills one chain; *@written is what it took. */
static inline unsigned put_chain(struct vq *q, struct chain *c, struct putting *t,
				 uint32_t *written)
{
	unsigned err = VQ_OK;

	*written = 0;
	while (!err) {
		uint64_t gpa = c->desc.gpa;
		uint32_t room = c->desc.len;

		if (!(c->desc.flags & VRING_DESC_F_WRITE))
			return VQ_BAD_ORDER;
		if (!*t->steps)
			return PUT_SHORT;
		--*t->steps;
		while (room && t->left) {
			uint32_t n = room < t->left ? room : t->left;
			uint8_t *to = vu_mem_gpa(q->mem, &q->cursor, gpa, &n);

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

/* Any chains, mergeable or not. Takes @n_avail chains at most. */
static unsigned put_chains(struct vq *q, const struct batch *b, const struct frame *f,
			   unsigned n_avail, struct out_count *count)
{
	struct putting t = {
		.hdr_len = q->hdr_len, .left = q->hdr_len + f->len, .steps = &count->steps};
	const uint32_t mask = q->size - 1;
	uint16_t n = 0;
	struct chain c;
	unsigned err;

	stream_open(&t.stream, b, f);
	t.hdr[VQ_HDR_NUM_BUFFERS] = 1;
	while (t.left) {
		uint16_t head = __atomic_load_n(&q->avail->ring[(q->avail_at + n) & mask],
						__ATOMIC_RELAXED);
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
		write_used(&q->used->ring[(q->used_at + n) & mask], head, written);
		n++;
	}
	if (q->mergeable) {
		*t.count[0] = n & 0xff;
		*t.count[1] = n >> 8;
	}
	q->avail_at += n;
	q->used_at += n;
	return VQ_OK;
}

static void count_out(struct vxs_port_stats *stats, const struct out_count *c)
{
	stat_add(&stats->out_frames, c->frames);
	stat_add(&stats->out_bytes, c->bytes);
	stat_add(&stats->out_calls, c->calls);
	stat_drop(stats, queue_full, c->queue_full);
	stat_drop(stats, buffer_short, c->buffer_short);
	stat_drop(stats, queue_broken, c->queue_broken);
}

/* Writes one frame the general way; false: the ring is of no more use to this batch. */
static __attribute__((noinline)) bool put(struct vq *q, const struct batch *b,
					  const struct frame *f, unsigned n_avail,
					  struct out_count *c)
{
	unsigned err = n_avail ? put_chains(q, b, f, n_avail, c) : PUT_FULL;

	if (err == VQ_OK) {
		c->frames++;
		c->bytes += f->len;
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

/* What the loops below know of a frame on its way. */
struct placed {
	uint8_t *at;
	const struct frame *f;
};

/*
 * The common case: a buffer in one piece of one descriptor that holds all of it. Finds such buffers
 * for the next frames, up to @n of them or the first that has none; returns how many. The buffers
 * are then on their way to the cache.
 */
static __always_inline unsigned look_ahead(struct view *v, struct placed *to, const struct batch *b,
					   const uint16_t *which, uint32_t avail_at,
					   uint32_t used_at, unsigned n, uint32_t hdr_len,
					   uint64_t *bytes)
{
	const uint32_t ahead = used_at - avail_at, end = avail_at + n;
	struct look l;
	uint32_t at;

	for (at = avail_at; at != end; at++, to++, which++) {
		const struct frame *f = &b->frame[*which];
		uint32_t need = hdr_len + f->len;

		if (!look_at(v, &l, at, VRING_DESC_F_WRITE) || l.len < need)
			break;
		__builtin_prefetch(l.at, 1);
		__builtin_prefetch(l.at + 64, 1);
		write_used(&v->used[(at + ahead) & v->mask], l.head, need);
		*bytes += need;
		to->at = l.at;
		to->f = f;
	}
	return at - avail_at;
}

static __always_inline void copy_frames(const struct placed *to, const struct batch *b, unsigned n,
					uint32_t hdr_len)
{
	static const uint8_t hdr[VQ_HDR_MAX] = {[VQ_HDR_NUM_BUFFERS] = 1};
	const struct placed *end = to + n;

	for (; to != end; to++) {
		memcpy(to->at, hdr, hdr_len);
		frame_copy(to->at + hdr_len, b, to->f);
	}
}

/* As many frames as are plain, one behind the other, @n at most; returns how many. */
static __always_inline unsigned put_run(struct vq *q, const struct batch *b, const uint16_t *which,
					unsigned n, uint32_t hdr_len, struct out_count *c)
{
	const uint32_t avail_at = q->avail_at, used_at = q->used_at;
	struct placed to[LOOK_AHEAD];
	struct view v = view_of(q);
	unsigned i, k, m;
	uint64_t bytes = 0;

	for (i = k = m = 0; i < n && k == m; i += k) {
		m = n - i < LOOK_AHEAD ? n - i : LOOK_AHEAD;
		k = look_ahead(&v, to, b, which + i, avail_at + i, used_at + i, m, hdr_len, &bytes);
		copy_frames(to, b, k, hdr_len);
	}
	q->cursor = v.cursor;
	q->avail_at += i;
	q->used_at += i;
	c->frames += i;
	c->bytes += bytes - (uint64_t)i * hdr_len;
	return i;
}

/* Returns how many frames were dealt with before the ring broke. */
static unsigned put_all(struct vq *q, const struct batch *b, const uint16_t *which, unsigned n,
			uint16_t avail_idx, struct out_count *c)
{
	unsigned i = 0, n_avail, max;

	while (i < n) {
		const struct frame *f = &b->frame[which[i]];

		n_avail = (uint16_t)(avail_idx - q->avail_at);
		if (n_avail && looks_plain(q, VRING_DESC_F_WRITE, q->hdr_len + f->len)) {
			max = n - i < n_avail ? n - i : n_avail;
			if (q->hdr_len == VQ_HDR_MAX)
				max = put_run(q, b, which + i, max, VQ_HDR_MAX, c);
			else
				max = put_run(q, b, which + i, max, VQ_HDR_LEGACY, c);
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
	count.calls = -q->calls;
	avail_idx = __atomic_load_n(&q->avail->idx, __ATOMIC_ACQUIRE);
	if (!q->broken && (uint16_t)(avail_idx - q->avail_at) > q->size)
		ring_broken(q, VQ_BAD_AVAIL);
	if (!q->broken)
		i = put_all(q, b, which, n, avail_idx, &count);
	count.queue_broken = n - i;
	if (q->used_at != used_was)
		publish_used(q);
	count.calls += q->calls;
	pthread_spin_unlock(&q->lock);
	count_out(stats, &count);
	return count.frames;
}
