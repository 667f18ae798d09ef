/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The table of a guest's IOMMU: kept by control, read by workers. */
#include "vm/vu_iotlb.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/*
 * Theory of operation
 *
 * Workers see a sorted table that nobody edits. Each message of the front-end makes a new one, with
 * neighbours that continue each other joined, and publishes it. A copy of the largest table costs
 * some 50 microseconds; usual ones have a few hundred entries.
 *
 * What is added may be used at once, so old tables are freed now and then, several after one wait.
 * What is removed must be out of use before the front-end hears of it: vu_iotlb_settle() waits for
 * all workers, and these keep nothing that they found in a table for longer than a batch (vq.h).
 */

static struct vu_iotlb_table *table_new(unsigned n)
{
	struct vu_iotlb_table *table;

	table = malloc(sizeof(*table) + n * sizeof(table->entry[0]));
	if (table)
		table->n = 0;
	return table;
}

int vu_iotlb_new(struct vu_iotlb **out)
{
	struct vu_iotlb *t = calloc(1, sizeof(*t));

	if (!t)
		return -ENOMEM;
	t->table = table_new(0);
	if (!t->table) {
		free(t);
		return -ENOMEM;
	}
	t->evict = 1;
	*out = t;
	return 0;
}

static void free_retired(struct vu_iotlb *t)
{
	while (t->n_retired)
		free(t->retired[--t->n_retired]);
}

void vu_iotlb_free(struct vu_iotlb *t)
{
	if (!t)
		return;
	free_retired(t);
	free(t->table);
	free(t);
}

void vu_iotlb_settle(struct vu_iotlb *t)
{
	rcu_wait();
	free_retired(t);
}

static void publish(struct vu_iotlb *t, struct vu_iotlb_table *table)
{
	struct vu_iotlb_table *old = t->table;

	rcu_set(t->table, table);
	if (t->n_retired == VU_IOTLB_RETIRED)
		vu_iotlb_settle(t);
	t->retired[t->n_retired++] = old;
}

/* @b begins where @a ends, in both address spaces. */
static bool continues(const struct vu_iotlb_entry *a, const struct vu_iotlb_entry *b)
{
	return b->iova == a->last + 1 && b->uva - a->uva == b->iova - a->iova && a->perm == b->perm;
}

static void append(struct vu_iotlb_table *table, const struct vu_iotlb_entry *e)
{
	struct vu_iotlb_entry *end = &table->entry[table->n];

	if (table->n && continues(end - 1, e)) {
		end[-1].last = e->last;
		return;
	}
	*end = *e;
	table->n++;
}

/* The number of the first entry that ends at or behind @iova. */
static unsigned lower(const struct vu_iotlb_table *table, uint64_t iova)
{
	unsigned from = 0, to = table->n;

	while (from < to) {
		unsigned half = from + (to - from) / 2;

		if (table->entry[half].last < iova)
			from = half + 1;
		else
			to = half;
	}
	return from;
}

/* Any but those of @table that are next to the last change will do. */
static void evict(struct vu_iotlb *t, struct vu_iotlb_table *table, unsigned but)
{
	unsigned at;

	while (table->n > VU_IOTLB_MAX) {
		t->evict = t->evict * 1664525 + 1013904223;
		at = (t->evict >> 8) % table->n;
		if (at + 1 >= but && at <= but + 1)
			continue;
		memmove(&table->entry[at], &table->entry[at + 1],
			(table->n - at - 1) * sizeof(table->entry[0]));
		table->n--;
		but -= at < but;
	}
}

/* The table without @iova to @last, and with @new there if there is one; NULL: out of memory. */
static struct vu_iotlb_table *replace(struct vu_iotlb *t, uint64_t iova, uint64_t last,
				      const struct vu_iotlb_entry *new)
{
	const struct vu_iotlb_table *old = t->table;
	const struct vu_iotlb_entry *e, *end = old->entry + old->n;
	struct vu_iotlb_table *table = table_new(old->n + 2);
	unsigned n = lower(old, iova), but;

	if (!table)
		return NULL;
	memcpy(table->entry, old->entry, n * sizeof(old->entry[0]));
	table->n = n;
	e = old->entry + n;
	if (e != end && e->iova < iova) {
		struct vu_iotlb_entry before = *e;

		before.last = iova - 1;
		append(table, &before);
	}
	if (new)
		append(table, new);
	but = table->n;
	while (e != end && e->last <= last)
		e++;
	if (e != end && e->iova <= last) {
		struct vu_iotlb_entry behind = *e++;

		behind.uva += last + 1 - behind.iova;
		behind.iova = last + 1;
		append(table, &behind);
	}
	if (e != end) { /* the first may continue what is new, the others are as they were */
		append(table, e++);
		memcpy(&table->entry[table->n], e, (end - e) * sizeof(*e));
		table->n += end - e;
	}
	evict(t, table, but);
	return table;
}

/* Something of it was another memory before, or could be accessed in a way that it no longer can.
 */
static bool changes(const struct vu_iotlb_table *table, const struct vu_iotlb_entry *new)
{
	const struct vu_iotlb_entry *e = table->entry + lower(table, new->iova);
	const struct vu_iotlb_entry *end = table->entry + table->n;

	for (; e != end && e->iova <= new->last; e++)
		if (e->uva - e->iova != new->uva - new->iova || e->perm & ~new->perm)
			return true;
	return false;
}

int vu_iotlb_update(struct vu_iotlb *t, const struct vu_iotlb_entry *new, bool *changed)
{
	struct vu_iotlb_table *table;

	table = replace(t, new->iova, new->last, new);
	if (!table)
		return -ENOMEM;
	*changed = changes(t->table, new);
	publish(t, table);
	return 0;
}

int vu_iotlb_invalidate(struct vu_iotlb *t, uint64_t iova, uint64_t last)
{
	unsigned at = lower(t->table, iova);
	struct vu_iotlb_table *table;

	if (at == t->table->n || t->table->entry[at].iova > last)
		return 0;
	table = replace(t, iova, last, NULL);
	if (!table)
		return -ENOMEM;
	publish(t, table);
	return 0;
}

const struct vu_iotlb_entry *vu_iotlb_find(const struct vu_iotlb *t, uint64_t iova)
{
	const struct vu_iotlb_table *table = rcu_get(t->table);
	unsigned at = lower(table, iova);

	return at < table->n && table->entry[at].iova <= iova ? &table->entry[at] : NULL;
}
