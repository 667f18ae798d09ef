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

	if (mem->n == VU_REGIONS_MAX || !r->size || r->size > VU_MEMORY_MAX ||
	    r->mmap_offset > VU_MEMORY_MAX || wraps(r->gpa, r->size) || wraps(r->uva, r->size))
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

int vu_mem_add(struct vu_mem **out, const struct vu_mem *old, const struct vhost_user_region *r,
	       int fd)
{
	struct vu_mem *mem = copy_of(old, UINT32_MAX);
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
	struct vu_mem *mem;
	unsigned i;

	for (i = 0; old && i < old->n; i++)
		if (old->region[i].gpa == r->gpa && old->region[i].uva == r->uva &&
		    old->region[i].size == r->size)
			break;
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

bool vu_mem_find(const struct vu_mem *mem, uint64_t gpa, bool write, struct vu_window *w)
{
	const struct vu_region *r = vu_mem_region(mem, gpa);
	const uint64_t *word;

	w->absent = 0;
	if (!r)
		return false;
	*w = (struct vu_window){.gpa = r->gpa, .size = r->size, .at = r->at};
	word = pages_of(mem, r);
	if (!word || find_run(r, word, gpa - r->gpa, w))
		return true;
	w->absent = absent_at(gpa, write);
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

void *vu_mem_uva(const struct vu_mem *mem, uint64_t uva, uint64_t len)
{
	const struct vu_region *r = region_of_uva(mem, uva);

	if (!r || len > r->size - (uva - r->uva))
		return NULL;
	return r->at + (uva - r->uva);
}

int vu_mem_part(const struct vu_mem *mem, uint64_t addr, uint64_t len, bool write, void **at,
		uint64_t *absent)
{
	const struct vu_region *r = region_of_uva(mem, addr);
	const uint64_t *word;
	uint64_t off, page, last, skip, from;

	if (!r || len > r->size - (addr - r->uva))
		return -EFAULT;
	off = addr - r->uva;
	word = pages_of(mem, r);
	skip = r->at - (uint8_t *)r->map;
	last = (skip + off + len - 1) / VU_PAGE;
	for (page = (skip + off) / VU_PAGE; word && page <= last; page++) {
		if (has_page(word, page))
			continue;
		from = page * VU_PAGE;
		*absent = absent_at(r->gpa + (from > skip ? from - skip : 0), write);
		return -EAGAIN;
	}
	*at = r->at + off;
	return 0;
}
