/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* For tests: large frames as a guest leaves them to be cut, and a judge of what comes of them. */
#ifndef GSO_H
#define GSO_H

#include <stdbool.h>
#include <stdint.h>

#include "offload/offload.h"

#define GSO_PAYLOAD 65000       /* bytes, the most there may be */
#define GSO_SEQ     0xfffff000u /* the first sequence number: wraps within a large frame */
#define GSO_PORT    4000
#define GSO_KINDS   7

/* Who sends what: one for each offload. */
struct gso_kind {
	const char *name;
	bool v6;
	uint8_t proto, gso_type;
};
extern const struct gso_kind gso_kinds[GSO_KINDS]; /* TSO4 and TSO6 come first */

/* What came out of one frame, put together again. */
struct gso_seen {
	unsigned frames, bytes, longest;
	bool bad;
	uint8_t data[GSO_PAYLOAD + 100]; /* payload; for UFO the whole datagram */
};

/** gso_make() - a guest's frame with @len bytes of payload; what it costs in headers. @o: what is
 * open on it, but for gso_type and gso_size. */
unsigned gso_make(uint8_t *to, const struct gso_kind *k, const uint8_t *dst, const uint8_t *src,
		  bool tag, unsigned len, struct frame_offload *o);
/** gso_see() - judge one frame as a receiver would, all checksums, and keep its payload. */
void gso_see(struct gso_seen *s, const struct gso_kind *k, const uint8_t *at, unsigned len);
/** gso_is_right() - @len bytes of payload have come, behind @skip others. */
bool gso_is_right(const struct gso_seen *s, unsigned len, unsigned skip);

/** gso_pattern() - byte @i of the payload. */
uint8_t gso_pattern(unsigned i);
/** gso_sum() - the Internet checksum (RFC 1071), not complemented; @sum: what is to be added. */
uint16_t gso_sum(const uint8_t *at, unsigned len, uint32_t sum);
uint16_t gso_sum_pseudo(const uint8_t *ip, bool v6, uint8_t proto, unsigned l4_len);
void gso_put16(uint8_t *at, unsigned value);
unsigned gso_get16(const uint8_t *at);

#endif
