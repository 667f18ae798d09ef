/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What vxsctl shows to people: the daemon's JSON as tables and sentences. */
#include "ctl/print.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "ctl/columns.h"
#include "vxs_drop.h"

struct json_object *get(struct json_object *o, const char *key)
{
	struct json_object *value = NULL;

	json_object_object_get_ex(o, key, &value);
	return value;
}

const char *get_text(struct json_object *o, const char *key)
{
	struct json_object *value = get(o, key);

	return json_object_is_type(value, json_type_string) ? json_object_get_string(value) : NULL;
}

int64_t get_int(struct json_object *o, const char *key)
{
	return json_object_get_int64(get(o, key));
}

bool get_bool(struct json_object *o, const char *key)
{
	return json_object_get_boolean(get(o, key));
}

const char *text_of(struct json_object *o, const char *key)
{
	const char *text = get_text(o, key);

	return text ? text : "";
}

size_t get_length(struct json_object *list)
{
	return json_object_is_type(list, json_type_array) ? json_object_array_length(list) : 0;
}

void cell_number_or(struct columns *t, struct json_object *o, const char *key, const char *none)
{
	if (get(o, key))
		columns_cell(t, "%" PRId64, get_int(o, key));
	else
		columns_cell(t, "%s", none);
}

const char *plural(int64_t n)
{
	return n == 1 ? "" : "s";
}

/* "2d 03:04:05" */
static void format_time(char *text, size_t size, int64_t seconds)
{
	int days = seconds / 86400, hours = seconds / 3600 % 24;
	int minutes = seconds / 60 % 60, rest = seconds % 60;

	if (days)
		snprintf(text, size, "%dd %02d:%02d:%02d", days, hours, minutes, rest);
	else
		snprintf(text, size, "%02d:%02d:%02d", hours, minutes, rest);
}

/* What the NIC does beyond moving frames, where there is any of it. */
static void print_nic_uses(struct json_object *nic)
{
	static const struct {
		const char *key, *text;
	} uses[] = {
		{"multi_buffer", "frames over a page"},
		{"checksums", "fills checksums in"},
		{"flow_hash", "tells flow hashes"},
	};
	const char *before = NULL;
	unsigned i;

	for (i = 0; i < sizeof(uses) / sizeof(uses[0]); i++) {
		if (!get_bool(nic, uses[i].key))
			continue;
		if (before)
			printf("%s%s", before, uses[i].text);
		else
			printf("%*sNIC: %s", INDENT, "", uses[i].text);
		before = ", ";
	}
	if (before)
		printf("\n");
}

static void print_nic(struct json_object *nic)
{
	int64_t queues = get_int(nic, "queues"), all = get_int(nic, "nic_queues");

	printf("%s, %s, %s, ", text_of(nic, "ifname"), text_of(nic, "mac"),
	       get_bool(nic, "up") ? "up" : "down");
	if (queues == all)
		printf("%" PRId64 " queue%s, ", queues, plural(queues));
	else
		printf("%" PRId64 " of %" PRId64 " queues, ", queues, all);
	printf("MTU %" PRId64 ";\n%*sAF_XDP: %s, UMEM on %s", get_int(nic, "mtu"), INDENT, "",
	       text_of(nic, "mode"), text_of(nic, "umem"));
	if (get_int(nic, "busy_queues"))
		printf(", busy polling");
	else if (get_bool(nic, "busy_vain"))
		printf(", busy polling without effect");
	else if (get_bool(nic, "busy_poll"))
		printf(", busy polling waits for frames");
	if (get(nic, "gro") && !get_bool(nic, "gro"))
		printf(", GRO off");
	printf("\n");
	print_nic_uses(nic);
}

#define LINE_MAX_PORTS 100
#define POLLS_MAX      60 /* characters of a worker's list of queues; -j has the whole */

/* "eth1/0 web/0 db/1", or as many of them as fit and how many more there are. */
static void format_polls(char *text, size_t size, struct json_object *queues)
{
	size_t i, len = 0, n = get_length(queues);
	struct json_object *q;
	char name[64];

	text[0] = '\0';
	for (i = 0; i < n; i++) {
		q = json_object_array_get_idx(queues, i);
		snprintf(name, sizeof(name), "%s%s/%" PRId64, i ? " " : "", text_of(q, "port"),
			 get_int(q, "queue"));
		if (len + strlen(name) > POLLS_MAX)
			break;
		len += snprintf(text + len, size - len, "%s", name);
	}
	if (i < n)
		snprintf(text + len, size - len, " and %zu more", n - i);
}

static void print_workers(struct json_object *list)
{
	static const char *const heads[] = {"WORKER",  ">CPU",    ">ROUNDS", ">WITH-FRAMES",
					    ">SLEEPS", ">QUEUES", "POLLS",   NULL};
	char polls[POLLS_MAX + 40];
	struct columns *t = columns_new(heads);
	struct json_object *w;
	size_t i;

	for (i = 0; i < get_length(list); i++) {
		w = json_object_array_get_idx(list, i);
		columns_cell(t, "%" PRId64, get_int(w, "id"));
		cell_number_or(t, w, "cpu", "any");
		columns_cell(t, "%" PRId64, get_int(w, "rounds"));
		columns_cell(t, "%" PRId64, get_int(w, "busy_rounds"));
		columns_cell(t, "%" PRId64, get_int(w, "sleeps"));
		columns_cell(t, "%zu", get_length(get(w, "queues")));
		format_polls(polls, sizeof(polls), get(w, "queues"));
		columns_cell(t, "%s", polls);
	}
	columns_print(t, stdout, 0);
}

/* How several workers share the queues. */
static void print_rule(struct json_object *uplink)
{
	printf("queues     ");
	if (uplink)
		printf("queue N of the uplink belongs to worker N modulo their number;\n%*s",
		       INDENT, "");
	printf("VM queues that run are spread so that no worker has two more than another\n");
}

/* Those of VMs that have one; the uplink's stands beside its name. */
static void print_mtus(struct json_object *mtus)
{
	int64_t least = get_int(mtus, "least"), most = get_int(mtus, "most");
	int64_t over = get_int(mtus, "over_uplink");

	if (!most)
		return;
	printf("VM MTUs    %" PRId64, least);
	if (least < most)
		printf(" to %" PRId64, most);
	if (over)
		printf("; %" PRId64 " VM%s longer than the uplink's: see `vxsctl port show`", over,
		       over == 1 ? "'s is" : "s' are");
	printf("\n");
}

void print_status(struct json_object *o)
{
	char uptime[32];

	format_time(uptime, sizeof(uptime), get_int(o, "uptime"));
	printf("switch     %s (vxsd %s, process %" PRId64 ", running for %s)\n", text_of(o, "name"),
	       text_of(o, "version"), get_int(o, "pid"), uptime);
	printf("sockets    %s\n", text_of(o, "run_dir"));
	printf("maps       %s\n", get(o, "maps")
					  ? text_of(o, "maps")
					  : "none: tables in plain memory (no right to BPF)");
	printf("uplink     ");
	if (get(o, "uplink"))
		print_nic(get(o, "uplink"));
	else
		printf("none\n");
	if (get(o, "host"))
		printf("host       shares the uplink, by way of %s\n", text_of(o, "host"));
	else if (get(o, "uplink"))
		printf("host       not shared (--host off)\n");
	printf("polling    %s", text_of(o, "poll"));
	if (get(o, "idle_us"))
		printf(", sleeps after %" PRId64 " us without work", get_int(o, "idle_us"));
	printf("\n");
	if (get_int(o, "ageing"))
		printf("ageing     %" PRId64 " s\n", get_int(o, "ageing"));
	else
		printf("ageing     never\n");
	printf("ports      %" PRId64 "\n", get_int(o, "ports"));
	print_mtus(get(o, "vm_mtus"));
	printf("addresses  %" PRId64 "\n", get_int(o, "addresses"));
	if (get_length(get(o, "workers")) > 1)
		print_rule(get(o, "uplink"));
	printf("\n");
	print_workers(get(o, "workers"));
}

void print_ports(struct json_object *list)
{
	static const char *const heads[] = {">ID",  "NAME",    "KIND", "UP", ">QUEUES",
					    ">MTU", "ADDRESS", "NOTE", NULL};
	struct columns *t = columns_new(heads);
	struct json_object *p, *nic;
	size_t i;

	for (i = 0; i < get_length(list); i++) {
		p = json_object_array_get_idx(list, i);
		nic = get(p, "nic");
		columns_cell(t, "%" PRId64, get_int(p, "id"));
		columns_cell(t, "%s", text_of(p, "name"));
		columns_cell(t, "%s", text_of(p, "kind"));
		columns_cell(t, "%s", get_bool(p, "up") ? "yes" : "no");
		if (nic) {
			columns_cell(t, "%" PRId64, get_int(nic, "queues"));
			cell_number_or(t, nic, "mtu", "");
			columns_cell(t, "%s", text_of(nic, "mac"));
			columns_cell(t, "%s, %s", text_of(nic, "ifname"), text_of(nic, "mode"));
		} else if (get(p, "pairs")) {
			columns_cell(t, "%" PRId64, get_int(p, "pairs"));
			cell_number_or(t, p, "mtu", "any");
			columns_cell(t, "%s", get(p, "mac") ? text_of(p, "mac") : "learned");
			columns_cell(t, "%s", text_of(p, "why_not"));
		} else {
			columns_cell(t, "1");
			cell_number_or(t, p, "mtu", "");
			columns_cell(t, "%s", "");
			columns_cell(t, "%s", text_of(p, "ifname"));
		}
	}
	columns_limit(t, LINE_MAX_PORTS); /* `port show PORT` has the whole note */
	columns_print(t, stdout, 0);
}

/* How busy polling does, if it was asked for. */
static void print_busy(struct json_object *nic)
{
	if (!get_bool(nic, "busy_poll"))
		return;
	if (get_int(nic, "busy_queues"))
		printf("busy-poll  %" PRId64 " of %" PRId64 " queues, %" PRId64 " polls, %" PRId64
		       " of them brought frames\n",
		       get_int(nic, "busy_queues"), get_int(nic, "queues"),
		       get_int(nic, "busy_polls"), get_int(nic, "busy_hits"));
	else if (get_bool(nic, "busy_vain"))
		printf("busy-poll  no queue: sockets are not told of the driver's NAPI, frames "
		       "come by "
		       "interrupts\n");
	else
		printf("busy-poll  no queue yet: waits for frames, which tell sockets the driver's "
		       "NAPI\n");
}

void print_port(struct json_object *p)
{
	const char *kind = text_of(p, "kind");

	printf("port       %s (number %" PRId64 ", %s)\n", text_of(p, "name"), get_int(p, "id"),
	       strcmp(kind, "vm") ? kind : "VM");
	if (get(p, "nic")) {
		printf("interface  ");
		print_nic(get(p, "nic"));
		print_busy(get(p, "nic"));
	} else if (get(p, "ifname")) {
		printf("interface  %s, which joins the host to the switch\n", text_of(p, "ifname"));
	} else {
		print_vm(p);
	}
}

/* By port, VLAN and address. */
static int compare_addresses(const void *a, const void *b)
{
	struct json_object *x = *(struct json_object *const *)a;
	struct json_object *y = *(struct json_object *const *)b;
	int order = strcmp(text_of(x, "port"), text_of(y, "port"));

	if (!order)
		order = get_int(x, "vlan") - get_int(y, "vlan");
	return order ? order : strcmp(text_of(x, "mac"), text_of(y, "mac"));
}

void print_fdb(struct json_object *list)
{
	static const char *const heads[] = {"MAC", ">VLAN", "PORT", "TYPE", ">AGE", NULL};
	struct columns *t = columns_new(heads);
	struct json_object *a;
	size_t i;

	json_object_array_sort(list, compare_addresses);
	for (i = 0; i < get_length(list); i++) {
		a = json_object_array_get_idx(list, i);
		columns_cell(t, "%s", text_of(a, "mac"));
		columns_cell(t, "%" PRId64, get_int(a, "vlan"));
		columns_cell(t, "%s", text_of(a, "port"));
		columns_cell(t, "%s", text_of(a, "type"));
		if (get(a, "age"))
			columns_cell(t, "%" PRId64 " s", get_int(a, "age"));
		else
			columns_cell(t, "%s", "");
	}
	columns_print(t, stdout, 0);
}

/* What a drop counter means, from the list that the counters themselves are made of. */
static const char *drop_text(const char *name)
{
#define DROP_ROW(field, text) {#field, text},
	static const struct {
		const char *name, *text;
	} rows[] = {VXS_DROP_LIST(DROP_ROW)};
#undef DROP_ROW
	size_t i;

	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (!strcmp(rows[i].name, name))
			return rows[i].text;
	return "a reason that this vxsctl does not know";
}

static int64_t sum_drops(struct json_object *drops)
{
	int64_t sum = 0;

	if (!json_object_is_type(drops, json_type_object))
		return 0;
	json_object_object_foreach(drops, name, count)
	{
		(void)name;
		sum += json_object_get_int64(count);
	}
	return sum;
}

static void print_drops(struct json_object *stats)
{
	struct json_object *drops = get(stats, "drops");
	int64_t n;

	if (!json_object_is_type(drops, json_type_object))
		return;
	json_object_object_foreach(drops, name, count)
	{
		n = json_object_get_int64(count);
		if (n)
			printf("%s dropped: %s %" PRId64 " (%s)\n", text_of(stats, "port"), name, n,
			       drop_text(name));
	}
}

void print_stats(struct json_object *list)
{
	static const char *const heads[] = {"PORT",       ">IN-FRAMES", ">IN-BYTES", ">OUT-FRAMES",
					    ">OUT-BYTES", ">DROPPED",   NULL};
	struct columns *t = columns_new(heads);
	struct json_object *s;
	bool dropped = false;
	int64_t sum;
	size_t i;

	for (i = 0; i < get_length(list); i++) {
		s = json_object_array_get_idx(list, i);
		sum = sum_drops(get(s, "drops"));
		dropped |= sum;
		columns_cell(t, "%s", text_of(s, "port"));
		columns_cell(t, "%" PRId64, get_int(s, "in_frames"));
		columns_cell(t, "%" PRId64, get_int(s, "in_bytes"));
		columns_cell(t, "%" PRId64, get_int(s, "out_frames"));
		columns_cell(t, "%" PRId64, get_int(s, "out_bytes"));
		columns_cell(t, "%" PRId64, sum);
	}
	columns_print(t, stdout, 0);
	if (dropped)
		printf("\n");
	for (i = 0; i < get_length(list); i++)
		print_drops(json_object_array_get_idx(list, i));
}
