/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Decides for a batch of frames where each goes, then visits each destination once. */
#include "switch/switch.h"

#include <arpa/inet.h>
#include <linux/if_ether.h>

#include "switch/account.h"
#include "switch/rcu.h"

/*
 * Two passes. The first cuts the batch into runs: frames one behind the other that have the same
 * addresses, and so the same destination, which is looked up once. Runs are threaded onto the list
 * of their destination (worker->first[], ->last[], run.next; all by run number, NO_RUN ends a
 * list); what goes to everybody has a list of its own. The second pass calls out() once for each
 * destination, with the frames of its own list and of the flood list in the order in which they
 * came.
 *
 * Frames are only read here, through the private copy of their first bytes.
 */
#define NO_RUN UINT16_MAX

struct run {
	uint16_t first, n; /* frames */
	uint16_t next;     /* the next run for the same destination */
};

struct lists {
	struct port_table *table;
	uint16_t flood_first, flood_last;
	unsigned n_active;
	unsigned n_runs;
	uint16_t active[BATCH_FRAMES]; /* destinations with a list */
	struct run run[BATCH_FRAMES];
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
	const uint8_t *at = f->head + f->shape.head_at;
	uint16_t type;

	memcpy(&type, at + 12, 2);
	if (type != htons(ETH_P_8021Q) && type != htons(ETH_P_8021AD))
		return 0;
	if (f->shape.head_len < 16)
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

static void append(struct worker *w, struct lists *l, uint16_t r, uint32_t out)
{
	if (w->first[out] == NO_RUN) {
		w->first[out] = r;
		l->active[l->n_active++] = out;
	} else {
		l->run[w->last[out]].next = r;
	}
	w->last[out] = r;
}

static void append_flood(struct lists *l, uint16_t r)
{
	if (l->flood_first == NO_RUN)
		l->flood_first = r;
	else
		l->run[l->flood_last].next = r;
	l->flood_last = r;
}

static bool may_pass(const struct port *in, const struct port *out)
{
	return in != out && (!in->group || in->group != out->group);
}

#define OUT_FLOOD (FRAME_PORT_NONE - 1)

/* Where a frame goes: a port number, OUT_FLOOD or FRAME_PORT_NONE for nowhere. */
static uint32_t look_up(struct worker *w, const struct frame *f, uint64_t mac, uint16_t vlan)
{
	uint32_t value;

	if (f->out != FRAME_PORT_NONE)
		return f->out;
	if (fdb_find(w->sw->fdb, fdb_key(mac, vlan), &value))
		return FDB_SLOT_PORT(value);
	/* A static address is where it is on every VLAN. */
	if (vlan && fdb_find(w->sw->fdb, fdb_key(mac, 0), &value) && value & FDB_SLOT_STATIC)
		return FDB_SLOT_PORT(value);
	return OUT_FLOOD;
}

static uint16_t add_run(struct lists *l, unsigned first, unsigned n)
{
	l->run[l->n_runs] = (struct run){.first = first, .n = n, .next = NO_RUN};
	return l->n_runs++;
}

struct verdicts {
	unsigned same_port, no_destination, bad_source, link_local;
};

/* Decides for frame @i and the @n - 1 after it, which are alike. */
static void decide(struct worker *w, struct batch *b, struct lists *l, unsigned i, unsigned n,
		   struct verdicts *v)
{
	const struct frame *f = &b->frame[i];
	const uint8_t *at = f->head + f->shape.head_at;
	uint64_t dst = fdb_mac_wide(at), src = fdb_mac_wide(at + 6);
	uint32_t out = OUT_FLOOD;
	struct port *to;
	uint16_t vlan;

	if (is_multicast(at + 6) || !src) {
		v->bad_source += n;
		return;
	}
	vlan = read_vlan(f);
	learn(w, b->in, fdb_key(src, vlan));
	if (is_multicast(at)) {
		if (is_link_local(at)) {
			v->link_local += n;
			return;
		}
	} else {
		out = look_up(w, f, dst, vlan);
	}
	if (out == OUT_FLOOD) {
		append_flood(l, add_run(l, i, n));
		return;
	}
	to = out < VXS_PORTS_MAX ? l->table->by_id[out] : NULL;
	if (!to)
		v->no_destination += n;
	else if (!may_pass(b->in, to))
		v->same_port += n;
	else
		append(w, l, add_run(l, i, n), out);
}

/*
 * How many frames from @f on, @max at most, have the same done with them: addresses, Ethertype and
 * what would be a VLAN ID are the first 16 bytes.
 */
static unsigned count_alike(const struct frame *f, unsigned max)
{
	const unsigned at = f->shape.head_at;
	const struct frame_shape shape = f->shape;
	const uint16_t out = f->out;
	uint64_t first[2], other[2];
	unsigned n;

	if (shape.head_len < sizeof(first))
		return 1;
	memcpy(first, f->head + at, sizeof(first));
	for (n = 1; n < max; n++) {
		f++;
		memcpy(other, f->head + at, sizeof(other));
		if ((first[0] ^ other[0]) | (first[1] ^ other[1]) || f->out != out ||
		    memcmp(&f->shape, &shape, sizeof(shape)))
			break;
	}
	return n;
}

/* First pass. */
static void decide_all(struct worker *w, struct batch *b, struct lists *l)
{
	struct verdicts v = {0};
	unsigned i, n;

	for (i = 0; i < b->n; i += n) {
		n = count_alike(&b->frame[i], b->n - i);
		decide(w, b, l, i, n, &v);
	}
	port_drop(b->in, w, bad_source, v.bad_source);
	port_drop(b->in, w, link_local, v.link_local);
	port_drop(b->in, w, same_port, v.same_port);
	port_drop(b->in, w, no_destination, v.no_destination);
	account_nowhere(w, v.bad_source + v.link_local + v.same_port + v.no_destination);
}

/* Merges the list of one destination with the flood list, in the order of arrival. */
static unsigned merge(const struct lists *l, uint16_t own, uint16_t flood, uint16_t *which)
{
	unsigned i, n = 0;

	while (own != NO_RUN || flood != NO_RUN) {
		uint16_t *from = own < flood ? &own : &flood; /* NO_RUN is the highest number */
		const struct run *r = &l->run[*from];

		for (i = 0; i < r->n; i++)
			which[n++] = r->first + i;
		*from = r->next;
	}
	return n;
}

static void visit(struct worker *w, struct batch *b, const struct lists *l, struct port *to,
		  uint16_t flood)
{
	uint16_t which[BATCH_FRAMES];
	unsigned n = merge(l, w->first[to->id], flood, which);

	if (!n)
		return;
	account_visit(w, b, to, n);
	to->ops->out(to, w, b, which, n);
}

/* 0, 1, 2, ... as an argument for out(). */
#define N4(n)  n, n + 1, n + 2, n + 3
#define N16(n) N4(n), N4(n + 4), N4(n + 8), N4(n + 12)
#define N64(n) N16(n), N16(n + 16), N16(n + 32), N16(n + 48)
static const uint16_t numbers[] = {N64(0), N64(64), N64(128), N64(192)};
_Static_assert(sizeof(numbers) == BATCH_FRAMES * sizeof(numbers[0]), "one for each frame");

/* Everything has one destination: the usual case. */
static void visit_only(struct worker *w, struct batch *b, const struct run *r, struct port *to)
{
	account_visit(w, b, to, r->n);
	to->ops->out(to, w, b, numbers + r->first, r->n);
}

/* There is no other port that the frames of the flood list might go to. */
static void flood_nowhere(struct worker *w, const struct batch *b, const struct lists *l)
{
	uint16_t at = l->flood_first;
	unsigned n = 0;

	for (; at != NO_RUN; at = l->run[at].next)
		n += l->run[at].n;
	port_drop(b->in, w, no_destination, n);
	account_nowhere(w, n);
}

void switch_batch(struct worker *w, struct batch *b)
{
	unsigned i, visited = 0;
	struct lists l;

	l.table = rcu_get(w->sw->ports);
	l.flood_first = l.flood_last = NO_RUN;
	l.n_active = l.n_runs = 0;
	if (!l.table)
		return;
	decide_all(w, b, &l);
	if (l.n_active == 1 && l.n_runs == 1) {
		visit_only(w, b, &l.run[0], l.table->by_id[l.active[0]]);
	} else if (l.flood_first == NO_RUN) {
		for (i = 0; i < l.n_active; i++)
			visit(w, b, &l, l.table->by_id[l.active[i]], NO_RUN);
	} else {
		for (i = 0; i < l.table->n; i++) {
			if (!may_pass(b->in, l.table->all[i]))
				continue;
			visit(w, b, &l, l.table->all[i], l.flood_first);
			visited++;
		}
		if (!visited)
			flood_nowhere(w, b, &l);
	}
	for (i = 0; i < l.n_active; i++)
		w->first[l.active[i]] = NO_RUN;
}
