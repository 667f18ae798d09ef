/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The Internet checksum (RFC 1071): of memory, and of memory while it is copied. */
#ifndef CSUM_H
#define CSUM_H

#include <stddef.h>
#include <stdint.h>

/*
 * Sums are of 16-bit words as they lie in memory, so that what csum_fold() returns is stored as it
 * is, on any machine (RFC 1071, 2 (B)). They are not complemented. A sum of up to 2^32 others, or
 * of words, fits 64 bits and is folded once, at the end.
 */

/** csum_of() - sum of @n bytes; a last byte without a partner is the first one of its word. */
uint32_t csum_of(const uint8_t *at, size_t n);

/** csum_copy() - copy @n bytes and return their sum, in one pass. The two don't overlap. */
uint32_t csum_copy(uint8_t *to, const uint8_t *from, size_t n);

/** csum_at() - a part's sum as it counts in a whole in which it begins at offset @at. */
static inline uint32_t csum_at(uint32_t part, size_t at)
{
	/* RFC 1071, 2 (B): bytes that change places with their partners change them in the sum. */
	return at & 1 ? part << 8 | part >> 24 : part;
}

static inline uint16_t csum_fold(uint64_t sum)
{
	sum = (sum >> 32) + (sum & 0xffffffff);
	sum = (sum >> 16) + (sum & 0xffff); /* 34 bits at most, now 19 */
	sum = (sum >> 16) + (sum & 0xffff);
	return (sum >> 16) + sum;
}

/* A TCP or UDP checksum that is complete: 0 would say that there is none (RFC 768). */
static inline uint16_t csum_finish(uint64_t sum)
{
	uint16_t complement = ~csum_fold(sum);

	return complement ? complement : 0xffff;
}

#endif
