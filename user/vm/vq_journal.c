/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Takes a packed ring over from a back-end that was killed. Control thread only. */
#include "vm/vq_journal.h"

/* The front-end may have written nonsense. What a place says is checked; what was saved need not
 * be: it goes to the guest's memory, and is checked when it is read from there. */
static bool is_valid(const struct vq *q, const struct vu_inflight_place *p)
{
	return p->used < q->size && p->old_used < q->size && p->wrap <= 1 && p->old_wrap <= 1 &&
	       p->saved <= q->size;
}

/* Puts back what a batch that was never shown has changed. */
static void put_back(struct vq *q, const struct vu_inflight_packed *j, struct place p, unsigned n)
{
	unsigned i;

	for (i = 0; i < n; i++, p = place_behind(q, p, 1)) {
		const struct vu_inflight_packed_desc *d = &j->desc[p.at];
		uint64_t was = rest_of(__atomic_load_n(&d->len, __ATOMIC_RELAXED),
				       __atomic_load_n(&d->id, __ATOMIC_RELAXED),
				       __atomic_load_n(&d->flags, __ATOMIC_RELAXED));
		uint16_t flags = read_rest(&q->ring[p.at]) >> 48 & (PACKED_AVAIL | PACKED_USED);

		/* More were saved than had come, perhaps: those are the driver's. */
		if (flags == (i ? flags_used(p.wrap) : flags_avail(p.wrap)) &&
		    rest_is_avail(was, p.wrap))
			write_rest(&q->ring[p.at], was);
	}
}

static void resume_at(struct vq *q, struct vu_inflight_packed *j)
{
	uint64_t word = __atomic_load_n((journal_word *)&j->place, __ATOMIC_ACQUIRE);
	struct vu_inflight_place at;
	struct place p;

	memcpy(&at, &word, sizeof(at));
	if (!is_valid(q, &at))
		return;
	p = (struct place){at.old_used, at.old_wrap};
	if (rest_is_avail(read_rest(&q->ring[p.at]), p.wrap))
		put_back(q, j, p, at.saved);
	else
		p = (struct place){at.used, at.wrap};
	q->avail_at = q->used_at = p.at;
	q->avail_wrap = q->used_wrap = p.wrap;
}

void vq_journal_start(struct vq *q, struct vu_inflight_packed *journal, bool resume)
{
	if (resume && __atomic_load_n(&journal->version, __ATOMIC_RELAXED) == VU_INFLIGHT_VERSION &&
	    __atomic_load_n(&journal->desc_num, __ATOMIC_RELAXED) == q->size)
		resume_at(q, journal);
	q->journal = journal;
	journal_end(q);
	journal->features = 0;
	journal->desc_num = q->size;
	__atomic_store_n(&journal->version, VU_INFLIGHT_VERSION, __ATOMIC_RELEASE);
}
