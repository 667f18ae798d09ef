/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What workers write to guest memory while a migration logs it: what all ring formats do alike. */
#ifndef VQ_LOG_H
#define VQ_LOG_H

#include "switch/frame.h"
#include "vm/vq.h"
#include "vm/vq_call.h"
#include "vm/vu_log.h"

/*
 * Nothing here is called unless q->log is set, which costs a queue that isn't logged one branch for
 * each thing that it does not do often: a batch published, a frame written in the general way. The
 * fast ways of the out side are closed while it is set; those of the in side only write to the
 * ring.
 *
 * Buffers and packed descriptors are known by where they are here, which says the guest physical
 * address also behind an IOMMU. What SET_VRING_ADDR calls the used ring has an address of its own
 * in the log, which need not be one of the guest's.
 */

/* @len bytes were written at @at. */
static inline void log_at(struct vq *q, const void *at, uint64_t len)
{
	q->log_fresh |= vu_log_mark_at(q->log, q->mem, at, len);
}

/* @len bytes were written @offset bytes behind where the used ring (device event area) begins. */
static inline void log_used(struct vq *q, uint64_t offset, uint64_t len)
{
	if (q->log_used != VQ_NOT_LOGGED)
		q->log_fresh |= vu_log_mark(q->log, q->log_used + offset, len);
}

/* A frame and its header were written to the @n spans at @to. */
static inline void log_spans(struct vq *q, const struct span *to, unsigned n)
{
	for (; n; n--, to++)
		log_at(q, to->at, to->len);
}

/* A batch is published: tells a front-end that asked for it (SET_LOG_FD) of new bits. */
static inline void log_tell(struct vq *q)
{
	if (q->log_fresh && q->log_fd >= 0)
		call_guest(q, q->log_fd);
	q->log_fresh = false;
}

#endif
