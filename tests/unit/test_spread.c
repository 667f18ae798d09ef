/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The rule that spreads queues over workers: within one of each other, by the fewest moves. */
#include "check.h"

#include <stdlib.h>
#include <string.h>

#include "control/options.h"
#include "control/spread.h"

#define PLACES 200

static struct place place[PLACES];
static unsigned load[OPTIONS_CPUS_MAX], movable[OPTIONS_CPUS_MAX];

/*
 * Runs the rule on a line of queues: a digit is a queue that runs on that worker, one after '+' is
 * fresh, one after '!' is fixed. The answer has a digit for each, where it shall be.
 */
static const char *run(const char *line, unsigned n_workers)
{
	static char answer[PLACES + 1];
	bool fresh = false, fixed = false;
	unsigned n = 0, i, moves, moved = 0;

	for (; *line; line++) {
		fresh |= *line == '+';
		fixed |= *line == '!';
		if (*line < '0' || *line > '9')
			continue;
		place[n++] = (struct place){.at = *line - '0', .fresh = fresh, .fixed = fixed};
		fresh = fixed = false;
	}
	moves = spread_level(place, n, n_workers);
	for (i = 0; i < n; i++) {
		answer[i] = '0' + place[i].to;
		moved += place[i].to != place[i].at;
	}
	answer[n] = '\0';
	CU_ASSERT_EQUAL(moves, moved);
	return answer;
}

static void test_nothing_to_do(void)
{
	CU_ASSERT_STRING_EQUAL(run("", 2), "");
	CU_ASSERT_STRING_EQUAL(run("0", 1), "0");
	CU_ASSERT_STRING_EQUAL(run("0+0+0", 1), "000");
	CU_ASSERT_STRING_EQUAL(run("1", 2), "1");
	CU_ASSERT_STRING_EQUAL(run("011", 2), "011");
	CU_ASSERT_STRING_EQUAL(run("0122", 3), "0122");
}

/* The last of the fullest goes to the emptiest. */
static void test_level(void)
{
	CU_ASSERT_STRING_EQUAL(run("00", 2), "01");
	CU_ASSERT_STRING_EQUAL(run("0000", 2), "0011");
	CU_ASSERT_STRING_EQUAL(run("11111", 2), "11100");
	CU_ASSERT_STRING_EQUAL(run("0001", 3), "0021");
	CU_ASSERT_STRING_EQUAL(run("000000", 3), "002211");
	CU_ASSERT_STRING_EQUAL(run("222111", 4), "223110");
}

/* Who begins goes where there are the fewest, and nobody else moves for that. */
static void test_fresh(void)
{
	CU_ASSERT_STRING_EQUAL(run("+0", 2), "0");
	CU_ASSERT_STRING_EQUAL(run("+1", 2), "1");
	CU_ASSERT_STRING_EQUAL(run("0+0", 2), "01");
	CU_ASSERT_STRING_EQUAL(run("+00", 2), "10");
	CU_ASSERT_STRING_EQUAL(run("+0+0+0+0", 2), "0101");
	CU_ASSERT_STRING_EQUAL(run("01+1", 2), "011");
	CU_ASSERT_STRING_EQUAL(run("011+1", 2), "0110");
	CU_ASSERT_STRING_EQUAL(run("0000+1", 2), "00011");
}

/* The uplink's and the host's queues count, but stay. */
static void test_fixed(void)
{
	CU_ASSERT_STRING_EQUAL(run("!0!0!0", 2), "000");
	CU_ASSERT_STRING_EQUAL(run("!0!1!00+0", 2), "01001");
	CU_ASSERT_STRING_EQUAL(run("!0!0!00", 2), "0001");
	CU_ASSERT_STRING_EQUAL(run("!0!0!0+0+0+0", 2), "000111");
	CU_ASSERT_STRING_EQUAL(run("!0!0!0110", 3), "000112");
}

static void count(unsigned n, bool after, bool fresh_too)
{
	unsigned i;

	memset(load, 0, sizeof(load));
	memset(movable, 0, sizeof(movable));
	for (i = 0; i < n; i++) {
		unsigned at = after ? place[i].to : place[i].at;

		if (place[i].fresh && !place[i].fixed && !fresh_too)
			continue;
		load[at]++;
		movable[at] += !place[i].fixed;
	}
}

static int descending(const void *a, const void *b)
{
	return (int)*(const unsigned *)b - (int)*(const unsigned *)a;
}

/* The least that can be, if all may move: the fullest come down to what will be the larger share.
 */
static unsigned least_moves(unsigned n, unsigned n_workers)
{
	unsigned i, moves = 0;

	qsort(load, n_workers, sizeof(*load), descending);
	for (i = 0; i < n_workers; i++) {
		unsigned share = n / n_workers + (i < n % n_workers);

		moves += load[i] > share ? load[i] - share : 0;
	}
	return moves;
}

static bool is_level(unsigned n_workers, bool all)
{
	unsigned i, j;

	for (i = 0; i < n_workers; i++)
		for (j = 0; j < n_workers; j++)
			if ((all || movable[i]) && load[i] > load[j] + 1)
				return false;
	return true;
}

static unsigned fill(unsigned n_workers, unsigned fresh, unsigned fixed)
{
	unsigned n = rand() % PLACES, i;

	for (i = 0; i < n; i++)
		place[i] = (struct place){
			.at = rand() % (1 + rand() % n_workers), /* skewed */
			.fresh = rand() % 100u < fresh,
			.fixed = rand() % 100u < fixed,
		};
	return n;
}

/* What the rule promises holds for whatever there is. */
static void test_random(void)
{
	unsigned round, n_workers, n, i, moves;
	bool was_level;

	srand(1);
	for (round = 0; round < 20000; round++) {
		n_workers = 1 + rand() % (round % 2 ? 5 : OPTIONS_CPUS_MAX);
		n = fill(n_workers, 0, 0);
		moves = spread_level(place, n, n_workers);
		count(n, true, true);
		CU_ASSERT_FATAL(is_level(n_workers, true));
		count(n, false, true);
		CU_ASSERT_EQUAL_FATAL(moves, least_moves(n, n_workers));

		n = fill(n_workers, 30, round % 3 ? 0 : 20);
		count(n, false, false);
		was_level = is_level(n_workers, true);
		spread_level(place, n, n_workers);
		count(n, true, true);
		CU_ASSERT_FATAL(is_level(n_workers, false));
		for (i = 0; i < n; i++) {
			CU_ASSERT_FATAL(place[i].to < n_workers);
			CU_ASSERT_FATAL(!place[i].fixed || place[i].to == place[i].at);
			CU_ASSERT_FATAL(!was_level || place[i].fresh || place[i].to == place[i].at);
		}
		/* Once more: nothing moves. */
		for (i = 0; i < n; i++) {
			place[i].at = place[i].to;
			place[i].fresh = false;
		}
		CU_ASSERT_EQUAL_FATAL(spread_level(place, n, n_workers), 0);
	}
}

int main(int argc, char **argv)
{
	static const struct check tests[] = {
		{"nothing_to_do", test_nothing_to_do},
		{"level", test_level},
		{"fresh", test_fresh},
		{"fixed", test_fixed},
		{"random", test_random},
		{},
	};

	return check_main("spread", tests, argc, argv);
}
