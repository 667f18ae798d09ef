/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Ports come and go while frames flow. Control thread only. */

/*
 * Workers see two things of a port: its place in the port table (who gets floods, who has which
 * number) and its queues in their lists of sources. Both are made anew for each change, published
 * together, and the old ones are freed once every worker has passed a quiet point; what can fail
 * (memory) fails before anything is published.
 *
 * A port goes in the reverse order of its coming: first no worker knows it any more, then what
 * workers had still reported of it is read and ignored, then its addresses are forgotten, and only
 * then is it freed and its number fit for use by another.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/balance.h"
#include "control/daemon.h"
#include "control/log.h"
#include "control/workers.h"
#include "switch/rcu.h"
#include "vm/vm_control.h"

static void table_add(struct port_table *t, struct port *p)
{
	t->all[t->n++] = p;
	t->by_id[p->id] = p;
}

static struct port_table *table_of(const struct daemon *d)
{
	struct port_table *t = calloc(1, sizeof(*t));
	unsigned id;

	if (!t)
		return NULL;
	if (d->nic)
		table_add(t, nic_port(d->nic));
	if (d->host)
		table_add(t, host_port(d->host));
	for (id = VXS_PORT_VM; id < VXS_PORTS_MAX; id++)
		if (d->vm[id])
			table_add(t, &d->vm[id]->port);
	return t;
}

int daemon_publish(struct daemon *d)
{
	struct port_table *was = d->sw.ports, *t = table_of(d);
	struct worker_plan plan;
	int err;

	if (!t)
		return -ENOMEM;
	err = workers_plan(d, t, &plan, PLAN_ALL);
	if (err) {
		free(t);
		return err;
	}
	rcu_set(d->sw.ports, t);
	workers_swap(d, &plan);
	rcu_wait();
	workers_plan_free(&plan);
	free(was);
	return 0;
}

void daemon_unpublish_all(struct daemon *d)
{
	struct worker_plan none = {.n = d->n_workers};
	struct port_table *was = d->sw.ports;

	rcu_set(d->sw.ports, NULL);
	workers_swap(d, &none);
	rcu_wait();
	workers_plan_free(&none);
	free(was);
}

struct port *daemon_find_port(struct daemon *d, const char *name)
{
	unsigned id;

	if (d->nic && (!strcmp(name, "uplink") || !strcmp(name, nic_port(d->nic)->name)))
		return nic_port(d->nic);
	if (d->host && (!strcmp(name, "host") || !strcmp(name, host_port(d->host)->name)))
		return host_port(d->host);
	for (id = VXS_PORT_VM; id < VXS_PORTS_MAX; id++)
		if (d->vm[id] && !strcmp(name, d->vm[id]->port.name))
			return &d->vm[id]->port;
	return NULL;
}

/* One entry of the map "ports". */
void daemon_show_port(struct daemon *d, const struct port *p)
{
	struct vxs_port value = {.kind = p->kind, .queues = p->n_in};

	memcpy(value.name, p->name, sizeof(value.name));
	if (p->kind == VXS_KIND_VM) {
		struct vm_state state;

		vm_state(d->vm[p->id], &state);
		value.up = state.running;
		memcpy(value.mac, &p->fix_mac, 6);
	} else {
		struct nic_state state;

		nic_state(d->nic, &state);
		value.up = state.up;
		memcpy(value.mac, state.mac, 6);
	}
	tables_set_port(d->tables, p->id, &value);
}

/* What makes the uplink carry packets of @mtu bytes. UMEM frames keep the size of the start. */
static void mtu_remedy(const struct nic_state *nic, unsigned mtu, char *text, size_t size)
{
	const char *restart = mtu > nic->mtu_most ? "restart vxsd" : "";
	int len = 0;

	text[0] = '\0';
	if (mtu > nic->mtu_set)
		len = snprintf(text, size, "`ip link set %s mtu %u`%s", nic->ifname, mtu,
			       *restart ? " and " : "");
	snprintf(text + len, size - len, "%s", restart);
}

bool daemon_mtu_warning(const struct daemon *d, const struct vm *vm, char *text, size_t size)
{
	struct nic_state nic = {};
	char remedy[80];

	if (d->nic)
		nic_state(d->nic, &nic);
	if (!d->nic || vm->mtu <= nic.mtu)
		return false;
	mtu_remedy(&nic, vm->mtu, remedy, sizeof(remedy));
	snprintf(text, size,
		 "its MTU of %u is more than the uplink's %u: longer frames to the wire will be "
		 "dropped; %s, or give the port mtu=%u, and QEMU host_mtu=%u",
		 vm->mtu, nic.mtu, remedy, nic.mtu, nic.mtu);
	return true;
}

void daemon_check_mtu(struct daemon *d, struct vm *vm)
{
	struct vm_seen *seen = &d->seen[vm->port.id];
	struct nic_state nic = {};
	char text[256];

	if (d->nic)
		nic_state(d->nic, &nic);
	if (seen->mtu == vm->mtu && seen->mtu_uplink == nic.mtu)
		return;
	if (daemon_mtu_warning(d, vm, text, sizeof(text)))
		vm_log(vm->control, LOG_WARN, "%s", text);
	seen->mtu = vm->mtu;
	seen->mtu_uplink = nic.mtu;
}

static void tell_running(struct vm *vm, struct vm_seen *seen)
{
	seen->pairs = vm_count_running(vm);
	vm_log(vm->control, LOG_INFO, "running, %u queue pair%s", seen->pairs,
	       seen->pairs == 1 ? "" : "s");
}

/* There is one VM and no more. */
static bool is_alone(const struct daemon *d)
{
	unsigned id, n = 0;

	for (id = VXS_PORT_VM; id < VXS_PORTS_MAX; id++)
		n += !!d->vm[id];
	return n == 1;
}

/* A front-end came or went (which vm.c logs), told an MTU, or its queues began to run or stopped.
 */
static void on_change(void *arg, struct vm *vm)
{
	struct daemon *d = arg;
	struct vm_seen *seen = &d->seen[vm->port.id];
	struct vm_state state;
	bool running;

	if (d->vm[vm->port.id] != vm) /* it is being removed */
		return;
	vm_state(vm, &state);
	/* as a bridge does when a port's link goes down; the next front-end may be another guest */
	if (!state.connected || state.connections != seen->connections)
		daemon_forget_learned(d, vm->port.id);
	/* an IOMMU takes back all it has said, a hundred times a second, and says it again */
	running = state.running || (seen->running && state.rests);
	if (running && !seen->running)
		tell_running(vm, seen);
	else if (!running && seen->running && state.connected)
		vm_log(vm->control, LOG_INFO, "stopped");
	seen->running = running;
	seen->rests = state.rests;
	seen->rested &= state.rests;
	seen->connections = state.connections;
	daemon_check_mtu(d, vm);
	daemon_show_port(d, &vm->port);
	balance_soon(d);
	if (state.over && is_alone(d)) {
		log_info("vm %s: the connection that it was given has ended, and there is no other "
			 "VM: ending",
			 vm->port.name);
		loop_end(d->loop);
	}
}

/* Front-ends start their queues one by one: how many it came to is known a little later. */
void daemon_look_at_vm(struct daemon *d, struct vm *vm)
{
	struct vm_seen *seen = &d->seen[vm->port.id];
	struct vm_state state;

	if (!seen->running)
		return;
	if (!seen->rests) {
		if (vm_count_running(vm) != seen->pairs)
			tell_running(vm, seen);
		return;
	}
	if (seen->rested) {
		vm_state(vm, &state);
		vm_log(vm->control, LOG_INFO, "stopped: %s", state.why_not);
		seen->running = false;
	}
	seen->rested = !seen->rested;
}

/* Whether an address is spoken for: another VM's mac=, or the NIC's own. */
static const char *owner_of(struct daemon *d, uint64_t mac)
{
	unsigned id;

	if (d->nic_key && fdb_key_mac(d->nic_key) == mac)
		return "the host";
	for (id = VXS_PORT_VM; id < VXS_PORTS_MAX; id++)
		if (d->vm[id] && d->vm[id]->port.fix_mac == mac)
			return d->vm[id]->port.name;
	return NULL;
}

/* A refusal: to the user who asked, and to the log. */
__attribute__((format(printf, 4, 5))) static int refuse(char *err, size_t err_len, int error,
							const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(err, err_len, format, args);
	va_end(args);
	log_error("%s", err);
	return error;
}

static uint32_t free_number(const struct daemon *d)
{
	uint32_t id = VXS_PORT_VM;

	while (id < VXS_PORTS_MAX && d->vm[id])
		id++;
	return id;
}

static bool is_in_run_dir(const struct daemon *d, const char *path)
{
	char dir[108];

	return !run_dir_file(d->run_dir, dir, sizeof(dir), "", "") &&
	       !strncmp(path, dir, strlen(dir));
}

/* Refuses what would clash with what there is; fills in the socket's path. */
static int check_vm(struct daemon *d, struct vm_options *opt, char *err, size_t err_len)
{
	uint64_t mac = fdb_mac(opt->mac);
	const char *owner = mac ? owner_of(d, mac) : NULL;
	char text[18];

	if (daemon_find_port(d, opt->name) || !strcmp(opt->name, "uplink") ||
	    !strcmp(opt->name, "host"))
		return refuse(err, err_len, -EEXIST,
			      "port \"%s\": there is one of this name: choose another", opt->name);
	if (owner) {
		options_format_mac(opt->mac, text);
		return refuse(err, err_len, -EEXIST,
			      "port \"%s\": mac=%s is the address of %s: choose another", opt->name,
			      text, owner);
	}
	if (opt->role == VM_CLIENT && is_in_run_dir(d, opt->socket))
		return refuse(err, err_len, -EINVAL,
			      "port \"%s\": %s is in vxsd's own directory, which it tidies: have "
			      "the front-end listen elsewhere",
			      opt->name, opt->socket);
	if (!opt->fd && !opt->socket[0] &&
	    run_dir_file(d->run_dir, opt->socket, sizeof(opt->socket), opt->name, ".sock"))
		return refuse(err, err_len, -ENAMETOOLONG,
			      "port \"%s\": its socket's path would be too long: give socket=PATH "
			      "or a shorter --run-dir",
			      opt->name);
	if (free_number(d) >= VXS_PORTS_MAX)
		return refuse(err, err_len, -ENOSPC,
			      "port \"%s\": all %d ports are taken: delete one first", opt->name,
			      VXS_PORTS_MAX - VXS_PORT_VM);
	return 0;
}

/* Takes a VM apart, however much of it there is. No worker knows it any more. */
static void take_apart(struct daemon *d, struct vm *vm)
{
	static const struct vxs_port nobody;
	uint32_t id = vm->port.id;

	daemon_events(d); /* what workers had reported of it goes to nobody */
	daemon_forget_port(d, id);
	if (d->nic)
		nic_del_port(d->nic, id);
	vm_free(vm);
	tables_set_port(d->tables, id, &nobody);
	tables_clear_stats(d->tables, id);
	d->seen[id] = (struct vm_seen){};
}

/*
 * The steps after vm_new(). Publishing comes last, so that nothing can fail once workers know the
 * port; a front-end that connects meanwhile is only heard when control is back in its loop.
 */
static int join(struct daemon *d, struct vm *vm, const struct vm_options *opt)
{
	struct port *p = &vm->port;
	int ret = 0;

	p->fix_mac = fdb_mac(opt->mac);
	workers_assign(d, p);
	if (d->nic)
		ret = nic_add_port(d->nic, p->id, p->stats);
	if (d->nic && !ret && p->n_in > 1)
		nic_want_hash(d->nic);
	if (!ret && p->fix_mac)
		ret = daemon_set_address(d, fdb_key(p->fix_mac, 0), p->id, true);
	vm_on_change(vm, on_change, d);
	vm_on_move(vm, &daemon_carrier, d);
	daemon_tell_link(d, vm);
	if (!ret)
		ret = vm_listen(vm);
	if (ret)
		return ret;
	d->vm[p->id] = vm;
	ret = daemon_publish(d);
	if (ret)
		d->vm[p->id] = NULL;
	return ret;
}

/* Says why join() failed. */
static int refuse_join(const struct vm_options *opt, int error, char *err, size_t err_len)
{
	if (error == -ENOMEM)
		return refuse(err, err_len, error, "port \"%s\": no memory: try again", opt->name);
	if (error == -ENOSPC || error == -E2BIG)
		return refuse(err, err_len, error,
			      "port \"%s\": the forwarding table is full: leave mac= out, or wait "
			      "until addresses have aged",
			      opt->name);
	return refuse(err, err_len, error, "port \"%s\": can't join the switch: %s; %s", opt->name,
		      strerror(-error), nic_remedy(error));
}

int daemon_add_vm(struct daemon *d, const struct vm_options *asked, char *err, size_t err_len)
{
	struct vm_options opt = *asked;
	uint32_t id = free_number(d);
	struct vm *vm;
	int ret;

	ret = check_vm(d, &opt, err, err_len);
	if (ret)
		return ret;
	ret = vm_new(&vm, d->loop, &opt, id, tables_stats(d->tables, id));
	if (ret) { /* which is in the log already */
		snprintf(err, err_len, "port \"%s\": can't listen on %s: %s; %s", opt.name,
			 opt.socket, strerror(-ret), vu_sock_remedy(ret));
		return ret;
	}
	ret = join(d, vm, &opt);
	if (ret) {
		take_apart(d, vm);
		return refuse_join(&opt, ret, err, err_len);
	}
	daemon_show_port(d, &vm->port);
	log_info("vm %s: port %u, %s on %s", opt.name, id,
		 opt.role == VM_CLIENT ? "calls its front-end"
		 : vm->control->once   ? "was given its front-end"
				       : "waits for its front-end",
		 vm->control->socket);
	daemon_check_mtu(d, vm);
	return 0;
}

int daemon_del_vm(struct daemon *d, const char *name, char *err, size_t err_len)
{
	struct port *p = daemon_find_port(d, name);
	struct vm *vm;
	int ret;

	if (!p)
		return refuse(err, err_len, -ENOENT,
			      "port \"%s\": there is none of this name: see `vxsctl port show`",
			      name);
	if (p->kind != VXS_KIND_VM)
		return refuse(err, err_len, -EPERM,
			      "port \"%s\" is no VM's: it stays as long as vxsd runs", name);
	vm = d->vm[p->id];
	d->vm[p->id] = NULL;
	ret = daemon_publish(d);
	if (ret) {
		d->vm[p->id] = vm;
		return refuse(err, err_len, ret, "port \"%s\": %s: try again", name,
			      strerror(-ret));
	}
	log_info("vm %s: port %u removed", vm->port.name, vm->port.id);
	take_apart(d, vm);
	balance_soon(d);
	return 0;
}
