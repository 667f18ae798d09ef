/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The guest's transmit queue, packed: lends its frames, and gives the chains back. */
#include "vm/vq_journal.h"
#include "vm/vq_packed.h"
#include "vm/vq_take.h"

/* Any chain whatever, as frame b->n. */
static unsigned take_chain(struct vq *q, struct batch *b, struct chain *c, unsigned *steps)
{
	struct taking t = {.first = b->n_pieces};
	unsigned err, end;

	err = chain_open(q, c, avail_place(q), q->left, read_rest(&q->ring[q->avail_at]));
	while (!err) {
		++*steps;
		if (c->write)
			return VQ_BAD_ORDER;
		err = take_desc(q, b, c->gpa, c->len, &t);
		if (err || !chain_has_next(c))
			break;
		err = chain_next(q, c);
	}
	if (!err || err == TAKE_LONG) {
		end = chain_close(q, c, steps);
		if (end)
			return end;
	}
	return take_end(q, b, &t, err);
}

/* Takes one chain the general way. False: it stays in the ring, to be taken later or never. */
static __attribute__((noinline)) bool take(struct vq *q, struct batch *b, struct in_count *count)
{
	struct chain c;

	if (count->steps >= STEPS_MAX || count->cuts >= CUTS_MAX)
		return false;
	if (!take_verdict(q, b, take_chain(q, b, &c, &count->steps), count))
		return false;
	/* of one alone the ring itself says all there is */
	if (c.length > 1)
		q->chain[q->n_chains++] =
			(struct vq_chain){.id = c.id, .length = c.length, .written = q->lent};
	set_avail_place(q, place_behind(q, avail_place(q), c.length));
	q->left -= c.length;
	q->lent++;
	return true;
}

/*
 * The common case: header and frame in one piece of one descriptor. Describes the next chains as
 * frames from b->n on, up to @n of them or the first that isn't such a case; returns how many. Both
 * lines of a small frame and its header are then on their way to the cache.
 */
static __always_inline unsigned look_ahead(struct view *v, struct batch *b,
					   const struct vring_packed_desc *d, unsigned n,
					   uint16_t flags, uint32_t hdr_len)
{
	const struct vring_packed_desc *first = d, *end = d + n;
	const uint32_t skip = hdr_len + FRAME_HEAD;
	struct frame *f = &b->frame[b->n];
	struct piece *p = &b->piece[b->n_pieces];
	uint32_t piece = b->n_pieces;
	struct look l;

	for (; d != end; d++, f++, p++, piece++) {
		if (!look_at(v, &l, d, flags) || l.len - skip - 1 >= FRAME_MAX - FRAME_HEAD)
			break;
		__builtin_prefetch(l.at);
		__builtin_prefetch(l.at + 64);
		frame_set_plain(f, piece);
		f->len = l.len - hdr_len;
		p->at = l.at + skip;
		p->len = l.len - skip;
	}
	return d - first;
}

/* Takes plain chains, one behind the other, as many as there is room for. */
static __always_inline void take_run(struct vq *q, struct batch *b, uint32_t hdr_len,
				     struct in_count *c)
{
	unsigned i, k, m, n = min3(BATCH_FRAMES - q->lent, BATCH_PIECES - b->n_pieces, q->left);
	struct place p = avail_place(q);
	struct view v = view_of(q);
	uint64_t bytes = 0;

	for (i = k = m = 0; i < n && k == m; i += k) {
		m = min3(LOOK_AHEAD, n - i, v.size - p.at);
		k = look_ahead(&v, b, &q->ring[p.at], m, flags_avail(p.wrap), hdr_len);
		k = take_heads(b, k, hdr_len, q->asks, &bytes, &c->cuts);
		b->n += k;
		b->n_pieces += k;
		p = place_behind(q, p, k);
	}
	c->bytes += bytes;
	q->cursor = v.cursor;
	set_avail_place(q, p);
	q->left -= i;
	q->lent += i;
}

/* Takes what is available, or less if the batch has no room for more. */
static void take_all(struct vq *q, struct batch *b, struct in_count *c)
{
	while (q->lent < BATCH_FRAMES) {
		if (looks_plain(q, 0, q->hdr_len + FRAME_HEAD + 1)) {
			if (q->hdr_len == VQ_HDR_MAX)
				take_run(q, b, VQ_HDR_MAX, c);
			else
				take_run(q, b, VQ_HDR_LEGACY, c);
			if (q->lent == BATCH_FRAMES)
				break;
		}
		/* Whatever came in the way of a run: a long or a strange chain, or the end. */
		if (!is_avail(q) || !take(q, b, c))
			break;
	}
}

/**
 * vq_packed_in() - lend the frames of a guest's transmit queue
 * @q: the queue
 * @stats: the counters of its port
 * @b: is filled: at most BATCH_FRAMES frames
 *
 * The worker that owns the queue.
 *
 * Return: how many chains were taken; vq_packed_done() gives them back. 0: nothing to do.
 */
unsigned vq_packed_in(struct vq *q, struct vxs_port_stats *stats, struct batch *b)
{
	struct in_count count = {0};

	take_begin(b);
	if (q->broken)
		return 0;
	vq_begin(q);
	q->left = q->size;
	if (!is_avail(q))
		return 0;
	take_all(q, b, &count);
	take_disabled(q, stats, b, &count);
	count_in(stats, b, &count);
	return q->lent;
}

/* Marks @n chains of one descriptor used: id and length may stay as they are (2.8.5). */
static inline struct place use_singles(struct vq *q, struct place p, unsigned n)
{
	unsigned i, run;

	for (; n; n -= run, p = place_behind(q, p, run)) {
		const uint16_t flags = flags_used(p.wrap);
		struct vring_packed_desc *d = &q->ring[p.at];

		run = n < q->size - p.at ? n : q->size - p.at;
		for (i = p.at == q->used_at; i < run; i++) /* whose turn is at the end */
			write_flags(d + i, flags);
	}
	return p;
}

static struct place use_chain(struct vq *q, struct place p, const struct vq_chain *c)
{
	uint16_t flags = p.at == q->used_at ? flags_avail(p.wrap) : flags_used(p.wrap);

	write_rest(&q->ring[p.at], rest_of(0, c->id, flags));
	return place_behind(q, p, c->length);
}

static void use_each(struct vq *q)
{
	struct place p = {q->used_at, q->used_wrap};
	unsigned i, done = 0;

	for (i = 0; i < q->n_chains; i++) {
		const struct vq_chain *c = &q->chain[i];

		p = use_singles(q, p, c->written - done);
		p = use_chain(q, p, c);
		done = c->written + 1;
	}
	use_singles(q, p, q->lent - done);
}

/* In order, one used descriptor with the last one's id tells of the whole batch (2.8.14). */
static void use_together(struct vq *q)
{
	const struct vq_chain *last = q->n_chains ? &q->chain[q->n_chains - 1] : NULL;
	uint16_t at = (q->avail_at ? q->avail_at : q->size) - 1, id;

	if (last && last->written + 1 == q->lent)
		id = last->id;
	else
		id = __atomic_load_n(&q->ring[at].id, __ATOMIC_RELAXED);
	write_rest(&q->ring[q->used_at], rest_of(0, id, flags_avail(q->used_wrap)));
}

/** vq_packed_done() - give the chains of the last vq_packed_in() back. Its worker. */
void vq_packed_done(struct vq *q)
{
	struct place first = {q->used_at, q->used_wrap};

	if (!q->lent)
		return;
	if (q->journal)
		journal_save(q, first, 0, q->in_order ? 1 : q->size - q->left);
	if (q->in_order)
		use_together(q);
	else
		use_each(q);
	if (q->journal)
		journal_show(q, first);
	show_used(q, first, 0);
	if (__builtin_expect(!!q->log, 0))
		log_descs(q, first, q->in_order ? 1 : q->size - q->left);
	q->used_at = q->avail_at;
	q->used_wrap = q->avail_wrap;
	if (q->journal)
		journal_end(q);
	q->lent = q->n_chains = 0;
	notify(q, q->size - q->left);
}

/**
 * vq_packed_wait() - ask the guest to kick, or not to
 * @q:  a transmit queue
 * @on: true before the worker sleeps, false when it polls again
 *
 * Its worker. Return: true if chains are available already.
 */
bool vq_packed_wait(struct vq *q, bool on)
{
	uint16_t at = q->avail_at | (q->avail_wrap ? PACKED_WRAP : 0);
	uint32_t event = VRING_PACKED_EVENT_FLAG_ENABLE;

	if (q->broken)
		return false;
	if (!on) {
		if (!q->quiet)
			__atomic_store_n(&q->device->flags,
					 htole16(VRING_PACKED_EVENT_FLAG_DISABLE),
					 __ATOMIC_RELAXED);
		if (!q->quiet && q->log)
			log_used(q, 0, sizeof(*q->device));
		q->quiet = true;
		return false;
	}
	q->quiet = false;
	if (q->event_idx)
		event = VRING_PACKED_EVENT_FLAG_DESC;
	__atomic_store_n((uint32_t *)(void *)q->device, htole32(event << 16 | at),
			 __ATOMIC_RELAXED);
	if (q->log)
		log_used(q, 0, sizeof(*q->device));
	/* Our wish must be visible before we look for the last time; pairs with the driver's. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return rest_is_avail(read_rest(&q->ring[q->avail_at]), q->avail_wrap);
}
