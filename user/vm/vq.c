/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A virtqueue's birth and end: checks the ring's place in guest memory. Control thread only. */
#include "vm/vq.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>

#include "offload/offload.h"
#include "vm/vq_log.h"
#include "vm/vq_journal.h"

#define HAS(features, bit) (!!((features) >> (bit)&1))

static bool is_aligned(const void *p, uintptr_t to)
{
	return !((uintptr_t)p & (to - 1));
}

/* A part of the ring: 0 and *@part, -EFAULT, or -EAGAIN and setup->absent. */
static int find_part(struct vq_setup *s, uint64_t addr, uint64_t len, bool write, unsigned align,
		     void *part)
{
	void *at = NULL;
	int ret;

	ret = vu_mem_part(s->mem, addr, len, write, &at, &s->absent);
	if (ret)
		return ret;
	if (!is_aligned(at, align))
		return -EFAULT;
	memcpy(part, &at, sizeof(at));
	return 0;
}

/* Finds the ring's three parts (virtio 1.2, 2.7: sizes and alignment). */
static int place_split(struct vq *q, struct vq_setup *s)
{
	uint64_t event = q->event_idx ? 2 : 0; /* used_event and avail_event behind the rings */
	int ret;

	ret = find_part(s, s->desc_uva, 16ull * s->size, false, 16, &q->desc);
	if (!ret)
		ret = find_part(s, s->avail_uva, 4 + 2ull * s->size + event, false, 2, &q->avail);
	if (!ret)
		ret = find_part(s, s->used_uva, 4 + 8ull * s->size + event, true, 4, &q->used);
	return ret;
}

/* The same (2.8): in vhost-user's terms driver events are avail, device events are used. */
static int place_packed(struct vq *q, struct vq_setup *s)
{
	int ret;

	ret = find_part(s, s->desc_uva, 16ull * s->size, true, 16, &q->ring);
	if (!ret)
		ret = find_part(s, s->avail_uva, sizeof(*q->driver), false, 4, &q->driver);
	if (!ret)
		ret = find_part(s, s->used_uva, sizeof(*q->device), true, 4, &q->device);
	return ret;
}

#define BASE_AT   0x7fff
#define BASE_WRAP 0x8000

static int begin_split(struct vq *q, uint32_t base)
{
	if (q->size & (q->size - 1) || base > UINT16_MAX)
		return -EINVAL;
	q->avail_at = base;
	return 0;
}

/*
 * Two halves: where buffers are taken, and where they are used. What was taken but not used is
 * taken again. Some know of the lower half only, and leave the other 0 (DPDK).
 */
static int begin_packed(struct vq *q, uint32_t base)
{
	uint16_t taken = base & UINT16_MAX, used = base >> 16;

	if (!used)
		used = taken;
	if ((taken & BASE_AT) >= q->size || (used & BASE_AT) >= q->size)
		return -EINVAL;
	q->avail_at = q->used_at = used & BASE_AT;
	q->avail_wrap = q->used_wrap = used & BASE_WRAP;
	q->chain = calloc(q->size, sizeof(*q->chain));
	return q->chain ? 0 : -ENOMEM;
}

/*
 * Whether a packed ring may stand where it is said to: nothing ahead was used in this lap, and
 * nothing behind was last used in the one before. Only we know where it stands, and a front-end
 * that we couldn't tell (vxsd was killed) says that it is at its beginning. What stands there are
 * buffers that the guest has had back and uses for something else: we must not write to them.
 */
static bool is_in_place(const struct vq *q)
{
	const uint16_t both = 1 << VRING_PACKED_DESC_F_AVAIL | 1 << VRING_PACKED_DESC_F_USED;
	const uint16_t now = q->used_wrap ? both : 0, before = now ^ both;
	unsigned i;

	for (i = 0; i < q->size; i++) {
		uint16_t flags = le16toh(__atomic_load_n(&q->ring[i].flags, __ATOMIC_RELAXED));

		if ((flags & both) == (i < q->used_at ? before : now))
			return false;
	}
	return true;
}

uint32_t vq_base(const struct vq *q)
{
	if (!q->packed)
		return q->avail_at;
	return q->avail_at | (q->avail_wrap ? BASE_WRAP : 0) |
	       (uint32_t)(q->used_at | (q->used_wrap ? BASE_WRAP : 0)) << 16;
}

/*
 * Asks for no kicks: a worker that polls needs none, and one that is about to sleep asks for them
 * by itself. With EVENT_IDX that is an index which the driver has just passed (2.7.10).
 */
static void be_quiet(struct vq *q)
{
	uint16_t event = q->avail_at - 1, flags = q->event_idx ? 0 : VRING_USED_F_NO_NOTIFY;

	q->quiet = true;
	if (q->packed) {
		__atomic_store_n(&q->device->flags, htole16(VRING_PACKED_EVENT_FLAG_DISABLE),
				 __ATOMIC_RELAXED);
		return;
	}
	__atomic_store_n(&q->used->flags, flags, __ATOMIC_RELAXED);
	if (q->event_idx)
		__atomic_store_n((uint16_t *)&q->used->ring[q->size], event, __ATOMIC_RELAXED);
}

/*
 * The ring's place in the dirty log. An IOMMU's address for it isn't the guest's physical one, so
 * that is looked up. All of what we may write of it counts as written: a ring may have run before
 * its log came (QEMU starts the rings of a guest that boots during a migration that way).
 */
static void begin_log(struct vq *q, const struct vq_setup *s)
{
	q->log = s->log;
	q->log_fd = s->log_fd;
	q->log_used = VQ_NOT_LOGGED;
	if (!q->log)
		return;
	if (s->log_used && HAS(s->features, VIRTIO_F_ACCESS_PLATFORM))
		q->log_used = vu_log_gpa(q->mem, q->packed ? (void *)q->device : q->used);
	else if (s->log_used)
		q->log_used = s->log_addr;
	if (q->packed) {
		log_at(q, q->ring, 16ull * q->size);
		log_used(q, 0, sizeof(*q->device));
	} else {
		log_used(q, 0, 4 + 8ull * q->size + (q->event_idx ? 2 : 0));
	}
}

int vq_new(struct vq **out, struct vq_setup *setup)
{
	struct vq *q;
	int err;

	if (!setup->size || setup->size > 32768)
		return -EINVAL;
	if (posix_memalign((void **)&q, 64, sizeof(*q)))
		return -ENOMEM;
	memset(q, 0, sizeof(*q));
	q->mem = setup->mem;
	q->size = setup->size;
	q->event_idx = HAS(setup->features, VIRTIO_RING_F_EVENT_IDX);
	q->indirect = HAS(setup->features, VIRTIO_RING_F_INDIRECT_DESC);
	q->mergeable = HAS(setup->features, VIRTIO_NET_F_MRG_RXBUF);
	q->packed = HAS(setup->features, VIRTIO_F_RING_PACKED);
	q->in_order = HAS(setup->features, VIRTIO_F_IN_ORDER);
	q->notify_on_empty = HAS(setup->features, VIRTIO_F_NOTIFY_ON_EMPTY);
	q->asks = offload_guest_asks(setup->features);
	q->takes = offload_guest_takes(setup->features);
	q->hdr_len = q->mergeable || HAS(setup->features, VIRTIO_F_VERSION_1) ? VQ_HDR_MAX
									      : VQ_HDR_LEGACY;
	q->enabled = setup->enabled;
	q->call_fd = setup->call_fd;
	q->cursor.write = setup->out;
	q->iova = setup->mem->iotlb;
	err = q->packed ? begin_packed(q, setup->base) : begin_split(q, setup->base);
	if (!err)
		err = q->packed ? place_packed(q, setup) : place_split(q, setup);
	if (err) {
		free(q->chain);
		free(q);
		return err;
	}
	if (!q->packed)
		q->used_at = __atomic_load_n(&q->used->idx, __ATOMIC_ACQUIRE);
	else if (setup->journal)
		vq_journal_start(q, setup->journal, setup->resume);
	if (q->packed && !is_in_place(q))
		q->broken = VQ_BAD_PLACE;
	q->signalled = q->used_at;
	be_quiet(q);
	begin_log(q, setup);
	pthread_spin_init(&q->lock, PTHREAD_PROCESS_PRIVATE);
	*out = q;
	return 0;
}

void vq_free(struct vq *q)
{
	if (!q)
		return;
	pthread_spin_destroy(&q->lock);
	free(q->chain);
	free(q);
}

const char *vq_broken_text(enum vq_broken why)
{
	static const char *const text[VQ_BROKEN_MAX] = {
		[VQ_OK] = "not broken",
		[VQ_BAD_AVAIL] = "available index jumped by more than the ring's size",
		[VQ_BAD_HEAD] = "descriptor index or buffer id not below the ring's size",
		[VQ_BAD_CHAIN] = "descriptor chain loops or is longer than the ring",
		[VQ_BAD_ADDRESS] = "descriptor points outside the guest's memory",
		[VQ_BAD_INDIRECT] = "indirect table of a wrong size, nested, or not negotiated",
		[VQ_BAD_ORDER] = "descriptor is writable where it must be readable, or the reverse",
		[VQ_BAD_PLACE] = "a packed ring's place is lost when vxsd ends: reboot the guest",
		[VQ_BAD_CALL] = "its call eventfd was full, and made to block whoever writes it",
		[VQ_BAD_HEADER] = "descriptor chain too short for the virtio-net header",
	};

	return (unsigned)why < VQ_BROKEN_MAX ? text[why] : "unknown";
}
