/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Maps a guest's memory regions and translates front-end addresses. */
#include "vm/vu_mem.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* More than any guest has; a peer with a huge sparse file must not use up our address space. */
#define MEMORY_MAX (1ull << 44)

static bool wraps(uint64_t start, uint64_t size)
{
	return start + size < start;
}

static bool overlaps(uint64_t a, uint64_t a_size, uint64_t b, uint64_t b_size)
{
	return a < b + b_size && b < a + a_size;
}

static int check_table(const struct vhost_user_memory *table, unsigned n_fds)
{
	uint64_t total = 0;
	unsigned i, j;

	if (table->n < 1 || table->n > VU_REGIONS_MAX || table->n != n_fds)
		return -EINVAL;
	for (i = 0; i < table->n; i++) {
		const struct vhost_user_region *r = &table->region[i];

		if (!r->size || r->size > MEMORY_MAX || r->mmap_offset > MEMORY_MAX ||
		    wraps(r->gpa, r->size) || wraps(r->uva, r->size))
			return -EINVAL;
		total += r->size;
		for (j = 0; j < i; j++) {
			const struct vhost_user_region *o = &table->region[j];

			if (overlaps(r->gpa, r->size, o->gpa, o->size) ||
			    overlaps(r->uva, r->size, o->uva, o->size))
				return -EINVAL;
		}
	}
	return total > MEMORY_MAX ? -EINVAL : 0;
}

/*
 * Offset and length of a mapping are multiples of the page size, which is the huge page's on
 * hugetlbfs (its st_blksize); munmap() there insists on the rounded length as well.
 */
static int map_region(struct vu_region *to, const struct vhost_user_region *from, int fd)
{
	uint64_t page = sysconf(_SC_PAGESIZE), start, end;
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode) || st.st_size < 0)
		return -EINVAL;
	if ((uint64_t)st.st_blksize > page && !(st.st_blksize & (st.st_blksize - 1)))
		page = st.st_blksize;
	end = from->mmap_offset + from->size;
	if (end > (uint64_t)st.st_size)
		return -EINVAL;
	start = from->mmap_offset & ~(page - 1);
	end = (end + page - 1) & ~(page - 1);
	to->map_len = end - start;
	to->map = mmap(NULL, to->map_len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd,
		       start);
	if (to->map == MAP_FAILED) {
		to->map = NULL;
		return -errno;
	}
	/* A core file of ours is no place for a guest's secrets. Some file systems know no such
	 * advice, which harms nothing. */
	madvise(to->map, to->map_len, MADV_DONTDUMP);
	to->gpa = from->gpa;
	to->uva = from->uva;
	to->size = from->size;
	to->at = (uint8_t *)to->map + (from->mmap_offset - start);
	return 0;
}

int vu_mem_new(struct vu_mem **out, const struct vhost_user_memory *table, const int *fds,
	       unsigned n_fds)
{
	struct vu_mem *mem;
	int ret;

	ret = check_table(table, n_fds);
	if (ret)
		return ret;
	mem = calloc(1, sizeof(*mem));
	if (!mem)
		return -ENOMEM;
	for (; mem->n < table->n; mem->n++) {
		ret = map_region(&mem->region[mem->n], &table->region[mem->n], fds[mem->n]);
		if (ret)
			goto err;
	}
	*out = mem;
	return 0;
err:
	vu_mem_free(mem);
	return ret;
}

void vu_mem_free(struct vu_mem *mem)
{
	unsigned i;

	if (!mem)
		return;
	for (i = 0; i < mem->n; i++)
		munmap(mem->region[i].map, mem->region[i].map_len);
	free(mem);
}

void *vu_mem_uva(const struct vu_mem *mem, uint64_t uva, uint64_t len)
{
	unsigned i;

	for (i = 0; i < mem->n; i++) {
		const struct vu_region *r = &mem->region[i];
		uint64_t off = uva - r->uva;

		if (off < r->size)
			return len <= r->size - off ? r->at + off : NULL;
	}
	return NULL;
}
