/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The switch's state as JSON, for the control socket; the forms are described in vxs_ctl.h. */
#include "control/show.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "control/balance.h"
#include "control/daemon.h"
#include "control/json.h"
#include "switch/cycles.h"
#include "vxs_ctl.h"

static const char *poll_text(enum poll_mode mode)
{
	return mode == POLL_BUSY ? "busy" : mode == POLL_INTERRUPT ? "interrupt" : "adaptive";
}

static struct json_object *show_nic(const struct daemon *d)
{
	struct json_object *o = json_object_new_object();
	struct nic_state state = {};

	if (!o)
		return NULL;
	nic_state(d->nic, &state);
	add_text(o, "ifname", state.ifname);
	add_int(o, "ifindex", state.ifindex);
	add_text(o, "mode", state.mode);
	add_text(o, "umem", state.umem);
	add_int(o, "queues", state.queues);
	add_int(o, "nic_queues", state.nic_queues);
	add_int(o, "mtu", state.mtu);
	add_mac(o, "mac", state.mac);
	add_bool(o, "up", state.up);
	add_bool(o, "busy_poll", state.busy_poll);
	add_bool(o, "busy_vain", state.busy_vain);
	add_int(o, "busy_queues", state.busy_queues);
	add_int(o, "busy_polls", state.busy_polls);
	add_int(o, "busy_hits", state.busy_hits);
	add_bool(o, "multi_buffer", state.sg);
	add_bool(o, "checksums", state.out_csum);
	add_bool(o, "flow_hash", state.hashes);
	add_bool(o, "gro", !d->opt->uplink.no_gro);
	return o;
}

/* Port number @id, or NULL. */
static struct port *port_at(struct daemon *d, uint32_t id)
{
	if (id == VXS_PORT_UPLINK)
		return d->nic ? nic_port(d->nic) : NULL;
	if (id == VXS_PORT_HOST)
		return d->host ? host_port(d->host) : NULL;
	return id < VXS_PORTS_MAX && d->vm[id] ? &d->vm[id]->port : NULL;
}

/* The queues that run and are @w's, in the order of port numbers. */
static struct json_object *show_worker_queues(struct daemon *d, const struct worker *w)
{
	struct json_object *list = json_object_new_array();
	uint32_t id;
	unsigned q;

	for (id = 0; list && id < VXS_PORTS_MAX; id++) {
		struct port *p = port_at(d, id);

		for (q = 0; p && q < p->n_in; q++) {
			struct json_object *o;

			if (p->worker[q] != w || !balance_counts(p, q))
				continue;
			o = json_object_new_object();
			if (!o)
				return list;
			add_text(o, "port", p->name);
			add_int(o, "queue", q);
			append(list, o);
		}
	}
	return list;
}

static struct json_object *show_worker(struct daemon *d, const struct worker *w)
{
	struct json_object *o = json_object_new_object();

	if (!o)
		return NULL;
	add_int(o, "id", w->id);
	add(o, "cpu", w->cpu < 0 ? NULL : json_object_new_int(w->cpu));
	add_int(o, "rounds", __atomic_load_n(&w->stats->rounds, __ATOMIC_RELAXED));
	add_int(o, "busy_rounds", __atomic_load_n(&w->stats->busy_rounds, __ATOMIC_RELAXED));
	add_int(o, "sleeps", __atomic_load_n(&w->stats->sleeps, __ATOMIC_RELAXED));
	add(o, "queues", show_worker_queues(d, w));
	return o;
}

/* The range of the VMs' MTUs, and how many are longer than the uplink's. */
static struct json_object *show_mtus(struct daemon *d)
{
	struct json_object *o = json_object_new_object();
	uint32_t id, mtu, least = 0, most = 0, over = 0;
	struct nic_state nic = {};

	if (d->nic)
		nic_state(d->nic, &nic);
	for (id = VXS_PORT_VM; id < VXS_PORTS_MAX; id++) {
		mtu = d->vm[id] ? d->vm[id]->mtu : 0;
		if (!mtu)
			continue;
		if (!least || mtu < least)
			least = mtu;
		if (mtu > most)
			most = mtu;
		over += d->nic && mtu > nic.mtu;
	}
	if (!o)
		return NULL;
	add_int_or_null(o, "least", least);
	add_int_or_null(o, "most", most);
	add_int(o, "over_uplink", over);
	return o;
}

struct json_object *show_status(struct daemon *d)
{
	struct json_object *o = json_object_new_object(), *workers = json_object_new_array();
	unsigned i, ports = 0;

	if (!o || !workers) {
		json_object_put(o);
		json_object_put(workers);
		return NULL;
	}
	for (i = 0; i < VXS_PORTS_MAX; i++)
		ports += !!port_at(d, i);
	add_text(o, "name", d->opt->name);
	add_int(o, "pid", getpid());
	add_text(o, "version", VXS_VERSION);
	add_int(o, "uptime", (uint64_t)time(NULL) > d->started ? time(NULL) - d->started : 0);
	add_text(o, "run_dir", d->opt->run_dir);
	add_text(o, "maps", tables_pin_dir(d->tables));
	add_text(o, "poll", poll_text(d->opt->poll));
	/* Only adaptive workers wait before they sleep. */
	add(o, "idle_us",
	    d->opt->poll == POLL_ADAPTIVE ? json_object_new_int(d->opt->idle_us) : NULL);
	add_int(o, "ageing", d->opt->ageing);
	add(o, "uplink", d->nic ? show_nic(d) : NULL);
	add_text(o, "host", d->host ? host_ifname(d->host) : NULL);
	add_int(o, "ports", ports);
	add(o, "vm_mtus", show_mtus(d));
	add_int(o, "addresses", d->sw.fdb->n);
	for (i = 0; i < d->n_workers; i++)
		append(workers, show_worker(d, d->worker[i]));
	add(o, "workers", workers);
	return o;
}

static struct json_object *show_port(struct daemon *d, struct port *p)
{
	struct json_object *o = json_object_new_object();
	struct nic_state state = {};

	if (!o)
		return NULL;
	add_int(o, "id", p->id);
	add_text(o, "name", p->name);
	switch (p->kind) {
	case VXS_KIND_UPLINK:
		nic_state(d->nic, &state);
		add_text(o, "kind", "uplink");
		add_bool(o, "up", state.up);
		add(o, "nic", show_nic(d));
		break;
	case VXS_KIND_HOST:
		add_text(o, "kind", "host");
		add_bool(o, "up", true);
		add_text(o, "ifname", host_ifname(d->host));
		nic_state(d->nic, &state);
		add_int_or_null(o, "mtu", state.mtu);
		break;
	default:
		add_text(o, "kind", "vm");
		show_vm(o, d, vm_of(p));
	}
	return o;
}

static struct json_object *show_port_stats(struct daemon *d, struct port *p)
{
	struct json_object *o = json_object_new_object(), *drops = json_object_new_object();
	struct vxs_port_stats s;

	if (!o || !drops) {
		json_object_put(o);
		json_object_put(drops);
		return NULL;
	}
	tables_sum_stats(d->tables, p->id, &s);
#define ADD_COUNTER(to, from, field) add_int(to, #field, (from)->field)
	add_text(o, "port", p->name);
	ADD_COUNTER(o, &s, in_frames);
	ADD_COUNTER(o, &s, in_bytes);
	ADD_COUNTER(o, &s, out_frames);
	ADD_COUNTER(o, &s, out_bytes);
	ADD_COUNTER(o, &s, out_calls);
#define ADD_DROP(field, text) ADD_COUNTER(drops, &s.drops, field);
	VXS_DROP_LIST(ADD_DROP)
#undef ADD_DROP
#undef ADD_COUNTER
	add(o, "drops", drops);
	return o;
}

static struct json_object *show_path(const struct vxs_path_stats *path, uint64_t *cycles)
{
	struct json_object *o = json_object_new_object();
	uint64_t n = __atomic_load_n(&path->cycles, __ATOMIC_RELAXED);

	*cycles += n;
	if (!o)
		return NULL;
	add_int(o, "frames", __atomic_load_n(&path->frames, __ATOMIC_RELAXED));
	add_int(o, "batches", __atomic_load_n(&path->batches, __ATOMIC_RELAXED));
	add_int(o, "cycles", n);
	return o;
}

/*
 * A worker adds a sleep to its sum when it is over, which may take hours. So the sleep is what is
 * left of all time; the clock is read last, lest there be less of it than of its parts.
 */
static void add_times(struct json_object *o, const struct vxs_worker_stats *s, uint64_t busy)
{
	uint64_t idle = __atomic_load_n(&s->idle_cycles, __ATOMIC_ACQUIRE);
	uint64_t started = __atomic_load_n(&s->started, __ATOMIC_ACQUIRE);
	int64_t elapsed = cycles_now() - started, asleep;

	if (!started || elapsed < 0)
		elapsed = 0;
	asleep = elapsed - (int64_t)(busy + idle);
	if (asleep < 0) { /* CPUs' clocks differ a little */
		asleep = 0;
		elapsed = busy + idle;
	}
	add_int(o, "started", started);
	add_int(o, "elapsed_cycles", elapsed);
	add_int(o, "busy_cycles", busy);
	add_int(o, "idle_cycles", idle);
	add_int(o, "sleep_cycles", asleep);
}

static struct json_object *show_worker_stats(const struct worker *w)
{
	struct json_object *o = json_object_new_object(), *paths = json_object_new_object();
	const struct vxs_worker_stats *s = w->stats;
	uint64_t busy = 0;

	if (!o || !paths) {
		json_object_put(o);
		json_object_put(paths);
		return NULL;
	}
	add_int(o, "id", w->id);
	add(o, "cpu", w->cpu < 0 ? NULL : json_object_new_int(w->cpu));
#define ADD_COUNTER(field) add_int(o, #field, __atomic_load_n(&s->field, __ATOMIC_RELAXED))
	ADD_COUNTER(cycles_per_second);
	ADD_COUNTER(rounds);
	ADD_COUNTER(busy_rounds);
	ADD_COUNTER(batches);
	ADD_COUNTER(frames);
	ADD_COUNTER(syscalls);
	ADD_COUNTER(sleeps);
	ADD_COUNTER(wakeups);
#undef ADD_COUNTER
#define ADD_PATH(field, text) add(paths, #field, show_path(&s->paths.field, &busy));
	VXS_PATH_LIST(ADD_PATH)
#undef ADD_PATH
	add_times(o, s, busy);
	add(o, "paths", paths);
	return o;
}

struct json_object *show_workers(struct daemon *d)
{
	struct json_object *list = json_object_new_array();
	unsigned i;

	for (i = 0; list && i < d->n_workers; i++)
		append(list, show_worker_stats(d->worker[i]));
	return list;
}

static struct json_object *each_port(struct daemon *d, struct port *only,
				     struct json_object *(*show)(struct daemon *, struct port *))
{
	struct json_object *list = json_object_new_array();
	struct port *p;
	uint32_t id;

	for (id = 0; list && id < VXS_PORTS_MAX; id++) {
		p = port_at(d, id);
		if (p && (!only || only == p))
			append(list, show(d, p));
	}
	return list;
}

struct json_object *show_ports(struct daemon *d, struct port *only)
{
	return each_port(d, only, show_port);
}

struct json_object *show_stats(struct daemon *d, struct port *only)
{
	if (d->nic)
		nic_read_drops(d->nic);
	if (d->host)
		host_read_drops(d->host);
	return each_port(d, only, show_port_stats);
}

struct fdb_list {
	struct daemon *d;
	struct json_object *list;
	uint32_t now; /* in the seconds that workers put into the slots */
};

static bool show_address(void *arg, uint64_t key, uint32_t port, bool fixed, uint32_t seen)
{
	struct json_object *o = json_object_new_object();
	uint64_t mac_key = fdb_key_mac(key);
	struct fdb_list *f = arg;
	struct port *p = port_at(f->d, port);
	uint32_t age = f->now - seen;
	uint8_t mac[6];
	unsigned i;

	if (!o)
		return false;
	for (i = 0; i < 6; i++)
		mac[i] = mac_key >> 8 * i;
	add_mac(o, "mac", mac);
	add_int(o, "vlan", fdb_key_vlan(key));
	add_text(o, "port", p ? p->name : NULL);
	add_text(o, "type", fixed ? "static" : "learned");
	/* A worker may have seen it after we looked at the clock. */
	add(o, "age", fixed ? NULL : json_object_new_int64((int32_t)age < 0 ? 0 : age));
	append(f->list, o);
	return false;
}

struct json_object *show_fdb(struct daemon *d)
{
	struct fdb_list f = {.d = d, .list = json_object_new_array()};
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	f.now = now.tv_sec;
	if (f.list)
		fdb_walk(d->sw.fdb, show_address, &f);
	return f.list;
}
