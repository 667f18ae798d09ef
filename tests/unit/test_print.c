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

#define NIC(busy)                                                                                  \
	"{\"ifname\":\"enp101s0f0np0\",\"mac\":\"52:54:00:00:00:01\",\"up\":true,\"queues\":63,"   \
	"\"nic_queues\":64,\"mtu\":1500,\"mode\":\"native copy\",\"umem\":\"huge pages\"," busy    \
	"}"

static void says_of_nic(const char *port, const char *in_nic, const char *in_busy)
{
	struct json_object *o = parsed(port);
	char *text = said(print_port, o), *line;

	CU_ASSERT_PTR_NOT_NULL(strstr(text, in_nic));
	CU_ASSERT_PTR_NOT_NULL(strstr(text, in_busy ? in_busy : ""));
	CU_ASSERT_EQUAL(!!strstr(text, "busy"), !!in_busy);
	for (line = strtok(text, "\n"); line; line = strtok(NULL, "\n"))
		CU_ASSERT(strlen(line) <= 100);
	free(text);
	json_object_put(o);
}

#define PORT(busy) "{\"id\":0,\"name\":\"x\",\"kind\":\"uplink\",\"nic\":" NIC(busy) "}"

/* Whether polling has an effect is known once frames have come. */
static void test_busy_poll(void)
{
	says_of_nic(PORT("\"busy_poll\":false"), "huge pages\n", NULL);
	says_of_nic(PORT("\"busy_poll\":true,\"busy_vain\":false,\"busy_queues\":0"),
		    ", busy polling waits for frames\n",
		    "busy-poll  no queue yet: waits for frames");
	says_of_nic(PORT("\"busy_poll\":true,\"busy_vain\":true,\"busy_queues\":0"),
		    ", busy polling without effect\n", "busy-poll  no queue: sockets are not told");
	says_of_nic(PORT("\"busy_poll\":true,\"busy_vain\":true,\"busy_queues\":2"),
		    ", busy polling\n", "busy-poll  2 of 63 queues, ");
}

#define STATUS(uplink, workers) "{\"uplink\":" uplink ",\"workers\":[" workers "]}"

static void rule_is(const char *status, bool of_vms, bool of_uplink)
{
	struct json_object *o = parsed(status);
	char *text = said(print_status, o);

	CU_ASSERT_EQUAL(!!strstr(text, "VM queues that run are spread"), of_vms);
	CU_ASSERT_EQUAL(!!strstr(text, "queues     VM queues"), of_vms && !of_uplink);
	CU_ASSERT_EQUAL(!!strstr(text, "queue N of the uplink"), of_uplink);
	free(text);
	json_object_put(o);
}

/* How queues are spread is told where there is something to spread over. */
static void test_rule(void)
{
	rule_is(STATUS("null", "{\"id\":0}"), false, false);
	rule_is(STATUS(NIC("\"busy_poll\":false"), "{\"id\":0}"), false, false);
	rule_is(STATUS("null", "{\"id\":0},{\"id\":1}"), true, false);
	rule_is(STATUS(NIC("\"busy_poll\":false"), "{\"id\":0},{\"id\":1}"), true, true);
}

int main(int argc, char **argv)
{
	static const struct check tests[] = {
		{"wakeups", test_wakeups},
		{"no_frames", test_no_frames},
		{"busy_poll", test_busy_poll},
		{"rule", test_rule},
		{},
	};

	return check_main("print", tests, argc, argv);
}
