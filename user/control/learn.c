/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Addresses come, move, age and go: user table, BPF map and NIC filter as one. */

/*
 * Workers report the source addresses that they find unknown, or behind another port than the
 * table says (EVENT_LEARN). Control decides, and is the only one to write the tables:
 *
 *  - fdb (user memory): every address; what workers look up.
 *  - the BPF map "fdb": addresses of VMs, and the host's own; the XDP program steers by it.
 *  - the NIC's filter: MACs of VMs, each once whatever the number of VLANs it is seen on.
 *
 * A static address never moves and never ages: a VM's mac= (which nobody else can take on any VLAN
 * either), and the NIC's own address (which would cut the host off if a VM could claim it).
 *
 * Everything that a VM controls is limited: the addresses of one port, so that it can't push the
 * others' out of the table, and the work of one turn of the loop, so that a storm of moves leaves
 * control responsive. What isn't learned is flooded, which is slow but right.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "control/daemon.h"
#include "control/log.h"
#include "control/mac_refs.h"

#define PER_VM_MAX     1024              /* learned addresses of one VM */
#define PER_UPLINK_MAX (VXS_FDB_MAX / 2) /* of the uplink, and of the host */

struct learn {
	unsigned learned[VXS_PORTS_MAX]; /* addresses by port number, without static ones */
	struct mac_refs vm_macs;         /* entries of VMs by MAC: what the NIC's filter holds */
};

int daemon_open_learn(struct daemon *d)
{
	d->learn = calloc(1, sizeof(*d->learn));
	d->sw.fdb = fdb_new();
	return d->learn && d->sw.fdb ? 0 : -ENOMEM;
}

void daemon_close_learn(struct daemon *d)
{
	fdb_free(d->sw.fdb);
	d->sw.fdb = NULL;
	free(d->learn);
	d->learn = NULL;
}

/* The clock of the workers' fdb_touch(). */
static uint32_t seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
	return t.tv_sec;
}

static bool is_vm(uint32_t port)
{
	return port >= VXS_PORT_VM;
}

/* Whether the kernel is told about an address behind this port. */
static bool in_kernel(uint32_t port, bool fixed)
{
	return is_vm(port) || fixed;
}

static void mac_of(uint64_t key, uint8_t mac[6])
{
	uint64_t bits = fdb_key_mac(key);

	memcpy(mac, &bits, 6);
}

static void filter_add(struct daemon *d, uint64_t key)
{
	uint8_t mac[6];

	mac_of(key, mac);
	if (mac_refs_get(&d->learn->vm_macs, fdb_key_mac(key)) == 1 && d->nic)
		nic_add_address(d->nic, mac); /* logs; without it only promiscuous NICs hear it */
}

static void filter_del(struct daemon *d, uint64_t key)
{
	uint8_t mac[6];

	mac_of(key, mac);
	if (!mac_refs_put(&d->learn->vm_macs, fdb_key_mac(key)) && d->nic)
		nic_del_address(d->nic, mac);
}

/* Undoes all of an entry but its place in the user table. */
static void forget(struct daemon *d, uint64_t key, uint32_t port, bool fixed)
{
	if (in_kernel(port, fixed))
		tables_del_address(d->tables, key);
	if (is_vm(port))
		filter_del(d, key);
	if (!fixed)
		d->learn->learned[port]--;
}

/* Where an address is now; false: it isn't known. */
static bool find(struct daemon *d, uint64_t key, uint32_t *port, bool *fixed)
{
	uint32_t value;

	if (!fdb_find(d->sw.fdb, key, &value))
		return false;
	*port = FDB_SLOT_PORT(value);
	*fixed = value & FDB_SLOT_STATIC;
	return true;
}

/**
 * daemon_set_address() - put an address behind a port, wherever it was
 * @d:     the daemon
 * @key:   from fdb_key()
 * @port:  port number; the port exists or is about to
 * @fixed: static; takes the place of a learned entry
 *
 * Return: 0; -ENOSPC if the table is full; -errno of the BPF map, and then nothing has changed.
 */
int daemon_set_address(struct daemon *d, uint64_t key, uint32_t port, bool fixed)
{
	bool known, was_fixed = false;
	uint32_t was = 0;
	int err = 0;

	known = find(d, key, &was, &was_fixed);
	if (!known && d->sw.fdb->n >= VXS_FDB_MAX)
		return -ENOSPC;
	if (in_kernel(port, fixed))
		err = tables_set_address(d->tables, key, port, fixed ? VXS_FDB_STATIC : 0);
	else if (known && in_kernel(was, was_fixed))
		tables_del_address(d->tables, key);
	if (!err)
		err = fdb_set(d->sw.fdb, key, port, fixed, seconds());
	if (err)
		return err;
	/* the new entry first, so that the NIC's filter doesn't lose the address in between */
	if (is_vm(port))
		filter_add(d, key);
	if (known && is_vm(was))
		filter_del(d, key);
	if (known && !was_fixed)
		d->learn->learned[was]--;
	if (!fixed)
		d->learn->learned[port]++;
	return 0;
}

void daemon_del_address(struct daemon *d, uint64_t key)
{
	uint32_t port;
	bool fixed;

	if (!find(d, key, &port, &fixed))
		return;
	forget(d, key, port, fixed);
	fdb_del(d->sw.fdb, key);
}

/* Whether a port may take an address that it has sent from. */
static bool may_learn(struct daemon *d, const struct port *p, uint64_t key)
{
	unsigned limit = is_vm(p->id) ? PER_VM_MAX : PER_UPLINK_MAX;
	uint64_t mac = fdb_key_mac(key);
	uint32_t at;
	bool fixed;

	if (!p->learn || !mac || mac & 1)
		return false;
	if (p->fix_mac && p->fix_mac != mac)
		return false;
	if (d->nic_key && fdb_key_mac(d->nic_key) == mac)
		return false;
	if (find(d, key, &at, &fixed) && fixed)
		return false;
	/* the untagged entry of a VM with mac= guards the address on all VLANs */
	if (find(d, fdb_key(mac, 0), &at, &fixed) && fixed && at != p->id)
		return false;
	return d->learn->learned[p->id] < limit;
}

static void log_move(struct daemon *d, uint64_t key, uint32_t from, const struct port *to)
{
	const struct port *p = d->sw.ports->by_id[from];
	uint8_t mac[6];
	char text[18];

	mac_of(key, mac);
	options_format_mac(mac, text);
	log_debug("address %s (VLAN %u) moved from port \"%s\" to \"%s\"", text, fdb_key_vlan(key),
		  p ? p->name : "?", to->name);
}

static void learn(struct daemon *d, uint32_t port, uint64_t key)
{
	struct port_table *table = d->sw.ports;
	const struct port *p = table && port < VXS_PORTS_MAX ? table->by_id[port] : NULL;
	uint32_t was;
	bool fixed, known;

	if (!p) /* it has gone since */
		return;
	known = find(d, key, &was, &fixed);
	if (known && was == port) /* reported by two workers, or twice */
		return;
	if (!p->learn) {
		/* The host's port, where the wire's stations appear too: a VM's address that is
		 * seen there has left its VM, but for which of the two nobody knows yet. */
		if (known && is_vm(was) && !fixed)
			daemon_del_address(d, key);
		return;
	}
	if (!may_learn(d, p, key))
		return;
	if (!daemon_set_address(d, key, port, false) && known)
		log_move(d, key, was, p);
}

bool daemon_learn_address(struct daemon *d, const struct port *p, uint64_t key)
{
	uint32_t at;
	bool fixed;

	if (find(d, key, &at, &fixed) && at == p->id)
		return true;
	learn(d, p->id, key);
	return find(d, key, &at, &fixed) && at == p->id;
}

void daemon_events(struct daemon *d)
{
	bool more = false;
	struct event e;
	unsigned i, n;

	for (i = 0; i < d->n_workers; i++) {
		for (n = 0; n < EVENTS_MAX && worker_next_event(d->worker[i], &e); n++) {
			if (e.kind == EVENT_LEARN)
				learn(d, e.port, e.key);
			else if (e.kind == EVENT_BROKEN && e.port < VXS_PORTS_MAX && d->vm[e.port])
				vm_broken(d->vm[e.port]);
			else if (e.kind == EVENT_ABSENT && e.port < VXS_PORTS_MAX && d->vm[e.port])
				vm_absent(d->vm[e.port], e.key);
		}
		more |= n == EVENTS_MAX;
	}
	if (more) /* the rest in the loop's next turn */
		eventfd_write(d->event_fd, 1);
}

struct ageing {
	struct daemon *d;
	uint32_t now;
};

static bool age_one(void *arg, uint64_t key, uint32_t port, bool fixed, uint32_t seen)
{
	struct ageing *a = arg;

	/* signed: a worker's clock may be a second ahead of ours */
	if (fixed || (int32_t)(a->now - seen) < (int32_t)a->d->opt->ageing)
		return false;
	forget(a->d, key, port, fixed);
	return true;
}

void daemon_age(struct daemon *d)
{
	struct ageing a = {.d = d, .now = seconds()};

	if (d->opt->ageing && d->sw.fdb->n)
		fdb_walk(d->sw.fdb, age_one, &a);
}

struct forgetting {
	struct daemon *d;
	uint32_t port;
	bool fixed; /* static ones too */
};

static bool forget_one(void *arg, uint64_t key, uint32_t port, bool fixed, uint32_t seen)
{
	struct forgetting *f = arg;

	(void)seen;
	if (port != f->port || (fixed && !f->fixed))
		return false;
	forget(f->d, key, port, fixed);
	return true;
}

static unsigned forget_all(struct daemon *d, uint32_t port, bool fixed)
{
	struct forgetting f = {.d = d, .port = port, .fixed = fixed};
	unsigned n = fdb_walk(d->sw.fdb, forget_one, &f);

	__atomic_store_n(&d->sw.fdb->epoch, d->sw.fdb->epoch + 1, __ATOMIC_RELAXED);
	return n;
}

/** daemon_forget_port() - forget all addresses of a port; returns how many. */
unsigned daemon_forget_port(struct daemon *d, uint32_t port)
{
	return forget_all(d, port, true);
}

/** daemon_forget_learned() - forget those that it has learned; returns how many. */
unsigned daemon_forget_learned(struct daemon *d, uint32_t port)
{
	return d->learn->learned[port] ? forget_all(d, port, false) : 0;
}
