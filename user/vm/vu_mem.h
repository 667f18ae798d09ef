/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A guest's memory as its front-end shared it: regions, and the translation of addresses. */
#ifndef VU_MEM_H
#define VU_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vhost_user.h"
#include "vm/vu_iotlb.h"
#include "vm/vu_map.h"

/*
 * More than any guest has without memory devices that come and go (3 or 4), and as many of those as
 * people plug in; few enough for a table to be copied whenever one does. SET_MEM_TABLE has room for
 * 8 of them, ADD_MEM_REG comes once for each.
 */
#define VU_REGIONS_MAX 64

/* One mapped region. */
struct vu_region {
	uint64_t gpa;  /* guest physical address of its first byte */
	uint64_t uva;  /* the front-end's virtual address of the same byte */
	uint64_t size; /* bytes, not 0; neither gpa + size nor uva + size wraps */
	uint8_t *at;   /* where it is here */
	void *map;     /* the mapping that it is in: its first page, */
	size_t map_len;
	struct vu_map *mapping; /* and to whom it belongs */
};

#define VU_PAGE 4096ull

/*
 * Which pages are there, while a post-copy migration brings them: bit p % 64 of word p / 64 stands
 * for page p of a region's mapping (vu_region.map on), whatever size the pages of its file have.
 * Any thread sets bits, with release, once what they stand for can be read and written without a
 * wait; none is ever cleared.
 */
struct vu_present {
	uint64_t *word[VU_REGIONS_MAX]; /* by number of region; NULL: all of it is there */
};

/*
 * Never edited while a worker may read it through its queues. @present and @iotlb are set by
 * control while no ring runs.
 */
struct vu_mem {
	unsigned n;
	const struct vu_present *present; /* NULL: all is there */
	const struct vu_iotlb
		*iotlb; /* "guest physical" ones are I/O addresses; NULL: they are not */
	/* in the order of @gpa */
	struct vu_region region[VU_REGIONS_MAX];
};

/**
 * vu_mem_new() - map the regions of a SET_MEM_TABLE message
 * @out:   where the new table goes
 * @table: the message's payload, checked here (vhost-user.rst, "Memory regions description")
 * @fds:   one per region; they stay the caller's, who may close them at once
 * @n_fds: how many came
 *
 * Control thread.
 *
 * Return: 0; -EINVAL if a count, a size or an address doesn't hold (overlapping or wrapping
 * regions, region past the end of its file); -errno of fstat() or mmap().
 */
int vu_mem_new(struct vu_mem **out, const struct vhost_user_memory *table, const int *fds,
	       unsigned n_fds);

/**
 * vu_mem_add() - a table with one region more (ADD_MEM_REG)
 * @out: where it goes
 * @old: the table that is in use, which stays as it is; NULL: there is none
 * @r:   the region
 * @fd:  its file; stays the caller's
 *
 * A region of the same two addresses and size gives way to it. Control thread.
 *
 * Return: as vu_mem_new(); -ENOSPC if there are VU_REGIONS_MAX others already.
 */
int vu_mem_add(struct vu_mem **out, const struct vu_mem *old, const struct vhost_user_region *r,
	       int fd);

/**
 * vu_mem_del() - a table without a region (REM_MEM_REG)
 * @out: where it goes; it may have no region
 * @old: the table that is in use, which stays as it is
 * @r:   the region, by its two addresses and its size
 *
 * Control thread. Return: 0; -ENOENT if there is no such region; -ENOMEM.
 */
int vu_mem_del(struct vu_mem **out, const struct vu_mem *old, const struct vhost_user_region *r);

/** vu_mem_free() - unmap what no other table has; no worker uses this one. NULL is fine. */
void vu_mem_free(struct vu_mem *mem);

/** vu_mem_is_lost() - what is behind one of its regions is lost, see vu_map_is_lost(). */
bool vu_mem_is_lost(const struct vu_mem *mem);

/** vu_mem_region() - the region that a guest physical address is in, or NULL. Any thread. */
const struct vu_region *vu_mem_region(const struct vu_mem *mem, uint64_t gpa);

/* Memory in one piece, around an address that was looked for. */
struct vu_window {
	uint64_t gpa, size;
	uint8_t *at;
	uint64_t absent; /* if there is none: see struct vu_cursor */
};

/** vu_mem_find() - the window that @gpa is in; false: there is none. Any thread. */
bool vu_mem_find(const struct vu_mem *mem, uint64_t gpa, bool write, struct vu_window *w);

/*
 * The window in which the last address was found: the next one is there too, nearly always. It
 * begins as all zeros but for @write, and is worth as much as the table that it was used with.
 */
struct vu_cursor {
	uint64_t gpa, size;
	uint64_t ample; /* offsets below it have VU_AMPLE bytes in one piece from there on */
	uint8_t *at;
	/*
	 * Set whenever NULL is returned: to the address, with VU_ABSENT and perhaps others of its
	 * kind in place of its lowest bits, if it is the guest's, but absent: no IOTLB entry yet
	 * (VU_ABSENT_IOVA), or a page that a migration still has to bring (its guest physical
	 * address, with an IOMMU too); to 0 if it is none.
	 */
	uint64_t absent;
	bool write; /* constant: what is found is to be written */
};

#define VU_ABSENT       1ull
#define VU_ABSENT_WRITE 2ull /* it was to be written */
#define VU_ABSENT_IOVA  4ull /* it is the IOMMU that has nothing there; else a page has to come */
#define VU_ABSENT_MASK  7ull

#define VU_AMPLE (65536 + 64) /* any frame and its header */

/* The address of a cursor goes nowhere: that of a loop over a ring stays in registers. */
static inline bool vu_cursor_move(struct vu_cursor *c, const struct vu_mem *mem, uint64_t gpa)
{
	struct vu_window w;

	if (!vu_mem_find(mem, gpa, c->write, &w)) {
		c->absent = w.absent;
		return false;
	}
	c->gpa = w.gpa;
	c->size = w.size;
	c->ample = w.size > VU_AMPLE ? w.size - VU_AMPLE : 0;
	c->at = w.at;
	return true;
}

/* What a cursor knows is not to outlive an IOTLB's entry. */
static inline void vu_cursor_forget(struct vu_cursor *c)
{
	c->size = c->ample = 0;
}

/**
 * vu_mem_gpa() - translate a guest physical address
 * @mem: the regions
 * @c:   where the last one was found; the user's own
 * @gpa: address
 * @len: bytes wanted; on return how many of them lie in one piece from there on (at least 1
 *       unless *@len was 0)
 *
 * Any thread.
 *
 * Return: the address here, or NULL if @gpa is in no region, or absent (@c->absent), or if *@len
 * is 0.
 */
static inline uint8_t *vu_mem_gpa(const struct vu_mem *mem, struct vu_cursor *c, uint64_t gpa,
				  uint32_t *len)
{
	uint64_t off = gpa - c->gpa;

	if (__builtin_expect(off >= c->size, 0)) {
		if (!vu_cursor_move(c, mem, gpa))
			return NULL;
		off = gpa - c->gpa;
	}
	if (*len > c->size - off)
		*len = c->size - off;
	return *len ? c->at + off : NULL;
}

/** vu_mem_uva() - as vu_mem_gpa() for a front-end address; NULL unless all of @len is in a region.
 */
void *vu_mem_uva(const struct vu_mem *mem, uint64_t uva, uint64_t len);

/** vu_mem_far() - vu_mem_gpa() for where it is called seldom. Any thread. */
uint8_t *vu_mem_far(const struct vu_mem *mem, struct vu_cursor *c, uint64_t gpa, uint32_t *len);

/**
 * vu_mem_part() - as vu_mem_uva() for a part of a ring, all of which must be there
 * @mem:    the regions
 * @addr:   as SET_VRING_ADDR says it; an I/O address if there is an IOTLB
 * @len:    bytes, not 0
 * @write:  it will be written, too
 * @at:     where it is here
 * @absent: what is absent, as in struct vu_cursor
 *
 * Control thread.
 *
 * Return: 0; -EFAULT if it is not in one region, or not in one piece here; -EAGAIN: *@absent is
 * absent.
 */
int vu_mem_part(const struct vu_mem *mem, uint64_t addr, uint64_t len, bool write, void **at,
		uint64_t *absent);

#endif
