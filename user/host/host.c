/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The host's port: its life cycle. */
#include "host/host.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "control/log.h"
#include "host/host_stats.h"
#include "host/host_tc.h"
#include "host/tap.h"
#include "offload/offload.h"
#include "switch/worker.h"

#define POOL_SIZE ((size_t)HOST_BATCH * HOST_BUFFER)

struct host_control {
	struct tap tap;
	struct host_tc *tc;
	bool watched;          /* by port.worker[0] */
	uint64_t seen_dropped; /* the TAP's counter at the last look */
};

static const struct port_ops host_port_ops = {
	.in = host_in,
	.done = host_done,
	.out = host_out,
	.wait = host_wait,
};

/* As much as this kernel knows: all, all but USO (before 6.2), or nothing. */
static void open_offloads(struct host *h)
{
	const uint32_t uso = OFFLOAD_USO4 | OFFLOAD_USO6;
	const struct tap *tap = &h->control->tap;
	uint32_t takes = OFFLOAD_ALL;
	int err;

	err = tap_set_offloads(tap, takes);
	if (err) {
		takes &= ~uso;
		err = tap_set_offloads(tap, takes);
	}
	if (err) {
		log_debug("host: %s knows no offloads: %s", tap->name, strerror(-err));
		takes = 0;
	}
	h->takes = takes;
	__atomic_store_n(&h->port.takes, takes, __ATOMIC_RELAXED);
}

static int open_tap(struct host *h, const struct host_setup *setup)
{
	struct tap *tap = &h->control->tap;
	char name[IFNAMSIZ];
	int err;

	snprintf(name, sizeof(name), "vxs-%.*s", IFNAMSIZ - 5, setup->name);
	err = tap_open(tap, name, HOST_HDR_LEN);
	if (err)
		return err;
	h->tap_fd = tap->fd;
	open_offloads(h);
	host_set_mtu(h, setup->nic_mtu);
	return 0;
}

static int open_programs(struct host *h, const struct host_setup *setup)
{
	struct host_tc_setup tc = {
		.nic_ifindex = setup->nic_ifindex,
		.nic_name = setup->nic_name,
		.tap_ifindex = h->control->tap.ifindex,
		.tap_name = h->control->tap.name,
		.fdb_fd = setup->fdb_fd,
	};

	return host_tc_open(&h->control->tc, &tc);
}

static int open_pool(struct host *h)
{
	/* Pages that no frame was long enough to need are never there. */
	void *at = mmap(NULL, POOL_SIZE, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (at == MAP_FAILED) {
		log_error("host: no memory for %zu bytes of buffers", POOL_SIZE);
		return -ENOMEM;
	}
	h->pool = at;
	return 0;
}

int host_open(struct host **out, const struct host_setup *setup)
{
	struct host *h;
	int err = -ENOMEM;

	h = calloc(1, sizeof(*h));
	if (!h)
		return -ENOMEM;
	h->tap_fd = -1;
	h->control = calloc(1, sizeof(*h->control));
	if (!h->control)
		goto err;
	h->control->tap.fd = -1;
	h->port = (struct port){
		.ops = &host_port_ops,
		.id = VXS_PORT_HOST,
		.kind = VXS_KIND_HOST,
		.group = PORT_GROUP_WIRE,
		.n_in = 1,
		/* The wire's broadcasts come this way too: their senders aren't behind this port.
		 */
		.learn = false,
		.name = "host",
		.stats = setup->stats,
	};
	err = open_pool(h);
	if (!err)
		err = open_tap(h, setup);
	if (!err)
		err = open_programs(h, setup);
	if (err)
		goto err;
	*out = h;
	return 0;
err:
	host_free(h);
	return err;
}

int host_attach(struct host *h)
{
	struct host_control *c = h->control;
	int err;

	err = worker_watch(h->port.worker[0], h->tap_fd, &h->port, 0);
	if (err) {
		log_error("host: can't wait for frames on %s: %s", c->tap.name, strerror(-err));
		return err;
	}
	c->watched = true;
	err = tap_set_up(&c->tap, true);
	if (err) {
		log_error("host: can't set %s up: %s", c->tap.name, strerror(-err));
		host_detach(h);
		return err;
	}
	log_info("host: shares the uplink through %s", c->tap.name);
	return 0;
}

void host_read_drops(struct host *h)
{
	struct host_control *c = h->control;
	uint64_t dropped;

	if (host_stats_read(c->tap.ifindex, &dropped))
		return;
	if (dropped > c->seen_dropped)
		stat_drop(h->port.stats, tap_full, dropped - c->seen_dropped);
	c->seen_dropped = dropped;
}

void host_detach(struct host *h)
{
	struct host_control *c = h->control;

	if (!c || c->tap.fd < 0)
		return;
	/* Down first: without the filter on it, its frames would enter the host's stack as such. */
	tap_set_up(&c->tap, false);
	host_tc_close(c->tc);
	c->tc = NULL;
	if (c->watched)
		worker_unwatch(h->port.worker[0], h->tap_fd);
	c->watched = false;
}

void host_free(struct host *h)
{
	if (!h)
		return;
	host_detach(h);
	if (h->control)
		tap_close(&h->control->tap);
	if (h->pool)
		munmap(h->pool, POOL_SIZE);
	free(h->control);
	free(h);
}

void host_set_mtu(struct host *h, unsigned mtu)
{
	int err;

	__atomic_store_n(&h->mtu, mtu, __ATOMIC_RELAXED);
	err = tap_set_mtu(&h->control->tap, mtu);
	if (err)
		log_warn("host: can't set the MTU of %s to %u: %s", h->control->tap.name, mtu,
			 strerror(-err));
}

struct port *host_port(struct host *h)
{
	return &h->port;
}

const char *host_ifname(const struct host *h)
{
	return h->control->tap.name;
}
