/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Counting: each counter has one writer, who never waits for anybody; anyone may read. */
#ifndef COUNT_H
#define COUNT_H

#include <stdint.h>

#include "vxs_bpf.h"

/*
 * Every worker counts in memory of its own, so an addition need not be atomic: a load and a store,
 * neither of which is ever torn. Readers add the workers' counters up. The counters that control
 * writes on the kernel's behalf are fields that no worker touches (vxs_bpf.h).
 */
static inline void stat_add(__u64 *counter, uint64_t n)
{
	if (n)
		__atomic_store_n(counter, __atomic_load_n(counter, __ATOMIC_RELAXED) + n,
				 __ATOMIC_RELAXED);
}

/* @reason is a field of struct vxs_drops. */
#define stat_drop(stats, reason, n) stat_add(&(stats)->drops.reason, (n))

#endif
