/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Runs a table of CUnit tests and prints one line for each. */
#include "check.h"

#include <dirent.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <CUnit/TestRun.h>

static const char *suite_name;
static const char *skip_reason;
static unsigned passed, failed, skipped;

void check_skip(const char *reason)
{
	skip_reason = reason;
}

static void on_complete(const CU_pTest test, const CU_pSuite suite, const CU_pFailureRecord first)
{
	CU_pFailureRecord f;

	(void)suite;
	if (first) {
		failed++;
		printf("FAIL %s/%s\n", suite_name, test->pName);
		for (f = first; f; f = f->pNext)
			printf("     %s:%u: %s\n", f->strFileName, f->uiLineNumber,
			       f->strCondition);
	} else if (skip_reason) {
		skipped++;
		printf("skip %s/%s: %s\n", suite_name, test->pName, skip_reason);
	} else {
		passed++;
		printf("ok %s/%s\n", suite_name, test->pName);
	}
	skip_reason = NULL;
	fflush(stdout);
}

static bool is_wanted(const char *name, int argc, char **argv)
{
	int i;

	for (i = 1; i < argc; i++)
		if (!strcmp(argv[i], name))
			return true;
	return argc < 2;
}

int check_main(const char *suite, const struct check *tests, int argc, char **argv)
{
	CU_pSuite s;

	suite_name = suite;
	signal(SIGPIPE, SIG_IGN);
	if (CU_initialize_registry() != CUE_SUCCESS)
		return 1;
	s = CU_add_suite(suite, NULL, NULL);
	if (!s)
		return 1;
	for (; tests->name; tests++)
		if (is_wanted(tests->name, argc, argv) && !CU_add_test(s, tests->name, tests->run))
			return 1;
	CU_set_test_complete_handler(on_complete);
	CU_run_all_tests();
	CU_cleanup_registry();
	printf("%u passed, %u failed", passed, failed);
	if (skipped)
		printf(", %u skipped", skipped);
	printf("\n");
	return failed || !(passed + skipped);
}

static unsigned long long now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000ull + t.tv_nsec / 1000000;
}

bool check_until(bool (*condition)(void *arg), void *arg, unsigned ms)
{
	unsigned long long end = now_ms() + ms;

	while (!condition(arg)) {
		if (now_ms() >= end)
			return false;
		poll(NULL, 0, 1);
	}
	return true;
}

unsigned check_fds_of(int pid)
{
	char path[64];
	unsigned n = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	dir = opendir(path);
	if (!dir)
		return 0;
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

unsigned check_fds(void)
{
	return check_fds_of(getpid());
}
