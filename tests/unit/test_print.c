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

static void test_nic_uses(void)
{
	says_of_nic(PORT("\"multi_buffer\":false,\"flow_hash\":false"), "huge pages\n", NULL);
	says_of_nic(PORT("\"flow_hash\":true"), "huge pages\n           NIC: tells flow hashes\n",
		    NULL);
	says_of_nic(PORT("\"multi_buffer\":true,\"checksums\":true,\"flow_hash\":true"),
		    "NIC: frames over a page, fills checksums in, tells flow hashes\n", NULL);
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

#define VM(rest)                                                                                   \
	"{\"id\":2,\"name\":\"web\",\"kind\":\"vm\",\"socket\":\"/run/"                            \
	"web.sock\",\"connected\":true,"                                                           \
	"\"connections\":1,\"regions\":1,\"features\":\"0x3\",\"protocol_features\":\"0x9\","      \
	"\"queues\":[]," rest "}"

/* Every text of @wanted (NULL ends them) is said of the port, none of @unwanted. */
static void says_of_vm(const char *vm, const char *const *wanted, const char *const *unwanted)
{
	struct json_object *o = parsed(vm);
	char *text = said(print_port, o), *line;
	int i;

	for (i = 0; wanted[i]; i++) {
		CU_ASSERT_PTR_NOT_NULL(strstr(text, wanted[i]));
		if (!strstr(text, wanted[i]))
			printf("     not in there: %s\n%s", wanted[i], text);
	}
	for (i = 0; unwanted[i]; i++)
		CU_ASSERT_PTR_NULL(strstr(text, unwanted[i]));
	for (line = strtok(text, "\n"); line; line = strtok(NULL, "\n"))
		CU_ASSERT(strlen(line) <= 100);
	free(text);
	json_object_put(o);
}

#define LIST(...) ((const char *const[]){__VA_ARGS__, NULL})

#define WITH_TSO                                                                                   \
	VM("\"offloads\":\"all\",\"offered\":[\"csum\",\"host_tso4\",\"guest_csum\",\"guest_"      \
	   "tso4\","                                                                               \
	   "\"ring_packed\"],\"negotiated\":[\"csum\",\"host_tso4\",\"guest_tso4\"],"              \
	   "\"ignored\":[\"guest_tso4\"],\"asks\":[\"csum\",\"tso4\"],\"takes\":[],"               \
	   "\"ring\":\"split\",\"in_order\":true,\"mergeable\":true,\"spread\":3")
#define WITHOUT                                                                                    \
	VM("\"offloads\":\"none\",\"offered\":[\"version_1\"],\"negotiated\":[\"version_1\"],"     \
	   "\"ignored\":[],\"asks\":[],\"takes\":[],\"ring\":\"packed\",\"spread\":1")
#define NOT_YET VM("\"offloads\":\"csum\",\"offered\":[\"csum\"],\"negotiated\":[],\"ring\":null")

/* Features by name: what was taken, what was left, and what can't work. */
static void test_offloads(void)
{
	says_of_vm(WITH_TSO,
		   LIST("offloads   all: checksums, TSO, UFO, USO\n", "  from VM  csum, tso4\n",
			"  to VM    frames no longer than an MTU",
			"features   csum, host_tso4, guest_tso4\n",
			"           not taken: guest_csum, ring_packed\n",
			"           ignored, for want of what they need: guest_tso4\n",
			"in bits: virtio 0x3, vhost-user 0x9\n",
			"rings      split, in-order, mergeable buffers; frames to the VM are "
			"spread over 3 queues\n"),
		   LIST("MTU        any,"));
	says_of_vm(WITHOUT,
		   LIST("offloads   none (offloads=none)\n", "  from VM  frames no longer",
			"  to VM    frames no longer", "rings      packed\n",
			"features   version_1\n"),
		   LIST("not taken", "ignored", "spread", "in-order", "mergeable"));
	says_of_vm(NOT_YET,
		   LIST("offloads   checksums alone (offloads=csum)\n",
			"features   none agreed yet\n           offered: csum\n"),
		   LIST("from VM", "to VM", "rings", "asked for", "not taken"));
}

#define GONE                                                                                       \
	"{\"id\":2,\"name\":\"web\",\"kind\":\"vm\",\"socket\":\"/run/web.sock\","                 \
	"\"role\":\"client\",\"connected\":false,\"connections\":3,\"queues\":[],"                 \
	"\"offered\":[\"csum\"],\"asked\":[\"csum\",\"bit_50\"],\"negotiated\":[],"                \
	"\"protocol_offered\":[\"mq\",\"mtu\"],\"protocol_asked\":[\"mq\"],"                       \
	"\"protocol_negotiated\":[],\"offloads\":\"all\",\"why_not\":\"no front-end answers\","    \
	"\"ended\":\"SET_FEATURES: features 0x4000000000000 were not offered\"}"

/* What a front-end wanted that was refused, and why it went, are shown when it has gone. */
static void test_refused(void)
{
	says_of_vm(GONE,
		   LIST("traffic    does not pass: no front-end answers\n",
			"socket     /run/web.sock, where the front-end listens\n",
			"front-end  not connected, 3 connections since start\n"
			"           the last connection ended: SET_FEATURES: features "
			"0x4000000000000\n           were not offered\n",
			"features   none agreed yet\n           offered: csum\n"
			"           asked for, but not offered: bit_50\n",
			"vhost-user none agreed yet\n           offered: mq, mtu\n"),
		   LIST("memory", "rings"));
	says_of_vm(VM("\"protocol_offered\":[\"mq\",\"mtu\"],\"protocol_asked\":[\"mtu\"],"
		      "\"protocol_negotiated\":[\"mtu\"],\"negotiated\":[\"csum\"]"),
		   LIST("vhost-user mtu\n           not taken: mq\n"),
		   LIST("asked for", "last connection"));
	says_of_vm(VM("\"ended\":\"the front-end hung up\",\"device_status\":\"reset\""),
		   LIST("connection 1 since start\n           the one before ended: the front-end "
			"hung up\nmemory",
			"device     reset\n"),
		   LIST("last connection"));
}

static void notes_are(const char *name, unsigned len, const char *tail)
{
	char json[1024], why[400];
	struct json_object *o;
	char *text;

	memset(why, 'x', len);
	why[len] = '\0';
	snprintf(json, sizeof(json),
		 "[{\"id\":2,\"name\":\"%s\",\"kind\":\"vm\",\"pairs\":1,\"why_not\":\"%s\"}]",
		 name, why);
	o = parsed(json);
	text = said(print_ports, o);
	CU_ASSERT(strlen(strchr(text, '\n') + 1) <= 101);
	CU_ASSERT_PTR_NOT_NULL(strstr(text, tail));
	free(text);
	json_object_put(o);
}

/* The list stays within 100 columns, whatever there is to note. */
static void test_long_notes(void)
{
	notes_are("web", 20, "xxxxx\n");
	notes_are("web", 300, "xxxxx...\n");
	notes_are("web-with-a-name-of-31-charactersx", 300, "xxxxx...\n");
}

#define MTU(numbers) VM("\"negotiated\":[\"csum\"]," numbers)

/* As far as the front-end tells. */
static void test_device_status(void)
{
	says_of_vm(VM("\"device_status\":\"driver ok\",\"negotiated\":[]"),
		   LIST("device     driver ok\n"), LIST("device     none"));
	says_of_vm(VM("\"device_status\":null,\"negotiated\":[]"), LIST("front-end  connected"),
		   LIST("device  "));
}

/* Where the MTU comes from, and whether guest and wire go along. */
static void test_mtu(void)
{
	says_of_vm(MTU("\"mtu\":null"), LIST("MTU        any\n"), LIST("uplink", "host_mtu"));
	says_of_vm(MTU("\"mtu\":1400,\"mtu_option\":1400"),
		   LIST("MTU        1400 (mtu=),\n", "the guest wasn't told", "host_mtu=1400,"),
		   LIST("uplink"));
	says_of_vm(MTU("\"mtu\":1400,\"mtu_told\":1400"),
		   LIST("MTU        1400 (said by the front-end)\n"), LIST("host_mtu"));
	says_of_vm(MTU("\"mtu\":9000,\"mtu_option\":9216,\"mtu_told\":9000,\"mtu_uplink\":1500"),
		   LIST("MTU        9000 (said by the front-end; mtu=9216),\n",
			"           more than the uplink's 1500: longer frames to the wire are "
			"dropped\n"),
		   LIST("host_mtu"));
	says_of_vm(VM("\"mtu\":1400,\"mtu_option\":1400,\"negotiated\":[]"),
		   LIST("MTU        1400 (mtu=)\n"), LIST("host_mtu"));
}

static void test_moved(void)
{
	says_of_vm(VM("\"moved_in\":86400,\"moved_from\":\"web\",\"moved_addresses\":1"),
		   LIST("moved in   at 1970-01-0", "the counters of port \"web\" and 1 address\n"),
		   LIST("addresses"));
	says_of_vm(VM("\"moved_in\":null,\"moved_addresses\":0"), LIST("MTU"), LIST("moved in"));
}

static void mtus_are(const char *numbers, const char *line)
{
	char json[256], *text;
	struct json_object *o;

	snprintf(json, sizeof(json), "{\"uplink\":null,\"workers\":[],\"vm_mtus\":{%s}}", numbers);
	o = parsed(json);
	text = said(print_status, o);
	CU_ASSERT_EQUAL(!!strstr(text, "VM MTUs"), !!line);
	CU_ASSERT_PTR_NOT_NULL(strstr(text, line ? line : ""));
	free(text);
	json_object_put(o);
}

static void test_mtus(void)
{
	mtus_are("\"least\":null,\"most\":null,\"over_uplink\":0", NULL);
	mtus_are("\"least\":1500,\"most\":1500,\"over_uplink\":0", "VM MTUs    1500\n");
	mtus_are("\"least\":1500,\"most\":9000,\"over_uplink\":1",
		 "VM MTUs    1500 to 9000; 1 VM's is longer than the uplink's: see");
	mtus_are("\"least\":9000,\"most\":9000,\"over_uplink\":2",
		 "VM MTUs    9000; 2 VMs' are longer than the uplink's: see");
}

static void test_gro(void)
{
	struct json_object *o = parsed(PORT("\"gro\":false"));
	char *text = said(print_port, o);

	CU_ASSERT_PTR_NOT_NULL(strstr(text, "huge pages, GRO off\n"));
	free(text);
	json_object_put(o);
	o = parsed(PORT("\"gro\":true"));
	text = said(print_port, o);
	CU_ASSERT_PTR_NULL(strstr(text, "GRO"));
	free(text);
	json_object_put(o);
}

int main(int argc, char **argv)
{
	static const struct check tests[] = {
		{"wakeups", test_wakeups},
		{"no_frames", test_no_frames},
		{"busy_poll", test_busy_poll},
		{"nic_uses", test_nic_uses},
		{"rule", test_rule},
		{"offloads", test_offloads},
		{"device_status", test_device_status},
		{"refused", test_refused},
		{"long_notes", test_long_notes},
		{"mtu", test_mtu},
		{"mtus", test_mtus},
		{"moved", test_moved},
		{"gro", test_gro},
		{},
	};

	return check_main("print", tests, argc, argv);
}
