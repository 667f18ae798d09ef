/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A guest's memory as its front-end shared it: regions, and the translation of addresses. */
#ifndef VU_MEM_H
#define VU_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vhost_user.h"

#define VU_REGIONS_MAX VHOST_USER_REGIONS_MAX

/* One mapped region. Constant after vu_mem_new(). */
struct vu_region {
	uint64_t gpa;  /* guest physical address of its first byte */
	uint64_t uva;  /* the front-end's virtual address of the same byte */
	uint64_t size; /* bytes, not 0; neither gpa + size nor uva + size wraps */
	uint8_t *at;   /* where it is here */
	void *map;     /* what to munmap() */
	size_t map_len;
};

/* Never edited after vu_mem_new(), but for @lost: workers read it through their queues. */
struct vu_mem {
	unsigned n;
	bool lost; /* atomic; see vu_mem_is_lost() */
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

/** vu_mem_free() - unmap; the caller has made sure that no worker uses it. NULL is fine. */
void vu_mem_free(struct vu_mem *mem);

/**
 * vu_mem_is_lost() - the file behind a region was cut short, or its file system is full
 * @mem: the regions
 *
 * Workers go on with empty memory in the region's place; it is for control to end that. Any thread.
 */
static inline bool vu_mem_is_lost(const struct vu_mem *mem)
{
	return __atomic_load_n(&mem->lost, __ATOMIC_ACQUIRE);
}

/** vu_mem_region() - the region that a guest physical address is in, or NULL. Any thread. */
const struct vu_region *vu_mem_region(const struct vu_mem *mem, uint64_t gpa);

/*
 * The region in which the last address was found: the next one is there too, nearly always. It
 * begins as all zeros, and is worth as much as the table that it was used with.
 */
struct vu_cursor {
	uint64_t gpa, size;
	uint64_t ample; /* offsets below it have VU_AMPLE bytes in one piece from there on */
	uint8_t *at;
	/*
	 * Set to the address, with its lowest bit 1, when NULL is returned for one that is the
	 * guest's, but absent: no IOTLB entry yet, or a page that a migration still has to bring.
	 * Whoever looks at it sets it to 0 again.
	 */
	uint64_t absent;
};

#define VU_AMPLE (65536 + 64) /* any frame and its header */

static inline bool vu_cursor_move(struct vu_cursor *c, const struct vu_mem *mem, uint64_t gpa)
{
	const struct vu_region *r = vu_mem_region(mem, gpa);

	if (!r)
		return false;
	c->gpa = r->gpa;
	c->size = r->size;
	c->ample = r->size > VU_AMPLE ? r->size - VU_AMPLE : 0;
	c->at = r->at;
	return true;
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
 * Return: the address here, or NULL if @gpa is in no region or *@len is 0.
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

#endif
