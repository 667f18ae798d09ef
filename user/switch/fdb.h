/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The forwarding database: {MAC, VLAN} to port, read by workers, written by control alone. */
#ifndef FDB_H
#define FDB_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "vxs_bpf.h"

/*
 * A key holds the MAC in bits 0-47 (as it lies in memory, little endian) and the VLAN ID in bits
 * 48-59. Bit 63 is always set, so that no key is 0 (free slot) or 1 (deleted slot).
 */
#define FDB_KEY_VALID (1ull << 63)
#define FDB_NONE      UINT32_MAX

static inline uint64_t fdb_mac(const uint8_t mac[6])
{
	uint32_t low;
	uint16_t high;

	memcpy(&low, mac, 4);
	memcpy(&high, mac + 4, 2);
	return low | (uint64_t)high << 32;
}

/* As fdb_mac(), where two more bytes may be read behind the address. */
static inline uint64_t fdb_mac_wide(const uint8_t mac[8])
{
	uint64_t bits;

	memcpy(&bits, mac, 8);
	return bits & ((1ull << 48) - 1);
}

static inline uint64_t fdb_key(uint64_t mac, uint16_t vlan)
{
	return FDB_KEY_VALID | (uint64_t)(vlan & 0xfff) << 48 | mac;
}

static inline uint64_t fdb_key_mac(uint64_t key)
{
	return key & ((1ull << 48) - 1);
}

static inline uint16_t fdb_key_vlan(uint64_t key)
{
	return key >> 48 & 0xfff;
}

/* One slot. Key and port are written by control with release stores; seen by any worker. */
struct fdb_slot {
	uint64_t key;
	uint32_t port; /* bits 0-15 port, bit 31 FDB_SLOT_STATIC */
	uint32_t seen; /* second in which a frame from this address was last noticed */
};

#define FDB_SLOT_STATIC      (1u << 31)
#define FDB_SLOT_PORT(value) ((value)&0xffff)

#define FDB_SLOTS (2 * VXS_FDB_MAX) /* a power of two */

struct fdb {
	/* Control adds 1 when it forgets a port's addresses: workers, who report an address once a
	 * second at most, then report what they see of it again at once. */
	uint32_t epoch;
	unsigned n;    /* entries in use; control only */
	unsigned dead; /* deleted slots; control only */
	struct fdb_slot slot[FDB_SLOTS];
};

static inline uint32_t fdb_hash(uint64_t key)
{
	return (key * 0x9e3779b97f4a7c15ull) >> (64 - 15);
}
_Static_assert(FDB_SLOTS == 1 << 15, "fdb_hash() yields 15 bits");

/**
 * fdb_find() - look an address up
 * @fdb:  the database
 * @key:  from fdb_key()
 * @port: where the slot's port word goes (FDB_SLOT_*), untouched if there is none
 *
 * Any thread. A writer may reuse the slot for another key while we read, so the key is checked
 * again after the port was read: a half of each is never returned.
 *
 * Return: the slot (its @seen may be refreshed), or NULL.
 */
static inline struct fdb_slot *fdb_find(struct fdb *fdb, uint64_t key, uint32_t *port)
{
	uint32_t at = fdb_hash(key);
	struct fdb_slot *s;
	uint64_t found;
	unsigned i;

	for (i = 0; i < FDB_SLOTS; i++, at = (at + 1) & (FDB_SLOTS - 1)) {
		s = &fdb->slot[at];
		found = __atomic_load_n(&s->key, __ATOMIC_ACQUIRE);
		if (found == key) {
			uint32_t value = __atomic_load_n(&s->port, __ATOMIC_ACQUIRE);

			if (__atomic_load_n(&s->key, __ATOMIC_RELAXED) != key)
				return NULL;
			*port = value;
			return s;
		}
		if (!found)
			return NULL;
	}
	return NULL;
}

/* Refreshes the time of a slot, at most once a second. Any worker. */
static inline void fdb_touch(struct fdb_slot *s, uint32_t now)
{
	if (__atomic_load_n(&s->seen, __ATOMIC_RELAXED) != now)
		__atomic_store_n(&s->seen, now, __ATOMIC_RELAXED);
}

/* The writer's side, control thread only; see fdb.c. */
struct fdb *fdb_new(void);
void fdb_free(struct fdb *fdb);
int fdb_set(struct fdb *fdb, uint64_t key, uint32_t port, bool fixed, uint32_t now);
bool fdb_del(struct fdb *fdb, uint64_t key);

/* Called for each entry; returns true to have it deleted. */
typedef bool (*fdb_visit)(void *arg, uint64_t key, uint32_t port, bool fixed, uint32_t seen);
unsigned fdb_walk(struct fdb *fdb, fdb_visit visit, void *arg);

#endif
