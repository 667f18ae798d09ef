/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* vhost-user messages about the guest's memory. */
#include <errno.h>
#include <string.h>

#include "vm/vm_control.h"
#include "vm/vu_postcopy.h"
#include "vm/vu_request.h"

/* Rings in memory that had gone may be in what has come: vu_msg.c starts them, or says so. */
static void use_memory(struct vm_control *c, struct vu_mem *mem)
{
	unsigned i;

	vu_mem_free(c->mem);
	c->mem = mem;
	for (i = 0; i < c->n_rings; i++)
		c->ring[i].misplaced = false;
}

int msg_set_mem_table(struct request *q)
{
	struct vu_mem *mem;
	int ret;

	ret = vu_mem_new(&mem, &q->m->payload.memory, q->m->fd, q->m->n_fds);
	if (ret == -EINVAL)
		return msg_refuse(q, "its %u regions overlap, wrap around or exceed their files",
				  q->m->payload.memory.n);
	if (ret)
		return msg_refuse(q, "can't map guest memory: %s", strerror(-ret));
	if (q->c->postcopy)
		vu_postcopy_drop_table(q->c->postcopy);
	use_memory(q->c, mem);
	return msg_postcopy_table(q);
}

int msg_get_max_mem_slots(struct request *q)
{
	msg_reply_u64(q, VU_REGIONS_MAX);
	return 0;
}

/*
 * How often more the region that the message is about was added, or NULL if it isn't there.
 * QEMU 7.2 says each region once for each pair of queues, when it comes and when it goes: it stays
 * until the last pair is without it. No worker reads the count, so it may be changed in place.
 */
static unsigned *again_of(struct request *q)
{
	const struct vu_region *r = vu_mem_same(q->c->mem, &q->m->payload.one.region);

	return r ? &q->c->mem->region[r - q->c->mem->region].again : NULL;
}

int msg_add_mem_reg(struct request *q)
{
	const struct vu_mem *old = q->c->mem;
	unsigned *again = again_of(q);
	struct vu_mem *mem;
	int ret;

	if (again && *again + 1 < q->c->n_rings / 2) {
		++*again;
		return 0;
	}
	if (old && old->n == VU_REGIONS_MAX)
		return msg_refuse(q, "there are %u regions already", VU_REGIONS_MAX);
	ret = vu_mem_add(&mem, old, &q->m->payload.one.region, q->m->fd[0]);
	if (ret == -EINVAL)
		return msg_refuse(q, "the region overlaps another, wraps around or exceeds its "
				     "file");
	if (ret)
		return msg_refuse(q, "can't map guest memory: %s", strerror(-ret));
	use_memory(q->c, mem);
	return 0;
}

int msg_rem_mem_reg(struct request *q)
{
	unsigned *again = again_of(q);
	struct vu_mem *mem;
	int ret;

	if (again && *again) {
		--*again;
		return 0;
	}
	ret = vu_mem_del(&mem, q->c->mem, &q->m->payload.one.region);
	if (ret == -ENOENT)
		return msg_refuse(q, "there is no such region");
	if (ret)
		return msg_refuse(q, "%s", strerror(-ret));
	use_memory(q->c, mem);
	return 0;
}
