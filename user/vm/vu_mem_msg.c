/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* vhost-user messages about the guest's memory. */
#include <errno.h>
#include <string.h>

#include "vm/vm_control.h"
#include "vm/vu_request.h"

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
	vu_mem_free(q->c->mem);
	q->c->mem = mem;
	return 0;
}

int msg_get_max_mem_slots(struct request *q)
{
	return msg_refuse(q, "is not built yet");
}

int msg_add_mem_reg(struct request *q)
{
	return msg_refuse(q, "is not built yet");
}

int msg_rem_mem_reg(struct request *q)
{
	return msg_refuse(q, "is not built yet");
}

int msg_iotlb(struct request *q)
{
	return msg_refuse(q, "is not built yet");
}
