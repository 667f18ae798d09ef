/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Which worker polls which queue: as many on each, with as few moves as possible. */
#include "control/spread.h"

#include "control/options.h"

/* What a worker has, and what it shall give away or get. */
struct share {
	unsigned queues, movable;
	unsigned give, get;
};

static void count(struct share *s, const struct place *p)
{
	s->queues++;
	s->movable += !p->fixed;
}

static unsigned emptiest(const struct share *share, unsigned n)
{
	unsigned i, best = 0;

	for (i = 1; i < n; i++)
		if (share[i].queues < share[best].queues)
			best = i;
	return best;
}

/* The fullest that has anything to give; @n if none has. */
static unsigned fullest(const struct share *share, unsigned n)
{
	unsigned i, best = n;

	for (i = 0; i < n; i++)
		if (share[i].movable && (best == n || share[i].queues > share[best].queues))
			best = i;
	return best;
}

static void settle_fresh(struct place *place, unsigned n, struct share *share, unsigned n_workers)
{
	unsigned i, best;

	for (i = 0; i < n; i++) {
		place[i].to = place[i].at;
		if (!place[i].fresh || place[i].fixed)
			count(&share[place[i].at], &place[i]);
	}
	for (i = 0; i < n; i++) {
		if (!place[i].fresh || place[i].fixed)
			continue;
		best = emptiest(share, n_workers);
		if (share[place[i].at].queues > share[best].queues)
			place[i].to = best;
		count(&share[place[i].to], &place[i]);
	}
}

/* In numbers only. Who gives never gets: the fullest stays above the emptiest all the time. */
static void level(struct share *share, unsigned n_workers)
{
	for (;;) {
		unsigned from = fullest(share, n_workers), to = emptiest(share, n_workers);

		if (from == n_workers || share[from].queues <= share[to].queues + 1)
			return;
		share[from].queues--;
		share[from].movable--;
		share[from].give++;
		share[to].queues++;
		share[to].get++;
	}
}

unsigned spread_level(struct place *place, unsigned n, unsigned n_workers)
{
	struct share share[OPTIONS_CPUS_MAX] = {};
	unsigned i, to = 0, moves = 0;

	settle_fresh(place, n, share, n_workers);
	level(share, n_workers);
	for (i = n; i-- > 0;) {
		if (place[i].fixed || !share[place[i].to].give)
			continue;
		while (!share[to].get)
			to++;
		share[place[i].to].give--;
		share[to].get--;
		place[i].to = to;
	}
	for (i = 0; i < n; i++)
		moves += place[i].to != place[i].at;
	return moves;
}
