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

unsigned vm_in(struct port *p, struct worker *w, unsigned queue, struct batch *b)
{
	struct vq *q = rcu_get(vm_of(p)->in[queue]);
	uint32_t mtu = __atomic_load_n(&vm_of(p)->mtu, __ATOMIC_RELAXED);
	unsigned taken;

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
	uint64_t calls = q->calls;

	(void)p;
	(void)queue;
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
