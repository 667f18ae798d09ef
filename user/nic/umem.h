/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The memory of one NIC queue's frames, its fill and completion ring, and who has which frame. */
#ifndef UMEM_H
#define UMEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <xdp/xsk.h>

#include "nic/umem_kernel.h"
#include "nic/umem_ring.h"

/*
 * Theory of operation
 *
 * All sockets of a NIC queue share one UMEM with one fill and one completion ring. Its frames are
 * of two kinds that never mix: the first UMEM_IN_FRAMES are for what arrives and wander between
 * fill ring, kernel, receive rings and the worker's batch; the rest are for what is sent and wander
 * between the free stack, the transmit ring and the completion ring.
 *
 * The fill ring has twice as many entries as there are frames for it. The kernel tells late what it
 * has taken from the ring, and only with that room a frame that comes back always finds an entry.
 *
 * The fill ring belongs to the worker that owns the queue. When control closes a VM's socket, the
 * frames left in its receive ring are handed to the worker through the back ring, which has one
 * writer (control) and one reader (the worker), and an entry for each frame that there is.
 */
#define UMEM_FILL_SIZE   8192
#define UMEM_IN_FRAMES   (UMEM_FILL_SIZE / 2)
#define UMEM_OUT_FRAMES  2048 /* also entries of the transmit and of the completion ring */
#define UMEM_HEADROOM    256  /* what the kernel keeps free before each frame that arrives */
#define UMEM_FRAME_SMALL 2048
#define UMEM_FRAME_LARGE 4096
#define UMEM_OUT_META    64 /* before each frame to be sent, if there is metadata; a cache line */

struct umem {
	/* constant while open */
	uint8_t *area;
	size_t size;
	bool huge;
	uint32_t frame_size;
	uint32_t out_meta; /* bytes of metadata before each frame to be sent */
	uint32_t out_room; /* bytes of a frame to be sent that one UMEM frame holds */
	int fd;            /* the socket that it is registered with: the one that transmits */
	struct umem_map fill_map, completion_map;

	/* the owning worker's */
	struct xsk_ring_prod fill;

	/* under the queue's lock */
	struct xsk_ring_cons completion;
	uint32_t n_free;
	uint64_t free[UMEM_OUT_FRAMES];

	/* the back ring: head written by control, tail by the owning worker */
	uint64_t back[UMEM_IN_FRAMES];
	uint32_t back_head __attribute__((aligned(64)));
	uint32_t back_tail __attribute__((aligned(64)));
};

/** umem_init() - nothing is open, so that umem_close() may be called. */
void umem_init(struct umem *u);

/**
 * umem_open() - map the memory, make a socket and register the memory with it
 * @u:          filled in; umem_close() it whatever is returned
 * @frame_size: UMEM_FRAME_SMALL or UMEM_FRAME_LARGE
 * @meta:       there is room for struct umem_out_meta before frames to be sent
 * @huge:       try huge pages first
 *
 * The socket isn't bound yet. Control thread.
 *
 * Return: 0 or -errno (-EPERM; -ENOBUFS: RLIMIT_MEMLOCK is too low; -ENOMEM; -EINVAL: the kernel
 * doesn't know @meta).
 */
int umem_open(struct umem *u, uint32_t frame_size, bool meta, bool huge);

/** umem_close() - all other sockets are closed; this one goes, and the memory. Half-opened is fine.
 */
void umem_close(struct umem *u);

/** umem_give_back() - control: the worker shall put the frame at @addr into the fill ring. */
void umem_give_back(struct umem *u, uint64_t addr);

static inline uint8_t *umem_at(const struct umem *u, uint64_t addr)
{
	return u->area + addr;
}

/* The frame that an address in it belongs to. */
static inline uint64_t umem_frame(const struct umem *u, uint64_t addr)
{
	return addr & ~(uint64_t)(u->frame_size - 1);
}

/* Owning worker: are frames in the back ring? */
static inline bool umem_has_back(struct umem *u)
{
	return __atomic_load_n(&u->back_head, __ATOMIC_ACQUIRE) != u->back_tail;
}

/* Owning worker: takes up to @max frames out of the back ring. */
static inline unsigned umem_take_back(struct umem *u, uint64_t *addr, unsigned max)
{
	uint32_t head = __atomic_load_n(&u->back_head, __ATOMIC_ACQUIRE), tail = u->back_tail;
	unsigned n = 0;

	while (tail != head && n < max)
		addr[n++] = u->back[tail++ % UMEM_IN_FRAMES];
	if (n)
		__atomic_store_n(&u->back_tail, tail, __ATOMIC_RELEASE);
	return n;
}

/* Owning worker: puts @n frames into the fill ring, all or none. */
static inline bool umem_fill(struct umem *u, const uint64_t *addr, unsigned n)
{
	uint32_t at;
	unsigned i;

	if (!n)
		return true;
	if (xsk_ring_prod__reserve(&u->fill, n, &at) != n)
		return false;
	for (i = 0; i < n; i++)
		*xsk_ring_prod__fill_addr(&u->fill, at + i) = addr[i];
	xsk_ring_prod__submit(&u->fill, n);
	return true;
}

/* Under the queue's lock: frames that were sent become free again. */
static inline void umem_collect(struct umem *u)
{
	uint32_t at, n, i;

	n = xsk_ring_cons__peek(&u->completion, UMEM_OUT_FRAMES, &at);
	for (i = 0; i < n && u->n_free < UMEM_OUT_FRAMES; i++)
		u->free[u->n_free++] =
			umem_frame(u, *xsk_ring_cons__comp_addr(&u->completion, at + i));
	if (n)
		xsk_ring_cons__release(&u->completion, n);
}

#endif
