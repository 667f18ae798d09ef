/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The switch's decisions: where frames of a batch go, in which order, and what is dropped. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "switch/switch.h"

/*
 * Four VMs with numbers from VXS_PORT_VM on, and the uplink and the host as a group of their own.
 * Their out() only writes down what it was called with.
 */
#define VMS   4
#define CALLS 64

struct call {
	uint32_t port;
	unsigned n;
	uint16_t which[BATCH_FRAMES];
};

static struct call calls[CALLS];
static unsigned n_calls;

static void record(struct port *p, struct worker *w, const struct batch *b, const uint16_t *which,
		   unsigned n)
{
	struct call *c = &calls[n_calls++ % CALLS];

	(void)w;
	(void)b;
	CU_ASSERT(n > 0 && n <= BATCH_FRAMES);
	c->port = p->id;
	c->n = n;
	memcpy(c->which, which, n * sizeof(*which));
}

static const struct port_ops record_ops = {.out = record};

struct lab {
	struct port port[VXS_PORT_VM + VMS];
	struct vxs_port_stats stats[VXS_PORT_VM + VMS];
	struct port_table table;
	struct vswitch sw;
	struct worker *w;
	struct batch *b;
};

static struct lab *lab_new(void)
{
	struct lab *l = calloc(1, sizeof(*l));
	unsigned id;

	for (id = 0; id < VXS_PORT_VM + VMS; id++) {
		struct port *p = &l->port[id];

		p->ops = &record_ops;
		p->id = id;
		p->kind = id < VXS_PORT_VM ? VXS_KIND_UPLINK : VXS_KIND_VM;
		p->group = id < VXS_PORT_VM ? PORT_GROUP_WIRE : 0;
		p->learn = true;
		p->stats = &l->stats[id];
		l->table.all[l->table.n++] = p;
		l->table.by_id[id] = p;
	}
	l->sw.fdb = fdb_new();
	l->sw.ports = &l->table;
	CU_ASSERT_EQUAL_FATAL(worker_new(&l->w, 0, &l->sw), 0);
	l->b = &l->w->batch;
	n_calls = 0;
	return l;
}

static void lab_free(struct lab *l)
{
	unsigned i;

	/* lists are empty again between batches, or the next batch would deliver old frames */
	for (i = 0; i < VXS_PORTS_MAX; i++)
		if (l->w->first[i] != UINT16_MAX)
			break;
	CU_ASSERT_EQUAL(i, VXS_PORTS_MAX);
	worker_free(l->w);
	fdb_free(l->sw.fdb);
	free(l);
}

/* MAC number n: behind VM port n if set_all() was called. */
static void mac(uint8_t *at, unsigned n)
{
	memcpy(at, (uint8_t[6]){0x52, 0x54, 0, 0, n >> 8, n}, 6);
}

static uint64_t key(unsigned n, uint16_t vlan)
{
	uint8_t m[6];

	mac(m, n);
	return fdb_key(fdb_mac(m), vlan);
}

static void set_all(struct lab *l)
{
	unsigned id;

	for (id = 0; id < VXS_PORT_VM + VMS; id++)
		fdb_set(l->sw.fdb, key(id, 0), id, false, 0);
}

static void batch_from(struct lab *l, unsigned port)
{
	l->b->in = &l->port[port];
	l->b->n = 0;
}

static struct frame *add(struct lab *l, const uint8_t dst[6], const uint8_t src[6], int vlan)
{
	struct frame *f = &l->b->frame[l->b->n++];
	uint8_t *at;

	memset(f, 0, sizeof(*f));
	f->shape.head_at = FRAME_HEAD_ROOM;
	f->shape.head_len = FRAME_HEAD;
	f->len = 60;
	f->out = FRAME_PORT_NONE;
	at = f->head + f->shape.head_at;
	memcpy(at, dst, 6);
	memcpy(at + 6, src, 6);
	at[12] = 0x08;
	if (vlan >= 0)
		memcpy(at + 12, (uint8_t[4]){0x81, 0x00, 0xe0 | vlan >> 8, vlan}, 4);
	return f;
}

static struct frame *add_to(struct lab *l, unsigned to, unsigned from)
{
	uint8_t dst[6], src[6];

	mac(dst, to);
	mac(src, from);
	return add(l, dst, src, -1);
}

static const uint8_t broadcast[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

static struct frame *add_broadcast(struct lab *l, unsigned from)
{
	uint8_t src[6];

	mac(src, from);
	return add(l, broadcast, src, -1);
}

static const struct call *call_to(unsigned port)
{
	const struct call *found = NULL;
	unsigned i;

	for (i = 0; i < n_calls; i++) {
		if (calls[i].port != port)
			continue;
		CU_ASSERT_PTR_NULL(found); /* each destination is visited once */
		found = &calls[i];
	}
	return found;
}

/* Port @port got exactly these frames, in this order. */
static void got(unsigned port, unsigned n, const uint16_t *which)
{
	const struct call *c = call_to(port);

	if (!n) {
		CU_ASSERT_PTR_NULL(c);
		return;
	}
	CU_ASSERT_PTR_NOT_NULL_FATAL(c);
	CU_ASSERT_EQUAL(c->n, n);
	CU_ASSERT(!memcmp(c->which, which, n * sizeof(*which)));
}

#define GOT(port, ...)                                                                             \
	got(port, sizeof((uint16_t[]){__VA_ARGS__}) / sizeof(uint16_t), (uint16_t[]){__VA_ARGS__})
#define GOT_NONE(port) got(port, 0, NULL)

static void test_unicast(void)
{
	struct lab *l = lab_new();

	set_all(l);
	batch_from(l, 2);
	add_to(l, 3, 2);
	add_to(l, 4, 2);
	add_to(l, 3, 2);
	add_to(l, 0, 2);
	switch_batch(l->w, l->b);
	GOT(3, 0, 2);
	GOT(4, 1);
	GOT(0, 3);
	GOT_NONE(1);
	GOT_NONE(2);
	GOT_NONE(5);
	lab_free(l);
}

static void test_unknown_is_flooded(void)
{
	struct lab *l = lab_new();

	batch_from(l, 3);
	add_to(l, 77, 3);
	switch_batch(l->w, l->b);
	GOT(0, 0);
	GOT(1, 0);
	GOT(2, 0);
	GOT_NONE(3);
	GOT(4, 0);
	GOT(5, 0);
	lab_free(l);
}

/* Frames for one and frames for all arrive in the order in which they were sent. */
static void test_order(void)
{
	struct lab *l = lab_new();

	set_all(l);
	batch_from(l, 2);
	add_to(l, 3, 2);
	add_broadcast(l, 2);
	add_to(l, 3, 2);
	add_to(l, 4, 2);
	add_broadcast(l, 2);
	switch_batch(l->w, l->b);
	GOT(3, 0, 1, 2, 4);
	GOT(4, 1, 3, 4);
	GOT(5, 1, 4);
	GOT(0, 1, 4);
	GOT_NONE(2);
	lab_free(l);
}

/* What the wire and the host send each other is the kernel's affair. */
static void test_group(void)
{
	struct lab *l = lab_new();

	set_all(l);
	batch_from(l, 0);
	add_broadcast(l, 0);
	add_to(l, 1, 0);
	add_to(l, 2, 0);
	switch_batch(l->w, l->b);
	GOT_NONE(0);
	GOT_NONE(1);
	GOT(2, 0, 2);
	GOT(5, 0);
	CU_ASSERT_EQUAL(l->stats[0].drops.same_port, 1);
	lab_free(l);
}

static void test_never_back(void)
{
	struct lab *l = lab_new();

	set_all(l);
	batch_from(l, 2);
	add_to(l, 2, 9);
	add_to(l, 2, 2);
	switch_batch(l->w, l->b);
	CU_ASSERT_EQUAL(n_calls, 0);
	CU_ASSERT_EQUAL(l->stats[2].drops.same_port, 2);
	lab_free(l);
}

static void test_alone(void)
{
	struct lab *l = lab_new();

	l->table.n = 1;
	l->table.all[0] = &l->port[2];
	batch_from(l, 2);
	add_broadcast(l, 2);
	add_to(l, 50, 2);
	switch_batch(l->w, l->b);
	CU_ASSERT_EQUAL(n_calls, 0);
	CU_ASSERT_EQUAL(l->stats[2].drops.no_destination, 2);
	lab_free(l);
}

/* An address of a port that has gone: dropped and counted, not flooded, no crash. */
static void test_port_gone(void)
{
	struct lab *l = lab_new();

	set_all(l);
	fdb_set(l->sw.fdb, key(200, 0), 400, false, 0);
	l->table.by_id[5] = NULL;
	l->table.n--;
	batch_from(l, 2);
	add_to(l, 5, 2);
	add_to(l, 200, 2);
	switch_batch(l->w, l->b);
	CU_ASSERT_EQUAL(n_calls, 0);
	CU_ASSERT_EQUAL(l->stats[2].drops.no_destination, 2);
	l->sw.ports = NULL; /* at the end of the daemon */
	switch_batch(l->w, l->b);
	CU_ASSERT_EQUAL(n_calls, 0);
	lab_free(l);
}

static void test_bad_addresses(void)
{
	static const uint8_t zero[6], link_local[6] = {0x01, 0x80, 0xc2, 0, 0, 0x0e},
				      group[6] = {0x01, 0x80, 0xc2, 0, 0, 0x10};
	struct lab *l = lab_new();
	uint8_t src[6];

	mac(src, 2);
	batch_from(l, 2);
	add(l, broadcast, broadcast, -1);
	add(l, broadcast, zero, -1);
	add(l, link_local, src, -1);
	add(l, group, src, -1);
	switch_batch(l->w, l->b);
	CU_ASSERT_EQUAL(l->stats[2].drops.bad_source, 2);
	CU_ASSERT_EQUAL(l->stats[2].drops.link_local, 1);
	GOT(3, 3);
	lab_free(l);
}

/* VLANs learn and forward apart from each other; the priority bits say nothing. */
static void test_vlan(void)
{
	struct lab *l = lab_new();
	uint8_t dst[6], src[6];

	fdb_set(l->sw.fdb, key(3, 0), 3, false, 0);
	fdb_set(l->sw.fdb, key(3, 100), 4, false, 0);
	mac(dst, 3);
	mac(src, 2);
	batch_from(l, 2);
	add(l, dst, src, -1);
	add(l, dst, src, 100);
	add(l, dst, src, 0); /* a priority tag is no VLAN */
	switch_batch(l->w, l->b);
	GOT(3, 0, 2);
	GOT(4, 1);
	lab_free(l);
}

/* Alike is what lies in the frame: behind a short one, head[] may hold anything. */
static void test_alike_but_short(void)
{
	struct lab *l = lab_new();
	uint8_t dst[6], src[6];
	struct frame *f;

	fdb_set(l->sw.fdb, key(3, 0), 3, false, 0);
	fdb_set(l->sw.fdb, key(3, 100), 4, false, 0);
	mac(dst, 3);
	mac(src, 2);
	batch_from(l, 2);
	add(l, dst, src, 100);
	f = add(l, dst, src, 100);
	f->shape.head_len = f->len = 14; /* cut off before its VLAN ID */
	add(l, dst, src, 100);
	switch_batch(l->w, l->b);
	GOT(4, 0, 2);
	GOT(3, 1);
	lab_free(l);
}

/* A static address is where it is on every VLAN, unless the VLAN has an entry of its own. */
static void test_static_vlan(void)
{
	struct lab *l = lab_new();
	uint8_t dst[6], src[6];

	fdb_set(l->sw.fdb, key(3, 0), 3, true, 0);
	fdb_set(l->sw.fdb, key(3, 100), 4, false, 0);
	mac(dst, 3);
	mac(src, 2);
	batch_from(l, 2);
	add(l, dst, src, 7);
	add(l, dst, src, 100);
	add(l, dst, src, -1);
	switch_batch(l->w, l->b);
	GOT(3, 0, 2);
	GOT(4, 1);
	lab_free(l);
}

/* The in side knows where the frame goes: no look-up. */
static void test_known_destination(void)
{
	struct lab *l = lab_new();

	set_all(l);
	batch_from(l, 0);
	add_to(l, 3, 99)->out = 4;
	add_to(l, 3, 99);
	add_to(l, 3, 99)->out = VXS_PORTS_MAX + 5;
	switch_batch(l->w, l->b);
	GOT(4, 0);
	GOT(3, 1);
	CU_ASSERT_EQUAL(l->stats[0].drops.no_destination, 1);
	lab_free(l);
}

static unsigned events(struct lab *l, struct event *last)
{
	unsigned n = 0;

	while (worker_next_event(l->w, last))
		n++;
	return n;
}

static void test_learn_reports(void)
{
	struct lab *l = lab_new();
	struct event e = {};
	unsigned i;

	l->w->now = 10;
	batch_from(l, 2);
	for (i = 0; i < BATCH_FRAMES; i++)
		add_broadcast(l, 50);
	switch_batch(l->w, l->b);
	switch_batch(l->w, l->b);
	CU_ASSERT_EQUAL(events(l, &e), 1); /* once a second, not once a frame */
	CU_ASSERT_EQUAL(e.kind, EVENT_LEARN);
	CU_ASSERT_EQUAL(e.port, 2);
	CU_ASSERT_EQUAL(e.key, key(50, 0));
	l->w->now = 11;
	switch_batch(l->w, l->b);
	CU_ASSERT_EQUAL(events(l, &e), 1);

	fdb_set(l->sw.fdb, key(50, 0), 2, false, 11);
	l->w->now = 12;
	switch_batch(l->w, l->b);
	CU_ASSERT_EQUAL(events(l, &e), 0);
	l->b->in = &l->port[3]; /* it moves */
	switch_batch(l->w, l->b);
	CU_ASSERT_EQUAL(events(l, &e), 1);
	CU_ASSERT_EQUAL(e.port, 3);
	lab_free(l);
}

/* After control forgot addresses, a worker reports what it sees at once. */
static void test_learn_again(void)
{
	struct lab *l = lab_new();
	struct event e;

	l->w->now = 10;
	batch_from(l, 2);
	add_broadcast(l, 50);
	switch_batch(l->w, l->b);
	CU_ASSERT_EQUAL(events(l, &e), 1);
	l->sw.fdb->epoch++;
	switch_batch(l->w, l->b);
	CU_ASSERT_EQUAL(events(l, &e), 1);
	switch_batch(l->w, l->b);
	CU_ASSERT_EQUAL(events(l, &e), 0);
	lab_free(l);
}

/* The host's port learns nothing, but a VM's address that is seen there has left its VM. */
static void test_learn_at_host(void)
{
	struct lab *l = lab_new();
	struct event e = {};

	l->port[1].learn = false;
	fdb_set(l->sw.fdb, key(50, 0), 3, false, 0);
	fdb_set(l->sw.fdb, key(51, 0), 0, false, 0);
	batch_from(l, 1);
	add_broadcast(l, 51); /* a station on the wire */
	add_broadcast(l, 52); /* unknown */
	switch_batch(l->w, l->b);
	CU_ASSERT_EQUAL(events(l, &e), 0);
	add_broadcast(l, 50);
	switch_batch(l->w, l->b);
	CU_ASSERT_EQUAL(events(l, &e), 1);
	CU_ASSERT_EQUAL(e.port, 1);
	CU_ASSERT_EQUAL(e.key, key(50, 0));
	lab_free(l);
}

static void test_learn_refreshes(void)
{
	struct lab *l = lab_new();
	struct fdb_slot *slot;
	uint32_t value;

	fdb_set(l->sw.fdb, key(3, 0), 3, false, 5);
	slot = fdb_find(l->sw.fdb, key(3, 0), &value);
	l->w->now = 20;
	batch_from(l, 2);
	add_to(l, 3, 2);
	switch_batch(l->w, l->b);
	CU_ASSERT_EQUAL(slot->seen, 5); /* frames to it don't keep it alive */
	batch_from(l, 3);
	add_to(l, 2, 3);
	switch_batch(l->w, l->b);
	CU_ASSERT_EQUAL(slot->seen, 20);
	lab_free(l);
}

static void test_learn_not(void)
{
	struct lab *l = lab_new();
	struct event e;

	fdb_set(l->sw.fdb, key(60, 0), 4, true, 0);
	l->port[3].learn = false;
	l->port[5].fix_mac = fdb_key_mac(key(5, 0));
	batch_from(l, 2);
	add_broadcast(l, 60); /* static elsewhere */
	switch_batch(l->w, l->b);
	CU_ASSERT_EQUAL(events(l, &e), 0);
	batch_from(l, 3);
	add_broadcast(l, 61); /* a port that doesn't learn */
	switch_batch(l->w, l->b);
	CU_ASSERT_EQUAL(events(l, &e), 0);
	batch_from(l, 5);
	add_broadcast(l, 62); /* not the one address of this port */
	switch_batch(l->w, l->b);
	CU_ASSERT_EQUAL(events(l, &e), 0);
	lab_free(l);
}

/* A full ring of reports loses reports, and the next second brings them again. */
static void test_events_full(void)
{
	struct lab *l = lab_new();
	struct event e;
	unsigned i;

	l->w->now = 1;
	for (i = 0; i < EVENTS_MAX + 100; i++) {
		n_calls = 0;
		batch_from(l, 2);
		add_broadcast(l, 1000 + i);
		switch_batch(l->w, l->b);
	}
	CU_ASSERT_EQUAL(events(l, &e), EVENTS_MAX);
	switch_batch(l->w, l->b); /* the last one was lost: it is not taken for reported */
	CU_ASSERT_EQUAL(events(l, &e), 1);
	CU_ASSERT_EQUAL(e.key, key(1000 + EVENTS_MAX + 99, 0));
	lab_free(l);
}

static void test_full_batch(void)
{
	struct lab *l = lab_new();
	unsigned i;

	set_all(l);
	batch_from(l, 2);
	for (i = 0; i < BATCH_FRAMES; i++) {
		if (i % 2)
			add_broadcast(l, 2);
		else
			add_to(l, 3, 2);
	}
	switch_batch(l->w, l->b);
	CU_ASSERT_EQUAL(call_to(3)->n, BATCH_FRAMES);
	CU_ASSERT_EQUAL(call_to(4)->n, BATCH_FRAMES / 2);
	for (i = 0; i < BATCH_FRAMES; i++)
		CU_ASSERT_EQUAL(call_to(3)->which[i], i);
	lab_free(l);
}

int main(int argc, char **argv)
{
	static const struct check tests[] = {
		{"unicast", test_unicast},
		{"unknown_is_flooded", test_unknown_is_flooded},
		{"order", test_order},
		{"group", test_group},
		{"never_back", test_never_back},
		{"alone", test_alone},
		{"port_gone", test_port_gone},
		{"bad_addresses", test_bad_addresses},
		{"vlan", test_vlan},
		{"alike_but_short", test_alike_but_short},
		{"static_vlan", test_static_vlan},
		{"known_destination", test_known_destination},
		{"learn_reports", test_learn_reports},
		{"learn_again", test_learn_again},
		{"learn_at_host", test_learn_at_host},
		{"learn_refreshes", test_learn_refreshes},
		{"learn_not", test_learn_not},
		{"events_full", test_events_full},
		{"full_batch", test_full_batch},
		{},
	};

	return check_main("switch", tests, argc, argv);
}
