/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* vhost-user messages about what outlives us: in-flight buffers, and the device's state. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include <linux/virtio_config.h>

#include "vm/vm_control.h"
#include "vm/vm_transfer.h"
#include "vm/vu_inflight.h"
#include "vm/vu_request.h"

/* What GET_INFLIGHT_FD asks for, and SET_INFLIGHT_FD gives. */
static int check_inflight(struct request *q, const struct vhost_user_inflight *m)
{
	if (!q->c->has_features)
		return msg_refuse(q, "the ring format, which SET_FEATURES says, isn't known yet");
	if (!m->n_queues || m->n_queues > q->c->n_rings)
		return msg_refuse(q, "%u queues, not 1 to %u", m->n_queues, q->c->n_rings);
	if (!m->queue_size || m->queue_size > 32768)
		return msg_refuse(q, "queues of %u descriptors, not 1 to 32768", m->queue_size);
	return 0;
}

int msg_get_inflight_fd(struct request *q)
{
	struct vhost_user_inflight *m = &q->m->payload.inflight;
	bool packed = q->c->features & 1ull << VIRTIO_F_RING_PACKED;
	int ret;

	ret = check_inflight(q, m);
	if (ret)
		return ret;
	m->mmap_size = vu_inflight_size(m->n_queues, m->queue_size, packed);
	m->mmap_offset = 0;
	ret = vu_inflight_make(&q->c->inflight, m->mmap_size);
	if (ret)
		return msg_refuse(q, "can't make %" PRIu64 " bytes: %s", m->mmap_size,
				  strerror(-ret));
	q->reply_fd = q->c->inflight->fd;
	msg_reply(q, sizeof(*m));
	return 0;
}

/*
 * A ring that has not run since, on this connection, goes on where this memory says that it stood.
 * Of others we know better, as of all if the memory is what they have used.
 */
int msg_set_inflight_fd(struct request *q)
{
	const struct vhost_user_inflight *m = &q->m->payload.inflight;
	bool packed = q->c->features & 1ull << VIRTIO_F_RING_PACKED, same;
	unsigned i;
	int ret;

	ret = check_inflight(q, m);
	if (ret)
		return ret;
	ret = vu_inflight_map(&q->c->inflight, m, q->m->fd[0], packed, &same);
	if (ret)
		return msg_refuse(q,
				  "%" PRIu64 " bytes at %" PRIu64 " for %u queues of %u "
				  "descriptors: %s",
				  m->mmap_size, m->mmap_offset, m->n_queues, m->queue_size,
				  strerror(-ret));
	for (i = 0; i < q->c->n_rings; i++)
		q->c->ring[i].resume = !same && !q->c->ring[i].kicked;
	return 0;
}

/* An error is an answer here, and the connection stays: the VM goes on where it is. */
int msg_set_device_state_fd(struct request *q)
{
	const struct vhost_user_transfer *m = &q->m->payload.transfer;
	uint64_t value = VHOST_USER_STATE_NOFD | 1;
	int ret = -EINVAL;

	if (m->phase == 0 && m->direction <= VHOST_USER_STATE_LOAD)
		ret = vm_transfer_start(q->c, m->direction == VHOST_USER_STATE_LOAD);
	if (!ret) {
		q->reply_fd = q->c->transfer->fd;
		value = 0;
	} else {
		vm_log(q->c, LOG_WARN, "can't %s the port's state: %s",
		       m->direction == VHOST_USER_STATE_LOAD ? "load" : "save",
		       ret == -EBUSY ? "queues run" : strerror(-ret));
	}
	msg_reply_u64(q, value);
	return 0;
}

int msg_check_device_state(struct request *q)
{
	msg_reply_u64(q, vm_transfer_end(q->c) ? 1 : 0);
	return 0;
}
