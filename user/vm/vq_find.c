/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What is rarely needed of finding memory that a descriptor points at. */
#include <endian.h>

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

/* Where a buffer begins, and where it ends if that is another page. */
static unsigned add_ends(uint64_t *addr, unsigned n, unsigned max, uint64_t at, uint32_t len)
{
	uint64_t last = len ? at + len - 1 : at;

	addr[n++] = at;
	if (last / VU_PAGE != at / VU_PAGE && last > at && n < max)
		addr[n++] = last;
	return n;
}

/*
 * An IOMMU tells a guest's driver of every page that is asked for in a way in which it isn't
 * mapped: tables are to be read only, and buffers either to be read or to be written.
 */
static bool is_for(uint16_t flags, bool write)
{
	return write == (!(flags & VRING_DESC_F_INDIRECT) && flags & VRING_DESC_F_WRITE);
}

/* From what was used last; a batch that is under way may be further on. */
static unsigned ahead_split(const struct vq *q, bool write, uint64_t *addr, unsigned max)
{
	uint16_t at = __atomic_load_n(&q->used->idx, __ATOMIC_RELAXED);
	uint16_t end = __atomic_load_n(&q->avail->idx, __ATOMIC_ACQUIRE), head;
	unsigned n = 0;

	for (; at != end && n < max; at++) {
		head = __atomic_load_n(&q->avail->ring[at & (q->size - 1)], __ATOMIC_RELAXED);
		if (head < q->size &&
		    is_for(__atomic_load_n(&q->desc[head].flags, __ATOMIC_RELAXED), write))
			n = add_ends(addr, n, max,
				     __atomic_load_n(&q->desc[head].addr, __ATOMIC_RELAXED),
				     __atomic_load_n(&q->desc[head].len, __ATOMIC_RELAXED));
	}
	return n;
}

/* Where the descriptor in question is; the ring's size: nowhere. */
static unsigned place_of(const struct vq *q, uint64_t absent)
{
	const uint64_t page = absent / VU_PAGE;
	unsigned i;

	for (i = 0; i < q->size; i++)
		if (__atomic_load_n(&q->ring[i].addr, __ATOMIC_RELAXED) / VU_PAGE == page)
			break;
	return i;
}

/* From descriptor @at on. Nothing but the worker knows the lap, so used ones count. */
static unsigned ahead_packed(const struct vq *q, unsigned at, bool write, uint64_t *addr,
			     unsigned max)
{
	unsigned n = 0;

	for (; at < q->size && n < max; at++) {
		uint16_t flags = __atomic_load_n(&q->ring[at].flags, __ATOMIC_ACQUIRE);
		bool avail = flags >> VRING_PACKED_DESC_F_AVAIL & 1;

		if (avail == (flags >> VRING_PACKED_DESC_F_USED & 1))
			break;
		if (!is_for(flags, write))
			continue;
		n = add_ends(addr, n, max, __atomic_load_n(&q->ring[at].addr, __ATOMIC_RELAXED),
			     __atomic_load_n(&q->ring[at].len, __ATOMIC_RELAXED));
	}
	return n;
}

unsigned vq_ahead(const struct vq *q, uint64_t absent, uint64_t *addr, unsigned max)
{
	const bool write = absent & VU_ABSENT_WRITE;

	if (!q->packed)
		return ahead_split(q, write, addr, max);
	return ahead_packed(q, place_of(q, absent), write, addr, max);
}

unsigned vq_next(const struct vq *q, uint64_t *addr, unsigned max)
{
	unsigned n;

	if (!q->packed)
		return ahead_split(q, true, addr, max);
	n = ahead_packed(q, q->avail_at, true, addr, max);
	if (n < max)
		n += ahead_packed(q, 0, true, addr + n, max - n);
	return n;
}
