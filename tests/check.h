/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What every test program shares: a table of CUnit tests, one line each, and the closing line. */
#ifndef CHECK_H
#define CHECK_H

#include <stdbool.h>

#include <CUnit/CUnit.h>

struct check {
	const char *name;
	void (*run)(void);
};

/**
 * check_main() - run a table of tests
 * @suite: name of the program's suite
 * @tests: ends with an entry whose name is NULL
 * @argc:  arguments name the tests to run; none: all
 * @argv:  as main() has them
 *
 * Prints "ok SUITE/NAME", "FAIL SUITE/NAME" (with file, line and condition of each failed
 * assertion) or "skip SUITE/NAME: REASON" per test, and "N passed, N failed[, N skipped]" last.
 *
 * Return: main()'s exit status.
 */
int check_main(const char *suite, const struct check *tests, int argc, char **argv);

/** check_skip() - the running test can't be done here; it returns right after this. */
void check_skip(const char *reason);

/** check_until() - wait until @condition(@arg) holds, at most @ms milliseconds; false: it didn't.
 */
bool check_until(bool (*condition)(void *arg), void *arg, unsigned ms);

/** check_fds() - open file descriptors of this process; check_fds_of() - of any. */
unsigned check_fds(void);
unsigned check_fds_of(int pid);

#endif
