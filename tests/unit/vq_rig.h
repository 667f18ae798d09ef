/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A virtqueue over made-up guest memory, in one process: no socket, no front-end. */
#ifndef VQ_RIG_H
#define VQ_RIG_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>

#include "check.h"
#include "offload/offload.h"
#include "vm/vq.h"
#include "vxs_bpf.h"

/*
 * Guest physical memory. Each region is an allocation of its own with exactly its size, so that
 * AddressSanitizer sees every byte that is touched outside.
 *
 *	RIG_RINGS	descriptor table, available ring, used ring, each at its own offset;
 *			or a packed ring, driver events, device events
 *	RIG_DATA	RIG_DATA_SIZE bytes of buffers, and right behind it (but not here):
 *	RIG_NEXT	RIG_NEXT_SIZE bytes more
 *	RIG_FAR		alone, with nothing before and behind it
 */
#define RIG_RINGS     0x10000ull
#define RIG_DATA      0x1000000ull
#define RIG_DATA_SIZE (4u << 20)
#define RIG_NEXT      (RIG_DATA + RIG_DATA_SIZE)
#define RIG_NEXT_SIZE 4096u
#define RIG_FAR       0x100000000ull
#define RIG_FAR_SIZE  256u
#define RIG_REGIONS   4

#define RIG_V1       (1ull << VIRTIO_F_VERSION_1)
#define RIG_MRG      (1ull << VIRTIO_NET_F_MRG_RXBUF)
#define RIG_INDIRECT (1ull << VIRTIO_RING_F_INDIRECT_DESC)
#define RIG_EVENT    (1ull << VIRTIO_RING_F_EVENT_IDX)
#define RIG_PACKED   (1ull << VIRTIO_F_RING_PACKED) /* see packed_rig.h */
#define RIG_IN_ORDER (1ull << VIRTIO_F_IN_ORDER)

struct rig {
	struct vu_mem mem;
	struct vq *q;
	struct vring_desc *desc;
	struct vring_avail *avail;
	struct vring_used *used;
	unsigned size;
	unsigned hdr_len;
	uint16_t avail_at; /* the guest's: next to offer */
	/* packed: the guest's side of it */
	struct vring_packed_desc *ring;
	struct vring_packed_desc_event *driver, *device;
	uint16_t used_at;
	bool avail_wrap, used_wrap;
	uint16_t length[32768]; /* by id: of a chain that was offered */
	int call_fd;
	struct vxs_port_stats stats;
	struct batch b;
};

static inline void rig_region(struct rig *r, unsigned i, uint64_t gpa, size_t size)
{
	void *at;

	if (posix_memalign(&at, 64, size))
		abort();
	memset(at, 0, size);
	r->mem.region[i] = (struct vu_region){.gpa = gpa,
					      .uva = (uintptr_t)at,
					      .size = size,
					      .at = at,
					      .map = at,
					      .map_len = size};
	r->mem.n = i + 1;
}

/** rig_at() - where guest physical address @gpa is here. */
static inline void *rig_at(struct rig *r, uint64_t gpa)
{
	uint32_t one = 1;

	struct vu_cursor none = {0};

	return vu_mem_gpa(&r->mem, &none, gpa, &one);
}

static inline void rig_place_packed(struct rig *r, uint16_t base, struct vq_setup *setup)
{
	unsigned i;

	r->ring = (void *)r->mem.region[0].at;
	r->driver = (void *)&r->ring[r->size];
	r->device = r->driver + 1;
	r->avail_at = r->used_at = base & 0x7fff;
	r->avail_wrap = r->used_wrap = base & 0x8000;
	/* all of it was used once: in this lap before @base, in the last one from there on */
	for (i = 0; i < r->size; i++)
		r->ring[i].flags = (i < r->avail_at) == r->avail_wrap
					   ? 1u << VRING_PACKED_DESC_F_AVAIL |
						     1u << VRING_PACKED_DESC_F_USED
					   : 0;
	setup->base = (uint32_t)base << 16 | base;
	setup->desc_uva = (uintptr_t)r->ring;
	setup->avail_uva = (uintptr_t)r->driver;
	setup->used_uva = (uintptr_t)r->device;
}

/**
 * rig_new() - a ring of @size descriptors whose indices begin at @base
 *
 * The three parts are as close to each other and to the region's end as the format allows. @base of
 * a packed ring is a place and, in bit 15, its wrap counter: 0x8000 if it is new.
 */
static inline struct rig *rig_new(unsigned size, uint64_t features, uint16_t base)
{
	unsigned event = features & RIG_EVENT ? 2 : 0, avail = 16 * size;
	unsigned used = (avail + 4 + 2 * size + event + 3) / 4 * 4;
	bool packed = features & RIG_PACKED;
	struct vq_setup setup = {.size = size, .base = base, .features = features};
	struct rig *r = calloc(1, sizeof(*r));

	if (!r)
		abort();
	rig_region(r, 0, RIG_RINGS, packed ? 16 * size + 8 : used + 4 + 8 * size + event);
	rig_region(r, 1, RIG_DATA, RIG_DATA_SIZE);
	rig_region(r, 2, RIG_NEXT, RIG_NEXT_SIZE);
	rig_region(r, 3, RIG_FAR, RIG_FAR_SIZE);
	r->size = size;
	r->hdr_len = features & (RIG_V1 | RIG_MRG) ? 12 : 10;
	if (packed) {
		rig_place_packed(r, base, &setup);
	} else {
		r->desc = (void *)r->mem.region[0].at;
		r->avail = (void *)(r->mem.region[0].at + avail);
		r->used = (void *)(r->mem.region[0].at + used);
		r->avail_at = r->avail->idx = r->used->idx = base;
		setup.desc_uva = (uintptr_t)r->desc;
		setup.avail_uva = (uintptr_t)r->avail;
		setup.used_uva = (uintptr_t)r->used;
	}
	r->call_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	setup.mem = &r->mem;
	setup.enabled = true;
	setup.call_fd = r->call_fd;
	if (vq_new(&r->q, &setup)) {
		CU_FAIL("vq_new");
		abort();
	}
	return r;
}

static inline void rig_free(struct rig *r)
{
	unsigned i;

	vq_free(r->q);
	for (i = 0; i < r->mem.n; i++)
		free(r->mem.region[i].map);
	if (r->call_fd >= 0)
		close(r->call_fd);
	free(r);
}

/** rig_desc() - write a descriptor of @table (the ring's, or an indirect one). */
static inline void rig_desc(struct vring_desc *table, unsigned i, uint64_t addr, uint32_t len,
			    uint16_t flags, uint16_t next)
{
	table[i] = (struct vring_desc){.addr = addr, .len = len, .flags = flags, .next = next};
}

/** rig_offer() - make @head available. */
static inline void rig_offer(struct rig *r, uint16_t head)
{
	r->avail->ring[r->avail_at & (r->size - 1)] = head;
	r->avail->idx = ++r->avail_at;
}

/**
 * rig_chain() - write a chain over @len bytes from @gpa on, cut at @n - 1 places
 * @table: the ring's table, or an indirect one
 * @first: its first entry to use; the others follow
 * @cut:   @n ascending ends, the last of them @len
 * @flags: VRING_DESC_F_WRITE or 0
 */
static inline void rig_chain(struct vring_desc *table, unsigned first, uint64_t gpa,
			     const uint32_t *cut, unsigned n, uint16_t flags)
{
	uint32_t from = 0;
	unsigned i;

	for (i = 0; i < n; i++) {
		rig_desc(table, first + i, gpa + from, cut[i] - from,
			 flags | (i + 1 < n ? VRING_DESC_F_NEXT : 0),
			 i + 1 < n ? first + i + 1 : 0xdead);
		from = cut[i];
	}
}

/** rig_cuts() - @n ends of about equal distance. */
static inline void rig_cuts(uint32_t *cut, uint32_t len, unsigned n)
{
	unsigned i;

	for (i = 0; i < n; i++)
		cut[i] = (uint64_t)len * (i + 1) / n;
}

/** rig_fill() - bytes of a pattern that differs with @seed. */
static inline void rig_fill(uint8_t *to, size_t len, uint32_t seed)
{
	size_t i;

	for (i = 0; i < len; i++) {
		seed = seed * 1664525 + 1013904223;
		to[i] = seed >> 24;
	}
}

#define RIG_TSO (1ull << VIRTIO_NET_F_CSUM | 1ull << VIRTIO_NET_F_HOST_TSO4)

/** rig_tso() - at @gpa a header of 12 bytes and a frame of @len, to be cut into @size bytes each */
static inline void rig_tso(struct rig *r, uint64_t gpa, uint32_t len, uint16_t size)
{
	const struct virtio_net_hdr hdr = {.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
					   .gso_type = VIRTIO_NET_HDR_GSO_TCPV4,
					   .hdr_len = 54,
					   .gso_size = size,
					   .csum_start = 34,
					   .csum_offset = 16};
	uint8_t *at = rig_at(r, gpa);

	if (!at)
		abort();
	memset(at, 0, 12 + len);
	memcpy(at, &hdr, sizeof(hdr));
	at += 12;
	at[12] = 8; /* IPv4 */
	at[14] = 0x45;
	at[23] = 6; /* TCP */
	at[34 + 12] = 0x50;
}

/**
 * rig_cuts_in() - turns of the switch's side over frames of rig_tso(), @size bytes in each segment
 *
 * Return: how many frames came in all; 0 if a turn asks for far too many cuts, or for none, or
 * says that nothing is open.
 */
static inline unsigned rig_cuts_in(struct rig *r, uint16_t size)
{
	unsigned frames = 0, cuts, i;

	while (vq_in(r->q, &r->stats, &r->b)) {
		for (i = cuts = 0; i < r->b.n; i++)
			cuts += (r->b.frame[i].len - 54 + size - 1) / size;
		if (!cuts || !r->b.open || cuts > CUTS_MAX + OFFLOAD_CUTS_MAX)
			return 0;
		frames += r->b.n;
		vq_done(r->q);
	}
	return frames;
}

/** rig_read_frame() - put a lent frame together: head, then pieces. False: the sums don't add up.
 */
static inline bool rig_read_frame(const struct batch *b, unsigned i, uint8_t *to, uint32_t *len)
{
	const struct frame *f = &b->frame[i];
	uint32_t n = f->shape.head_len;
	unsigned p;

	if (f->shape.head_at + f->shape.head_len > (int)sizeof(f->head) ||
	    f->piece + f->shape.n_pieces > BATCH_PIECES)
		return false;
	memcpy(to, f->head + f->shape.head_at, f->shape.head_len);
	for (p = f->piece; p < f->piece + f->shape.n_pieces; p++) {
		if (n + b->piece[p].len > FRAME_MAX)
			return false;
		memcpy(to + n, b->piece[p].at, b->piece[p].len);
		n += b->piece[p].len;
	}
	*len = n;
	return n == f->len;
}

/**
 * rig_make_frame() - add a frame to the rig's batch, as an in side would
 * @r:	  rig
 * @from: its bytes, which stay where they are
 * @len:  FRAME_MIN to FRAME_MAX
 * @n:	  pieces of about equal length after the head
 */
static inline void rig_make_frame(struct rig *r, const uint8_t *from, uint32_t len, unsigned n)
{
	struct frame *f = &r->b.frame[r->b.n++];
	uint32_t at, end;
	unsigned i;

	memset(f, 0, sizeof(*f));
	f->len = len;
	f->shape.head_at = FRAME_HEAD_ROOM;
	f->shape.head_len = len < FRAME_HEAD ? len : FRAME_HEAD;
	f->piece = r->b.n_pieces;
	memcpy(f->head + f->shape.head_at, from, f->shape.head_len);
	at = f->shape.head_len;
	for (i = 0; i < n && at < len; i++) {
		end = i + 1 == n ? len
				 : f->shape.head_len +
					   (uint64_t)(len - f->shape.head_len) * (i + 1) / n;
		if (end == at)
			continue;
		r->b.piece[r->b.n_pieces++] = (struct piece){.at = from + at, .len = end - at};
		f->shape.n_pieces++;
		at = end;
	}
}

/** rig_make_tso() - add a frame of rig_tso() to the batch, as an in side would */
static inline void rig_make_tso(struct rig *r, uint32_t len, uint16_t size)
{
	struct frame *f = &r->b.frame[r->b.n];

	rig_tso(r, RIG_DATA, len, size);
	rig_make_frame(r, (const uint8_t *)rig_at(r, RIG_DATA) + 12, len, 1);
	memcpy(&f->offload, rig_at(r, RIG_DATA), sizeof(f->offload));
	r->b.open = true;
}

/** rig_in(), rig_out() - one turn of the switch's side; out gives all frames of the batch. */
static inline unsigned rig_in(struct rig *r)
{
	return vq_in(r->q, &r->stats, &r->b);
}

static inline unsigned rig_out(struct rig *r)
{
	uint16_t which[BATCH_FRAMES], i;

	for (i = 0; i < r->b.n; i++)
		which[i] = i;
	return vq_out(r->q, &r->stats, &r->b, which, r->b.n);
}

/** rig_calls() - how often the guest was called since the last time. */
static inline uint64_t rig_calls(struct rig *r)
{
	uint64_t n;

	return read(r->call_fd, &n, sizeof(n)) == sizeof(n) ? n : 0;
}

#endif
