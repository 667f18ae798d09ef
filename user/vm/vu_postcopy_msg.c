/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* vhost-user messages about post-copy migration. */
#include "vm/vu_postcopy.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "vm/vm_control.h"
#include "vm/vu_request.h"

/*
 * As QEMU has it, at the guest's new place: ADVISE, when a migration begins that may become one of
 * this kind; LISTEN, when it does; then SET_MEM_TABLE, which is answered with our addresses, and
 * acknowledged by another SET_MEM_TABLE that consists of a zero; rings as ever; END, when all of
 * the memory is there. A migration that needs no post-copy has an ordinary SET_MEM_TABLE after
 * ADVISE, and no END.
 */

int msg_postcopy_advise(struct request *q)
{
	int ret;

	if (q->c->postcopy)
		return msg_refuse(q, "a post-copy migration is under way already");
	ret = vm_postcopy_new(q->c);
	if (ret)
		return msg_refuse(q, "can't watch page faults: %s", strerror(-ret));
	q->reply_fd = vu_postcopy_fd(q->c->postcopy);
	msg_reply(q, 0);
	return 0;
}

int msg_postcopy_listen(struct request *q)
{
	if (!q->c->postcopy)
		return msg_refuse(q, "no POSTCOPY_ADVISE came before it");
	if (q->c->mem)
		return msg_refuse(q, "there is a memory table already");
	if (!vu_postcopy_listen(q->c->postcopy))
		return msg_refuse(q, "it came before");
	return 0;
}

int msg_postcopy_end(struct request *q)
{
	if (!q->c->postcopy || !vu_postcopy_listens(q->c->postcopy))
		return msg_refuse(q, "no POSTCOPY_LISTEN came before it");
	vm_postcopy_free(q->c);
	msg_reply_u64(q, 0);
	return 0;
}

int msg_postcopy_table(struct request *q)
{
	struct vm_control *c = q->c;
	int ret;

	if (!c->postcopy)
		return 0;
	if (!vu_postcopy_listens(c->postcopy)) {
		vm_postcopy_free(c);
		return 0;
	}
	ret = vu_postcopy_table(c->postcopy, c->mem, &q->m->payload.memory, q->m->fd);
	if (ret)
		return msg_refuse(q, "can't have its memory watched: %s", strerror(-ret));
	msg_reply(q, q->m->header.size);
	return 0;
}

int msg_postcopy_ack(struct request *q)
{
	int ret;

	if (q->m->header.request != VHOST_USER_SET_MEM_TABLE || q->m->header.size != 8 ||
	    q->m->n_fds)
		return msg_refuse(q, "before the post-copy memory table is acknowledged");
	if (q->m->payload.u64)
		return msg_refuse(q, "the post-copy memory table is refused with 0x%" PRIx64,
				  q->m->payload.u64);
	ret = vu_postcopy_ack(q->c->postcopy);
	if (ret)
		return msg_refuse(q, "can't have its memory watched: %s", strerror(-ret));
	return 0;
}
