/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The Internet checksum, many words at a time. */
#include "offload/csum.h"

#include <stdbool.h>
#include <string.h>

/*
 * Vectors of the compiler's: two or four machine instructions each where registers are shorter. All
 * lanes count two sums: of all words, in which carries out of 64 bits are lost, and of the upper
 * halves, in which there are none. Sum of the lower halves = all - (upper << 32), in 64 bits.
 */
typedef uint64_t words __attribute__((vector_size(32)));

/* Writes to @to only if @copy. */
static inline __attribute__((always_inline)) uint64_t sum_vectors(uint8_t *to, const uint8_t *from,
								  size_t n, bool copy)
{
	words all = {}, upper = {}, v;
	size_t at;

#pragma GCC unroll 4
	for (at = 0; at < n; at += sizeof(v)) {
		memcpy(&v, from + at, sizeof(v));
		if (copy)
			memcpy(to + at, &v, sizeof(v));
		all += v;
		upper += v >> 32;
	}
	all += upper - (upper << 32);
	return (all[0] & 0xffffffff) + (all[0] >> 32) + (all[1] & 0xffffffff) + (all[1] >> 32) +
	       (all[2] & 0xffffffff) + (all[2] >> 32) + (all[3] & 0xffffffff) + (all[3] >> 32);
}

static inline __attribute__((always_inline)) uint64_t sum_word(uint8_t *to, const uint8_t *from,
							       size_t n, bool copy)
{
	uint64_t word = 0;

	memcpy(&word, from, n);
	if (copy)
		memcpy(to, &word, n);
	return (word & 0xffffffff) + (word >> 32);
}

static inline __attribute__((always_inline)) uint32_t sum_all(uint8_t *to, const uint8_t *from,
							      size_t n, bool copy)
{
	size_t at = n & ~(sizeof(words) - 1);
	uint64_t sum = at ? sum_vectors(to, from, at, copy) : 0;

	for (; n - at >= 8; at += 8)
		sum += sum_word(to + at, from + at, 8, copy);
	if (n & 4) {
		sum += sum_word(to + at, from + at, 4, copy);
		at += 4;
	}
	if (n & 2) {
		sum += sum_word(to + at, from + at, 2, copy);
		at += 2;
	}
	if (n & 1)
		sum += sum_word(to + at, from + at, 1, copy);
	sum = (sum & 0xffffffff) + (sum >> 32);
	return (sum & 0xffffffff) + (sum >> 32);
}

#ifdef __x86_64__
#define WIDE __attribute__((target("avx2"), noinline))

static WIDE uint32_t of_wide(const uint8_t *at, size_t n)
{
	return sum_all((uint8_t *)at, at, n, false);
}

static WIDE uint32_t copy_wide(uint8_t *to, const uint8_t *from, size_t n)
{
	return sum_all(to, from, n, true);
}

/* Not by ifunc: resolvers run before a sanitizer is ready. This is one load and a branch. */
static inline bool is_wide(size_t n)
{
	return n >= 2 * sizeof(words) && __builtin_cpu_supports("avx2");
}
#else
static inline bool is_wide(size_t n)
{
	(void)n;
	return false;
}
#define of_wide(at, n)         0
#define copy_wide(to, from, n) 0
#endif

uint32_t csum_of(const uint8_t *at, size_t n)
{
	return is_wide(n) ? of_wide(at, n) : sum_all((uint8_t *)at, at, n, false);
}

uint32_t csum_copy(uint8_t *to, const uint8_t *from, size_t n)
{
	return is_wide(n) ? copy_wide(to, from, n) : sum_all(to, from, n, true);
}
