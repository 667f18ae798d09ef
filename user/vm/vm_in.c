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

	(void)w;
	if (!q || q->broken)
		return false;
	/* Nobody can end our sleep on behalf of a queue that has no kick fd. */
	return vq_wait(q, on) || (on && __atomic_load_n(&q->no_kick, __ATOMIC_RELAXED));
}

const struct port_ops vm_port_ops = {
	.in = vm_in,
	.done = vm_done,
	.out = vm_out,
	.wait = vm_wait,
};
