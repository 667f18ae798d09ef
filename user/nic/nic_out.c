/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Frames to the wire: copied into UMEM frames, sent through the one socket of a NIC queue that
 * transmits. */
#include "nic/nic_queue.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "switch/frame.h"
#include "switch/worker.h"

/*
 * Theory of operation
 *
 * A worker sends through NIC queue number (its own) modulo (their number). Where there are more
 * workers than queues some share one, hence the lock, taken once a batch.
 *
 * In copy mode the kernel sends from inside sendto(), up to a budget of frames a call, and tells
 * with EAGAIN that there is more to do; one frame that the device refused is EBUSY, and it is gone.
 * The loop goes on while calls make progress; but the kernel says what it took from the ring only
 * when it has looked at all of it, so the calls that a small budget takes don't count. What is
 * still in the ring when they stop doing so is sent by the next kick: of the next batch, or of the
 * queue's owner in its next round (@left). In zero-copy mode one call wakes the driver, which then
 * works by itself.
 *
 * With the link's device down nothing is queued: frames would come out stale when it is up again.
 */
#define KICKS_IDLE  2  /* calls without progress before the rest is left for the next round */
#define KICK_FRAMES 32 /* what a call sends where the kernel's budget can't be raised */

/* Descriptors that the kernel hasn't taken yet. */
static uint32_t waiting(const struct nic_queue *q)
{
	return q->out.cached_prod - __atomic_load_n(q->out.consumer, __ATOMIC_ACQUIRE);
}

/* Has the kernel send; returns how many frames it took and threw away. */
static unsigned kick(struct nic_queue *q)
{
	unsigned lost = 0, idle = 0;
	bool down = false, again = false;
	uint32_t before, n = waiting(q);
	unsigned idle_max = KICKS_IDLE + (n < BATCH_FRAMES ? n : BATCH_FRAMES) / KICK_FRAMES;

	while (n && idle < idle_max && xsk_ring_prod__needs_wakeup(&q->out)) {
		int err = sendto(q->out_fd, NULL, 0, MSG_DONTWAIT, NULL, 0) < 0 ? errno : 0;

		q->calls++;
		before = n;
		n = waiting(q);
		again = err != 0;
		if (err == EBUSY && n != before)
			lost++;
		else if (err && err != EAGAIN && err != EBUSY && err != ENOBUFS && err != EINTR)
			down = true;
		if (down || (q->zero_copy && !err))
			break;
		if (n == before)
			idle++;
	}
	__atomic_store_n(&q->down, down, __ATOMIC_RELAXED);
	__atomic_store_n(&q->left, n && (!q->zero_copy || again), __ATOMIC_RELAXED);
	return lost;
}

unsigned nic_out_retry(struct nic_queue *q)
{
	unsigned calls;

	if (pthread_spin_trylock(&q->lock))
		return 0;
	calls = q->calls;
	kick(q);
	calls = q->calls - calls;
	pthread_spin_unlock(&q->lock);
	return calls;
}

uint32_t nic_out_mark(struct nic_queue *q)
{
	uint32_t mark;

	pthread_spin_lock(&q->lock);
	mark = q->out.cached_prod;
	pthread_spin_unlock(&q->lock);
	return mark;
}

/* Each descriptor ends in one completion, and both rings began at 0. */
bool nic_out_is_past(struct nic_queue *q, uint32_t mark)
{
	bool past;

	pthread_spin_lock(&q->lock);
	kick(q);
	umem_collect(&q->umem);
	past = q->down || (int32_t)(q->umem.completion.cached_cons - mark) >= 0;
	pthread_spin_unlock(&q->lock);
	return past;
}

struct out_count {
	uint64_t frames, bytes, too_big, full;
};

static void queue_frames(struct nic_queue *q, uint32_t mtu, const struct batch *b,
			 const uint16_t *which, unsigned n, struct out_count *count)
{
	struct umem *u = &q->umem;
	struct xdp_desc *d;
	uint32_t at;
	unsigned i;

	for (i = 0; i < n; i++) {
		const struct frame *f = &b->frame[which[i]];

		if (f->len > frame_max_len(f, mtu)) {
			count->too_big++;
			continue;
		}
		if (!u->n_free || !xsk_ring_prod__reserve(&q->out, 1, &at)) {
			count->full++;
			continue;
		}
		d = xsk_ring_prod__tx_desc(&q->out, at);
		d->addr = u->free[--u->n_free];
		d->len = f->len;
		d->options = 0;
		frame_copy(umem_at(u, d->addr), b, f);
		count->frames++;
		count->bytes += f->len;
	}
	if (count->frames)
		xsk_ring_prod__submit(&q->out, count->frames);
}

void nic_out(struct port *p, struct worker *w, const struct batch *b, const uint16_t *which,
	     unsigned n)
{
	struct nic *nic = nic_of(p);
	struct nic_queue *q = nic_out_queue(nic, w->id);
	uint32_t mtu = __atomic_load_n(&nic->mtu, __ATOMIC_RELAXED);
	struct out_count count = {0};
	uint64_t lost = 0, sent;
	unsigned calls;

	pthread_spin_lock(&q->lock);
	calls = q->calls;
	umem_collect(&q->umem);
	if (q->down)
		kick(q);
	if (q->down && waiting(q)) {
		lost = n;
	} else {
		queue_frames(q, mtu, b, which, n, &count);
		if (count.frames) {
			lost = kick(q);
			if (q->down)
				lost += waiting(q);
		}
	}
	calls = q->calls - calls;
	pthread_spin_unlock(&q->lock);

	worker_syscalls(w, calls);
	lost = lost < count.frames || !count.frames ? lost : count.frames;
	sent = count.frames > lost ? count.frames - lost : 0;
	stat_add(&port_stats(p, w)->out_frames, sent);
	/* Which ones were lost the kernel doesn't say: they count with the batch's mean length. */
	if (sent)
		stat_add(&port_stats(p, w)->out_bytes, count.bytes * sent / count.frames);
	port_drop(p, w, too_big, count.too_big);
	port_drop(p, w, nic_full, count.full);
	port_drop(p, w, nic_down, lost);
}
