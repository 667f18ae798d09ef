/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The back-end channel: requests to the front-end, on a socket that it gave us. */
#include "vm/vu_back.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "control/loop.h"
#include "vm/vm_control.h"
#include "vm/vu_close.h"
#include "vm/vu_config.h"
#include "vm/vu_inband.h"

/*
 * Theory of operation
 *
 * What we send are hints that the front-end may miss: the room for them is the socket's, and if the
 * front-end doesn't read, a request is dropped. Nothing is queued here, so a front-end that hangs
 * costs no memory, and one that is merely stopped for a while keeps its connection. Who must not
 * lose a request tries again when there is room.
 *
 * Requests ask for no reply, so that nothing may come. Nothing is ever read either: the front-end
 * may hold the other end of this very file, and whoever is in the middle of a read from it keeps
 * out all other readers, for as long as a page of his buffer takes to come: that may be for ever,
 * and no flag spares us the wait. Polling and sending take no part in that. So what comes ends the
 * channel, and with it goes what was not read, file descriptors and all.
 */

struct vu_back {
	struct vm_control *c;
	int fd;
	struct loop_watch *watch;
	bool full;      /* waits for room */
	bool full_told; /* a front-end that doesn't read is logged once */
};

#define WATCHED (EPOLLIN | EPOLLRDHUP)

/* Options of a socket are read in place; anything else that has none is no socket. */
static bool is_option(int fd, int option, int want)
{
	socklen_t len = sizeof(int);
	int value;

	return !getsockopt(fd, SOL_SOCKET, option, &value, &len) && value == want;
}

static bool is_connected_socket(int fd)
{
	return is_option(fd, SO_DOMAIN, AF_UNIX) && is_option(fd, SO_TYPE, SOCK_STREAM) &&
	       is_option(fd, SO_ACCEPTCONN, 0);
}

static void on_event(void *arg, uint32_t events)
{
	struct vu_back *b = arg;
	struct vm_control *c = b->c;

	if (events & (EPOLLHUP | EPOLLRDHUP | EPOLLERR)) {
		vm_log(c, vu_inband_is_on(c) ? LOG_WARN : LOG_DEBUG,
		       "the front-end has closed its back-end channel");
		vu_back_close(c);
	} else if (events & EPOLLIN) {
		vm_log(c, LOG_WARN,
		       "a reply that nobody asked for on the back-end channel; channel closed");
		vu_back_close(c);
	} else if (events & EPOLLOUT) {
		b->full = false;
		loop_change(b->watch, WATCHED);
		vu_inband_resume(c);
		vu_config_resume(c);
	}
}

int vu_back_open(struct vm_control *c, int fd)
{
	struct vu_back *b;
	int ret;

	if (!is_connected_socket(fd))
		return -ENOTSOCK;
	b = calloc(1, sizeof(*b));
	if (!b)
		return -ENOMEM;
	b->c = c;
	ret = loop_watch(c->loop, &b->watch, fd, WATCHED, on_event, b);
	if (ret) {
		free(b);
		return ret;
	}
	b->fd = fd;
	vu_back_close(c);
	c->back = b;
	vu_inband_resume(c);
	vu_config_resume(c);
	return 0;
}

void vu_back_close(struct vm_control *c)
{
	struct vu_back *b = c->back;

	if (!b)
		return;
	c->back = NULL;
	loop_unwatch(b->watch);
	vu_close_socket(c->vm->port.id, b->fd);
	free(b);
}

static void wait_for_room(struct vu_back *b)
{
	if (!b->full_told)
		vm_log(b->c, LOG_WARN,
		       "the front-end doesn't read its back-end channel; requests are dropped");
	b->full = b->full_told = true;
	loop_change(b->watch, WATCHED | EPOLLOUT);
}

int vu_back_send(struct vm_control *c, uint32_t request, const void *payload, uint32_t size)
{
	struct vhost_user_header header = {
		.request = request, .flags = VHOST_USER_VERSION, .size = size};
	struct iovec iov[2] = {
		{.iov_base = &header, .iov_len = sizeof(header)},
		{.iov_base = (void *)payload, .iov_len = size},
	};
	struct msghdr hdr = {.msg_iov = iov, .msg_iovlen = 2};
	struct vu_back *b = c->back;
	ssize_t n;

	if (!b)
		return -ENOTCONN;
	if (b->full)
		return -EAGAIN;
	do {
		n = sendmsg(b->fd, &hdr, MSG_DONTWAIT | MSG_NOSIGNAL);
	} while (n < 0 && errno == EINTR);
	if (n == (ssize_t)(sizeof(header) + size))
		return 0;
	if (n < 0 && errno == EAGAIN) {
		wait_for_room(b);
		return -EAGAIN;
	}
	/* a stream that ends within a request can't be mended; on_event() sees its end */
	shutdown(b->fd, SHUT_RDWR);
	return -ENOTCONN;
}
