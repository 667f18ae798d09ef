/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Conversations among all ends of a lab, and the switch's tables as its pinned maps show them. */
#include "lab.h"

#include <errno.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include "check.h"
#include "vxs_ctl.h"

#define WINDOW 32 /* frames of one conversation before the receiver is waited for */

static bool here(const struct end *e)
{
	return e->vm || e->sock >= 0;
}

/* What the wire broadcasts comes by way of the host; only what it sends to a VM tells its place. */
static bool learn_wire(struct lab *lab, struct end *wire)
{
	struct shot shot = {.flow = MARK_FLOWS - 1};
	unsigned i;

	for (i = 0; i < lab->n_ends; i++) {
		struct end *vm = &lab->end[i];

		if (!vm->vm || vm->deaf)
			continue;
		shot.to = vm->mac;
		return !end_shoot(lab, wire, &shot) && lab_got(lab, vm, shot.flow, 1) &&
		       lab_shown(lab, wire->mac, 0, wire->name);
	}
	return true;
}

bool lab_learn(struct lab *lab)
{
	unsigned i, k;
	bool ok = true;

	lab_clear(lab);
	for (i = 0; i < lab->n_ends; i++) {
		struct shot shot = {.flow = i};

		if (!here(&lab->end[i]))
			continue;
		if (end_shoot(lab, &lab->end[i], &shot))
			return false;
		for (k = 0; k < lab->n_ends; k++)
			if (k != i && here(&lab->end[k]) && !lab->end[k].deaf)
				ok &= lab_got(lab, &lab->end[k], i, 1);
		if (lab->end[i].kind == END_VM)
			ok &= lab_learned(lab, lab->end[i].mac, 0, lab->end[i].name);
	}
	for (i = 0; i < lab->n_ends; i++)
		if (lab->end[i].kind == END_WIRE && here(&lab->end[i]))
			ok &= learn_wire(lab, &lab->end[i]);
	lab_clear(lab);
	return ok;
}

/* The frames of one end to another; sizes grow from frame to frame. */
static bool talk(struct lab *lab, struct end *from, struct end *to, unsigned flow, unsigned n)
{
	unsigned seq;

	for (seq = 0; seq < n; seq++) {
		struct shot shot = {.to = to->mac, .flow = flow, .seq = seq};

		shot.len = 64 + seq * 97 % 1451;
		if (end_shoot(lab, from, &shot))
			return false;
		if (seq % WINDOW == WINDOW - 1 && !lab_got(lab, to, flow, seq + 1))
			return false;
	}
	return lab_got(lab, to, flow, n);
}

bool lab_talk(struct lab *lab, unsigned n)
{
	unsigned i, k, j;
	bool ok = true;

	for (i = 0; i < lab->n_ends; i++)
		for (k = 0; k < lab->n_ends; k++) {
			struct end *from = &lab->end[i], *to = &lab->end[k];

			if (i == k || !here(from) || !here(to) || to->deaf)
				continue;
			lab_clear(lab);
			if (!talk(lab, from, to, k, n)) {
				printf("--- %s to %s failed\n", from->name, to->name);
				ok = false;
			}
			lab_quiet(lab, 5);
			ok &= lab_clean(lab);
			for (j = 0; j < lab->n_ends; j++) {
				if (j == k || !here(&lab->end[j]) || !lab->end[j].in.n)
					continue;
				printf("--- %s to %s: %s saw %u\n", from->name, to->name,
				       lab->end[j].name, lab->end[j].in.n);
				ok = false;
			}
		}
	return ok;
}

/* After a round of broadcasts: exactly @n of each flow but one's own. */
static bool check_shout(struct lab *lab, unsigned i, unsigned n)
{
	unsigned k;
	bool ok = true;

	for (k = 0; k < lab->n_ends; k++) {
		struct end *e = &lab->end[k];
		unsigned want = k == i ? 0 : n;

		if (!here(e) || e->deaf || (e->in.flow[i] == want && e->in.n == want))
			continue;
		printf("--- broadcast by %s: %s got %u different, %u in all, of %u\n",
		       lab->end[i].name, e->name, e->in.flow[i], e->in.n, want);
		ok = false;
	}
	return ok;
}

bool lab_shout(struct lab *lab, unsigned n)
{
	unsigned i, k, seq;
	bool ok = true;

	for (i = 0; i < lab->n_ends; i++) {
		if (!here(&lab->end[i]))
			continue;
		lab_clear(lab);
		for (seq = 0; seq < n; seq++) {
			struct shot shot = {.flow = i, .seq = seq, .len = 64 + seq % 1400};

			if (end_shoot(lab, &lab->end[i], &shot))
				return false;
			for (k = 0; seq % WINDOW == WINDOW - 1 && k < lab->n_ends; k++)
				if (k != i && here(&lab->end[k]) && !lab->end[k].deaf)
					lab_got(lab, &lab->end[k], i, seq + 1);
		}
		for (k = 0; k < lab->n_ends; k++)
			if (k != i && here(&lab->end[k]) && !lab->end[k].deaf)
				ok &= lab_got(lab, &lab->end[k], i, n);
		/* A loop or an echo would go on: look on for a while. */
		lab_quiet(lab, 50);
		ok &= check_shout(lab, i, n) && lab_clean(lab);
	}
	return ok;
}

/* ---- tables ---- */

static int open_map(struct lab *lab, const char *map)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/%s/%s", VXS_PIN_DIR, lab->vxsd.name, map);
	return bpf_obj_get(path);
}

int lab_port(struct lab *lab, const char *name)
{
	int fd = open_map(lab, "ports"), found = -1;
	struct vxs_port port;
	uint32_t i;

	if (fd < 0)
		return -1;
	for (i = 0; i < VXS_PORTS_MAX && found < 0; i++)
		if (!bpf_map_lookup_elem(fd, &i, &port) && port.kind != VXS_KIND_NONE &&
		    !strncmp(port.name, name, sizeof(port.name)))
			found = i;
	close(fd);
	return found;
}

static void add_stats(struct vxs_port_stats *to, const struct vxs_port_stats *more)
{
	size_t i;

	for (i = 0; i < sizeof(*to) / sizeof(__u64); i++)
		((__u64 *)to)[i] += ((const __u64 *)more)[i];
}

bool lab_stats(struct lab *lab, const char *name, struct vxs_port_stats *stats)
{
	struct bpf_map_info info = {};
	uint32_t key, len = sizeof(info);
	struct vxs_port_stats of_worker;
	int port = lab_port(lab, name), fd, err;

	if (port < 0)
		return false;
	/* The kernel's own counters are brought into the map when somebody asks. */
	json_object_put(child_ctl(&lab->vxsd, "stats", NULL));
	fd = open_map(lab, "port_stats");
	if (fd < 0)
		return false;
	memset(stats, 0, sizeof(*stats));
	err = bpf_obj_get_info_by_fd(fd, &info, &len);
	for (key = port; !err && key < info.max_entries; key += VXS_PORTS_MAX) {
		err = bpf_map_lookup_elem(fd, &key, &of_worker);
		add_stats(stats, &of_worker);
	}
	close(fd);
	return !err;
}

uint64_t lab_drops(const struct vxs_port_stats *stats)
{
	uint64_t sum = 0;

#define ADD(field, text) sum += stats->drops.field;
	VXS_DROP_LIST(ADD)
#undef ADD
	/* Of frames from the wire as well as from the host, so it is in each account by itself. */
	return sum - stats->drops.tap_full;
}

static uint64_t lost_on_the_way(struct lab *lab)
{
	struct vxs_port_stats host = {};

	lab_stats(lab, "host", &host); /* false without such a port: none are lost there */
	return net_dropped(&lab->net) + host.drops.tap_full;
}

bool lab_begin(struct lab *lab, struct account *a, const char *from, const char *to)
{
	a->from = from;
	a->to = to;
	a->dropped = lost_on_the_way(lab);
	return lab_stats(lab, from, &a->from_stats) && lab_stats(lab, to, &a->to_stats);
}

struct balance {
	struct lab *lab;
	const struct account *a;
	uint64_t want, dropped;
	struct vxs_port_stats from, to;
};

static bool is_balanced(void *arg)
{
	struct balance *b = arg;

	lab_drain(b->lab);
	if (!lab_stats(b->lab, b->a->from, &b->from) || !lab_stats(b->lab, b->a->to, &b->to))
		return false;
	b->dropped = lab_drops(&b->from) - lab_drops(&b->a->from_stats);
	b->dropped += lab_drops(&b->to) - lab_drops(&b->a->to_stats);
	b->dropped += lost_on_the_way(b->lab) - b->a->dropped;
	return b->dropped == b->want;
}

static void print_drops(const char *port, const struct vxs_port_stats *before,
			const struct vxs_port_stats *after)
{
#define PRINT(field, text)                                                                         \
	if (after->drops.field != before->drops.field)                                             \
		printf("--- %s " #field " %lu\n", port,                                            \
		       (unsigned long)(after->drops.field - before->drops.field));
	VXS_DROP_LIST(PRINT)
#undef PRINT
}

bool lab_balances(struct lab *lab, struct account *a, uint64_t sent, uint64_t got)
{
	struct balance b = {.lab = lab, .a = a, .want = sent - got};

	if (check_until(is_balanced, &b, LAB_WAIT))
		return true;
	printf("--- %s to %s: %lu sent = %lu got + %lu dropped does not hold\n", a->from, a->to,
	       (unsigned long)sent, (unsigned long)got, (unsigned long)b.dropped);
	print_drops(a->from, &a->from_stats, &b.from);
	print_drops(a->to, &a->to_stats, &b.to);
	return false;
}

int lab_fdb(struct lab *lab, const uint8_t mac[6], uint16_t vlan)
{
	struct vxs_fdb_key key = {.vlan = vlan};
	struct vxs_fdb_value value;
	int fd = open_map(lab, "fdb"), err;

	if (fd < 0)
		return -1;
	memcpy(key.mac, mac, 6);
	err = bpf_map_lookup_elem(fd, &key, &value);
	close(fd);
	return err ? -1 : (int)value.port;
}

/* Something that an address is looked for by. */
struct learned {
	struct lab *lab;
	const uint8_t *mac;
	uint16_t vlan;
	int port;
};

static bool is_learned(void *arg)
{
	struct learned *l = arg;

	return lab_fdb(l->lab, l->mac, l->vlan) == l->port;
}

bool lab_learned(struct lab *lab, const uint8_t mac[6], uint16_t vlan, const char *name)
{
	struct learned l = {lab, mac, vlan, name ? lab_port(lab, name) : -1};

	if (check_until(is_learned, &l, LAB_WAIT))
		return true;
	printf("--- %02x:%02x:%02x:%02x:%02x:%02x vlan %u is at port %d, not at %s\n", mac[0],
	       mac[1], mac[2], mac[3], mac[4], mac[5], vlan, lab_fdb(lab, mac, vlan),
	       name ? name : "none");
	return false;
}

static const char *text_of(struct json_object *o, const char *key)
{
	struct json_object *value = NULL;
	const char *text;

	json_object_object_get_ex(o, key, &value);
	text = json_object_get_string(value);
	return text ? text : "";
}

struct shown {
	struct lab *lab;
	char mac[18], vlan[8];
	const char *name;
};

static bool is_shown(void *arg)
{
	struct shown *s = arg;
	struct json_object *list = child_ctl(&s->lab->vxsd, "fdb show", NULL), *o;
	bool found = false;
	size_t i;

	for (i = 0;
	     json_object_is_type(list, json_type_array) && i < json_object_array_length(list);
	     i++) {
		o = json_object_array_get_idx(list, i);
		found |= !strcmp(text_of(o, "mac"), s->mac) &&
			 !strcmp(text_of(o, "vlan"), s->vlan) &&
			 !strcmp(text_of(o, "port"), s->name);
	}
	json_object_put(list);
	return found;
}

bool lab_shown(struct lab *lab, const uint8_t mac[6], uint16_t vlan, const char *name)
{
	struct shown s = {.lab = lab, .name = name};

	snprintf(s.mac, sizeof(s.mac), "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2],
		 mac[3], mac[4], mac[5]);
	snprintf(s.vlan, sizeof(s.vlan), "%u", vlan);
	if (check_until(is_shown, &s, LAB_WAIT))
		return true;
	printf("--- vxsctl doesn't show %s vlan %s at %s\n", s.mac, s.vlan, name);
	return false;
}
