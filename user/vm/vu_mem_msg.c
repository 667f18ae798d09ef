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

static int refuse_map(struct request *q, int error)
{
	if (error == -EMEDIUMTYPE)
		return msg_refuse(q, "guest memory in a file that is neither a memfd nor on tmpfs "
				     "or hugetlbfs");
	return msg_refuse(q, "can't map guest memory: %s", strerror(-error));
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
		return refuse_map(q, ret);
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
 * QEMU before 8.2 sends ADD_MEM_REG and REM_MEM_REG once for each pair of queues, on the one
 * connection that all of them have. So what is there already may come again, and what has gone
 * may be taken away: also after another region has come in its place.
 */
int msg_add_mem_reg(struct request *q)
{
	struct vu_mem *mem;
	int ret;

	ret = vu_mem_add(&mem, q->c->mem, &q->m->payload.one.region, q->m->fd[0]);
	if (ret == -ENOSPC)
		return msg_refuse(q, "there are %u regions already", VU_REGIONS_MAX);
	if (ret == -EINVAL)
		return msg_refuse(q, "the region overlaps another, wraps around or exceeds its "
				     "file");
	if (ret)
		return refuse_map(q, ret);
	use_memory(q->c, mem);
	return 0;
}

int msg_rem_mem_reg(struct request *q)
{
	struct vu_mem *mem;
	int ret;

	ret = vu_mem_del(&mem, q->c->mem, &q->m->payload.one.region);
	if (ret == -ENOENT)
		return 0;
	if (ret)
		return msg_refuse(q, "%s", strerror(-ret));
	use_memory(q->c, mem);
	return 0;
}
