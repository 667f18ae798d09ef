/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The Internet checksum against a slow one: every length, every alignment, parts of any length. */
#include <stdlib.h>

#include "check.h"
#include "offload/csum.h"
#include "unit/offload_rig.h"

/* The way without AVX2, which a CPU that has it never goes. */
#undef __x86_64__
#define csum_of   narrow_of
#define csum_copy narrow_copy
uint32_t csum_of(const uint8_t *at, size_t n);
uint32_t csum_copy(uint8_t *to, const uint8_t *from, size_t n);
#include "offload/csum.c"
#undef csum_of
#undef csum_copy

#define LEN_MAX 600

/* What both are compared by: the checksum as it is stored. */
static void check_equal(uint64_t sum, const uint8_t *at, size_t n)
{
	uint32_t slow = slow_add(0, at, n);
	uint16_t fast = csum_fold(sum);

	/* 0 and 0xffff are one value; both ways add up to the same of the two unless all is 0 */
	CU_ASSERT_EQUAL_FATAL(be16toh(fast) % 0xffff, slow % 0xffff);
	CU_ASSERT_EQUAL_FATAL(be16toh(csum_finish(sum)), slow_finish(slow));
}

/* In memory of exactly this size, at every alignment; what lies behind isn't written. */
static void check_run(const uint8_t *from, size_t n, size_t align)
{
	uint8_t *copy = malloc(align + n + 1);

	copy[align + n] = 0x5a;
	check_equal(csum_of(from, n), from, n);
	check_equal(csum_copy(copy + align, from, n), from, n);
	CU_ASSERT_EQUAL_FATAL(memcmp(copy + align, from, n), 0);
	memset(copy + align, 0, n);
	CU_ASSERT_EQUAL_FATAL(csum_fold(narrow_of(from, n)), csum_fold(csum_of(from, n)));
	check_equal(narrow_copy(copy + align, from, n), from, n);
	CU_ASSERT_EQUAL_FATAL(memcmp(copy + align, from, n), 0);
	CU_ASSERT_EQUAL_FATAL(copy[align + n], 0x5a);
	free(copy);
}

static void test_lengths(void)
{
	size_t n, align;
	uint8_t *from;

	for (n = 0; n <= LEN_MAX; n++) {
		for (align = 0; align < 4; align++) {
			from = malloc(align + n);
			pkt_fill(from, align + n, n);
			check_run(from + align, n, align ^ 1);
			free(from);
		}
	}
}

static void check_filled(uint8_t value)
{
	uint8_t at[LEN_MAX];
	size_t n;

	memset(at, value, sizeof(at));
	for (n = 0; n <= LEN_MAX; n++)
		check_run(at, n, 0);
}

/* No carry gets lost where all words are as large as they can be; zeros stay zero. */
static void test_extremes(void)
{
	static uint8_t large[1 << 20];

	check_filled(0xff);
	check_filled(0);
	check_filled(0x80);
	memset(large, 0xff, sizeof(large));
	check_equal(csum_of(large, sizeof(large)), large, sizeof(large));
	check_equal(csum_of(large, sizeof(large) - 3), large, sizeof(large) - 3);
	large[77] = 0xfe;
	check_equal(csum_of(large, sizeof(large)), large, sizeof(large));
}

/* A whole in parts: each begins at an even or an odd offset. */
static void test_parts(void)
{
	uint8_t whole[700];
	size_t n, at, part;
	unsigned round;
	uint64_t sum;

	srandom(1);
	for (round = 0; round < 20000; round++) {
		n = random() % sizeof(whole);
		pkt_fill(whole, n, round);
		for (sum = at = 0; at < n; at += part) {
			part = random() % 3 ? random() % 90 : random() % 2;
			part = part < n - at ? part : n - at;
			sum += csum_at(csum_of(whole + at, part), at);
		}
		check_equal(sum, whole, n);
	}
}

/* RFC 1071, 3: the example. */
static void test_example(void)
{
	const uint8_t at[] = {0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7};

	CU_ASSERT_EQUAL(be16toh(csum_fold(csum_of(at, sizeof(at)))), 0xddf2);
	CU_ASSERT_EQUAL(be16toh(csum_finish(csum_of(at, sizeof(at)))), 0x220d);
}

/* Sums of 64 bits, as many added parts make them. */
static void test_fold(void)
{
	CU_ASSERT_EQUAL(csum_fold(0), 0);
	CU_ASSERT_EQUAL(csum_fold(0xffff), 0xffff);
	CU_ASSERT_EQUAL(csum_fold(0x10000), 1);
	CU_ASSERT_EQUAL(csum_fold(UINT64_MAX), 0xffff);
	CU_ASSERT_EQUAL(csum_fold(UINT64_MAX - 1), 0xfffe);
	CU_ASSERT_EQUAL(csum_fold(0x0001000100010001), 4);
	CU_ASSERT_EQUAL(csum_finish(0xffff), 0xffff); /* never 0 */
	CU_ASSERT_EQUAL(csum_finish(0), 0xffff);
	CU_ASSERT_EQUAL(csum_finish(0x0001), 0xfffe);
}

int main(int argc, char **argv)
{
	static const struct check tests[] = {
		{"example", test_example}, {"lengths", test_lengths}, {"extremes", test_extremes},
		{"parts", test_parts},     {"fold", test_fold},       {},
	};

	return check_main("csum", tests, argc, argv);
}
