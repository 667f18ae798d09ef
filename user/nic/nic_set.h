/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The NIC's settings: what vxsd reads of them, what it changes, and how it puts that back. */
#ifndef NIC_SET_H
#define NIC_SET_H

#include <stdbool.h>
#include <stdint.h>

#include <net/if.h>

/* What the kernel says of an interface. */
struct nic_info {
	int ifindex;
	bool ethernet, loopback;
	bool up;      /* set up by the user */
	bool running; /* and has a carrier */
	uint32_t mtu;
	uint8_t mac[6];
};

/** nic_info_read() - ask the kernel (ioctl: /sys may show another namespace). 0 or -errno. */
int nic_info_read(const char *ifname, struct nic_info *info);

/** nic_info_queues() - receive queues that the hardware has now; 1 if the driver doesn't say. */
int nic_info_queues(const char *ifname);

/**
 * nic_info_speed() - what the driver says of the link
 * @ifname: the interface
 * @speed:  Mbit/s; UINT32_MAX: unknown
 * @duplex: 0: half, 1: full, UINT8_MAX: unknown
 */
void nic_info_speed(const char *ifname, uint32_t *speed, uint8_t *duplex);

/* Changed settings, and the packet socket that holds address filters. Control thread only. */
struct nic_set {
	char ifname[IF_NAMESIZE];
	int ifindex;
	int packet_fd;
	uint32_t before;  /* ETH_FLAG_* of those that we change, as the user had them */
	unsigned defer;   /* NIC_DEFER_* of those that we set; 0 before */
	char *state_file; /* NULL: not kept */
};

void nic_set_init(struct nic_set *set);

/**
 * nic_set_open() - VLAN stripping and LRO off, group addresses let in
 * @set:        after nic_set_init(); nic_set_close() it whatever is returned
 * @ifname:     the interface
 * @ifindex:    its index
 * @state_file: where former settings are kept until nic_set_close(); NULL: nowhere
 *
 * What an earlier run that was killed left in @state_file is taken into account: its former
 * settings count, not those that it left. Logs.
 *
 * Return: 0 or -errno.
 */
int nic_set_open(struct nic_set *set, const char *ifname, int ifindex, const char *state_file);

/**
 * nic_set_restore() - put back what a killed run had changed, for a start without that NIC
 * @state_file: its state file; gone afterwards
 * @except:     interface that this start is for: nic_set_open() sees to that one
 * @ifname:     which interface it was
 *
 * Not if an XDP program is on the interface: then it is somebody else's now.
 *
 * Return: its index, or 0 if there is nothing to do, also for the caller.
 */
int nic_set_restore(const char *state_file, const char *except, char ifname[IF_NAMESIZE]);

/** nic_set_defer() - for busy polling: hold interrupts back, unless the user has set for how long.
 * Logs. */
void nic_set_defer(struct nic_set *set);

/** nic_set_close() - put everything back. */
void nic_set_close(struct nic_set *set);

/** nic_set_address() - a unicast filter entry comes (@add) or goes; counted. 0 or -errno. */
int nic_set_address(struct nic_set *set, const uint8_t mac[6], bool add);

#endif
