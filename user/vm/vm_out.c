/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Frames to a VM: its receive queues, filled by any worker. */
#include "offload/flow.h"
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

/* All of them to one receive queue. */
static void put(struct vm *vm, struct worker *w, unsigned queue, const struct batch *b,
		const uint16_t *which, unsigned n)
{
	struct port *p = &vm->port;
	struct vxs_port_stats *stats = port_stats(p, w);
	struct vq *q = rcu_get(vm->out[queue]);
	uint64_t calls = stats->out_calls;
	bool was_broken;
	unsigned done;

	if (!q)
		q = next_queue(vm, &queue);
	if (!q) {
		port_drop(p, w, not_running, n);
		return;
	}
	was_broken = __atomic_load_n(&q->broken, __ATOMIC_RELAXED);
	done = vq_out(q, stats, b, which, n);
	worker_syscalls(w, stats->out_calls - calls);
	if (!was_broken && __atomic_load_n(&q->broken, __ATOMIC_RELAXED))
		worker_event(w, EVENT_BROKEN, p->id, 2 * queue);
	if (vq_wants_memory(q, done))
		vm_tell_absent(p, w, q);
}

/*
 * Each flow to a receive queue of its own choice, and in its order: frames are sorted by queue,
 * stably, and each queue that gets any is visited once.
 */
static __attribute__((noinline)) void spread(struct vm *vm, struct worker *w, unsigned n_out,
					     const struct batch *b, const uint16_t *which,
					     unsigned n)
{
	uint16_t next[BATCH_FRAMES], sorted[BATCH_FRAMES];
	uint16_t last[PORT_QUEUES_MAX] = {0}; /* of each queue, + 1; 0: none */
	uint16_t first[PORT_QUEUES_MAX];
	uint8_t used[PORT_QUEUES_MAX];
	unsigned i, k, at, n_used = 0;

	for (i = 0; i < n; i++) {
		unsigned queue = flow_queue(flow_hash(b, which[i]), n_out);

		if (last[queue]) {
			next[last[queue] - 1] = i;
		} else {
			first[queue] = i;
			used[n_used++] = queue;
		}
		last[queue] = i + 1;
	}
	if (n_used == 1) {
		put(vm, w, used[0], b, which, n);
		return;
	}
	for (i = 0; i < n_used; i++) {
		for (k = 0, at = first[used[i]];; at = next[at]) {
			sorted[k++] = which[at];
			if (at + 1 == last[used[i]])
				break;
		}
		put(vm, w, used[i], b, sorted, k);
	}
}

/*
 * With several receive queues, the flow decides: two workers that send to a guest meet at a queue's
 * lock no more often than the guest's flows meet in a queue.
 */
void vm_out(struct port *p, struct worker *w, const struct batch *b, const uint16_t *which,
	    unsigned n)
{
	struct vm *vm = vm_of(p);
	unsigned n_out = __atomic_load_n(&vm->n_out, __ATOMIC_RELAXED);
	uint32_t mtu = __atomic_load_n(&vm->mtu, __ATOMIC_RELAXED);
	uint16_t fit[BATCH_FRAMES];

	if (mtu) {
		n = fit_mtu(port_stats(p, w), mtu, b, which, n, fit);
		which = fit;
		if (!n)
			return;
	}
	if (n_out > 1)
		spread(vm, w, n_out, b, which, n);
	else
		put(vm, w, 0, b, which, n);
}
