/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* vhost-user messages about the device as a whole: features, owner, number of queues, MTU. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <linux/virtio_config.h>

#include "vm/vm_control.h"
#include "vm/vu_back.h"
#include "vm/vu_config.h"
#include "vm/vu_request.h"

#define P(name) (1ull << VHOST_USER_PROTOCOL_F_##name)

int msg_get_features(struct request *q)
{
	msg_reply_u64(q, vm_features(q->c));
	return 0;
}

int msg_set_features(struct request *q)
{
	uint64_t wanted = q->m->payload.u64, odd = wanted & ~vm_features(q->c);

	q->c->asked = wanted;
	if (odd)
		return msg_refuse(q, "features 0x%" PRIx64 " were not offered", odd);
	q->c->features = wanted;
	q->c->has_features = true;
	return vm_iotlb_reset(q->c) ? msg_refuse(q, "out of memory") : 0;
}

int msg_get_protocol_features(struct request *q)
{
	msg_reply_u64(q, vm_protocol_features(q->c));
	return 0;
}

int msg_set_protocol_features(struct request *q)
{
	uint64_t wanted = q->m->payload.u64, odd = wanted & ~vm_protocol_features(q->c);

	q->c->asked_protocol = wanted;
	if (odd)
		return msg_refuse(q, "protocol features 0x%" PRIx64 " were not offered", odd);
	if (wanted & P(INBAND_NOTIFICATIONS) && (~wanted & (P(BACKEND_REQ) | P(REPLY_ACK))))
		return msg_refuse(
			q,
			"INBAND_NOTIFICATIONS needs BACKEND_REQ and REPLY_ACK, features 0x%" PRIx64
			" don't have both",
			wanted);
	q->c->protocol_features = wanted;
	return 0;
}

/* Marks the beginning of a session; more of them in the same session say nothing new. */
int msg_set_owner(struct request *q)
{
	(void)q;
	return 0;
}

/* Deprecated; the specification leaves us to ignore it or to disable all rings. */
int msg_reset_owner(struct request *q)
{
	unsigned i;

	for (i = 0; i < q->c->n_rings; i++) {
		vm_ring_stop(q->c, i);
		vm_ring_enable(q->c, i, false);
	}
	return 0;
}

int msg_get_queue_num(struct request *q)
{
	msg_reply_u64(q, q->c->n_rings / 2);
	return 0;
}

/*
 * QEMU asks for this before it starts the rings, if it was told host_mtu=. It takes a refusal for
 * the end of it: it says "9000Bytes MTU not supported by the backend", and the guest's device stays
 * as it is. To hang up would only have it come again. What limit holds, holds in any case.
 */
int msg_net_set_mtu(struct request *q)
{
	uint64_t mtu = q->m->payload.u64, before = q->c->mtu_refused;

	q->refused = !mtu || vm_set_mtu(q->c, mtu);
	/* QEMU says it again for each pair of queues */
	if (q->refused && (!mtu || mtu != before))
		vm_log(q->c, LOG_WARN,
		       "the front-end wants an MTU of %" PRIu64 ", which is refused: %s", mtu,
		       vm_mtu_remedy(q->c));
	return 0;
}

int msg_set_backend_req_fd(struct request *q)
{
	int ret;

	ret = vu_back_open(q->c, q->m->fd[0]);
	if (ret == -ENOTSOCK)
		return msg_refuse(q, "the file descriptor is not a connected unix socket");
	if (ret)
		return msg_refuse(q, "can't watch the socket: %s", strerror(-ret));
	vu_message_take_fd(q->m, 0);
	return 0;
}

/* An answer without payload says that there are no such bytes. */
int msg_get_config(struct request *q)
{
	struct vhost_user_config *config = &q->m->payload.config;

	if (vu_config_read(q->c, config->offset, config->size, config->bytes))
		msg_reply(q, 0);
	else
		msg_reply(q, VHOST_USER_CONFIG_HEAD + config->size);
	return 0;
}

#define CONFIG_MIGRATION 1 /* flags of SET_CONFIG */

/*
 * No field is the driver's to write: a legacy one may write the address, but ours is fixed if there
 * is one. After a migration the configuration is what this port's options and uplink say.
 */
int msg_set_config(struct request *q)
{
	const struct vhost_user_config *config = &q->m->payload.config;

	q->refused = config->flags != CONFIG_MIGRATION ||
		     !vu_config_has(config->offset, config->size);
	return 0;
}

/* To the state of a device that no driver has found yet: what the front-end is, and can, stays. */
static void reset(struct vm_control *c)
{
	vm_rings_reset(c);
	c->has_features = false;
	c->features = 0;
	c->status = 0;
}

int msg_reset_device(struct request *q)
{
	reset(q->c);
	return 0;
}

#define STATUS_KNOWN                                                                               \
	(VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_DRIVER_OK |        \
	 VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_NEEDS_RESET | VIRTIO_CONFIG_S_FAILED)

/*
 * Virtio 1.2, 2.1. Rings go by their own messages: QEMU says DRIVER_OK when they run already, and
 * FEATURES_OK first of all. It sends back what GET_STATUS told it, so that NEEDS_RESET may come,
 * though it is ours to say. Features that weren't set can't be accepted: the bit doesn't stick.
 */
int msg_set_status(struct request *q)
{
	uint64_t status = q->m->payload.u64;

	if (status & ~(uint64_t)STATUS_KNOWN) {
		q->refused = true;
		vm_log(q->c, LOG_WARN, "SET_STATUS: unknown bits in 0x%" PRIx64 ", refused",
		       status);
		return 0;
	}
	if (!status) {
		reset(q->c);
		return 0;
	}
	if (status & VIRTIO_CONFIG_S_FEATURES_OK && !q->c->has_features) {
		q->refused = true;
		status &= ~VIRTIO_CONFIG_S_FEATURES_OK;
	}
	q->c->status = status & ~VIRTIO_CONFIG_S_NEEDS_RESET;
	return 0;
}

int msg_get_status(struct request *q)
{
	msg_reply_u64(q, vm_status(q->c));
	return 0;
}
