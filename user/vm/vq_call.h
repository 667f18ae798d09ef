/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Interrupts a guest: what all ring formats do alike once they know that it wants to be. */
#ifndef VQ_CALL_H
#define VQ_CALL_H

#include <errno.h>
#include <unistd.h>

#include "vm/vq.h"

static inline void call_guest(struct vq *q, int fd)
{
	uint64_t one = 1;
	ssize_t n;

	n = write(fd, &one, sizeof(one)); /* EAGAIN: it is readable already */
	if (n < 0 && errno == EINTR)      /* it waited, until control/watchdog.c came */
		vq_break(q, VQ_BAD_CALL);
	__atomic_store_n(&q->calls, q->calls + 1, __ATOMIC_RELAXED);
}

#endif
