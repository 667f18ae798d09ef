/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The uplink: a NIC on AF_XDP, with an XDP program that steers frames into the VMs' sockets. */
#ifndef NIC_H
#define NIC_H

#include <stdbool.h>
#include <stdint.h>

#include "control/options.h"
#include "port/port.h"

struct nic; /* struct port is its first member */

/* For tests: what this kernel or NIC would not do by itself. All zero otherwise. */
struct nic_trial {
	bool no_sg;    /* as if the kernel had no frames in several descriptors */
	bool out_csum; /* as if the NIC filled in checksums */
};

struct nic_setup {
	const struct uplink_options *opt;
	bool host_share; /* what is for nobody passes to the kernel; else it goes to the trunk */
	int fdb_fd;      /* map fdb */
	int sockets_fd;  /* map sockets, VXS_PORTS_MAX * queues entries */
	const char *state_file; /* where the NIC's former settings are kept, for after a kill -9 */
	struct vxs_port_stats *stats;
	struct nic_trial trial;
};

/** nic_count_queues() - receive queues that --uplink @opt serves; or -errno, logged. */
int nic_count_queues(const struct uplink_options *opt);

/**
 * nic_open() - make UMEMs and trunk sockets, change the NIC's settings, attach the XDP program
 *
 * Tries zero-copy, native copy and SKB mode in this order unless a mode was asked for, and logs the
 * one it got. Logs reason and remedy when it fails, and leaves the NIC as it was. Control thread.
 *
 * Return: 0 or -errno (-ENODEV: no such interface; -EBUSY: another XDP program is attached;
 * -EPERM).
 */
int nic_open(struct nic **out, const struct nic_setup *setup);

/** nic_remedy() - what a user can do about an error of nic_open() or nic_add_port(). */
const char *nic_remedy(int err);

/** nic_attach() - let frames in; port.worker[] is set, the port is published. */
int nic_attach(struct nic *nic);

/** nic_detach() - the XDP program goes, frames stop; the port must be unpublished before free. */
void nic_detach(struct nic *nic);
/** nic_free() - sockets, UMEMs; puts the NIC's settings back. NULL is fine. */
void nic_free(struct nic *nic);

struct port *nic_port(struct nic *nic);

/** nic_add_port() - a receive-only socket on each NIC queue for VM port @id, and into the map.
 * Retries EBUSY for a while. @stats counts what the kernel drops there. 0 or -errno, logged. */
int nic_add_port(struct nic *nic, uint32_t id, struct vxs_port_stats *stats);
void nic_del_port(struct nic *nic, uint32_t id);

/** nic_want_hash() - a port was added whose frames are spread over receive queues: the NIC's flow
 * hash is wanted from now on, if it can be had. */
void nic_want_hash(struct nic *nic);

/** nic_add_address() - let frames for a VM's address in (unicast filter entry). */
int nic_add_address(struct nic *nic, const uint8_t mac[6]);
void nic_del_address(struct nic *nic, const uint8_t mac[6]);

/** nic_read_drops() - bring the kernel's counters (XDP_STATISTICS) into port_stats. */
void nic_read_drops(struct nic *nic);

/** nic_busy_look() - with busy-poll=on, once a second: see which queues can be polled. */
void nic_busy_look(struct nic *nic);

/**
 * nic_drain() - wait until what some workers have sent is on its way
 * @nic:       the uplink
 * @worker:    by worker number: those meant
 * @n_workers: entries of @worker
 *
 * What another worker sends from then on cannot overtake it. Frames that a dead link holds back are
 * not waited for. Control thread.
 *
 * Return: false if it was still waiting for the device after NIC_DRAIN_MS.
 */
bool nic_drain(struct nic *nic, const bool *worker, unsigned n_workers);
#define NIC_DRAIN_MS 50 /* a full ring of long frames at 1 Gbit/s takes half as long */

struct nic_state {
	const char *ifname;
	int ifindex;
	const char *mode;            /* "zero-copy", "native copy", "skb" */
	const char *umem;            /* "huge pages" or "pages" */
	unsigned queues, nic_queues; /* served, and present */
	unsigned mtu;                /* what frames to the wire are held to */
	unsigned mtu_set;            /* the interface's; more than @mtu if more came too late */
	unsigned mtu_most;           /* the most that fits UMEM frames as they were made */
	bool sg;                     /* frames may be in several UMEM frames */
	bool out_csum;               /* the NIC fills in checksums of frames that are sent */
	bool hashes;                 /* the NIC tells the flow hash of frames that come */
	uint8_t mac[6];
	bool up;
	bool busy_poll;                 /* asked for, and not refused */
	bool busy_vain;                 /* frames came, and yet no queue could be polled */
	unsigned busy_queues;           /* of @queues, those that are polled */
	uint64_t busy_polls, busy_hits; /* polls of the driver; those that brought frames */
};

/** nic_refresh() - on a netlink link event: take over a new MAC or MTU, send what waits. Control
 * thread. 0, or -ENODEV when the interface is gone (logged once). */
int nic_refresh(struct nic *nic);

void nic_state(const struct nic *nic, struct nic_state *state);

#endif
