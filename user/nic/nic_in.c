/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Frames from the wire: taken from the sockets of a NIC queue, lent as they lie in the UMEM. */
#include "nic/nic_queue.h"

#include <string.h>
#include <sys/socket.h>

#include "offload/gro.h"
#include "offload/offload.h"
#include "switch/rcu.h"
#include "switch/switch.h"

/*
 * Theory of operation
 *
 * Where the MTU fits a UMEM frame, each descriptor is a frame (lend_each()). Else one frame may be
 * in several descriptors, all but the last with XDP_PKT_CONTD (lend_parts()): a frame whose end
 * hasn't come, or for which the batch has no room, stays in the ring. One in more than
 * NIC_PARTS_MAX is dropped, and its UMEM frames go back as they come.
 *
 * Segments of one TCP flow become one large frame, for VMs whose guest takes that, among the frames
 * of one socket and so in their order. What is for nobody in particular is never joined.
 *
 * UMEM frames of a VM's frames begin with the NIC's flow hash, if it has one to offer; it is only
 * read for VMs with several receive queues.
 */
struct in_count {
	uint64_t frames, bytes, too_short, too_long;
};

/* Lends one frame of @len bytes at UMEM address @addr; false: it is too short. */
static bool lend(const struct umem *u, struct batch *b, uint64_t addr, uint32_t len, uint32_t out)
{
	const uint8_t *at = umem_at(u, addr);
	struct frame *f = &b->frame[b->n];

	if (len < FRAME_MIN)
		return false;
	/* Of a fixed size to be a few moves: UMEM frames are far longer, and head_len rules. */
	memcpy(f->head + FRAME_HEAD_ROOM, at, FRAME_HEAD);
	f->len = len;
	f->shape.head_at = FRAME_HEAD_ROOM;
	f->shape.head_len = len < FRAME_HEAD ? len : FRAME_HEAD;
	f->out = out;
	memset(&f->offload, 0, sizeof(f->offload));
	f->piece = b->n_pieces;
	f->shape.n_pieces = len > FRAME_HEAD;
	if (f->shape.n_pieces)
		b->piece[b->n_pieces++] = (struct piece){at + FRAME_HEAD, len - FRAME_HEAD};
	b->n++;
	return true;
}

static void lend_each(struct nic_queue *q, struct nic_socket *s, struct batch *b, uint32_t at,
		      unsigned n, struct in_count *count)
{
	uint64_t *lent = &q->lent[q->n_lent], bytes = 0;
	const uint32_t out = s->out;
	const struct xdp_desc *d;
	unsigned i;

	for (i = 0; i < n; i++) {
		d = xsk_ring_cons__rx_desc(&s->in, at + i);
		lent[i] = umem_frame(&q->umem, d->addr);
		bytes += d->len;
		if (!lend(&q->umem, b, d->addr, d->len, out))
			count->too_short++;
	}
	q->n_lent += n;
	count->bytes += bytes;
	count->frames += n;
}

/* Lends the frame of @parts descriptors from @at on; false: it is too short or too long. */
static bool lend_joined(const struct nic_queue *q, const struct nic_socket *s, struct batch *b,
			uint32_t at, unsigned parts, struct in_count *count)
{
	struct frame *f = &b->frame[b->n];
	unsigned n_pieces = b->n_pieces, i;
	uint32_t len = 0, head = 0, head_max = FRAME_HEAD;

	/* A full head is one that stands before the first piece in the UMEM, too (gro.c). */
	if (xsk_ring_cons__rx_desc(&s->in, at)->len <= FRAME_HEAD)
		head_max--;
	for (i = 0; i < parts; i++) {
		const struct xdp_desc *d = xsk_ring_cons__rx_desc(&s->in, at + i);
		const uint8_t *from = umem_at(&q->umem, d->addr);
		uint32_t left = d->len, n = head_max - head;

		len += left;
		n = n < left ? n : left;
		memcpy(f->head + FRAME_HEAD_ROOM + head, from, n);
		head += n;
		if (left > n)
			b->piece[n_pieces++] = (struct piece){from + n, left - n};
	}
	count->frames++;
	count->bytes += len;
	count->too_short += len < FRAME_MIN;
	count->too_long += len > FRAME_MAX;
	if (len < FRAME_MIN || len > FRAME_MAX)
		return false;
	f->len = len;
	f->shape.head_at = FRAME_HEAD_ROOM;
	f->shape.head_len = head;
	f->shape.n_pieces = n_pieces - b->n_pieces;
	f->piece = b->n_pieces;
	f->out = s->out;
	memset(&f->offload, 0, sizeof(f->offload));
	b->n_pieces = n_pieces;
	b->n++;
	return true;
}

/* How many of the @max descriptors from @at on belong to one frame; *@ends: the last of it came. */
static unsigned count_parts(const struct nic_socket *s, uint32_t at, unsigned max, bool *ends)
{
	unsigned n = 0;

	*ends = false;
	while (n < max && !*ends)
		*ends = !(xsk_ring_cons__rx_desc(&s->in, at + n++)->options & XDP_PKT_CONTD);
	return n;
}

/* As lend_each(), with frames in several descriptors: of @n, how many were used. */
static unsigned lend_parts(struct nic_queue *q, struct nic_socket *s, struct batch *b, uint32_t at,
			   unsigned n, struct in_count *count)
{
	unsigned used = 0, parts, max, i;
	bool ends;

	while (used < n) {
		max = n - used < NIC_PARTS_MAX ? n - used : NIC_PARTS_MAX;
		parts = count_parts(s, at + used, max, &ends);
		if (!ends && parts < NIC_PARTS_MAX && !s->skip)
			break;
		if (s->skip || !ends) {
			count->frames += !s->skip;
			count->too_long += !s->skip;
			s->skip = !ends;
		} else {
			lend_joined(q, s, b, at + used, parts, count);
		}
		for (i = 0; i < parts; i++)
			q->lent[q->n_lent++] = umem_frame(
				&q->umem, xsk_ring_cons__rx_desc(&s->in, at + used + i)->addr);
		used += parts;
	}
	return used;
}

/* What the XDP program has put before the frames from number @first on. */
static void read_hashes(struct batch *b, unsigned first)
{
	struct vxs_nic_meta meta;
	unsigned i;

	for (i = first; i < b->n; i++) {
		const struct frame *f = &b->frame[i];

		/* Shorter frames have no flow. */
		meta.hash = 0;
		if (f->shape.n_pieces && f->shape.head_len == FRAME_HEAD)
			memcpy(&meta, b->piece[f->piece].at - FRAME_HEAD - sizeof(meta),
			       sizeof(meta));
		b->hash[i] = meta.hash;
	}
}

/* hash[] of all frames, those from number @first on being @to's; NULL: anybody's. */
static void add_hashes(const struct nic *nic, struct batch *b, unsigned first,
		       const struct port *to)
{
	bool known = nic->hashes && to && to->n_in > 1;

	if (known && !b->hashed)
		memset(b->hash, 0, first * sizeof(b->hash[0]));
	b->hashed |= known;
	if (known)
		read_hashes(b, first);
	else if (b->hashed)
		memset(&b->hash[first], 0, (b->n - first) * sizeof(b->hash[0]));
}

/* Joins the frames from number @first on, which are @to's (NULL: anybody's), if it takes that. */
static void join(const struct nic *nic, struct batch *b, unsigned first, const struct port *to)
{
	uint32_t takes;

	if (!to || nic->no_gro || b->n - first < 2)
		return;
	takes = __atomic_load_n(&to->takes, __ATOMIC_RELAXED);
	if (!(takes & (OFFLOAD_TSO4 | OFFLOAD_TSO6)))
		return;
	gro_join(b, first, takes);
	b->open = true; /* also what is verified and stays alone says so */
}

/* The port of a VM's socket, or NULL. */
static const struct port *find_port(const struct worker *w, uint32_t out)
{
	const struct port_table *t;

	if (out >= VXS_PORTS_MAX)
		return NULL;
	t = rcu_get(w->sw->ports);
	return t ? t->by_id[out] : NULL;
}

/* Takes up to @room descriptors' frames from one socket; how many descriptors it were. */
static unsigned take(const struct nic *nic, struct worker *w, struct nic_queue *q,
		     struct nic_socket *s, struct batch *b, unsigned room, struct in_count *count)
{
	uint32_t at, n, i, used, first = b->n;
	const struct port *to;

	/* Where a frame waits for its end, libxdp wouldn't look whether more has come. */
	if (q->sg)
		s->in.cached_prod = __atomic_load_n(s->in.producer, __ATOMIC_ACQUIRE);
	n = xsk_ring_cons__peek(&s->in, room, &at);
	if (!n)
		return 0;
	for (i = 0; i < n; i++)
		__builtin_prefetch(umem_at(&q->umem, xsk_ring_cons__rx_desc(&s->in, at + i)->addr));
	used = n;
	if (q->sg) {
		used = lend_parts(q, s, b, at, n, count);
		xsk_ring_cons__cancel(&s->in, n - used);
	} else {
		lend_each(q, s, b, at, n, count);
	}
	to = find_port(w, s->out);
	add_hashes(nic, b, first, to);
	join(nic, b, first, to);
	/* The entries are free for the kernel at once; the frames stay ours until nic_done(). */
	xsk_ring_cons__release(&s->in, used);
	return used;
}

/* Tells the driver that there are frames in the fill ring again; false: it did not want to know. */
static bool wake_driver(struct worker *w, struct nic_queue *q)
{
	if (!xsk_ring_prod__needs_wakeup(&q->umem.fill))
		return false;
	recvfrom(q->trunk.fd, NULL, 0, MSG_DONTWAIT, NULL, NULL);
	worker_syscalls(w, 1);
	return true;
}

/* Frames that wait go back to the fill ring, and the driver is told if it ran dry. */
static bool refill(struct worker *w, struct nic_queue *q)
{
	if (!umem_fill(&q->umem, q->lent, q->n_lent))
		return false;
	q->n_lent = 0;
	wake_driver(w, q);
	return true;
}

/* A batch at most from all sockets of the queue, each round beginning with another one. */
static void take_all(const struct nic *nic, struct worker *w, struct nic_queue *q,
		     const struct nic_table *t, struct batch *b, struct in_count *count)
{
	unsigned i, at, room = BATCH_FRAMES;

	at = q->first = q->first + 1 < t->n ? q->first + 1 : 0;
	for (i = 0; i < t->n && room; i++) {
		room -= take(nic, w, q, t->socket[at], b, room, count);
		at = at + 1 < t->n ? at + 1 : 0;
	}
}

/* Nothing has come by itself: has the driver look, in this very call (nic_busy.c). */
static void busy_poll(const struct nic *nic, struct worker *w, struct nic_queue *q,
		      const struct nic_table *t, struct batch *b, struct in_count *count, int fd)
{
	recvfrom(fd, NULL, 0, MSG_DONTWAIT, NULL, NULL);
	worker_syscalls(w, 1);
	take_all(nic, w, q, t, b, count);
	__atomic_store_n(&q->busy_polls, q->busy_polls + 1, __ATOMIC_RELAXED);
	if (count->frames)
		__atomic_store_n(&q->busy_hits, q->busy_hits + 1, __ATOMIC_RELAXED);
}

unsigned nic_in(struct port *p, struct worker *w, unsigned queue, struct batch *b)
{
	struct nic_queue *q = nic_of(p)->queue[queue];
	const struct nic_table *t = rcu_get(q->table);
	struct in_count count = {0};
	unsigned back;
	int fd = __atomic_load_n(&q->busy_fd, __ATOMIC_RELAXED);

	b->in = p;
	b->in_queue = queue;
	b->hashed = b->open = false;
	b->n = 0;
	b->n_pieces = 0;
	if (__atomic_load_n(&q->left, __ATOMIC_RELAXED))
		worker_syscalls(w, nic_out_retry(q));
	if (q->n_lent && !refill(w, q))
		return 0; /* can't happen while the fill ring has room for every frame */
	q->n_lent = back = umem_take_back(&q->umem, q->lent, BATCH_FRAMES);

	take_all(nic_of(p), w, q, t, b, &count);
	if (q->n_lent == back && fd >= 0)
		busy_poll(nic_of(p), w, q, t, b, &count, fd);
	stat_add(&port_stats(p, w)->in_frames, count.frames);
	stat_add(&port_stats(p, w)->in_bytes, count.bytes);
	port_drop(p, w, short_frame, count.too_short);
	port_drop(p, w, long_frame, count.too_long);
	return q->n_lent;
}

void nic_done(struct port *p, struct worker *w, unsigned queue, struct batch *b)
{
	(void)b;
	refill(w, nic_of(p)->queue[queue]);
}

bool nic_wait(struct port *p, struct worker *w, unsigned queue, bool on)
{
	struct nic_queue *q = nic_of(p)->queue[queue];
	const struct nic_table *t = rcu_get(q->table);
	unsigned i;

	/* Sockets signal whenever a frame comes; there is nothing to ask for or to silence. */
	if (!on)
		return false;
	/* For a socket that prefers busy polling that was one poll and no wake-up, or not even a
	 * poll, if the driver was at it already: only the flag tells. */
	if (wake_driver(w, q) && __atomic_load_n(&q->busy_fd, __ATOMIC_RELAXED) >= 0 &&
	    xsk_ring_prod__needs_wakeup(&q->umem.fill))
		return true;
	if (q->n_lent || umem_has_back(&q->umem))
		return true;
	/* With the link down there is nobody to wait for: nic_refresh() sends it on when it is up.
	 */
	if (__atomic_load_n(&q->left, __ATOMIC_RELAXED) &&
	    !__atomic_load_n(&q->down, __ATOMIC_RELAXED))
		return true;
	for (i = 0; i < t->n; i++)
		if (xsk_cons_nb_avail(&t->socket[i]->in, 1))
			return true;
	return false;
}
