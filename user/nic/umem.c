/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Maps and registers the memory of a NIC queue's frames. */
#include "nic/umem.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#define HUGE_PAGE (2u << 20)

static int map_area(struct umem *u, bool huge)
{
	size_t size = (size_t)(UMEM_IN_FRAMES + UMEM_OUT_FRAMES) * u->frame_size;
	int flags = MAP_PRIVATE | MAP_ANONYMOUS;
	void *at;

	size = (size + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
	if (huge)
		flags |= MAP_HUGETLB | 21 << MAP_HUGE_SHIFT;
	at = mmap(NULL, size, PROT_READ | PROT_WRITE, flags, -1, 0);
	if (at == MAP_FAILED)
		return -errno;
	if (!huge)
		madvise(at, size, MADV_HUGEPAGE); /* a wish; ordinary pages do as well */
	u->area = at;
	u->size = size;
	u->huge = huge;
	return 0;
}

static void unmap_area(struct umem *u)
{
	if (u->area)
		munmap(u->area, u->size);
	u->area = NULL;
}

static int fill_up(struct umem *u)
{
	uint64_t addr;
	unsigned i;

	for (i = 0; i < UMEM_IN_FRAMES; i++) {
		addr = (uint64_t)i * u->frame_size;
		if (!umem_fill(u, &addr, 1))
			return -ENOBUFS;
	}
	for (i = 0; i < UMEM_OUT_FRAMES; i++)
		u->free[i] = (uint64_t)(UMEM_IN_FRAMES + i) * u->frame_size;
	u->n_free = UMEM_OUT_FRAMES;
	return 0;
}

int umem_open(struct umem *u, uint32_t frame_size, bool huge)
{
	const struct xsk_umem_config config = {
		.fill_size = UMEM_FILL_SIZE,
		.comp_size = UMEM_OUT_FRAMES,
		.frame_size = frame_size,
	};
	int err;

	memset(u, 0, sizeof(*u));
	u->frame_size = frame_size;
	err = map_area(u, huge);
	if (err && huge)
		err = map_area(u, false);
	if (err)
		return err;
	err = xsk_umem__create(&u->xsk, u->area, u->size, &u->fill, &u->completion, &config);
	if (err && u->huge) {
		/* The kernel may fail to find the huge pages (a cgroup's limit) only now. */
		unmap_area(u);
		err = map_area(u, false);
		if (err)
			return err;
		err = xsk_umem__create(&u->xsk, u->area, u->size, &u->fill, &u->completion,
				       &config);
	}
	if (err)
		goto err;
	err = fill_up(u);
	if (err)
		goto err;
	return 0;
err:
	umem_close(u);
	return err;
}

void umem_close(struct umem *u)
{
	if (u->xsk)
		xsk_umem__delete(u->xsk);
	u->xsk = NULL;
	unmap_area(u);
}

void umem_give_back(struct umem *u, uint64_t addr)
{
	uint32_t head = u->back_head;

	u->back[head % UMEM_IN_FRAMES] = umem_frame(u, addr);
	__atomic_store_n(&u->back_head, head + 1, __ATOMIC_RELEASE);
}
