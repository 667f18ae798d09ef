/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Maps and registers the memory of a NIC queue's frames. */
#include "nic/umem.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

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

/* Registers the memory with the socket. */
static int register_area(struct umem *u, bool meta)
{
	struct umem_reg reg = {
		.addr = (uintptr_t)u->area,
		.len = u->size,
		.chunk_size = u->frame_size,
	};

	if (meta) {
		reg.flags = XDP_UMEM_TX_METADATA_LEN;
		reg.tx_metadata_len = UMEM_OUT_META;
	}
	u->out_meta = reg.tx_metadata_len;
	u->out_room = u->frame_size - u->out_meta;
	return setsockopt(u->fd, SOL_XDP, XDP_UMEM_REG, &reg, sizeof(reg)) ? -errno : 0;
}

void umem_init(struct umem *u)
{
	memset(u, 0, sizeof(*u));
	u->fd = -1;
}

int umem_open(struct umem *u, uint32_t frame_size, bool meta, bool huge)
{
	int err;

	umem_init(u);
	u->frame_size = frame_size;
	u->fd = socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0);
	if (u->fd < 0)
		return -errno;
	err = map_area(u, huge);
	if (err && huge)
		err = map_area(u, false);
	if (err)
		goto err;
	err = register_area(u, meta);
	if (err && u->huge) {
		/* The kernel may fail to find the huge pages (a cgroup's limit) only now. */
		unmap_area(u);
		err = map_area(u, false);
		if (!err)
			err = register_area(u, meta);
	}
	if (err)
		goto err;
	err = umem_ring_out(&u->fill_map, &u->fill, u->fd, XDP_UMEM_FILL_RING, UMEM_FILL_SIZE);
	if (!err)
		err = umem_ring_in(&u->completion_map, &u->completion, u->fd,
				   XDP_UMEM_COMPLETION_RING, UMEM_OUT_FRAMES);
	if (!err)
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
	umem_ring_close(&u->fill_map);
	umem_ring_close(&u->completion_map);
	if (u->fd >= 0)
		close(u->fd);
	u->fd = -1;
	unmap_area(u);
}

void umem_give_back(struct umem *u, uint64_t addr)
{
	uint32_t head = u->back_head;

	u->back[head % UMEM_IN_FRAMES] = umem_frame(u, addr);
	__atomic_store_n(&u->back_head, head + 1, __ATOMIC_RELEASE);
}
