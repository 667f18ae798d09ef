/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Starts, pauses and stops a VM's rings under the feet of the workers that use them. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <linux/virtio_config.h>

#include "control/watchdog.h"
#include "switch/rcu.h"
#include "switch/worker.h"
#include "vm/vm_control.h"
#include "vm/vu_config.h"
#include "vm/vu_inband.h"
#include "vm/vu_inflight.h"

/*
 * Theory of operation
 *
 * A ring that runs is a struct vq, published to workers in vm->in[] or vm->out[]. A vq is never
 * edited but for its two atomic fields: to change anything else, the ring is paused (unpublished,
 * one wait for all workers, its index kept, the vq freed), and started anew from what the
 * front-end has said by then.
 *
 * Paused rings come back by themselves as soon as they can run. A stopped one (GET_VRING_BASE)
 * needs new addresses and a new kick: what it had belongs to a driver that is gone.
 */

static struct vq **slot_of(struct vm_control *c, unsigned index)
{
	return index & 1 ? &c->vm->in[index / 2] : &c->vm->out[index / 2];
}

static struct worker *worker_of(struct vm_control *c, unsigned index)
{
	return c->vm->port.worker[index / 2];
}

/* Workers spread over the leading receive queues; they cope with one that is gone all the same. */
static void count_out(struct vm *vm, unsigned queues)
{
	unsigned n;

	for (n = 0; n < queues && vm->out[n]; n++)
		;
	__atomic_store_n(&vm->n_out, n, __ATOMIC_RELEASE);
}

bool vm_ring_is_enabled(const struct vm_control *c, unsigned index)
{
	return !(c->features & 1ull << VHOST_USER_F_PROTOCOL_FEATURES) || c->ring[index].enabled;
}

/* Shows the ring to workers, or hides it: a receive queue is seen only while it is enabled. */
static void publish(struct vm_control *c, unsigned index)
{
	struct vm_ring *r = &c->ring[index];

	if (index & 1 || vm_ring_is_enabled(c, index))
		rcu_set(*slot_of(c, index), r->q);
	else
		rcu_set(*slot_of(c, index), NULL);
	count_out(c->vm, c->n_rings / 2);
	c->in_changes += index & 1;
}

void vm_rings_init(struct vm_control *c)
{
	unsigned i;

	for (i = 0; i < c->n_rings; i++)
		c->ring[i].kick_fd = c->ring[i].call_fd = c->ring[i].err_fd = -1;
}

/**
 * vm_rings_pause() - take rings back from the workers, so that control may change what they use
 * @c:     the VM
 * @first: index of the first ring
 * @n:     how many; one wait serves them all
 */
void vm_rings_pause(struct vm_control *c, unsigned first, unsigned n)
{
	bool any = false;
	unsigned i;

	for (i = first; i < first + n; i++) {
		if (c->ring[i].q) {
			rcu_set(*slot_of(c, i), NULL);
			any = true;
		}
	}
	if (!any)
		return;
	count_out(c->vm, c->n_rings / 2);
	rcu_wait();
	for (i = first; i < first + n; i++) {
		struct vm_ring *r = &c->ring[i];

		if (!r->q)
			continue;
		r->base = vq_base(r->q);
		r->broken = r->q->broken;
		c->offended |= r->broken == VQ_BAD_CALL; /* stop_paused() may forget it */
		r->calls += r->q->calls;
		vm_iotlb_note_buffers(c, i, r->q);
		vq_free(r->q);
		r->q = NULL;
		c->in_changes += i & 1;
	}
}

/*
 * Where a ring stands is kept by the front-end, if it offered to: only packed rings need it, since
 * buffers are used in order, and a split ring's used index says how many were.
 */
static void keep_place(struct vm_control *c, unsigned index, struct vq_setup *setup)
{
	bool packed = c->features & 1ull << VIRTIO_F_RING_PACKED;
	const struct vm_ring *r = &c->ring[index];
	void *region = vu_inflight_region(c->inflight, index, packed, r->size);

	if (!region && c->inflight && c->inflight->mem)
		vm_log(c, LOG_WARN,
		       "queue %u: the front-end's memory for buffers in flight is for %u queues of "
		       "%u descriptors; a restart of vxsd may cost it frames",
		       index, c->inflight->n_queues, c->inflight->queue_size);
	if (!region)
		return;
	if (packed) {
		setup->journal = region;
		setup->resume = r->resume;
	} else {
		vu_inflight_use_split(region, r->size);
	}
}

static int start(struct vm_control *c, unsigned index)
{
	struct vm_ring *r = &c->ring[index];
	struct vq_setup setup = {
		.mem = c->mem,
		.desc_uva = r->addr.desc,
		.avail_uva = r->addr.avail,
		.used_uva = r->addr.used,
		.size = r->size,
		.base = r->base,
		.features = c->features,
		.out = !(index & 1),
		.enabled = vm_ring_is_enabled(c, index),
		.log = c->features & 1ull << VHOST_USER_F_LOG_ALL ? c->log : NULL,
		.log_used = r->addr.flags & VHOST_USER_ADDR_LOG,
		.log_addr = r->addr.log,
		.log_fd = c->log_fd,
	};
	struct vq *q;
	int ret;

	ret = vu_inband_begin(c, index);
	if (ret)
		return ret;
	setup.call_fd = r->call_fd;
	r->absent = 0;
	keep_place(c, index, &setup);
	ret = vq_new(&q, &setup);
	if (ret == -EAGAIN) { /* vm_addresses_arrived() tries again */
		r->absent = setup.absent;
		vm_absent(c->vm, r->absent);
		vm_iotlb_want_ring(c, index);
		return 0;
	}
	if (ret)
		return ret;
	r->resume = false;
	if (r->broken)
		q->broken = r->broken;
	q->no_kick = r->no_kick;
	r->q = q;
	if (!(index & 1))
		vm_iotlb_want_buffers(c, q);
	publish(c, index);
	/* Kicks from before were for nobody: have the worker look once. */
	if (index & 1)
		worker_wake(worker_of(c, index));
	return 0;
}

/**
 * vm_rings_resume() - start those rings that don't run and can
 * @c:      the VM
 * @first:  index of the first ring
 * @n:      how many
 * @failed: the index of a ring that failed
 *
 * A ring that lies in memory which is absent stays at rest, and is no failure.
 *
 * Return: 0; -EFAULT if a ring's addresses are not in the guest's memory or not aligned; -EINVAL if
 * its size or its base is none of the ring format that was negotiated; -ENOMEM.
 */
int vm_rings_resume(struct vm_control *c, unsigned first, unsigned n, unsigned *failed)
{
	unsigned i;
	int ret;

	if (!c->has_features || !c->mem)
		return 0;
	vm_iotlb_attach(c);
	for (i = first; i < first + n; i++) {
		struct vm_ring *r = &c->ring[i];

		if (r->q || !r->size || !r->has_base || !r->has_addr || !r->kicked || r->misplaced)
			continue;
		ret = start(c, i);
		if (ret) {
			*failed = i;
			return ret;
		}
	}
	return 0;
}

/**
 * vm_ring_misplaced() - a ring's memory has gone: have it rest
 *
 * Until other memory comes, which may have it, or the ring has a new address.
 */
void vm_ring_misplaced(struct vm_control *c, unsigned index)
{
	c->ring[index].misplaced = true;
	vm_log(c, LOG_WARN,
	       "queue %u is not in the guest's memory any more; it rests until that memory comes "
	       "back, or the queue has a new address",
	       index);
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static void drop_kick(struct vm_control *c, unsigned index)
{
	struct vm_ring *r = &c->ring[index];

	if (r->kick_fd >= 0 && index & 1)
		worker_unwatch(worker_of(c, index), r->kick_fd);
	close_fd(&r->kick_fd);
}

static void stop_paused(struct vm_control *c, unsigned index)
{
	struct vm_ring *r = &c->ring[index];

	drop_kick(c, index);
	r->kicked = r->no_kick = false;
	r->has_addr = false;
	r->misplaced = false;
	r->absent = 0;
	r->broken = VQ_OK;
	r->broken_told = r->err_told = false;
}

/** vm_ring_stop() - until it is set up anew; the index stays. */
void vm_ring_stop(struct vm_control *c, unsigned index)
{
	vm_rings_pause(c, index, 1);
	stop_paused(c, index);
}

/** vm_rings_reset() - stop and disable all, and forget what they were but for call_fd and err_fd,
 * which front-ends tell once (QEMU) and which belong to no driver; and but for where they stood:
 * QEMU before 8.1 says SET_STATUS 0 when a guest is stopped or migrates, and only then asks each
 * ring for its base, with which the guest goes on. */
void vm_rings_reset(struct vm_control *c)
{
	unsigned i;

	vm_rings_pause(c, 0, c->n_rings);
	for (i = 0; i < c->n_rings; i++) {
		struct vm_ring *r = &c->ring[i];

		stop_paused(c, i);
		r->size = 0;
		r->has_base = r->enabled = r->resume = false;
	}
}

/** vm_rings_forget() - the front-end is gone: stop all rings and close all that it gave us. */
void vm_rings_forget(struct vm_control *c)
{
	unsigned i;

	vm_rings_pause(c, 0, c->n_rings);
	for (i = 0; i < c->n_rings; i++) {
		struct vm_ring *r = &c->ring[i];

		stop_paused(c, i);
		vu_inband_end(r->inband);
		close_fd(&r->call_fd);
		close_fd(&r->err_fd);
		*r = (struct vm_ring){.kick_fd = -1, .call_fd = -1, .err_fd = -1};
	}
}

/**
 * vm_ring_set_kick() - SET_VRING_KICK
 * @c:     the VM
 * @index: of the ring
 * @fd:    eventfd, ours if 0 is returned; -1: the ring is to be polled
 *
 * The guest's kicks of receive queues tell us nothing that we wait for, so only those of in-queues
 * are watched.
 */
int vm_ring_set_kick(struct vm_control *c, unsigned index, int fd)
{
	struct vm_ring *r = &c->ring[index];
	int ret;

	if (fd >= 0 && index & 1) {
		ret = worker_watch(worker_of(c, index), fd, &c->vm->port, index / 2);
		if (ret)
			return ret;
	}
	drop_kick(c, index);
	r->kick_fd = fd;
	r->kicked = true;
	r->no_kick = fd < 0;
	if (r->q && index & 1) {
		__atomic_store_n(&r->q->no_kick, fd < 0, __ATOMIC_RELAXED);
		worker_wake(worker_of(c, index));
	}
	return 0;
}

/**
 * vm_ring_kick() - VRING_KICK: there is something new in the ring
 *
 * A ring that has not had SET_VRING_KICK is started by it. One that was to be polled is polled
 * still.
 */
void vm_ring_kick(struct vm_control *c, unsigned index)
{
	struct vm_ring *r = &c->ring[index];

	r->kicked = true;
	if (r->q && index & 1)
		worker_wake(worker_of(c, index));
}

/*
 * A peer may have filled its eventfd, and a write would wait then: nothing is lost by leaving it
 * out, the event is pending already.
 */
static void signal_eventfd(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLOUT};

	if (fd < 0 || poll(&p, 1, 0) != 1 || !(p.revents & POLLOUT))
		return;
	watchdog_enter(); /* the peer may have filled it since */
	eventfd_write(fd, 1);
	watchdog_leave();
}

/**
 * vm_ring_set_call() - SET_VRING_CALL
 * @c:     the VM
 * @index: of the ring
 * @fd:    eventfd, ours; -1: none, or messages if the front-end takes them
 *
 * The old fd is closed when no worker can be writing to it. Return: 0; -EMFILE, -ENOMEM.
 */
int vm_ring_set_call(struct vm_control *c, unsigned index, int fd)
{
	struct vm_ring *r = &c->ring[index];
	int old = r->call_fd, ret = 0;

	vu_inband_end(r->inband);
	r->inband = NULL;

	/* A worker writes to it: a full counter must not make it wait. */
	if (fd >= 0)
		fcntl(fd, F_SETFL, O_NONBLOCK);
	r->call_fd = fd;
	if (r->q) {
		ret = vu_inband_begin(c, index);
		__atomic_store_n(&r->q->call_fd, r->call_fd, __ATOMIC_RELEASE);
		rcu_wait();
		/* What happened while there was none has told nobody. */
		signal_eventfd(r->call_fd);
	}
	close_fd(&old);
	return ret;
}

/** vm_ring_set_err() - SET_VRING_ERR */
void vm_ring_set_err(struct vm_control *c, unsigned index, int fd)
{
	close_fd(&c->ring[index].err_fd);
	c->ring[index].err_fd = fd;
}

/** vm_ring_enable() - SET_VRING_ENABLE; once it returns, no worker fills a disabled queue. */
void vm_ring_enable(struct vm_control *c, unsigned index, bool on)
{
	struct vm_ring *r = &c->ring[index];

	r->enabled = on;
	if (!r->q)
		return;
	on = vm_ring_is_enabled(c, index);
	__atomic_store_n(&r->q->enabled, on, __ATOMIC_RELAXED);
	publish(c, index);
	if (!on)
		rcu_wait();
	else if (index & 1)
		worker_wake(worker_of(c, index));
}

/** vm_rings_run() - at least one queue of each direction carries frames. */
bool vm_rings_run(const struct vm_control *c)
{
	bool run[2] = {false, false};
	unsigned i;

	for (i = 0; i < c->n_rings; i++)
		if (c->ring[i].q && vm_ring_is_enabled(c, i))
			run[i & 1] = true;
	return run[0] && run[1];
}

bool vm_queue_runs(const struct vm *vm, unsigned queue)
{
	const struct vm_control *c = vm->control;
	const struct vm_ring *r = &c->ring[2 * queue + 1];

	return r->q && vm_ring_is_enabled(c, 2 * queue + 1) &&
	       !__atomic_load_n(&r->q->broken, __ATOMIC_RELAXED);
}

int vm_queue_watch(struct vm *vm, unsigned queue, struct worker *w)
{
	const struct vm_ring *r = &vm->control->ring[2 * queue + 1];

	return r->kick_fd < 0 ? 0 : worker_watch(w, r->kick_fd, &vm->port, queue);
}

void vm_queue_unwatch(struct vm *vm, unsigned queue, struct worker *w)
{
	const struct vm_ring *r = &vm->control->ring[2 * queue + 1];

	if (r->kick_fd >= 0)
		worker_unwatch(w, r->kick_fd);
}

/** vm_rings_tell_broken() - log each queue that broke, once, and signal its VRING_ERR. */
void vm_rings_tell_broken(struct vm_control *c)
{
	unsigned i;

	for (i = 0; i < c->n_rings; i++) {
		struct vm_ring *r = &c->ring[i];
		uint32_t why;

		if (r->broken_told && !r->err_told)
			r->err_told = vu_inband_err(c, i);
		if (!r->q || r->broken_told)
			continue;
		why = __atomic_load_n(&r->q->broken, __ATOMIC_RELAXED);
		if (!why)
			continue;
		r->broken_told = true;
		c->in_changes += i & 1;
		c->offended |= why == VQ_BAD_CALL;
		vm_log(c, LOG_WARN,
		       "queue %u broke: %s; it rests until the guest's driver resets it", i,
		       vq_broken_text(why));
		signal_eventfd(r->err_fd);
		vu_config_changed(c); /* NEEDS_RESET is told in this way (virtio 1.2, 2.1.2) */
		r->err_told = r->err_fd >= 0 || vu_inband_err(c, i);
	}
}
