/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The guest's receive queue, packed: copies frames into the buffers that the guest offers. */
#include "vm/vq_journal.h"
#include "vm/vq_packed.h"
#include "vm/vq_put.h"

/*
 * avail_at is where the next frame goes; used_at stays at the batch's first descriptor, whose flags
 * are written last, until the batch is complete.
 */

/* Memory of one chain, or as much of it as is needed; all of the chain is walked over. */
static inline unsigned room_in_chain(struct vq *q, struct room *r, struct place p, unsigned left,
				     uint64_t rest, struct vq_chain *found)
{
	unsigned err, steps = 0;
	struct chain c;

	found->written = 0;
	for (err = chain_open(q, &c, p, left, rest); !err; err = chain_next(q, &c)) {
		if (!c.write)
			return VQ_BAD_ORDER;
		err = room_add(q, r, c.gpa, c.len, &found->written);
		if (err || !r->need || !chain_has_next(&c))
			break;
	}
	if (!err)
		err = chain_close(q, &c, &steps);
	*r->steps -= steps < *r->steps ? steps : *r->steps;
	found->id = c.id;
	found->length = c.length;
	return err;
}

/* The same for a chain of one descriptor in one piece of memory; false: it isn't one. */
static inline bool room_in_desc(struct vq *q, struct room *r, struct place p, uint64_t rest,
				struct vq_chain *found)
{
	const struct vring_packed_desc *d = &q->ring[p.at];
	uint32_t len = (uint32_t)rest;
	uint64_t off;

	found->id = rest >> 32 & UINT16_MAX;
	found->length = 1;
	if (rest >> 48 != (flags_avail(p.wrap) | VRING_DESC_F_WRITE) || found->id >= q->size ||
	    r->n == SPANS_MAX || !*r->steps || !len)
		return false;
	off = __atomic_load_n(&d->addr, __ATOMIC_RELAXED) - q->cursor.gpa;
	if (off >= q->cursor.ample)
		return false;
	if (len > r->need)
		len = r->need;
	if (len > VU_AMPLE)
		return false;
	--*r->steps;
	r->span[r->n++] = (struct span){q->cursor.at + off, len};
	r->need -= len;
	found->written = len;
	return true;
}

/* See find_room; nobody knows how many chains are available, so @n_avail is no limit. */
static __always_inline unsigned packed_find(struct vq *q, struct room *r, unsigned n_avail,
					    uint16_t *n_taken)
{
	struct place p = avail_place(q);
	unsigned left = q->left, err;
	uint16_t n = 0;

	(void)n_avail;
	for (;;) {
		struct vq_chain *found = &q->chain[n];
		uint64_t rest;

		if (!left)
			return q->left == q->size ? PUT_SHORT : PUT_FULL;
		rest = read_rest(&q->ring[p.at]);
		if (!rest_is_avail(rest, p.wrap))
			return PUT_FULL;
		if (!room_in_desc(q, r, p, rest, found)) {
			err = room_in_chain(q, r, p, left, rest, found);
			if (err)
				return err;
		}
		p = place_behind(q, p, found->length);
		left -= found->length;
		n++;
		if (!r->need)
			break;
		if (!q->mergeable)
			return PUT_SHORT;
	}
	*n_taken = n;
	return VQ_OK;
}

static __attribute__((noinline)) void save_chains(struct vq *q, uint16_t n)
{
	unsigned i, length = 0;

	for (i = 0; i < n; i++)
		length += q->chain[i].length;
	journal_save(q, avail_place(q), q->size - q->left, length);
}

/* See take_room. */
static __always_inline void packed_take(struct vq *q, uint16_t n)
{
	struct place p = avail_place(q);
	uint16_t i;

	if (q->journal)
		save_chains(q, n);
	for (i = 0; i < n; i++) {
		const struct vq_chain *c = &q->chain[i];
		uint16_t flags = p.at == q->used_at ? flags_avail(p.wrap) : flags_used(p.wrap);

		write_rest(&q->ring[p.at], rest_of(c->written, c->id, flags | VRING_DESC_F_WRITE));
		p = place_behind(q, p, c->length);
		q->left -= c->length;
	}
	set_avail_place(q, p);
}

static __attribute__((noinline)) bool put_open(struct vq *q, const struct batch *b,
					       const struct frame *f, struct out_count *c)
{
	return put_cuts(q, b, f, UINT32_MAX, c, packed_find, packed_take);
}

/* Writes one frame the general way; false: the ring is of no more use to this batch. */
static __attribute__((noinline)) bool put(struct vq *q, const struct batch *b,
					  const struct frame *f, struct out_count *c)
{
	if (!put_as_is(b, f, q->takes))
		return put_open(q, b, f, c);
	return put_whole(q, b, f, UINT32_MAX, c, packed_find, packed_take);
}

/*
 * The common case: a buffer in one piece of one descriptor that holds all of it. Finds such buffers
 * for the next frames, up to @n of them or the first that has none; returns how many. The buffers
 * are then on their way to the cache. @first is the batch's first descriptor, not to be shown yet.
 */
static __always_inline unsigned look_ahead(struct view *v, struct placed *to, const struct batch *b,
					   const uint16_t *which, struct vring_packed_desc *d,
					   const struct vring_packed_desc *first, unsigned n,
					   bool wrap, struct plain how, uint64_t *bytes)
{
	const struct vring_packed_desc *begin = d, *end = d + n;
	const uint16_t avail = flags_avail(wrap) | VRING_DESC_F_WRITE;
	const uint16_t turn = avail ^ (flags_used(wrap) | VRING_DESC_F_WRITE);
	struct look l;

	for (; d != end; d++, to++, which++) {
		const struct frame *f = &b->frame[*which];
		uint32_t need = how.hdr_len + f->len;

		if (!look_at(v, &l, d, avail) || l.len < need ||
		    (how.open && !put_as_is(b, f, how.takes)))
			break;
		prefetch_buffer(l.at, how);
		/* the same word with another length, and flags to be seen behind the first's */
		l.rest ^= l.len ^ need;
		if (d != first)
			l.rest ^= (uint64_t)turn << 48;
		write_rest(d, l.rest);
		*bytes += need;
		to->at = l.at;
		to->f = f;
	}
	return d - begin;
}

/* As many frames as are plain, one behind the other, @n at most; returns how many. */
static __always_inline unsigned put_run(struct vq *q, const struct batch *b, const uint16_t *which,
					unsigned n, struct plain how, struct out_count *c)
{
	const struct vring_packed_desc *first = &q->ring[q->used_at];
	struct place p = avail_place(q);
	struct placed to[LOOK_AHEAD];
	struct view v = view_of(q);
	unsigned i, k, m;
	uint64_t bytes = 0;

	if (n > q->left)
		n = q->left;
	if (q->journal)
		journal_save(q, p, q->size - q->left, n);
	for (i = k = m = 0; i < n && k == m; i += k) {
		m = min3(LOOK_AHEAD, n - i, v.size - p.at);
		k = look_ahead(&v, to, b, which + i, &q->ring[p.at], first, m, p.wrap, how, &bytes);
		copy_frames(to, b, k, how);
		p = place_behind(q, p, k);
	}
	q->cursor = v.cursor;
	set_avail_place(q, p);
	q->left -= i;
	c->frames += i;
	c->bytes += bytes - (uint64_t)i * how.hdr_len;
	return i;
}

/* put_run() for what this queue and batch are; a buffer is there. */
static unsigned put_plain(struct vq *q, const struct batch *b, const uint16_t *which, unsigned n,
			  struct out_count *c)
{
	const bool own = has_own_line(q->ring[q->avail_at].addr, VQ_HDR_MAX);

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
			struct out_count *c)
{
	unsigned i = 0;

	while (i < n) {
		const struct frame *f = &b->frame[which[i]];

		if (!q->log && looks_plain(q, VRING_DESC_F_WRITE, q->hdr_len + f->len)) {
			i += put_plain(q, b, which + i, n - i, c);
			if (i == n)
				break;
		}
		/* This one isn't plain: it may take any number of chains, or find none. */
		if (!put(q, b, &b->frame[which[i]], c))
			break;
		i++;
	}
	return i;
}

/**
 * vq_packed_out() - copy frames into a guest's receive queue
 * @q:     the queue
 * @stats: the counters of its port
 * @b:     the batch
 * @which: numbers of the frames, in order
 * @n:     how many
 *
 * All buffers of a frame, and all frames of a batch, become visible together (virtio 1.2,
 * 5.1.6.4). Any worker; takes the queue's lock.
 *
 * Return: frames delivered; the others were dropped and counted.
 */
unsigned vq_packed_out(struct vq *q, struct vxs_port_stats *stats, const struct batch *b,
		       const uint16_t *which, unsigned n)
{
	struct out_count count = {.steps = OUT_STEPS_MAX};
	struct place first;
	unsigned i = 0;

	pthread_spin_lock(&q->lock);
	vq_begin(q);
	first = avail_place(q);
	count.calls = -q->calls;
	q->left = q->size;
	if (!q->broken)
		i = put_all(q, b, which, n, &count);
	count.queue_broken = n - i;
	if (q->left != q->size) {
		if (q->journal)
			journal_show(q, first);
		q->used_at = q->avail_at;
		q->used_wrap = q->avail_wrap;
		show_used(q, first, VRING_DESC_F_WRITE);
		if (__builtin_expect(!!q->log, 0))
			log_descs(q, first, q->size - q->left);
		if (q->journal)
			journal_end(q);
		notify(q, q->size - q->left);
	}
	count.calls += q->calls;
	pthread_spin_unlock(&q->lock);
	count_out(stats, &count);
	return count.frames;
}
