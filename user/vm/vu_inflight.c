/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Makes and maps the memory that outlives a back-end. Control thread only. */
#include "vm/vu_inflight.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vhost_user.h"
#include "vm/vu_mem.h"

static uint64_t region_size(unsigned queue_size, bool packed)
{
	uint64_t size = packed ? sizeof(struct vu_inflight_packed) +
					 queue_size * sizeof(struct vu_inflight_packed_desc)
			       : sizeof(struct vu_inflight_split) +
					 queue_size * sizeof(struct vu_inflight_split_desc);

	return (size + VU_INFLIGHT_ALIGN - 1) / VU_INFLIGHT_ALIGN * VU_INFLIGHT_ALIGN;
}

uint64_t vu_inflight_size(unsigned n_queues, unsigned queue_size, bool packed)
{
	return n_queues * region_size(queue_size, packed);
}

static int need(struct vu_inflight **f)
{
	if (*f)
		return 0;
	*f = calloc(1, sizeof(**f));
	if (!*f)
		return -ENOMEM;
	(*f)->fd = -1;
	return 0;
}

int vu_inflight_make(struct vu_inflight **f, uint64_t size)
{
	int fd, ret;

	ret = need(f);
	if (ret)
		return ret;
	fd = memfd_create("vxs-inflight", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return -errno;
	if (ftruncate(fd, size) < 0 ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0) {
		ret = -errno;
		close(fd);
		return ret;
	}
	if ((*f)->fd >= 0)
		close((*f)->fd);
	(*f)->fd = fd;
	return 0;
}

int vu_inflight_map(struct vu_inflight **f, const struct vhost_user_inflight *wanted, int fd,
		    bool packed, bool *same)
{
	struct vhost_user_memory table = {.n = 1};
	struct vu_mem *mem;
	struct stat st;
	int ret;

	if (wanted->mmap_size < vu_inflight_size(wanted->n_queues, wanted->queue_size, packed) ||
	    wanted->mmap_offset % VU_INFLIGHT_ALIGN)
		return -EINVAL;
	/* A guest's memory is a file of somebody else, too, and is guarded in the same way. */
	table.region[0].size = wanted->mmap_size;
	table.region[0].mmap_offset = wanted->mmap_offset;
	ret = vu_mem_new(&mem, &table, &fd, 1);
	if (ret)
		return ret;
	/* only now it is known to be a file that answers at once */
	ret = fstat(fd, &st) < 0 ? -errno : need(f);
	if (ret) {
		vu_mem_free(mem);
		return ret;
	}
	*same = (*f)->mem && (*f)->dev == st.st_dev && (*f)->ino == st.st_ino;
	vu_mem_free((*f)->mem);
	(*f)->mem = mem;
	(*f)->n_queues = wanted->n_queues;
	(*f)->queue_size = wanted->queue_size;
	(*f)->packed = packed;
	(*f)->dev = st.st_dev;
	(*f)->ino = st.st_ino;
	return 0;
}

void *vu_inflight_region(const struct vu_inflight *f, unsigned index, bool packed, unsigned size)
{
	if (!f || !f->mem || index >= f->n_queues || size > f->queue_size || packed != f->packed)
		return NULL;
	return f->mem->region[0].at + index * region_size(f->queue_size, packed);
}

void vu_inflight_use_split(struct vu_inflight_split *region, unsigned size)
{
	region->features = 0;
	region->desc_num = size;
	__atomic_store_n(&region->version, VU_INFLIGHT_VERSION, __ATOMIC_RELEASE);
}

bool vu_inflight_is_lost(const struct vu_inflight *f)
{
	return f && f->mem && vu_mem_is_lost(f->mem);
}

void vu_inflight_free(struct vu_inflight *f)
{
	if (!f)
		return;
	vu_mem_free(f->mem);
	if (f->fd >= 0)
		close(f->fd);
	free(f);
}
