/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What we offer to a VM's front-end: virtio features, and features of the protocol. */
#include <string.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>

#include "vm/vm_control.h"
#include "vm/vu_postcopy.h"

#define BIT(n) (1ull << (n))

/* What a guest may leave to us (CSUM, HOST_*), and be left with (GUEST_*). */
static uint64_t offload_features(enum vm_offloads offloads)
{
	uint64_t features = BIT(VIRTIO_NET_F_CSUM) | BIT(VIRTIO_NET_F_GUEST_CSUM);

	if (offloads == VM_OFFLOADS_NONE)
		return 0;
	if (offloads == VM_OFFLOADS_CSUM)
		return features;
	return features | BIT(VIRTIO_NET_F_HOST_TSO4) | BIT(VIRTIO_NET_F_HOST_TSO6) |
	       BIT(VIRTIO_NET_F_HOST_ECN) | BIT(VIRTIO_NET_F_HOST_UFO) |
	       BIT(VIRTIO_NET_F_HOST_USO) | BIT(VIRTIO_NET_F_GUEST_TSO4) |
	       BIT(VIRTIO_NET_F_GUEST_TSO6) | BIT(VIRTIO_NET_F_GUEST_ECN) |
	       BIT(VIRTIO_NET_F_GUEST_UFO) | BIT(VIRTIO_NET_F_GUEST_USO4) |
	       BIT(VIRTIO_NET_F_GUEST_USO6);
}

/*
 * QEMU can't use CONFIG for a network device, warns at each start of it if it is offered, and has
 * the features that go with it from elsewhere.
 */
static bool offers_config(const struct vm_control *c)
{
	return !c->peer_is_qemu;
}

uint64_t vm_features(const struct vm_control *c)
{
	static const uint8_t none[6];
	uint64_t features = BIT(VIRTIO_F_VERSION_1) | BIT(VIRTIO_F_ANY_LAYOUT) |
			    BIT(VIRTIO_F_NOTIFY_ON_EMPTY) | BIT(VIRTIO_RING_F_INDIRECT_DESC) |
			    BIT(VIRTIO_RING_F_EVENT_IDX) | BIT(VIRTIO_F_RING_PACKED) |
			    BIT(VIRTIO_F_IN_ORDER) | BIT(VIRTIO_F_ACCESS_PLATFORM) |
			    BIT(VIRTIO_NET_F_MRG_RXBUF) | BIT(VIRTIO_NET_F_GUEST_ANNOUNCE) |
			    BIT(VHOST_USER_F_LOG_ALL) | BIT(VHOST_USER_F_PROTOCOL_FEATURES);

	if (c->ring_reset == VM_RING_RESET_ON ||
	    (c->ring_reset == VM_RING_RESET_AUTO && !c->peer_is_qemu))
		features |= BIT(VIRTIO_F_RING_RESET);
	if (c->n_rings > 2)
		features |= BIT(VIRTIO_NET_F_MQ);
	if (c->mtu_option)
		features |= BIT(VIRTIO_NET_F_MTU);
	if (offers_config(c)) {
		features |= BIT(VIRTIO_NET_F_STATUS) | BIT(VIRTIO_NET_F_SPEED_DUPLEX);
		if (memcmp(c->mac, none, sizeof(none)))
			features |= BIT(VIRTIO_NET_F_MAC);
	}
	return features | offload_features(c->offloads);
}

uint64_t vm_protocol_features(const struct vm_control *c)
{
	/* clang-format off */
	uint64_t features =
		BIT(VHOST_USER_PROTOCOL_F_MQ) |
		BIT(VHOST_USER_PROTOCOL_F_LOG_SHMFD) |
		BIT(VHOST_USER_PROTOCOL_F_RARP) |
		BIT(VHOST_USER_PROTOCOL_F_REPLY_ACK) |
		BIT(VHOST_USER_PROTOCOL_F_NET_MTU) |
		BIT(VHOST_USER_PROTOCOL_F_BACKEND_REQ) |
		BIT(VHOST_USER_PROTOCOL_F_BACKEND_SEND_FD) |
		BIT(VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD) |
		BIT(VHOST_USER_PROTOCOL_F_RESET_DEVICE) |
		BIT(VHOST_USER_PROTOCOL_F_STATUS) |
		BIT(VHOST_USER_PROTOCOL_F_DEVICE_STATE);
	/* clang-format on */

	/* A front-end that has this may refuse to migrate by post-copy (vhost-user.rst). */
	if (!c->postcopy_option)
		features |= BIT(VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS);
	/* QEMU (7.2) waits for ever for its second pair's answer to SET_MEM_TABLE. */
	else if (c->n_rings == 2 && vu_postcopy_is_possible())
		features |= BIT(VHOST_USER_PROTOCOL_F_PAGEFAULT);
	/* QEMU takes each of the lower bits, also this one, none of whose messages it knows. */
	if (!c->peer_is_qemu)
		features |= BIT(VHOST_USER_PROTOCOL_F_INBAND_NOTIFICATIONS);
	if (offers_config(c))
		features |= BIT(VHOST_USER_PROTOCOL_F_CONFIG);
	/*
	 * GPA_ADDRESSES, SHMEM and what is newer: no front-end is there to test them with, and two
	 * of those in use disagree on which bit is which.
	 */
	return features;
}
