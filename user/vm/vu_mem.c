/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Tables of a guest's memory regions, and what is where in them. */
#include "vm/vu_mem.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/*
 * Theory of operation
 *
 * A table is never edited: each change of the guest's memory makes a new one, which shares the
 * mappings (vu_map.h) with the old one as far as they stay. Regions are in the order of their guest
 * addresses, so that one is found in seven steps however many there are.
 */
static bool wraps(uint64_t start, uint64_t size)
{
	return start + size < start;
}

static bool overlaps(uint64_t a, uint64_t a_size, uint64_t b, uint64_t b_size)
{
	return a < b + b_size && b < a + a_size;
}

/* Whether @r may stand in @mem beside what is there. */
static int check_region(const struct vu_mem *mem, const struct vhost_user_region *r)
{
	uint64_t total = r->size;
	unsigned i;

	if (mem->n == VU_REGIONS_MAX)
		return -ENOSPC;
	if (!r->size || r->size > VU_MEMORY_MAX || r->mmap_offset > VU_MEMORY_MAX ||
	    wraps(r->gpa, r->size) || wraps(r->uva, r->size))
		return -EINVAL;
	for (i = 0; i < mem->n; i++) {
		const struct vu_region *o = &mem->region[i];

		if (overlaps(r->gpa, r->size, o->gpa, o->size) ||
		    overlaps(r->uva, r->size, o->uva, o->size))
			return -EINVAL;
		total += o->size;
	}
	return total > VU_MEMORY_MAX ? -EINVAL : 0;
}

static void insert(struct vu_mem *mem, const struct vu_region *r)
{
	unsigned i;

	for (i = mem->n++; i && mem->region[i - 1].gpa > r->gpa; i--)
		mem->region[i] = mem->region[i - 1];
	mem->region[i] = *r;
}

static int add(struct vu_mem *mem, const struct vhost_user_region *from, int fd)
{
	struct vu_region r = {.gpa = from->gpa, .uva = from->uva, .size = from->size};
	int ret;

	ret = check_region(mem, from);
	if (ret)
		return ret;
	ret = vu_map_new(&r.mapping, fd, from->mmap_offset, from->size);
	if (ret)
		return ret;
	r.map = r.mapping->at;
	r.map_len = r.mapping->len;
	r.at = (uint8_t *)r.map + r.mapping->skip;
	insert(mem, &r);
	return 0;
}

/* A table of the same regions as @old, but for number @but; NULL: out of memory. */
static struct vu_mem *copy_of(const struct vu_mem *old, unsigned but)
{
	struct vu_mem *mem = calloc(1, sizeof(*mem));
	unsigned i;

	for (i = 0; mem && old && i < old->n; i++) {
		if (i == but)
			continue;
		mem->region[mem->n] = old->region[i];
		vu_map_get(mem->region[mem->n++].mapping);
	}
	return mem;
}

int vu_mem_new(struct vu_mem **out, const struct vhost_user_memory *table, const int *fds,
	       unsigned n_fds)
{
	struct vu_mem *mem;
	unsigned i;
	int ret = 0;

	if (table->n < 1 || table->n > VHOST_USER_REGIONS_MAX || table->n != n_fds)
		return -EINVAL;
	mem = calloc(1, sizeof(*mem));
	if (!mem)
		return -ENOMEM;
	for (i = 0; !ret && i < table->n; i++)
		ret = add(mem, &table->region[i], fds[i]);
	if (ret)
		vu_mem_free(mem);
	else
		*out = mem;
	return ret;
}

/* Which one of @mem is just this; mem->n: none. */
static unsigned find_same(const struct vu_mem *mem, const struct vhost_user_region *r)
{
	unsigned i;

	for (i = 0; i < mem->n; i++)
		if (mem->region[i].gpa == r->gpa && mem->region[i].uva == r->uva &&
		    mem->region[i].size == r->size)
			break;
	return i;
}

int vu_mem_add(struct vu_mem **out, const struct vu_mem *old, const struct vhost_user_region *r,
	       int fd)
{
	struct vu_mem *mem = copy_of(old, old ? find_same(old, r) : 0);
	int ret;

	if (!mem)
		return -ENOMEM;
	ret = add(mem, r, fd);
	if (ret)
		vu_mem_free(mem);
	else
		*out = mem;
	return ret;
}

int vu_mem_del(struct vu_mem **out, const struct vu_mem *old, const struct vhost_user_region *r)
{
	unsigned i = old ? find_same(old, r) : 0;
	struct vu_mem *mem;

	if (!old || i == old->n)
		return -ENOENT;
	mem = copy_of(old, i);
	if (!mem)
		return -ENOMEM;
	*out = mem;
	return 0;
}

void vu_mem_free(struct vu_mem *mem)
{
	unsigned i;

	if (!mem)
		return;
	for (i = 0; i < mem->n; i++)
		vu_map_put(mem->region[i].mapping);
	free(mem);
}

bool vu_mem_is_lost(const struct vu_mem *mem)
{
	unsigned i;

	for (i = 0; i < mem->n; i++)
		if (vu_map_is_lost(mem->region[i].mapping))
			return true;
	return false;
}

const struct vu_region *vu_mem_region(const struct vu_mem *mem, uint64_t gpa)
{
	const struct vu_region *r = mem->region;
	unsigned n = mem->n;

	/* the last one that begins at or before @gpa is in r[0] to r[n - 1] */
	while (n > 1) {
		unsigned half = n / 2;

		if (r[half].gpa <= gpa) {
			r += half;
			n -= half;
		} else {
			n = half;
		}
	}
	return n && gpa - r->gpa < r->size ? r : NULL;
}

/* How far a window reaches in each direction, at most: a look is bounded. */
#define RUN_WORDS 32

static bool has_page(const uint64_t *word, uint64_t page)
{
	return __atomic_load_n(&word[page / 64], __ATOMIC_ACQUIRE) >> page % 64 & 1;
}

/* The first page from @page on, below @end, that is absent. */
static uint64_t run_end(const uint64_t *word, uint64_t page, uint64_t end)
{
	uint64_t most = (page / 64 + RUN_WORDS) * 64;

	if (end > most)
		end = most;
	while (page < end) {
		uint64_t gone = ~__atomic_load_n(&word[page / 64], __ATOMIC_ACQUIRE) >> page % 64;

		if (gone) {
			page += __builtin_ctzll(gone);
			break;
		}
		page = (page / 64 + 1) * 64;
	}
	return page < end ? page : end;
}

/* The first page of those before @page, which is there, that are there without a gap. */
static uint64_t run_begin(const uint64_t *word, uint64_t page)
{
	uint64_t least = page / 64 < RUN_WORDS ? 0 : (page / 64 - RUN_WORDS) * 64;

	while (page > least) {
		uint64_t at = page - 1;
		uint64_t gone = ~__atomic_load_n(&word[at / 64], __ATOMIC_ACQUIRE)
				<< (63 - at % 64);

		if (gone) {
			page -= __builtin_clzll(gone);
			break;
		}
		page = at / 64 * 64;
	}
	return page > least ? page : least;
}

static uint64_t *pages_of(const struct vu_mem *mem, const struct vu_region *r)
{
	return mem->present ? mem->present->word[r - mem->region] : NULL;
}

/* Narrows the window of a whole region to the pages around @off that are there. */
static bool find_run(const struct vu_region *r, const uint64_t *word, uint64_t off,
		     struct vu_window *w)
{
	const uint64_t skip = r->at - (uint8_t *)r->map;
	uint64_t page = (skip + off) / VU_PAGE, begin, end;

	if (!has_page(word, page))
		return false;
	begin = run_begin(word, page) * VU_PAGE;
	end = run_end(word, page, (skip + r->size + VU_PAGE - 1) / VU_PAGE) * VU_PAGE;
	begin = begin > skip ? begin - skip : 0;
	end = end - skip < r->size ? end - skip : r->size;
	w->gpa = r->gpa + begin;
	w->at = r->at + begin;
	w->size = end - begin;
	return true;
}

static uint64_t absent_at(uint64_t addr, bool write)
{
	return (addr & ~VU_ABSENT_MASK) | VU_ABSENT | (write ? VU_ABSENT_WRITE : 0);
}

/* What is there of a region around @off. */
static bool find_in(const struct vu_mem *mem, const struct vu_region *r, uint64_t off, bool write,
		    struct vu_window *w)
{
	const uint64_t *word = pages_of(mem, r);

	*w = (struct vu_window){.gpa = r->gpa, .size = r->size, .at = r->at};
	if (!word || find_run(r, word, off, w))
		return true;
	w->absent = absent_at(r->gpa + off, write);
	return false;
}

static const struct vu_region *region_of_uva(const struct vu_mem *mem, uint64_t uva)
{
	unsigned i;

	for (i = 0; i < mem->n; i++)
		if (uva - mem->region[i].uva < mem->region[i].size)
			return &mem->region[i];
	return NULL;
}

/* By way of the IOTLB. An entry for memory that has gone since is as good as none. */
static bool find_iova(const struct vu_mem *mem, uint64_t iova, bool write, struct vu_window *w)
{
	const struct vu_iotlb_entry *e = vu_iotlb_find(mem->iotlb, iova);
	const uint8_t need = write ? VHOST_USER_ACCESS_WO : VHOST_USER_ACCESS_RO;
	const struct vu_region *r = NULL;
	uint64_t off, before, behind;

	if (e && e->perm & need)
		r = region_of_uva(mem, e->uva + (iova - e->iova));
	if (!r) {
		w->absent = absent_at(iova, write) | VU_ABSENT_IOVA;
		return false;
	}
	off = e->uva + (iova - e->iova) - r->uva;
	if (!find_in(mem, r, off, write, w))
		return false;
	/* from here on @off counts from the window's beginning */
	off -= w->gpa - r->gpa;
	before = off < iova - e->iova ? off : iova - e->iova;
	behind = w->size - 1 - off < e->last - iova ? w->size - 1 - off : e->last - iova;
	w->at += off - before;
	w->gpa = iova - before;
	w->size = before + 1 + behind;
	return true;
}

bool vu_mem_find(const struct vu_mem *mem, uint64_t gpa, bool write, struct vu_window *w)
{
	const struct vu_region *r;

	w->absent = 0;
	if (mem->iotlb)
		return find_iova(mem, gpa, write, w);
	r = vu_mem_region(mem, gpa);
	return r && find_in(mem, r, gpa - r->gpa, write, w);
}

void *vu_mem_uva(const struct vu_mem *mem, uint64_t uva, uint64_t len)
{
	const struct vu_region *r = region_of_uva(mem, uva);

	if (!r || len > r->size - (uva - r->uva))
		return NULL;
	return r->at + (uva - r->uva);
}

/* @addr to @addr + @len through windows one behind the other, which must be so here as well. */
static int join(const struct vu_mem *mem, uint64_t addr, uint64_t len, bool write, uint8_t **at,
		uint64_t *absent)
{
	uint64_t pos, end = addr + len;
	struct vu_window w;
	uint8_t *here;

	*at = NULL;
	for (pos = addr; pos != end; pos = w.gpa + w.size) {
		if (!vu_mem_find(mem, pos, write, &w)) {
			*absent = w.absent;
			return w.absent ? -EAGAIN : -EFAULT;
		}
		here = w.at + (pos - w.gpa);
		if (!*at)
			*at = here;
		else if (here != *at + (pos - addr))
			return -EFAULT;
		if (w.gpa + w.size - addr >= len)
			break;
	}
	return 0;
}

int vu_mem_part(const struct vu_mem *mem, uint64_t addr, uint64_t len, bool write, void **at,
		uint64_t *absent)
{
	uint8_t *first, *again;
	int ret;

	if (!mem->iotlb) {
		const struct vu_region *r = region_of_uva(mem, addr);

		if (!r || len > r->size - (addr - r->uva))
			return -EFAULT;
		addr = r->gpa + (addr - r->uva);
	}
	if (addr + len < addr)
		return -EFAULT;
	/* what we write of a ring, we read as well */
	ret = join(mem, addr, len, write, &first, absent);
	if (!ret && write)
		ret = join(mem, addr, len, false, &again, absent);
	if (!ret)
		*at = first;
	return ret;
}

uint8_t *vu_mem_far(const struct vu_mem *mem, struct vu_cursor *c, uint64_t gpa, uint32_t *len)
{
	return vu_mem_gpa(mem, c, gpa, len);
}
