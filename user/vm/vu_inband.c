/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Notifications as messages instead of eventfds (INBAND_NOTIFICATIONS). */
#include "vm/vu_inband.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "control/loop.h"
#include "vm/vm_control.h"
#include "vm/vu_back.h"

/*
 * Workers know nothing of messages: they write to an eventfd, as ever, but it is ours, and control
 * reads it and sends a message. While the front-end doesn't read its channel, the eventfd keeps the
 * call, and all others of this ring: none is lost, and nothing grows.
 */
struct vu_inband {
	struct vm_control *c;
	unsigned index;
	int fd; /* the ring's call_fd */
	struct loop_watch *watch;
};

static int send_about(struct vm_control *c, uint32_t request, unsigned index)
{
	const struct vhost_user_vring_state state = {.index = index};

	return vu_back_send(c, request, &state, sizeof(state));
}

static void on_call(void *arg, uint32_t events)
{
	struct vu_inband *inband = arg;
	eventfd_t count;

	(void)events;
	/* first, since a call that comes while we send must be sent again */
	if (eventfd_read(inband->fd, &count))
		return;
	if (send_about(inband->c, VHOST_USER_BACKEND_VRING_CALL, inband->index)) {
		eventfd_write(inband->fd, 1);
		loop_change(inband->watch, 0); /* until vu_inband_resume() */
	}
}

bool vu_inband_is_on(const struct vm_control *c)
{
	return c->protocol_features >> VHOST_USER_PROTOCOL_F_INBAND_NOTIFICATIONS & 1;
}

int vu_inband_begin(struct vm_control *c, unsigned index)
{
	struct vm_ring *r = &c->ring[index];
	struct vu_inband *inband;
	int ret;

	if (r->call_fd >= 0 || !vu_inband_is_on(c))
		return 0;
	inband = calloc(1, sizeof(*inband));
	if (!inband)
		return -ENOMEM;
	inband->c = c;
	inband->index = index;
	inband->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	ret = inband->fd < 0 ? -errno : 0;
	if (!ret)
		ret = loop_watch(c->loop, &inband->watch, inband->fd, EPOLLIN, on_call, inband);
	if (ret) {
		if (inband->fd >= 0)
			close(inband->fd);
		free(inband);
		return ret;
	}
	r->call_fd = inband->fd;
	r->inband = inband;
	return 0;
}

void vu_inband_end(struct vu_inband *inband)
{
	if (!inband)
		return;
	loop_unwatch(inband->watch);
	free(inband);
}

void vu_inband_resume(struct vm_control *c)
{
	unsigned i;

	for (i = 0; i < c->n_rings; i++)
		if (c->ring[i].inband)
			loop_change(c->ring[i].inband->watch, EPOLLIN);
}

bool vu_inband_err(struct vm_control *c, unsigned index)
{
	return !vu_inband_is_on(c) || !send_about(c, VHOST_USER_BACKEND_VRING_ERR, index);
}
