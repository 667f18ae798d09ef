/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Maps a guest's memory regions and translates front-end addresses. */
#include "vm/vu_mem.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vxs_bpf.h"

/*
 * Theory of operation
 *
 * Regions are files of somebody else, who may cut them short, or whose file system may have no page
 * left when one is first touched. Both are a SIGBUS for whatever thread comes along, which must not
 * end the switch of all the others. So the handler puts empty memory of our own in the place of the
 * whole region, marks its table as lost, and the thread goes on; control ends the connection when
 * it sees the mark. A SIGBUS anywhere else kills us as ever.
 *
 * The handler finds the region in guards[], which control alone edits, under a sequence number that
 * is odd meanwhile: the handler may run while some other VM's memory comes or goes. Its own does
 * not, since whoever touches a region uses its table.
 */
#define GUARDS (2 * VXS_PORTS_MAX * VU_REGIONS_MAX) /* each VM has two tables for a moment */

static struct guard {
	uintptr_t from; /* 0: free */
	size_t len;
	struct vu_mem *mem;
} guards[GUARDS];
static unsigned guards_used; /* none is used from here on */
static uint32_t guards_seq;

static void guard_set(struct guard *g, uintptr_t from, size_t len, struct vu_mem *mem)
{
	__atomic_store_n(&guards_seq, guards_seq + 1, __ATOMIC_RELAXED);
	__atomic_thread_fence(__ATOMIC_RELEASE);
	__atomic_store_n(&g->from, from, __ATOMIC_RELAXED);
	__atomic_store_n(&g->len, len, __ATOMIC_RELAXED);
	__atomic_store_n(&g->mem, mem, __ATOMIC_RELAXED);
	__atomic_store_n(&guards_seq, guards_seq + 1, __ATOMIC_RELEASE);
}

/* The guard of the region that @at is in, as it was at one moment; false: there is none. */
static bool guard_find(uintptr_t at, struct guard *found)
{
	unsigned i, n;
	uint32_t seq;
	bool hit;

	do {
		seq = __atomic_load_n(&guards_seq, __ATOMIC_ACQUIRE);
		n = __atomic_load_n(&guards_used, __ATOMIC_RELAXED);
		for (i = 0, hit = false; i < n && !hit; i++) {
			found->from = __atomic_load_n(&guards[i].from, __ATOMIC_RELAXED);
			found->len = __atomic_load_n(&guards[i].len, __ATOMIC_RELAXED);
			found->mem = __atomic_load_n(&guards[i].mem, __ATOMIC_RELAXED);
			hit = found->from && at - found->from < found->len;
		}
		__atomic_thread_fence(__ATOMIC_ACQUIRE);
	} while (seq & 1 || seq != __atomic_load_n(&guards_seq, __ATOMIC_RELAXED));
	return hit;
}

static void on_bus_error(int number, siginfo_t *info, void *context)
{
	int saved = errno;
	struct guard g;

	(void)context;
	if (guard_find((uintptr_t)info->si_addr, &g) &&
	    mmap((void *)g.from, g.len, PROT_READ | PROT_WRITE,
		 MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0) != MAP_FAILED)
		__atomic_store_n(&g.mem->lost, true, __ATOMIC_RELEASE);
	else
		signal(number, SIG_DFL); /* the access is repeated, and ends us */
	errno = saved;
}

static int guard_add(const struct vu_region *r, struct vu_mem *mem)
{
	struct sigaction action = {.sa_sigaction = on_bus_error, .sa_flags = SA_SIGINFO};
	unsigned i;

	if (!guards_used && sigaction(SIGBUS, &action, NULL))
		return -errno;
	for (i = 0; i < GUARDS && guards[i].from; i++)
		;
	if (i == GUARDS)
		return -ENOMEM;
	if (i == guards_used)
		__atomic_store_n(&guards_used, i + 1, __ATOMIC_RELAXED);
	guard_set(&guards[i], (uintptr_t)r->map, r->map_len, mem);
	return 0;
}

static void guard_del(const struct vu_region *r)
{
	unsigned i;

	for (i = 0; i < guards_used; i++)
		if (guards[i].from == (uintptr_t)r->map)
			guard_set(&guards[i], 0, 0, NULL);
}

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
	while (mem->n < table->n) {
		struct vu_region *r = &mem->region[mem->n];

		ret = map_region(r, &table->region[mem->n], fds[mem->n]);
		if (ret)
			goto err;
		mem->n++;
		ret = guard_add(r, mem);
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
	for (i = 0; i < mem->n; i++) {
		guard_del(&mem->region[i]);
		munmap(mem->region[i].map, mem->region[i].map_len);
	}
	free(mem);
}

const struct vu_region *vu_mem_region(const struct vu_mem *mem, uint64_t gpa)
{
	unsigned i;

	for (i = 0; i < mem->n; i++)
		if (gpa - mem->region[i].gpa < mem->region[i].size)
			return &mem->region[i];
	return NULL;
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
