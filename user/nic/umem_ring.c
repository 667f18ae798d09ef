/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Makes and maps the rings of AF_XDP sockets. */
#include "nic/umem_ring.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include <linux/if_xdp.h>

/*
 * libxdp can do the same, but only together with the registration of the UMEM and with bind(), and
 * that of Debian 12 knows neither metadata of frames to be sent nor frames in several descriptors.
 * So sockets are made by hand, and used by libxdp's inline functions, whose structs are filled in
 * here.
 */
static const struct kind {
	size_t offsets; /* in struct xdp_mmap_offsets */
	off_t at;       /* for mmap() */
	size_t entry;   /* bytes */
} kinds[] = {
	[XDP_RX_RING] = {offsetof(struct xdp_mmap_offsets, rx), XDP_PGOFF_RX_RING,
			 sizeof(struct xdp_desc)},
	[XDP_TX_RING] = {offsetof(struct xdp_mmap_offsets, tx), XDP_PGOFF_TX_RING,
			 sizeof(struct xdp_desc)},
	[XDP_UMEM_FILL_RING] = {offsetof(struct xdp_mmap_offsets, fr), XDP_UMEM_PGOFF_FILL_RING,
				sizeof(uint64_t)},
	[XDP_UMEM_COMPLETION_RING] = {offsetof(struct xdp_mmap_offsets, cr),
				      XDP_UMEM_PGOFF_COMPLETION_RING, sizeof(uint64_t)},
};

static int map_ring(struct umem_map *map, struct xdp_ring_offset *at, int fd, int kind,
		    uint32_t size)
{
	const struct kind *k = &kinds[kind];
	struct xdp_mmap_offsets all;
	socklen_t len = sizeof(all);
	size_t bytes;
	void *to;

	if (setsockopt(fd, SOL_XDP, kind, &size, sizeof(size)))
		return -errno;
	if (getsockopt(fd, SOL_XDP, XDP_MMAP_OFFSETS, &all, &len))
		return -errno;
	if (len != sizeof(all)) /* before Linux 5.4 */
		return -EOPNOTSUPP;
	*at = *(const struct xdp_ring_offset *)((const char *)&all + k->offsets);
	bytes = at->desc + size * k->entry;
	to = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, k->at);
	if (to == MAP_FAILED)
		return -errno;
	*map = (struct umem_map){to, bytes};
	return 0;
}

int umem_ring_in(struct umem_map *map, struct xsk_ring_cons *r, int fd, int kind, uint32_t size)
{
	struct xdp_ring_offset at;
	int err = map_ring(map, &at, fd, kind, size);

	if (err)
		return err;
	*r = (struct xsk_ring_cons){
		.mask = size - 1,
		.size = size,
		.producer = (void *)(map->at + at.producer),
		.consumer = (void *)(map->at + at.consumer),
		.ring = (void *)(map->at + at.desc),
		.flags = (void *)(map->at + at.flags),
	};
	return 0;
}

int umem_ring_out(struct umem_map *map, struct xsk_ring_prod *r, int fd, int kind, uint32_t size)
{
	struct xdp_ring_offset at;
	int err = map_ring(map, &at, fd, kind, size);

	if (err)
		return err;
	*r = (struct xsk_ring_prod){
		.mask = size - 1,
		.size = size,
		.cached_cons = size,
		.producer = (void *)(map->at + at.producer),
		.consumer = (void *)(map->at + at.consumer),
		.ring = (void *)(map->at + at.desc),
		.flags = (void *)(map->at + at.flags),
	};
	return 0;
}

void umem_ring_close(struct umem_map *map)
{
	if (map->at)
		munmap(map->at, map->size);
	*map = (struct umem_map){0};
}
