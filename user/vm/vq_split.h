/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Split virtqueues (virtio 1.2, 2.7): walking descriptor chains, and telling the guest. */
#ifndef VQ_SPLIT_H
#define VQ_SPLIT_H

#include <endian.h>
#include <string.h>

#include "vm/vq.h"
#include "vm/vq_call.h"
#include "vm/vq_log.h"

/*
 * The guest lies. It may rewrite rings, descriptors and buffers at any moment, so each index and
 * each descriptor is copied once into our own memory, checked, and only the copy is used. A ring
 * that breaks the rules is marked broken and left alone for good; what was lent of it before stays
 * valid and is still given back.
 *
 * Both directions keep their own index (used_at) ahead of the one in guest memory and publish it
 * once a batch: one acquire (available index) and one release (used index) for all its chains.
 *
 * Work per call is bounded, see vq.h; out, see OUT_STEPS_MAX in vq_put.h.
 */
/* One descriptor, copied out of guest memory. */
struct desc {
	uint64_t gpa;
	uint32_t len;
	uint16_t flags, next;
};

/* @at may be unaligned. */
static inline struct desc guest_read_desc(const void *at)
{
	uint64_t rest = le64toh(guest_read64((const uint8_t *)at + 8));

	return (struct desc){
		.gpa = le64toh(guest_read64(at)),
		.len = (uint32_t)rest,
		.flags = (uint16_t)(rest >> 32),
		.next = rest >> 48,
	};
}

/*
 * What the loops over a ring need of the queue. They write to guest memory, which could be anything
 * as far as the compiler knows; a copy whose address nobody takes stays in registers all the same.
 */
struct view {
	const struct vring_desc *desc;
	const uint16_t *avail;
	struct vring_used_elem *used;
	uint32_t mask;
	const struct vu_mem *mem;
	struct vu_cursor cursor;
};

static __always_inline struct view view_of(const struct vq *q)
{
	return (struct view){
		.desc = q->desc,
		.avail = q->avail->ring,
		.used = q->used->ring,
		.mask = q->size - 1,
		.mem = q->mem,
		.cursor = q->cursor,
	};
}

/* Entry @at of the used ring, modulo its size; the guest sees it when the index is published. */
static __always_inline void write_used(struct vring_used_elem *used, uint32_t head, uint32_t len)
{
	uint64_t both = htole64((uint64_t)len << 32 | head);

	memcpy(used, &both, sizeof(both));
}

struct look {
	uint8_t *at;
	uint32_t len; /* VU_AMPLE bytes at most may be used */
	uint32_t head;
};

/*
 * It isn't where the last one was, or near its region's end. In a copy, so that the address of the
 * loop's own cursor goes nowhere.
 */
static inline bool look_far(struct view *v, struct look *l, uint64_t gpa)
{
	struct vu_cursor moved = v->cursor;
	uint32_t n = l->len;

	l->at = vu_mem_far(v->mem, &moved, gpa, &n);
	v->cursor = moved;
	return l->at && n == l->len;
}

/*
 * Looks at the available ring's entry @at; @flags are those of a plain descriptor. False: the chain
 * is something else, or not in one piece of memory. Each field is read once.
 */
static __always_inline bool look_at(struct view *v, struct look *l, uint32_t at, uint16_t flags)
{
	const struct vring_desc *d;
	uint64_t gpa, off;

	l->head = __atomic_load_n(&v->avail[at & v->mask], __ATOMIC_RELAXED);
	d = &v->desc[l->head];
	if (__builtin_expect(l->head > v->mask, 0) || d->flags != flags)
		return false;
	gpa = __atomic_load_n(&d->addr, __ATOMIC_RELAXED);
	l->len = __atomic_load_n(&d->len, __ATOMIC_RELAXED);
	off = gpa - v->cursor.gpa;
	if (__builtin_expect(off < v->cursor.ample, 1)) {
		l->at = v->cursor.at + off;
		return true;
	}
	return look_far(v, l, gpa);
}

/* Whether it is worth the while to look ahead: the next chain is one descriptor of @len bytes. */
static inline bool looks_plain(const struct vq *q, uint16_t flags, uint32_t len)
{
	uint32_t mask = q->size - 1;
	uint16_t head = __atomic_load_n(&q->avail->ring[q->avail_at & mask], __ATOMIC_RELAXED);
	const struct vring_desc *d = &q->desc[head & mask];

	return d->flags == flags && d->len >= len;
}

/* A walk over one descriptor chain, in the ring's table or in an indirect one. */
struct chain {
	const uint8_t *table; /* may be unaligned when indirect */
	uint32_t size;        /* descriptors in it */
	uint32_t left;        /* descriptors that the chain may still have */
	bool in_table;        /* an indirect one; the ring may serve as one as well */
	struct desc desc;     /* the current one: our copy */
};

static inline void load_desc(struct chain *c, uint32_t at)
{
	c->desc = guest_read_desc(c->table + 16ull * at);
}

static inline unsigned enter_indirect(struct vq *q, struct chain *c)
{
	uint32_t len = c->desc.len, n = len / 16;
	unsigned err;

	if (!q->indirect || c->desc.flags & VRING_DESC_F_NEXT || !n || len % 16 || n > 32768)
		return VQ_BAD_INDIRECT;
	err = vq_find_table(q, c->desc.gpa, len, &c->table);
	if (err)
		return err;
	c->size = n;
	c->in_table = true;
	c->left = (n < CHAIN_MAX ? n : CHAIN_MAX) - 1;
	load_desc(c, 0);
	return c->desc.flags & VRING_DESC_F_INDIRECT ? VQ_BAD_INDIRECT : VQ_OK;
}

static inline unsigned chain_open(struct vq *q, struct chain *c, uint32_t head)
{
	c->table = (const uint8_t *)q->desc;
	c->size = q->size;
	c->in_table = false;
	if (head >= q->size) {
		c->left = 0; /* nobody looks, but compilers can't see that */
		c->desc = (struct desc){0};
		return VQ_BAD_HEAD;
	}
	c->left = (q->size < CHAIN_MAX ? q->size : CHAIN_MAX) - 1;
	load_desc(c, head);
	return c->desc.flags & VRING_DESC_F_INDIRECT ? enter_indirect(q, c) : VQ_OK;
}

static inline bool chain_has_next(const struct chain *c)
{
	return c->desc.flags & VRING_DESC_F_NEXT;
}

static inline unsigned chain_next(struct vq *q, struct chain *c)
{
	uint32_t at = c->desc.next;

	if (at >= c->size)
		return VQ_BAD_HEAD;
	if (!c->left--)
		return VQ_BAD_CHAIN;
	load_desc(c, at);
	if (!(c->desc.flags & VRING_DESC_F_INDIRECT))
		return VQ_OK;
	/* A table may end a chain of the ring (2.7.5.3.1), but not one of another table. */
	if (c->in_table)
		return VQ_BAD_INDIRECT;
	return enter_indirect(q, c);
}

/* Interrupts the guest if it asked for it (2.7.7.2, 2.7.10); used_at was just published. */
static inline void notify(struct vq *q)
{
	int fd = __atomic_load_n(&q->call_fd, __ATOMIC_ACQUIRE);
	uint16_t old = q->signalled, new = q->used_at;
	bool need;

	q->signalled = new;
	if (fd < 0) { /* whoever gives us one signals it once, for all that was until then */
		q->signalled_valid = false;
		return;
	}
	/* The used index must be visible before we read whether the guest wants to know. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (q->event_idx) {
		uint16_t event = __atomic_load_n(&q->avail->ring[q->size], __ATOMIC_RELAXED);

		need = !q->signalled_valid || vring_need_event(event, new, old);
	} else {
		need = !(__atomic_load_n(&q->avail->flags, __ATOMIC_RELAXED) &
			 VRING_AVAIL_F_NO_INTERRUPT);
	}
	if (q->notify_on_empty && !need) /* virtio 1.2, 6.3 */
		need = __atomic_load_n(&q->avail->idx, __ATOMIC_RELAXED) == q->avail_at;
	q->signalled_valid = true;
	if (need)
		call_guest(q, fd);
}

/* Tells the dirty log of @n entries of the used ring, modulo its size, from @at on. */
static inline void log_entries(struct vq *q, uint16_t at, uint16_t n)
{
	const uint32_t first = at & (q->size - 1), left = q->size - first;
	const uint32_t run = n < left ? n : left;

	log_used(q, 4 + 8ull * first, 8ull * run);
	log_used(q, 4, 8ull * (n - run));
}

static inline void log_index(struct vq *q)
{
	log_used(q, offsetof(struct vring_used, idx), sizeof(q->used->idx));
	log_tell(q);
}

static inline void publish_used(struct vq *q)
{
	__atomic_store_n(&q->used->idx, q->used_at, __ATOMIC_RELEASE);
	if (__builtin_expect(!!q->log, 0))
		log_index(q);
	notify(q);
}

#endif
