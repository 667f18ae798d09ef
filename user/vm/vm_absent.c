/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Guest memory that is absent: workers want it, control has it brought, rings and workers go on. */
#include <errno.h>
#include <string.h>

#include "switch/worker.h"
#include "vm/vm_control.h"

/*
 * Theory of operation
 *
 * An address may be the guest's, and yet what is there can't be had: its IOMMU has not told us
 * where it is, or a migration has still to bring the page. Nobody waits for it. A chain stays in
 * the ring, a frame for the guest is dropped, a ring that lies there doesn't start; and what is
 * wanted goes from the queue that found it absent to its worker, to us (EVENT_ABSENT), and to
 * whoever can bring it (c->want).
 *
 * A worker sleeps once it has told. What comes is published first, then the worker is woken, and it
 * looks at all its queues: see vm_wait(). A word that is lost on the way is no harm, since all that
 * queues wait for is asked for once more each second.
 */

void vm_absent(struct vm *vm, uint64_t absent)
{
	struct vm_control *c = vm->control;

	if (absent & VU_ABSENT_IOVA)
		vm_iotlb_miss(c, absent);
	else if (c->want)
		c->want(c, absent);
}

/** vm_rings_want_again() - once a second: what rings still wait for may have been lost. */
void vm_rings_want_again(struct vm_control *c)
{
	unsigned i;

	for (i = 0; (c->want || c->iotlb) && i < c->n_rings; i++) {
		const struct vq *q = c->ring[i].q;
		uint64_t absent = q ? __atomic_load_n(&q->told, __ATOMIC_RELAXED) : 0;

		if (!q)
			absent = c->ring[i].absent;
		if (absent)
			vm_absent(c->vm, absent);
	}
}

/* Starts what can be started. A ring that can't, for good, rests until it has a new address. */
static void resume(struct vm_control *c)
{
	unsigned failed;
	int ret;

	while ((ret = vm_rings_resume(c, 0, c->n_rings, &failed))) {
		if (ret == -EFAULT) {
			vm_ring_misplaced(c, failed);
			continue;
		}
		c->ring[failed].has_addr = false;
		vm_log(c, LOG_WARN, "can't start queue %u: %s; it rests until it has a new address",
		       failed, strerror(-ret));
	}
}

/**
 * vm_addresses_arrived() - absent memory has come: start the rings in it, have workers look again
 * @c: the VM
 *
 * After it was published. Control thread.
 */
void vm_addresses_arrived(struct vm_control *c)
{
	unsigned i;

	resume(c);
	for (i = 1; i < c->n_rings; i += 2)
		if (c->ring[i].q && __atomic_load_n(&c->ring[i].q->told, __ATOMIC_RELAXED))
			worker_wake(c->vm->port.worker[i / 2]);
	vm_tell_change(c);
}
