/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A VM behind an IOMMU: what its front-end says of it, and what we ask. Control thread. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>

#include "vm/vm_control.h"
#include "vm/vu_back.h"
#include "vm/vu_iotlb.h"
#include "vm/vu_request.h"

/*
 * Theory of operation
 *
 * With ACCESS_PLATFORM all addresses are the IOMMU's, also those of rings (vhost-user.rst, "IOMMU
 * support"). What we don't know is asked for on the back-end channel, once in AGAIN_MS for a page,
 * and comes as an update, if it comes. Until then chains wait and frames are dropped (vm_absent.c);
 * a guest that maps each buffer anew would lose every other frame, so we ask for some ahead.
 *
 * An invalidation is answered when nobody can use what it names any more: it is removed, rings that
 * lie in it rest (all of them, for one wait), workers are waited for. Rings then ask for their
 * addresses, as they do when they start, and come back with the answer.
 *
 * Guests whose IOMMU is lazy (Linux by default) take back everything, rings and all, ten
 * milliseconds after they have unmapped anything: some hundred times a second. So all parts of all
 * rings are asked for at once, and with them the buffers that frames for the guest will need next:
 * a guest that gets few frames would never get one otherwise. A front-end may make that a lot, with
 * many rings of the largest size, at each of its messages; so what may be under way has a limit,
 * and what is beyond it is asked for when a ring starts, or misses it.
 *
 * The front-end may only name memory that it has shared, in whole pages: the least that an IOMMU
 * maps, and what bounds our work for a frame.
 */
#define AHEAD      64  /* buffers that are asked for together with one */
#define PENDING    256 /* pages that were asked for: no more until they come, or AGAIN_MS passed */
#define RING_AHEAD (16 * VU_IOTLB_PAGE) /* of each part of a ring */
#define AGAIN_MS   500                  /* after that no answer is believed to come */

struct vm_iotlb {
	struct vu_iotlb *table;
	struct {
		uint64_t absent; /* 0: none */
		uint64_t at;     /* ms */
	} pending[PENDING];
	uint64_t full_until; /* all of pending[] is used, ms; 0: it isn't known to be */
	/* where frames for the guest would have gone next when rings were paused, by receive queue
	 */
	uint64_t wanted[PORT_QUEUES_MAX][AHEAD];
	unsigned n_wanted[PORT_QUEUES_MAX];
	int error; /* why the last miss could not be sent; 0: it was */
};

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000ull + t.tv_nsec / 1000000;
}

void vm_iotlb_close(struct vm_control *c)
{
	if (!c->iotlb)
		return;
	if (c->mem)
		c->mem->iotlb = NULL;
	vu_iotlb_free(c->iotlb->table);
	free(c->iotlb);
	c->iotlb = NULL;
}

int vm_iotlb_reset(struct vm_control *c)
{
	struct vm_iotlb *t;
	unsigned i;
	int ret;

	for (i = 0; c->iotlb && i < c->n_rings; i++)
		c->ring[i].misplaced = false;
	vm_iotlb_close(c);
	if (!(c->features & 1ull << VIRTIO_F_ACCESS_PLATFORM))
		return 0;
	t = calloc(1, sizeof(*t));
	if (!t)
		return -ENOMEM;
	ret = vu_iotlb_new(&t->table);
	if (ret)
		free(t);
	else
		c->iotlb = t;
	return ret;
}

void vm_iotlb_attach(struct vm_control *c)
{
	const struct vu_iotlb *table = c->iotlb ? c->iotlb->table : NULL;

	if (c->mem->iotlb != table)
		c->mem->iotlb = table;
}

static bool is_full(const struct vm_iotlb *t, uint64_t now)
{
	return now < t->full_until;
}

/* Where to note a page; PENDING: nowhere, it was asked for a moment ago, or too many others were.
 */
static unsigned place_for(struct vm_iotlb *t, uint64_t absent, uint64_t now)
{
	uint64_t oldest = now;
	unsigned i, at = PENDING;

	for (i = 0; i < PENDING; i++) {
		if (!t->pending[i].absent || now - t->pending[i].at >= AGAIN_MS)
			at = i;
		else if (t->pending[i].absent == absent)
			return PENDING;
		else if (t->pending[i].at < oldest)
			oldest = t->pending[i].at;
	}
	if (at == PENDING)
		t->full_until = oldest + AGAIN_MS;
	return at;
}

/*
 * It was answered. An invalidation is no answer: what was asked for before, and not answered before
 * it, will be afterwards. Asked anew each time, a front-end that is slow would never catch up.
 */
static void forget_pending(struct vm_iotlb *t, uint64_t iova, uint64_t last)
{
	unsigned i;

	for (i = 0; i < PENDING; i++) {
		uint64_t page = t->pending[i].absent & ~(VU_IOTLB_PAGE - 1);

		if (t->pending[i].absent && page >= iova && page <= last) {
			t->pending[i].absent = 0;
			t->full_until = 0;
		}
	}
}

/* Sends a miss, unless that was just done; true: it was sent. */
static bool ask(struct vm_control *c, uint64_t absent)
{
	struct vm_iotlb *t = c->iotlb;
	struct vhost_user_iotlb miss = {
		.iova = absent & ~(VU_IOTLB_PAGE - 1),
		.perm = absent & VU_ABSENT_WRITE ? VHOST_USER_ACCESS_WO : VHOST_USER_ACCESS_RO,
		.type = VHOST_USER_IOTLB_MISS,
	};
	uint64_t now = now_ms();
	unsigned at;

	absent = miss.iova | (absent & VU_ABSENT_MASK);
	at = is_full(t, now) ? PENDING : place_for(t, absent, now);
	if (at == PENDING)
		return false;
	t->error = vu_back_send(c, VHOST_USER_BACKEND_IOTLB_MSG, &miss, sizeof(miss));
	if (t->error) /* once more in a second: vm_rings_want_again() */
		return false;
	t->pending[at].absent = absent;
	t->pending[at].at = now;
	return true;
}

static void ask_unknown(struct vm_control *c, const uint64_t *addr, unsigned n, bool write)
{
	struct vu_window w;
	unsigned i;

	for (i = 0; i < n && !is_full(c->iotlb, now_ms()); i++)
		if (!vu_mem_find(c->mem, addr[i], write, &w) && w.absent & VU_ABSENT_IOVA)
			ask(c, w.absent);
}

/* Where one buffer is not known, the next ones will not be either. */
static void ask_ahead(struct vm_control *c, const struct vq *q, uint64_t absent)
{
	uint64_t addr[AHEAD];

	ask_unknown(c, addr, vq_ahead(q, absent, addr, AHEAD), absent & VU_ABSENT_WRITE);
}

void vm_iotlb_want_ring(struct vm_control *c, unsigned index)
{
	const struct vm_ring *r = &c->ring[index];
	const bool packed = c->features & 1ull << VIRTIO_F_RING_PACKED;
	const unsigned event = c->features & 1ull << VIRTIO_RING_F_EVENT_IDX ? 2 : 0;
	const struct {
		uint64_t at, len;
		bool write;
	} part[] = {
		{r->addr.desc, 16ull * r->size, packed},
		{r->addr.avail, packed ? 4 : 2ull * r->size + 4 + event, false},
		{r->addr.used, packed ? 4 : 8ull * r->size + 4 + event, true},
	};
	uint64_t addr, skip, page;
	unsigned i;

	if (!c->iotlb || is_full(c->iotlb, now_ms()))
		return;
	for (i = 0; i < sizeof(part) / sizeof(part[0]); i++) {
		skip = part[i].at % VU_IOTLB_PAGE;
		for (page = 0; page < skip + part[i].len && page < RING_AHEAD;
		     page += VU_IOTLB_PAGE) {
			addr = part[i].at - skip + page;
			ask_unknown(c, &addr, 1, part[i].write);
		}
	}
}

void vm_iotlb_want_buffers(struct vm_control *c, const struct vq *q)
{
	uint64_t addr[AHEAD];

	if (c->iotlb)
		ask_unknown(c, addr, vq_next(q, addr, AHEAD), true);
}

void vm_iotlb_note_buffers(struct vm_control *c, unsigned index, const struct vq *q)
{
	if (c->iotlb && !(index & 1))
		c->iotlb->n_wanted[index / 2] = vq_next(q, c->iotlb->wanted[index / 2], AHEAD);
}

void vm_iotlb_miss(struct vm_control *c, uint64_t absent)
{
	const bool write = absent & VU_ABSENT_WRITE;
	struct vu_window w;
	unsigned i;

	if (!c->iotlb || !c->mem)
		return;
	vm_iotlb_attach(c);
	if (vu_mem_find(c->mem, absent & ~VU_ABSENT_MASK, write, &w)) {
		vm_addresses_arrived(c); /* while we were told */
		return;
	}
	if (!ask(c, absent))
		return;
	for (i = 0; i < c->n_rings; i++) {
		const struct vq *q = c->ring[i].q;

		if (q && (__atomic_load_n(&q->told, __ATOMIC_RELAXED) == absent ||
			  __atomic_load_n(&q->absent, __ATOMIC_RELAXED) == absent))
			ask_ahead(c, q, absent);
	}
}

const char *vm_iotlb_why(const struct vm_control *c)
{
	if (!c->iotlb || !c->iotlb->error)
		return NULL;
	if (c->iotlb->error == -ENOTCONN)
		return "the guest has an IOMMU, but the front-end gave no back-end channel on "
		       "which to "
		       "ask for its addresses";
	return "the guest has an IOMMU, and the front-end doesn't read what we ask of its "
	       "addresses";
}

/* All of it is memory that the front-end has shared. */
static bool is_shared(const struct vu_mem *mem, uint64_t uva, uint64_t size)
{
	uint64_t done, part;
	unsigned i;

	for (done = 0; done < size; done += part) {
		for (i = 0, part = 0; i < mem->n && !part; i++) {
			uint64_t off = uva + done - mem->region[i].uva;

			if (off < mem->region[i].size)
				part = mem->region[i].size - off;
		}
		if (!part)
			return false;
		if (part > size - done)
			return true;
	}
	return true;
}

static bool overlaps(uint64_t at, uint64_t len, uint64_t iova, uint64_t last)
{
	return at <= last && at + (len - 1) >= iova;
}

/* Rough is good enough: a ring that rests for nothing comes back at once. */
static bool ring_is_in(const struct vm_ring *r, uint64_t iova, uint64_t last)
{
	const uint64_t len = 16ull * r->size + 8; /* more than any part has */

	return r->q && (overlaps(r->addr.desc, len, iova, last) ||
			overlaps(r->addr.avail, len, iova, last) ||
			overlaps(r->addr.used, len, iova, last));
}

/* Rings first: without them nothing goes on. */
static void ask_wanted(struct vm_control *c)
{
	unsigned i;

	vm_iotlb_attach(c);
	for (i = 0; i < c->n_rings; i++)
		if (c->ring[i].kicked && c->ring[i].has_addr)
			vm_iotlb_want_ring(c, i);
	for (i = 0; i < c->n_rings / 2; i++)
		ask_unknown(c, c->iotlb->wanted[i], c->iotlb->n_wanted[i], true);
}

/* What is at @iova to @last is another now: nobody uses what it was when this returns. */
static void settle(struct vm_control *c, uint64_t iova, uint64_t last)
{
	unsigned i;

	for (i = 0; i < c->n_rings; i++)
		c->ring[i].misplaced = false;
	for (i = 0; i < c->n_rings && !ring_is_in(&c->ring[i], iova, last); i++)
		;
	if (i == c->n_rings) {
		vu_iotlb_settle(c->iotlb->table);
		return;
	}
	for (i = 0; i < PORT_QUEUES_MAX; i++)
		c->iotlb->n_wanted[i] = 0;
	vm_rings_pause(c, 0, c->n_rings);
	vu_iotlb_settle(c->iotlb->table);
	ask_wanted(c);
}

static int update(struct vm_control *c, const struct vhost_user_iotlb *m)
{
	const struct vu_iotlb_entry new = {m->iova, m->iova + m->size - 1, m->uva, m->perm};
	bool changed;
	int ret;

	if (!c->mem || !m->size || new.last < new.iova || m->uva + m->size < m->uva ||
	    (m->iova | m->size | m->uva) & (VU_IOTLB_PAGE - 1) || !m->perm ||
	    m->perm > (VHOST_USER_ACCESS_RO | VHOST_USER_ACCESS_WO) ||
	    !is_shared(c->mem, m->uva, m->size))
		return -EINVAL;
	ret = vu_iotlb_update(c->iotlb->table, &new, &changed);
	if (ret)
		return ret;
	forget_pending(c->iotlb, new.iova, new.last);
	if (changed)
		settle(c, new.iova, new.last);
	vm_addresses_arrived(c);
	return 0;
}

/* Of size 0, or one that wraps: all there is. QEMU says so of everything, whose size has no room.
 */
static int invalidate(struct vm_control *c, const struct vhost_user_iotlb *m)
{
	uint64_t last = m->iova + m->size - 1;
	int ret;

	if (!m->size || last < m->iova)
		last = UINT64_MAX;
	ret = vu_iotlb_invalidate(c->iotlb->table, m->iova, last);
	if (ret)
		return ret;
	settle(c, m->iova, last);
	return 0;
}

int msg_iotlb(struct request *q)
{
	const struct vhost_user_iotlb *m = &q->m->payload.iotlb;
	int ret = -EINVAL;

	if (m->type == VHOST_USER_IOTLB_UPDATE)
		ret = update(q->c, m);
	else if (m->type == VHOST_USER_IOTLB_INVALIDATE)
		ret = invalidate(q->c, m);
	if (ret == -ENOMEM)
		return msg_refuse(q, "out of memory");
	msg_reply_u64(q, !!ret);
	return 0;
}
