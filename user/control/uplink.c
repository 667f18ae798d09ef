/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The NIC and the host behind it, as ports of the switch. Control thread only. */

/*
 * The NIC's own address is a static entry, so that no VM can claim it: frames for it go to the
 * host's port, or, when the host doesn't share the NIC, out of the uplink. It follows the NIC when
 * the address is changed. If the NIC goes away for good (removed, or moved to another namespace),
 * its ports go and the VMs go on among themselves: they lose the wire, not each other.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "control/balance.h"
#include "control/daemon.h"
#include "control/log.h"
#include "control/workers.h"
#include "host/host_tc.h"
#include "nic/nic_set.h"

/* Makes the static entry for the NIC's address, in place of the one for its former address. */
static int follow_address(struct daemon *d, const uint8_t mac[6])
{
	uint32_t port = d->host ? VXS_PORT_HOST : VXS_PORT_UPLINK;
	uint64_t key = fdb_key(fdb_mac(mac), 0);
	int err;

	if (key == d->nic_key)
		return 0;
	err = daemon_set_address(d, key, port, true);
	if (err)
		return err;
	if (d->nic_key)
		daemon_del_address(d, d->nic_key);
	d->nic_key = key;
	return 0;
}

void daemon_tell_link(struct daemon *d, struct vm *vm)
{
	static const struct vm_link unknown = VM_LINK_UNKNOWN;

	vm_set_link(vm, d->nic ? &d->vm_link : &unknown);
}

/* A link that is down has no speed, whatever its driver remembers. */
static void take_over_speed(struct daemon *d, const struct nic_state *nic, bool up)
{
	d->vm_link = (struct vm_link)VM_LINK_UNKNOWN;
	if (up)
		nic_info_speed(nic->ifname, &d->vm_link.speed, &d->vm_link.duplex);
}

static void tell_links(struct daemon *d)
{
	uint32_t id;

	for (id = VXS_PORT_VM; id < VXS_PORTS_MAX; id++)
		if (d->vm[id])
			daemon_tell_link(d, d->vm[id]);
}

/* The interface has gone, as nic_refresh() has logged. */
static void lose_uplink(struct daemon *d)
{
	log_info("the VMs go on without an uplink");
	daemon_close_uplink(d);
	tell_links(d);
	balance_soon(d);
}

static void check_mtus(struct daemon *d)
{
	uint32_t id;

	for (id = VXS_PORT_VM; id < VXS_PORTS_MAX; id++)
		if (d->vm[id])
			daemon_check_mtu(d, d->vm[id]);
}

static void on_link(void *arg, const struct link_state *link)
{
	struct daemon *d = arg;
	struct nic_state before, now;
	char text[18];

	nic_state(d->nic, &before);
	if (nic_refresh(d->nic) || link->gone) {
		lose_uplink(d);
		return;
	}
	nic_state(d->nic, &now);
	if (d->nic_up != link->up)
		log_info("uplink %s: link is %s", now.ifname, link->up ? "up" : "down");
	d->nic_up = link->up;
	take_over_speed(d, &now, link->up);
	tell_links(d);
	if (before.mtu != now.mtu) {
		log_info("uplink %s: MTU is %u now", now.ifname, now.mtu);
		if (d->host)
			host_set_mtu(d->host, now.mtu);
		check_mtus(d);
	}
	if (memcmp(before.mac, now.mac, 6)) {
		options_format_mac(now.mac, text);
		log_info("uplink %s: its address is %s now", now.ifname, text);
	}
	if (follow_address(d, now.mac))
		log_error("uplink %s: cannot note its address: the forwarding table is full",
			  now.ifname);
	daemon_show_port(d, nic_port(d->nic));
	if (d->host)
		daemon_show_port(d, host_port(d->host));
}

static int open_host(struct daemon *d, const struct nic_state *nic)
{
	struct host_setup setup = {
		.name = d->opt->name,
		.nic_ifindex = nic->ifindex,
		.nic_name = nic->ifname,
		.nic_mtu = nic->mtu,
		.fdb_fd = tables_fd_fdb(d->tables),
		.stats = tables_stats(d->tables, VXS_PORT_HOST),
	};

	return host_open(&d->host, &setup);
}

void daemon_tidy_uplink(struct daemon *d)
{
	char state_file[256], ifname[IF_NAMESIZE];
	int ifindex;

	if (run_dir_file(d->run_dir, state_file, sizeof(state_file), "uplink", ".state"))
		return;
	ifindex = nic_set_restore(state_file, d->opt->uplink.ifname, ifname);
	if (ifindex)
		host_tc_tidy(ifindex, ifname);
}

int daemon_open_uplink(struct daemon *d)
{
	struct nic_setup setup = {
		.opt = &d->opt->uplink,
		.host_share = d->opt->host_share,
		.fdb_fd = tables_fd_fdb(d->tables),
		.sockets_fd = tables_fd_sockets(d->tables),
		.stats = tables_stats(d->tables, VXS_PORT_UPLINK),
	};
	struct nic_state state;
	char state_file[256];
	int err;

	if (run_dir_file(d->run_dir, state_file, sizeof(state_file), "uplink", ".state"))
		return -ENAMETOOLONG;
	setup.state_file = state_file;
	err = nic_open(&d->nic, &setup);
	if (err)
		return err;
	nic_state(d->nic, &state);
	d->nic_up = state.up;
	take_over_speed(d, &state, state.up);
	/*
	 * Stations on the wire are learned from what they send to VMs, so that what VMs send them
	 * isn't flooded. The host's port learns nothing: wire and host are the same to it.
	 */
	nic_port(d->nic)->learn = true;
	workers_assign(d, nic_port(d->nic));
	if (d->opt->host_share) {
		err = open_host(d, &state);
		if (err)
			return err;
		workers_assign(d, host_port(d->host));
	} else {
		host_tc_tidy(state.ifindex, state.ifname);
	}
	err = follow_address(d, state.mac);
	if (!err)
		err = link_open(&d->link, d->loop, state.ifindex, on_link, d);
	if (err)
		log_error("uplink %s: cannot watch the interface: %s", state.ifname,
			  strerror(-err));
	return err;
}

int daemon_attach_uplink(struct daemon *d)
{
	int err;

	if (!d->nic)
		return 0;
	err = nic_attach(d->nic);
	if (!err && d->host)
		err = host_attach(d->host);
	if (err)
		return err;
	daemon_show_port(d, nic_port(d->nic));
	if (d->host)
		daemon_show_port(d, host_port(d->host));
	return 0;
}

static void clear_port(struct daemon *d, uint32_t id)
{
	static const struct vxs_port nobody;

	daemon_forget_port(d, id);
	tables_set_port(d->tables, id, &nobody);
}

void daemon_close_uplink(struct daemon *d)
{
	struct host *host = d->host;
	struct nic *nic = d->nic;

	link_close(d->link);
	d->link = NULL;
	if (!nic)
		return;
	if (host)
		host_detach(host);
	nic_detach(nic);
	d->host = NULL;
	d->nic = NULL;
	/* Without memory for smaller tables there is no switch to go on with, but no harm either.
	 */
	if (daemon_publish(d))
		daemon_unpublish_all(d);
	daemon_events(d);
	clear_port(d, VXS_PORT_UPLINK);
	clear_port(d, VXS_PORT_HOST);
	d->nic_key = 0;
	host_free(host);
	nic_free(nic); /* with the sockets of all VMs */
}
