/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Joins the kernel's side of the NIC with the switch: TC programs between the NIC and a TAP. */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/pkt_cls.h>
#include <stdbool.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "vxs_bpf.h"

/*
 * Theory of operation
 *
 *        host's stack                         vxsd
 *         |       ^                          ^    |
 *  egress |       | ingress                  |    | ingress of the TAP
 *         v       |                          |    v
 *        -----NIC------  --- redirect -->   ---TAP---
 *         |       ^      --- clone ----->
 *         v       |      <-- redirect into the NIC's ingress, marked
 *          the wire
 *
 * What the host sends to a VM goes into the TAP, and only there; what it sends to everybody goes
 * there too. What the wire sends to everybody is cloned into the TAP before the host gets it. What
 * vxsd writes into the TAP turns up at the NIC as if it had come from the wire; the mark on it says
 * that it didn't, so it isn't cloned back: that is the only place where a loop could be.
 *
 * A frame that is left alone gets TC_ACT_UNSPEC, not TC_ACT_OK: filters that others put behind ours
 * still see it. If vxsd was killed, these programs stay, and the TAP is gone: then nothing is
 * redirected, and every frame goes the way it would without us.
 */

#define VLAN_ID  0x0fff
#define FROM_TAP 0x76787330 /* the mark; it lives from the TAP's ingress to the NIC's ingress */

/* Set before load. */
const volatile __u32 nic_ifindex;
const volatile __u32 tap_ifindex;

/* Made and pinned by the daemon; the declaration is checked against it. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, VXS_FDB_MAX);
	__type(key, struct vxs_fdb_key);
	__type(value, struct vxs_fdb_value);
} fdb SEC(".maps");

/* Addresses that the host sends from: the NIC's, and those of macvlans and bridges on it. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct vxs_fdb_key);
	__type(value, __u8);
} host_macs SEC(".maps");

/*
 * Addresses that came out of the TAP. A VM's first frame reaches the host before the daemon has
 * entered its address into the fdb, and the host answers at once: such an answer goes to the TAP as
 * well as to the wire, until the fdb says where the address is.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, VXS_FDB_MAX);
	__type(key, struct vxs_fdb_key);
	__type(value, __u8);
} tap_macs SEC(".maps");

struct vlan_tag {
	__be16 tci;
	__be16 proto;
};

static __always_inline bool is_group(const __u8 *mac)
{
	return mac[0] & 1;
}

/* 01:80:c2:00:00:0x (LLDP, STP): for the neighbour alone, the switch would count it as dropped. */
static __always_inline bool is_link_local(const __u8 *mac)
{
	return mac[0] == 0x01 && mac[1] == 0x80 && mac[2] == 0xc2 && !mac[3] && !mac[4] &&
	       mac[5] < 0x10;
}

/* The VLAN ID of the outermost tag, which lies beside the frame or in it; 0 without one. */
static __always_inline __u16 read_vlan(struct __sk_buff *skb, const struct ethhdr *eth)
{
	struct vlan_tag tag;

	if (skb->vlan_present)
		return skb->vlan_tci & VLAN_ID;
	if (eth->h_proto != bpf_htons(ETH_P_8021Q) && eth->h_proto != bpf_htons(ETH_P_8021AD))
		return 0;
	if (bpf_skb_load_bytes(skb, sizeof(*eth), &tag, sizeof(tag)))
		return 0;
	return bpf_ntohs(tag.tci) & VLAN_ID;
}

static __always_inline struct vxs_fdb_key key_of(const __u8 *mac, __u16 vlan)
{
	struct vxs_fdb_key key = {.vlan = vlan};

	__builtin_memcpy(key.mac, mac, sizeof(key.mac));
	return key;
}

/* The kernel looks the device up for this; its MTU doesn't matter here. */
static __always_inline bool tap_exists(struct __sk_buff *skb)
{
	__u32 mtu = 0;

	return bpf_check_mtu(skb, tap_ifindex, &mtu, 0, 0) >= 0;
}

/* Where an address is. A static one is where it is on every VLAN. */
static __always_inline struct vxs_fdb_value *find(const struct vxs_fdb_key *key)
{
	struct vxs_fdb_value *to = bpf_map_lookup_elem(&fdb, key);
	struct vxs_fdb_key untagged = *key;

	if (to || !key->vlan)
		return to;
	untagged.vlan = 0;
	to = bpf_map_lookup_elem(&fdb, &untagged);
	return to && to->flags & VXS_FDB_STATIC ? to : NULL;
}

static __always_inline bool is_for_vm(struct __sk_buff *skb, const struct vxs_fdb_key *key)
{
	struct vxs_fdb_value *to = find(key);

	return to && to->port >= VXS_PORT_VM && to->port < VXS_PORTS_MAX && tap_exists(skb);
}

SEC("tc")
int vxs_nic_egress(struct __sk_buff *skb)
{
	struct vxs_fdb_key key;
	struct ethhdr eth;
	__u8 one = 1;
	__u16 vlan;

	if (bpf_skb_load_bytes(skb, 0, &eth, sizeof(eth)))
		return TC_ACT_UNSPEC;
	vlan = read_vlan(skb, &eth);
	key = key_of(eth.h_source, vlan);
	if (!is_group(eth.h_source) && !bpf_map_lookup_elem(&host_macs, &key))
		bpf_map_update_elem(&host_macs, &key, &one, BPF_ANY);

	if (is_group(eth.h_dest)) {
		if (!is_link_local(eth.h_dest))
			bpf_clone_redirect(skb, tap_ifindex, 0);
		return TC_ACT_UNSPEC;
	}
	key = key_of(eth.h_dest, vlan);
	if (is_for_vm(skb, &key))
		return bpf_redirect(tap_ifindex, 0);
	if (bpf_map_lookup_elem(&tap_macs, &key))
		bpf_clone_redirect(skb, tap_ifindex, 0);
	return TC_ACT_UNSPEC;
}

SEC("tc")
int vxs_nic_ingress(struct __sk_buff *skb)
{
	struct vxs_fdb_key key;
	struct ethhdr eth;

	if (skb->mark == FROM_TAP) {
		skb->mark = 0;
		return TC_ACT_UNSPEC;
	}
	/* For the NIC's own address: the host's, whatever a VM may claim. */
	if (skb->pkt_type == PACKET_HOST)
		return TC_ACT_UNSPEC;
	if (bpf_skb_load_bytes(skb, 0, &eth, sizeof(eth)))
		return TC_ACT_UNSPEC;
	if (is_group(eth.h_dest)) {
		if (!is_link_local(eth.h_dest))
			bpf_clone_redirect(skb, tap_ifindex, 0);
		return TC_ACT_UNSPEC;
	}
	/* The XDP program lets a VM's frames pass where there is no socket for them. */
	key = key_of(eth.h_dest, read_vlan(skb, &eth));
	if (is_for_vm(skb, &key))
		return bpf_redirect(tap_ifindex, 0);
	if (!bpf_map_lookup_elem(&host_macs, &key))
		bpf_clone_redirect(skb, tap_ifindex, 0);
	return TC_ACT_UNSPEC;
}

SEC("tc")
int vxs_tap_ingress(struct __sk_buff *skb)
{
	struct vxs_fdb_key key;
	struct ethhdr eth;
	__u8 one = 1;

	if (!bpf_skb_load_bytes(skb, 0, &eth, sizeof(eth)) && !is_group(eth.h_source)) {
		key = key_of(eth.h_source, read_vlan(skb, &eth));
		if (!bpf_map_lookup_elem(&tap_macs, &key))
			bpf_map_update_elem(&tap_macs, &key, &one, BPF_ANY);
	}
	skb->mark = FROM_TAP;
	return bpf_redirect(nic_ifindex, BPF_F_INGRESS);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
