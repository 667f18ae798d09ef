/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Maps pieces of a guest's memory, and survives that they vanish. */
#include "vm/vu_map.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vxs_bpf.h"

/*
 * Theory of operation
 *
 * A piece is a file of somebody else, who may cut it short, or whose file system may have no page
 * left when one is first touched. Both are a SIGBUS for whatever thread comes along, which must not
 * end the switch of all the others. So the handler puts empty memory of our own in the place of the
 * whole piece, marks it as lost, and the thread goes on; control ends the connection when it sees
 * the mark. A SIGBUS anywhere else kills us as ever.
 *
 * The handler finds the piece in guards[], which control alone edits, under a sequence number that
 * is odd meanwhile: the handler may run while some other VM's memory comes or goes. Its own does
 * not, since whoever touches a piece uses a table that it is in.
 */
#define PER_VM 80 /* a table of 64 regions, and one of 8 that takes its place */
#define GUARDS (VXS_PORTS_MAX * PER_VM)

static struct guard {
	uintptr_t from; /* 0: free */
	size_t len;
	struct vu_map *map;
} guards[GUARDS];
static unsigned guards_used;  /* none is used from here on */
static unsigned guards_first; /* none is free before this one */
static uint32_t guards_seq;

static void guard_set(struct guard *g, uintptr_t from, size_t len, struct vu_map *map)
{
	__atomic_store_n(&guards_seq, guards_seq + 1, __ATOMIC_RELAXED);
	__atomic_thread_fence(__ATOMIC_RELEASE);
	__atomic_store_n(&g->from, from, __ATOMIC_RELAXED);
	__atomic_store_n(&g->len, len, __ATOMIC_RELAXED);
	__atomic_store_n(&g->map, map, __ATOMIC_RELAXED);
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
			found->map = __atomic_load_n(&guards[i].map, __ATOMIC_RELAXED);
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
		 MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0) != MAP_FAILED) {
		/* frames of others may be written there: as little for a core file as before */
		madvise((void *)g.from, g.len, MADV_DONTDUMP);
		__atomic_store_n(&g.map->lost, true, __ATOMIC_RELEASE);
	} else {
		signal(number, SIG_DFL); /* the access is repeated, and ends us */
	}
	errno = saved;
}

static int guard_add(struct vu_map *map)
{
	struct sigaction action = {.sa_sigaction = on_bus_error, .sa_flags = SA_SIGINFO};
	unsigned i;

	if (!guards_used && sigaction(SIGBUS, &action, NULL))
		return -errno;
	for (i = guards_first; i < GUARDS && guards[i].from; i++)
		;
	guards_first = i;
	if (i == GUARDS)
		return -ENOMEM;
	if (i == guards_used)
		__atomic_store_n(&guards_used, i + 1, __ATOMIC_RELAXED);
	map->guard = i;
	guard_set(&guards[i], (uintptr_t)map->at, map->len, map);
	return 0;
}

static void guard_del(const struct vu_map *map)
{
	guard_set(&guards[map->guard], 0, 0, NULL);
	if (map->guard < guards_first)
		guards_first = map->guard;
}

/*
 * Offset and length of a mapping are multiples of the page size, which is the huge page's on
 * hugetlbfs (its st_blksize); munmap() there insists on the rounded length as well.
 */
static int map_file(struct vu_map *map, int fd, uint64_t offset, uint64_t size)
{
	uint64_t page = sysconf(_SC_PAGESIZE), start, end;
	struct stat st;

	/*
	 * Only what is in memory has seals. For any other file somebody else is asked: a FUSE
	 * server that never answers would hold up fstat() here, and a worker at each page.
	 */
	if (fcntl(fd, F_GET_SEALS) < 0)
		return errno == EINVAL ? -EMEDIUMTYPE : -errno;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (st.st_size < 0 || !size || size > VU_MEMORY_MAX || offset > VU_MEMORY_MAX)
		return -EINVAL;
	if ((uint64_t)st.st_blksize > page && !(st.st_blksize & (st.st_blksize - 1)))
		page = st.st_blksize;
	end = offset + size;
	if (end > (uint64_t)st.st_size)
		return -EINVAL;
	start = offset & ~(page - 1);
	end = (end + page - 1) & ~(page - 1);
	map->skip = offset - start;
	map->len = end - start;
	map->at =
		mmap(NULL, map->len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, start);
	if (map->at == MAP_FAILED)
		return -errno;
	/* A core file of ours is no place for a guest's secrets. Some file systems know no such
	 * advice, which harms nothing. */
	madvise(map->at, map->len, MADV_DONTDUMP);
	return 0;
}

int vu_map_new(struct vu_map **out, int fd, uint64_t offset, uint64_t size)
{
	struct vu_map *map;
	int ret;

	map = calloc(1, sizeof(*map));
	if (!map)
		return -ENOMEM;
	ret = map_file(map, fd, offset, size);
	if (ret)
		goto err;
	ret = guard_add(map);
	if (ret) {
		munmap(map->at, map->len);
		goto err;
	}
	map->refs = 1;
	*out = map;
	return 0;
err:
	free(map);
	return ret;
}

struct vu_map *vu_map_get(struct vu_map *map)
{
	map->refs++;
	return map;
}

void vu_map_put(struct vu_map *map)
{
	if (!map || --map->refs)
		return;
	guard_del(map);
	munmap(map->at, map->len);
	free(map);
}
