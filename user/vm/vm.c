/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A VM's port from the outside: its socket, the front-end's connection, and what users see of it.
 */
#include "vm/vm.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "control/loop.h"
#include "switch/fdb.h"
#include "switch/rcu.h"
#include "vm/vm_control.h"
#include "vm/vu_back.h"
#include "vm/vu_log.h"
#include "vm/vm_transfer.h"
#include "vm/vu_inflight.h"
#include "vm/vu_msg.h"

/*
 * Theory of operation
 *
 * One front-end at a time. The newest wins, since an older one may hang; but only when it has said
 * something: whoever merely connects, to see if the socket is alive, must not unplug a running
 * guest. Until then it waits as @pending, beside the one at work.
 *
 * When a front-end goes, for whatever reason, nothing of it stays: rings stop, memory is unmapped,
 * all its file descriptors are closed, and the next connection starts from scratch.
 */

#define MESSAGES_PER_TURN 32   /* then the other VMs have their turn */
#define LOG_BURST         20   /* lines a VM may log at once, */
#define LOG_EVERY_MS      1000 /* and how often one more */
#define RETRY_MS          1000 /* after accept() failed for want of resources */

static void on_conn(void *arg, uint32_t events);
static void on_pending(void *arg, uint32_t events);

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000ull + t.tv_nsec / 1000000;
}

/* A front-end that connects, errs and comes back in a loop must not fill the disk. */
static bool may_log(struct vm_control *c)
{
	uint64_t now = now_ms(), more = (now - c->log_at) / LOG_EVERY_MS;

	if (more) {
		c->log_room = more < LOG_BURST - c->log_room ? c->log_room + more : LOG_BURST;
		c->log_at = now;
	}
	if (!c->log_room) {
		c->log_left_out++;
		return false;
	}
	c->log_room--;
	return true;
}

void vm_log(struct vm_control *c, enum log_level level, const char *format, ...)
{
	char text[512];
	va_list args;

	if (!may_log(c))
		return;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (c->log_left_out)
		log_line(level, "vm %s: %s (%u earlier lines left out)", c->vm->port.name, text,
			 c->log_left_out);
	else
		log_line(level, "vm %s: %s", c->vm->port.name, text);
	c->log_left_out = 0;
}

int vm_set_mtu(struct vm_control *c, uint64_t mtu)
{
	uint32_t most = c->mtu_option ? c->mtu_option : VM_MTU_MAX;

	c->mtu_refused = 0;
	if (mtu && (mtu < VM_MTU_MIN || mtu > most)) {
		c->mtu_refused = mtu;
		return -EINVAL;
	}
	c->mtu_told = mtu;
	__atomic_store_n(&c->vm->mtu, mtu ? mtu : c->mtu_option, __ATOMIC_RELAXED);
	return 0;
}

const char *vm_mtu_remedy(struct vm_control *c)
{
	uint32_t most = c->mtu_option ? c->mtu_option : VM_MTU_MAX;
	bool possible = c->mtu_refused > most && c->mtu_refused <= VM_MTU_MAX;
	size_t len;

	len = snprintf(c->remedy, sizeof(c->remedy), "give it %u to %u (QEMU: host_mtu=)",
		       (unsigned)VM_MTU_MIN, most);
	if (possible)
		snprintf(c->remedy + len, sizeof(c->remedy) - len,
			 ", or add the port with mtu=%llu", (unsigned long long)c->mtu_refused);
	return c->remedy;
}

static void tell_change(struct vm_control *c)
{
	bool connected = c->conn.fd >= 0, running = vm_rings_run(c);
	uint32_t takes = running ? offload_guest_takes(c->features) : 0, mtu = c->vm->mtu;

	__atomic_store_n(&c->vm->port.takes, takes, __ATOMIC_RELAXED);
	if (connected == c->was_connected && running == c->was_running &&
	    c->in_changes == c->was_in_changes && mtu == c->was_mtu)
		return;
	c->was_mtu = mtu;
	c->was_connected = connected;
	c->was_running = running;
	c->was_in_changes = c->in_changes;
	if (c->changed)
		c->changed(c->changed_arg, c->vm);
}

/* Forgets the front-end and all that it gave us. */
static void disconnect(struct vm_control *c)
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
	c->peer_is_qemu = false;
	c->config_due = false;
	vm_set_mtu(c, 0);
	vu_conn_close(&c->conn);
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
		disconnect(c);
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
	c->connections++;
	ret = loop_watch(c->loop, &c->conn_watch, c->conn.fd, EPOLLIN, on_conn, c);
	if (ret) {
		vm_log(c, LOG_WARN, "can't watch the connection: %s; closed", strerror(-ret));
		disconnect(c);
	}
	return ret;
}

/* Handles the message in c->conn. False: it ended the connection. */
static bool handle(struct vm_control *c)
{
	char why[256];

	if (vu_msg_handle(c, why, sizeof(why))) {
		vm_log(c, LOG_WARN, "%s; connection closed", why);
		disconnect(c);
		return false;
	}
	return true;
}

static void on_conn(void *arg, uint32_t events)
{
	struct vm_control *c = arg;
	unsigned i;
	int ret;

	(void)events; /* errors and hang-ups show when we read */
	for (i = 0; i < MESSAGES_PER_TURN; i++) {
		ret = vu_conn_read(&c->conn);
		if (!ret)
			break;
		if (ret < 0) {
			if (ret == -ENOTCONN)
				vm_log(c, LOG_INFO, "front-end disconnected");
			else
				vm_log(c, LOG_WARN, "%s; connection closed", c->conn.why);
			disconnect(c);
			break;
		}
		if (!handle(c))
			break;
	}
	tell_change(c);
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
		return;
	}
	if (!promote(c))
		handle(c);
	tell_change(c);
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
		tell_change(c);
		return;
	}
	ret = loop_watch(c->loop, &c->pending_watch, next->fd, EPOLLIN, on_pending, c);
	if (ret) {
		vm_log(c, LOG_WARN, "can't watch a connection: %s; closed", strerror(-ret));
		close_pending(c);
	}
}

static void init_port(struct vm *vm, const struct vm_options *opt, uint32_t id,
		      struct vxs_port_stats *stats)
{
	struct port *p = &vm->port;

	p->ops = &vm_port_ops;
	p->id = id;
	p->kind = VXS_KIND_VM;
	p->n_in = opt->queues;
	p->learn = true;
	p->fix_mac = fdb_mac(opt->mac);
	p->stats = stats;
	snprintf(p->name, sizeof(p->name), "%s", opt->name);
}

int vm_new(struct vm **out, struct loop *loop, const struct vm_options *opt, uint32_t id,
	   struct vxs_port_stats *stats)
{
	struct vm_control *c;
	struct vm *vm;
	int ret;

	if (opt->mtu && (opt->mtu < VM_MTU_MIN || opt->mtu > VM_MTU_MAX)) {
		log_error("vm %s: an MTU of %u, %u to %u are possible: change mtu=", opt->name,
			  opt->mtu, VM_MTU_MIN, VM_MTU_MAX);
		return -EINVAL;
	}
	if (opt->queues < 1 || opt->queues > PORT_QUEUES_MAX) {
		log_error("vm %s: %u queue pairs, 1 to %u are possible: change queues=", opt->name,
			  opt->queues, PORT_QUEUES_MAX);
		return -EINVAL;
	}
	vm = calloc(1, sizeof(*vm));
	c = calloc(1, sizeof(*c));
	if (!vm || !c) {
		log_error("vm %s: out of memory", opt->name);
		free(vm);
		free(c);
		return -ENOMEM;
	}
	init_port(vm, opt, id, stats);
	vm->control = c;
	c->vm = vm;
	c->loop = loop;
	c->n_rings = 2 * opt->queues;
	c->offloads = opt->offloads;
	c->ring_reset = opt->ring_reset;
	c->postcopy_option = opt->postcopy;
	c->mtu_option = opt->mtu;
	memcpy(c->mac, opt->mac, sizeof(c->mac));
	c->link = (struct vm_link)VM_LINK_UNKNOWN;
	c->was_mtu = vm->mtu = opt->mtu;
	c->conn.fd = c->pending.fd = c->listen_fd = c->log_fd = -1;
	c->log_room = LOG_BURST;
	c->log_at = now_ms();
	vm_rings_init(c);
	ret = vu_sock_listen(opt->name, opt->socket);
	if (ret < 0) {
		vm_free(vm);
		return ret;
	}
	snprintf(c->socket, sizeof(c->socket), "%s", opt->socket);
	c->listen_fd = ret;
	*out = vm;
	return 0;
}

int vm_listen(struct vm *vm)
{
	struct vm_control *c = vm->control;
	int ret;

	ret = loop_watch(c->loop, &c->listen_watch, c->listen_fd, EPOLLIN, on_listen, c);
	if (ret)
		log_error("vm %s: can't watch socket %s: %s", vm->port.name, c->socket,
			  strerror(-ret));
	return ret;
}

void vm_free(struct vm *vm)
{
	struct vm_control *c;

	if (!vm)
		return;
	c = vm->control;
	loop_unwatch(c->retry_watch);
	loop_unwatch(c->listen_watch);
	close_pending(c);
	disconnect(c);
	if (c->listen_fd >= 0) {
		unlink(c->socket);
		close(c->listen_fd);
	}
	/* A worker may still be looking at the port that its owner has just unpublished. */
	rcu_wait();
	free(c);
	free(vm);
}

void vm_on_change(struct vm *vm, void (*changed)(void *arg, struct vm *vm), void *arg)
{
	vm->control->changed = changed;
	vm->control->changed_arg = arg;
}

void vm_on_move(struct vm *vm, const struct vm_carrier *carrier, void *arg)
{
	vm->control->carrier = carrier;
	vm->control->carrier_arg = arg;
}

/* Whoever does this once would do it again: each time it costs all VMs half a second. */
static void close_port(struct vm_control *c)
{
	c->closed = true;
	loop_unwatch(c->retry_watch);
	loop_unwatch(c->listen_watch);
	c->retry_watch = c->listen_watch = NULL;
	close_pending(c);
	disconnect(c);
	log_warn("vm %s: closed: the front-end's eventfd made vxsd wait, which only a hostile one "
		 "does; `vxsctl port del` and `port add` open it again",
		 c->vm->port.name);
	tell_change(c);
}

void vm_broken(struct vm *vm)
{
	struct vm_control *c = vm->control;

	if ((c->mem && vu_mem_is_lost(c->mem)) || vu_inflight_is_lost(c->inflight)) {
		vm_log(c, LOG_WARN,
		       "the guest's memory is gone (its file was cut short, or the file system is "
		       "full); connection closed");
		disconnect(c);
		tell_change(c);
		return;
	}
	if (c->log && vu_log_is_lost(c->log)) {
		vm_log(c, LOG_WARN,
		       "the dirty log is gone (its file was cut short, or the file system is "
		       "full): "
		       "a migration would lose memory; connection closed");
		disconnect(c);
		tell_change(c);
		return;
	}
	vm_rings_tell_broken(c);
	vm_rings_want_again(c);
	if (c->offended && !c->closed)
		close_port(c);
	tell_change(c);
}
