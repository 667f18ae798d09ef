/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What we know of a guest's IOMMU: which I/O virtual addresses are which memory of its front-end.
 */
#ifndef VU_IOTLB_H
#define VU_IOTLB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "switch/rcu.h"
#include "vhost_user.h"

/*
 * Entries that a VM may have: with pages of 4096 bytes 64 MiB that need not be side by side, which
 * is a thousand buffers on each of 16 queues. Beyond that old ones make room, which costs a miss.
 */
#define VU_IOTLB_MAX  16384
#define VU_IOTLB_PAGE 4096ull /* of which all addresses and sizes are multiples */

struct vu_iotlb_entry {
	uint64_t iova, last; /* its first and its last byte */
	uint64_t uva;        /* the front-end's address of the first */
	uint8_t perm;        /* VHOST_USER_ACCESS_* */
};

/* Never edited once it is published. */
struct vu_iotlb_table {
	unsigned n;
	struct vu_iotlb_entry entry[]; /* in order; none overlaps another */
};

#define VU_IOTLB_RETIRED 8

struct vu_iotlb {
	struct vu_iotlb_table *table; /* RCU; never NULL */
	/* control's */
	struct vu_iotlb_table *retired[VU_IOTLB_RETIRED]; /* workers may still see them */
	unsigned n_retired;
	uint32_t evict; /* state of a generator of random numbers */
};

/** vu_iotlb_new() - an empty one. Control thread. 0 or -ENOMEM. */
int vu_iotlb_new(struct vu_iotlb **out);
/** vu_iotlb_free() - no worker uses it. NULL is fine. */
void vu_iotlb_free(struct vu_iotlb *t);

/**
 * vu_iotlb_update() - add an entry
 * @t:       the table
 * @new:     the entry; in multiples of VU_IOTLB_PAGE, checked by the caller
 * @changed: a part of it was something else before, or could be written
 *
 * It takes the place of whatever it overlaps. If @changed, vu_iotlb_settle() must follow before
 * anybody is told that this is done. Control thread. Return: 0 or -ENOMEM.
 */
int vu_iotlb_update(struct vu_iotlb *t, const struct vu_iotlb_entry *new, bool *changed);

/**
 * vu_iotlb_invalidate() - remove what is between two addresses; vu_iotlb_settle() must follow
 * @t:    the table
 * @iova: the first byte
 * @last: the last one
 *
 * Control thread. Return: 0; -ENOMEM: nothing is removed, and whoever wants it can't be told that
 * it was.
 */
int vu_iotlb_invalidate(struct vu_iotlb *t, uint64_t iova, uint64_t last);

/** vu_iotlb_settle() - return when no worker uses anything but the table that is published. */
void vu_iotlb_settle(struct vu_iotlb *t);

/** vu_iotlb_find() - the entry that @iova is in, or NULL; valid until rcu_quiet(). Any thread. */
const struct vu_iotlb_entry *vu_iotlb_find(const struct vu_iotlb *t, uint64_t iova);

#endif
