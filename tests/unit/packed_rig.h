/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The driver of a rig's packed ring (virtio 1.2, 2.8). */
#ifndef PACKED_RIG_H
#define PACKED_RIG_H

#include "vq_rig.h"

#define PACKED_AVAIL (1u << VRING_PACKED_DESC_F_AVAIL)
#define PACKED_USED  (1u << VRING_PACKED_DESC_F_USED)
#define PACKED_WRAP  (1u << VRING_PACKED_EVENT_F_WRAP_CTR)

/** packed_turn() - AVAIL and USED of a descriptor that is available in the current lap. */
static inline uint16_t packed_turn(const struct rig *r)
{
	return r->avail_wrap ? PACKED_AVAIL : PACKED_USED;
}

static inline void packed_step(const struct rig *r, uint16_t *at, bool *wrap, unsigned n)
{
	unsigned to = *at + n;

	*wrap ^= to >= r->size;
	*at = to % r->size;
}

/** packed_desc() - write the next descriptor, all of it; the place moves on. */
static inline void packed_desc(struct rig *r, uint64_t gpa, uint32_t len, uint16_t id,
			       uint16_t flags)
{
	struct vring_packed_desc *d = &r->ring[r->avail_at];

	d->addr = gpa;
	/* the switch may be looking at the flags, and then reads these as well */
	__atomic_store_n(&d->len, len, __ATOMIC_RELAXED);
	__atomic_store_n(&d->id, id, __ATOMIC_RELAXED);
	__atomic_store_n(&d->flags, flags, __ATOMIC_RELEASE);
	packed_step(r, &r->avail_at, &r->avail_wrap, 1);
}

/** packed_offer() - offer a chain of one descriptor; @flags without AVAIL and USED. */
static inline void packed_offer(struct rig *r, uint64_t gpa, uint32_t len, uint16_t id,
				uint16_t flags)
{
	r->length[id & 0x7fff] = 1;
	packed_desc(r, gpa, len, id, flags | packed_turn(r));
}

/**
 * packed_chain() - offer a chain over @len bytes from @gpa on, cut at @n - 1 places
 *
 * Its id stands in the last descriptor only, as the specification has it. See rig_chain().
 */
static inline void packed_chain(struct rig *r, uint64_t gpa, const uint32_t *cut, unsigned n,
				uint16_t id, uint16_t flags)
{
	struct vring_packed_desc *first = &r->ring[r->avail_at];
	uint16_t shown = flags | packed_turn(r) | (n > 1 ? VRING_DESC_F_NEXT : 0);
	uint32_t from = 0;
	unsigned i;

	for (i = 0; i < n; i++) {
		uint16_t f = flags | packed_turn(r) | (i + 1 < n ? VRING_DESC_F_NEXT : 0);

		packed_desc(r, gpa + from, cut[i] - from, i + 1 < n ? 0xdead : id,
			    i ? f : f ^ (PACKED_AVAIL | PACKED_USED));
		from = cut[i];
	}
	r->length[id & 0x7fff] = n;
	__atomic_store_n(&first->flags, shown, __ATOMIC_RELEASE);
}

/** packed_table() - offer one descriptor whose indirect table, at @table, has those cuts. */
static inline void packed_table(struct rig *r, uint64_t table, uint64_t gpa, const uint32_t *cut,
				unsigned n, uint16_t id, uint16_t flags)
{
	struct vring_packed_desc d;
	uint32_t from = 0;
	unsigned i;

	for (i = 0; i < n; i++) {
		d = (struct vring_packed_desc){
			.addr = gpa + from, .len = cut[i] - from, .id = 0xdead, .flags = flags};
		memcpy((uint8_t *)rig_at(r, table) + 16 * i, &d, sizeof(d));
		from = cut[i];
	}
	packed_offer(r, table, 16 * n, id, VRING_DESC_F_INDIRECT);
}

/** packed_used() - take the next used descriptor; false: there is none. */
static inline bool packed_used(struct rig *r, struct vring_packed_desc *d)
{
	const struct vring_packed_desc *at = &r->ring[r->used_at];
	uint16_t flags = __atomic_load_n(&at->flags, __ATOMIC_ACQUIRE);

	if (!!(flags & PACKED_AVAIL) != r->used_wrap || !!(flags & PACKED_USED) != r->used_wrap)
		return false;
	*d = *at;
	packed_step(r, &r->used_at, &r->used_wrap, r->length[d->id & 0x7fff]);
	return true;
}

/** packed_wants_kick() - the back-end's event structure wants to know of the last @n descriptors.
 */
static inline bool packed_wants_kick(const struct rig *r, unsigned n)
{
	uint32_t event = __atomic_load_n((const uint32_t *)(void *)r->device, __ATOMIC_RELAXED);
	uint16_t at = event & (PACKED_WRAP - 1);

	if (event >> 16 != VRING_PACKED_EVENT_FLAG_DESC)
		return event >> 16 != VRING_PACKED_EVENT_FLAG_DISABLE;
	if (!!(event & PACKED_WRAP) != r->avail_wrap)
		at -= r->size;
	return vring_need_event(at, r->avail_at, r->avail_at - n);
}

#endif
