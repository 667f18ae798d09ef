/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Decides for a batch of frames where each goes, then visits each destination once. */
#include "switch/switch.h"

#include <arpa/inet.h>
#include <linux/if_ether.h>

#include "switch/rcu.h"

/*
 * Two passes. The first looks every frame up and threads it onto the list of its destination
 * (worker->first[], ->last[], frame->next; all by frame number, NO_FRAME ends a list); what goes to
 * everybody has a list of its own. The second calls out() once for each destination, with the
 * frames of its own list and of the flood list in the order in which they came.
 *
 * Frames are only read here, through the private copy of their first bytes.
 */
#define NO_FRAME UINT16_MAX

struct lists {
	struct port_table *table;
	uint16_t flood_first, flood_last;
	unsigned n_active;
	unsigned n_listed;             /* frames on lists of destinations */
	uint16_t active[BATCH_FRAMES]; /* destinations with a list */
};

static bool is_multicast(const uint8_t *mac)
{
	return mac[0] & 1;
}

/* 01:80:c2:00:00:00 to :0f never cross a bridge (IEEE 802.1Q, 8.6.3). */
static bool is_link_local(const uint8_t *mac)
{
	static const uint8_t prefix[5] = {0x01, 0x80, 0xc2, 0x00, 0x00};

	return !memcmp(mac, prefix, 5) && mac[5] < 0x10;
}

/* The VLAN ID of the outermost tag, 0 without one. */
static uint16_t read_vlan(const struct frame *f)
{
	const uint8_t *at = f->head + f->head_at;
	uint16_t type;

	memcpy(&type, at + 12, 2);
	if (type != htons(ETH_P_8021Q) && type != htons(ETH_P_8021AD))
		return 0;
	if (f->head_len < 16)
		return 0;
	return (at[14] << 8 | at[15]) & 0xfff;
}

/* Tells control of an address that it doesn't know behind this port; once a second at most. */
static void learn(struct worker *w, const struct port *in, uint64_t key)
{
	uint32_t value, at = fdb_hash(key) % LEARN_RECENT;
	struct fdb_slot *s = fdb_find(w->sw->fdb, key, &value);
	uint32_t stamp;

	/* The wire's stations reach us by way of the host as well: that is no move. */
	if (s && (FDB_SLOT_PORT(value) == in->id ||
		  (in->group == PORT_GROUP_WIRE && FDB_SLOT_PORT(value) < VXS_PORT_VM))) {
		fdb_touch(s, w->now);
		return;
	}
	if (s && value & FDB_SLOT_STATIC)
		return;
	if (!in->learn && !s) /* what is known of it may still be wrong now */
		return;
	if (in->fix_mac && fdb_key_mac(key) != in->fix_mac)
		return;
	/* Neither of the two ever decreases: the same sum is the same second and epoch. */
	stamp = w->now + __atomic_load_n(&w->sw->fdb->epoch, __ATOMIC_RELAXED);
	if (w->recent[at].key == key && w->recent[at].port == in->id && w->recent[at].at == stamp)
		return;
	if (!worker_event(w, EVENT_LEARN, in->id, key))
		return;
	w->recent[at].key = key;
	w->recent[at].port = in->id;
	w->recent[at].at = stamp;
}

static void append(struct worker *w, struct lists *l, struct batch *b, uint16_t i, uint32_t out)
{
	b->frame[i].next = NO_FRAME;
	if (w->first[out] == NO_FRAME) {
		w->first[out] = i;
		l->active[l->n_active++] = out;
	} else {
		b->frame[w->last[out]].next = i;
	}
	w->last[out] = i;
	l->n_listed++;
}

static void append_flood(struct lists *l, struct batch *b, uint16_t i)
{
	b->frame[i].next = NO_FRAME;
	if (l->flood_first == NO_FRAME)
		l->flood_first = i;
	else
		b->frame[l->flood_last].next = i;
	l->flood_last = i;
}

static bool may_pass(const struct port *in, const struct port *out)
{
	return in != out && (!in->group || in->group != out->group);
}

#define OUT_FLOOD (FRAME_PORT_NONE - 1)

/* Where a frame goes: a port number, OUT_FLOOD or FRAME_PORT_NONE for nowhere. */
static uint32_t look_up(struct worker *w, const struct frame *f, uint64_t mac)
{
	uint32_t value;

	if (f->out != FRAME_PORT_NONE)
		return f->out;
	if (fdb_find(w->sw->fdb, fdb_key(mac, f->vlan), &value))
		return FDB_SLOT_PORT(value);
	/* A static address is where it is on every VLAN. */
	if (f->vlan && fdb_find(w->sw->fdb, fdb_key(mac, 0), &value) && value & FDB_SLOT_STATIC)
		return FDB_SLOT_PORT(value);
	return OUT_FLOOD;
}

/* First pass. */
static void decide(struct worker *w, struct batch *b, struct lists *l)
{
	unsigned same_port = 0, no_destination = 0, bad_source = 0, link_local = 0;
	uint64_t last_src = 0, last_dst = 0;
	uint32_t last_out = 0;
	unsigned i;

	for (i = 0; i < b->n; i++) {
		struct frame *f = &b->frame[i];
		const uint8_t *at = f->head + f->head_at;
		uint64_t dst = fdb_mac_wide(at), src = fdb_mac_wide(at + 6), key;
		struct port *to;
		uint32_t out;

		if (is_multicast(at + 6) || !src) {
			bad_source++;
			continue;
		}
		f->vlan = read_vlan(f);
		key = fdb_key(src, f->vlan);
		if (key != last_src)
			learn(w, b->in, key);
		last_src = key;
		if (is_multicast(at)) {
			if (is_link_local(at))
				link_local++;
			else
				append_flood(l, b, i);
			continue;
		}
		key = fdb_key(dst, f->vlan);
		if (key == last_dst && f->out == FRAME_PORT_NONE)
			out = last_out;
		else
			out = look_up(w, f, dst);
		if (f->out == FRAME_PORT_NONE) {
			last_dst = key;
			last_out = out;
		}
		if (out == OUT_FLOOD) {
			append_flood(l, b, i);
			continue;
		}
		to = out < VXS_PORTS_MAX ? l->table->by_id[out] : NULL;
		if (!to)
			no_destination++;
		else if (!may_pass(b->in, to))
			same_port++;
		else
			append(w, l, b, i, out);
	}
	port_drop(b->in, bad_source, bad_source);
	port_drop(b->in, link_local, link_local);
	port_drop(b->in, same_port, same_port);
	port_drop(b->in, no_destination, no_destination);
}

/* Merges the list of one destination with the flood list, in the order of arrival. */
static unsigned merge(const struct batch *b, uint16_t own, uint16_t flood, uint16_t *which)
{
	unsigned n = 0;

	while (own != NO_FRAME || flood != NO_FRAME) {
		uint16_t *from = own < flood ? &own : &flood; /* NO_FRAME is the highest number */

		which[n++] = *from;
		*from = b->frame[*from].next;
	}
	return n;
}

static void visit(struct worker *w, struct batch *b, struct port *to, uint16_t flood)
{
	uint16_t which[BATCH_FRAMES];
	unsigned n = merge(b, w->first[to->id], flood, which);

	if (n)
		to->ops->out(to, w, b, which, n);
}

/* The whole batch has one destination: the usual case, without walking its list. */
static void visit_only(struct worker *w, struct batch *b, struct port *to)
{
	uint16_t which[BATCH_FRAMES];
	unsigned i;

	for (i = 0; i < b->n; i++)
		which[i] = i;
	to->ops->out(to, w, b, which, b->n);
}

static unsigned count(const struct batch *b, uint16_t first)
{
	unsigned n = 0;

	for (; first != NO_FRAME; first = b->frame[first].next)
		n++;
	return n;
}

void switch_batch(struct worker *w, struct batch *b)
{
	unsigned i, visited = 0;
	struct lists l;

	l.table = rcu_get(w->sw->ports);
	l.flood_first = l.flood_last = NO_FRAME;
	l.n_active = l.n_listed = 0;
	if (!l.table)
		return;
	decide(w, b, &l);
	if (l.n_active == 1 && l.n_listed == b->n) {
		visit_only(w, b, l.table->by_id[l.active[0]]);
	} else if (l.flood_first == NO_FRAME) {
		for (i = 0; i < l.n_active; i++)
			visit(w, b, l.table->by_id[l.active[i]], NO_FRAME);
	} else {
		for (i = 0; i < l.table->n; i++) {
			if (!may_pass(b->in, l.table->all[i]))
				continue;
			visit(w, b, l.table->all[i], l.flood_first);
			visited++;
		}
		if (!visited)
			port_drop(b->in, no_destination, count(b, l.flood_first));
	}
	for (i = 0; i < l.n_active; i++)
		w->first[l.active[i]] = NO_FRAME;
}
