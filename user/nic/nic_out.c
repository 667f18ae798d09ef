/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Frames to the wire: copied into UMEM frames, sent through the one socket of a NIC queue that
 * transmits. */
#include "nic/nic_queue.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "offload/cutter.h"
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
 * A frame longer than a UMEM frame goes out in several, all but the last with XDP_PKT_CONTD: all
 * of them or none.
 *
 * A frame with offloads left open is finished while it is copied: each cut is a frame of its own on
 * the wire, in out_frames too; only its checksum is left to the NIC if that takes it. Frames that
 * are dropped count as they came, once: also one whose first cuts were sent, but not all.
 *
 * A batch whose cuts are more than the ring holds is sent in between, as long as that makes room.
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

/* A batch on its way into the transmit ring. Under the queue's lock. */
struct sender {
	struct nic_queue *q;
	const struct batch *b;
	uint32_t mtu;
	unsigned parts_max;
	uint32_t room; /* descriptors and UMEM frames that there are yet */
	uint32_t from; /* the first descriptor that isn't submitted yet */
	bool stuck;    /* no room came of a kick */

	uint64_t frames, bytes; /* queued, as they leave */
	uint64_t too_big, full; /* dropped, as they came */
	uint64_t lost;          /* of @frames, by the kernel */
};

static void count_room(struct sender *s, uint32_t want)
{
	uint32_t ring = xsk_prod_nb_free(&s->q->out, want);

	s->room = ring < s->q->umem.n_free ? ring : s->q->umem.n_free;
}

/* What the kernel has lost of what was queued, in frames. */
static void send_queued(struct sender *s)
{
	struct nic_queue *q = s->q;

	if (q->out.cached_prod == s->from)
		return;
	xsk_ring_prod__submit(&q->out, q->out.cached_prod - s->from);
	s->from = q->out.cached_prod;
	s->lost += kick(q);
}

/* The batch is more than the ring holds: sends what there is so far. */
static __attribute__((noinline)) bool make_room(struct sender *s, uint32_t n)
{
	if (s->stuck)
		return false;
	send_queued(s);
	umem_collect(&s->q->umem);
	count_room(s, UMEM_OUT_FRAMES);
	s->stuck = s->room < n;
	return !s->stuck;
}

/* The next descriptor, for @len bytes of a frame. There is room. */
static __always_inline struct xdp_desc *add_desc(struct sender *s, uint32_t len)
{
	struct nic_queue *q = s->q;
	struct xdp_desc *d = xsk_ring_prod__tx_desc(&q->out, q->out.cached_prod++);

	d->addr = q->umem.free[--q->umem.n_free] + q->umem.out_meta;
	d->len = len;
	d->options = 0;
	s->room--;
	return d;
}

/* Descriptors for a frame of @len bytes, and in @to where its bytes go. How many; 0: no room. */
static unsigned add_frame(struct sender *s, uint32_t len, struct span to[NIC_PARTS_MAX])
{
	const struct umem *u = &s->q->umem;
	unsigned n = (len + u->out_room - 1) / u->out_room, i;
	struct xdp_desc *d;

	if (n > s->parts_max || (n > s->room && !make_room(s, n)))
		return 0;
	s->frames++;
	s->bytes += len;
	for (i = 0; i < n; i++) {
		d = add_desc(s, len < u->out_room ? len : u->out_room);
		d->options = i + 1 < n ? XDP_PKT_CONTD : 0;
		to[i] = (struct span){umem_at(u, d->addr), d->len};
		len -= d->len;
	}
	return n;
}

/* A frame in several UMEM frames: all of it or nothing. */
static void queue_parts(struct sender *s, const struct frame *f)
{
	struct span to[NIC_PARTS_MAX];
	unsigned n = add_frame(s, f->len, to);

	if (n)
		frame_write(to, n, s->b, f);
	else
		s->full++;
}

/* Has the NIC, or in its place the kernel, fill in the checksum of the frame from @d on. */
static void ask_csum(const struct umem *u, struct xdp_desc *d, const struct frame_offload *o)
{
	const struct umem_out_meta meta = {
		.flags = XDP_TXMD_FLAGS_CHECKSUM,
		.csum_start = o->csum_start,
		.csum_offset = o->csum_offset,
	};

	memcpy(umem_at(u, d->addr) - u->out_meta, &meta, sizeof(meta));
	d->options |= XDP_TX_METADATA;
}

/* A frame with something left open: what comes of it when it is finished. */
static void queue_cuts(struct sender *s, const struct frame *f)
{
	const struct umem *u = &s->q->umem;
	struct span to[NIC_PARTS_MAX];
	struct cutter c;
	unsigned n;

	cutter_open(&c, s->b, f, u->out_meta ? OFFLOAD_CSUM : 0);
	while (cutter_next(&c)) {
		n = add_frame(s, c.len, to);
		if (!n) {
			s->full++;
			return;
		}
		cutter_write(&c, to, n);
		if (c.offload.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM)
			ask_csum(u, xsk_ring_prod__tx_desc(&s->q->out, s->q->out.cached_prod - n),
				 &c.offload);
	}
}

/* Whatever isn't both short and finished. */
static __attribute__((noinline)) void queue_special(struct sender *s, const struct frame *f)
{
	if (offload_cut_len(f) > frame_max_len(f, s->mtu))
		s->too_big++;
	else if (offload_is_none(f))
		queue_parts(s, f);
	else
		queue_cuts(s, f);
}

static void queue_frames(struct sender *s, const uint16_t *which, unsigned n)
{
	const struct umem *u = &s->q->umem;
	uint32_t simple = s->mtu + ETH_HLEN < u->out_room ? s->mtu + ETH_HLEN : u->out_room;
	uint64_t frames = 0, bytes = 0;
	unsigned i;

	for (i = 0; i < n; i++) {
		const struct frame *f = &s->b->frame[which[i]];
		struct xdp_desc *d;

		if (f->len > simple || !offload_is_none(f)) {
			queue_special(s, f);
			continue;
		}
		if (!s->room && !make_room(s, 1)) {
			s->full++;
			continue;
		}
		d = add_desc(s, f->len);
		frame_copy(umem_at(u, d->addr), s->b, f);
		frames++;
		bytes += f->len;
	}
	s->frames += frames;
	s->bytes += bytes;
}

/* What the kernel hasn't taken of the batch, with the device down, is lost: in frames. */
static void count_left(struct sender *s, uint32_t before)
{
	uint32_t sent = s->q->out.cached_prod - before, left = waiting(s->q);

	if (!s->q->down || !sent)
		return;
	left = left < sent ? left : sent;
	s->lost += (s->frames * left + sent - 1) / sent;
}

void nic_out(struct port *p, struct worker *w, const struct batch *b, const uint16_t *which,
	     unsigned n)
{
	struct nic *nic = nic_of(p);
	struct nic_queue *q = nic_out_queue(nic, w->id);
	struct sender s = {
		.q = q,
		.b = b,
		.mtu = __atomic_load_n(&nic->mtu, __ATOMIC_RELAXED),
		.parts_max = nic->parts_max,
	};
	uint64_t lost, sent;
	uint32_t before;
	unsigned calls;

	pthread_spin_lock(&q->lock);
	calls = q->calls;
	umem_collect(&q->umem);
	if (q->down)
		kick(q);
	if (q->down && waiting(q)) {
		lost = n;
	} else {
		before = s.from = q->out.cached_prod;
		count_room(&s, n);
		queue_frames(&s, which, n);
		send_queued(&s);
		count_left(&s, before);
		lost = s.lost < s.frames ? s.lost : s.frames;
	}
	calls = q->calls - calls;
	pthread_spin_unlock(&q->lock);

	worker_syscalls(w, calls);
	sent = s.frames > lost ? s.frames - lost : 0;
	stat_add(&port_stats(p, w)->out_frames, sent);
	/* Which ones were lost the kernel doesn't say: they count with the batch's mean length. */
	if (sent)
		stat_add(&port_stats(p, w)->out_bytes, s.bytes * sent / s.frames);
	port_drop(p, w, too_big, s.too_big);
	port_drop(p, w, nic_full, s.full);
	port_drop(p, w, nic_down, lost);
}
