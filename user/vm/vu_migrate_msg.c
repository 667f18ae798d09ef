/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* vhost-user messages about a live migration: the dirty log, and the word to the new network. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "switch/worker.h"
#include "vm/vm_control.h"
#include "vm/vu_log.h"
#include "vm/vu_request.h"

/*
 * The answer is a u64, as libvhost-user's: front-ends that expect an acknowledgement read it as 0,
 * and QEMU reads whatever comes. It comes when all rings write to the new log only.
 */
int msg_set_log_base(struct request *q)
{
	const struct vhost_user_log *said = &q->m->payload.log;
	struct vu_log *log;
	int ret;

	ret = vu_log_new(&log, said, q->m->fd[0]);
	if (ret == -EINVAL)
		return msg_refuse(q,
				  "%" PRIu64 " bytes at offset %" PRIu64 " are no part of the file",
				  said->size, said->offset);
	if (ret)
		return msg_refuse(q, "can't map the dirty log: %s", strerror(-ret));
	vu_log_free(q->c->log);
	q->c->log = log;
	msg_reply_u64(q, 0);
	return 0;
}

/* Workers write to it after a batch that set new bits. The rings rest meanwhile. */
int msg_set_log_fd(struct request *q)
{
	struct vm_control *c = q->c;

	if (!msg_fd_is_eventfd(q->m->fd[0]))
		return msg_refuse(q, "the file descriptor is not an eventfd");
	if (c->log_fd >= 0)
		close(c->log_fd);
	c->log_fd = vu_message_take_fd(q->m, 0);
	fcntl(c->log_fd, F_SETFL, O_NONBLOCK); /* a full counter must not make a worker wait */
	return 0;
}

/*
 * After a migration QEMU asks for this on behalf of a guest that can't announce itself, several
 * times, and at first before the guest's rings run. One that no worker has sent yet gives way to
 * the next, so there is never more than one on its way.
 */
int msg_send_rarp(struct request *q)
{
	const uint8_t *mac = (const uint8_t *)&q->m->payload.u64;
	struct port *p = &q->c->vm->port;
	uint64_t rarp = 0;

	memcpy(&rarp, mac, 6);
	if (!rarp || mac[0] & 1) {
		q->refused = true;
		vm_log(q->c, LOG_WARN,
		       "the front-end wants %02x:%02x:%02x:%02x:%02x:%02x announced, which is no "
		       "station's address",
		       mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]);
		return 0;
	}
	__atomic_store_n(&q->c->vm->rarp, rarp, __ATOMIC_RELAXED);
	worker_wake(p->worker[0]);
	return 0;
}
