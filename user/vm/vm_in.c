/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Frames from a VM: its transmit queues, polled by the worker that owns them. */
#include "switch/rcu.h"
#include "switch/worker.h"
#include "vm/vm.h"

/* The driver was told how long its packets may be, and sends longer ones all the same. */
static void drop_over_mtu(struct batch *b, struct vxs_port_stats *stats, uint32_t mtu)
{
	unsigned i, n = 0;

	for (i = 0; i < b->n; i++) {
		if (vm_is_over_mtu(&b->frame[i], mtu))
			continue;
		if (n != i)
			b->frame[n] = b->frame[i];
		n++;
	}
	stat_drop(stats, over_mtu, b->n - n);
	b->n = n;
}

/*
 * Two workers may tell of the same address of an out-queue, or one of them of another: all that
 * costs is a look. What control wakes us for is told before it can know (vm_addresses_arrived()).
 */
void vm_tell_absent(const struct port *p, struct worker *w, struct vq *q)
{
	const uint64_t absent = __atomic_load_n(&q->absent, __ATOMIC_RELAXED);

	if (!absent)
		return;
	__atomic_store_n(&q->told, absent, __ATOMIC_RELAXED);
	if (worker_event(w, EVENT_ABSENT, p->id, absent))
		__atomic_store_n(&q->absent, 0, __ATOMIC_RELAXED);
	else
		__atomic_store_n(&q->told, 0, __ATOMIC_RELAXED);
}

/* A RARP request (RFC 903) with which the station asks for its own address, as QEMU's guests do. */
struct rarp {
	uint8_t dst[6], src[6], type[2];
	uint8_t htype[2], ptype[2], hlen, plen, op[2];
	uint8_t sha[6], spa[4], tha[6], tpa[4];
	uint8_t pad[18];
} __attribute__((packed));

/*
 * What SEND_RARP asked for, as the only frame of a batch of which nothing has to be given back:
 * switches on the way learn from it where the guest is now.
 */
static __attribute__((noinline)) unsigned announce(struct vm *vm, struct vxs_port_stats *stats,
						   struct batch *b)
{
	struct rarp r = {
		.dst = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
		.type = {0x80, 0x35},
		.htype = {0, 1},
		.ptype = {8, 0},
		.hlen = 6,
		.plen = 4,
		.op = {0, 3},
	};
	uint64_t mac = __atomic_exchange_n(&vm->rarp, 0, __ATOMIC_RELAXED);
	struct frame *f = &b->frame[0];

	_Static_assert(sizeof(r) == FRAME_HEAD + sizeof(vm->rarp_rest), "head and rest");
	if (!mac) /* the front-end has gone in this very moment */
		return 0;
	memcpy(r.src, &mac, 6);
	memcpy(r.sha, &mac, 6);
	memcpy(r.tha, &mac, 6);
	memcpy(f->head + FRAME_HEAD_ROOM, &r, FRAME_HEAD);
	memcpy(vm->rarp_rest, (const uint8_t *)&r + FRAME_HEAD, sizeof(vm->rarp_rest));
	b->piece[0] = (struct piece){.at = vm->rarp_rest, .len = sizeof(vm->rarp_rest)};
	frame_set_plain(f, 0);
	f->len = sizeof(r);
	memset(&f->offload, 0, sizeof(f->offload));
	b->n = b->n_pieces = 1;
	b->hashed = b->open = false;
	b->lent = NULL;
	stat_add(&stats->in_frames, 1);
	stat_add(&stats->in_bytes, sizeof(r));
	return 1;
}

unsigned vm_in(struct port *p, struct worker *w, unsigned queue, struct batch *b)
{
	struct vq *q = rcu_get(vm_of(p)->in[queue]);
	uint32_t mtu = __atomic_load_n(&vm_of(p)->mtu, __ATOMIC_RELAXED);
	unsigned taken;

	if (__builtin_expect(__atomic_load_n(&vm_of(p)->rarp, __ATOMIC_RELAXED) && !queue, 0))
		return announce(vm_of(p), port_stats(p, w), b);
	if (!q || q->broken)
		return 0;
	b->lent = q;
	taken = vq_in(q, port_stats(p, w), b);
	if (mtu)
		drop_over_mtu(b, port_stats(p, w), mtu);
	if (q->broken)
		worker_event(w, EVENT_BROKEN, p->id, 2 * queue + 1);
	if (vq_wants_memory(q, taken))
		vm_tell_absent(p, w, q);
	return taken;
}

/* Control may have taken the queue back since in(); it waits for us before it looks at it. */
void vm_done(struct port *p, struct worker *w, unsigned queue, struct batch *b)
{
	struct vq *q = b->lent;
	uint64_t calls;

	(void)p;
	(void)queue;
	if (!q)
		return;
	calls = q->calls;
	vq_done(q);
	worker_syscalls(w, q->calls - calls);
}

bool vm_wait(struct port *p, struct worker *w, unsigned queue, bool on)
{
	struct vq *q = rcu_get(vm_of(p)->in[queue]);
	bool work;

	(void)w;
	if (!q || q->broken)
		return false;
	work = vq_wait(q, on);
	/*
	 * A chain whose memory is absent is no work until it comes. Control wakes us then, after it
	 * has published it: if that was since the last in(), our sleep ends before it begins.
	 */
	if (q->told && !q->absent)
		work = false;
	/* Nobody can end our sleep on behalf of a queue that has no kick fd. */
	return work || (on && __atomic_load_n(&q->no_kick, __ATOMIC_RELAXED));
}

const struct port_ops vm_port_ops = {
	.in = vm_in,
	.done = vm_done,
	.out = vm_out,
	.wait = vm_wait,
};
