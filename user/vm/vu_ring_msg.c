/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* vhost-user messages about one virtqueue. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "vm/vm_control.h"
#include "vm/vu_request.h"

int msg_set_vring_num(struct request *q)
{
	uint32_t num = q->m->payload.state.num;

	if (!num || num > 32768)
		return msg_refuse(q, "queue %u has size %u, not 1 to 32768", q->index, num);
	/* whether it must be a power of two, and what a base is, features say, which may follow */
	q->ring->size = num;
	q->ring->misplaced = false;
	return 0;
}

int msg_set_vring_addr(struct request *q)
{
	q->ring->addr = q->m->payload.addr;
	q->ring->has_addr = true;
	q->ring->misplaced = false;
	return 0;
}

int msg_set_vring_base(struct request *q)
{
	q->ring->base = q->m->payload.state.num;
	q->ring->has_base = true;
	return 0;
}

int msg_get_vring_base(struct request *q)
{
	vm_ring_stop(q->c, q->index);
	q->m->payload.state.num = q->ring->base;
	msg_reply(q, sizeof(q->m->payload.state));
	return 0;
}

int msg_set_vring_enable(struct request *q)
{
	uint32_t on = q->m->payload.state.num;

	if (on > 1)
		return msg_refuse(q, "queue %u is to be %u, not 0 or 1", q->index, on);
	vm_ring_enable(q->c, q->index, on);
	return 0;
}

bool msg_fd_is_eventfd(int fd)
{
	static const char want[] = "anon_inode:[eventfd]";
	char path[32], target[sizeof(want)];
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	n = readlink(path, target, sizeof(target));
	if (n < 0)
		return access("/proc/self/fd", F_OK) < 0;
	return n == sizeof(want) - 1 && !memcmp(target, want, n);
}

/* The eventfd of KICK, CALL and ERR; it stays the message's. -1 if there is none by intention. */
static int event_fd_of(struct request *q, int *fd)
{
	if (q->m->payload.u64 & ~(uint64_t)(VHOST_USER_VRING_INDEX_MASK | VHOST_USER_VRING_NOFD))
		return msg_refuse(q, "unknown bits in 0x%" PRIx64, q->m->payload.u64);
	*fd = -1;
	if (q->m->payload.u64 & VHOST_USER_VRING_NOFD)
		return 0;
	if (!q->m->n_fds)
		return msg_refuse(q, "queue %u: the eventfd is missing", q->index);
	if (!msg_fd_is_eventfd(q->m->fd[0]))
		return msg_refuse(q, "queue %u: the file descriptor is not an eventfd", q->index);
	*fd = q->m->fd[0];
	return 0;
}

int msg_set_vring_kick(struct request *q)
{
	int fd = -1, ret;

	ret = event_fd_of(q, &fd);
	if (ret)
		return ret;
	ret = vm_ring_set_kick(q->c, q->index, fd);
	if (ret)
		return msg_refuse(q, "queue %u: can't watch the eventfd: %s", q->index,
				  strerror(-ret));
	if (fd >= 0)
		vu_message_take_fd(q->m, 0);
	return 0;
}

int msg_set_vring_call(struct request *q)
{
	int fd = -1, ret;

	ret = event_fd_of(q, &fd);
	if (ret)
		return ret;
	if (fd >= 0)
		vu_message_take_fd(q->m, 0);
	ret = vm_ring_set_call(q->c, q->index, fd);
	if (ret)
		return msg_refuse(q, "queue %u: can't make an eventfd: %s", q->index,
				  strerror(-ret));
	return 0;
}

int msg_set_vring_err(struct request *q)
{
	int fd = -1, ret;

	ret = event_fd_of(q, &fd);
	if (ret)
		return ret;
	if (fd >= 0)
		vu_message_take_fd(q->m, 0);
	vm_ring_set_err(q->c, q->index, fd);
	return 0;
}

/* @num is reserved, and ignored. */
int msg_vring_kick(struct request *q)
{
	vm_ring_kick(q->c, q->index);
	return 0;
}
