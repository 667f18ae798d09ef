/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Walks and changes the extension headers of a private copy of an IPv6 frame's headers. */
#include "offload/fragment.h"

#include <sys/auxv.h>

#include "offload/parse.h"

#define SEGMENTS_LEFT 3 /* in a routing header (RFC 8200, 4.4) */

/* One header after the other, as far as they lie before layer 4: what they say may be wrong. */
static bool next_extension(const uint8_t *hdr, uint32_t l4, uint8_t *next, uint32_t *at)
{
	uint32_t len;

	if (!ip6_is_extension(*next) || *at + 8 > l4)
		return false;
	len = ip6_extension_len(hdr + *at);
	if (*at + len > l4)
		return false;
	*next = hdr[*at];
	*at += len;
	return true;
}

bool fragment_is_routed(const uint8_t *hdr, uint32_t l3, uint32_t l4)
{
	uint8_t next = hdr[l3 + IP6_NEXT], this = next;
	uint32_t at = l3 + IP6_LEN, was = at;

	while (next_extension(hdr, l4, &next, &at)) {
		if (this == IPPROTO_ROUTING && hdr[was + SEGMENTS_LEFT])
			return true;
		this = next;
		was = at;
	}
	return false;
}

/* Mixes all bits, each value to another one. */
static uint32_t mix(uint32_t x)
{
	x ^= x >> 16;
	x *= 0x85ebca6b;
	x ^= x >> 13;
	x *= 0xc2b2ae35;
	return x ^ x >> 16;
}

/* No two the same before 2^32 datagrams, and not easily guessed (RFC 7739). */
static uint32_t new_id(void)
{
	static uint32_t count; /* by all workers */
	const uint8_t *random = (const uint8_t *)getauxval(AT_RANDOM);
	uint32_t key[2] = {};

	if (random)
		memcpy(key, random + 8, sizeof(key));
	return mix(__atomic_fetch_add(&count, 1, __ATOMIC_RELAXED) ^ key[0]) ^ mix(key[1]);
}

uint32_t fragment_insert(uint8_t *hdr, uint32_t l3, uint32_t l4, uint32_t len)
{
	uint32_t at = l3 + IP6_LEN, next_at = l3 + IP6_NEXT;
	uint32_t best = at, best_next_at = next_at, was;
	uint8_t next = hdr[next_at], this;

	for (;;) {
		this = next;
		was = at;
		if (!next_extension(hdr, l4, &next, &at))
			break;
		next_at = was;
		if (this != IPPROTO_DSTOPTS) {
			best = at;
			best_next_at = next_at;
		}
	}
	memmove(hdr + best + IP6_FRAGMENT_LEN, hdr + best, len - best);
	hdr[best] = hdr[best_next_at];
	hdr[best + 1] = 0;
	hdr[best_next_at] = IPPROTO_FRAGMENT;
	put_u32(hdr + best + 4, new_id());
	return best;
}

void fragment_set(uint8_t *at, uint32_t offset, bool more)
{
	put_u16(at + 2, offset | more);
}
