/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The forwarding database: set, find, move, delete, walk, and readers beside a writer. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "check.h"
#include "switch/fdb.h"

static uint64_t key_of(unsigned i)
{
	uint8_t mac[6] = {0x52, 0x54, 0, i >> 16, i >> 8, i};

	return fdb_key(fdb_mac(mac), i % 3 ? 0 : 7);
}

static void test_key(void)
{
	uint8_t mac[6] = {0x52, 0x54, 0x00, 0x12, 0x34, 0x56}, back[6];
	uint64_t key = fdb_key(fdb_mac(mac), 4095), bits = fdb_key_mac(key);

	memcpy(back, &bits, 6);
	CU_ASSERT(!memcmp(mac, back, 6));
	CU_ASSERT_EQUAL(fdb_key_vlan(key), 4095);
	CU_ASSERT(fdb_key(0, 0) > 1); /* free and deleted slots are no keys */
	CU_ASSERT_NOT_EQUAL(fdb_key(fdb_mac(mac), 1), fdb_key(fdb_mac(mac), 2));
}

static void test_set_find_delete(void)
{
	struct fdb *fdb = fdb_new();
	uint32_t value = 99;

	CU_ASSERT_PTR_NULL(fdb_find(fdb, key_of(1), &value));
	CU_ASSERT_EQUAL(value, 99); /* untouched */
	CU_ASSERT_EQUAL(fdb_set(fdb, key_of(1), 5, false, 10), 0);
	CU_ASSERT_PTR_NOT_NULL(fdb_find(fdb, key_of(1), &value));
	CU_ASSERT_EQUAL(value, 5);
	CU_ASSERT_EQUAL(fdb_set(fdb, key_of(1), 511, true, 11), 0); /* moves */
	CU_ASSERT_EQUAL(fdb->n, 1);
	fdb_find(fdb, key_of(1), &value);
	CU_ASSERT_EQUAL(FDB_SLOT_PORT(value), 511);
	CU_ASSERT(value & FDB_SLOT_STATIC);
	CU_ASSERT(fdb_del(fdb, key_of(1)));
	CU_ASSERT(!fdb_del(fdb, key_of(1)));
	CU_ASSERT_PTR_NULL(fdb_find(fdb, key_of(1), &value));
	CU_ASSERT_EQUAL(fdb->n, 0);
	CU_ASSERT_EQUAL(fdb->dead, 0);
	fdb_free(fdb);
}

/* The same MAC on two VLANs is two addresses. */
static void test_vlans(void)
{
	uint8_t mac[6] = {2, 0, 0, 0, 0, 1};
	struct fdb *fdb = fdb_new();
	uint32_t value;

	fdb_set(fdb, fdb_key(fdb_mac(mac), 0), 2, false, 0);
	fdb_set(fdb, fdb_key(fdb_mac(mac), 10), 3, false, 0);
	fdb_find(fdb, fdb_key(fdb_mac(mac), 0), &value);
	CU_ASSERT_EQUAL(value, 2);
	fdb_find(fdb, fdb_key(fdb_mac(mac), 10), &value);
	CU_ASSERT_EQUAL(value, 3);
	CU_ASSERT_PTR_NULL(fdb_find(fdb, fdb_key(fdb_mac(mac), 11), &value));
	fdb_free(fdb);
}

static void test_full(void)
{
	struct fdb *fdb = fdb_new();
	uint32_t value;
	unsigned i, wrong = 0;

	for (i = 0; i < VXS_FDB_MAX; i++)
		wrong += fdb_set(fdb, key_of(i), i % VXS_PORTS_MAX, false, 0) != 0;
	CU_ASSERT_EQUAL(wrong, 0);
	CU_ASSERT_EQUAL(fdb_set(fdb, key_of(i), 1, false, 0), -ENOSPC);
	CU_ASSERT_EQUAL(fdb_set(fdb, key_of(0), 9, false, 0), 0); /* there is no new one needed */
	for (i = 1; i < VXS_FDB_MAX; i++)
		wrong += !fdb_find(fdb, key_of(i), &value) || value != i % VXS_PORTS_MAX;
	CU_ASSERT_EQUAL(wrong, 0);
	fdb_free(fdb);
}

static bool visit_odd_ports(void *arg, uint64_t key, uint32_t port, bool fixed, uint32_t seen)
{
	unsigned *visits = arg;

	(void)key;
	CU_ASSERT_EQUAL(fixed, port == 4);
	CU_ASSERT_EQUAL(seen, port + 1);
	++*visits;
	return port & 1;
}

static void test_walk(void)
{
	struct fdb *fdb = fdb_new();
	unsigned i, visits = 0;
	uint32_t value;

	for (i = 0; i < 1000; i++)
		fdb_set(fdb, key_of(i), i % 10, i % 10 == 4, i % 10 + 1);
	CU_ASSERT_EQUAL(fdb_walk(fdb, visit_odd_ports, &visits), 500);
	CU_ASSERT_EQUAL(visits, 1000);
	CU_ASSERT_EQUAL(fdb->n, 500);
	for (i = 0; i < 1000; i++)
		CU_ASSERT_EQUAL(!!fdb_find(fdb, key_of(i), &value), !(i & 1));
	fdb_free(fdb);
}

/* Years of coming and going leave neither lost entries nor a table full of deleted slots. */
static void test_churn(void)
{
	struct fdb *fdb = fdb_new();
	unsigned i, wrong = 0;
	uint32_t value;

	for (i = 0; i < 300000; i++) {
		wrong += fdb_set(fdb, key_of(i), i % VXS_PORTS_MAX, false, 0) != 0;
		if (i >= 8192)
			wrong += !fdb_del(fdb, key_of(i - 8192));
	}
	CU_ASSERT_EQUAL(wrong, 0);
	CU_ASSERT_EQUAL(fdb->n, 8192);
	CU_ASSERT(fdb->dead < FDB_SLOTS / 2);
	for (i = 300000 - 8192; i < 300000; i++)
		wrong += !fdb_find(fdb, key_of(i), &value) || value != i % VXS_PORTS_MAX;
	CU_ASSERT_EQUAL(wrong, 0);
	fdb_free(fdb);
}

static void test_touch(void)
{
	struct fdb *fdb = fdb_new();
	struct fdb_slot *slot;
	uint32_t value;

	fdb_set(fdb, key_of(1), 2, false, 100);
	slot = fdb_find(fdb, key_of(1), &value);
	fdb_touch(slot, 100);
	CU_ASSERT_EQUAL(slot->seen, 100);
	fdb_touch(slot, 101);
	CU_ASSERT_EQUAL(slot->seen, 101);
	fdb_free(fdb);
}

#define RACE_KEYS 64

struct race {
	struct fdb *fdb;
	bool stop;
	unsigned found, wrong;
};

/* Key i is only ever behind port i or i + 100: anything else is half of one and half of another. */
static void *read_all(void *arg)
{
	struct race *r = arg;
	unsigned i;

	while (!__atomic_load_n(&r->stop, __ATOMIC_RELAXED)) {
		for (i = 0; i < RACE_KEYS; i++) {
			uint32_t value;

			if (!fdb_find(r->fdb, key_of(i), &value))
				continue;
			r->found++;
			if (value != i && value != i + 100)
				r->wrong++;
		}
	}
	return NULL;
}

static void test_race(void)
{
	struct race r = {.fdb = fdb_new()};
	unsigned n, i;
	pthread_t reader;

	CU_ASSERT_EQUAL_FATAL(pthread_create(&reader, NULL, read_all, &r), 0);
	for (n = 0; n < 3000; n++) {
		for (i = 0; i < RACE_KEYS; i++)
			fdb_set(r.fdb, key_of(i), n & 1 ? i : i + 100, false, n);
		for (i = n % 2; i < RACE_KEYS; i += 2)
			fdb_del(r.fdb, key_of(i));
	}
	__atomic_store_n(&r.stop, true, __ATOMIC_RELAXED);
	pthread_join(reader, NULL);
	CU_ASSERT_EQUAL(r.wrong, 0);
	fdb_free(r.fdb);
}

int main(int argc, char **argv)
{
	static const struct check tests[] = {
		{"key", test_key},
		{"set_find_delete", test_set_find_delete},
		{"vlans", test_vlans},
		{"full", test_full},
		{"walk", test_walk},
		{"churn", test_churn},
		{"touch", test_touch},
		{"race", test_race},
		{},
	};

	return check_main("fdb", tests, argc, argv);
}
