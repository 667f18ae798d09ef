/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Finishes a frame while it is copied: checksums filled in, segments cut. */
#ifndef CUTTER_H
#define CUTTER_H

#include <stdbool.h>
#include <stdint.h>

#include "offload/offload.h"
#include "switch/batch.h"
#include "switch/frame.h"

/*
 * A frame whose offloads the out side's peer doesn't take becomes one or more cuts: frames that it
 * takes. The caller asks for the next cut, finds room for its bytes, and has it written there.
 *
 *	cutter_open(&c, b, f, takes);
 *	while (cutter_next(&c)) {
 *		find room for c.len bytes, or give up
 *		write c.offload into the virtio-net header, if there is one
 *		cutter_write(&c, to, n);
 *	}
 *
 * A cut may be passed over: cutter_next() without cutter_write(). Lives on the stack of a worker.
 */
struct cutter {
	/* for the caller, of the current cut */
	uint32_t len;                 /* bytes */
	struct frame_offload offload; /* what is left open on it: all zero, or what @takes allows */

	/* the cutter's own */
	const struct batch *b;
	const struct frame *f;
	struct frame_stream payload; /* what comes behind the headers, from the next cut's on */
	uint32_t payload_left;       /* bytes in it */
	uint32_t now;                /* bytes of the current cut's payload, not taken from it yet */
	uint32_t size;               /* of a full cut's payload */
	uint32_t done;               /* payload of earlier cuts: offset in sequence or datagram */
	uint32_t takes;
	uint32_t l3_at, l4_at;
	uint32_t hdr_len;     /* bytes in hdr[] */
	uint32_t fragment_at; /* UFO over IPv6: where the fragment header stands */
	uint32_t l3_sum;      /* IPv4: of the header without what differs from cut to cut */
	uint32_t l4_sum;      /* of pseudo and layer 4 header without that */
	uint32_t seq;         /* TCP: of the first cut */
	uint16_t id;          /* IPv4: of the first cut */
	uint8_t tcp_flags;    /* of the whole */
	uint8_t kind;         /* enum cut_kind, in cutter.c */
	bool sums;            /* the payload is summed while it is copied */
	bool is_ip6;
	bool is_last;
	unsigned n;                       /* cuts that were made ready */
	uint8_t hdr[OFFLOAD_HDR_MAX + 8]; /* of all cuts, where they are the same */
};

/**
 * cutter_open() - begin with a frame
 * @c:     filled in
 * @b:     the batch that @f is in
 * @f:     a frame that offload_check() found right
 * @takes: OFFLOAD_* that the out side's peer takes; not enough for the frame as it is, or else the
 *         one cut is the frame itself
 *
 * Any worker. Never fails: what the guest has rewritten since it was checked makes wrong frames,
 * but none that is out of bounds, and no endless loop.
 */
void cutter_open(struct cutter *c, const struct batch *b, const struct frame *f, uint32_t takes);

/** cutter_next() - make the next cut ready: c->len and c->offload. False: there is none. */
bool cutter_next(struct cutter *c);

/* How many cuts there are behind the current one. */
static inline unsigned cutter_rest(const struct cutter *c)
{
	return c->size ? (c->payload_left + c->size - 1) / c->size : 0;
}

/**
 * cutter_write() - write the current cut, once
 * @c:  after cutter_next()
 * @to: @n runs of memory, of c->len bytes together or more
 */
void cutter_write(struct cutter *c, const struct span *to, unsigned n);

#endif
