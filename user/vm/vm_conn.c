/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A VM's connection: how its front-end comes, who is heard, and what goes when it goes. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "control/loop.h"
#include "vm/vm_control.h"
#include "vm/vm_transfer.h"
#include "vm/vu_back.h"
#include "vm/vu_close.h"
#include "vm/vu_inflight.h"
#include "vm/vu_log.h"
#include "vm/vu_msg.h"

/*
 * Theory of operation
 *
 * One front-end at a time. As the server we listen, and the newest wins, since an older one may
 * hang; but only when it has said something: whoever merely connects, to see if the socket is
 * alive, must not unplug a running guest. Until then it waits as @pending, beside the one at work.
 *
 * As the client we call the front-end, which listens, again and again until it answers, and anew
 * whenever the connection has ended. The socket's file is its business. Calling costs one system
 * call, on a socket that is kept, so that hundreds of ports whose VMs are off cost next to nothing.
 *
 * Whoever started us may have made the connection and given us its end (fd=): that is one
 * front-end, and when it goes none can come again.
 *
 * When a front-end goes, for whatever reason, nothing of it stays but the reason: rings stop,
 * memory is unmapped, all its file descriptors are closed, and the next connection starts from
 * scratch.
 */

#define MESSAGES_PER_TURN 32   /* then the other VMs have their turn */
#define RETRY_MS          1000 /* after accept() failed for want of resources */
#define DIAL_MS           500  /* between two calls of a front-end that doesn't answer */
#define DIAL_SOON_MS      1

static void on_conn(void *arg, uint32_t events);
static void on_pending(void *arg, uint32_t events);

void vm_disconnect(struct vm_control *c, const char *why)
{
	loop_unwatch(c->conn_watch);
	c->conn_watch = NULL;
	vu_back_close(c);
	vm_rings_forget(c);
	vu_log_free(c->log);
	c->log = NULL;
	if (c->log_fd >= 0)
		close(c->log_fd);
	c->log_fd = -1;
	__atomic_store_n(&c->vm->rarp, 0, __ATOMIC_RELAXED);
	vm_postcopy_free(c);
	vm_iotlb_close(c);
	vu_mem_free(c->mem);
	c->mem = NULL;
	vu_inflight_free(c->inflight);
	c->inflight = NULL;
	vm_transfer_free(c->transfer);
	c->transfer = NULL;
	c->moved_in = 0;
	c->has_features = false;
	c->features = 0;
	c->protocol_features = 0;
	c->status = 0;
	c->config_due = false;
	vm_set_mtu(c, 0);
	vu_conn_close(&c->conn);
	snprintf(c->ended, sizeof(c->ended), "%s", why);
	c->over = c->once;
	if (c->role == VM_CLIENT && c->dial_alarm)
		loop_alarm_set(c->dial_alarm, DIAL_MS);
}

static void close_pending(struct vm_control *c)
{
	loop_unwatch(c->pending_watch);
	c->pending_watch = NULL;
	vu_conn_close(&c->pending);
}

/* The pending connection becomes the one. It may hold a message that was read already. */
static int promote(struct vm_control *c)
{
	int ret;

	if (c->conn.fd >= 0) {
		vm_log(c, LOG_INFO, "a new front-end (pid %d) replaces the one of pid %d",
		       c->pending.pid, c->conn.pid);
		vm_disconnect(c, "a new front-end took its place");
	} else {
		vm_log(c, LOG_INFO, "front-end connected (pid %d)", c->pending.pid);
	}
	loop_unwatch(c->pending_watch);
	c->pending_watch = NULL;
	c->conn = c->pending;
	c->peer_is_qemu = vm_peer_is_qemu(c->conn.pid);
	c->pending.fd = -1;
	c->pending.have = 0;
	c->pending.msg.n_fds = 0;
	c->heard = false;
	c->asked = c->asked_protocol = 0;
	c->connections++;
	ret = loop_watch(c->loop, &c->conn_watch, c->conn.fd, EPOLLIN, on_conn, c);
	if (ret) {
		vm_log(c, LOG_WARN, "can't watch the connection: %s; closed", strerror(-ret));
		vm_disconnect(c, "vxsd had no memory to watch it");
	}
	return ret;
}

/* What it sends can't be closed in time, see vu_close.c. Sooner or later nobody had fds left. */
static bool has_too_many_fds(struct vm_control *c)
{
	if (!vu_close_is_stuck(c->vm->port.id))
		return false;
	if (!c->closed)
		vm_close_port(c, "its file descriptors can't be closed");
	return true;
}

/* Handles the message in c->conn. False: it ended the connection. */
static bool handle(struct vm_control *c)
{
	char why[256];

	c->heard = true;
	if (vu_msg_handle(c, why, sizeof(why))) {
		vm_log(c, LOG_WARN, "%s; connection closed", why);
		vm_disconnect(c, why);
		has_too_many_fds(c);
		return false;
	}
	return !has_too_many_fds(c);
}

static void on_conn(void *arg, uint32_t events)
{
	struct vm_control *c = arg;
	char why[sizeof(c->conn.why)];
	unsigned i;
	int ret;

	(void)events; /* errors and hang-ups show when we read */
	for (i = 0; i < MESSAGES_PER_TURN; i++) {
		ret = vu_conn_read(&c->conn);
		if (!ret)
			break;
		if (ret == -ENOTCONN) {
			vm_log(c, LOG_INFO, "front-end disconnected");
			vm_disconnect(c, "the front-end hung up");
			break;
		}
		if (ret < 0) {
			vm_log(c, LOG_WARN, "%s; connection closed", c->conn.why);
			memcpy(why, c->conn.why, sizeof(why));
			vm_disconnect(c, why);
			has_too_many_fds(c);
			break;
		}
		if (!handle(c))
			break;
	}
	vm_tell_change(c);
}

static void on_pending(void *arg, uint32_t events)
{
	struct vm_control *c = arg;
	int ret = vu_conn_read(&c->pending);

	(void)events;
	if (!ret)
		return;
	if (ret < 0) {
		if (ret != -ENOTCONN)
			vm_log(c, LOG_WARN, "second connection: %s; closed", c->pending.why);
		close_pending(c);
		has_too_many_fds(c);
		return;
	}
	if (!promote(c))
		handle(c);
	vm_tell_change(c);
}

static void on_retry(void *arg, uint32_t events)
{
	struct vm_control *c = arg;

	(void)events;
	loop_unwatch(c->retry_watch);
	c->retry_watch = NULL;
	loop_change(c->listen_watch, EPOLLIN);
}

/* Without a file descriptor to spare, the waiting peer would have us called again at once. */
static void accept_later(struct vm_control *c, int error)
{
	vm_log(c, LOG_WARN, "can't accept a front-end: %s", strerror(-error));
	if (!c->retry_watch && !loop_timer(c->loop, &c->retry_watch, RETRY_MS, on_retry, c))
		loop_change(c->listen_watch, 0);
}

static void on_listen(void *arg, uint32_t events)
{
	struct vm_control *c = arg;
	struct vu_conn *next = &c->pending;
	int ret;

	(void)events;
	close_pending(c);
	ret = vu_sock_accept(c->listen_fd, next);
	if (ret) {
		if (ret != -EAGAIN && ret != -ECONNABORTED && ret != -EINTR)
			accept_later(c, ret);
		return;
	}
	if (c->conn.fd < 0) {
		promote(c);
		vm_tell_change(c);
		return;
	}
	ret = loop_watch(c->loop, &c->pending_watch, next->fd, EPOLLIN, on_pending, c);
	if (ret) {
		vm_log(c, LOG_WARN, "can't watch a connection: %s; closed", strerror(-ret));
		close_pending(c);
	}
}

/* A call that isn't answered is told of once, and again when the reason is another. */
static void on_dial(void *arg, uint32_t events)
{
	struct vm_control *c = arg;
	int ret = 0;

	(void)events;
	if (!c->once)
		ret = vu_sock_dial(&c->dial_fd, c->socket);
	if (ret) {
		if (ret != c->dial_error)
			vm_log(c, LOG_INFO,
			       "no front-end answers on %s (%s): vxsd calls it again and again",
			       c->socket, strerror(-ret));
		c->dial_error = ret;
		loop_alarm_set(c->dial_alarm, DIAL_MS);
		return;
	}
	c->dial_error = 0;
	vu_conn_open(&c->pending, c->dial_fd);
	c->dial_fd = -1;
	promote(c);
	vm_tell_change(c);
}

/* A socket that whoever started us made: one that listens, or the one connection there will be. */
static int adopt(struct vm_control *c, const struct vm_options *opt)
{
	bool listens;
	int ret;

	ret = vu_sock_adopt(opt->name, opt->fd, &listens, c->socket, sizeof(c->socket));
	if (ret)
		return ret;
	if (listens) {
		c->listen_fd = opt->fd;
	} else {
		c->dial_fd = opt->fd;
		c->once = true;
	}
	return 0;
}

int vm_conn_open(struct vm_control *c, const struct vm_options *opt)
{
	int ret;

	c->role = opt->role;
	if (opt->fd)
		return adopt(c, opt);
	snprintf(c->socket, sizeof(c->socket), "%s", opt->socket);
	if (c->role == VM_CLIENT)
		return 0;
	ret = vu_sock_listen(opt->name, opt->socket);
	if (ret < 0)
		return ret;
	c->listen_fd = ret;
	c->made_socket = true;
	return 0;
}

int vm_conn_start(struct vm_control *c)
{
	int ret;

	if (c->listen_fd >= 0) {
		ret = loop_watch(c->loop, &c->listen_watch, c->listen_fd, EPOLLIN, on_listen, c);
	} else {
		ret = loop_alarm(c->loop, &c->dial_alarm, on_dial, c);
		if (!ret)
			loop_alarm_set(c->dial_alarm, DIAL_SOON_MS);
	}
	if (ret)
		log_error("vm %s: can't watch socket %s: %s", c->vm->port.name, c->socket,
			  strerror(-ret));
	return ret;
}

void vm_conn_stop(struct vm_control *c, const char *why)
{
	loop_unwatch(c->retry_watch);
	loop_unwatch(c->listen_watch);
	loop_unwatch(c->dial_alarm);
	c->retry_watch = c->listen_watch = c->dial_alarm = NULL;
	close_pending(c);
	vm_disconnect(c, why);
}

void vm_conn_close(struct vm_control *c)
{
	vm_conn_stop(c, "");
	if (c->made_socket)
		unlink(c->socket);
	if (c->listen_fd >= 0)
		close(c->listen_fd);
	if (c->dial_fd >= 0)
		close(c->dial_fd);
	c->listen_fd = c->dial_fd = -1;
}
