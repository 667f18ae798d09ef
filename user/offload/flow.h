/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Which flow a frame belongs to, as a number: to spread flows over queues. */
#ifndef FLOW_H
#define FLOW_H

#include <stdint.h>

#include "switch/batch.h"

/**
 * flow_hash() - a number that is the same for all frames of a flow
 * @b: batch
 * @i: frame, below b->n
 *
 * The NIC's own hash if it told one; else one of addresses, protocol and ports (TCP, UDP, UDP-Lite,
 * SCTP) behind up to two VLAN tags; of addresses and protocol alone for fragments (the first one
 * included, whose ports the others don't have), behind extension headers, and for other protocols;
 * of the MAC addresses for what isn't IP. All bits are mixed, the upper ones best. Any worker.
 *
 * Return: the hash.
 */
uint32_t flow_hash(const struct batch *b, unsigned i);

/** flow_queue() - one of @n queues for a flow: no division, and it goes by the upper bits, since a
 * NIC has chosen its own queue by the lower ones. */
static inline unsigned flow_queue(uint32_t hash, unsigned n)
{
	return (uint64_t)hash * n >> 32;
}

#endif
