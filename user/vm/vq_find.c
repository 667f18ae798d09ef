/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What is rarely needed of finding memory that a descriptor points at. Workers. */
#include "vm/vq.h"

unsigned vq_missing(struct vq *q, const struct vu_cursor *c)
{
	if (!c->absent)
		return VQ_BAD_ADDRESS;
	if (c->absent != __atomic_load_n(&q->told, __ATOMIC_RELAXED))
		__atomic_store_n(&q->absent, c->absent, __ATOMIC_RELAXED);
	return VQ_ABSENT;
}

#define TABLE_PARTS (32768 * 16 / VU_PAGE + 1) /* windows that a table may lie in */

unsigned vq_table_ends(struct vq *q, uint64_t gpa, uint32_t have, uint32_t len,
		       const uint8_t *table)
{
	unsigned parts = TABLE_PARTS;
	const uint8_t *next;
	uint32_t more;

	if (!table)
		return vq_missing(q, &q->tables);
	for (; have < len; have += more) {
		more = len - have;
		next = vu_mem_gpa(q->mem, &q->tables, gpa + have, &more);
		if (!next)
			return vq_missing(q, &q->tables);
		if (next != table + have || !parts--)
			return VQ_BAD_ADDRESS;
	}
	return VQ_OK;
}
