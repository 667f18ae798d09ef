/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Where a worker's time goes: cycles and frames, ascribed to paths, to idling, to sleep. */
#ifndef ACCOUNT_H
#define ACCOUNT_H

#include "switch/count.h"
#include "switch/cycles.h"
#include "switch/worker.h"

/*
 * The clock is read when something ends, and the time since it was last read belongs to what has
 * just ended: so each cycle is put down once and nothing is left out. A batch costs one reading,
 * at its end; only a batch for several kinds of destination costs one more whenever the kind
 * changes, and what it cost to decide where its frames go is then the first kind's. Looking at
 * queues that have no work is part of the next batch of the same round, else of idling.
 *
 * All of this is the worker's own thread.
 */

/* The time since the last end, which is over now. */
static inline uint64_t account_end(struct worker *w)
{
	uint64_t now = cycles_now(), spent = now - w->accounted;

	w->accounted = now;
	return (int64_t)spent > 0 ? spent : 0; /* the clock may go back from one core to another */
}

static inline struct vxs_path_stats *account_path(struct vxs_paths *paths, const struct port *from,
						  const struct port *to)
{
	if (from->kind == VXS_KIND_UPLINK)
		return &paths->uplink_vm;
	if (from->kind == VXS_KIND_HOST)
		return &paths->host_vm;
	return to->kind == VXS_KIND_UPLINK ? &paths->vm_uplink
	       : to->kind == VXS_KIND_HOST ? &paths->vm_host
					   : &paths->vm_vm;
}

/* @n frames of batch @b are about to go to port @to. */
static inline void account_visit(struct worker *w, const struct batch *b, const struct port *to,
				 unsigned n)
{
	struct vxs_path_stats *path = account_path(&w->stats->paths, b->in, to);

	if (w->path && w->path != path)
		stat_add(&w->path->cycles, account_end(w));
	w->path = path;
	stat_add(&path->frames, n);
	stat_add(&path->batches, 1);
}

/* @n frames were dropped before any destination was visited. */
static inline void account_nowhere(struct worker *w, unsigned n)
{
	stat_add(&w->stats->paths.nowhere.frames, n);
}

/* A batch was given back. */
static inline void account_batch(struct worker *w, const struct batch *b)
{
	struct vxs_worker_stats *s = w->stats;

	stat_add(&s->batches, 1);
	stat_add(&s->frames, b->n);
	if (!w->path) {
		w->path = &s->paths.nowhere;
		stat_add(&w->path->batches, 1);
	}
	stat_add(&w->path->cycles, account_end(w));
	w->path = NULL;
}

/* No queue had work, or it was prepared to sleep. */
static inline void account_idle(struct worker *w)
{
	stat_add(&w->stats->idle_cycles, account_end(w));
}

static inline void account_sleep(struct worker *w)
{
	stat_add(&w->stats->sleep_cycles, account_end(w));
}

#endif
