/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Why a VM's port passes no traffic, in words, with the remedy where there is one. */
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vm/vm_control.h"

/*
 * Theory of operation
 *
 * The way of a frame begins with the connection and ends in the guest's driver, and the first thing
 * on it that is not as it should be is the answer. The last two can't be seen in any message:
 *
 * - QEMU passes file descriptors of memory that it has mapped privately (share=off), too. Then the
 *   guest writes to pages that we will never see, and its rings stay as empty as they were made;
 *   but it kicks us, and a kick eventfd's count tells of that. QEMU kicks once by itself.
 * - A driver starts its queues before its interface is up, and offers no buffer to receive into.
 */

#define KICKS_OF_QEMU 1 /* when it starts a queue, whatever its guest does (7.2) */

static const char *say(struct vm_control *c, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

static const char *say(struct vm_control *c, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(c->why_not, sizeof(c->why_not), format, args);
	va_end(args);
	return c->why_not;
}

/* QEMU leaves the guest's device stopped when its MTU is refused. */
static const char *why_mtu(struct vm_control *c)
{
	return say(c, "the front-end's MTU of %" PRIu64 " was refused: %s", c->mtu_refused,
		   vm_mtu_remedy(c));
}

static const char *why_not_connected(struct vm_control *c)
{
	if (c->over)
		return "the front-end's connection, which was given to vxsd, has ended";
	if (c->role == VM_SERVER)
		return say(c, "no front-end is connected to %s", c->socket);
	if (c->dial_error)
		return say(c, "no front-end answers on %s (%s)", c->socket,
			   strerror(-c->dial_error));
	return say(c, "no front-end is connected; the one on %s will be called in a moment",
		   c->socket);
}

/* How often an eventfd was signalled since somebody read it; we never do. */
static uint64_t count_kicks(int fd)
{
	char path[40], text[512];
	const char *at;
	ssize_t n = -1;
	int info;

	if (fd < 0)
		return 0;
	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	info = open(path, O_RDONLY | O_CLOEXEC);
	if (info >= 0) {
		n = read(info, text, sizeof(text) - 1);
		close(info);
	}
	text[n > 0 ? n : 0] = '\0';
	at = strstr(text, "eventfd-count:");
	return at ? strtoull(at + strlen("eventfd-count:"), NULL, 16) : 0;
}

/* The guest's driver has never offered a buffer, as far as we can see. Reads what it alone writes.
 */
static bool is_blank(const struct vq *q)
{
	static const struct vring_desc none;

	if (q->packed)
		return !guest_read64(&q->ring->addr);
	return !__atomic_load_n(&q->avail->idx, __ATOMIC_RELAXED) &&
	       !memcmp(q->desc, &none, sizeof(none));
}

/* Everything runs, as messages go: what does the guest's memory say? */
static const char *why_nothing_moves(struct vm_control *c)
{
	bool buffers = false;
	unsigned i;

	if (c->postcopy) /* who touches a page that has not come yet would wait for it */
		return NULL;
	for (i = 0; i < c->n_rings; i++) {
		const struct vq *q = c->ring[i].q;

		if (!q)
			continue;
		if (!is_blank(q))
			buffers |= !(i & 1);
		else if (count_kicks(c->ring[i].kick_fd) > KICKS_OF_QEMU)
			return say(c,
				   "the guest's memory is not shared (QEMU: memory-backend with "
				   "share=on): it notified us of queue %u, but that is empty",
				   i);
	}
	return buffers ? NULL
		       : "the guest offers no buffers to receive into: its network interface is "
			 "down, its driver not ready, or its memory not shared";
}

static const char *why_rings(struct vm_control *c)
{
	bool started[2] = {false, false}, enabled[2] = {false, false};
	unsigned i, idle[2] = {0, 0};

	for (i = 0; i < c->n_rings; i++) {
		const struct vq *q = c->ring[i].q;
		uint32_t broken = q ? __atomic_load_n(&q->broken, __ATOMIC_RELAXED) : VQ_OK;

		if (broken)
			return say(c, "queue %u broke: %s", i, vq_broken_text(broken));
		if (c->ring[i].absent)
			return say(c, "queue %u is in memory that is not there yet", i);
		if (c->ring[i].misplaced)
			return say(c, "queue %u is not in the guest's memory, or not aligned", i);
		if (!q)
			continue;
		started[i & 1] = true;
		if (vm_ring_is_enabled(c, i))
			enabled[i & 1] = true;
		else
			idle[i & 1] = i;
	}
	if ((!started[0] || !started[1]) && c->mtu_refused)
		return why_mtu(c);
	if (!started[0] && !started[1])
		return "the guest's driver has not started the queues";
	if (!started[0] || !started[1])
		return say(c, "the guest's driver has not started the queues %s it",
			   started[0] ? "from" : "to");
	if (!enabled[0] || !enabled[1])
		return say(c, "queue %u is not enabled", idle[enabled[0]]);
	return why_nothing_moves(c);
}

const char *vm_why_not(struct vm_control *c)
{
	if (c->closed)
		return "closed: its front-end made vxsd wait; delete the port and add it again";
	if (c->conn.fd < 0)
		return why_not_connected(c);
	if (!c->heard && c->role == VM_CLIENT)
		return "the front-end has not said anything yet: it may be busy with another "
		       "back-end";
	if (!c->heard)
		return "the front-end has not said anything yet";
	if (!c->mem && c->mtu_refused)
		return why_mtu(c);
	if (!c->mem && !c->has_features)
		return "the guest's driver has not started yet";
	if (!c->mem)
		return "the guest's memory is not shared (QEMU: memory-backend with share=on)";
	if (vm_iotlb_why(c))
		return vm_iotlb_why(c);
	return why_rings(c);
}
