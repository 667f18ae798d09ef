/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A VM's port as JSON: its front-end, what was negotiated by name, and its queues. */
#include <stdio.h>

#include <linux/virtio_config.h>
#include <linux/virtio_net.h>

#include "control/daemon.h"
#include "control/json.h"
#include "control/show.h"
#include "offload/offload.h"
#include "switch/worker.h"
#include "vhost_user.h"

#define HAS(features, bit) ((features) >> (bit)&1)

/* Features by the specification's names, and which offload a guest may ask for, or takes. */
static const struct feature {
	uint8_t bit;
	const char *name;
	uint32_t asks, takes; /* OFFLOAD_* */
} features[] = {
	{VIRTIO_NET_F_CSUM, "csum", .asks = OFFLOAD_CSUM},
	{VIRTIO_NET_F_HOST_TSO4, "host_tso4", .asks = OFFLOAD_TSO4},
	{VIRTIO_NET_F_HOST_TSO6, "host_tso6", .asks = OFFLOAD_TSO6},
	{VIRTIO_NET_F_HOST_ECN, "host_ecn", .asks = OFFLOAD_ECN},
	{VIRTIO_NET_F_HOST_UFO, "host_ufo", .asks = OFFLOAD_UFO},
	{VIRTIO_NET_F_HOST_USO, "host_uso", .asks = OFFLOAD_USO4 | OFFLOAD_USO6},
	{VIRTIO_NET_F_GUEST_CSUM, "guest_csum", .takes = OFFLOAD_CSUM},
	{VIRTIO_NET_F_GUEST_TSO4, "guest_tso4", .takes = OFFLOAD_TSO4},
	{VIRTIO_NET_F_GUEST_TSO6, "guest_tso6", .takes = OFFLOAD_TSO6},
	{VIRTIO_NET_F_GUEST_ECN, "guest_ecn", .takes = OFFLOAD_ECN},
	{VIRTIO_NET_F_GUEST_UFO, "guest_ufo", .takes = OFFLOAD_UFO},
	{VIRTIO_NET_F_GUEST_USO4, "guest_uso4", .takes = OFFLOAD_USO4},
	{VIRTIO_NET_F_GUEST_USO6, "guest_uso6", .takes = OFFLOAD_USO6},
	{VIRTIO_NET_F_MTU, .name = "mtu"},
	{VIRTIO_NET_F_MAC, .name = "mac"},
	{VIRTIO_NET_F_STATUS, .name = "status"},
	{VIRTIO_NET_F_SPEED_DUPLEX, .name = "speed_duplex"},
	{VIRTIO_NET_F_MRG_RXBUF, .name = "mrg_rxbuf"},
	{VIRTIO_NET_F_MQ, .name = "mq"},
	{VIRTIO_F_NOTIFY_ON_EMPTY, .name = "notify_on_empty"},
	{VHOST_USER_F_LOG_ALL, .name = "log_all"},
	{VIRTIO_F_ANY_LAYOUT, .name = "any_layout"},
	{VIRTIO_RING_F_INDIRECT_DESC, .name = "indirect_desc"},
	{VIRTIO_RING_F_EVENT_IDX, .name = "event_idx"},
	{VIRTIO_F_ACCESS_PLATFORM, .name = "access_platform"},
	{VIRTIO_NET_F_GUEST_ANNOUNCE, .name = "guest_announce"},
	{VIRTIO_NET_F_CTRL_VQ, .name = "ctrl_vq"},
	{VIRTIO_F_ORDER_PLATFORM, .name = "order_platform"},
	{VHOST_USER_F_PROTOCOL_FEATURES, .name = "protocol_features"},
	{VIRTIO_F_VERSION_1, .name = "version_1"},
	{VIRTIO_F_RING_PACKED, .name = "ring_packed"},
	{VIRTIO_F_IN_ORDER, .name = "in_order"},
	{VIRTIO_F_RING_RESET, .name = "ring_reset"},
};

#define N_FEATURES (sizeof(features) / sizeof(features[0]))

/* And those of the protocol. */
static const struct feature protocol_features[] = {
	{VHOST_USER_PROTOCOL_F_MQ, .name = "mq"},
	{VHOST_USER_PROTOCOL_F_LOG_SHMFD, .name = "log_shmfd"},
	{VHOST_USER_PROTOCOL_F_RARP, .name = "rarp"},
	{VHOST_USER_PROTOCOL_F_REPLY_ACK, .name = "reply_ack"},
	{VHOST_USER_PROTOCOL_F_NET_MTU, .name = "mtu"},
	{VHOST_USER_PROTOCOL_F_BACKEND_REQ, .name = "backend_req"},
	{VHOST_USER_PROTOCOL_F_PAGEFAULT, .name = "pagefault"},
	{VHOST_USER_PROTOCOL_F_CONFIG, .name = "config"},
	{VHOST_USER_PROTOCOL_F_BACKEND_SEND_FD, .name = "backend_send_fd"},
	{VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD, .name = "inflight_shmfd"},
	{VHOST_USER_PROTOCOL_F_RESET_DEVICE, .name = "reset_device"},
	{VHOST_USER_PROTOCOL_F_INBAND_NOTIFICATIONS, .name = "inband_notifications"},
	{VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS, .name = "configure_mem_slots"},
	{VHOST_USER_PROTOCOL_F_STATUS, .name = "status"},
	{VHOST_USER_PROTOCOL_F_DEVICE_STATE, .name = "device_state"},
};

#define N_PROTOCOL (sizeof(protocol_features) / sizeof(protocol_features[0]))

/* The names of those features in @mask, as a list; "bit_N" for those that @table doesn't know. */
static void add_table(struct json_object *to, const char *key, uint64_t mask,
		      const struct feature *table, unsigned n)
{
	struct json_object *list = json_object_new_array();
	char text[16];
	unsigned i;

	for (i = 0; list && i < n; i++) {
		if (HAS(mask, table[i].bit))
			append(list, json_object_new_string(table[i].name));
		mask &= ~(1ull << table[i].bit);
	}
	for (i = 0; list && i < 64; i++) {
		if (!HAS(mask, i))
			continue;
		snprintf(text, sizeof(text), "bit_%u", i);
		append(list, json_object_new_string(text));
	}
	add(to, key, list);
}

static void add_names(struct json_object *to, const char *key, uint64_t mask)
{
	add_table(to, key, mask, features, N_FEATURES);
}

static void add_protocol(struct json_object *o, const struct vm_state *state)
{
	add_table(o, "protocol_offered", state->protocol_offered, protocol_features, N_PROTOCOL);
	add_table(o, "protocol_asked", state->protocol_asked, protocol_features, N_PROTOCOL);
	add_table(o, "protocol_negotiated", state->protocol_features, protocol_features,
		  N_PROTOCOL);
}

/* The names of kinds of offload, as a list. */
static void add_offloads(struct json_object *to, const char *key, uint32_t kinds)
{
	static const char *const name[] = {"csum", "tso4", "tso6", "ecn", "ufo", "uso4", "uso6"};
	struct json_object *list = json_object_new_array();
	unsigned i;

	for (i = 0; list && i < sizeof(name) / sizeof(name[0]); i++)
		if (HAS(kinds, i))
			append(list, json_object_new_string(name[i]));
	add(to, key, list);
}

/* Negotiated features that change nothing, since what they need was not negotiated. */
static uint64_t ignored(uint64_t negotiated, uint32_t asks, uint32_t takes)
{
	uint64_t mask = 0;
	unsigned i;

	for (i = 0; i < N_FEATURES; i++)
		if ((features[i].asks & ~asks) | (features[i].takes & ~takes))
			mask |= 1ull << features[i].bit;
	return negotiated & mask;
}

static void add_features(struct json_object *o, const struct vm_state *state)
{
	static const char *const offloads[] = {[VM_OFFLOADS_ALL] = "all",
					       [VM_OFFLOADS_CSUM] = "csum",
					       [VM_OFFLOADS_NONE] = "none"};
	uint32_t asks = offload_guest_asks(state->features);
	uint32_t takes = offload_guest_takes(state->features);

	add_names(o, "offered", state->offered);
	add_names(o, "asked", state->asked);
	add_names(o, "negotiated", state->features);
	add_names(o, "ignored", ignored(state->features, asks, takes));
	add_text(o, "offloads", offloads[state->offloads]);
	add_offloads(o, "asks", asks);
	add_offloads(o, "takes", takes);
	add_text(o, "ring",
		 !state->features                             ? NULL
		 : HAS(state->features, VIRTIO_F_RING_PACKED) ? "packed"
							      : "split");
	add_bool(o, "in_order", HAS(state->features, VIRTIO_F_IN_ORDER));
	add_bool(o, "mergeable", HAS(state->features, VIRTIO_NET_F_MRG_RXBUF));
}

static void add_mtu(struct json_object *o, const struct daemon *d, const struct vm_state *state)
{
	struct nic_state nic = {};

	if (d->nic)
		nic_state(d->nic, &nic);
	add_int_or_null(o, "mtu", state->mtu);
	add_int_or_null(o, "mtu_option", state->mtu_option);
	add_int_or_null(o, "mtu_told", state->mtu_told);
	add_int_or_null(o, "mtu_uplink", state->mtu > nic.mtu ? nic.mtu : 0);
}

static struct json_object *show_vm_queue(const struct vm *vm, unsigned index)
{
	struct json_object *o = json_object_new_object();
	struct worker *owner = vm->port.worker[index / 2];
	struct vm_queue_state state = {};

	if (!o)
		return NULL;
	vm_queue_state(vm, index, &state);
	add_int(o, "index", index);
	add_text(o, "direction", index & 1 ? "in" : "out");
	/* Any worker may send to an out-queue; an in-queue belongs to one. */
	add(o, "worker", index & 1 && owner ? json_object_new_int(owner->id) : NULL);
	add_bool(o, "started", state.started);
	add_bool(o, "enabled", state.enabled);
	add_int(o, "size", state.size);
	add_int(o, "calls", state.calls);
	add_text(o, "broken", state.broken);
	return o;
}

void show_vm(struct json_object *o, const struct daemon *d, const struct vm *vm)
{
	struct json_object *queues = json_object_new_array();
	struct vm_state state = {};
	uint8_t mac[6];
	unsigned i;

	vm_state(vm, &state);
	for (i = 0; i < 6; i++)
		mac[i] = vm->port.fix_mac >> 8 * i;
	add_bool(o, "up", state.running);
	add_mac(o, "mac", mac);
	add_text(o, "socket", state.socket);
	add_text(o, "role", state.role == VM_CLIENT ? "client" : "server");
	add_bool(o, "connected", state.connected);
	add_bool(o, "running", state.running);
	add_text(o, "why_not", state.why_not);
	add_text(o, "device_status", state.status);
	add(o, "peer_pid", state.peer_pid > 0 ? json_object_new_int(state.peer_pid) : NULL);
	add_hex(o, "features", state.features);
	add_hex(o, "protocol_features", state.protocol_features);
	add_features(o, &state);
	add_protocol(o, &state);
	add_mtu(o, d, &state);
	add_int(o, "regions", state.regions);
	add_int(o, "memory", state.memory);
	add_int(o, "connections", state.connections);
	add_int_or_null(o, "moved_in", state.moved_in);
	add_text(o, "moved_from", state.moved_in ? state.moved_from : NULL);
	add_int(o, "moved_addresses", state.moved_addresses);
	add_text(o, "ended", state.ended);
	add_int(o, "pairs", state.queues);
	add_int(o, "spread", state.spread);
	if (!queues)
		return;
	for (i = 0; i < 2 * state.queues; i++)
		append(queues, show_vm_queue(vm, i));
	add(o, "queues", queues);
}
