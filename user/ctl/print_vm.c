/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What vxsctl shows to people of a VM's port. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "control/words.h"
#include "ctl/columns.h"
#include "ctl/print.h"

#define NAMES_MAX 1024 /* characters of a list of features: all there are */

static bool has_name(struct json_object *list, const char *name)
{
	size_t i;

	for (i = 0; i < get_length(list); i++)
		if (!strcmp(json_object_get_string(json_object_array_get_idx(list, i)), name))
			return true;
	return false;
}

/* "@what: a, b, c", of those names that aren't in @but; nothing if there are none. */
static void print_names(const char *left, const char *what, struct json_object *list,
			struct json_object *but)
{
	char text[NAMES_MAX];
	size_t i, len, start;

	start = len = snprintf(text, sizeof(text), "%s", what);
	for (i = 0; i < get_length(list) && len < sizeof(text); i++) {
		const char *name = json_object_get_string(json_object_array_get_idx(list, i));

		if (!has_name(but, name))
			len += snprintf(text + len, sizeof(text) - len, "%s%s",
					len > start ? ", " : "", name);
	}
	if (len == start)
		return;
	printf("%-*s", INDENT, left);
	words_wrap(text, INDENT, stdout);
}

/* Where the MTU comes from, whether the guest knows it, and whether the wire carries as much. */
static void print_mtu(struct json_object *p)
{
	int64_t mtu = get_int(p, "mtu"), told = get_int(p, "mtu_told");
	int64_t option = get_int(p, "mtu_option");

	printf("MTU        ");
	if (!mtu)
		printf("any");
	else if (!told)
		printf("%" PRId64 " (mtu=)", mtu);
	else if (!option)
		printf("%" PRId64 " (said by the front-end)", mtu);
	else
		printf("%" PRId64 " (said by the front-end; mtu=%" PRId64 ")", mtu, option);
	if (get(p, "mtu_uplink"))
		printf(",\n%*smore than the uplink's %" PRId64 ": longer frames to the wire are "
		       "dropped",
		       INDENT, "", get_int(p, "mtu_uplink"));
	if (option && !told && get_length(get(p, "negotiated")))
		printf(",\n%*sbut the guest wasn't told: give QEMU host_mtu=%" PRId64
		       ", or set it in the guest",
		       INDENT, "", option);
	printf("\n");
}

static const char *offered_text(const char *offloads)
{
	if (!strcmp(offloads, "none"))
		return "none (offloads=none)";
	if (!strcmp(offloads, "csum"))
		return "checksums alone (offloads=csum)";
	return "all: checksums, TSO, UFO, USO";
}

/* What is open to the guest's driver and, once it has decided, what it made of it. */
static void print_offloads(struct json_object *p)
{
	static const char none[] = "frames no longer than an MTU, with their checksums";
	struct json_object *asks = get(p, "asks"), *takes = get(p, "takes");

	printf("offloads   %s\n", offered_text(text_of(p, "offloads")));
	if (!get_length(get(p, "negotiated")))
		return;
	if (get_length(asks))
		print_names("  from VM", "", asks, NULL);
	else
		printf("  from VM  %s\n", none);
	if (get_length(takes))
		print_names("  to VM", "", takes, NULL);
	else
		printf("  to VM    %s\n", none);
}

static void print_ring(struct json_object *p)
{
	int64_t spread = get_int(p, "spread");

	printf("rings      %s%s%s", text_of(p, "ring"), get_bool(p, "in_order") ? ", in-order" : "",
	       get_bool(p, "mergeable") ? ", mergeable buffers" : "");
	if (spread > 1)
		printf("; frames to the VM are spread over %" PRId64 " queues", spread);
	printf("\n");
}

/* What was agreed, what was left, and what was wanted in vain, which ends a connection. */
static void print_agreed(const char *left, struct json_object *offered, struct json_object *asked,
			 struct json_object *agreed)
{
	if (get_length(agreed))
		print_names(left, "", agreed, NULL);
	else
		printf("%-*snone agreed yet\n", INDENT, left);
	print_names("", get_length(agreed) ? "not taken: " : "offered: ", offered, agreed);
	print_names("", "asked for, but not offered: ", asked, offered);
}

static void print_features(struct json_object *p)
{
	print_agreed("features", get(p, "offered"), get(p, "asked"), get(p, "negotiated"));
	print_names("", "ignored, for want of what they need: ", get(p, "ignored"), NULL);
	print_agreed("vhost-user", get(p, "protocol_offered"), get(p, "protocol_asked"),
		     get(p, "protocol_negotiated"));
	printf("           in bits: virtio %s, vhost-user %s\n", text_of(p, "features"),
	       text_of(p, "protocol_features"));
}

static void print_ended(struct json_object *p)
{
	char text[320];

	if (!get(p, "ended"))
		return;
	snprintf(text, sizeof(text), "the %s ended: %s",
		 get_bool(p, "connected") ? "one before" : "last connection", text_of(p, "ended"));
	printf("%*s", INDENT, "");
	words_wrap(text, INDENT, stdout);
}

static void print_connection(struct json_object *p)
{
	int64_t connections = get_int(p, "connections"), regions = get_int(p, "regions");

	if (!get_bool(p, "connected")) {
		printf("front-end  not connected, %" PRId64 " connection%s since start\n",
		       connections, plural(connections));
		print_ended(p);
		return;
	}
	printf("front-end  connected");
	if (get(p, "peer_pid"))
		printf(" (process %" PRId64 ")", get_int(p, "peer_pid"));
	printf(", connection %" PRId64 " since start\n", connections);
	print_ended(p);
	if (regions)
		printf("memory     %" PRId64 " MiB in %" PRId64 " region%s\n",
		       get_int(p, "memory") >> 20, regions, plural(regions));
	else
		printf("memory     none yet\n");
	if (get(p, "device_status"))
		printf("device     %s\n", text_of(p, "device_status"));
}

static bool is_unused(struct json_object *queue)
{
	return !get_bool(queue, "started") && !get_text(queue, "broken") &&
	       !get_int(queue, "calls");
}

/* Of a long row of queues that were never used the first pair stands for all. */
static size_t unused_from(struct json_object *list)
{
	size_t n = get_length(list), i = n;

	while (i && is_unused(json_object_array_get_idx(list, i - 1)))
		i--;
	i += 2 + i % 2;
	return n > i + 16 ? i : n;
}

static void print_queues(struct json_object *list)
{
	static const char *const heads[] = {">QUEUE", "DIRECTION",      ">WORKER", "STATE",
					    ">SIZE",  ">NOTIFICATIONS", NULL};
	struct columns *t = columns_new(heads);
	struct json_object *q;
	size_t i, n = unused_from(list);

	for (i = 0; i < n; i++) {
		q = json_object_array_get_idx(list, i);
		columns_cell(t, "%" PRId64, get_int(q, "index"));
		columns_cell(t, "%s", text_of(q, "direction"));
		cell_number_or(t, q, "worker", "any");
		if (get_text(q, "broken"))
			columns_cell(t, "broken: %s", get_text(q, "broken"));
		else
			columns_cell(t, "%s",
				     !get_bool(q, "started")   ? "stopped"
				     : !get_bool(q, "enabled") ? "disabled"
							       : "running");
		columns_cell(t, "%" PRId64, get_int(q, "size"));
		columns_cell(t, "%" PRId64, get_int(q, "calls"));
	}
	columns_print(t, stdout, 0);
	if (n < get_length(list))
		printf("(queues %zu to %zu are stopped as well)\n", n, get_length(list) - 1);
}

/* When the VM came from another host with its port's state, and what came along. */
static void print_moved(struct json_object *p)
{
	time_t at = get_int(p, "moved_in");
	struct tm parts;
	char text[32];

	if (!at || !localtime_r(&at, &parts))
		return;
	strftime(text, sizeof(text), "%F %T", &parts);
	printf("moved in   at %s, with the counters of port \"%s\" and %" PRId64 " address%s\n",
	       text, text_of(p, "moved_from"), get_int(p, "moved_addresses"),
	       get_int(p, "moved_addresses") == 1 ? "" : "es");
}

void print_vm(struct json_object *p)
{
	char why_not[512];

	if (get(p, "why_not")) {
		printf("traffic    ");
		snprintf(why_not, sizeof(why_not), "does not pass: %s", text_of(p, "why_not"));
		words_wrap(why_not, INDENT, stdout);
	} else {
		printf("traffic    passes\n");
	}
	printf("address    %s\n",
	       get(p, "mac") ? text_of(p, "mac") : "learned from what the VM sends");
	printf("socket     %s%s\n", text_of(p, "socket"),
	       strcmp(text_of(p, "role"), "client") ? "" : ", where the front-end listens");
	print_mtu(p);
	print_offloads(p);
	print_connection(p);
	print_moved(p);
	if (get_length(get(p, "negotiated")))
		print_ring(p);
	if (get_bool(p, "connected") || get_length(get(p, "asked")) ||
	    get_length(get(p, "protocol_asked")))
		print_features(p);
	printf("\n");
	print_queues(get(p, "queues"));
}
