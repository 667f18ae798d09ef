/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A piece of a guest's memory, mapped here. Tables of regions share it. */
#ifndef VU_MAP_H
#define VU_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Constant after vu_map_new(), but for @refs (control's) and @lost. */
struct vu_map {
	void *at; /* what to munmap() */
	size_t len;
	size_t skip; /* bytes before the piece that was asked for */
	unsigned refs;
	unsigned guard; /* vu_map.c */
	bool lost;      /* atomic; see vu_map_is_lost() */
};

/* More than any guest has; a peer with a huge sparse file must not use up our address space. */
#define VU_MEMORY_MAX (1ull << 44)

/**
 * vu_map_new() - map a piece of a file
 * @out:    where it goes, with one reference
 * @fd:     stays the caller's, who may close it at once
 * @offset: of the piece in the file, bytes; any
 * @size:   bytes, not 0
 *
 * It is left out of core dumps. Control thread.
 *
 * Return: 0; -EMEDIUMTYPE if the file isn't in memory (memfd, tmpfs, hugetlbfs), so that whoever
 * touches it may have to wait; -EINVAL if the piece ends behind it; -errno of fcntl(), fstat() or
 * mmap(); -ENOMEM.
 */
int vu_map_new(struct vu_map **out, int fd, uint64_t offset, uint64_t size);

/** vu_map_get() - one more reference. Control thread. */
struct vu_map *vu_map_get(struct vu_map *map);

/** vu_map_put() - one less; the last one unmaps: no worker uses it any more. NULL is fine. */
void vu_map_put(struct vu_map *map);

/**
 * vu_map_is_lost() - its file was cut short, or the file system is full
 *
 * Whoever uses it goes on with empty memory in its place; it is for control to end that. Any
 * thread.
 */
static inline bool vu_map_is_lost(const struct vu_map *map)
{
	return __atomic_load_n(&map->lost, __ATOMIC_ACQUIRE);
}

#endif
