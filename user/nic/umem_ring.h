/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The rings of an AF_XDP socket: made by the kernel, mapped into our memory. */
#ifndef UMEM_RING_H
#define UMEM_RING_H

#include <stddef.h>
#include <stdint.h>

#include <xdp/xsk.h>

/* A mapped ring; all zero: none. */
struct umem_map {
	uint8_t *at;
	size_t size;
};

/**
 * umem_ring_in() - make and map a ring that we read: XDP_RX_RING or XDP_UMEM_COMPLETION_RING
 * @map:  filled in, for umem_ring_close()
 * @r:    filled in, for libxdp's inline functions
 * @fd:   an AF_XDP socket, not bound yet
 * @kind: which ring
 * @size: entries, a power of two
 *
 * Control thread. Return: 0 or -errno.
 */
int umem_ring_in(struct umem_map *map, struct xsk_ring_cons *r, int fd, int kind, uint32_t size);
/** umem_ring_out() - likewise one that we write: XDP_TX_RING or XDP_UMEM_FILL_RING. */
int umem_ring_out(struct umem_map *map, struct xsk_ring_prod *r, int fd, int kind, uint32_t size);
/** umem_ring_close() - unmap; it goes with its socket. None is fine. */
void umem_ring_close(struct umem_map *map);

#endif
