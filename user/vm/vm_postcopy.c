/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A VM in a post-copy migration: which pages its rings will need next, and what when they come. */
#include <endian.h>
#include <stdio.h>

#include "control/loop.h"
#include "vm/vm_control.h"
#include "vm/vq.h"
#include "vm/vu_postcopy.h"

/*
 * A frame for the guest whose buffer is not there is lost, so buffers are looked at before their
 * turn comes: in the ring's order, whenever pages have come or were missed, and every AHEAD_MS. The
 * guest may write anything to its rings at any moment. Nothing comes of it but that pages of its
 * own memory are asked for; how many and by how many descriptors is bounded.
 */
#define AHEAD_MS    10
#define AHEAD       256  /* chains */
#define AHEAD_STEPS 2048 /* descriptors in one go */
#define AHEAD_PAGES 4096 /* and pages */
#define CHAIN_STEPS 64   /* descriptors of one chain */
#define BUFFER_MAX  (FRAME_MAX + VQ_HDR_MAX)

struct ahead {
	struct vu_postcopy *p;
	const struct vu_mem *mem;
	unsigned steps, pages; /* that are left */
};

/*
 * Behind an IOMMU @addr is its: what it has said nothing of is asked for when its turn comes, not
 * here. A page may be there for one of reading and writing only, and is wanted for either.
 */
static bool want_page(struct ahead *a, uint64_t addr)
{
	struct vu_window w;

	if (!a->mem->iotlb)
		return vu_postcopy_want(a->p, addr);
	if (vu_mem_find(a->mem, addr, false, &w))
		return true;
	if (w.absent & VU_ABSENT_IOVA && vu_mem_find(a->mem, addr, true, &w))
		return true;
	return !(w.absent & VU_ABSENT_IOVA) && vu_postcopy_want(a->p, w.absent & ~VU_ABSENT_MASK);
}

static bool want(struct ahead *a, uint64_t addr, uint32_t len)
{
	uint64_t at = addr & ~(VU_PAGE - 1), end = addr + (len < BUFFER_MAX ? len : BUFFER_MAX);
	bool there = true;

	for (; at < end && a->pages; at += VU_PAGE, a->pages--)
		there &= want_page(a, at);
	return there;
}

/* Copies @n words of 8 bytes, which workers and the guest may be writing. */
__attribute__((no_sanitize("thread"))) static void peek(uint64_t *to, const void *at, unsigned n)
{
	const volatile uint64_t *from = at;

	while (n--)
		*to++ = le64toh(*from++);
}

/* An indirect table: its own pages, and if they are there, what stands in it. */
static void table_ahead(struct ahead *a, uint64_t gpa, uint32_t len)
{
	uint32_t i, n = len / 16 < CHAIN_STEPS ? len / 16 : CHAIN_STEPS;
	struct vu_window w;
	uint64_t d[2];

	if (!want(a, gpa, 16 * n) || gpa % 8)
		return;
	for (i = 0; i < n && a->steps; i++, a->steps--) {
		if (!vu_mem_find(a->mem, gpa + 16ull * i, false, &w) ||
		    w.size - (gpa + 16ull * i - w.gpa) < 16)
			return;
		peek(d, w.at + (gpa + 16ull * i - w.gpa), 2);
		want(a, d[0], d[1]);
	}
}

/* One descriptor of a ring: address, and length with flags behind it in either format. */
static void desc_ahead(struct ahead *a, const uint64_t *d, bool indirect)
{
	if (indirect)
		table_ahead(a, d[0], d[1]);
	else
		want(a, d[0], d[1]);
}

static void split_ahead(struct ahead *a, const struct vq *q)
{
	uint16_t at = __atomic_load_n(&q->used->idx, __ATOMIC_RELAXED);
	uint16_t n = __atomic_load_n(&q->avail->idx, __ATOMIC_RELAXED) - at;

	for (n = n < AHEAD ? n : AHEAD; n && a->steps; n--, at++) {
		uint32_t i = __atomic_load_n(&q->avail->ring[at & (q->size - 1)], __ATOMIC_RELAXED);
		unsigned left = CHAIN_STEPS;
		uint64_t d[2];

		for (; i < q->size && left && a->steps; left--, a->steps--) {
			peek(d, &q->desc[i], 2);
			desc_ahead(a, d, d[1] >> 32 & VRING_DESC_F_INDIRECT);
			if (!(d[1] >> 32 & VRING_DESC_F_NEXT))
				break;
			i = d[1] >> 48;
		}
	}
}

/* Where the ring stands is its worker's secret; but whatever stands in it, is soon used again. */
static void packed_ahead(struct ahead *a, const struct vq *q)
{
	uint32_t i;
	uint64_t d[2];

	for (i = 0; i < q->size && a->steps; i++, a->steps--) {
		peek(d, &q->ring[i], 2);
		desc_ahead(a, d, d[1] >> 48 & VRING_DESC_F_INDIRECT);
	}
}

/* A part of a ring that is about to start: all of it at once, not one page after the other. */
static void part_ahead(struct ahead *a, uint64_t uva, uint64_t len)
{
	unsigned i;

	if (a->mem->iotlb) { /* it is no front-end's address then */
		for (i = 0; i < len && a->pages; i += VU_PAGE, a->pages--)
			want_page(a, uva + i);
		return;
	}
	for (i = 0; i < a->mem->n; i++) {
		const struct vu_region *r = &a->mem->region[i];
		uint64_t at = r->gpa + (uva - r->uva), end = at + len;

		if (uva - r->uva >= r->size)
			continue;
		for (at &= ~(VU_PAGE - 1); at < end && a->pages; at += VU_PAGE, a->pages--)
			vu_postcopy_want(a->p, at);
	}
}

/* Either format's parts, and a bit more: a page that is not needed yet does no harm. */
static void ring_ahead(struct ahead *a, const struct vm_ring *r)
{
	part_ahead(a, r->addr.desc, 16ull * r->size);
	part_ahead(a, r->addr.avail, 6 + 2ull * r->size);
	part_ahead(a, r->addr.used, 6 + 8ull * r->size);
}

static void look_ahead(struct vm_control *c)
{
	unsigned i;

	for (i = 0; i < c->n_rings; i++) {
		struct ahead a = {.p = c->postcopy,
				  .mem = c->mem,
				  .steps = AHEAD_STEPS,
				  .pages = AHEAD_PAGES};
		const struct vq *q = c->ring[i].q;

		if (q && q->packed)
			packed_ahead(&a, q);
		else if (q)
			split_ahead(&a, q);
		else if (c->mem && c->ring[i].size && c->ring[i].has_addr)
			ring_ahead(&a, &c->ring[i]);
	}
}

static void on_arrived(void *arg)
{
	struct vm_control *c = arg;

	vm_addresses_arrived(c);
	look_ahead(c);
}

static void on_failed(void *arg, const char *why)
{
	struct vm_control *c = arg;
	char text[160];

	snprintf(text, sizeof(text), "post-copy migration: %s", why);
	vm_hang_up(c, text);
}

static void on_ahead(void *arg, uint32_t events)
{
	(void)events;
	look_ahead(arg);
}

static void want_absent(struct vm_control *c, uint64_t absent)
{
	if (vu_postcopy_want(c->postcopy, absent & ~VU_ABSENT_MASK))
		vu_postcopy_poke(c->postcopy);
	look_ahead(c);
}

int vm_postcopy_new(struct vm_control *c)
{
	struct vu_postcopy_events events = {on_arrived, on_failed, c};
	int ret;

	ret = vu_postcopy_new(&c->postcopy, c->loop, &events);
	if (ret)
		return ret;
	ret = loop_timer(c->loop, &c->ahead_timer, AHEAD_MS, on_ahead, c);
	if (ret) {
		vm_postcopy_free(c);
		return ret;
	}
	c->want = want_absent;
	return 0;
}

void vm_postcopy_free(struct vm_control *c)
{
	if (!c->postcopy)
		return;
	loop_unwatch(c->ahead_timer);
	c->ahead_timer = NULL;
	c->want = NULL;
	vu_postcopy_free(c->postcopy);
	c->postcopy = NULL;
}
