/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Frames to a VM: its receive queues, filled by any worker. */
#include "switch/rcu.h"
#include "switch/worker.h"
#include "vm/vm.h"

/* Leaves out what is longer than the port's MTU: the others go to @fit, which has room for all. */
static unsigned fit_mtu(struct vxs_port_stats *stats, uint32_t mtu, const struct batch *b,
			const uint16_t *which, unsigned n, uint16_t *fit)
{
	unsigned i, n_fit = 0;

	for (i = 0; i < n; i++)
		if (!vm_is_over_mtu(&b->frame[which[i]], mtu))
			fit[n_fit++] = which[i];
	stat_drop(stats, too_big, n - n_fit);
	return n_fit;
}

/* The next receive queue that runs, for while the driver resets @*queue. NULL: none does. */
static struct vq *next_queue(struct vm *vm, unsigned *queue)
{
	unsigned i, at = *queue;

	for (i = 1; i < vm->port.n_in; i++) {
		struct vq *q;

		at = at + 1 < vm->port.n_in ? at + 1 : 0;
		q = rcu_get(vm->out[at]);
		if (q) {
			*queue = at;
			return q;
		}
	}
	return NULL;
}

/*
 * The guest's receive queue follows from the queue that the batch came in by: a flow stays in one
 * in-queue (the sending guest or the NIC's RSS sees to that), so it stays in order here, and where
 * the source spreads flows, so do we, without looking at a frame.
 */
void vm_out(struct port *p, struct worker *w, const struct batch *b, const uint16_t *which,
	    unsigned n)
{
	struct vm *vm = vm_of(p);
	unsigned n_out = __atomic_load_n(&vm->n_out, __ATOMIC_RELAXED);
	unsigned queue = n_out > 1 ? b->in_queue % n_out : 0;
	struct vq *q = rcu_get(vm->out[queue]);
	struct vxs_port_stats *stats = port_stats(p, w);
	uint32_t mtu = __atomic_load_n(&vm->mtu, __ATOMIC_RELAXED);
	uint64_t calls = stats->out_calls;
	uint16_t fit[BATCH_FRAMES];
	bool was_broken;

	if (!q)
		q = next_queue(vm, &queue);
	if (!q) {
		port_drop(p, w, not_running, n);
		return;
	}
	if (mtu) {
		n = fit_mtu(stats, mtu, b, which, n, fit);
		which = fit;
		if (!n)
			return;
	}
	was_broken = __atomic_load_n(&q->broken, __ATOMIC_RELAXED);
	vq_out(q, stats, b, which, n);
	worker_syscalls(w, stats->out_calls - calls);
	if (!was_broken && __atomic_load_n(&q->broken, __ATOMIC_RELAXED))
		worker_event(w, EVENT_BROKEN, p->id, 2 * queue);
}
