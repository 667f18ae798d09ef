/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What a packed ring's next back-end must know if this one dies at any moment. */
#ifndef VQ_JOURNAL_H
#define VQ_JOURNAL_H

#include "vm/vq_packed.h"
#include "vm/vu_inflight.h"

/*
 * A split ring's used index says where we stand. A packed ring doesn't, and a batch is written into
 * it before its first descriptor's flags show it to the driver: whoever dies in between leaves
 * descriptors that read as used, and never will be. So, if the front-end keeps memory for us
 * (INFLIGHT_SHMFD), there stand
 *
 *  - the place: {@old_used, @old_wrap} before the batch; {@used, @wrap} behind it, set just before
 *    the batch is shown; both the same when no batch is under way;
 *  - what the descriptors of the batch read before we changed them: @saved of them, from the old
 *    place on.
 *
 * Whoever comes next looks at the descriptor at the old place. If it is still available, the batch
 * was never shown: what was saved is put back, and all of it is done again. If not, the batch
 * was shown, and it goes on at the new place.
 *
 * Each store is the one before the ring's that it speaks of, which is all that counts for a process
 * that is killed. All of it is once a run of descriptors, never once each, and nothing without a
 * journal.
 */

typedef uint64_t __attribute__((may_alias)) journal_word;

static inline void journal_set(struct vq *q, struct place from, struct place to)
{
	struct vu_inflight_place now = {.used = to.at,
					.old_used = from.at,
					.wrap = to.wrap,
					.old_wrap = from.wrap,
					.saved = q->saved};
	uint64_t word;

	memcpy(&word, &now, sizeof(word));
	__atomic_store_n((journal_word *)&q->journal->place, word, __ATOMIC_RELEASE);
	__atomic_thread_fence(__ATOMIC_RELEASE);
}

static inline struct place used_place(const struct vq *q)
{
	return (struct place){q->used_at, q->used_wrap};
}

/* The next @n descriptors from @p on are going to be changed; @before it the batch had so many. */
static inline void journal_save(struct vq *q, struct place p, unsigned before, unsigned n)
{
	unsigned i;

	for (i = 0; i < n; i++, p = place_behind(q, p, 1)) {
		struct vu_inflight_packed_desc *d = &q->journal->desc[p.at];
		uint64_t rest = read_rest(&q->ring[p.at]);

		d->len = (uint32_t)rest;
		d->id = rest >> 32 & UINT16_MAX;
		d->flags = rest >> 48;
	}
	q->saved = before + n;
	journal_set(q, used_place(q), used_place(q));
}

/* The batch up to avail_at is complete, and going to be shown. */
static inline void journal_show(struct vq *q, struct place first)
{
	journal_set(q, first, avail_place(q));
}

/* It was shown. */
static inline void journal_end(struct vq *q)
{
	q->saved = 0;
	journal_set(q, used_place(q), used_place(q));
}

/**
 * vq_journal_start() - keep a journal of a ring from now on
 * @q:       a packed ring, whose place is known
 * @journal: where
 * @resume:  if it was kept before, go on from where it says instead
 *
 * Control thread, not published.
 */
void vq_journal_start(struct vq *q, struct vu_inflight_packed *journal, bool resume);

#endif
