/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Packed virtqueues (virtio 1.2, 2.8): walking descriptor chains, and telling the guest. */
#ifndef VQ_PACKED_H
#define VQ_PACKED_H

#include <endian.h>
#include <string.h>

#include "vm/vq.h"
#include "vm/vq_call.h"
#include "vm/vq_log.h"

/*
 * One ring of descriptors that driver and device both walk over. A descriptor is available when its
 * flag AVAIL is as the wrap counter and USED is not, used when both are; the counter turns with
 * each lap. We use chains in the order in which they came, so a used descriptor is written where
 * its chain began, and what the driver may not see before the end of a batch hides behind the flags
 * of the batch's first descriptor: they are written last, and released.
 *
 * The guest lies: each word of a descriptor is read once, checked, and only the copy is used. Flags
 * are read with length and id in one word, which says all of them as they were at one moment. The
 * id is echoed and means nothing to us; one that is not below the ring's size breaks the queue all
 * the same, since the driver would take that for our fault.
 *
 * Only the first descriptor of a chain says whether it is available (2.8.6). A guest that turns
 * flags in the wrong moment could have us take the same ones twice: a batch takes no more of them
 * than the ring has.
 */

#define PACKED_AVAIL (1u << VRING_PACKED_DESC_F_AVAIL)
#define PACKED_USED  (1u << VRING_PACKED_DESC_F_USED)
#define PACKED_WRAP  (1u << VRING_PACKED_EVENT_F_WRAP_CTR)

static inline uint16_t flags_avail(bool wrap)
{
	return wrap ? PACKED_AVAIL : PACKED_USED;
}

static inline uint16_t flags_used(bool wrap)
{
	return wrap ? PACKED_AVAIL | PACKED_USED : 0;
}

/* Behind a descriptor's address, in one word: length, id, flags. */
typedef uint64_t __attribute__((may_alias)) packed_word;

static __always_inline uint64_t read_rest(const struct vring_packed_desc *d)
{
	uint64_t rest = le64toh(__atomic_load_n((const packed_word *)&d->len, __ATOMIC_ACQUIRE));

#ifdef __SANITIZE_THREAD__ /* which only sees an acquire of what was released: drivers do flags */
	(void)__atomic_load_n(&d->flags, __ATOMIC_ACQUIRE);
#endif
	return rest;
}

static __always_inline uint64_t rest_of(uint32_t len, uint16_t id, uint16_t flags)
{
	return len | (uint64_t)id << 32 | (uint64_t)flags << 48;
}

static __always_inline void write_rest(struct vring_packed_desc *d, uint64_t rest)
{
	__atomic_store_n((packed_word *)&d->len, htole64(rest), __ATOMIC_RELAXED);
}

static __always_inline void write_flags(struct vring_packed_desc *d, uint16_t flags)
{
	__atomic_store_n(&d->flags, htole16(flags), __ATOMIC_RELAXED);
}

static __always_inline bool rest_is_avail(uint64_t rest, bool wrap)
{
	return (rest >> 48 & (PACKED_AVAIL | PACKED_USED)) == flags_avail(wrap);
}

static inline unsigned min3(unsigned a, unsigned b, unsigned c)
{
	a = a < b ? a : b;
	return a < c ? a : c;
}

/* A place in the ring, with the wrap counter there. */
struct place {
	uint16_t at;
	bool wrap;
};

/* @n is not more than the ring's size. */
static inline struct place place_behind(const struct vq *q, struct place p, unsigned n)
{
	unsigned at = p.at + n;

	return at < q->size ? (struct place){at, p.wrap} : (struct place){at - q->size, !p.wrap};
}

static inline struct place avail_place(const struct vq *q)
{
	return (struct place){q->avail_at, q->avail_wrap};
}

static inline void set_avail_place(struct vq *q, struct place p)
{
	q->avail_at = p.at;
	q->avail_wrap = p.wrap;
}

/* What the loops over a ring need of the queue: see struct view in vq_split.h. */
struct view {
	const struct vu_mem *mem;
	uint32_t size;
	struct vu_cursor cursor;
};

static __always_inline struct view view_of(const struct vq *q)
{
	return (struct view){.mem = q->mem, .size = q->size, .cursor = q->cursor};
}

struct look {
	uint8_t *at;
	uint32_t len; /* VU_AMPLE bytes at most may be used */
	uint64_t rest;
};

/*
 * Looks at a descriptor; @flags are those of a plain one that is available. False: it isn't one, or
 * not in one piece of memory.
 */
static __always_inline bool look_at(struct view *v, struct look *l,
				    const struct vring_packed_desc *d, uint16_t flags)
{
	uint64_t gpa, off;
	uint32_t n;

	l->rest = read_rest(d);
	/* flags as they should be, and an id below the size, in one comparison */
	if ((uint32_t)(l->rest >> 32) - ((uint32_t)flags << 16) >= v->size)
		return false;
	gpa = __atomic_load_n(&d->addr, __ATOMIC_RELAXED);
	l->len = (uint32_t)l->rest;
	off = gpa - v->cursor.gpa;
	if (__builtin_expect(off < v->cursor.ample, 1)) {
		l->at = v->cursor.at + off;
		return true;
	}
	/* It isn't where the last one was, or near its region's end. */
	n = l->len;
	l->at = vu_mem_gpa(v->mem, &v->cursor, gpa, &n);
	return l->at && n == l->len;
}

/* Whether it is worth the while to look ahead: the next chain is one descriptor of @len bytes. */
static inline bool looks_plain(const struct vq *q, uint16_t flags, uint32_t len)
{
	uint64_t rest = read_rest(&q->ring[q->avail_at]);

	return rest >> 48 == (flags_avail(q->avail_wrap) | flags) && (uint32_t)rest >= len;
}

static inline bool is_avail(const struct vq *q)
{
	return q->left && rest_is_avail(read_rest(&q->ring[q->avail_at]), q->avail_wrap);
}

/* A walk over one chain: descriptors of the ring, or an indirect table alone. */
struct chain {
	struct place place;   /* where in the ring */
	uint32_t length;      /* descriptors of the ring so far */
	uint32_t left;        /* descriptors that the chain may still have */
	const uint8_t *table; /* may be unaligned; NULL: not indirect */
	uint32_t entries;     /* of the table, that are still to come */
	/* the current descriptor: our copy. @id and @flags are the table's own of an indirect one.
	 */
	uint64_t gpa;
	uint32_t len;
	uint16_t id, flags;
	bool write;
};

/* An entry of a table: neither id nor NEXT mean anything there (2.8.7). */
static inline unsigned load_entry(struct chain *c)
{
	uint64_t rest = le64toh(guest_read64(c->table + 8));

	c->gpa = le64toh(guest_read64(c->table));
	c->len = (uint32_t)rest;
	c->write = rest >> 48 & VRING_DESC_F_WRITE;
	c->table += sizeof(struct vring_packed_desc);
	c->entries--;
	return rest >> 48 & VRING_DESC_F_INDIRECT ? VQ_BAD_INDIRECT : VQ_OK;
}

static inline unsigned enter_indirect(struct vq *q, struct chain *c)
{
	uint32_t len = c->len, n = len / 16;
	unsigned err;

	if (!q->indirect || c->length != 1 || c->flags & VRING_DESC_F_NEXT || !n || len % 16 ||
	    n > 32768)
		return VQ_BAD_INDIRECT;
	err = vq_find_table(q, c->gpa, len, &c->table);
	if (err)
		return err;
	c->entries = n;
	c->left = CHAIN_MAX - 1;
	return load_entry(c);
}

static inline unsigned load_desc(struct vq *q, struct chain *c, uint64_t rest)
{
	c->gpa = le64toh(__atomic_load_n(&q->ring[c->place.at].addr, __ATOMIC_RELAXED));
	c->len = (uint32_t)rest;
	c->id = rest >> 32 & UINT16_MAX;
	c->flags = rest >> 48;
	c->write = c->flags & VRING_DESC_F_WRITE;
	c->length++;
	return c->flags & VRING_DESC_F_INDIRECT ? enter_indirect(q, c) : VQ_OK;
}

/* The chain at @place, which reads @rest; @left descriptors of the ring may be taken. */
static inline unsigned chain_open(struct vq *q, struct chain *c, struct place place, unsigned left,
				  uint64_t rest)
{
	c->place = place;
	c->length = 0;
	c->left = (left < CHAIN_MAX ? left : CHAIN_MAX) - 1;
	c->table = NULL;
	c->entries = 0;
	return load_desc(q, c, rest);
}

static inline bool chain_has_next(const struct chain *c)
{
	return c->table ? c->entries : c->flags & VRING_DESC_F_NEXT;
}

static inline unsigned chain_next(struct vq *q, struct chain *c)
{
	if (!c->left--)
		return VQ_BAD_CHAIN;
	if (c->table)
		return load_entry(c);
	c->place = place_behind(q, c->place, 1);
	return load_desc(q, c, read_rest(&q->ring[c->place.at]));
}

/*
 * Nothing more is wanted of the chain, but its length and the id, which stands in its last
 * descriptor. Adds to @steps.
 */
static inline unsigned chain_close(struct vq *q, struct chain *c, unsigned *steps)
{
	unsigned err;

	while (!c->table && chain_has_next(c)) {
		err = chain_next(q, c);
		if (err)
			return err;
		++*steps;
	}
	return c->id < q->size ? VQ_OK : VQ_BAD_HEAD;
}

/*
 * Shows the guest the used descriptors from @first on, @n places up to used_at: all of them are
 * written but for the flags of the first.
 */
static inline void show_used(struct vq *q, struct place first, uint16_t flags)
{
	__atomic_store_n(&q->ring[first.at].flags, htole16(flags_used(first.wrap) | flags),
			 __ATOMIC_RELEASE);
}

/* Tells the dirty log of @n descriptors from @first on, which were just shown. */
static inline void log_descs(struct vq *q, struct place first, unsigned n)
{
	const unsigned left = q->size - first.at, run = n < left ? n : left;

	log_at(q, &q->ring[first.at], 16ull * run);
	log_at(q, &q->ring[0], 16ull * (n - run));
	log_tell(q);
}

/* Whether the driver wants to know of the @n descriptors before used_at (2.8.10). */
static inline bool wants_call(const struct vq *q, uint16_t n)
{
	uint32_t event =
		le32toh(__atomic_load_n((const uint32_t *)(void *)q->driver, __ATOMIC_RELAXED));
	uint16_t flags = event >> 16, at = event & (PACKED_WRAP - 1);

	if (flags != VRING_PACKED_EVENT_FLAG_DESC || !q->event_idx)
		return flags != VRING_PACKED_EVENT_FLAG_DISABLE;
	if (!!(event & PACKED_WRAP) != q->used_wrap)
		at -= q->size;
	return vring_need_event(at, q->used_at, q->used_at - n);
}

/* Interrupts the guest if it asked for it; @n descriptors up to used_at were just shown to it. */
static inline void notify(struct vq *q, uint16_t n)
{
	int fd = __atomic_load_n(&q->call_fd, __ATOMIC_ACQUIRE);
	bool need;

	if (fd < 0) { /* whoever gives us one signals it once, for all that was until then */
		q->signalled_valid = false;
		return;
	}
	/* What is used must be visible before we read whether the guest wants to know. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	need = wants_call(q, n) || (q->event_idx && !q->signalled_valid);
	if (q->notify_on_empty && !need) /* virtio 1.2, 6.3 */
		need = !rest_is_avail(read_rest(&q->ring[q->avail_at]), q->avail_wrap);
	q->signalled_valid = true;
	if (need)
		call_guest(q, fd);
}

#endif
