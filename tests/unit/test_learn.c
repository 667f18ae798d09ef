/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Addresses come, move, age and go: what workers report, and what control makes of it. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include "check.h"
#include "control/daemon.h"
#include "control/log.h"
#include "control/mac_refs.h"

/*
 * A daemon without threads, sockets and NIC: the uplink, the host and two VMs exist as ports in its
 * table, and a worker that doesn't run has a ring of reports, which the test fills.
 */
#define VM_A       VXS_PORT_VM
#define VM_B       (VXS_PORT_VM + 1)
#define PORTS      (VXS_PORT_VM + 2)
#define PER_VM_MAX 1024

struct lab {
	struct daemon d;
	struct options opt;
	struct port port[PORTS];
	struct port_table table;
	struct worker *worker;
};

static struct lab *lab_new(void)
{
	struct lab *l = calloc(1, sizeof(*l));
	struct tables_options tables = {.name = "test-learn"};
	unsigned id;

	CU_ASSERT_EQUAL_FATAL(daemon_open_learn(&l->d), 0);
	CU_ASSERT_EQUAL_FATAL(tables_open(&l->d.tables, &tables), 0);
	CU_ASSERT_EQUAL_FATAL(worker_new(&l->worker, 0, &l->d.sw), 0);
	l->d.worker = &l->worker;
	l->d.n_workers = 1;
	l->d.opt = &l->opt;
	l->opt.ageing = 300;
	l->d.event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	for (id = 0; id < PORTS; id++) {
		l->port[id].id = id;
		l->port[id].learn = id != VXS_PORT_HOST;
		snprintf(l->port[id].name, VXS_NAME_SIZE, "p%u", id);
		l->table.by_id[id] = l->table.all[id] = &l->port[id];
	}
	l->table.n = PORTS;
	l->d.sw.ports = &l->table;
	return l;
}

static void lab_free(struct lab *l)
{
	close(l->d.event_fd);
	worker_free(l->worker);
	tables_close(l->d.tables);
	daemon_close_learn(&l->d);
	free(l);
}

static uint64_t key_of(unsigned n, uint16_t vlan)
{
	uint8_t mac[6] = {0x52, 0x54, 0, n >> 16, n >> 8, n};

	return fdb_key(fdb_mac(mac), vlan);
}

static void report(struct lab *l, uint32_t port, uint64_t key)
{
	CU_ASSERT(worker_event(l->worker, EVENT_LEARN, port, key));
}

static void learn(struct lab *l, uint32_t port, uint64_t key)
{
	report(l, port, key);
	daemon_events(&l->d);
}

#define NOWHERE VXS_PORTS_MAX

/* Where workers find the address. */
static uint32_t where(struct lab *l, uint64_t key)
{
	uint32_t value;

	return fdb_find(l->d.sw.fdb, key, &value) ? FDB_SLOT_PORT(value) : NOWHERE;
}

/* Where the kernel finds it; only if there is a map. */
static void kernel_has(struct lab *l, uint64_t key, uint32_t port)
{
	struct vxs_fdb_key k = {.vlan = fdb_key_vlan(key)};
	int fd = tables_fd_fdb(l->d.tables);
	uint64_t mac = fdb_key_mac(key);
	struct vxs_fdb_value v;

	if (fd < 0)
		return;
	memcpy(k.mac, &mac, 6);
	if (port == NOWHERE) {
		CU_ASSERT(bpf_map_lookup_elem(fd, &k, &v) < 0);
		return;
	}
	CU_ASSERT_EQUAL(bpf_map_lookup_elem(fd, &k, &v), 0);
	CU_ASSERT_EQUAL(v.port, port);
}

static void test_learn(void)
{
	struct lab *l = lab_new();

	learn(l, VM_A, key_of(1, 0));
	CU_ASSERT_EQUAL(where(l, key_of(1, 0)), VM_A);
	CU_ASSERT_EQUAL(where(l, key_of(1, 5)), NOWHERE);
	kernel_has(l, key_of(1, 0), VM_A);
	kernel_has(l, key_of(1, 5), NOWHERE);
	learn(l, VXS_PORT_UPLINK, key_of(2, 0));
	CU_ASSERT_EQUAL(where(l, key_of(2, 0)), VXS_PORT_UPLINK);
	kernel_has(l, key_of(2, 0), NOWHERE); /* the wire's stations are no business of XDP */
	daemon_del_address(&l->d, key_of(1, 0));
	daemon_del_address(&l->d, key_of(77, 0));
	CU_ASSERT_EQUAL(where(l, key_of(1, 0)), NOWHERE);
	kernel_has(l, key_of(1, 0), NOWHERE);
	CU_ASSERT_EQUAL(l->d.sw.fdb->n, 1);
	lab_free(l);
}

static void test_not_learned(void)
{
	struct lab *l = lab_new();
	uint8_t group[6] = {1, 0, 0x5e, 0, 0, 1};

	learn(l, 400, key_of(1, 0)); /* a port that has gone */
	learn(l, VXS_PORTS_MAX, key_of(1, 0));
	learn(l, UINT32_MAX, key_of(1, 0));
	learn(l, VXS_PORT_HOST, key_of(1, 0)); /* doesn't learn */
	learn(l, VM_A, fdb_key(fdb_mac(group), 0));
	learn(l, VM_A, fdb_key(0, 0));
	l->port[VM_B].fix_mac = fdb_key_mac(key_of(9, 0));
	learn(l, VM_B, key_of(1, 0));
	CU_ASSERT_EQUAL(l->d.sw.fdb->n, 0);
	learn(l, VM_B, key_of(9, 12)); /* its own address, on a VLAN */
	CU_ASSERT_EQUAL(where(l, key_of(9, 12)), VM_B);
	l->d.sw.ports = NULL;
	learn(l, VM_A, key_of(1, 0));
	CU_ASSERT_EQUAL(l->d.sw.fdb->n, 1);
	lab_free(l);
}

static void test_moves(void)
{
	struct lab *l = lab_new();

	learn(l, VM_A, key_of(1, 0));
	learn(l, VM_B, key_of(1, 0));
	CU_ASSERT_EQUAL(where(l, key_of(1, 0)), VM_B);
	kernel_has(l, key_of(1, 0), VM_B);
	learn(l, VXS_PORT_UPLINK, key_of(1, 0)); /* the VM has migrated to another machine */
	CU_ASSERT_EQUAL(where(l, key_of(1, 0)), VXS_PORT_UPLINK);
	kernel_has(l, key_of(1, 0), NOWHERE);
	learn(l, VM_A, key_of(1, 0));
	CU_ASSERT_EQUAL(where(l, key_of(1, 0)), VM_A);
	kernel_has(l, key_of(1, 0), VM_A);
	CU_ASSERT_EQUAL(l->d.sw.fdb->n, 1);
	lab_free(l);
}

/* The host's port learns nothing, but what is seen there is behind no VM any more. */
static void test_seen_at_host(void)
{
	struct lab *l = lab_new();

	learn(l, VM_A, key_of(1, 0));
	learn(l, VXS_PORT_UPLINK, key_of(2, 0));
	daemon_set_address(&l->d, key_of(3, 0), VM_B, true);
	learn(l, VXS_PORT_HOST, key_of(1, 0));
	learn(l, VXS_PORT_HOST, key_of(2, 0));
	learn(l, VXS_PORT_HOST, key_of(3, 0));
	CU_ASSERT_EQUAL(where(l, key_of(1, 0)), NOWHERE);
	kernel_has(l, key_of(1, 0), NOWHERE);
	CU_ASSERT_EQUAL(where(l, key_of(2, 0)), VXS_PORT_UPLINK);
	CU_ASSERT_EQUAL(where(l, key_of(3, 0)), VM_B);
	lab_free(l);
}

static void test_static(void)
{
	struct lab *l = lab_new();
	unsigned i;

	learn(l, VM_B, key_of(1, 0)); /* was learned elsewhere before */
	CU_ASSERT_EQUAL(daemon_set_address(&l->d, key_of(1, 0), VM_A, true), 0);
	CU_ASSERT_EQUAL(where(l, key_of(1, 0)), VM_A);
	for (i = 0; i < PORTS; i++) {
		learn(l, i, key_of(1, 0));
		CU_ASSERT_EQUAL(where(l, key_of(1, 0)), VM_A);
	}
	learn(l, VM_B, key_of(1, 30)); /* nobody takes it on a VLAN either */
	CU_ASSERT_EQUAL(where(l, key_of(1, 30)), NOWHERE);
	learn(l, VM_A, key_of(1, 30));
	CU_ASSERT_EQUAL(where(l, key_of(1, 30)), VM_A);
	/* VM_B's count went down when it lost the address: it may learn as many as before */
	for (i = 0; i < PER_VM_MAX; i++)
		learn(l, VM_B, key_of(1000 + i, 0));
	CU_ASSERT_EQUAL(where(l, key_of(1000 + PER_VM_MAX - 1, 0)), VM_B);
	lab_free(l);
}

/* No VM takes the NIC's own address, on no VLAN, or the host would be cut off. */
static void test_nic_address(void)
{
	struct lab *l = lab_new();

	l->d.nic_key = key_of(3, 0);
	CU_ASSERT_EQUAL(daemon_set_address(&l->d, key_of(3, 0), VXS_PORT_HOST, true), 0);
	learn(l, VM_A, key_of(3, 0));
	learn(l, VM_A, key_of(3, 7));
	learn(l, VXS_PORT_UPLINK, key_of(3, 0));
	CU_ASSERT_EQUAL(where(l, key_of(3, 0)), VXS_PORT_HOST);
	CU_ASSERT_EQUAL(where(l, key_of(3, 7)), NOWHERE);
	kernel_has(l, key_of(3, 0), VXS_PORT_HOST);
	lab_free(l);
}

static unsigned learn_many(struct lab *l, uint32_t port, unsigned from, unsigned n)
{
	unsigned before = l->d.sw.fdb->n, i;

	for (i = 0; i < n; i++)
		learn(l, port, key_of(from + i, 0));
	return l->d.sw.fdb->n - before;
}

/* No port can push the addresses of others out. */
static void test_limits(void)
{
	struct lab *l = lab_new();

	CU_ASSERT_EQUAL(learn_many(l, VM_A, 0, PER_VM_MAX + 500), PER_VM_MAX);
	CU_ASSERT_EQUAL(learn_many(l, VM_B, 10000, 10), 10);
	CU_ASSERT_EQUAL(learn_many(l, VXS_PORT_UPLINK, 100000, VXS_FDB_MAX), VXS_FDB_MAX / 2);
	/* what one VM loses to another makes room again */
	learn(l, VM_B, key_of(0, 0));
	CU_ASSERT_EQUAL(where(l, key_of(0, 0)), VM_B);
	CU_ASSERT_EQUAL(learn_many(l, VM_A, 20000, 5), 1);
	/* a port at its limit doesn't take what another has */
	learn(l, VM_A, key_of(10000, 0));
	CU_ASSERT_EQUAL(where(l, key_of(10000, 0)), VM_B);
	lab_free(l);
}

static void test_table_full(void)
{
	struct lab *l = lab_new();
	unsigned i, wrong = 0;

	for (i = 0; i < VXS_FDB_MAX; i++)
		wrong += daemon_set_address(&l->d, key_of(i, 0), VXS_PORT_UPLINK, false) != 0;
	CU_ASSERT_EQUAL(wrong, 0);
	CU_ASSERT_EQUAL(daemon_set_address(&l->d, key_of(i, 0), VM_A, true), -ENOSPC);
	kernel_has(l, key_of(i, 0), NOWHERE);
	learn(l, VM_A, key_of(i, 0));
	CU_ASSERT_EQUAL(where(l, key_of(i, 0)), NOWHERE);
	learn(l, VM_A, key_of(5, 0)); /* one that is there may move */
	CU_ASSERT_EQUAL(where(l, key_of(5, 0)), VM_A);
	lab_free(l);
}

static void make_older(struct lab *l, uint64_t key, uint32_t by)
{
	struct fdb_slot *slot;
	uint32_t value;

	slot = fdb_find(l->d.sw.fdb, key, &value);
	CU_ASSERT_PTR_NOT_NULL_FATAL(slot);
	slot->seen -= by;
}

static void test_ageing(void)
{
	struct lab *l = lab_new();

	learn(l, VM_A, key_of(1, 0));
	learn(l, VM_A, key_of(2, 0));
	learn(l, VM_A, key_of(4, 0));
	learn(l, VXS_PORT_UPLINK, key_of(5, 0));
	daemon_set_address(&l->d, key_of(3, 0), VM_B, true);
	make_older(l, key_of(1, 0), 301);
	make_older(l, key_of(2, 0), 290);
	make_older(l, key_of(3, 0), 100000);
	make_older(l, key_of(4, 0), -1); /* a worker's clock may be ahead */
	make_older(l, key_of(5, 0), 301);
	l->opt.ageing = 0; /* never */
	daemon_age(&l->d);
	CU_ASSERT_EQUAL(l->d.sw.fdb->n, 5);
	l->opt.ageing = 300;
	daemon_age(&l->d);
	CU_ASSERT_EQUAL(where(l, key_of(1, 0)), NOWHERE);
	CU_ASSERT_EQUAL(where(l, key_of(2, 0)), VM_A);
	CU_ASSERT_EQUAL(where(l, key_of(3, 0)), VM_B);
	CU_ASSERT_EQUAL(where(l, key_of(4, 0)), VM_A);
	CU_ASSERT_EQUAL(where(l, key_of(5, 0)), NOWHERE);
	kernel_has(l, key_of(1, 0), NOWHERE);
	kernel_has(l, key_of(2, 0), VM_A);
	/* what aged no longer counts against the port */
	CU_ASSERT_EQUAL(learn_many(l, VM_A, 1000, PER_VM_MAX), PER_VM_MAX - 2);
	lab_free(l);
}

static void test_forget(void)
{
	struct lab *l = lab_new();

	daemon_set_address(&l->d, key_of(1, 0), VM_A, true);
	learn(l, VM_A, key_of(2, 0));
	learn(l, VM_A, key_of(2, 9));
	learn(l, VM_B, key_of(3, 0));
	CU_ASSERT_EQUAL(daemon_forget_learned(&l->d, VM_A), 2);
	CU_ASSERT_EQUAL(daemon_forget_learned(&l->d, VM_A), 0);
	CU_ASSERT_EQUAL(where(l, key_of(1, 0)), VM_A);
	CU_ASSERT_EQUAL(where(l, key_of(2, 0)), NOWHERE);
	kernel_has(l, key_of(2, 9), NOWHERE);
	CU_ASSERT_EQUAL(daemon_forget_port(&l->d, VM_A), 1);
	CU_ASSERT_EQUAL(where(l, key_of(1, 0)), NOWHERE);
	kernel_has(l, key_of(1, 0), NOWHERE);
	CU_ASSERT_EQUAL(where(l, key_of(3, 0)), VM_B);
	CU_ASSERT_EQUAL(l->d.sw.fdb->n, 1);
	lab_free(l);
}

/* A turn of the loop does a bounded number, and asks for another turn. */
static void test_storm(void)
{
	struct lab *l = lab_new();
	eventfd_t again;
	unsigned i;

	for (i = 0; i < EVENTS_MAX; i++)
		report(l, i & 1 ? VM_A : VM_B, key_of(1, 0));
	CU_ASSERT(!worker_event(l->worker, EVENT_LEARN, VM_A, key_of(1, 0)));
	daemon_events(&l->d);
	CU_ASSERT_EQUAL(where(l, key_of(1, 0)), VM_A);
	CU_ASSERT_EQUAL(l->d.sw.fdb->n, 1);
	CU_ASSERT_EQUAL(eventfd_read(l->d.event_fd, &again), 0);
	daemon_events(&l->d);
	CU_ASSERT(eventfd_read(l->d.event_fd, &again) < 0);
	lab_free(l);
}

static void test_mac_refs(void)
{
	struct mac_refs *set = calloc(1, sizeof(*set));
	unsigned i, wrong = 0;

	CU_ASSERT_EQUAL(mac_refs_get(set, 5), 1);
	CU_ASSERT_EQUAL(mac_refs_get(set, 5), 2);
	CU_ASSERT_EQUAL(mac_refs_put(set, 5), 1);
	CU_ASSERT_EQUAL(mac_refs_put(set, 5), 0);
	CU_ASSERT_EQUAL(mac_refs_put(set, 5), 0);
	CU_ASSERT_EQUAL(set->n, 0);

	/* long runs of neighbours, removed from anywhere in them */
	for (i = 0; i < MAC_REFS_SLOTS / 2; i++)
		wrong += mac_refs_get(set, fdb_key_mac(key_of(i * 7, 0))) != 1;
	CU_ASSERT_EQUAL(mac_refs_get(set, 1), 0); /* full */
	for (i = 0; i < MAC_REFS_SLOTS / 2; i += 3)
		wrong += mac_refs_put(set, fdb_key_mac(key_of(i * 7, 0))) != 0;
	for (i = 0; i < MAC_REFS_SLOTS / 2; i++)
		wrong += mac_refs_get(set, fdb_key_mac(key_of(i * 7, 0))) != (i % 3 ? 2 : 1);
	for (i = 0; i < MAC_REFS_SLOTS / 2; i++)
		wrong += mac_refs_put(set, fdb_key_mac(key_of(i * 7, 0))) != (i % 3 ? 1 : 0);
	CU_ASSERT_EQUAL(wrong, 0);
	for (i = 0; i < MAC_REFS_SLOTS / 2; i++)
		mac_refs_put(set, fdb_key_mac(key_of(i * 7, 0)));
	CU_ASSERT_EQUAL(set->n, 0);
	for (i = 0; i < MAC_REFS_SLOTS; i++)
		wrong += set->slot[i].refs != 0;
	CU_ASSERT_EQUAL(wrong, 0);
	free(set);
}

int main(int argc, char **argv)
{
	static const struct check tests[] = {
		{"learn", test_learn},
		{"not_learned", test_not_learned},
		{"moves", test_moves},
		{"seen_at_host", test_seen_at_host},
		{"static", test_static},
		{"nic_address", test_nic_address},
		{"limits", test_limits},
		{"table_full", test_table_full},
		{"ageing", test_ageing},
		{"forget", test_forget},
		{"storm", test_storm},
		{"mac_refs", test_mac_refs},
		{},
	};

	log_set_level(LOG_ERROR);
	return check_main("learn", tests, argc, argv);
}
