/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A VM's port from the outside: its birth and end, its log, its MTU, and faults that end it. */
#include "vm/vm.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "switch/fdb.h"
#include "switch/rcu.h"
#include "vm/vm_control.h"
#include "vm/vu_fetch.h"
#include "vm/vu_inflight.h"
#include "vm/vu_log.h"
#include "vm/vu_postcopy.h"

#define LOG_BURST    20   /* lines a VM may log at once, */
#define LOG_EVERY_MS 1000 /* and how often one more */

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
		log_line(level, "vm %s: %s (%u earlier line%s left out)", c->vm->port.name, text,
			 c->log_left_out, c->log_left_out == 1 ? "" : "s");
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

void vm_tell_change(struct vm_control *c)
{
	bool connected = c->conn.fd >= 0, running = vm_rings_run(c), rests = vm_rings_rest(c);
	uint32_t takes = running ? offload_guest_takes(c->features) : 0, mtu = c->vm->mtu;

	__atomic_store_n(&c->vm->port.takes, takes, __ATOMIC_RELAXED);
	if (connected == c->was_connected && running == c->was_running && rests == c->did_rest &&
	    c->in_changes == c->was_in_changes && mtu == c->was_mtu)
		return;
	c->was_mtu = mtu;
	c->was_connected = connected;
	c->was_running = running;
	c->did_rest = rests;
	c->was_in_changes = c->in_changes;
	if (c->changed)
		c->changed(c->changed_arg, c->vm);
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
	if (opt->postcopy && (opt->queues > 1 || !vu_postcopy_is_possible()))
		log_warn("vm %s: post-copy is not offered: %s", opt->name,
			 opt->queues > 1 ? "QEMU can't with several queues; take postcopy= or "
					   "queues= away"
					 : "this kernel has no userfaultfd for shared memory");
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
	c->conn.fd = c->pending.fd = c->listen_fd = c->dial_fd = c->log_fd = -1;
	c->conn.msg.port = c->pending.msg.port = id;
	c->log_room = LOG_BURST;
	c->log_at = now_ms();
	vm_rings_init(c);
	ret = vm_conn_open(c, opt);
	if (ret) {
		vm_free(vm);
		return ret;
	}
	*out = vm;
	return 0;
}

int vm_listen(struct vm *vm)
{
	return vm_conn_start(vm->control);
}

void vm_free(struct vm *vm)
{
	struct vm_control *c;

	if (!vm)
		return;
	c = vm->control;
	vm_conn_close(c);
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
void vm_close_port(struct vm_control *c, const char *why)
{
	c->closed = true;
	vm_conn_stop(c, why);
	log_warn("vm %s: closed: %s, which only a hostile front-end does; `vxsctl port del` and "
		 "`port add` open it again",
		 c->vm->port.name, why);
	vm_tell_change(c);
}

void vm_hang_up(struct vm_control *c, const char *why)
{
	vm_log(c, LOG_WARN, "%s; connection closed", why);
	vm_disconnect(c, why);
	vm_tell_change(c);
}

void vm_broken(struct vm *vm)
{
	struct vm_control *c = vm->control;

	vu_fetch_reap();
	if ((c->mem && vu_mem_is_lost(c->mem)) || vu_inflight_is_lost(c->inflight)) {
		vm_log(c, LOG_WARN,
		       "the guest's memory is gone (its file was cut short, or the file system is "
		       "full); connection closed");
		vm_disconnect(c, "the guest's memory was gone: its file was cut short, or the "
				 "file system is full");
		vm_tell_change(c);
		return;
	}
	if (c->log && vu_log_is_lost(c->log)) {
		vm_log(c, LOG_WARN,
		       "the dirty log is gone (its file was cut short, or the file system is "
		       "full): "
		       "a migration would lose memory; connection closed");
		vm_disconnect(c, "the dirty log was gone: its file was cut short, or the file "
				 "system is full");
		vm_tell_change(c);
		return;
	}
	vm_rings_tell_broken(c);
	vm_rings_want_again(c);
	if (c->offended && !c->closed)
		vm_close_port(c, "its eventfd made vxsd wait");
	vm_tell_change(c);
}
