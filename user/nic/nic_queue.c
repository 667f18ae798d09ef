/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* One NIC queue: its UMEM, its trunk socket, and the VMs' receive-only sockets on it. */
#include "nic/nic_queue.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "switch/rcu.h"
#include "switch/worker.h"

/*
 * Theory of operation
 *
 * The UMEM's first socket transmits: it alone has a transmit ring (a second one would switch the
 * kernel's batched transmit off), and its bind chooses the mode. It receives nothing and nobody
 * waits for it: for a socket in an epoll set, the kernel would look for somebody to wake at each
 * frame that it has sent (7 % of its time in copy mode). Trunk and VM sockets share the UMEM and
 * have no rings but their receive ring.
 *
 * A socket is closed in this order, by nic.c: out of the map; wait until no XDP program can still
 * hold it (from then on its ring gets nothing more); out of the worker's table and rcu_wait(), so
 * that control alone has the ring; what is left in it to the back ring, for the worker to
 * put it into the fill ring; close. No frame of the UMEM is lost however often that is done.
 */

/* Newer than Debian 12's linux/if_xdp.h: frames that one sendto() may send in copy mode. */
#ifndef XDP_MAX_TX_SKB_BUDGET
#define XDP_MAX_TX_SKB_BUDGET 9
#endif

#define BUSY_WAIT_MS 3000 /* a queue stays taken for a while after its last socket was closed */
#define BUSY_STEP_MS 20

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000ull + t.tv_nsec / 1000000;
}

/* Opens a socket, once more and again while the queue is still taken. @in or @out: NULL for none.
 */
static int open_socket(struct nic *nic, struct nic_queue *q, struct xsk_socket **xsk,
		       struct xsk_ring_cons *in, struct xsk_ring_prod *out,
		       const struct xsk_socket_config *config)
{
	uint64_t end = now_ms() + BUSY_WAIT_MS;
	int err;

	for (;;) {
		err = xsk_socket__create_shared(xsk, nic->ifname, q->index, q->umem.xsk, in, out,
						&q->umem.fill, &q->umem.completion, config);
		if (err != -EBUSY || now_ms() >= end)
			break;
		poll(NULL, 0, BUSY_STEP_MS);
	}
	if (err)
		*xsk = NULL;
	return err;
}

static int open_in(struct nic *nic, struct nic_queue *q, struct nic_socket *s, uint32_t size)
{
	const struct xsk_socket_config config = {
		.rx_size = size,
		.libxdp_flags = XSK_LIBXDP_FLAGS__INHIBIT_PROG_LOAD,
	};
	int err = open_socket(nic, q, &s->xsk, &s->in, NULL, &config);

	if (err)
		return err;
	s->fd = xsk_socket__fd(s->xsk);
	nic_busy_prefer(nic, s->fd);
	return 0;
}

static int open_out(struct nic *nic, struct nic_queue *q, uint16_t bind_flags)
{
	const struct xsk_socket_config config = {
		.tx_size = UMEM_OUT_FRAMES,
		.libxdp_flags = XSK_LIBXDP_FLAGS__INHIBIT_PROG_LOAD,
		.bind_flags = bind_flags | XDP_USE_NEED_WAKEUP,
	};
	int budget = UMEM_OUT_FRAMES, err;

	err = open_socket(nic, q, &q->out_xsk, NULL, &q->out, &config);
	if (err)
		return err;
	q->out_fd = xsk_socket__fd(q->out_xsk);
	/* Fewer calls a batch; kernels without it send 32 a call, at the same rate as measured. */
	setsockopt(q->out_fd, SOL_XDP, XDP_MAX_TX_SKB_BUDGET, &budget, sizeof(budget));
	return 0;
}

int nic_queue_open(struct nic *nic, unsigned index, uint16_t bind_flags)
{
	struct nic_table *none;
	struct nic_queue *q;
	int err;

	q = aligned_alloc(64, (sizeof(*q) + 63) / 64 * 64);
	if (!q)
		return -ENOMEM;
	memset(q, 0, sizeof(*q));
	q->trunk.fd = -1;
	q->out_fd = -1;
	q->busy_fd = -1;
	q->index = index;
	q->zero_copy = bind_flags & XDP_ZEROCOPY;
	nic->queue[index] = q;
	err = -pthread_spin_init(&q->lock, PTHREAD_PROCESS_PRIVATE);
	if (err)
		goto err;
	q->lock_ready = true;
	err = umem_open(&q->umem, nic->frame_size, true);
	if (err)
		goto err;
	err = open_out(nic, q, bind_flags);
	if (!err)
		err = open_in(nic, q, &q->trunk, NIC_TRUNK_RING);
	if (err)
		goto err;
	q->trunk.out = FRAME_PORT_NONE;
	q->trunk.stats = nic->port.stats;
	err = nic_queue_publish(q, &q->trunk, NULL, &none);
	if (err)
		goto err;
	return 0;
err:
	nic_queue_close(nic, index);
	return err;
}

void nic_queue_close(struct nic *nic, unsigned index)
{
	struct nic_queue *q = nic->queue[index];

	if (!q)
		return;
	if (q->trunk.watched)
		worker_unwatch(nic->port.worker[index], q->trunk.fd);
	if (q->trunk.xsk)
		xsk_socket__delete(q->trunk.xsk);
	if (q->out_xsk)
		xsk_socket__delete(q->out_xsk);
	umem_close(&q->umem);
	if (q->lock_ready)
		pthread_spin_destroy(&q->lock);
	free(q->table);
	free(q);
	nic->queue[index] = NULL;
}

int nic_socket_open(struct nic *nic, struct nic_queue *q, struct nic_socket *s, uint32_t id,
		    struct vxs_port_stats *stats)
{
	s->out = id;
	s->stats = stats;
	return open_in(nic, q, s, NIC_VM_RING);
}

void nic_socket_close(struct nic_queue *q, struct nic_socket *s)
{
	uint32_t at, n, i;

	if (!s->xsk)
		return;
	n = xsk_ring_cons__peek(&s->in, NIC_VM_RING, &at);
	for (i = 0; i < n; i++)
		umem_give_back(&q->umem, xsk_ring_cons__rx_desc(&s->in, at + i)->addr);
	if (n)
		xsk_ring_cons__release(&s->in, n);
	xsk_socket__delete(s->xsk);
	s->xsk = NULL;
	s->fd = -1;
}

int nic_queue_publish(struct nic_queue *q, struct nic_socket *add, struct nic_socket *del,
		      struct nic_table **old)
{
	const struct nic_table *now = q->table;
	unsigned n = now ? now->n : 0, i;
	struct nic_table *t;

	t = malloc(sizeof(*t) + (n + 1) * sizeof(t->socket[0]));
	if (!t)
		return -ENOMEM;
	t->n = 0;
	for (i = 0; i < n; i++)
		if (now->socket[i] != del)
			t->socket[t->n++] = now->socket[i];
	if (add)
		t->socket[t->n++] = add;
	*old = q->table;
	rcu_set(q->table, t);
	return 0;
}
