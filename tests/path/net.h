/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Two network namespaces, host and wire, joined by a veth whose host end is the NIC. */
#ifndef NET_H
#define NET_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define NET_NIC     "nic0" /* in the namespace host */
#define NET_FAR     "far0" /* in the namespace wire */
#define NET_HOST_IP "10.77.0.1"
#define NET_WIRE_IP "10.77.0.2"

/*
 *   namespace host                  namespace wire
 *   vxsd --uplink nic0   nic0 ==== far0
 *
 * The namespaces have no names: descriptors of this process hold them, and bpffs and /run are
 * mounts of its own. So all of it, pins included, is gone when the process is, however it ended.
 */
struct net {
	int home, host, wire; /* network namespaces */
	uint8_t nic_mac[6], far_mac[6];
};

/**
 * net_open() - make them; @queues: of the veth, each way
 *
 * Return: 0; -EPERM without root (skip the test); -errno.
 */
int net_open(struct net *net, unsigned queues);
void net_close(struct net *net);

/** net_enter() - the calling thread into namespace @ns (net->home brings it back). 0 or -errno. */
int net_enter(int ns);

/** net_run() - run a shell command in @ns; its exit status. */
__attribute__((format(printf, 2, 3))) int net_run(int ns, const char *format, ...);
/** net_ask() - the same, and what it prints goes to @out. */
__attribute__((format(printf, 4, 5))) int net_ask(int ns, char *out, size_t size,
						  const char *format, ...);

/** net_packet() - a raw, non-blocking packet socket on @ifname in @ns; own frames not seen. */
int net_packet(struct net *net, int ns, const char *ifname);
/** net_udp() - a non-blocking UDP socket in @ns bound to @ip and @port. */
int net_udp(struct net *net, int ns, const char *ip, uint16_t port);
/** net_socket() - socket() in @ns. */
int net_socket(struct net *net, int ns, int domain, int type, int protocol);

/** net_flags() - interface flags (IFF_*), in @ns; -1: no such interface. */
int net_flags(struct net *net, int ns, const char *ifname);
/**
 * net_dropped() - frames that far0 could not hand to the NIC, as the device counts them
 */
uint64_t net_dropped(struct net *net);

#endif
