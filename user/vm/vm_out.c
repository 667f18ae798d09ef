/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Frames to a VM: its receive queues, filled by any worker. */
#include "switch/rcu.h"
#include "switch/worker.h"
#include "vm/vm.h"

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
	uint64_t calls = stats->out_calls;
	bool was_broken;

	if (!q) {
		port_drop(p, w, not_running, n);
		return;
	}
	was_broken = __atomic_load_n(&q->broken, __ATOMIC_RELAXED);
	vq_out(q, stats, b, which, n);
	worker_syscalls(w, stats->out_calls - calls);
	if (!was_broken && __atomic_load_n(&q->broken, __ATOMIC_RELAXED))
		worker_event(w, EVENT_BROKEN, p->id, 2 * queue);
}
