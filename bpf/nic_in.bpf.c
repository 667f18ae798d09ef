/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* On the NIC: steers each frame that arrives into the AF_XDP socket of the VM that it is for. */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <stdbool.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "vxs_bpf.h"

/*
 * Theory of operation
 *
 * The frame's {destination, VLAN} is looked up in the map "fdb". A VM's frame goes into that VM's
 * socket on the receive queue on which it came; user space then needs no look-up of its own. What
 * is for everybody or for nobody in particular goes to the kernel if the host shares the NIC (a TC
 * program clones it for the VMs there), else to the trunk socket of the queue, and user space
 * floods it.
 *
 * The host is never harmed: its own address is compared before anything that a VM can influence,
 * and wherever there is no socket to take a frame (vxsd starting up, a queue that isn't served),
 * the frame passes to the kernel as if this program weren't there. It drops nothing.
 */

#define MAC_MASK  ((1ull << 48) - 1)
#define MAC_GROUP 1ull /* multicast or broadcast: the lowest bit of the first byte on the wire */
#define VLAN_ID   0x0fff

struct vlan_tag {
	__be16 tci;
	__be16 proto;
};

/* Set before load. */
const volatile __u32 queues = 1;
const volatile bool host_share = true;

/* The NIC's own address as it lies in memory, in the low 48 bits; one store changes it. */
__u64 nic_mac;
__u32 hash_wanted; /* some VM has several receive queues; set once */

/* nic_in_hash.bpf.c includes this file with one of its own. */
#ifndef NIC_IN_HASH
#define NIC_IN_HASH 0
static __always_inline int read_hash(struct xdp_md *ctx, __u32 *hash)
{
	(void)ctx;
	(void)hash;
	return -1;
}
#endif

/* Both maps are made and pinned by user space; the declarations are checked against them. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, VXS_FDB_MAX);
	__type(key, struct vxs_fdb_key);
	__type(value, struct vxs_fdb_value);
} fdb SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_XSKMAP);
	__uint(max_entries, VXS_PORTS_MAX);
	__type(key, __u32);
	__type(value, __u32);
} sockets SEC(".maps");

/* Puts the flow hash of a frame that is for a VM before it, where user space finds it. 0: none. */
static __always_inline void put_hash(struct xdp_md *ctx)
{
	struct vxs_nic_meta *meta;
	__u32 hash = 0;

	if (read_hash(ctx, &hash))
		hash = 0;
	if (bpf_xdp_adjust_meta(ctx, -(int)sizeof(*meta)))
		return;
	meta = (void *)(long)ctx->data_meta;
	if ((void *)(meta + 1) <= (void *)(long)ctx->data)
		meta->hash = hash;
}

static __always_inline int to_port(__u32 port, __u32 queue)
{
	return bpf_redirect_map(&sockets, port * queues + queue, XDP_PASS);
}

static __always_inline int to_nobody(__u32 queue)
{
	return host_share ? XDP_PASS : to_port(VXS_PORT_UPLINK, queue);
}

/* Where an address is. A static one is where it is on every VLAN. */
static __always_inline struct vxs_fdb_value *find(struct vxs_fdb_key *key)
{
	struct vxs_fdb_value *to = bpf_map_lookup_elem(&fdb, key);

	if (to || !key->vlan)
		return to;
	key->vlan = 0;
	to = bpf_map_lookup_elem(&fdb, key);
	return to && to->flags & VXS_FDB_STATIC ? to : NULL;
}

SEC("xdp")
int nic_in(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u32 queue = ctx->rx_queue_index;
	struct ethhdr *eth = data;
	struct vxs_fdb_key key = {};
	struct vxs_fdb_value *to;
	__u64 dst = 0;

	if (queue >= queues || data + sizeof(*eth) > end)
		return XDP_PASS;
	__builtin_memcpy(&dst, eth->h_dest, ETH_ALEN);
	if (dst & MAC_GROUP)
		return to_nobody(queue);
	if (dst == (*(volatile __u64 *)&nic_mac & MAC_MASK))
		return XDP_PASS;

	if (eth->h_proto == bpf_htons(ETH_P_8021Q) || eth->h_proto == bpf_htons(ETH_P_8021AD)) {
		struct vlan_tag *tag = data + sizeof(*eth);

		if ((void *)(tag + 1) > end)
			return XDP_PASS; /* a tag cut short: the kernel drops and counts it */
		key.vlan = bpf_ntohs(tag->tci) & VLAN_ID;
	}
	__builtin_memcpy(key.mac, eth->h_dest, ETH_ALEN);
	to = find(&key);
	if (!to)
		return to_nobody(queue);
	/* A port number out of range can only have been written by hand. */
	if (to->port < VXS_PORT_VM || to->port >= VXS_PORTS_MAX)
		return XDP_PASS;
	queue += to->port * queues;
	if (NIC_IN_HASH && *(volatile __u32 *)&hash_wanted)
		put_hash(ctx);
	return bpf_redirect_map(&sockets, queue, XDP_PASS);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
