/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The forwarding database, writer's side: control thread only. */
#include "switch/fdb.h"

#include <errno.h>
#include <stdlib.h>

/*
 * Open addressing with linear probing. A slot is free (key 0), deleted (key 1: a reader goes on) or
 * in use. Readers take no lock; they read key, port, key again (fdb_find()), so a slot may change
 * hands under them: the key becomes 1 first, then the port changes, then the new key appears.
 *
 * Deleted slots lengthen searches. When they are many, the table has few free slots left, and a
 * search for an unknown address would walk far; so a deleted slot whose successor is free becomes
 * free itself, which keeps their number small in practice.
 */
#define KEY_FREE    0
#define KEY_DELETED 1

struct fdb *fdb_new(void)
{
	return calloc(1, sizeof(struct fdb));
}

void fdb_free(struct fdb *fdb)
{
	free(fdb);
}

static void store_key(struct fdb_slot *s, uint64_t key)
{
	__atomic_store_n(&s->key, key, __ATOMIC_RELEASE);
}

/* Finds the key's slot, else NULL and in *@room the first slot that may take it. */
static struct fdb_slot *find(struct fdb *fdb, uint64_t key, struct fdb_slot **room)
{
	uint32_t at = fdb_hash(key);
	unsigned i;

	*room = NULL;
	for (i = 0; i < FDB_SLOTS; i++, at = (at + 1) & (FDB_SLOTS - 1)) {
		struct fdb_slot *s = &fdb->slot[at];

		if (s->key == key)
			return s;
		if (s->key <= KEY_DELETED && !*room)
			*room = s;
		if (s->key == KEY_FREE)
			break;
	}
	return NULL;
}

/**
 * fdb_set() - add an address, or change where it is
 * @fdb:   the database
 * @key:   from fdb_key()
 * @port:  port number, below VXS_PORTS_MAX
 * @fixed: static: neither ages nor moves (whoever calls decides that)
 * @now:   seconds, on the clock that workers use for fdb_touch()
 *
 * Control thread.
 *
 * Return: 0, or -ENOSPC when VXS_FDB_MAX addresses are known.
 */
int fdb_set(struct fdb *fdb, uint64_t key, uint32_t port, bool fixed, uint32_t now)
{
	uint32_t value = port | (fixed ? FDB_SLOT_STATIC : 0);
	struct fdb_slot *room, *s = find(fdb, key, &room);

	if (s) {
		__atomic_store_n(&s->port, value, __ATOMIC_RELEASE);
		__atomic_store_n(&s->seen, now, __ATOMIC_RELAXED);
		return 0;
	}
	if (fdb->n >= VXS_FDB_MAX || !room)
		return -ENOSPC;
	if (room->key == KEY_DELETED)
		fdb->dead--;
	__atomic_store_n(&room->port, value, __ATOMIC_RELEASE);
	__atomic_store_n(&room->seen, now, __ATOMIC_RELAXED);
	store_key(room, key);
	fdb->n++;
	return 0;
}

static void delete_slot(struct fdb *fdb, struct fdb_slot *s)
{
	uint32_t at = s - fdb->slot;

	store_key(s, KEY_DELETED);
	fdb->n--;
	fdb->dead++;
	if (fdb->slot[(at + 1) & (FDB_SLOTS - 1)].key != KEY_FREE)
		return;
	/* Nothing is searched beyond a free slot: this one and deleted ones before it can be free.
	 */
	while (fdb->slot[at].key == KEY_DELETED) {
		store_key(&fdb->slot[at], KEY_FREE);
		fdb->dead--;
		at = (at - 1) & (FDB_SLOTS - 1);
	}
}

/** fdb_del() - forget an address; false: it wasn't known. Control thread. */
bool fdb_del(struct fdb *fdb, uint64_t key)
{
	struct fdb_slot *room, *s = find(fdb, key, &room);

	if (!s)
		return false;
	delete_slot(fdb, s);
	return true;
}

/**
 * fdb_walk() - visit every address
 * @fdb:   the database
 * @visit: called for each; those for which it returns true are deleted
 * @arg:   for @visit
 *
 * Control thread.
 *
 * Return: how many were deleted.
 */
unsigned fdb_walk(struct fdb *fdb, fdb_visit visit, void *arg)
{
	unsigned deleted = 0;
	uint32_t at;

	for (at = 0; at < FDB_SLOTS; at++) {
		struct fdb_slot *s = &fdb->slot[at];

		if (s->key <= KEY_DELETED)
			continue;
		if (visit(arg, s->key, FDB_SLOT_PORT(s->port), s->port & FDB_SLOT_STATIC,
			  __atomic_load_n(&s->seen, __ATOMIC_RELAXED))) {
			delete_slot(fdb, s);
			deleted++;
		}
	}
	return deleted;
}
