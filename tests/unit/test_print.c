/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What vxsctl makes of the daemon's answers, for people: sentences and tables. */
#include "check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/print.h"
#include "ctl/workers.h"

/* What @print says of an answer; for the caller to free. */
static char *said(void (*print)(struct json_object *), struct json_object *answer)
{
	FILE *real = stdout;
	char *text = NULL;
	size_t len;

	stdout = open_memstream(&text, &len);
	CU_ASSERT_PTR_NOT_NULL_FATAL(stdout);
	print(answer);
	fclose(stdout);
	stdout = real;
	return text;
}

static struct json_object *parsed(const char *json)
{
	struct json_object *o = json_tokener_parse(json);

	CU_ASSERT_PTR_NOT_NULL_FATAL(o);
	return o;
}

#define WORKERS(sleeps, wakeups, frames)                                                           \
	"[{\"id\":0,\"cpu\":null,\"started\":5,\"elapsed_cycles\":1000,\"frames\":" #frames        \
	",\"sleeps\":" #sleeps ",\"wakeups\":" #wakeups                                            \
	",\"paths\":{\"vm_vm\":{\"frames\":" #frames ",\"batches\":" #frames                       \
	",\"cycles\":" #frames "}}}]"

static void subtracts(const char *before, const char *now, int64_t sleeps, int64_t wakeups)
{
	struct json_object *from = parsed(before), *to = parsed(now), *w;

	CU_ASSERT_TRUE(workers_subtract(to, from));
	w = json_object_array_get_idx(to, 0);
	CU_ASSERT_EQUAL(get_int(w, "sleeps"), sleeps);
	CU_ASSERT_EQUAL(get_int(w, "wakeups"), wakeups);
	json_object_put(from);
	json_object_put(to);
}

/* A sleep that was under way at the start had been counted, its wake-up not. */
static void test_wakeups(void)
{
	subtracts(WORKERS(7, 6, 0), WORKERS(7, 7, 0), 0, 0);
	subtracts(WORKERS(7, 6, 0), WORKERS(9, 9, 0), 2, 2);
	subtracts(WORKERS(7, 6, 0), WORKERS(9, 7, 0), 2, 1);
}

/* Without frames there is no table of ways: one head, one line. */
static void test_no_frames(void)
{
	struct json_object *o = parsed(WORKERS(1, 0, 0));
	char *text = said(workers_print, o);

	CU_ASSERT_PTR_NOT_NULL(strstr(text, "WORKER  CPU"));
	CU_ASSERT_PTR_NULL(strstr(text, "PATH"));
	CU_ASSERT_PTR_NULL(strstr(text, "\n\n"));
	free(text);
	json_object_put(o);
	o = parsed(WORKERS(1, 0, 3));
	text = said(workers_print, o);
	CU_ASSERT_PTR_NOT_NULL(strstr(text, "\n\nWORKER  PATH"));
	CU_ASSERT_PTR_NOT_NULL(strstr(text, "0       VM to VM"));
	free(text);
	json_object_put(o);
}

int main(int argc, char **argv)
{
	static const struct check tests[] = {
		{"wakeups", test_wakeups},
		{"no_frames", test_no_frames},
		{},
	};

	return check_main("print", tests, argc, argv);
}
