/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Counting into a port's statistics: any worker, once a batch, never lost. */
#ifndef COUNT_H
#define COUNT_H

#include <stdint.h>

#include "vxs_bpf.h"

/* One atomic addition a batch: a port's counters may be written by several workers. */
static inline void stat_add(__u64 *counter, uint64_t n)
{
	if (n)
		__atomic_fetch_add(counter, n, __ATOMIC_RELAXED);
}

/* @reason is a field of struct vxs_drops. */
#define stat_drop(stats, reason, n) stat_add(&(stats)->drops.reason, (n))

#endif
